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

#include "tensor/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kGroupRows>;
using DI = hn::RebindToSigned<DF>;
using DU8 = hn::Repartition<uint8_t, DF>;
using DI8 = hn::Repartition<int8_t, DF>;
using DI16 = hn::Repartition<int16_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU8 = hn::Vec<DU8>;

constexpr size_t kN = hn::MaxLanes(DF());
constexpr size_t kParts = kGroupRows / kN;  // vectors that hold the rows of one group
constexpr size_t kBlock = 32;
constexpr size_t kWords = kBlock / 4;  // 32-bit words of a block of activations

// Weights are asked for this many bytes before they are used. What the processor guesses by itself hides little more than
// half of memory's delay here: at 8 tokens, twice the speed.
constexpr size_t kAheadBytes = 8192;

// Tokens and vectors that one pass holds in registers.
constexpr size_t kQ8Tokens = HWY_CAP_GE512 ? 16 : HWY_TARGET == HWY_AVX2 ? 8 : 4;
constexpr size_t kFloatTokens = HWY_CAP_GE512 ? 8 : 4;

// ------------------------------------------------------------------ weights in blocks

template <DType kFormat>
constexpr size_t kBlockQuantBytes = kGroupRows*(kFormat == DType::kQ8_0 ? 32 : 16);
template <DType kFormat>
constexpr size_t kBlockScaleBytes = kGroupRows*(kFormat == DType::kQ4_1 ? 4 : 2);

HWY_INLINE VF load_f16(const std::byte* at) { return load_half(DF(), at); }

HWY_INLINE int32_t load_word(const int8_t* at) {
  int32_t word;
  std::memcpy(&word, at, 4);
  return word;
}

#if HWY_TARGET != HWY_AVX2 && HWY_TARGET != HWY_AVX3

/// The eight words of a block for kN rows: w[i] holds columns 4 i + (0..3) of each row as u8.
template <DType kFormat>
HWY_INLINE void load_quants(const std::byte* quants, VU8 (&w)[kWords]) {
  const DU8 d8;
  const auto* at = reinterpret_cast<const uint8_t*>(quants);
  if constexpr (kFormat == DType::kQ8_0) {
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords; ++i) w[i] = hn::LoadU(d8, at + i * kGroupRows * 4);
  } else {
    const auto low = hn::Set(d8, 15);
    const hn::Repartition<uint16_t, DF> d16;
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords / 2; ++i) {
      const VU8 pair = hn::LoadU(d8, at + i * kGroupRows * 4);
      w[i] = hn::And(pair, low);
      w[i + kWords / 2] = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(d16, pair))), low);
    }
  }
}

/// What must be added to the products of unsigned weights with a block whose values add up to `sum`.
template <DType kFormat>
HWY_INLINE int32_t zero_point(int32_t sum) {
  if constexpr (kFormat == DType::kQ8_0) return -128 * sum;
  if constexpr (kFormat == DType::kQ4_0) return -8 * sum;
  return 0;
}

#endif

#if HWY_TARGET == HWY_AVX3_DL

/// sum += the four u8 * s8 products of each lane; the activations' word is broadcast by the instruction itself.
/// Written as assembly because Highway's target attributes for this target do not name avx512vnni, which it implies.
HWY_INLINE void dot_word(VI& sum, VU8 w, const int8_t* word) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum.raw)
      : "v"(w.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(word)));
}

template <DType kFormat>
HWY_INLINE VI dot_block(const VU8 (&w)[kWords], const int8_t* a, int32_t a_sum) {
  VI sum = hn::Set(DI(), zero_point<kFormat>(a_sum));
  FATHOM_UNROLL
  for (size_t i = 0; i < kWords; ++i) dot_word(sum, w[i], a + 4 * i);
  return sum;
}

#elif HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

using VI8 = hn::Vec<DI8>;
using VI16 = hn::Vec<DI16>;

#if HWY_TARGET == HWY_AVX3
HWY_INLINE VI16 pair_products(VU8 w, VI8 a) { return VI16{_mm512_maddubs_epi16(w.raw, a.raw)}; }
HWY_INLINE VI pair_sums(VI16 v) { return VI{_mm512_madd_epi16(v.raw, _mm512_set1_epi16(1))}; }
HWY_INLINE VI8 apply_sign(VI8 a,
                          VI8 sign) {  // a, negated where `sign` is; zero stays to be multiplied by zero
  return VI8{_mm512_mask_sub_epi8(a.raw, _mm512_movepi8_mask(sign.raw), _mm512_setzero_si512(), a.raw)};
}
#else
HWY_INLINE VI16 pair_products(VU8 w, VI8 a) { return VI16{_mm256_maddubs_epi16(w.raw, a.raw)}; }
HWY_INLINE VI pair_sums(VI16 v) { return VI{_mm256_madd_epi16(v.raw, _mm256_set1_epi16(1))}; }
HWY_INLINE VI8 apply_sign(VI8 a, VI8 sign) { return VI8{_mm256_sign_epi8(a.raw, sign.raw)}; }
#endif

