#include "infer/turnstile.h"

#include <algorithm>

namespace fathom::infer {

Turnstile::Turn Turnstile::enter(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = next_++;
  queue_.push_back(ticket);
  if (moved_.wait(lock, stop, [&] { return queue_.front() == ticket; })) return Turn(this);
  std::erase(queue_, ticket);
  moved_.notify_all();
  return Turn(nullptr);
}

void Turnstile::leave() {
  {
    std::lock_guard lock(mutex_);
    queue_.pop_front();
  }
  moved_.notify_all();
}

}  // namespace fathom::infer
