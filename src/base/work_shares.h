// The work of one loop, shared out among the threads of a pool: each walks its own share from front to back, so that memory
// is read in a row, and then helps the others from the back of theirs, so that all finish together although the processor
// gives one less than another. Which thread does a piece is left to chance; results must not depend on it.
//
// `take` may be called by all threads at once; `begin` only while none takes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/error.h"

namespace fathom {

class WorkShares {
 public:
  struct Piece {
    size_t begin = 0;
    size_t end = 0;

    bool empty() const { return begin == end; }
  };

  explicit WorkShares(size_t threads) : threads_(threads), left_(std::make_unique<Left[]>(threads)) {}

  /// Shares [0, count) out in equal parts. REQUIRES: count < 2^32.
  void begin(size_t count) {
    FATHOM_CHECK(count >> 32 == 0);
    for (size_t t = 0; t < threads_; ++t)
      left_[t].range.store(pack({count * t / threads_, count * (t + 1) / threads_}),
                           std::memory_order_relaxed);
  }

  /// What `thread` does next: half of what its share has left, between `least` and `most`; empty when all is taken.
  /// REQUIRES: 0 < least <= most.
  Piece take(size_t thread, size_t least, size_t most) {
    Piece piece = take_from(left_[thread].range, least, most, false);
    for (size_t i = 1; i < threads_ && piece.empty(); ++i)
      piece = take_from(left_[(thread + i) % threads_].range, least, most, true);
    return piece;
  }

 private:
  /// Apart, so that threads do not wait for each other's cache lines.
  struct alignas(64) Left {
    std::atomic<uint64_t> range{0};
  };

  static uint64_t pack(Piece p) { return uint64_t{p.begin} << 32 | p.end; }
  static Piece unpack(uint64_t range) { return {range >> 32, range & 0xFFFFFFFF}; }

  static Piece take_from(std::atomic<uint64_t>& range, size_t least, size_t most, bool back) {
    uint64_t seen = range.load(std::memory_order_relaxed);
    for (;;) {
      const Piece left = unpack(seen);
      const size_t count = left.end - left.begin;
      if (count == 0) return {};
      const size_t part = std::min(count, std::clamp(count / 2, least, most));
      const Piece piece = back ? Piece{left.end - part, left.end} : Piece{left.begin, left.begin + part};
      const Piece rest = back ? Piece{left.begin, piece.begin} : Piece{piece.end, left.end};
      if (range.compare_exchange_weak(seen, pack(rest), std::memory_order_relaxed)) return piece;
    }
  }

  size_t threads_;
  std::unique_ptr<Left[]> left_;
};

}  // namespace fathom
