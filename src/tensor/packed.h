// Weight matrices as the kernels want them: sixteen rows interleaved, so that a vector register holds one column (or four
// 8-bit columns) of sixteen rows and no kernel ever sums across lanes.
//
// A matrix [rows, cols] is ceil(rows / 16) groups, one after another, each `group_bytes` long and 64-byte aligned; rows
// missing from the last group are zero. The layout does not depend on the processor. In a group (r: row in the group,
// b: block of 32 columns, n = cols / 32 blocks):
//   F32, F16, BF16   element (r, c) at c * 16 + r
//   Q8_0             f16 d[n][16], padded to 64 bytes; u8 q[n][8][16][4]: columns 32 b + 4 w + (0..3) of each row, plus 128
//   Q4_0             f16 d[n][16], padded to 64 bytes; u8 q[n][4][16][4]: low nibbles are columns 32 b + 4 w + (0..3),
//                    high nibbles those 16 further on
//   Q4_1             f16 d, m [n][2][16]; q as Q4_0
// Packing loses nothing: `unpack_row` gives the values that tensor::dequantize_row gives.
//
// A PackedMatrix is a view and owns nothing. Functions are pure and thread-safe; they allocate nothing.
#pragma once

#include <cstddef>

#include "tensor/dtype.h"

namespace fathom::tensor {

inline constexpr size_t kGroupRows = 16;
inline constexpr size_t kPackedAlignment = 64;

struct PackedMatrix {
  DType dtype = DType::kF32;
  size_t rows = 0;
  size_t cols = 0;
  size_t group_bytes = 0;  // from one group to the next
  const std::byte* data = nullptr;

  size_t groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
};

/// Bytes of one group of `cols` columns. REQUIRES: cols is a multiple of block_size(dtype).
size_t packed_group_bytes(DType dtype, size_t cols);

/// Where a group's quantised values begin, after its scales (block formats only).
size_t packed_quants_offset(DType dtype, size_t cols);

/// Bytes of the whole matrix.
size_t packed_bytes(DType dtype, size_t rows, size_t cols);

/// Packs groups [group_begin, group_end) of a matrix stored by rows (`row_bytes` each, any alignment) into `packed`, the
/// beginning of the whole packed matrix, which is 64-byte aligned.
void pack_groups(DType dtype, const std::byte* rows_data, size_t rows, size_t cols, size_t group_begin,
                 size_t group_end, std::byte* packed);

/// Row `row` as floats. REQUIRES: row < matrix.rows, matrix.cols floats at `out`.
void unpack_row(const PackedMatrix& matrix, size_t row, float* out);

}  // namespace fathom::tensor
