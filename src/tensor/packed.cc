#include "tensor/packed.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "tensor/block_format.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/packed.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#ifndef FATHOM_TENSOR_PACKED_LANES_
#define FATHOM_TENSOR_PACKED_LANES_
namespace fathom::tensor {

inline constexpr size_t kWordRow = kGroupRows * 4;  // bytes of one word of every row of a group

/// The rows of one group, read side by side. Rows missing from the last group read as zeros.
struct Lanes {
  /// What a missing row reads from: as long as the longest step.
  static constexpr std::array<std::byte, 256> kZeros{};

  Lanes(const std::byte* first, size_t stride, size_t rows) {
    for (size_t r = 0; r < kGroupRows; ++r) {
      at[r] = r < rows ? first + r * stride : kZeros.data();
      present[r] = r < rows ? 1 : 0;
    }
  }
  void advance(size_t bytes) {
    for (size_t r = 0; r < kGroupRows; ++r) at[r] += bytes * present[r];
  }
  const std::byte* at[kGroupRows];
  size_t present[kGroupRows];  // 1, or 0 for a missing row
};

}  // namespace fathom::tensor
#endif

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Sixteen bytes at a time: a transposition of small squares, which wider registers would not do in fewer steps.
using D32 = hn::FixedTag<uint32_t, 4>;
using D64 = hn::FixedTag<uint64_t, 2>;
using D16 = hn::FixedTag<uint16_t, 8>;
using V32 = hn::Vec<D32>;
using V16 = hn::Vec<D16>;

HWY_INLINE V32 load_words(const std::byte* at) {
  return hn::BitCast(D32(), hn::LoadU(hn::FixedTag<uint8_t, 16>(), reinterpret_cast<const uint8_t*>(at)));
}

HWY_INLINE void store_words(V32 v, std::byte* to) { hn::StoreU(v, D32(), reinterpret_cast<uint32_t*>(to)); }

template <class V>
HWY_INLINE V lower64(V a, V b) {
  const hn::DFromV<V> d;
  return hn::BitCast(d, hn::InterleaveLower(D64(), hn::BitCast(D64(), a), hn::BitCast(D64(), b)));
}
template <class V>
HWY_INLINE V upper64(V a, V b) {
  const hn::DFromV<V> d;
  return hn::BitCast(d, hn::InterleaveUpper(D64(), hn::BitCast(D64(), a), hn::BitCast(D64(), b)));
}

/// Four words of four rows from byte `offset` on: word w of row r goes to `to` + w * kWordRow + 4 r.
HWY_INLINE void transpose_words(const std::byte* const* rows, size_t offset, V32 flip, std::byte* to) {
  const D32 d;
  const V32 a = hn::Xor(load_words(rows[0] + offset), flip);
  const V32 b = hn::Xor(load_words(rows[1] + offset), flip);
  const V32 c = hn::Xor(load_words(rows[2] + offset), flip);
  const V32 e = hn::Xor(load_words(rows[3] + offset), flip);
  const V32 ab_low = hn::InterleaveLower(d, a, b), ab_high = hn::InterleaveUpper(d, a, b);
  const V32 ce_low = hn::InterleaveLower(d, c, e), ce_high = hn::InterleaveUpper(d, c, e);
  store_words(lower64(ab_low, ce_low), to);
  store_words(upper64(ab_low, ce_low), to + kWordRow);
  store_words(lower64(ab_high, ce_high), to + 2 * kWordRow);
  store_words(upper64(ab_high, ce_high), to + 3 * kWordRow);
}

/// `words` words of every row from byte `offset` on.
HWY_INLINE void pack_words(const Lanes& lanes, size_t offset, size_t words, uint32_t flip, std::byte* to) {
  const V32 flips = hn::Set(D32(), flip);
  constexpr size_t kLine = 16;  // words that a cache line of a row has: read whole before the next row's
  for (size_t line = 0; line < words; line += kLine) {
    const size_t end = std::min(words, line + kLine) / 4 * 4;
    for (size_t r = 0; r < kGroupRows; r += 4)
      for (size_t w = line; w < end; w += 4)
        transpose_words(lanes.at + r, offset + 4 * w, flips, to + w * kWordRow + 4 * r);
  }
  for (size_t w = words / 4 * 4; w < words; ++w) {
    for (size_t r = 0; r < kGroupRows; ++r) {
      uint32_t word;
      std::memcpy(&word, lanes.at[r] + offset + 4 * w, 4);
      word ^= flip;
      std::memcpy(to + w * kWordRow + 4 * r, &word, 4);
    }
  }
}

