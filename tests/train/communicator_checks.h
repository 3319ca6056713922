// What every kind of communicator must do, checked by all ranks of a group together: for threads within the tests, for
// MPI from a program under mpirun.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "train/communicator.h"

namespace fathom::train {
/// Numbers of a rank that everyone can make again.
inline std::vector<float> numbers(size_t rank, size_t n) {
  Random random(rank * 1000 + n);
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>(random.normal());
  return out;
}

/// The sum by rank, in the precision of the communicator's.
inline std::vector<float> sum_of_all(size_t ranks, size_t n) {
  std::vector<float> total = numbers(0, n);
  for (size_t r = 1; r < ranks; ++r) {
    const std::vector<float> more = numbers(r, n);
    for (size_t i = 0; i < n; ++i) total[i] += more[i];
  }
  return total;
}

inline void check_sums(Communicator& comm, size_t n) {
  SCOPED_TRACE(n);
  std::vector<float> values = numbers(comm.rank(), n);
  comm.all_reduce_sum(std::span<float>(values));
  EXPECT_EQ(values, sum_of_all(comm.size(), n));

  std::vector<double> doubles(n, 0.1 * static_cast<double>(comm.rank() + 1));
  comm.all_reduce_sum(std::span<double>(doubles));
  double total = 0.1;
  for (size_t r = 1; r < comm.size(); ++r) total += 0.1 * static_cast<double>(r + 1);
  EXPECT_EQ(doubles, std::vector<double>(n, total));

  values = numbers(comm.rank(), n);
  comm.all_reduce_max(values);
  std::vector<float> most = numbers(0, n);
  for (size_t r = 1; r < comm.size(); ++r) {
    const std::vector<float> other = numbers(r, n);
    for (size_t i = 0; i < n; ++i) most[i] = std::max(most[i], other[i]);
  }
  EXPECT_EQ(values, most);
}

inline void check_scatter_and_gather(Communicator& comm, size_t n) {
  SCOPED_TRACE(n);
  const size_t ranks = comm.size(), me = comm.rank();
  const std::vector<float> in = numbers(me, n * ranks);
  std::vector<float> part(n);
  comm.reduce_scatter(in, part);
  const std::vector<float> total = sum_of_all(ranks, n * ranks);
  EXPECT_EQ(part, std::vector<float>(total.begin() + n * me, total.begin() + n * (me + 1)));

  std::vector<float> all(n * ranks);
  comm.all_gather(part, all);
  EXPECT_EQ(all, total);
  std::fill(all.begin(), all.end(), 0.0f);
  std::copy(part.begin(), part.end(), all.begin() + n * me);
  comm.all_gather(std::span<const float>(all).subspan(n * me, n), all);  // in place
  EXPECT_EQ(all, total);
}

/// What rank `from` sends to rank `to`: as many numbers as tell them apart, sometimes none.
inline std::vector<float> parcel(size_t from, size_t to) {
  return std::vector<float>((from * 3 + to * 5) % 7, static_cast<float>(from * 100 + to));
}

inline void check_all_to_all(Communicator& comm) {
  std::vector<float> send, expected;
  std::vector<size_t> send_counts, recv_counts;
  const auto append = [](std::vector<float>& out, const std::vector<float>& more) {
    out.insert(out.end(), more.begin(), more.end());
    return more.size();
  };
  for (size_t r = 0; r < comm.size(); ++r) {
    send_counts.push_back(append(send, parcel(comm.rank(), r)));
    recv_counts.push_back(append(expected, parcel(r, comm.rank())));
  }
  std::vector<float> recv(expected.size());
  comm.all_to_all(send, send_counts, recv, recv_counts);
  EXPECT_EQ(recv, expected);
}

inline void check_bytes(Communicator& comm) {
  for (size_t root = 0; root < comm.size(); ++root) {
    std::vector<std::byte> bytes(10, static_cast<std::byte>(comm.rank()));
    comm.broadcast(bytes, root);
    EXPECT_EQ(bytes, std::vector<std::byte>(10, static_cast<std::byte>(root)));
  }
  const std::vector<std::string> all = comm.gather_bytes(std::string(comm.rank() * 2, 'x'));
  ASSERT_EQ(all.size(), comm.size());
  for (size_t r = 0; r < comm.size(); ++r) EXPECT_EQ(all[r], std::string(r * 2, 'x'));
}

/// Everybody sends first, much and to all: a `send` that waited for its receiver would never return.
inline void check_messages(Communicator& comm) {
  constexpr size_t kLong = 100'000;
  for (size_t to = 0; to < comm.size(); ++to)
    for (int tag : {7, 3})
      for (size_t i = 0; i < 3; ++i) {
        std::vector<float> message(i == 1 ? kLong : i, static_cast<float>(comm.rank() * 10 + i) + tag * 0.5f);
        comm.send(message, to, tag);
        std::fill(message.begin(), message.end(), -1.0f);  // it has been copied
      }
  for (size_t from = 0; from < comm.size(); ++from)
    for (int tag : {3, 7})
      for (size_t i = 0; i < 3; ++i) {
        std::vector<float> message(i == 1 ? kLong : i);
        comm.receive(message, from, tag);
        EXPECT_EQ(message,
                  std::vector<float>(message.size(), static_cast<float>(from * 10 + i) + tag * 0.5f));
      }
}

/// Even and odd ranks, in reverse order, and groups of those.
inline void check_split(Communicator& comm) {
  const size_t me = comm.rank(), ranks = comm.size();
  const auto group = comm.split(me % 2, ranks - me);
  const size_t members = (ranks + 1 - me % 2) / 2;
  ASSERT_EQ(group->size(), members);
  EXPECT_EQ(group->rank(), members - 1 - me / 2);
  std::vector<double> ids{static_cast<double>(me)};
  group->all_reduce_sum(std::span<double>(ids));
  double total = 0;
  for (size_t r = me % 2; r < ranks; r += 2) total += static_cast<double>(r);
  EXPECT_EQ(ids[0], total);
  const auto alone = group->split(group->rank(), 0);
  EXPECT_EQ(alone->size(), 1u);
  const auto copy = alone->duplicate();
  EXPECT_EQ(copy->size(), 1u);
  check_sums(*copy, 3);
}

/// Every collective, messages and groups of groups. Failures are GoogleTest's.
inline void check_communicator(Communicator& comm) {
  for (const size_t n : {0, 1, 5, 1000, 70'001}) {
    check_sums(comm, n);
    check_scatter_and_gather(comm, n);
  }
  check_all_to_all(comm);
  check_bytes(comm);
  check_messages(comm);
  check_split(comm);
  comm.barrier();
}

}  // namespace fathom::train
