#include "tensor/matmul_k.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "tensor/block_format.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/matmul_k.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/dot-inl.h"
#include "tensor/panels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kSuper = kSuperBlock;
constexpr size_t kSub = 32;  // columns of a sub-block
constexpr size_t kSubWords = kSub / 4;

// ------------------------------------------------------------------ scales within a super-block

/// The integer scales and minimums of one super-block for kN rows, four to a vector, each in a byte of the row's lane.
struct SubScales {
  // The implicit one would lack the target's attributes, which NEON's vectors demand.
  HWY_INLINE SubScales() {}

  VI scale[4];
  VI min[4];
};

HWY_INLINE VI words_at(const std::byte* words, size_t index) {
  return hn::BitCast(DI(), load_word_row(words, index));
}

template <int kFrom, int kTo, int kMask>
HWY_INLINE VI move_bits(VI v) {
  return hn::BitCast(DI(), move_bits<kFrom, kTo, kMask>(hn::BitCast(DU8(), v)));
}

HWY_INLINE VI minus_32(VI v) { return hn::BitCast(DI(), hn::Sub(hn::BitCast(DI8(), v), hn::Set(DI8(), 32))); }

/// Byte kByte of each lane as what sums are multiplied with.
template <size_t kByte, bool kSigned>
HWY_INLINE Scale scale_at(VI v) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  constexpr uint8_t kB = kByte;
  constexpr uint8_t kNone = 0x80;
  constexpr uint8_t kLow = kSigned ? kNone : kB, kHigh = kSigned ? kB : kNone;
  HWY_ALIGN static constexpr uint8_t kPick[16] = {
      kLow,     kHigh,     kLow,     kHigh,     kLow + 4,  kHigh + 4,  kLow + 4,  kHigh + 4,
      kLow + 8, kHigh + 8, kLow + 8, kHigh + 8, kLow + 12, kHigh + 12, kLow + 12, kHigh + 12};
  const VI16 picked =
      hn::BitCast(DI16(), hn::TableLookupBytesOr0(hn::BitCast(DU8(), v), hn::LoadDup128(DU8(), kPick)));
  return kSigned ? hn::ShiftRight<8>(picked) : picked;
#else
  if constexpr (kSigned) return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(v));
  return hn::And(hn::ShiftRight<8 * kByte>(v), hn::Set(DI(), 255));
#endif
}

/// The bytes 0 and 2 (kOdd: 1 and 3) of each lane in its halves.
template <bool kOdd>
HWY_INLINE VI16 byte_pair(VI v) {
  const VI16 halves = hn::BitCast(DI16(), v);
  return kOdd ? hn::ShiftRight<8>(halves) : hn::ShiftRight<8>(hn::ShiftLeft<8>(halves));
}

// ------------------------------------------------------------------ formats

/// What the kernel knows of a format: kScales vectors of scales; scales for sixteens or thirty-twos; whether there are
/// minimums; weights from 0 to kMax, of which kZero is taken off; the scales of a super-block and the weights of sub-block kJ.
template <DType kFormat>
struct Format;

template <>
struct Format<DType::kQ2_K> {
  static constexpr size_t kScales = 4;
  static constexpr bool kSixteens = true, kMins = true, kSignedScales = false;
  static constexpr int kMax = 3, kZero = 0;

  static HWY_INLINE void scales(const std::byte* words, const std::byte*, SubScales& out) {
    FATHOM_UNROLL
    for (size_t k = 0; k < 4; ++k) {
      out.scale[k] = move_bits<0, 0, 15>(words_at(words, k));
      out.min[k] = move_bits<4, 0, 15>(words_at(words, k));
    }
  }
  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords; ++i)
      w[i] = move_bits<2 * (kJ % 4), 0, 3>(load_word_row(words, 4 + kJ / 4 * 8 + i));
  }
};

template <>
struct Format<DType::kQ3_K> {
  static constexpr size_t kScales = 4;
  static constexpr bool kSixteens = true, kMins = false, kSignedScales = true;
  static constexpr int kMax = 7, kZero = 4;

