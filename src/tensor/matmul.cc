#include "tensor/matmul.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "tensor/matmul_q5.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/matmul.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/block_pass-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

// Tokens and vectors that one pass holds in registers.
constexpr size_t kQ8Tokens = HWY_CAP_GE512 ? 16 : HWY_TARGET == HWY_AVX2 ? 8 : 4;
constexpr size_t kFloatTokens = HWY_CAP_GE512 ? 8 : 4;

// ------------------------------------------------------------------ weights in blocks

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

/// Keeps the compiler from adding in another order, for which it would need more registers than there are.
HWY_INLINE void keep_order(VI16& v) { asm("" : "+v"(v.raw)); }
HWY_INLINE void keep_order(VI& v) { asm("" : "+v"(v.raw)); }

/// A block times kTokens tokens, word by word, so that a word is unpacked once for all of them and registers hold their
/// sums.
template <DType kFormat, size_t kTokens>
struct WordBlock {
  HWY_INLINE WordBlock(const std::byte* words, const int8_t* q) {
    if constexpr (kFormat == DType::kQ8_0)
      add_bytes(words, q);
    else
      add_nibbles(words, q);
  }

  HWY_INLINE VI products(size_t t, const int8_t* /*q*/, const int32_t* sum) const {
    if constexpr (kFormat == DType::kQ4_0) return hn::Sub(dots[t], hn::ShiftLeft<3>(hn::Set(DI(), sum[t])));
    return dots[t];
  }

 private:
  HWY_INLINE void add_bytes(const std::byte* words, const int8_t* q) {
    // |w| * (a with w's sign): pairs add up to at most 2 * 128 * 127, which 16 bits hold.
    const VU8 flip = hn::Set(DU8(), 0x80);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) dots[t] = hn::Zero(DI());
    FATHOM_UNROLL
    for (size_t i = 0; i < kBlockWords; ++i) {
      const VI8 sw = hn::BitCast(DI8(), hn::Xor(load_word_row(words, i), flip));
      const VU8 aw = hn::BitCast(DU8(), hn::Abs(sw));
      FATHOM_UNROLL
      for (size_t t = 0; t < kTokens; ++t) {
        const VI8 a = broadcast_word(q + t * kBlock + 4 * i);
        dots[t] = hn::Add(dots[t], pair_sums(pair_products(aw, apply_sign(a, sw))));
        keep_order(dots[t]);
      }
    }
  }

  HWY_INLINE void add_nibbles(const std::byte* words, const int8_t* q) {
    // A pair is at most 2 * 15 * 128 = 3840, so 16 bits hold the sum of a block's eight.
    VI16 sums[kTokens];
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(DI16());
    FATHOM_UNROLL
    for (size_t i = 0; i < kBlockWords / 2; ++i) {
      const VU8 pair = load_word_row(words, i);
      const VU8 first = move_bits<0, 0, 15>(pair);
      const VU8 second = move_bits<4, 0, 15>(pair);
      FATHOM_UNROLL
      for (size_t t = 0; t < kTokens; ++t) {
        const int8_t* a = q + t * kBlock + 4 * i;
        sums[t] = hn::Add(sums[t], pair_products(first, broadcast_word(a)));
        keep_order(sums[t]);
        sums[t] = hn::Add(sums[t], pair_products(second, broadcast_word(a + kBlock / 2)));
        keep_order(sums[t]);
      }
    }
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) dots[t] = pair_sums(sums[t]);
  }

  VI dots[kTokens];
};

#else

/// A block in registers, for tokens one after another.
template <DType kFormat, size_t kTokens>
struct WordBlock {
  HWY_INLINE WordBlock(const std::byte* words, const int8_t* /*q*/) {
    if constexpr (kFormat == DType::kQ8_0) {
      FATHOM_UNROLL
      for (size_t i = 0; i < kBlockWords; ++i) w[i] = load_word_row(words, i);
    } else {
      FATHOM_UNROLL
      for (size_t i = 0; i < kBlockWords / 2; ++i) {
        const VU8 pair = load_word_row(words, i);
        w[i] = move_bits<0, 0, 15>(pair);
        w[i + kBlockWords / 2] = move_bits<4, 0, 15>(pair);
      }
    }
  }

