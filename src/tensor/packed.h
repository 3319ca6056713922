// Weight matrices as the kernels want them: sixteen rows interleaved, so that a vector register holds one column (or four
// 8-bit columns) of sixteen rows and no kernel ever sums across lanes.
//
// A matrix [rows, cols] is ceil(rows / 16) groups, one after another, each `group_bytes` long and 64-byte aligned; rows
// missing from the last group are zero. The layout does not depend on the processor. In a group (r: row in the group):
//   F32, F16, BF16   element (r, c) at c * 16 + r
//   block formats    first the 16-bit numbers of each block, [block][d, then m or dmin (IQ4_XS: scales_h)][r], padded to 64
//                    bytes; then the 32-bit words of each block as they stand in the file (tensor/blocks.h),
//                    [block][word][r], with two changes: the bytes of Q8_0 have 128 added, and in the word `qh` of
//                    Q5_0 and Q5_1 bit 4 i + k has moved to bit 8 k + i, under the columns 4 i + k that a vector has in
//                    its bytes k
// So it has as many bits a weight as the file. Packing loses nothing: `unpack_row` gives the values that
// tensor::dequantize_row gives.
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
  /// The rows of groups from `group` on. REQUIRES: group <= groups().
  PackedMatrix from_group(size_t group) const {
    const size_t before = group * kGroupRows;
    return {dtype, before < rows ? rows - before : 0, cols, group_bytes, data + group * group_bytes};
  }
};

/// Bytes of one group of `cols` columns. REQUIRES: cols is a multiple of block_size(dtype).
size_t packed_group_bytes(DType dtype, size_t cols);

/// Where a group's words begin, after its 16-bit numbers (block formats only).
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
