#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <chrono>

namespace fathom {
namespace {

constexpr auto kSpin = std::chrono::microseconds(60);

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// Spins until `done()` or the spin time is over; returns done().
template <class Done>
bool spin_until(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      relax();
    }
    if (std::chrono::steady_clock::now() > deadline) return done();
  }
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::start(Job job) {
  const std::lock_guard turn(turn_);
  if (!workers_.empty()) {
    running_.store(workers_.size(), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      job_ = job;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  job.call(job.context, 0);
  while (running_.load(std::memory_order_acquire) != 0) {
    if (!spin_until([this] { return running_.load(std::memory_order_acquire) == 0; }))
      std::this_thread::yield();
  }
}

void ThreadPool::work(size_t thread) {
  uint64_t seen = 0;
  for (;;) {
    const auto changed = [&] {
      return generation_.load(std::memory_order_acquire) != seen || stopping_.load(std::memory_order_relaxed);
    };
    if (!spin_until(changed)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, changed);
    }
    if (generation_.load(std::memory_order_acquire) == seen) return;  // stopping, no loop pending
    ++seen;
    job_.call(job_.context, thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace fathom