  HWY_INLINE VI products(size_t t, const int8_t* q, const int32_t* sum) const {
    const int8_t* a = q + t * kBlock;
#if HWY_TARGET == HWY_AVX3_DL
    constexpr int32_t kZero = kFormat == DType::kQ8_0 ? 128 : kFormat == DType::kQ4_0 ? 8 : 0;
    VI out = hn::Set(DI(), -kZero * sum[t]);
    FATHOM_UNROLL
    for (size_t i = 0; i < kBlockWords; ++i) add_word(out, w[i], a + 4 * i);
    return out;
#else
    if constexpr (kFormat == DType::kQ8_0) {
      VU8 flipped[kBlockWords];
      for (size_t i = 0; i < kBlockWords; ++i) flipped[i] = hn::Xor(w[i], hn::Set(DU8(), 0x80));
      return dot_signed<kBlockWords>(flipped, a);
    }
    const VI out = dot<15, kBlockWords>(w, a);
    if constexpr (kFormat == DType::kQ4_0) return hn::Sub(out, hn::ShiftLeft<3>(hn::Set(DI(), sum[t])));
    return out;
#endif
  }

  VU8 w[kBlockWords];
};

#endif

template <DType kFormat>
using WordKernel = BlockKernel<kFormat, kQ8Tokens, WordBlock>;

void MatmulQ8(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
              const MatmulOut& out) {
  if (w.dtype == DType::kQ8_0)
    return multiply_panels<WordKernel<DType::kQ8_0>>(w, x, group_begin, group_end, out);
  if (w.dtype == DType::kQ4_0)
    return multiply_panels<WordKernel<DType::kQ4_0>>(w, x, group_begin, group_end, out);
  multiply_panels<WordKernel<DType::kQ4_1>>(w, x, group_begin, group_end, out);
}

// ------------------------------------------------------------------ float activations

template <DType kFormat>
HWY_INLINE VF load_plain(const std::byte* at) {
  const DF df;
  if constexpr (kFormat == DType::kF32) return hn::LoadU(df, reinterpret_cast<const float*>(at));
  if constexpr (kFormat == DType::kF16) return load_half(df, at);
  const hn::Rebind<uint16_t, DF> d16;
  const auto bits =
      hn::PromoteTo(hn::RebindToUnsigned<DF>(), hn::LoadU(d16, reinterpret_cast<const uint16_t*>(at)));
  return hn::BitCast(df, hn::ShiftLeft<16>(bits));
}

/// kTokens tokens times kVectors vectors of rows (vector i of a matrix: part i % kParts of group i / kParts). kAhead: the
/// weights come from memory.
template <DType kFormat, size_t kTokens, size_t kVectors, bool kAhead>
HWY_INLINE void float_pass(const PackedMatrix& w, size_t vector, const float* x, size_t x_stride,
                           const MatmulOut& out) {
  constexpr size_t kElement = kFormat == DType::kF32 ? 4 : 2;
  const DF df;
  const std::byte* at[kVectors];
  VF acc[kVectors * kTokens];
  FATHOM_UNROLL
  for (size_t v = 0; v < kVectors; ++v)
    at[v] = w.data + (vector + v) / kParts * w.group_bytes + (vector + v) % kParts * kN * kElement;
  FATHOM_UNROLL
  for (size_t i = 0; i < kVectors * kTokens; ++i) acc[i] = hn::Zero(df);
  for (size_t c = 0; c < w.cols; ++c) {
    VF column[kVectors];
    FATHOM_UNROLL
    for (size_t v = 0; kAhead && v < kVectors; v += kParts)
      __builtin_prefetch(at[v] + c * kGroupRows * kElement + kAheadBytes, 0, 3);
    FATHOM_UNROLL
    for (size_t v = 0; v < kVectors; ++v) column[v] = load_plain<kFormat>(at[v] + c * kGroupRows * kElement);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      const VF a = hn::Set(df, x[t * x_stride + c]);
      FATHOM_UNROLL
      for (size_t v = 0; v < kVectors; ++v)
        acc[t * kVectors + v] = hn::MulAdd(column[v], a, acc[t * kVectors + v]);
    }
  }
  FATHOM_UNROLL
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t row = (vector + v) * kN;
    if (row < w.rows)
      for (size_t t = 0; t < kTokens; ++t)
        store_rows(acc[t * kVectors + v], out.y + t * out.stride + row, w.rows - row, out.add);
  }
}