  static HWY_INLINE void scales(const std::byte* words, const std::byte*, SubScales& out) {
    const VI a = words_at(words, 24), b = words_at(words, 25), high = words_at(words, 26);
    out.scale[0] = minus_32(hn::Or(move_bits<0, 0, 15>(a), move_bits<0, 4, 3>(high)));
    out.scale[1] = minus_32(hn::Or(move_bits<0, 0, 15>(b), move_bits<2, 4, 3>(high)));
    out.scale[2] = minus_32(hn::Or(move_bits<4, 0, 15>(a), move_bits<4, 4, 3>(high)));
    out.scale[3] = minus_32(hn::Or(move_bits<4, 0, 15>(b), move_bits<6, 4, 3>(high)));
  }
  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords; ++i)
      w[i] = hn::Or(move_bits<2 * (kJ % 4), 0, 3>(load_word_row(words, 8 + kJ / 4 * 8 + i)),
                    move_bits<kJ, 2, 1>(load_word_row(words, i)));
  }
};

/// The twelve bytes of scales of Q4_K and Q5_K.
struct SixBitScales {
  static constexpr size_t kScales = 2;
  static constexpr bool kSixteens = false, kMins = true, kSignedScales = false;

  static HWY_INLINE void scales(const std::byte* words, const std::byte*, SubScales& out) {
    const VI a = words_at(words, 0), b = words_at(words, 1), low = words_at(words, 2);
    out.scale[0] = move_bits<0, 0, 63>(a);
    out.min[0] = move_bits<0, 0, 63>(b);
    out.scale[1] = hn::Or(move_bits<0, 0, 15>(low), move_bits<6, 4, 3>(a));
    out.min[1] = hn::Or(move_bits<4, 0, 15>(low), move_bits<6, 4, 3>(b));
  }
};

template <>
struct Format<DType::kQ4_K> : SixBitScales {
  static constexpr int kMax = 15, kZero = 0;

  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords; ++i)
      w[i] = move_bits<4 * (kJ % 2), 0, 15>(load_word_row(words, 3 + kJ / 2 * 8 + i));
  }
};

template <>
struct Format<DType::kQ5_K> : SixBitScales {
  static constexpr int kMax = 31, kZero = 0;

  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords; ++i)
      w[i] = hn::Or(move_bits<4 * (kJ % 2), 0, 15>(load_word_row(words, 11 + kJ / 2 * 8 + i)),
                    move_bits<kJ, 4, 1>(load_word_row(words, 3 + i)));
  }
};

template <>
struct Format<DType::kQ6_K> {
  static constexpr size_t kScales = 4;
  static constexpr bool kSixteens = true, kMins = false, kSignedScales = true;
  static constexpr int kMax = 63, kZero = 32;

  static HWY_INLINE void scales(const std::byte* words, const std::byte*, SubScales& out) {
    FATHOM_UNROLL
    for (size_t k = 0; k < 4; ++k) out.scale[k] = words_at(words, 48 + k);
  }
  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    constexpr int kHalf = kJ / 4, kPart = kJ % 4;
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords; ++i)
      w[i] = hn::Or(move_bits<4 * (kPart / 2), 0, 15>(load_word_row(words, 16 * kHalf + 8 * (kPart % 2) + i)),
                    move_bits<2 * kPart, 4, 3>(load_word_row(words, 32 + 8 * kHalf + i)));
  }
};

template <>
struct Format<DType::kIQ4_XS> {
  static constexpr size_t kScales = 2;
  static constexpr bool kSixteens = false, kMins = false, kSignedScales = true;
  static constexpr int kMax = 255, kZero = kHasSignedDot ? 0 : 128;

