// What ranking and filters read of a sealed document: packed columns, four bytes as they are, eight bytes of sketch.
//
// Per 1024 documents a header: the base and the width of each field, less its base in as few bits as the block needs (frame
// of reference; times in units of their greatest common divisor), all fields of a document side by side, so that one or two
// cache lines hold them. Sequences are stored as what they are above a rise by one, which mostly takes no bits at all.
// What bounds a score (RankFacts) lies apart and unpacked: it is read for every candidate. Document 0 stands for none and has
// a row.
//
// SealedColumns: immutable, any thread; damage gives wrong values, never a read outside the section.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "live/facts.h"
#include "live/segment/bit_packing.h"
#include "live/segment/format.h"

namespace fathom::live {

/// As it lies in the file.
struct ColumnBlock {
  enum Field : uint8_t { kCreated, kLikes, kSource, kLang, kFields };

  std::array<int64_t, kFields> base{};
  uint64_t created_unit = 1;
  uint64_t first_sequence = 0;  // of the block's first document
  int64_t oldest = 0, newest = 0;
  uint64_t rows = 0, sequences = 0;  // offsets in their section
  std::array<uint8_t, kFields> width{}, start{};
  uint8_t sequence_width = 0;
  uint8_t engagement = 0, author = 0;  // the most of any
  uint8_t unused = 0;
  uint16_t row_bits = 0;
  uint16_t unused2 = 0;
};
static_assert(sizeof(ColumnBlock) % 8 == 0);

inline constexpr uint32_t kBlockDocuments = 1u << kBlockBits;

class SealedColumns {
 public:
  SealedColumns() = default;
  /// Errors: kCorrupt.
  SealedColumns(const SegmentFile& file, uint32_t documents);

  DocumentFacts facts(uint32_t number) const {
    const ColumnBlock& block = blocks_[number >> kBlockBits];
    const uint8_t* rows = rows_ + block.rows;
    const uint64_t row = uint64_t{number & (kBlockDocuments - 1)} * block.row_bits;
    const auto field = [&](ColumnBlock::Field f) {
      return static_cast<uint64_t>(block.base[f]) + read_bits(rows, row + block.start[f], block.width[f]);
    };
    DocumentFacts facts;
    facts.created = created(block, rows, row);
    facts.likes = static_cast<uint32_t>(field(ColumnBlock::kLikes));
    facts.source = static_cast<uint16_t>(field(ColumnBlock::kSource));
    facts.lang = static_cast<uint16_t>(field(ColumnBlock::kLang));
    const RankFacts& rank = ranks_[number];
    facts.length = rank.length;
    facts.engagement = rank.engagement;
    facts.author = rank.author;
    facts.flags = rank.flags;
    return facts;
  }
  RankFacts rank_facts(uint32_t number) const { return ranks_[number]; }
  /// Of document 0 on.
  const RankFacts* ranks() const { return ranks_; }
  uint64_t sketch(uint32_t number) const {
    return load<uint64_t>(sketches_ + size_t{number} * sizeof(uint64_t));
  }
  uint64_t sequence(uint32_t number) const;
  /// The first document whose sequence is above `sequence`.
  uint32_t end(uint64_t sequence) const;

  uint32_t blocks() const { return block_count_; }
  const ColumnBlock& block(uint32_t number) const { return blocks_[number]; }

 private:
  static int64_t created(const ColumnBlock& block, const uint8_t* rows, uint64_t row) {
    const uint64_t steps = read_wide_bits(rows, row, block.width[ColumnBlock::kCreated]);
    return static_cast<int64_t>(static_cast<uint64_t>(block.base[ColumnBlock::kCreated]) +
                                block.created_unit * steps);
  }

  const ColumnBlock* blocks_ = nullptr;
  const uint8_t* rows_ = nullptr;
  const RankFacts* ranks_ = nullptr;
  const uint8_t* sketches_ = nullptr;
  uint32_t block_count_ = 0, documents_ = 0;
};

/// Gathers documents in order of number, from 1 on.
class ColumnWriter {
 public:
  ColumnWriter(ScratchFile& rows, ScratchFile& sketches);

  void add(const DocumentFacts& facts, uint64_t sequence, uint64_t sketch);
  /// Writes the sections.
  void finish(SegmentFileWriter& file);

  uint32_t documents() const { return static_cast<uint32_t>(ranks_.size()) - 1; }
  /// Of document 0 on.
  const std::vector<RankFacts>& ranks() const { return ranks_; }

 private:
  void flush();

  ScratchFile &rows_, &sketches_;
  std::vector<DocumentFacts> facts_;  // of the block at hand
  std::vector<uint64_t> sequences_;
  std::vector<RankFacts> ranks_;
  std::string blocks_;
};

}  // namespace fathom::live
