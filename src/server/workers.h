// A team of threads behind a bounded queue: work that may block, kept off the I/O threads.
//
// Thread safety: all methods from any thread, except that `join` is called once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fathom::server {

class Workers {
 public:
  Workers(size_t threads, size_t waiting);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// False when `waiting` jobs wait already, or after `join`. A job must not throw.
  bool submit(std::function<void()> job);
  /// Runs what is queued, then ends the threads.
  void join();

  size_t running() const;
  size_t waiting() const;

 private:
  void work();

  const size_t max_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  size_t running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fathom::server
