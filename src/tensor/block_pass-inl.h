// The pass of the formats in blocks of 32 columns (panels-inl.h): integer products within a block, float sums over blocks.
// Included once for each target, after simd.h.
#if defined(FATHOM_TENSOR_BLOCK_PASS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_BLOCK_PASS_INL_H_
#undef FATHOM_TENSOR_BLOCK_PASS_INL_H_
#else
#define FATHOM_TENSOR_BLOCK_PASS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dot-inl.h"
#include "tensor/panels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kBlock = 32;
constexpr size_t kBlockWords = kBlock / 4;  // 32-bit words of a block of activations

/// A kernel of multiply_panels. Block<format, tokens>(words, q) is one block of kN rows, met by as many tokens whose blocks
/// begin at q; products(t, q, sum) are those with token t, zero point taken off.
template <DType kOf, size_t kMost, template <DType, size_t> class Block>
struct BlockKernel {
  using Rows = Q8Rows;
  static constexpr DType kFormat = kOf;
  static constexpr size_t kColumns = kBlock;
  static constexpr size_t kMostTokens = kMost;

  template <size_t kTokens>
  static HWY_INLINE void pass(const PassArgs<Q8Rows>& args) {
    constexpr BlockFormat kLayout = block_format(kFormat);
    const DF df;
    VF acc[kTokens];
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) acc[t] = hn::Zero(df);
    const std::byte* halves = args.halves;
    const std::byte* words = args.words;
    const int8_t* q = args.tile.q + args.first * kBlock;
    const float* scale = args.tile.scale + args.first;
    const float* scaled_sum = args.tile.scaled_sum + args.first;
    const int32_t* sum = args.tile.sum + args.first;
    const size_t width = args.tile.tokens;
    const uintptr_t limit = args.limit;
    uintptr_t ahead = args.ahead;
    for (size_t b = 0, blocks = args.blocks; b < blocks; ++b) {
      fetch<kGroupBlockBytes<kFormat>>(ahead, limit);
      ahead += kGroupBlockBytes<kFormat>;
      const Block<kFormat, kTokens> block(words, q);
      const VF d = load_half(df, halves);
      VF m = d;
      if constexpr (kLayout.halves == 2) m = load_half(df, halves + 2 * kGroupRows);
      FATHOM_UNROLL
      for (size_t t = 0; t < kTokens; ++t) {
        const VF dot = hn::ConvertTo(df, block.products(t, q, sum));
        acc[t] = hn::MulAdd(dot, hn::Mul(d, hn::Set(df, scale[t])), acc[t]);
        if constexpr (kLayout.halves == 2) acc[t] = hn::MulAdd(m, hn::Set(df, scaled_sum[t]), acc[t]);
      }
      halves += kLayout.halves * kGroupRows * 2;
      words += kLayout.words * kWordRow;
      q += width * kBlock;
      scale += width;
      scaled_sum += width;
      sum += width;
    }
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) store_rows(acc[t], args.y + t * args.stride, args.rows, args.add);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
