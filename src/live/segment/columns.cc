#include "live/segment/columns.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace fathom::live {
namespace {

using Field = ColumnBlock::Field;

/// The widest that each field may be.
constexpr std::array<unsigned, ColumnBlock::kFields> kMaxWidth = {64, 32, 16, 16};

int64_t field_of(const DocumentFacts& facts, Field field) {
  switch (field) {
    case Field::kCreated: return facts.created;
    case Field::kLikes: return facts.likes;
    case Field::kSource: return facts.source;
    default: return facts.lang;
  }
}

uint64_t above(int64_t value, int64_t base) {
  return static_cast<uint64_t>(value) - static_cast<uint64_t>(base);
}

/// What all times of the block above its oldest are multiples of.
uint64_t common_unit(const std::vector<DocumentFacts>& facts, int64_t base) {
  uint64_t unit = 0;
  for (const auto& one : facts) unit = std::gcd(unit, above(one.created, base));
  return std::max<uint64_t>(unit, 1);
}

bool sound(const ColumnBlock& block, uint64_t rows, uint64_t section) {
  unsigned bits = 0;
  for (size_t f = 0; f < ColumnBlock::kFields; ++f) {
    if (block.width[f] > kMaxWidth[f] || block.start[f] != bits) return false;
    bits += block.width[f];
  }
  if (block.row_bits != bits || block.sequence_width > 64) return false;
  const auto fits = [&](uint64_t offset, uint64_t bytes) {
    return offset <= section && bytes <= section - offset;
  };
  return fits(block.rows, (rows * bits + 7) / 8) &&
         fits(block.sequences, (rows * block.sequence_width + 7) / 8);
}

}  // namespace

SealedColumns::SealedColumns(const SegmentFile& file, uint32_t documents) : documents_(documents) {
  file.check(SectionKind::kColumns);
  const Bytes blocks = file.section(SectionKind::kColumns), rows = file.section(SectionKind::kRows),
              ranks = file.section(SectionKind::kRankFacts), sketches = file.section(SectionKind::kSketches);
  block_count_ = (documents >> kBlockBits) + 1;
  const size_t count = size_t{documents} + 1;
  if (blocks.size() != block_count_ * sizeof(ColumnBlock) || ranks.size() != count * sizeof(RankFacts) ||
      sketches.size() != count * sizeof(uint64_t))
    file.corrupt(SectionKind::kColumns, "its size is not that of the documents");
  blocks_ = reinterpret_cast<const ColumnBlock*>(blocks.data());  // aligned to 8, as all sections
  for (uint32_t i = 0; i < block_count_; ++i)
    if (!sound(blocks_[i], kBlockDocuments, rows.size()) &&
        !(i + 1 == block_count_ && sound(blocks_[i], (documents & (kBlockDocuments - 1)) + 1, rows.size())))
      file.corrupt(SectionKind::kColumns, "a block lies outside the rows");
  rows_ = rows.data();
  static_assert(sizeof(RankFacts) == 4 && alignof(RankFacts) == 1);
  ranks_ = reinterpret_cast<const RankFacts*>(ranks.data());
  sketches_ = sketches.data();
}

uint64_t SealedColumns::sequence(uint32_t number) const {
  const ColumnBlock& block = blocks_[number >> kBlockBits];
  const uint64_t place = number & (kBlockDocuments - 1);
  return block.first_sequence + place +
         read_wide_bits(rows_ + block.sequences, place * block.sequence_width, block.sequence_width);
}

uint32_t SealedColumns::end(uint64_t sequence) const {
  uint32_t low = 1, high = documents_ + 1;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (this->sequence(middle) <= sequence)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

ColumnWriter::ColumnWriter(ScratchFile& rows, ScratchFile& sketches)
    : rows_(rows), sketches_(sketches), facts_(1), sequences_(1), ranks_(1) {
  sketches_.write(std::string(sizeof(uint64_t), '\0'));  // of document 0
}

void ColumnWriter::add(const DocumentFacts& facts, uint64_t sequence, uint64_t sketch) {
  if (facts_.size() == kBlockDocuments) flush();
  if (documents() == 0) {  // document 0 must not widen the columns
    facts_[0] = facts;
    sequences_[0] = sequence - 1;
  }
  facts_.push_back(facts);
  sequences_.push_back(sequence);
  ranks_.push_back({facts.length, facts.engagement, facts.author, facts.flags});
  sketches_.write({reinterpret_cast<const char*>(&sketch), sizeof sketch});
}

void ColumnWriter::flush() {
  ColumnBlock block;
  BitWriter bits;
  for (uint8_t f = 0; f < ColumnBlock::kFields; ++f) {
    int64_t least = std::numeric_limits<int64_t>::max(), most = std::numeric_limits<int64_t>::min();
    for (const auto& facts : facts_) {
      const int64_t value = field_of(facts, static_cast<Field>(f));
      least = std::min(least, value);
      most = std::max(most, value);
    }
    if (f == ColumnBlock::kCreated) {
      block.oldest = least;
      block.newest = most;
      block.created_unit = common_unit(facts_, least);
    }
    block.base[f] = least;
    block.width[f] = static_cast<uint8_t>(
        bits_for(above(most, least) / (f == ColumnBlock::kCreated ? block.created_unit : 1)));
    block.start[f] = static_cast<uint8_t>(block.row_bits);
    block.row_bits = static_cast<uint16_t>(block.row_bits + block.width[f]);
  }
  for (const auto& facts : facts_)
    for (uint8_t f = 0; f < ColumnBlock::kFields; ++f)
      bits.put(above(field_of(facts, static_cast<Field>(f)), block.base[f]) /
                   (f == ColumnBlock::kCreated ? block.created_unit : 1),
               block.width[f]);
  for (const auto& facts : facts_) {
    block.engagement = std::max(block.engagement, facts.engagement);
    block.author = std::max(block.author, facts.author);
  }
  block.rows = rows_.size();
  std::string packed;
  bits.flush_to(packed);
  rows_.write(packed);
  block.first_sequence = sequences_.front();
  const uint64_t rise = sequences_.back() - sequences_.front() - (sequences_.size() - 1);
  block.sequence_width = static_cast<uint8_t>(bits_for(rise));
  for (size_t i = 0; i < sequences_.size(); ++i)
    bits.put(sequences_[i] - sequences_.front() - i, block.sequence_width);
  block.sequences = rows_.size();
  packed.clear();
  bits.flush_to(packed);
  rows_.write(packed);
  store(blocks_, block);
  facts_.clear();
  sequences_.clear();
}

void ColumnWriter::finish(SegmentFileWriter& file) {
  if (!facts_.empty()) flush();
  file.add(SectionKind::kRows, rows_);
  file.add(SectionKind::kColumns, blocks_);
  file.add(SectionKind::kRankFacts,
           {reinterpret_cast<const char*>(ranks_.data()), ranks_.size() * sizeof(RankFacts)});
  file.add(SectionKind::kSketches, sketches_);
}

}  // namespace fathom::live