HWY_INLINE VI8 broadcast_word(const int8_t* word) {
  return hn::BitCast(DI8(), hn::Set(DI(), load_word(word)));
}

/// Keeps the compiler from adding in another order, for which it would need more registers than there are.
HWY_INLINE void keep_order(VI16& v) { asm("" : "+v"(v.raw)); }
HWY_INLINE void keep_order(VI& v) { asm("" : "+v"(v.raw)); }

/// A block times kTokens tokens, word by word, so that a word is unpacked once for all of them and registers hold their
/// sums.
template <DType kFormat, size_t kTokens>
struct BlockDots {
  HWY_INLINE BlockDots(const std::byte* quants, const int8_t* q) {
    const auto* at = reinterpret_cast<const uint8_t*>(quants);
    if constexpr (kFormat == DType::kQ8_0)
      add_bytes(at, q);
    else
      add_nibbles(at, q);
  }

  HWY_INLINE VI dot(size_t t, const int8_t* /*q*/, const int32_t* sum) const {
    if constexpr (kFormat == DType::kQ4_0) return hn::Sub(dots[t], hn::ShiftLeft<3>(hn::Set(DI(), sum[t])));
    return dots[t];
  }

 private:
  HWY_INLINE void add_bytes(const uint8_t* at, const int8_t* q) {
    // |w| * (a with w's sign): pairs add up to at most 2 * 128 * 127, which 16 bits hold.
    const VU8 flip = hn::Set(DU8(), 0x80);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) dots[t] = hn::Zero(DI());
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords; ++i) {
      const VI8 sw = hn::BitCast(DI8(), hn::Xor(hn::LoadU(DU8(), at + i * kGroupRows * 4), flip));
      const VU8 aw = hn::BitCast(DU8(), hn::Abs(sw));
      FATHOM_UNROLL
      for (size_t t = 0; t < kTokens; ++t) {
        const VI8 a = broadcast_word(q + t * kBlock + 4 * i);
        dots[t] = hn::Add(dots[t], pair_sums(pair_products(aw, apply_sign(a, sw))));
        keep_order(dots[t]);
      }
    }
  }

  HWY_INLINE void add_nibbles(const uint8_t* at, const int8_t* q) {
    // A pair is at most 2 * 15 * 128 = 3840, so 16 bits hold the sum of a block's eight.
    const VU8 low = hn::Set(DU8(), 15);
    const hn::Repartition<uint16_t, DF> d16;
    VI16 sums[kTokens];
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(DI16());
    FATHOM_UNROLL
    for (size_t i = 0; i < kWords / 2; ++i) {
      const VU8 pair = hn::LoadU(DU8(), at + i * kGroupRows * 4);
      const VU8 first = hn::And(pair, low);
      const VU8 second = hn::And(hn::BitCast(DU8(), hn::ShiftRight<4>(hn::BitCast(d16, pair))), low);
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

#else  // portable: NEON, SSE4

/// Both 16-bit halves of each lane, added up.
HWY_INLINE VI pair_sums(hn::Vec<DI16> v) {
  const VI both = hn::BitCast(DI(), v);
  return hn::Add(hn::ShiftRight<16>(hn::ShiftLeft<16>(both)), hn::ShiftRight<16>(both));
}

template <DType kFormat>
HWY_INLINE VI dot_block(const VU8 (&w)[kWords], const int8_t* a, int32_t a_sum) {
  const DI16 d16;
  VI sum = hn::Set(DI(), zero_point<kFormat>(a_sum));
  for (size_t i = 0; i < kWords; ++i) {
    // A product is at most 255 * 128, which 16 bits hold; even and odd bytes are multiplied apart.
    const auto aw = hn::BitCast(d16, hn::Set(DI(), load_word(a + 4 * i)));
    const auto ww = hn::BitCast(d16, w[i]);
    const auto even = hn::Mul(hn::And(ww, hn::Set(d16, 0xFF)), hn::ShiftRight<8>(hn::ShiftLeft<8>(aw)));
    const hn::RebindToUnsigned<DI16> du16;
    const auto odd_w = hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(du16, ww)));
    sum = hn::Add(sum, hn::Add(pair_sums(even), pair_sums(hn::Mul(odd_w, hn::ShiftRight<8>(aw)))));
  }
  return sum;
}

