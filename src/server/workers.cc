#include "server/workers.h"

#include <algorithm>

namespace fathom::server {

Workers::Workers(size_t threads, size_t waiting) : max_waiting_(waiting) {
  for (size_t i = 0; i < std::max<size_t>(threads, 1); ++i) threads_.emplace_back([this] { work(); });
}

Workers::~Workers() { join(); }

bool Workers::submit(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    // A job that an idle thread takes at once does not wait.
    const size_t idle = threads_.size() - std::min(running_, threads_.size());
    if (stopping_ || queue_.size() >= max_waiting_ + idle) return false;
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return true;
}

void Workers::join() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

size_t Workers::running() const {
  std::lock_guard lock(mutex_);
  return running_;
}

size_t Workers::waiting() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    lock.unlock();
    job();
    job = nullptr;  // what it holds goes before the next wait
    lock.lock();
    --running_;
  }
}

}  // namespace fathom::server