  /// Scales 0, 2, 4, 6, then 1, 3, 5, 7.
  static HWY_INLINE void scales(const std::byte* words, const std::byte* scales_h, SubScales& out) {
    const VI low = words_at(words, 0);
    const hn::Rebind<uint16_t, DF> d16;
    VI high = hn::PromoteTo(DI(), hn::LoadU(d16, reinterpret_cast<const uint16_t*>(scales_h)));
    high = hn::And(hn::Or(high, hn::ShiftLeft<8>(high)), hn::Set(DI(), 0x00FF00FF));
    high = hn::And(hn::Or(high, hn::ShiftLeft<4>(high)), hn::Set(DI(), 0x0F0F0F0F));
    out.scale[0] = minus_32(hn::Or(move_bits<0, 0, 15>(low), move_bits<0, 4, 3>(high)));
    out.scale[1] = minus_32(hn::Or(move_bits<4, 0, 15>(low), move_bits<2, 4, 3>(high)));
  }
  template <int kJ>
  static HWY_INLINE void load(const std::byte* words, VU8 (&w)[kSubWords]) {
    const VU8 table = iq4_table();
    FATHOM_UNROLL
    for (size_t i = 0; i < kSubWords / 2; ++i) {
      const VU8 pair = load_word_row(words, 1 + kJ * 4 + i);
      w[i] = hn::TableLookupBytes(table, move_bits<0, 0, 15>(pair));
      w[i + kSubWords / 2] = hn::TableLookupBytes(table, move_bits<4, 0, 15>(pair));
    }
  }
};

// ------------------------------------------------------------------ the kernel

/// words dot activations, times the scale; where the format is a table, of signed values if there is such a dot.
template <DType kFormat, size_t kWords>
HWY_INLINE VI sub_dot(const VU8* w, const int8_t* a, Scale scale) {
#if HWY_TARGET != HWY_AVX3_DL
  if constexpr (kFormat == DType::kIQ4_XS)
    return scaled_dot_signed<kWords>(w, a, scale);
  else
#endif
    return scaled_dot<Format<kFormat>::kMax, kWords>(w, a, scale);
}

/// sums[t] += scaled products of sub-block kJ. `q`: this sub-block of the pass's first token.
template <DType kFormat, int kJ, size_t kTokens>
HWY_INLINE void add_sub_block(const std::byte* words, const SubScales& scales, const int8_t* from,
                              VI (&sums)[kTokens]) {
  using F = Format<kFormat>;
  const int8_t* q = opaque(from);
  VU8 w[kSubWords];
  F::template load<kJ>(words, w);
  if constexpr (F::kSixteens) {
    constexpr size_t kByte = 2 * (kJ % 2);
    const Scale first = scale_at<kByte, F::kSignedScales>(scales.scale[kJ / 2]);
    const Scale second = scale_at<kByte + 1, F::kSignedScales>(scales.scale[kJ / 2]);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      const VI a = sub_dot<kFormat, kSubWords / 2>(w, q + t * kSub, first);
      const VI b = sub_dot<kFormat, kSubWords / 2>(w + kSubWords / 2, q + t * kSub + kSub / 2, second);
      sums[t] = hn::Add(sums[t], hn::Add(a, b));
    }
  } else {
    constexpr bool kAlternate = kFormat == DType::kIQ4_XS;
    constexpr size_t kVector = kAlternate ? kJ % 2 : kJ / 4, kByte = kAlternate ? kJ / 2 : kJ % 4;
    const Scale scale = scale_at<kByte, F::kSignedScales>(scales.scale[kVector]);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t)
      sums[t] = hn::Add(sums[t], sub_dot<kFormat, kSubWords>(w, q + t * kSub, scale));
  }
}

/// Sum over sub-blocks of `factors` times the sums of a super-block's activations.
template <DType kFormat>
HWY_INLINE VI dot_sums(const VI16 (&factors)[2 * Format<kFormat>::kScales], const int16_t* sums) {
  using F = Format<kFormat>;
  constexpr size_t kOffset = F::kSixteens ? 8 : kFormat == DType::kIQ4_XS ? 24 : 0;
  VI out = hn::Zero(DI());
  FATHOM_UNROLL
  for (size_t i = 0; i < 2 * F::kScales; ++i) add_pair(out, factors[i], sums + kOffset + 2 * i);
  return out;
}

/// Calls each(std::integral_constant<int, j>()) for the sub-blocks of a super-block.
template <class Each>
HWY_INLINE void each_sub_block(const Each& each) {
  [&]<int... kJ>(std::integer_sequence<int, kJ...>) HWY_ATTR {
    (each(std::integral_constant<int, kJ>()), ...);
  }
  (std::make_integer_sequence<int, 8>());
}