template <DType kFormat, size_t kTokens, bool kAhead>
HWY_NOINLINE void float_tokens(const PackedMatrix& w, const float* x, size_t x_stride, size_t group_begin,
                               size_t group_end, const MatmulOut& out) {
  constexpr size_t kVectors = kTokens >= 4 ? 2 : 4;
  const size_t end = group_end * kParts;
  size_t v = group_begin * kParts;
  for (; v + kVectors <= end; v += kVectors)
    float_pass<kFormat, kTokens, kVectors, kAhead>(w, v, x, x_stride, out);
  for (; v < end; ++v) float_pass<kFormat, kTokens, 1, false>(w, v, x, x_stride, out);
}

template <DType kFormat>
void float_matrix(const PackedMatrix& w, const float* x, size_t x_stride, size_t tokens, size_t group_begin,
                  size_t group_end, const MatmulOut& out) {
  const size_t panel = std::max<size_t>(kParts * 4, kPanelBytes / w.group_bytes / 4 * 4);
  // A matrix that one call reads a good part of, from front to back: weights rather than a cache of keys and values.
  const bool from_memory = (group_end - group_begin) * w.group_bytes >= 8 * kAheadBytes &&
                           w.group_bytes < w.cols * kGroupRows * block_bytes(kFormat) + kPackedAlignment;
  for (size_t begin = group_begin; begin < group_end; begin += panel) {
    const size_t end = std::min(begin + panel, group_end);
    size_t t = 0;
    const auto pass = [&]<size_t kTokens>(std::integral_constant<size_t, kTokens>) HWY_ATTR {
      for (; t + kTokens <= tokens; t += kTokens) {
        const MatmulOut to{out.y + t * out.stride, out.stride, out.add};
        if (t == 0 && from_memory)
          float_tokens<kFormat, kTokens, true>(w, x + t * x_stride, x_stride, begin, end, to);
        else
          float_tokens<kFormat, kTokens, false>(w, x + t * x_stride, x_stride, begin, end, to);
      }
    };
    if constexpr (kFloatTokens >= 8) pass(std::integral_constant<size_t, 8>());
    pass(std::integral_constant<size_t, 4>());
    if (tokens - t == 3) pass(std::integral_constant<size_t, 3>());
    if (tokens - t == 2) pass(std::integral_constant<size_t, 2>());
    if (tokens - t == 1) pass(std::integral_constant<size_t, 1>());
  }
}

void MatmulFloat(const PackedMatrix& w, const float* x, size_t x_stride, size_t tokens, size_t group_begin,
                 size_t group_end, const MatmulOut& out) {
  if (w.dtype == DType::kF32)
    return float_matrix<DType::kF32>(w, x, x_stride, tokens, group_begin, group_end, out);
  if (w.dtype == DType::kF16)
    return float_matrix<DType::kF16>(w, x, x_stride, tokens, group_begin, group_end, out);
  float_matrix<DType::kBF16>(w, x, x_stride, tokens, group_begin, group_end, out);
}

// ------------------------------------------------------------------ forms of activations

HWY_INLINE VF round_f16(VF v) { return round_half(DF(), v); }

