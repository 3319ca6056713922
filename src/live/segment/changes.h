// What happens to the documents of a segment after it was written: deaths, and counts that came later.
//
// One writer (`bury`, `add`, `set`), any number of readers, no locks: per document an atomic sequence of its death and
// atomic sums, in blocks of 1024 that are made when first needed and stay where they are.
//
// Encoded: number of deaths, of each the rise of the document's number and the sequence; number of counted documents, of each
// the rise of the number and the sums of likes, reposts, replies (zig-zag); all varints.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/post.h"

namespace fathom::live {

class SegmentChanges {
 public:
  SegmentChanges() = default;
  explicit SegmentChanges(uint32_t documents);
  ~SegmentChanges();
  SegmentChanges(const SegmentChanges&) = delete;
  SegmentChanges& operator=(const SegmentChanges&) = delete;

  // Any thread

  /// The sequence that ended the document; 0: none has.
  uint64_t death(uint32_t number) const {
    const Deaths* block = deaths_[number >> kBlockBits].load(std::memory_order_acquire);
    return block == nullptr ? 0 : (*block)[number & kMask].load(std::memory_order_relaxed);
  }
  /// Puts counts that came later in the place of those of the columns.
  void apply(uint32_t number, DocumentFacts& facts) const {
    const uint64_t now = current(number);
    if (now == 0) return;
    facts.likes = static_cast<uint32_t>(now);
    facts.engagement = static_cast<uint8_t>(now >> 32);
  }
  void apply(uint32_t number, RankFacts& facts) const {
    if (const uint64_t now = current(number); now != 0) facts.engagement = static_cast<uint8_t>(now >> 32);
  }
  /// The sums since the document came.
  CountChange counts(uint32_t number) const;

  // Writer

  /// False when the document was dead before.
  bool bury(uint32_t number, uint64_t sequence);
  /// Sets the sums, and what ranking reads of them.
  void set_counts(uint32_t number, const CountChange& sums, uint32_t likes, uint8_t engagement);

  std::string encode() const;

 private:
  static constexpr uint32_t kBlock = 1u << kBlockBits, kMask = kBlock - 1;
  static constexpr uint64_t kPresent = uint64_t{1} << 40;
  using Deaths = std::array<std::atomic<uint64_t>, kBlock>;
  struct Counts {
    std::array<std::atomic<uint64_t>, kBlock>
        now{};  // likes | engagement << 32 | kPresent; 0: as the columns say
    std::array<std::atomic<int32_t>, kBlock> likes{}, reposts{}, replies{};
  };

  uint64_t current(uint32_t number) const {
    const Counts* block = counts_[number >> kBlockBits].load(std::memory_order_acquire);
    return block == nullptr ? 0 : block->now[number & kMask].load(std::memory_order_relaxed);
  }

  uint32_t blocks_ = 0;
  std::unique_ptr<std::atomic<Deaths*>[]> deaths_;
  std::unique_ptr<std::atomic<Counts*>[]> counts_;
};

/// What ranking reads of a post whose counts came to `sums` more after it did.
void count_in(const Metrics& metrics, const CountChange& sums, DocumentFacts& facts);
/// The counts with the sums in.
void count_in(Metrics& metrics, const CountChange& sums);

/// Changes as they are encoded.
struct DecodedChanges {
  struct Death {
    uint32_t number = 0;
    uint64_t sequence = 0;
  };
  struct Counted {
    uint32_t number = 0;
    CountChange sums;
  };
  std::vector<Death> deaths;
  std::vector<Counted> counts;
};

/// False when the bytes are not changes of so many documents.
bool decode_changes(std::string_view bytes, uint32_t documents, DecodedChanges& out);

/// Writes DecodedChanges; numbers must rise.
std::string encode_changes(const DecodedChanges& changes);

}  // namespace fathom::live
