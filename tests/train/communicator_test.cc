#include "train/communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "train/communicator_checks.h"
#include "train/thread_comm.h"

namespace fathom::train {
namespace {

TEST(SelfComm, IsAGroupOfOne) { check_communicator(*make_self_comm()); }

class ThreadCommTest : public testing::TestWithParam<size_t> {};

TEST_P(ThreadCommTest, DoesWhatACommunicatorMust) {
  std::atomic<size_t> ranks{0};
  run_ranks(GetParam(), [&](std::unique_ptr<Communicator> comm) {
    EXPECT_EQ(comm->size(), GetParam());
    ranks += comm->rank() + 1;
    check_communicator(*comm);
  });
  EXPECT_EQ(ranks, GetParam() * (GetParam() + 1) / 2);
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommTest, testing::Values(1, 2, 3, 4, 8));

TEST(ThreadComm, DuplicatesAreUsedByThreadsAtOnce) {
  run_ranks(3, [](std::unique_ptr<Communicator> comm) {
    const auto other = comm->duplicate();
    const auto sums = [](Communicator& c, float value) {
      for (size_t i = 0; i < 200; ++i) {
        std::vector<float> values(50, value);
        c.all_reduce_sum(std::span<float>(values));
        ASSERT_EQ(values, std::vector<float>(50, 3 * value));
      }
    };
    std::thread thread([&] { sums(*other, 2.0f); });
    sums(*comm, 1.0f);
    thread.join();
  });
}

/// Ranks other than `failing` wait in different calls for ever.
void fail_one(size_t failing, const std::function<void(Communicator&)>& fail) {
  std::atomic<size_t> cancelled{0};
  const auto body = [&](std::unique_ptr<Communicator> comm) {
    const auto pair = comm->split(comm->rank() / 2, comm->rank());
    if (comm->rank() == failing) return fail(*comm);
    std::vector<float> values(4);
    try {
      switch (comm->rank() % 3) {
        case 0: comm->all_reduce_sum(std::span<float>(values)); break;
        case 1: comm->receive(values, failing, 1); break;
        default: pair->barrier(), comm->barrier();
      }
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCancelled);
      ++cancelled;
      throw;
    }
  };
  try {
    run_ranks(6, body);
    ADD_FAILURE() << "the failure of rank " << failing << " was lost";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "disk on fire");
  }
  EXPECT_EQ(cancelled, 5u);
}

TEST(ThreadComm, AFailureCancelsTheOthersAndIsTold) {
  for (size_t failing = 0; failing < 6; ++failing) {
    fail_one(failing, [](Communicator&) { throw Error(ErrorCode::kIo, "disk on fire"); });
    fail_one(failing, [](Communicator& comm) {
      comm.cancel();  // the others may end first
      std::this_thread::yield();
      throw Error(ErrorCode::kIo, "disk on fire");
    });
  }
}

TEST(SelfComm, IsCancelled) {
  const auto comm = make_self_comm();
  comm->cancel();
  EXPECT_THROW(comm->barrier(), Error);
}

}  // namespace
}  // namespace fathom::train
