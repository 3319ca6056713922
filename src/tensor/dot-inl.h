// Integer products of quantised weights with 8-bit activations for the kernels, on each target. Included once for each
// target, after simd.h.
//
// A vector of weights has four 8-bit columns of kN rows: a 32-bit lane for each row. It meets four activations, broadcast
// to all lanes; products are added up within the lane. Weights are bytes from 0 to kMax (`dot`), which tells how many
// products 16 bits can add up, or signed (`dot_signed`). Activations are within 127 of zero.
#if defined(FATHOM_TENSOR_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_DOT_INL_H_
#undef FATHOM_TENSOR_DOT_INL_H_
#else
#define FATHOM_TENSOR_DOT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/half-inl.h"
#include "tensor/packed.h"
#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kWordRow = kGroupRows * 4;  // bytes from one word of a packed row to the next

/// Whether signed weights are multiplied as such; else 128 is added to them and `kZero` taken off afterwards.
constexpr bool kHasSignedDot = HWY_TARGET != HWY_AVX3_DL;

/// Tokens that a pass over unpacked blocks holds in registers.
constexpr size_t kPassTokens = HWY_TARGET == HWY_AVX3_DL ? 16 : 4;

/// Keeps the compiler from seeing where a pointer comes from. Of hundreds of known distances it would make as many
/// pointers, more than there are registers, instead of offsets from one.
template <class T>
HWY_INLINE const T* opaque(const T* at) {
#if defined(__GNUC__)
  asm("" : "+r"(at));
#endif
  return at;
}

HWY_INLINE int32_t load_pair(const int16_t* at) {
  int32_t pair;
  std::memcpy(&pair, at, 4);
  return pair;
}

#if HWY_TARGET == HWY_AVX3_DL

/// What a sum of products is multiplied with: one integer a row.
using Scale = VI;

/// sum += the four u8 * s8 products of each lane; the activations' word is broadcast by the instruction itself.
/// Written as assembly because Highway's target attributes for this target do not name avx512vnni, which it implies.
HWY_INLINE void add_word(VI& sum, VU8 w, const int8_t* word) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum.raw)
      : "v"(w.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(word)));
}

/// sum += both s16 * s16 products of each lane.
HWY_INLINE void add_pair(VI& sum, VI16 w, const int16_t* pair) {
  asm("vpdpwssd %2%{1to16%}, %1, %0"
      : "+v"(sum.raw)
      : "v"(w.raw), "m"(*reinterpret_cast<const int16_t(*)[2]>(pair)));
}

template <int kMax, size_t kWords>
HWY_INLINE VI dot(const VU8* w, const int8_t* a) {
  VI sum = hn::Zero(DI());
  FATHOM_UNROLL
  for (size_t i = 0; i < kWords; ++i) add_word(sum, w[i], a + 4 * i);
  return sum;
}

template <int kMax, size_t kWords>
HWY_INLINE VI scaled_dot(const VU8* w, const int8_t* a, Scale scale) {
  return hn::Mul(dot<kMax, kWords>(w, a), scale);
}

#else

HWY_INLINE VI8 broadcast_word(const int8_t* word) {
  int32_t bits;
  std::memcpy(&bits, word, 4);
  return hn::BitCast(DI8(), hn::Set(DI(), bits));
}

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

/// The same 16-bit integer in both halves of a lane.
using Scale = VI16;

#if HWY_TARGET == HWY_AVX3
HWY_INLINE VI16 pair_products(VU8 w, VI8 a) { return VI16{_mm512_maddubs_epi16(w.raw, a.raw)}; }
HWY_INLINE VI pair_dot(VI16 v, VI16 w) { return VI{_mm512_madd_epi16(v.raw, w.raw)}; }
/// a, negated where `sign` is; zero stays to be multiplied by zero.
HWY_INLINE VI8 apply_sign(VI8 a, VI8 sign) {
  return VI8{_mm512_mask_sub_epi8(a.raw, _mm512_movepi8_mask(sign.raw), _mm512_setzero_si512(), a.raw)};
}
#else
HWY_INLINE VI16 pair_products(VU8 w, VI8 a) { return VI16{_mm256_maddubs_epi16(w.raw, a.raw)}; }
HWY_INLINE VI pair_dot(VI16 v, VI16 w) { return VI{_mm256_madd_epi16(v.raw, w.raw)}; }
HWY_INLINE VI8 apply_sign(VI8 a, VI8 sign) { return VI8{_mm256_sign_epi8(a.raw, sign.raw)}; }
#endif

HWY_INLINE VI pair_sums(VI16 v) { return pair_dot(v, hn::Set(DI16(), 1)); }
HWY_INLINE VI scaled_sums(VI16 v, Scale scale) { return pair_dot(v, scale); }
HWY_INLINE void add_pair(VI& sum, VI16 w, const int16_t* pair) {
  sum = hn::Add(sum, pair_dot(w, hn::BitCast(DI16(), hn::Set(DI(), load_pair(pair)))));
}
HWY_INLINE VI16 pair_products_signed(VI8 w, VI8 a) {
  return pair_products(hn::BitCast(DU8(), hn::Abs(w)), apply_sign(a, w));
}

#else  // portable: NEON, SSE4

using Scale = VI;

HWY_INLINE VI16 low_bytes(VI16 v) { return hn::ShiftRight<8>(hn::ShiftLeft<8>(v)); }  // sign-extended
HWY_INLINE VI low_halves(VI v) { return hn::ShiftRight<16>(hn::ShiftLeft<16>(v)); }

