// What ranking and filters read of a document, the same in memory and in a sealed segment.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

namespace fathom::live {

/// The columns of one document.
struct DocumentFacts {
  static constexpr uint8_t kTombstone = 1, kHasLink = 2, kRepost = 4, kFiction = 8, kSensitive = 16,
                           kReply = 32;

  int64_t created = 0;  // microseconds; of a tombstone: the time of the order
  uint32_t likes = 0;   // saturated
  uint16_t source = 0, lang = 0;
  uint8_t length = 0;      // words, cut at 255
  uint8_t engagement = 0;  // sixteenths of ln(1 + likes + reposts + replies)
  uint8_t author = 0;      // sixteenths of ln(1 + followers); 0 when unknown
  uint8_t flags = 0;
};
inline constexpr double kLogStep = 1.0 / 16;  // of `engagement` and `author`

/// The column's form of a count: ln(1 + n) in steps, rounded to the nearest, at most 255. Negative counts are 0.
inline uint8_t log_steps(double n) {
  const double steps = n > 0 ? std::log1p(n) / kLogStep + 0.5 : 0;
  return static_cast<uint8_t>(steps < 255 ? steps : 255);
}

/// Those of the columns that a score is bounded by, kept together: read for every candidate.
struct RankFacts {
  uint8_t length = 0, engagement = 0, author = 0, flags = 0;
};

/// Bounds over 1024 neighbouring documents.
struct TimeBounds {
  std::atomic<int64_t> oldest{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> newest{std::numeric_limits<int64_t>::min()};
  std::atomic<uint8_t> engagement{0}, author{0};                // the most of any
  int64_t newest_before = std::numeric_limits<int64_t>::min();  // over all earlier blocks of the segment
};
inline constexpr uint32_t kBlockBits = 10;

/// Bounds over one block of postings.
struct BlockBound {
  uint32_t lowest = 0;  // document; the next block back lies below it
  uint8_t max_frequency = 0, min_length = 0;
};
inline constexpr uint32_t kMaxCountedFrequency = 31;

/// Likes and the like that came after a post did.
struct CountChange {
  int32_t likes = 0, reposts = 0, replies = 0;
};

}  // namespace fathom::live