#endif

#if HWY_TARGET != HWY_AVX2 && HWY_TARGET != HWY_AVX3

/// A block times kTokens tokens, one after another, the unpacked block in registers.
template <DType kFormat, size_t kTokens>
struct BlockDots {
  HWY_INLINE BlockDots(const std::byte* quants, const int8_t* /*q*/) { load_quants<kFormat>(quants, w); }
  HWY_INLINE VI dot(size_t t, const int8_t* q, const int32_t* sum) const {
    return dot_block<kFormat>(w, q + t * kBlock, sum[t]);
  }

  VU8 w[kWords];
};

#endif

// ------------------------------------------------------------------ results

/// Stores the rows of one vector; `rows` of them exist.
HWY_INLINE void store_rows(VF v, float* y, size_t rows, bool add) {
  const DF df;
  if (rows >= kN) [[likely]] {
    hn::StoreU(add ? hn::Add(hn::LoadU(df, y), v) : v, df, y);
    return;
  }
  HWY_ALIGN float lanes[kN];
  hn::Store(v, df, lanes);
  for (size_t i = 0; i < rows; ++i) y[i] = add ? y[i] + lanes[i] : lanes[i];
}

// ------------------------------------------------------------------ 8-bit activations

/// One tile of activations from its first token on.
struct Tile {
  const int8_t* q;
  const float* scale;
  const float* scaled_sum;
  const int32_t* sum;
  size_t width;
};

/// Asks for the bytes [at, at + kBytes) to be brought near, used once.
template <size_t kBytes>
HWY_INLINE void fetch(const std::byte* at) {
  FATHOM_UNROLL
  for (size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i, 0, 3);
}

/// kTokens tokens of `a` from `first` on, times kN rows. kAhead: the weights come from memory; each step asks for as much
/// as it uses from `ahead` on, before `limit`.
template <DType kFormat, size_t kTokens, bool kAhead>
HWY_INLINE void q8_pass(const std::byte* scales, const std::byte* quants, size_t blocks, const Tile& a,
                        size_t first, float* y, size_t stride, size_t rows, bool add, const std::byte* ahead,
                        const std::byte* limit) {
  constexpr size_t kBlockBytes = kBlockQuantBytes<kFormat> + kBlockScaleBytes<kFormat>;
  const DF df;
  VF acc[kTokens];
  FATHOM_UNROLL
  for (size_t t = 0; t < kTokens; ++t) acc[t] = hn::Zero(df);
  const int8_t* q = a.q + first * kBlock;
  const float* scale = a.scale + first;
  const float* scaled_sum = a.scaled_sum + first;
  const int32_t* sum = a.sum + first;
  for (size_t b = 0; b < blocks; ++b) {
    if constexpr (kAhead) {
      if (ahead < limit) fetch<kBlockBytes>(ahead);
      ahead += kBlockBytes;
    }
    const BlockDots<kFormat, kTokens> block(quants, q);
    const VF d = load_f16(scales);
    VF m = d;
    if constexpr (kFormat == DType::kQ4_1) m = load_f16(scales + kGroupRows * 2);
    FATHOM_UNROLL
    for (size_t t = 0; t < kTokens; ++t) {
      const VF dot = hn::ConvertTo(df, block.dot(t, q, sum));
      acc[t] = hn::MulAdd(dot, hn::Mul(d, hn::Set(df, scale[t])), acc[t]);
      if constexpr (kFormat == DType::kQ4_1) acc[t] = hn::MulAdd(m, hn::Set(df, scaled_sum[t]), acc[t]);
    }
    scales += kBlockScaleBytes<kFormat>;
    quants += kBlockQuantBytes<kFormat>;
    q += a.width * kBlock;
    scale += a.width;
    scaled_sum += a.width;
    sum += a.width;
  }
  FATHOM_UNROLL
  for (size_t t = 0; t < kTokens; ++t) store_rows(acc[t], y + t * stride, rows, add);
}

