// Posting lists of a sealed segment: written once, newest first, and walked from the newest document back.
//
// A list of up to 8 postings lies in its term's entry: (difference to the number above, less one, doubled, + 1 when the
// frequency is above 1), the frequency then, the places (see positions.h), all varints. A longer one is cut into blocks of 128
// from the newest on, the last being shorter; each block is
//   width of differences | width of frequencies | differences | frequencies less one
// vertically packed when it is full (bit_packing.h), else horizontally. A list of more than one block has a table behind
// its blocks: the lowest document of each (u32), then of each: how far its postings lie before the table and its places behind
// the list's first (u32 both), highest frequency, lowest length (u8 both): what block-max pruning reads (Ding and Suel, 2011).
// The term's entry holds the number of postings, the bounds over all of them, and where the list lies.
//
// Whatever the bytes say, a reader stays within the section and within the segment's documents: damage gives wrong hits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/segment/bit_packing.h"
#include "live/segment/format.h"
#include "live/segment/positions.h"

namespace fathom::live {

inline constexpr uint32_t kInlinePostings = 8;

/// What a segment knows of a term. A view into the segment.
class SealedTerm {
 public:
  explicit operator bool() const { return count_ > 0; }
  uint32_t count() const { return count_; }
  uint32_t max_frequency() const { return max_frequency_; }
  uint32_t min_length() const { return min_length_; }

 private:
  friend class PostingLists;
  friend class SealedCursor;
  friend class SealedPositions;

  uint32_t count_ = 0;
  uint8_t max_frequency_ = 0, min_length_ = 0;
  Bytes inline_;            // the postings themselves, when they are few
  uint64_t postings_ = 0;   // else of the table, or of the only block
  uint64_t positions_ = 0;  // of the first block
};

/// The two sections that lists lie in.
class PostingLists {
 public:
  PostingLists() = default;
  PostingLists(Bytes postings, Bytes positions, const RankFacts* facts, uint32_t documents)
      : postings_(postings), positions_(positions), facts_(facts), documents_(documents) {}

  /// Reads a term's entry; a damaged one is a term without documents.
  SealedTerm open(ByteReader& entry) const;

 private:
  friend class SealedCursor;
  friend class SealedPositions;

  uint32_t blocks(const SealedTerm& term) const {
    return (term.count_ + kPostingsPerBlock - 1) / kPostingsPerBlock;
  }
  SealedTerm open_inline(Bytes list) const;

  Bytes postings_, positions_;
  const RankFacts* facts_ = nullptr;  // of document 0 on
  uint32_t documents_ = 0;
};

/// Walks one list from a document back. Reads the segment, which must outlive it; one thread.
class SealedCursor {
 public:
  SealedCursor() = default;
  /// At the newest document below `end`.
  SealedCursor(const PostingLists& lists, const SealedTerm& term, uint32_t end);

  /// Moves to the newest document that is not above `document` and returns it; 0 at the end. Never moves forward.
  uint32_t seek(uint32_t document) {
    if (document_ <= document) return document_;
    if (index_ + 1 < size_ && documents_[index_ + 1] <= document) return document_ = documents_[++index_];
    return move(document);
  }
  uint32_t document() const { return document_; }
  uint32_t frequency() const { return frequency_at(index_); }
  /// Bounds of the block that seek(document) would come to, without decoding it. REQUIRES: as for seek.
  BlockBound block(uint32_t document) const;

 private:
  friend class SealedPositions;
  static constexpr uint8_t kInline = 0xFF;  // as frequency_width_

  uint32_t frequency_at(uint32_t index) const {
    if (frequency_width_ == kInline) return inline_frequencies_[index];
    if (size_ == kPostingsPerBlock) return 1 + read_packed(frequencies_, index, frequency_width_);
    return 1 + static_cast<uint32_t>(
                   read_bits(frequencies_, uint64_t{index} * frequency_width_, frequency_width_));
  }
  uint32_t move(uint32_t document);
  uint32_t find_in_block(uint32_t document);
  bool load_block(uint32_t block);
  void load_short();
  uint32_t find_block(uint32_t document) const;
  uint32_t lowest(uint32_t block) const { return load<uint32_t>(table_ + size_t{block} * sizeof(uint32_t)); }
  const uint8_t* entry(uint32_t block) const;
  uint32_t end_here() {
    index_ = size_ = 0;
    return document_ = 0;
  }

  alignas(16) std::array<uint32_t, kPostingsPerBlock> documents_;  // of the block at hand, falling
  std::array<uint8_t, kInlinePostings> inline_frequencies_;
  const PostingLists* lists_ = nullptr;
  SealedTerm term_;
  const uint8_t* table_ = nullptr;  // null for a single block
  const uint8_t* frequencies_ = nullptr;
  uint8_t frequency_width_ = 0;
  uint32_t blocks_ = 0, block_ = 0;
  uint32_t index_ = 0, size_ = 0;  // within documents_
  uint32_t document_ = 0;
};

/// Writes lists one after another, each from its newest posting back.
class PostingWriter {
 public:
  /// `facts` of document 0 on; all must outlive the writer.
  PostingWriter(SegmentFileWriter& postings, ScratchFile& positions, std::span<const RankFacts> facts)
      : postings_(postings), positions_(positions), facts_(facts) {}

  /// `places` as positions.h says. REQUIRES: documents fall; frequency from 1 to 31.
  void add(uint32_t document, uint32_t frequency, std::span<const uint32_t> places);
  uint32_t count() const { return count_; }
  /// Ends the list; what the term's entry holds of it, valid until the next call.
  std::string_view finish();

 private:
  struct Block {
    uint32_t lowest = 0;
    uint64_t postings = 0, positions = 0;  // in their sections
    uint8_t max_frequency = 0, min_length = 0xFF;
  };

  void flush();
  void write_inline();
  void write_head();
  void write_table();

  SegmentFileWriter& postings_;
  ScratchFile& positions_;
  std::span<const RankFacts> facts_;
  std::array<uint32_t, kPostingsPerBlock> documents_, frequencies_;
  std::vector<uint32_t> places_;  // of the block at hand
  uint32_t filled_ = 0, count_ = 0;
  uint32_t above_ = 0;  // the number above the block's first
  std::vector<Block> blocks_;
  std::string scratch_, body_, entry_;
  BitWriter bits_;
};

}  // namespace fathom::live
