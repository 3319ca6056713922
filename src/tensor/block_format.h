// Where the parts of a quantised block stand: what packing, kernels and checks share about the formats of tensor/blocks.h.
//
// Every block is one or two f16 scales (for IQ4_XS the second is the 16-bit scales_h) and one run of 32-bit words.
#pragma once

#include <cstddef>

#include "tensor/dtype.h"

namespace fathom::tensor {

struct BlockFormat {
  size_t columns = 0;   // elements
  size_t bytes = 0;     // of the block
  size_t halves = 0;    // 16-bit numbers apart from the words: 1 or 2
  size_t half_at[2]{};  // their offsets
  size_t words = 0;     // 32-bit words
  size_t words_at = 0;  // offset of the first
};

template <class Block>
constexpr BlockFormat one_half(size_t columns, size_t d, size_t words_at) {
  return {columns, sizeof(Block), 1, {d, d}, (sizeof(Block) - 2) / 4, words_at};
}

template <class Block>
constexpr BlockFormat two_halves(size_t columns, size_t d, size_t m, size_t words_at) {
  return {columns, sizeof(Block), 2, {d, m}, (sizeof(Block) - 4) / 4, words_at};
}

/// REQUIRES: a block format.
constexpr BlockFormat block_format(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0: return one_half<BlockQ8_0>(32, 0, 2);
    case DType::kQ4_0: return one_half<BlockQ4_0>(32, 0, 2);
    case DType::kQ4_1: return two_halves<BlockQ4_1>(32, 0, 2, 4);
    case DType::kQ5_0: return one_half<BlockQ5_0>(32, 0, 2);
    case DType::kQ5_1: return two_halves<BlockQ5_1>(32, 0, 2, 4);
    case DType::kIQ4_NL: return one_half<BlockIQ4_NL>(32, 0, 2);
    case DType::kQ2_K: return two_halves<BlockQ2_K>(256, 80, 82, 0);
    case DType::kQ3_K: return one_half<BlockQ3_K>(256, 108, 0);
    case DType::kQ4_K: return two_halves<BlockQ4_K>(256, 0, 2, 4);
    case DType::kQ5_K: return two_halves<BlockQ5_K>(256, 0, 2, 4);
    case DType::kQ6_K: return one_half<BlockQ6_K>(256, 208, 0);
    case DType::kIQ4_XS: return two_halves<BlockIQ4_XS>(256, 0, 2, 4);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16: break;
  }
  return {};
}

}  // namespace fathom::tensor
