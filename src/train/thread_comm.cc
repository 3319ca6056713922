#include "train/thread_comm.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace fathom::train {
namespace {

/// What a rank shows the others during a collective.
struct Shown {
  void* data = nullptr;
  size_t size = 0;
  const size_t* counts = nullptr;
};

class Group;

/// All groups of a job, so that one failure reaches whoever waits in any of them.
class Job {
 public:
  void add(const std::shared_ptr<Group>& group);
  void cancel();

 private:
  std::mutex mutex_;
  bool cancelled_ = false;
  std::vector<std::weak_ptr<Group>> groups_;
};

/// The meeting place of a group of threads.
///
/// A collective is `open`, reading and writing what others show, `close`. Only `open` can be cancelled: once it has
/// returned on one rank it does on all, none of them waits before `close`, and so nobody's memory goes away under a reader.
class Group {
 public:
  Group(size_t size, std::shared_ptr<Job> job) : size_(size), job_(std::move(job)), shown_(size) {}

  size_t size() const { return size_; }
  const std::shared_ptr<Job>& job() const { return job_; }
  const Shown& shown(size_t rank) const { return shown_[rank]; }

  void open(size_t rank, const Shown& shown) {
    std::unique_lock lock(mutex_);
    shown_[rank] = shown;
    meet(lock, true);
  }
  void close() {
    std::unique_lock lock(mutex_);
    meet(lock, false);
  }

  void send(size_t from, size_t to, int tag, std::span<const float> values) {
    const std::lock_guard lock(mutex_);
    check();
    messages_[{from, to, tag}].emplace_back(values.begin(), values.end());
    changed_.notify_all();
  }
  std::vector<float> receive(size_t from, size_t to, int tag) {
    std::unique_lock lock(mutex_);
    auto& waiting = messages_[{from, to, tag}];
    changed_.wait(lock, [&] { return !waiting.empty() || cancelled_; });
    check();
    std::vector<float> message = std::move(waiting.front());
    waiting.pop_front();
    return message;
  }

  void cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }

 private:
  void check() const {
    if (cancelled_) throw Error(ErrorCode::kCancelled, "another rank of this job has ended");
  }
  void meet(std::unique_lock<std::mutex>& lock, bool cancellable) {
    if (cancellable) check();
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++meetings_;
      changed_.notify_all();
      return;
    }
    const uint64_t before = meetings_;
    changed_.wait(lock, [&] { return meetings_ != before || (cancellable && cancelled_); });
    if (meetings_ == before) check();
  }

  const size_t size_;
  const std::shared_ptr<Job> job_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Shown> shown_;
  size_t arrived_ = 0;
  uint64_t meetings_ = 0;
  bool cancelled_ = false;
  std::map<std::tuple<size_t, size_t, int>, std::deque<std::vector<float>>> messages_;
};

void Job::add(const std::shared_ptr<Group>& group) {
  const std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const auto& g) { return g.expired(); });
  groups_.push_back(group);
  if (cancelled_) group->cancel();
}

void Job::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (const auto& weak : groups_)
    if (const auto group = weak.lock()) group->cancel();
}

class ThreadComm final : public Communicator {
 public:
  ThreadComm(std::shared_ptr<Group> group, size_t rank) : group_(std::move(group)), rank_(rank) {}

  size_t rank() const override { return rank_; }
  size_t size() const override { return group_->size(); }

  void barrier() override {
    collective({}, [] {});
  }
  void all_reduce_sum(std::span<float> values) override {
    all_reduce(values, [](float a, float b) { return a + b; });
  }
  void all_reduce_sum(std::span<double> values) override {
    all_reduce(values, [](double a, double b) { return a + b; });
  }
  void all_reduce_max(std::span<float> values) override {
    all_reduce(values, [](float a, float b) { return std::max(a, b); });
  }

  void reduce_scatter(std::span<const float> in, std::span<float> out) override {
    FATHOM_CHECK(in.size() == out.size() * size());
    collective(shown(in), [&] {
      std::copy_n(in_of(0) + rank_ * out.size(), out.size(), out.begin());
      for (size_t r = 1; r < size(); ++r) {
        const float* part = in_of(r) + rank_ * out.size();
        for (size_t i = 0; i < out.size(); ++i) out[i] += part[i];
      }
    });
  }

  void all_gather(std::span<const float> in, std::span<float> out) override {
    FATHOM_CHECK(out.size() == in.size() * size());
    collective(shown(in), [&] {
      for (size_t r = 0; r < size(); ++r) {
        float* place = out.data() + r * in.size();
        if (in_of(r) != place) std::copy_n(in_of(r), in.size(), place);
      }
    });
  }

  void all_to_all(std::span<const float> send, std::span<const size_t> send_counts, std::span<float> recv,
                  std::span<const size_t> recv_counts) override {
    FATHOM_CHECK(send_counts.size() == size() && recv_counts.size() == size());
    Shown mine = shown(send);
    mine.counts = send_counts.data();
    collective(mine, [&] {
      float* place = recv.data();
      for (size_t r = 0; r < size(); ++r) {
        const size_t* counts = group_->shown(r).counts;
        FATHOM_CHECK(counts[rank_] == recv_counts[r], "ranks differ about what they exchange");
        size_t before = 0;
        for (size_t to = 0; to < rank_; ++to) before += counts[to];
        place = std::copy_n(in_of(r) + before, recv_counts[r], place);
      }
    });
  }