/// Eight 16-bit elements of eight rows: element c of row r goes to `to` + 2 (16 c + r).
HWY_INLINE void transpose_halves(const std::byte* const* rows, std::byte* to) {
  const D16 d;
  const D32 d32;
  V16 v[8], pairs[8], fours[8];
  FATHOM_UNROLL
  for (size_t i = 0; i < 8; ++i) v[i] = hn::BitCast(d, load_words(rows[i]));
  FATHOM_UNROLL
  for (size_t i = 0; i < 8; i += 2) {
    pairs[i] = hn::InterleaveLower(d, v[i], v[i + 1]);      // columns 0..3 of two rows
    pairs[i + 1] = hn::InterleaveUpper(d, v[i], v[i + 1]);  // columns 4..7
  }
  FATHOM_UNROLL
  for (size_t half = 0; half < 2; ++half) {
    FATHOM_UNROLL
    for (size_t i = 0; i < 2; ++i) {  // columns 4 half + (0, 1) and (2, 3) of four rows
      const V32 a = hn::BitCast(d32, pairs[4 * i + half]), b = hn::BitCast(d32, pairs[4 * i + 2 + half]);
      fours[4 * half + i] = hn::BitCast(d, hn::InterleaveLower(d32, a, b));
      fours[4 * half + 2 + i] = hn::BitCast(d, hn::InterleaveUpper(d32, a, b));
    }
  }
  FATHOM_UNROLL
  for (size_t i = 0; i < 8; i += 2) {
    auto* at = reinterpret_cast<uint16_t*>(to + i * 2 * kGroupRows);
    hn::StoreU(lower64(fours[i], fours[i + 1]), d, at);
    hn::StoreU(upper64(fours[i], fours[i + 1]), d, at + kGroupRows);
  }
}

void PackHalves(Lanes lanes, size_t cols, std::byte* group) {
  const size_t whole = cols / 8 * 8;
  for (size_t c = 0; c < whole; c += 8) {
    transpose_halves(lanes.at, group + c * 2 * kGroupRows);
    transpose_halves(lanes.at + 8, group + c * 2 * kGroupRows + 16);
    lanes.advance(16);
  }
  for (size_t c = whole; c < cols; ++c) {
    for (size_t r = 0; r < kGroupRows; ++r) std::memcpy(group + (c * kGroupRows + r) * 2, lanes.at[r], 2);
    lanes.advance(2);
  }
}

void PackFloats(Lanes lanes, size_t cols, std::byte* group) {
  for (size_t c = 0; c < cols;) {
    const size_t words = std::min<size_t>(16, cols - c);
    pack_words(lanes, 0, words, 0, group + c * kWordRow);
    lanes.advance(4 * words);
    c += words;
  }
}

/// Bit 4 i + k of each row's word to bit 8 k + i.
HWY_INLINE void gather_fifth_bits(std::byte* words) {
  uint32_t x[kGroupRows];
  std::memcpy(x, words, sizeof x);
  for (uint32_t& word : x) {
    uint32_t out = 0;
    for (uint32_t k = 0; k < 4; ++k) {
      uint32_t bits = (word >> k) & 0x11111111u;  // bit 4 i is the one of column 4 i + k
      bits = (bits | bits >> 3) & 0x03030303u;
      bits = (bits | bits >> 6) & 0x000F000Fu;
      bits = (bits | bits >> 12) & 0xFFu;
      out |= bits << (8 * k);
    }
    word = out;
  }
  std::memcpy(words, x, sizeof x);
}

