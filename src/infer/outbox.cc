#include "infer/outbox.h"

#include <utility>

namespace fathom::infer {

void Outbox::put(Delivery delivery) {
  {
    std::lock_guard lock(mutex_);
    worth_waking_ |= delivery.choice.has_value() || !delivery.text.empty();
    deliveries_.push_back(std::move(delivery));
    size_.store(deliveries_.size(), std::memory_order_relaxed);
    worth_waking_ |= deliveries_.size() >= kRoom;
    if (!worth_waking_) return;
  }
  changed_.notify_one();
}

void Outbox::note(const GenerateResult& so_far) {
  std::lock_guard lock(mutex_);
  result_ = so_far;
}

void Outbox::close(const GenerateResult& result) {
  std::lock_guard lock(mutex_);
  result_ = result;
  closed_ = true;
  changed_.notify_one();
}

void Outbox::fail(std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  error_ = std::move(error);
  closed_ = true;
  changed_.notify_one();
}

Outbox::Batch Outbox::take(const std::stop_token& stop,
                           const std::optional<std::chrono::steady_clock::time_point>& deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return worth_waking_ || closed_; };
  const bool came =
      deadline ? changed_.wait_until(lock, stop, *deadline, ready) : changed_.wait(lock, stop, ready);
  Batch out;
  out.was_full = deliveries_.size() >= kRoom;
  out.deliveries = std::exchange(deliveries_, {});
  size_.store(0, std::memory_order_relaxed);
  worth_waking_ = false;
  if (stop.stop_requested())
    out.state = State::kStopped;
  else if (closed_)
    out.state = State::kClosed;
  else if (!came || (deadline && std::chrono::steady_clock::now() >= *deadline))
    out.state = State::kLate;
  return out;
}

GenerateResult Outbox::result() {
  std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  return result_;
}

}  // namespace fathom::infer
