// Products of packed weights in super-blocks of 256 (Q2_K to Q6_K, IQ4_XS) with activations quantised in super-blocks.
//
// As ggml computes them: sums of integers within a super-block, sub-block scales included, then one product with the
// scales of weights and activations, float sums over super-blocks. Everything that matmul.h says of its kernels holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/blocks.h"
#include "tensor/matmul.h"

namespace fathom::tensor {

/// Activations in super-blocks [tokens, cols], a view. Tokens stand in tiles of 16 as in Q8Rows (`q` has the same layout); what
/// belongs to super-block b of token i of a tile is at index b * w + i of its tile.
struct Q8KRows {
  static constexpr size_t kTile = Q8Rows::kTile;
  /// Sums of q of a super-block, in the orders that kernels read them in: the eight thirty-twos as 0 2 1 3 4 6 5 7; the sixteen
  /// sixteens likewise in fours, 0 2 1 3, 4 6 5 7, ...; the thirty-twos again as 0 4 2 6 1 5 3 7.
  static constexpr size_t kSums = 32;

  size_t tokens = 0;
  size_t cols = 0;          // a multiple of 256
  int8_t* q = nullptr;      // tokens * cols
  float* scale = nullptr;   // tokens * cols / 256
  int16_t* sums = nullptr;  // tokens * cols / 256 * kSums

  /// The rows of one tile.
  Q8KRows tile(size_t index) const {
    const size_t first = index * kTile;
    const size_t left = tokens - first;
    const size_t block = first * (cols / kSuperBlock);
    return {left < kTile ? left : kTile, cols, q + first * cols, scale + block, sums + block * kSums};
  }
};

/// Quantises row `token` (x: cols floats) per super-block: with m the number of the largest magnitude (the first of several),
/// q = x * (-127 / m) rounded to nearest, ties to even, scale = 1 / (-127 / m); q is zero where |m| < 1e-36 (ggml's Q8_K).
void quantise_row_q8k(const float* x, const Q8KRows& out, size_t token);

/// REQUIRES: activation_form(w.dtype) is kQ8K; x.cols == w.cols; group_end <= w.groups().
void matmul_q8k(const PackedMatrix& w, const Q8KRows& x, size_t group_begin, size_t group_end,
                const MatmulOut& out);

}  // namespace fathom::tensor