void PackBlocks(DType dtype, Lanes lanes, size_t cols, std::byte* group) {
  const BlockFormat format = block_format(dtype);
  const uint32_t flip = dtype == DType::kQ8_0 ? 0x80808080u : 0;
  const bool fifth_bits = dtype == DType::kQ5_0 || dtype == DType::kQ5_1;
  std::byte* halves = group;
  std::byte* words = group + packed_quants_offset(dtype, cols);
  for (size_t b = 0; b < cols / format.columns; ++b) {
    for (size_t h = 0; h < format.halves; ++h, halves += 2 * kGroupRows)
      for (size_t r = 0; r < kGroupRows; ++r) std::memcpy(halves + 2 * r, lanes.at[r] + format.half_at[h], 2);
    pack_words(lanes, format.words_at, format.words, flip, words);
    if (fifth_bits) gather_fifth_bits(words);
    words += format.words * kWordRow;
    lanes.advance(format.bytes);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

size_t align(size_t bytes) { return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

bool is_plain(DType dtype) { return block_size(dtype) == 1; }

uint16_t load_u16(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return bits;
}

void unpack_plain(const PackedMatrix& m, const std::byte* group, size_t lane, float* out) {
  for (size_t c = 0; c < m.cols; ++c) {
    const size_t at = c * kGroupRows + lane;
    if (m.dtype == DType::kF32)
      std::memcpy(&out[c], group + at * 4, 4);
    else
      out[c] = m.dtype == DType::kF16 ? f16_to_f32(load_u16(group + at * 2))
                                      : bf16_to_f32(load_u16(group + at * 2));
  }
}

/// What gather_fifth_bits took apart.
uint32_t scatter_fifth_bits(uint32_t word) {
  uint32_t out = 0;
  for (uint32_t i = 0; i < 8; ++i)
    for (uint32_t k = 0; k < 4; ++k) out |= (word >> (8 * k + i) & 1u) << (4 * i + k);
  return out;
}

uint32_t stored_word(DType dtype, size_t index, uint32_t word) {
  if (dtype == DType::kQ8_0) return word ^ 0x80808080u;
  if ((dtype == DType::kQ5_0 || dtype == DType::kQ5_1) && index == 0) return scatter_fifth_bits(word);
  return word;
}

}  // namespace

HWY_EXPORT(PackHalves);
HWY_EXPORT(PackFloats);
HWY_EXPORT(PackBlocks);

size_t packed_quants_offset(DType dtype, size_t cols) {
  const BlockFormat format = block_format(dtype);
  return align(cols / format.columns * format.halves * kGroupRows * 2);
}

size_t packed_group_bytes(DType dtype, size_t cols) {
  FATHOM_CHECK(cols % block_size(dtype) == 0, "a row is whole blocks");
  if (is_plain(dtype)) return align(cols * kGroupRows * block_bytes(dtype));
  const BlockFormat format = block_format(dtype);
  return packed_quants_offset(dtype, cols) + cols / format.columns * format.words * kWordRow;
}

size_t packed_bytes(DType dtype, size_t rows, size_t cols) {
  return (rows + kGroupRows - 1) / kGroupRows * packed_group_bytes(dtype, cols);
}

void pack_groups(DType dtype, const std::byte* rows_data, size_t rows, size_t cols, size_t group_begin,
                 size_t group_end, std::byte* packed) {
  const size_t group_bytes = packed_group_bytes(dtype, cols);
  const size_t stored = row_bytes(dtype, cols);
  for (size_t g = group_begin; g < group_end; ++g) {
    std::byte* group = packed + g * group_bytes;
    const Lanes lanes(rows_data + g * kGroupRows * stored, stored,
                      std::min(kGroupRows, rows - g * kGroupRows));
    if (!is_plain(dtype))
      HWY_DYNAMIC_DISPATCH(PackBlocks)(dtype, lanes, cols, group);
    else if (dtype == DType::kF32)
      HWY_DYNAMIC_DISPATCH(PackFloats)(lanes, cols, group);
    else
      HWY_DYNAMIC_DISPATCH(PackHalves)(lanes, cols, group);
  }
}

void unpack_row(const PackedMatrix& m, size_t row, float* out) {
  FATHOM_CHECK(row < m.rows);
  const std::byte* group = m.data + row / kGroupRows * m.group_bytes;
  const size_t lane = row % kGroupRows;
  if (is_plain(m.dtype)) return unpack_plain(m, group, lane, out);
  const BlockFormat format = block_format(m.dtype);
  const std::byte* halves = group;
  const std::byte* words = group + packed_quants_offset(m.dtype, m.cols);
  std::array<std::byte, 256> block;  // as it stood in the file
  for (size_t c = 0; c < m.cols; c += format.columns) {
    for (size_t h = 0; h < format.halves; ++h, halves += 2 * kGroupRows)
      std::memcpy(block.data() + format.half_at[h], halves + 2 * lane, 2);
    for (size_t w = 0; w < format.words; ++w, words += kWordRow) {
      uint32_t word;
      std::memcpy(&word, words + 4 * lane, 4);
      word = stored_word(m.dtype, w, word);
      std::memcpy(block.data() + format.words_at + 4 * w, &word, 4);
    }
    dequantize_row(m.dtype, block.data(), out + c, format.columns);
  }
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