  void broadcast(std::span<std::byte> bytes, size_t root) override {
    collective({bytes.data(), bytes.size(), nullptr}, [&] {
      const Shown& from = group_->shown(root);
      FATHOM_CHECK(from.size == bytes.size());
      if (root != rank_) std::copy_n(static_cast<const std::byte*>(from.data), bytes.size(), bytes.data());
    });
  }

  std::vector<std::string> gather_bytes(std::string_view bytes) override {
    std::vector<std::string> all;
    collective({const_cast<char*>(bytes.data()), bytes.size(), nullptr}, [&] {
      for (size_t r = 0; r < size(); ++r)
        all.emplace_back(static_cast<const char*>(group_->shown(r).data), group_->shown(r).size);
    });
    return all;
  }

  void send(std::span<const float> values, size_t to, int tag) override {
    FATHOM_CHECK(to < size());
    group_->send(rank_, to, tag, values);
  }
  void receive(std::span<float> values, size_t from, int tag) override {
    FATHOM_CHECK(from < size());
    const std::vector<float> message = group_->receive(from, rank_, tag);
    FATHOM_CHECK(message.size() == values.size(), "a message of another length than its receiver awaits");
    std::copy(message.begin(), message.end(), values.begin());
  }

  std::unique_ptr<Communicator> split(size_t colour, size_t key) override {
    struct Wish {
      size_t colour, key;
      std::shared_ptr<Group> made;  // by the first of the new group
    } wish{colour, key, nullptr};
    std::vector<std::pair<size_t, size_t>> members;  // key, rank
    const auto wish_of = [&](size_t r) { return static_cast<Wish*>(group_->shown(r).data); };
    collective({&wish, 1, nullptr}, [&] {
      for (size_t r = 0; r < size(); ++r)
        if (wish_of(r)->colour == colour) members.emplace_back(wish_of(r)->key, r);
    });
    std::sort(members.begin(), members.end());
    if (members.front().second == rank_) {
      wish.made = std::make_shared<Group>(members.size(), group_->job());
      group_->job()->add(wish.made);
    }
    std::shared_ptr<Group> made;
    collective({&wish, 1, nullptr}, [&] { made = wish_of(members.front().second)->made; });
    const auto mine = std::find(members.begin(), members.end(), std::pair(key, rank_));
    return std::make_unique<ThreadComm>(made, static_cast<size_t>(mine - members.begin()));
  }

  void cancel() override { group_->job()->cancel(); }

 private:
  static Shown shown(std::span<const float> values) {
    return {const_cast<float*>(values.data()), values.size(), nullptr};
  }
  const float* in_of(size_t rank) const { return static_cast<const float*>(group_->shown(rank).data); }

  template <class Body>
  void collective(const Shown& shown, Body&& body) {
    group_->open(rank_, shown);
    body();
    group_->close();
  }

  /// Each rank computes a part of the result, for all ranks.
  template <class T, class Combine>
  void all_reduce(std::span<T> values, Combine&& combine) {
    const size_t n = values.size();
    collective({values.data(), n, nullptr}, [&] {
      const auto of = [&](size_t r) { return static_cast<T*>(group_->shown(r).data); };
      for (size_t r = 0; r < size(); ++r) FATHOM_CHECK(group_->shown(r).size == n);
      for (size_t i = n * rank_ / size(); i < n * (rank_ + 1) / size(); ++i) {
        T total = of(0)[i];
        for (size_t r = 1; r < size(); ++r) total = combine(total, of(r)[i]);
        for (size_t r = 0; r < size(); ++r) of(r)[i] = total;
      }
    });
  }

  std::shared_ptr<Group> group_;
  size_t rank_;
};

/// The exception that a job ends with: the first that is not merely the echo of another.
class Failure {
 public:
  void add(const std::exception_ptr& error, bool echo) {
    const std::lock_guard lock(mutex_);
    if (!first_ || (echo_ && !echo)) {
      first_ = error;
      echo_ = echo;
    }
  }
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
  bool echo_ = false;
};

}  // namespace

void run_ranks(size_t ranks, const std::function<void(std::unique_ptr<Communicator>)>& body) {
  FATHOM_CHECK(ranks > 0);
  const auto job = std::make_shared<Job>();
  const auto group = std::make_shared<Group>(ranks, job);
  job->add(group);
  Failure failure;
  const auto run = [&](size_t rank) {
    try {
      body(std::make_unique<ThreadComm>(group, rank));
      return;
    } catch (const Error& e) {
      failure.add(std::current_exception(), e.code() == ErrorCode::kCancelled);
    } catch (...) {
      failure.add(std::current_exception(), false);
    }
    job->cancel();
  };
  std::vector<std::thread> threads;
  for (size_t rank = 1; rank < ranks; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  failure.rethrow();
}

}  // namespace fathom::train
