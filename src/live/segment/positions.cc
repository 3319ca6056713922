#include "live/segment/positions.h"

#include <algorithm>
#include <array>

#include "live/segment/bit_packing.h"
#include "live/segment/postings.h"

namespace fathom::live {
namespace {

constexpr unsigned kMaxWidth = 32;

/// The width that takes the fewest bits, escapes included.
unsigned best_width(std::span<const uint32_t> values) {
  std::array<size_t, kMaxWidth + 1> of_width{};  // how many values need so many bits
  for (const uint32_t value : values) ++of_width[bits_for(value)];
  if (of_width[0] == values.size()) return 0;
  unsigned best = kMaxWidth;
  size_t least = values.size() * (kMaxWidth + 1), escapes = 0;
  for (unsigned width = kMaxWidth; width >= 1; --width) {
    // A value of all ones must be escaped too; few are.
    const size_t bits = values.size() * width + escapes * (width > 8 ? 24 : 12);
    if (bits <= least) least = bits, best = width;
    escapes += of_width[width];
  }
  return best;
}

}  // namespace

void encode_places(std::span<const uint32_t> places, uint32_t frequency, std::vector<uint32_t>& values) {
  const size_t begin = values.size();
  const bool counted = frequency >= kMaxCountedFrequency;
  if (counted) values.push_back(static_cast<uint32_t>(std::max<size_t>(places.size(), 1)));
  uint32_t last = 0;
  for (size_t i = 0; i < places.size() && (counted || i < frequency); ++i) {
    values.push_back(i == 0 ? places[0] + 1 : places[i] - last);
    last = places[i];
  }
  const size_t wanted = counted ? values[begin] + 1 : frequency;
  values.resize(begin + wanted, 0);
}

void pack_places(std::span<const uint32_t> values, std::string& out) {
  put_varint(out, values.size());
  const unsigned width = best_width(values);
  out += static_cast<char>(width);
  if (width == 0) return;
  const auto escape = static_cast<uint32_t>((uint64_t{1} << width) - 1);
  BitWriter bits;
  for (const uint32_t value : values) bits.put(std::min(value, escape), width);
  bits.flush_to(out);
  for (const uint32_t value : values)
    if (value >= escape) put_varint(out, value - escape);
}

bool unpack_places(ByteReader in, std::vector<uint32_t>& values) {
  values.clear();
  const uint64_t count = in.varint();
  const unsigned width = in.byte();
  if (!in.ok() || width > kMaxWidth || count > (uint64_t{1} << 32)) return false;
  if (width == 0) {
    if (count > kPostingsPerBlock * kMaxCountedFrequency) return false;
    values.resize(count, 0);
    return true;
  }
  const uint8_t* packed = in.at();
  in.string((count * width + 7) / 8);
  if (!in.ok()) return false;
  const auto escape = static_cast<uint32_t>((uint64_t{1} << width) - 1);
  values.resize(count);
  for (uint64_t i = 0; i < count; ++i) {
    auto value = static_cast<uint32_t>(read_bits(packed, i * width, width));
    if (value == escape) value += static_cast<uint32_t>(in.varint());
    values[i] = value;
  }
  return in.ok();
}

void SealedPositions::load(const SealedCursor& cursor) {
  block_ = cursor.block_;
  postings_ = 0;
  starts_.assign(1, 0);
  const Bytes all = cursor.lists_->positions_;
  const SealedTerm& term = cursor.term_;
  if (!term.inline_.empty()) {
    values_.clear();
    ByteReader in(term.inline_);
    while (in.left() > 0) {  // the same walk as the cursor's
      const uint64_t code = in.varint();
      const uint64_t frequency = (code & 1) != 0 ? in.varint() : 1;
      const uint64_t count = frequency == kMaxCountedFrequency ? in.varint() : frequency;
      if (frequency == kMaxCountedFrequency) values_.push_back(static_cast<uint32_t>(count));
      for (uint64_t i = 0; i < count && in.ok(); ++i) values_.push_back(static_cast<uint32_t>(in.varint()));
    }
    return;
  }
  const uint64_t behind = cursor.table_ == nullptr ? 0 : live::load<uint32_t>(cursor.entry(block_) + 4);
  const uint64_t at = term.positions_ + behind;
  if (at > all.size() || !unpack_places(ByteReader(all.subspan(at)), values_)) values_.clear();
}

std::span<const uint32_t> SealedPositions::values(const SealedCursor& cursor) {
  if (block_ != cursor.block_) load(cursor);
  // Frequencies tell where each posting's values begin.
  for (; postings_ <= cursor.index_; ++postings_) {
    const uint32_t start = starts_.back();
    uint32_t count = cursor.frequency_at(postings_);
    if (count == kMaxCountedFrequency && start < values_.size())
      count = 1 + std::min<uint32_t>(values_[start], static_cast<uint32_t>(values_.size()));
    starts_.push_back(std::min<uint32_t>(start + count, static_cast<uint32_t>(values_.size())));
  }
  const uint32_t begin = starts_[cursor.index_], end = starts_[cursor.index_ + 1];
  return std::span(values_).subspan(begin, end - begin);
}

const std::vector<uint32_t>& SealedPositions::places(const SealedCursor& cursor) {
  std::span<const uint32_t> found = values(cursor);
  places_.clear();
  if (cursor.frequency() == kMaxCountedFrequency && !found.empty()) found = found.subspan(1);
  if (found.empty() || found.front() == 0) return places_;
  uint32_t place = found.front() - 1;
  places_.push_back(place);
  for (const uint32_t difference : found.subspan(1))
    if (difference != 0) places_.push_back(place += difference);
  return places_;
}

}  // namespace fathom::live