/// The kernel of multiply_panels.
template <DType kOf>
struct SuperKernel {
  using Rows = Q8KRows;
  using F = Format<kOf>;
  static constexpr DType kFormat = kOf;
  static constexpr size_t kColumns = kSuper;
  static constexpr size_t kMostTokens = kPassTokens;

  template <size_t kTokens>
  static HWY_INLINE void pass(const PassArgs<Q8KRows>& args);
};

template <DType kOf>
template <size_t kTokens>
HWY_INLINE void SuperKernel<kOf>::pass(const PassArgs<Q8KRows>& args) {
  constexpr BlockFormat kLayout = block_format(kFormat);
  const DF df;
  HWY_ALIGN float acc[kTokens * kN] =
      {};  // in memory: read once a super-block, while `sums` need the registers
  const std::byte* halves = args.halves;
  const std::byte* words = args.words;
  const size_t width = args.tile.tokens;
  const int8_t* q = args.tile.q + args.first * kSub;
  const float* scale = args.tile.scale + args.first;
  const int16_t* act_sums = args.tile.sums + args.first * Q8KRows::kSums;
  const size_t step = width * kSub;
  const uintptr_t limit = args.limit;
  uintptr_t ahead = args.ahead;
  constexpr size_t kFetch = (kGroupBlockBytes<kFormat> + 8 * 64 - 1) / (8 * 64) * 64;
  for (size_t b = 0, blocks = args.blocks; b < blocks; ++b) {
    SubScales scales;
    F::scales(words, halves + 2 * kGroupRows, scales);
    VI sums[kTokens];
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(DI());
    // Each sub-block asks for its share of what the super-block asks for.
    each_sub_block([&]<int kJ>(std::integral_constant<int, kJ>) HWY_ATTR {
      fetch<kFetch>(ahead + kJ * kFetch, limit);
      add_sub_block<kFormat, kJ, kTokens>(words, scales, q + kJ * step, sums);
    });

    VI16 factors[2 * F::kScales];
    FATHOM_UNROLL
    for (size_t i = 0; i < F::kScales; ++i) {
      factors[2 * i] = byte_pair<false>(F::kMins ? scales.min[i] : scales.scale[i]);
      factors[2 * i + 1] = byte_pair<true>(F::kMins ? scales.min[i] : scales.scale[i]);
    }
    const VF d = load_half(df, halves);
    const VF dmin = F::kMins ? load_half(df, halves + 2 * kGroupRows) : d;
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      const VF token_scale = hn::Set(df, scale[t]);
      if constexpr (F::kZero != 0) {
        const VI zero = dot_sums<kFormat>(factors, act_sums + t * Q8KRows::kSums);
        sums[t] = hn::Sub(sums[t], hn::ShiftLeft < F::kZero == 128 ? 7 : F::kZero == 32 ? 5 : 2 > (zero));
      }
      VF sum = hn::Load(df, acc + t * kN);
      sum = hn::MulAdd(hn::ConvertTo(df, sums[t]), hn::Mul(d, token_scale), sum);
      if constexpr (F::kMins) {
        const VI min = dot_sums<kFormat>(factors, act_sums + t * Q8KRows::kSums);
        sum = hn::NegMulAdd(hn::ConvertTo(df, min), hn::Mul(dmin, token_scale), sum);
      }
      hn::Store(sum, df, acc + t * kN);
    }
    halves += kLayout.halves * kGroupRows * 2;
    words += kLayout.words * kWordRow;
    ahead += kGroupBlockBytes<kFormat>;
    q += 8 * step;
    scale += width;
    act_sums += width * Q8KRows::kSums;
  }
  FATHOM_UNROLL
  for (size_t t = 0; t < kTokens; ++t)
    store_rows(hn::Load(df, acc + t * kN), args.y + t * args.stride, args.rows, args.add);
}

void MatmulQ8K(const PackedMatrix& w, const Q8KRows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out) {
  const auto multiply = [&]<DType kFormat>(std::integral_constant<DType, kFormat>) {
    multiply_panels<SuperKernel<kFormat>>(w, x, group_begin, group_end, out);
  };
  switch (w.dtype) {
    case DType::kQ2_K: return multiply(std::integral_constant<DType, DType::kQ2_K>());
    case DType::kQ3_K: return multiply(std::integral_constant<DType, DType::kQ3_K>());
    case DType::kQ4_K: return multiply(std::integral_constant<DType, DType::kQ4_K>());
    case DType::kQ5_K: return multiply(std::integral_constant<DType, DType::kQ5_K>());
    case DType::kQ6_K: return multiply(std::integral_constant<DType, DType::kQ6_K>());
    default: return multiply(std::integral_constant<DType, DType::kIQ4_XS>());
  }
}

