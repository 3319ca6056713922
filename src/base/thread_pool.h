// A fixed team of threads that runs one loop at a time: the shape of a kernel, not of a task queue.
//
// The caller of `run` takes part, so a pool of one has no thread of its own. Workers spin briefly between loops (a
// decode step is hundreds of loops a few microseconds apart) and then sleep. `run` may be called from any thread but a
// worker of the pool; callers take turns. The pool is passed in by whoever owns the process; no library creates one.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace fathom {

class ThreadPool {
 public:
  /// `threads` counts the caller; at least 1.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t size() const { return workers_.size() + 1; }

  /// Calls body(thread) once on every thread, thread in [0, size()), and returns when all have finished. Allocates
  /// nothing. `body` must not throw.
  template <class Body>
  void run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    start({[](void* context, size_t thread) { (*static_cast<Plain*>(context))(thread); },
           const_cast<void*>(static_cast<const void*>(&body))});
  }

  /// Splits [0, count) into contiguous ranges of multiples of `grain`, one a thread: body(begin, end).
  template <class Body>
  void parallel_for(size_t count, size_t grain, Body&& body) {
    const size_t blocks = (count + grain - 1) / grain;
    if (blocks <= 1 || size() == 1) {
      if (count > 0) body(size_t{0}, count);
      return;
    }
    run([&](size_t thread) {
      const size_t begin = blocks * thread / size() * grain;
      const size_t last = blocks * (thread + 1) / size() * grain;
      const size_t end = last < count ? last : count;
      if (begin < end) body(begin, end);  // there may be fewer blocks than threads
    });
  }

 private:
  struct Job {
    void (*call)(void*, size_t) = nullptr;
    void* context = nullptr;
  };

  void start(Job job);
  void work(size_t thread);

  std::mutex turn_;   // of the caller whose loop runs
  std::mutex mutex_;  // of the sleep
  std::condition_variable wake_;
  Job job_;                              // written before generation_ is raised, read after it is seen
  std::atomic<uint64_t> generation_{0};  // raised once a loop
  std::atomic<size_t> running_{0};       // workers still in the current loop
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace fathom
