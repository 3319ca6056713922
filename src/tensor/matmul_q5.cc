#include "tensor/matmul_q5.h"

#include "base/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/matmul_q5.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/block_pass-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// What is taken off unsigned weights.
template <DType kFormat>
constexpr int32_t kZero = kFormat == DType::kQ5_0                       ? 16
                          : kFormat == DType::kIQ4_NL && !kHasSignedDot ? 128
                                                                        : 0;

/// The eight words of a block for kN rows: w[i] holds columns 4 i + (0..3) of each row.
template <DType kFormat>
HWY_INLINE void load_block(const std::byte* words, VU8 (&w)[kBlockWords]) {
  if constexpr (kFormat == DType::kIQ4_NL) {
    const VU8 table = iq4_table();
    FATHOM_UNROLL
    for (size_t i = 0; i < kBlockWords / 2; ++i) {
      const VU8 pair = load_word_row(words, i);
      w[i] = hn::TableLookupBytes(table, move_bits<0, 0, 15>(pair));
      w[i + kBlockWords / 2] = hn::TableLookupBytes(table, move_bits<4, 0, 15>(pair));
    }
  } else {
    const VU8 fifth = load_word_row(words, 0);
    FATHOM_UNROLL
    for (size_t i = 0; i < kBlockWords / 2; ++i) {
      const VU8 pair = load_word_row(words, 1 + i);
      w[i] = move_bits<0, 0, 15>(pair);
      w[i + kBlockWords / 2] = move_bits<4, 0, 15>(pair);
    }
    w[0] = hn::Or(w[0], move_bits<0, 4, 1>(fifth));
    w[1] = hn::Or(w[1], move_bits<1, 4, 1>(fifth));
    w[2] = hn::Or(w[2], move_bits<2, 4, 1>(fifth));
    w[3] = hn::Or(w[3], move_bits<3, 4, 1>(fifth));
    w[4] = hn::Or(w[4], move_bits<4, 4, 1>(fifth));
    w[5] = hn::Or(w[5], move_bits<5, 4, 1>(fifth));
    w[6] = hn::Or(w[6], move_bits<6, 4, 1>(fifth));
    w[7] = hn::Or(w[7], move_bits<7, 4, 1>(fifth));
  }
}

/// The products of a block, zero taken off; `sum`: of the activations.
template <DType kFormat>
HWY_INLINE VI dot_block(const VU8 (&w)[kBlockWords], const int8_t* a, int32_t sum) {
#if HWY_TARGET == HWY_AVX3_DL
  VI out = hn::Set(DI(), -kZero<kFormat> * sum);
  FATHOM_UNROLL
  for (size_t i = 0; i < kBlockWords; ++i) add_word(out, w[i], a + 4 * i);
  return out;
#else
  if constexpr (kFormat == DType::kIQ4_NL) return dot_signed<kBlockWords>(w, a);
  const VI out = dot<31, kBlockWords>(w, a);
  if constexpr (kZero<kFormat> == 0) return out;
  return hn::Add(out, hn::Set(DI(), -kZero<kFormat> * sum));
#endif
}

/// A block in registers, for tokens one after another.
template <DType kFormat, size_t kTokens>
struct FifthBitBlock {
  HWY_INLINE FifthBitBlock(const std::byte* words, const int8_t* /*q*/) { load_block<kFormat>(words, w); }
  HWY_INLINE VI products(size_t t, const int8_t* q, const int32_t* sum) const {
    return dot_block<kFormat>(w, q + t * kBlock, sum[t]);
  }

  VU8 w[kBlockWords];
};

template <DType kFormat>
using FifthBitKernel = BlockKernel<kFormat, kPassTokens, FifthBitBlock>;

void MatmulQ5(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
              const MatmulOut& out) {
  if (w.dtype == DType::kQ5_0)
    return multiply_panels<FifthBitKernel<DType::kQ5_0>>(w, x, group_begin, group_end, out);
  if (w.dtype == DType::kQ5_1)
    return multiply_panels<FifthBitKernel<DType::kQ5_1>>(w, x, group_begin, group_end, out);
  multiply_panels<FifthBitKernel<DType::kIQ4_NL>>(w, x, group_begin, group_end, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {

HWY_EXPORT(MatmulQ5);

void matmul_q5(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out) {
  FATHOM_CHECK(x.cols == w.cols && group_end <= w.groups());
  HWY_DYNAMIC_DISPATCH(MatmulQ5)(w, x, group_begin, group_end, out);
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