/// A tile of activations times one group of weights. `limit`: the end of the weights to come from memory; null when they
/// are in cache.
template <DType kFormat>
HWY_NOINLINE void q8_group(const std::byte* group, size_t cols, const Tile& a, float* y, size_t stride,
                           size_t rows, bool add, const std::byte* limit) {
  const size_t blocks = cols / kBlock;
  for (size_t part = 0; part < kParts && part * kN < rows; ++part) {
    const std::byte* scales = group + part * kN * 2;
    const std::byte* quants = group + packed_quants_offset(kFormat, cols) + part * kN * 4;
    float* at = y + part * kN;
    const size_t left = rows - part * kN;
    size_t t = 0;
    const auto pass = [&]<size_t kTokens>(std::integral_constant<size_t, kTokens>) HWY_ATTR {
      for (; t + kTokens <= a.width; t += kTokens) {
        float* to = at + t * stride;
        if (t + part == 0 && limit != nullptr)
          q8_pass<kFormat, kTokens, true>(scales, quants, blocks, a, t, to, stride, left, add,
                                          group + kAheadBytes, limit);
        else
          q8_pass<kFormat, kTokens, false>(scales, quants, blocks, a, t, to, stride, left, add, nullptr,
                                           nullptr);
      }
    };
    if constexpr (kQ8Tokens >= 16) pass(std::integral_constant<size_t, 16>());
    if constexpr (kQ8Tokens >= 8) pass(std::integral_constant<size_t, 8>());
    pass(std::integral_constant<size_t, 4>());
    if (a.width - t >= 2) pass(std::integral_constant<size_t, 2>());
    if (t < a.width) pass(std::integral_constant<size_t, 1>());
  }
}

template <DType kFormat>
void q8_matrix(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out) {
  // Weights that stay in the second-level cache while all tiles pass.
  constexpr size_t kPanelBytes = size_t{192} << 10;
  const size_t panel = std::max<size_t>(1, kPanelBytes / w.group_bytes);
  const size_t blocks = w.cols / kBlock;
  for (size_t begin = group_begin; begin < group_end; begin += panel) {
    const size_t end = std::min(begin + panel, group_end);
    for (size_t first = 0; first < x.tokens; first += Q8Rows::kTile) {
      const Tile a{x.q + first * x.cols, x.scale + first * blocks, x.scaled_sum + first * blocks,
                   x.sum + first * blocks, x.tile_width(first / Q8Rows::kTile)};
      const std::byte* limit = first == 0 ? w.data + group_end * w.group_bytes : nullptr;
      for (size_t g = begin; g < end; ++g)
        q8_group<kFormat>(w.data + g * w.group_bytes, w.cols, a, out.y + first * out.stride + g * kGroupRows,
                          out.stride, std::min(kGroupRows, w.rows - g * kGroupRows), out.add, limit);
    }
  }
}

void MatmulQ8(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
              const MatmulOut& out) {
  if (w.dtype == DType::kQ8_0) return q8_matrix<DType::kQ8_0>(w, x, group_begin, group_end, out);
  if (w.dtype == DType::kQ4_0) return q8_matrix<DType::kQ4_0>(w, x, group_begin, group_end, out);
  q8_matrix<DType::kQ4_1>(w, x, group_begin, group_end, out);
}

// ------------------------------------------------------------------ float activations

template <DType kFormat>
HWY_INLINE VF load_plain(const std::byte* at) {
  const DF df;
  if constexpr (kFormat == DType::kF32) return hn::LoadU(df, reinterpret_cast<const float*>(at));
  if constexpr (kFormat == DType::kF16) return load_f16(at);
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
  constexpr size_t kPanelBytes = size_t{192} << 10;
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
  const size_t tile = token / Q8Rows::kTile;
  const size_t width = out.tile_width(tile);
  const size_t in_tile = token % Q8Rows::kTile;
  const size_t first = tile * Q8Rows::kTile;
  for (size_t b = 0; b < blocks; ++b, x += kBlock) {
    VF top = hn::Zero(df);
    for (size_t i = 0; i < kBlock; i += kN) top = hn::Max(top, hn::Abs(hn::LoadU(df, x + i)));
    const float max = hn::GetLane(hn::MaxOfLanes(df, top));
    const float d = max / 127.0f;
    const VF inverse = hn::Set(df, max != 0.0f ? 127.0f / max : 0.0f);
    const size_t at = first * blocks + b * width + in_tile;
    int8_t* q = out.q + at * kBlock;
    VI total = hn::Zero(di);
    for (size_t i = 0; i < kBlock; i += kN) {
      const VI v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), inverse));
      total = hn::Add(total, v);
      hn::StoreU(hn::DemoteTo(d8, v), d8, q + i);
    }
    const int32_t sum = hn::GetLane(hn::SumOfLanes(di, total));
    out.sum[at] = sum;
    out.scale[at] = hn::GetLane(round_f16(hn::Set(df, d)));
    out.scaled_sum[at] = hn::GetLane(round_f16(hn::Set(df, d * static_cast<float>(sum))));
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
