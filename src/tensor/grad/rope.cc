#include "tensor/grad/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/rope.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

/// One pair: the vectors' arithmetic for what they leave over.
HWY_INLINE void turn_pair(float& a, float& b, float cosine, float sine) {
  const float turned = a * cosine - b * sine;
  b = a * sine + b * cosine;
  a = turned;
}

/// One vector of head_dim; `sign` is -1 to turn back.
template <bool kHalves>
HWY_INLINE void turn(float* x, size_t pairs, const float* cos_sin, float sign) {
  const DF df;
  const VF s = hn::Set(df, sign);
  size_t i = 0;
  for (; i + kN <= pairs; i += kN) {
    VF cosine;
    VF sine;
    VF a;
    VF b;
    hn::LoadInterleaved2(df, cos_sin + 2 * i, cosine, sine);
    sine = hn::Mul(sine, s);
    if constexpr (kHalves) {
      a = hn::LoadU(df, x + i);
      b = hn::LoadU(df, x + pairs + i);
    } else {
      hn::LoadInterleaved2(df, x + 2 * i, a, b);
    }
    const VF turned = hn::NegMulAdd(b, sine, hn::Mul(a, cosine));
    const VF partner = hn::MulAdd(a, sine, hn::Mul(b, cosine));
    if constexpr (kHalves) {
      hn::StoreU(turned, df, x + i);
      hn::StoreU(partner, df, x + pairs + i);
    } else {
      hn::StoreInterleaved2(turned, partner, df, x + 2 * i);
    }
  }
  for (; i < pairs; ++i) {
    const size_t first = kHalves ? i : 2 * i;
    turn_pair(x[first], x[first + (kHalves ? pairs : 1)], cos_sin[2 * i], cos_sin[2 * i + 1] * sign);
  }
}

void Rope(float* x, size_t stride, size_t tokens, size_t heads, size_t head_dim, size_t dims, bool halves,
          const float* cos_sin, const int32_t* position, bool inverse) {
  const float sign = inverse ? -1.0f : 1.0f;
  for (size_t t = 0; t < tokens; ++t, x += stride) {
    const float* angles = cos_sin + static_cast<size_t>(position[t]) * dims;
    for (size_t h = 0; h < heads; ++h) {
      if (halves)
        turn<true>(x + h * head_dim, dims / 2, angles, sign);
      else
        turn<false>(x + h * head_dim, dims / 2, angles, sign);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(Rope);

void rope(float* x, size_t stride, size_t tokens, size_t heads, size_t head_dim, size_t dims, bool halves,
          const float* cos_sin, const int32_t* position, bool inverse) {
  HWY_DYNAMIC_DISPATCH(Rope)
  (x, stride, tokens, heads, head_dim, dims, halves, cos_sin, position, inverse);
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