void QuantiseRowQ8(const float* x, const Q8Rows& out, size_t token) {
  const DF df;
  const DI di;
  const hn::Rebind<int8_t, DF> d8;
  const size_t blocks = out.cols / kBlock;
  const Q8Rows tile = out.tile(token / Q8Rows::kTile);
  const size_t in_tile = token % Q8Rows::kTile;
  for (size_t b = 0; b < blocks; ++b, x += kBlock) {
    VF top = hn::Zero(df);
    for (size_t i = 0; i < kBlock; i += kN) top = hn::Max(top, hn::Abs(hn::LoadU(df, x + i)));
    const float max = hn::GetLane(hn::MaxOfLanes(df, top));
    const float d = max / 127.0f;
    const VF inverse = hn::Set(df, max != 0.0f ? 127.0f / max : 0.0f);
    const size_t at = b * tile.tokens + in_tile;
    int8_t* q = tile.q + at * kBlock;
    VI total = hn::Zero(di);
    for (size_t i = 0; i < kBlock; i += kN) {
      const VI v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), inverse));
      total = hn::Add(total, v);
      hn::StoreU(hn::DemoteTo(d8, v), d8, q + i);
    }
    const int32_t sum = hn::GetLane(hn::SumOfLanes(di, total));
    tile.sum[at] = sum;
    tile.scale[at] = hn::GetLane(round_f16(hn::Set(df, d)));
    tile.scaled_sum[at] = hn::GetLane(round_f16(hn::Set(df, d * static_cast<float>(sum))));
  }
}

void RoundRowF16(const float* x, float* out, size_t n) {
  const DF df;
  size_t i = 0;
  for (; i + kN <= n; i += kN) hn::StoreU(round_f16(hn::LoadU(df, x + i)), df, out + i);
  for (; i < n; ++i) out[i] = hn::GetLane(round_f16(hn::Set(df, x[i])));
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {

HWY_EXPORT(MatmulQ8);
HWY_EXPORT(MatmulFloat);
HWY_EXPORT(QuantiseRowQ8);
HWY_EXPORT(RoundRowF16);

ActivationForm activation_form(DType weights) {
  switch (weights) {
    case DType::kF32: return ActivationForm::kF32;
    case DType::kF16: return ActivationForm::kF16;
    case DType::kBF16: return ActivationForm::kBF16;
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kIQ4_XS: return ActivationForm::kQ8K;
    default: return ActivationForm::kQ8;
  }
}

void quantise_row_q8(const float* x, const Q8Rows& out, size_t token) {
  HWY_DYNAMIC_DISPATCH(QuantiseRowQ8)(x, out, token);
}

void round_row(ActivationForm form, const float* x, float* out, size_t n) {
  FATHOM_CHECK(form != ActivationForm::kQ8 && form != ActivationForm::kQ8K);
  if (form == ActivationForm::kF16) return HWY_DYNAMIC_DISPATCH(RoundRowF16)(x, out, n);
  if (form == ActivationForm::kBF16) {
    for (size_t i = 0; i < n; ++i) out[i] = bf16_to_f32(f32_to_bf16(x[i]));
  } else if (x != out) {
    std::memcpy(out, x, n * sizeof(float));
  }
}

void matmul_q8(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out) {
  FATHOM_CHECK(x.cols == w.cols && group_end <= w.groups() &&
               activation_form(w.dtype) == ActivationForm::kQ8);
  if (w.dtype == DType::kQ5_0 || w.dtype == DType::kQ5_1 || w.dtype == DType::kIQ4_NL)
    return matmul_q5(w, x, group_begin, group_end, out);
  HWY_DYNAMIC_DISPATCH(MatmulQ8)(w, x, group_begin, group_end, out);
}

void matmul_float(const PackedMatrix& w, const float* x, size_t x_stride, size_t tokens, size_t group_begin,
                  size_t group_end, const MatmulOut& out) {
  FATHOM_CHECK(group_end <= w.groups() && block_size(w.dtype) == 1);
  HWY_DYNAMIC_DISPATCH(MatmulFloat)(w, x, x_stride, tokens, group_begin, group_end, out);
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
