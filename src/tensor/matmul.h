// Products of packed weights with activations, and the forms that activations take for them.
//
// y[t][row] = sum over c of w[row][c] * x[t][c], for the rows of groups [group_begin, group_end): the caller splits the
// groups among threads. The result for a token and a row does not depend on how many tokens or groups are computed
// together: the order of every sum is fixed, so that prefill in chunks, decode and a reused cache agree bit for bit.
//
// Weights of a block format meet activations quantised to 8 bits in blocks of 32 (Q8Rows), integer products per block and
// float sums over blocks; those in super-blocks of 256 meet Q8KRows (matmul_k.h); plain formats meet floats, rounded
// beforehand to the weights' own format (`round_rows`), as ggml does, whose results these are up to the order of float sums.
//
// All memory is the caller's; nothing is allocated; thread-safe as long as outputs do not overlap. The best instruction
// set of the processor is chosen at run time (Highway).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/packed.h"

namespace fathom::tensor {

enum class ActivationForm : uint8_t { kF32, kF16, kBF16, kQ8, kQ8K };

/// What a matrix of this format is multiplied with.
ActivationForm activation_form(DType weights);

/// Quantised activations [tokens, cols], a view. Tokens stand in tiles of 16 (the last may be narrower: w tokens); block b
/// of token i of a tile is at index b * w + i of its tile, so that a kernel reads a tile from front to back.
struct Q8Rows {
  static constexpr size_t kTile = 16;

  size_t tokens = 0;
  size_t cols = 0;              // a multiple of 32
  int8_t* q = nullptr;          // tokens * cols
  float* scale = nullptr;       // tokens * cols / 32: d, rounded to f16
  float* scaled_sum = nullptr;  // the same: d * sum of the block's q, rounded to f16
  int32_t* sum = nullptr;       // the same: sum of the block's q

  /// The rows of one tile.
  Q8Rows tile(size_t index) const {
    const size_t first = index * kTile;
    const size_t left = tokens - first;
    const size_t block = first * (cols / 32);
    return {left < kTile ? left : kTile, cols,       q + first * cols, scale + block,
            scaled_sum + block,          sum + block};
  }
};

/// Quantises row `token` (x: cols floats) per block: d = max|x| / 127, q = x * (127 / max|x|) rounded to nearest, ties to
/// even (ggml's Q8_0 and Q8_1).
void quantise_row_q8(const float* x, const Q8Rows& out, size_t token);

/// out[i] = x[i] rounded to f16 or bf16 and back (or copied, for kF32). In place allowed. REQUIRES: form is plain.
void round_row(ActivationForm form, const float* x, float* out, size_t n);

/// Where results go: y[t * stride + row], overwritten or, with `add`, added to.
struct MatmulOut {
  float* y = nullptr;
  size_t stride = 0;
  bool add = false;
};

/// REQUIRES: activation_form(w.dtype) is kQ8; x.cols == w.cols; group_end <= w.groups().
void matmul_q8(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out);

/// x[t * x_stride + c]. REQUIRES: w is F32, F16 or BF16; group_end <= w.groups().
void matmul_float(const PackedMatrix& w, const float* x, size_t x_stride, size_t tokens, size_t group_begin,
                  size_t group_end, const MatmulOut& out);

}  // namespace fathom::tensor