HWY_INLINE VI16 pair_products_signed(VI8 w, VI8 a) {
  const VI16 ww = hn::BitCast(DI16(), w), aa = hn::BitCast(DI16(), a);
  return hn::Add(hn::Mul(low_bytes(ww), low_bytes(aa)),
                 hn::Mul(hn::ShiftRight<8>(ww), hn::ShiftRight<8>(aa)));
}
HWY_INLINE VI16 pair_products(VU8 w, VI8 a) { return pair_products_signed(hn::BitCast(DI8(), w), a); }

/// Both 16-bit halves of each lane, added up.
HWY_INLINE VI pair_sums(VI16 v) {
  const VI both = hn::BitCast(DI(), v);
  return hn::Add(low_halves(both), hn::ShiftRight<16>(both));
}
HWY_INLINE VI scaled_sums(VI16 v, Scale scale) { return hn::Mul(pair_sums(v), scale); }
HWY_INLINE void add_pair(VI& sum, VI16 w, const int16_t* pair) {
  const VI both = hn::BitCast(DI(), w);
  sum = hn::Add(sum, hn::Mul(low_halves(both), hn::Set(DI(), pair[0])));
  sum = hn::Add(sum, hn::Mul(hn::ShiftRight<16>(both), hn::Set(DI(), pair[1])));
}

#endif

/// Calls `finish` with 16-bit sums of as many words' products as 16 bits hold, `product(i)` being those of word i.
template <int kMax, size_t kWords, class Product, class Finish>
HWY_INLINE VI sum_in_16_bits(const Product& product, const Finish& finish) {
  constexpr size_t kHold = std::min<size_t>(kWords, 32767 / (2 * 127 * kMax));  // activations are within 127
  static_assert(kHold > 0 && kWords % kHold == 0);
  VI out = hn::Zero(DI());
  FATHOM_UNROLL
  for (size_t first = 0; first < kWords; first += kHold) {
    VI16 sum = product(first);
    FATHOM_UNROLL
    for (size_t i = 1; i < kHold; ++i) sum = hn::Add(sum, product(first + i));
    out = first == 0 ? finish(sum) : hn::Add(out, finish(sum));
  }
  return out;
}

template <int kMax, size_t kWords>
HWY_INLINE VI dot(const VU8* w, const int8_t* a) {
  return sum_in_16_bits<kMax, kWords>([&](size_t i)
                                          HWY_ATTR { return pair_products(w[i], broadcast_word(a + 4 * i)); },
                                      [](VI16 v) HWY_ATTR { return pair_sums(v); });
}

template <int kMax, size_t kWords>
HWY_INLINE VI scaled_dot(const VU8* w, const int8_t* a, Scale scale) {
  return sum_in_16_bits<kMax, kWords>([&](size_t i)
                                          HWY_ATTR { return pair_products(w[i], broadcast_word(a + 4 * i)); },
                                      [&](VI16 v) HWY_ATTR { return scaled_sums(v, scale); });
}

template <size_t kWords>
HWY_INLINE VI dot_signed(const VU8* w, const int8_t* a) {
  return sum_in_16_bits<127, kWords>(
      [&](size_t i)
          HWY_ATTR { return pair_products_signed(hn::BitCast(DI8(), w[i]), broadcast_word(a + 4 * i)); },
      [](VI16 v) HWY_ATTR { return pair_sums(v); });
}

template <size_t kWords>
HWY_INLINE VI scaled_dot_signed(const VU8* w, const int8_t* a, Scale scale) {
  return sum_in_16_bits<127, kWords>(
      [&](size_t i)
          HWY_ATTR { return pair_products_signed(hn::BitCast(DI8(), w[i]), broadcast_word(a + 4 * i)); },
      [&](VI16 v) HWY_ATTR { return scaled_sums(v, scale); });
}

#endif  // not AVX3_DL

// ------------------------------------------------------------------ unpacking

HWY_INLINE VU8 load_word_row(const std::byte* words, size_t index) {
  return hn::LoadU(DU8(), reinterpret_cast<const uint8_t*>(words + index * kWordRow));
}

/// The bits `kMask` << kFrom of each byte, moved to `kMask` << kTo.
template <int kFrom, int kTo, int kMask>
HWY_INLINE VU8 move_bits(VU8 v) {
  const auto wide = hn::BitCast(DU16(), v);
  const VU8 mask = hn::Set(DU8(), static_cast<uint8_t>(kMask << kTo));
  if constexpr (kFrom > kTo)
    return hn::And(hn::BitCast(DU8(), hn::ShiftRight<kFrom - kTo>(wide)), mask);
  else if constexpr (kFrom < kTo)
    return hn::And(hn::BitCast(DU8(), hn::ShiftLeft<kTo - kFrom>(wide)), mask);
  else
    return hn::And(v, mask);
}

/// The values of IQ4_NL and IQ4_XS as bytes; 128 more where there is no signed dot.
HWY_INLINE VU8 iq4_table() {
  HWY_ALIGN static constexpr int8_t kSigned[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                   1,    13,   25,  38,  53,  69,  89,  113};
  static_assert(std::equal(kSigned, kSigned + 16, kIq4Values));
  const VU8 table =
      hn::LoadDup128(DU8(), reinterpret_cast<const uint8_t*>(kSigned));  // NOLINT: bytes are bytes
  return kHasSignedDot ? table : hn::Xor(table, hn::Set(DU8(), 0x80));
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