// ------------------------------------------------------------------ activations

/// The number of the largest magnitude, the first of several.
float extreme_of(const float* x) {
  const DF df;
  VF low = hn::Zero(df), high = hn::Zero(df);
  for (size_t i = 0; i < kSuper; i += kN) {
    const VF v = hn::LoadU(df, x + i);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
  }
  const float least = hn::GetLane(hn::MinOfLanes(df, low));
  const float most = hn::GetLane(hn::MaxOfLanes(df, high));
  if (most != -least) return most > -least ? most : least;
  for (size_t i = 0; i < kSuper; ++i)
    if (std::fabs(x[i]) == most) return x[i];
  return 0.0f;
}

/// Writes 16 values of q and returns their sum.
HWY_INLINE int32_t quantise_sixteen(const float* x, float inverse, int8_t* q) {
  const DF df;
  const DI di;
  const hn::Rebind<int8_t, DF> d8;
  VI total = hn::Zero(di);
  for (size_t i = 0; i < 16; i += kN) {
    const VI v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), hn::Set(df, inverse)));
    const VI kept = hn::Min(v, hn::Set(di, 127));
    total = hn::Add(total, kept);
    hn::StoreU(hn::DemoteTo(d8, kept), d8, q + i);
  }
  return hn::GetLane(hn::SumOfLanes(di, total));
}

void QuantiseRowQ8K(const float* x, const Q8KRows& out, size_t token) {
  constexpr size_t kOrder[4] = {0, 2, 1, 3};
  constexpr size_t kFarOrder[8] = {0, 4, 2, 6, 1, 5, 3, 7};
  const Q8KRows tile = out.tile(token / Q8KRows::kTile);
  const size_t in_tile = token % Q8KRows::kTile;
  for (size_t b = 0; b < out.cols / kSuper; ++b, x += kSuper) {
    const float extreme = extreme_of(x);
    const float inverse = std::fabs(extreme) < 1e-36f ? 0.0f : -127.0f / extreme;
    const size_t at = b * tile.tokens + in_tile;
    tile.scale[at] = inverse == 0.0f ? extreme : 1.0f / inverse;  // an infinite number shows in the result
    int32_t sums[16];
    for (size_t s = 0; s < 16; ++s) {
      const size_t block = (b * 8 + s / 2) * tile.tokens + in_tile;
      sums[s] = quantise_sixteen(x + 16 * s, inverse, tile.q + block * kSub + s % 2 * 16);
    }
    int16_t* to = tile.sums + at * Q8KRows::kSums;
    const auto pair = [&](size_t s) { return static_cast<int16_t>(sums[2 * s] + sums[2 * s + 1]); };
    for (size_t s = 0; s < 8; ++s) to[s] = pair(s / 4 * 4 + kOrder[s % 4]);
    for (size_t s = 0; s < 16; ++s) to[8 + s] = static_cast<int16_t>(sums[s / 4 * 4 + kOrder[s % 4]]);
    for (size_t s = 0; s < 8; ++s) to[24 + s] = pair(kFarOrder[s]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {

HWY_EXPORT(MatmulQ8K);
HWY_EXPORT(QuantiseRowQ8K);

void quantise_row_q8k(const float* x, const Q8KRows& out, size_t token) {
  HWY_DYNAMIC_DISPATCH(QuantiseRowQ8K)(x, out, token);
}

void matmul_q8k(const PackedMatrix& w, const Q8KRows& x, size_t group_begin, size_t group_end,
                const MatmulOut& out) {
  FATHOM_CHECK(x.cols == w.cols && group_end <= w.groups() &&
               activation_form(w.dtype) == ActivationForm::kQ8K);
  HWY_DYNAMIC_DISPATCH(MatmulQ8K)(w, x, group_begin, group_end, out);
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
