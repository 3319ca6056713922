#include "tensor/packed.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace fathom::tensor {
namespace {

constexpr size_t kBlock = 32;                // columns
constexpr size_t kWordRow = kGroupRows * 4;  // bytes of one word of every row of a group

size_t align(size_t bytes) { return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

bool is_plain(DType dtype) { return block_size(dtype) == 1; }

/// Bytes of scales that a block of a group has.
size_t scale_bytes(DType dtype) { return kGroupRows * (dtype == DType::kQ4_1 ? 4 : 2); }

/// 32-bit words of quantised values that a block of one row has.
size_t block_words(DType dtype) { return dtype == DType::kQ8_0 ? 8 : 4; }

/// Bytes before the quantised values in a block as stored by rows.
size_t header_bytes(DType dtype) { return dtype == DType::kQ4_1 ? 4 : 2; }

void pack_plain_row(size_t element, const std::byte* row, size_t cols, std::byte* group, size_t lane) {
  for (size_t c = 0; c < cols; ++c)
    std::memcpy(group + (c * kGroupRows + lane) * element, row + c * element, element);
}

void pack_block_row(DType dtype, const std::byte* row, size_t cols, std::byte* group, size_t lane) {
  const size_t blocks = cols / kBlock;
  const size_t header = header_bytes(dtype);
  const size_t words = block_words(dtype);
  const uint32_t flip = dtype == DType::kQ8_0 ? 0x80808080u : 0;
  std::byte* scales = group;
  std::byte* quants = group + packed_quants_offset(dtype, cols);
  for (size_t b = 0; b < blocks; ++b) {
    const std::byte* block = row + b * block_bytes(dtype);
    std::memcpy(scales + lane * 2, block, 2);
    if (header == 4) std::memcpy(scales + kGroupRows * 2 + lane * 2, block + 2, 2);
    for (size_t w = 0; w < words; ++w) {
      uint32_t word;
      std::memcpy(&word, block + header + w * 4, 4);
      word ^= flip;
      std::memcpy(quants + w * kWordRow + lane * 4, &word, 4);
    }
    scales += scale_bytes(dtype);
    quants += words * kWordRow;
  }
}

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

void unpack_q8(float d, const std::byte* quants, size_t lane, float* out) {
  for (size_t i = 0; i < kBlock; ++i)
    out[i] = d * static_cast<float>(std::to_integer<int>(quants[i / 4 * kWordRow + lane * 4 + i % 4]) - 128);
}

void unpack_q4(float d, float m, int zero, const std::byte* quants, size_t lane, float* out) {
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int pair = std::to_integer<int>(quants[i / 4 * kWordRow + lane * 4 + i % 4]);
    out[i] = d * static_cast<float>((pair & 15) - zero) + m;
    out[i + kBlock / 2] = d * static_cast<float>((pair >> 4) - zero) + m;
  }
}

}  // namespace

size_t packed_quants_offset(DType dtype, size_t cols) { return align(cols / kBlock * scale_bytes(dtype)); }

size_t packed_group_bytes(DType dtype, size_t cols) {
  if (is_plain(dtype)) return align(cols * kGroupRows * block_bytes(dtype));
  return packed_quants_offset(dtype, cols) + cols / kBlock * block_words(dtype) * kWordRow;
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
    const size_t lanes = std::min(kGroupRows, rows - g * kGroupRows);
    if (lanes < kGroupRows) std::memset(group, 0, group_bytes);
    for (size_t lane = 0; lane < lanes; ++lane) {
      const std::byte* row = rows_data + (g * kGroupRows + lane) * stored;
      if (is_plain(dtype))
        pack_plain_row(block_bytes(dtype), row, cols, group, lane);
      else
        pack_block_row(dtype, row, cols, group, lane);
    }
  }
}

void unpack_row(const PackedMatrix& m, size_t row, float* out) {
  FATHOM_CHECK(row < m.rows);
  const std::byte* group = m.data + row / kGroupRows * m.group_bytes;
  const size_t lane = row % kGroupRows;
  if (is_plain(m.dtype)) return unpack_plain(m, group, lane, out);
  const std::byte* scales = group;
  const std::byte* quants = group + packed_quants_offset(m.dtype, m.cols);
  for (size_t b = 0; b < m.cols / kBlock; ++b, out += kBlock) {
    const float d = f16_to_f32(load_u16(scales + lane * 2));
    if (m.dtype == DType::kQ8_0)
      unpack_q8(d, quants, lane, out);
    else if (m.dtype == DType::kQ4_0)
      unpack_q4(d, 0.0f, 8, quants, lane, out);
    else
      unpack_q4(d, f16_to_f32(load_u16(scales + kGroupRows * 2 + lane * 2)), 0, quants, lane, out);
    scales += scale_bytes(m.dtype);
    quants += block_words(m.dtype) * kWordRow;
  }
}

}  // namespace fathom::tensor
