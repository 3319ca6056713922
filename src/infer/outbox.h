// What a generation has said and its reader has not yet taken: the one thing that the scheduler's thread and a caller share.
//
// The scheduler puts tokens in and never waits; it passes over a generation whose outbox is full until the reader has
// caught up. The reader waits for tokens, the end, its stop token or a deadline. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "infer/engine.h"

namespace fathom::infer {

/// A token of a generation.
struct Delivery {
  std::optional<TokenChoice> choice;  // where log-probabilities were asked for
  std::string text;                   // that has become certain with it; perhaps none
};

class Outbox {
 public:
  /// Tokens that a generation may be ahead of its reader.
  static constexpr size_t kRoom = 64;

  enum class State { kOpen, kClosed, kStopped, kLate };

  struct Batch {
    std::vector<Delivery> deliveries;
    bool was_full = false;
    State state = State::kOpen;  // kClosed: nothing comes after these
  };

  // The scheduler's side.
  void put(Delivery delivery);
  bool full() const { return size_.load(std::memory_order_relaxed) >= kRoom; }
  /// What the reader gets to know of a generation that it leaves early.
  void note(const GenerateResult& so_far);
  void close(const GenerateResult& result);
  void fail(std::exception_ptr error);
  /// The reader has left.
  bool abandoned() const { return abandoned_.load(std::memory_order_relaxed); }

  // The reader's side.
  /// Waits for a delivery with text or choice, the end, `stop` or `deadline`; gives all that is there.
  Batch take(const std::stop_token& stop,
             const std::optional<std::chrono::steady_clock::time_point>& deadline);
  void abandon() { abandoned_.store(true, std::memory_order_relaxed); }
  /// The result as far as it is known, without text. Throws what `fail` was given, once: from then on it is the reader's.
  GenerateResult result();

 private:
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Delivery> deliveries_;
  bool worth_waking_ = false;  // one of them has something for the reader
  bool closed_ = false;
  GenerateResult result_;
  std::exception_ptr error_;
  std::atomic<size_t> size_{0};
  std::atomic<bool> abandoned_{false};
};

}  // namespace fathom::infer
