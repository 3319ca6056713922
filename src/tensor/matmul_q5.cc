#include "tensor/matmul_q5.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "tensor/block_format.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/matmul_q5.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kBlock = 32;
constexpr size_t kWords = kBlock / 4;  // 32-bit words of a block of activations

/// What is taken off unsigned weights.
template <DType kFormat>
constexpr int32_t kZero = kFormat == DType::kQ5_0                       ? 16
                          : kFormat == DType::kIQ4_NL && !kHasSignedDot ? 128
                                                                        : 0;

/// The eight words of a block for kN rows: w[i] holds columns 4 i + (0..3) of each row.
template <DType kFormat>
HWY_INLINE void load_block(const std::byte* words, VU8 (&w)[kWords]) {
  if constexpr (kFormat == DType::kIQ4_NL) {
    const VU8 table = iq4_table();
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords / 2; ++i) {
      const VU8 pair = load_word_row(words, i);
      w[i] = hn::TableLookupBytes(table, move_bits<0, 0, 15>(pair));
      w[i + kWords / 2] = hn::TableLookupBytes(table, move_bits<4, 0, 15>(pair));
    }
  } else {
    const VU8 fifth = load_word_row(words, 0);
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords / 2; ++i) {
      const VU8 pair = load_word_row(words, 1 + i);
      w[i] = move_bits<0, 0, 15>(pair);
      w[i + kWords / 2] = move_bits<4, 0, 15>(pair);
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
HWY_INLINE VI dot_block(const VU8 (&w)[kWords], const int8_t* a, int32_t sum) {
#if HWY_TARGET == HWY_AVX3_DL
  VI out = hn::Set(DI(), -kZero<kFormat> * sum);
  FATHOM_UNROLL
  for (size_t i = 0; i < kWords; ++i) add_word(out, w[i], a + 4 * i);
  return out;
#else
  if constexpr (kFormat == DType::kIQ4_NL) return dot_signed<kWords>(w, a);
  const VI out = dot<31, kWords>(w, a);
  if constexpr (kZero<kFormat> == 0) return out;
  return hn::Add(out, hn::Set(DI(), -kZero<kFormat> * sum));
#endif
}

/// One tile of activations from its first token on.
struct Tile {
  const int8_t* q;
  const float* scale;
  const float* scaled_sum;
  const int32_t* sum;
  size_t width;
  uintptr_t limit;  // the end of the weights, if they come from memory; 0 if they are in cache
};

/// kTokens tokens of `a` from `first` on, times kN rows.
template <DType kFormat, size_t kTokens>
HWY_INLINE void q5_pass(const std::byte* halves, const std::byte* words, size_t blocks, const Tile& a,
                        size_t first, float* y, size_t stride, size_t rows, bool add, uintptr_t ahead) {
  constexpr BlockFormat kLayout = block_format(kFormat);
  const DF df;
  VF acc[kTokens];
  FATHOM_UNROLL
  for (size_t t = 0; t < kTokens; ++t) acc[t] = hn::Zero(df);
  const int8_t* q = a.q + first * kBlock;
  const float* scale = a.scale + first;
  const float* scaled_sum = a.scaled_sum + first;
  const int32_t* sum = a.sum + first;
  constexpr size_t kBlockBytes = (kLayout.halves * 2 + kLayout.words * 4) * kGroupRows;
  for (size_t b = 0; b < blocks; ++b) {
    if (ahead < a.limit) fetch<kBlockBytes>(ahead);
    ahead += kBlockBytes;
    VU8 w[kWords];
    load_block<kFormat>(words, w);
    const VF d = load_half(df, halves);
    VF m = d;
    if constexpr (kLayout.halves == 2) m = load_half(df, halves + 2 * kGroupRows);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      const VF dot = hn::ConvertTo(df, dot_block<kFormat>(w, q + t * kBlock, sum[t]));
      acc[t] = hn::MulAdd(dot, hn::Mul(d, hn::Set(df, scale[t])), acc[t]);
      if constexpr (kLayout.halves == 2) acc[t] = hn::MulAdd(m, hn::Set(df, scaled_sum[t]), acc[t]);
    }
    halves += kLayout.halves * kGroupRows * 2;
    words += kLayout.words * kWordRow;
    q += a.width * kBlock;
    scale += a.width;
    scaled_sum += a.width;
    sum += a.width;
  }
  FATHOM_UNROLL
  for (size_t t = 0; t < kTokens; ++t) store_rows(acc[t], y + t * stride, rows, add);
}

/// A tile of activations times one group of weights.
template <DType kFormat>
HWY_NOINLINE void q5_group(const std::byte* group, size_t cols, const Tile& a, float* y, size_t stride,
                           size_t rows, bool add) {
  for (size_t part = 0; part < kParts && part * kN < rows; ++part) {
    const std::byte* halves = group + part * kN * 2;
    const std::byte* words = group + packed_quants_offset(kFormat, cols) + part * kN * 4;
    float* at = y + part * kN;
    const size_t left = rows - part * kN;
    each_pass(a.width, [&]<size_t kTokens>(std::integral_constant<size_t, kTokens>, size_t t) HWY_ATTR {
      const uintptr_t ahead = t + part == 0 ? reinterpret_cast<uintptr_t>(group) + kAheadBytes : a.limit;
      q5_pass<kFormat, kTokens>(halves, words, cols / kBlock, a, t, at + t * stride, stride, left, add,
                                ahead);
    });
  }
}

template <DType kFormat>
void q5_matrix(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out) {
  // Weights that stay in the second-level cache while all tiles pass.
  constexpr size_t kPanelBytes = size_t{192} << 10;
  const size_t panel = std::max<size_t>(1, kPanelBytes / w.group_bytes);
  const size_t blocks = w.cols / kBlock;
  for (size_t begin = group_begin; begin < group_end; begin += panel) {
    const size_t end = std::min(begin + panel, group_end);
    for (size_t first = 0; first < x.tokens; first += Q8Rows::kTile) {
      const Tile a{x.q + first * x.cols,
                   x.scale + first * blocks,
                   x.scaled_sum + first * blocks,
                   x.sum + first * blocks,
                   x.tile_width(first / Q8Rows::kTile),
                   first == 0 ? reinterpret_cast<uintptr_t>(w.data + group_end * w.group_bytes) : 0};
      for (size_t g = begin; g < end; ++g)
        q5_group<kFormat>(w.data + g * w.group_bytes, w.cols, a, out.y + first * out.stride + g * kGroupRows,
                          out.stride, std::min(kGroupRows, w.rows - g * kGroupRows), out.add);
    }
  }
}

void MatmulQ5(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
              const MatmulOut& out) {
  if (w.dtype == DType::kQ5_0) return q5_matrix<DType::kQ5_0>(w, x, group_begin, group_end, out);
  if (w.dtype == DType::kQ5_1) return q5_matrix<DType::kQ5_1>(w, x, group_begin, group_end, out);
  q5_matrix<DType::kIQ4_NL>(w, x, group_begin, group_end, out);
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
