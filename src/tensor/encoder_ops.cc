#include "tensor/encoder_ops.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/encoder_ops.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// 1 - erf(x) of x >= 0 as a polynomial of 1 / (1 + p x) times exp(-x^2).
HWY_INLINE VF erf_rest(VF x) {
  const DF df;
  const VF t = hn::Div(hn::Set(df, 1.0f), hn::MulAdd(hn::Set(df, 0.3275911f), x, hn::Set(df, 1.0f)));
  VF poly = hn::Set(df, 1.061405429f);
  poly = hn::MulAdd(poly, t, hn::Set(df, -1.453152027f));
  poly = hn::MulAdd(poly, t, hn::Set(df, 1.421413741f));
  poly = hn::MulAdd(poly, t, hn::Set(df, -0.284496736f));
  poly = hn::MulAdd(poly, t, hn::Set(df, 0.254829592f));
  // Beyond this exp(-x^2) is 0 and its approximation leaves its range.
  const VF near = hn::Min(x, hn::Set(df, 9.0f));
  return hn::Mul(hn::Mul(poly, t), hn::Exp(df, hn::Neg(hn::Mul(near, near))));
}

HWY_INLINE VF gelu_of(VF x) {
  const DF df;
  const VF rest = erf_rest(hn::Abs(hn::Mul(x, hn::Set(df, 0.70710678118654752f))));
  const VF half = hn::Mul(hn::Set(df, 0.5f), x);
  // x / 2 * (1 + erf): from below where x < 0, so that nothing cancels.
  const VF factor = hn::IfThenElse(hn::Lt(x, hn::Zero(df)), rest, hn::Sub(hn::Set(df, 2.0f), rest));
  return hn::Mul(half, factor);
}

void GeluErf(float* x, size_t n) {
  const DF df;
  size_t i = 0;
  for (; i + kN <= n; i += kN) hn::StoreU(gelu_of(hn::LoadU(df, x + i)), df, x + i);
  if (i == n) return;
  HWY_ALIGN float lanes[kN] = {};
  for (size_t j = i; j < n; ++j) lanes[j - i] = x[j];
  hn::Store(gelu_of(hn::Load(df, lanes)), df, lanes);
  for (size_t j = i; j < n; ++j) x[j] = lanes[j - i];
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, float* out, size_t n) {
  const DF df;
  const float count = static_cast<float>(n);
  VF sums = hn::Zero(df);
  size_t i = 0;
  for (; i + kN <= n; i += kN) sums = hn::Add(sums, hn::LoadU(df, x + i));
  float total = hn::GetLane(hn::SumOfLanes(df, sums));
  for (; i < n; ++i) total += x[i];
  const float mean = total / count;
  const VF means = hn::Set(df, mean);
  VF squares = hn::Zero(df);
  for (i = 0; i + kN <= n; i += kN) {
    const VF apart = hn::Sub(hn::LoadU(df, x + i), means);
    squares = hn::MulAdd(apart, apart, squares);
  }
  float square = hn::GetLane(hn::SumOfLanes(df, squares));
  for (; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0f / std::sqrt(square / count + eps);
  const VF factors = hn::Set(df, factor);
  for (i = 0; i + kN <= n; i += kN) {
    const VF even = hn::Mul(hn::Sub(hn::LoadU(df, x + i), means), factors);
    hn::StoreU(hn::MulAdd(even, hn::LoadU(df, weight + i), hn::LoadU(df, bias + i)), df, out + i);
  }
  for (; i < n; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

void Sum(const float* a, const float* b, float* out, size_t n) {
  const DF df;
  size_t i = 0;
  for (; i + kN <= n; i += kN) hn::StoreU(hn::Add(hn::LoadU(df, a + i), hn::LoadU(df, b + i)), df, out + i);
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {

HWY_EXPORT(GeluErf);
HWY_EXPORT(LayerNorm);
HWY_EXPORT(Sum);

void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(LayerNorm)(x, weight, bias, eps, out, n);
}

void gelu_erf(float* x, size_t n) { HWY_DYNAMIC_DISPATCH(GeluErf)(x, n); }

void sum(const float* a, const float* b, float* out, size_t n) { HWY_DYNAMIC_DISPATCH(Sum)(a, b, out, n); }

}  // namespace fathom::tensor
#endif
