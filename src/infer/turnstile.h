// Lets callers through one at a time, in the order in which they came; one that gives up leaves the queue.
//
// Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <stop_token>

namespace fathom::infer {

class Turnstile {
 public:
  /// Held while it is the caller's turn; empty when the stop token came first.
  class Turn {
   public:
    explicit Turn(Turnstile* owner) : owner_(owner) {}
    Turn(Turn&& other) noexcept : owner_(other.owner_) { other.owner_ = nullptr; }
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (owner_ != nullptr) owner_->leave();
    }
    explicit operator bool() const { return owner_ != nullptr; }

   private:
    Turnstile* owner_;
  };

  Turn enter(const std::stop_token& stop);

 private:
  void leave();

  std::mutex mutex_;
  std::condition_variable_any moved_;
  std::deque<uint64_t> queue_;  // the front has the turn
  uint64_t next_ = 0;
};

}  // namespace fathom::infer
