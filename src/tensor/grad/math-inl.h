// What the kernels of training share, on each target: loops over a row whose last vector may be short, sums, exp and tanh.
// Included once for each target, after simd.h.
#if defined(FATHOM_TENSOR_GRAD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_GRAD_MATH_INL_H_
#undef FATHOM_TENSOR_GRAD_MATH_INL_H_
#else
#define FATHOM_TENSOR_GRAD_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>

#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using tensor::HWY_NAMESPACE::DF;
using tensor::HWY_NAMESPACE::DI;
using tensor::HWY_NAMESPACE::kN;
using tensor::HWY_NAMESPACE::VF;
using tensor::HWY_NAMESPACE::VI;

/// How a loop's body reads and writes whole vectors,
struct Whole {
  HWY_INLINE VF load(const float* at) const { return hn::LoadU(DF(), at); }
  HWY_INLINE VF or_else(VF v, float) const { return v; }
  HWY_INLINE void store(VF v, float* at) const { hn::StoreU(v, DF(), at); }
};

/// and the last `n` < kN elements: missing ones read as 0, and nothing beyond is touched.
struct Part {
  size_t n;

  /// v with `other` for the missing elements.
  HWY_INLINE VF or_else(VF v, float other) const {
    return hn::IfThenElse(hn::FirstN(DF(), n), v, hn::Set(DF(), other));
  }
#if HWY_TARGET <= HWY_AVX2
  HWY_INLINE VF load(const float* at) const { return hn::MaskedLoad(hn::FirstN(DF(), n), DF(), at); }
  HWY_INLINE void store(VF v, float* at) const { hn::BlendedStore(v, hn::FirstN(DF(), n), DF(), at); }
#else
  HWY_INLINE VF load(const float* at) const {
    HWY_ALIGN float lanes[kN];
    for (size_t i = 0; i < kN; ++i) lanes[i] = i < n ? at[i] : 0.0f;
    return hn::Load(DF(), lanes);
  }
  HWY_INLINE void store(VF v, float* at) const {
    HWY_ALIGN float lanes[kN];
    hn::Store(v, DF(), lanes);
    for (size_t i = 0; i < n; ++i) at[i] = lanes[i];
  }
#endif
};

/// body(i, Whole or Part) for each vector of n elements.
template <class Body>
HWY_INLINE void each(size_t n, const Body& body) {
  size_t i = 0;
  for (; i + kN <= n; i += kN) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

/// The sum over all lanes of term(i, Whole or Part): in four chains, which do not wait for each other. Terms of missing
/// elements must be 0, as products of what `load` gives are.
template <class Term>
HWY_INLINE float sum_of(size_t n, const Term& term) {
  VF a = hn::Zero(DF());
  VF b = a;
  VF c = a;
  VF d = a;
  size_t i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN) {
    a = hn::Add(a, term(i, Whole{}));
    b = hn::Add(b, term(i + kN, Whole{}));
    c = hn::Add(c, term(i + 2 * kN, Whole{}));
    d = hn::Add(d, term(i + 3 * kN, Whole{}));
  }
  for (; i + kN <= n; i += kN) a = hn::Add(a, term(i, Whole{}));
  if (i < n) b = hn::Add(b, term(i, Part{n - i}));
  return hn::GetLane(hn::SumOfLanes(DF(), hn::Add(hn::Add(a, b), hn::Add(c, d))));
}

/// x = k * ln 2 + r with |r| <= ln 2 / 2: e^x = 2^k * (1 + rest), rest = e^r - 1.
struct ExpParts {
  VF power;  // 2^k
  VF rest;
};

/// REQUIRES: -87.3 < x < 88.3, or NaN.
HWY_INLINE ExpParts exp_parts(VF x) {
  const DF df;
  // 1.5 * 2^23: the sum's last bits are the nearest integer, to which the exponent's bias is added.
  const VF shift = hn::Set(df, 12582912.0f + 127.0f);
  const VF shifted = hn::MulAdd(x, hn::Set(df, 1.44269504f), shift);
  const VF k = hn::Sub(shifted, shift);
  // ln 2 in two parts, the first with so few bits that its product with k is exact.
  VF r = hn::NegMulAdd(k, hn::Set(df, 0.693359375f), x);
  r = hn::NegMulAdd(k, hn::Set(df, -2.12194440e-4f), r);
  // e^r = 1 + r + r^2 q(r), q fitted to the least greatest relative error: 1.05e-7.
  VF q = hn::MulAdd(hn::Set(df, 0.008312501f), r, hn::Set(df, 0.04189033f));
  q = hn::MulAdd(q, r, hn::Set(df, 0.16667116f));
  q = hn::MulAdd(q, r, hn::Set(df, 0.4999923f));
  const VF rest = hn::MulAdd(hn::Mul(r, r), q, r);
  return {hn::BitCast(df, hn::ShiftLeft<23>(hn::BitCast(DI(), shifted))), rest};
}

/// min and max that keep a NaN x: on x86 the second operand is what such comparisons give.
HWY_INLINE VF clamp(VF x, float low, float high) {
  const DF df;
  return hn::Max(hn::Set(df, low), hn::Min(hn::Set(df, high), x));
}

/// e^x with relative error below 3e-7; 0 for x < -87, e^88 for x > 88; NaN stays.
HWY_INLINE VF exp(VF x) {
  const ExpParts e = exp_parts(clamp(x, -87.0f, 88.0f));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(DF(), -87.0f)), hn::MulAdd(e.power, e.rest, e.power));
}

/// tanh with relative error below 1e-6; NaN stays. By e^2x - 1, which does not cancel near 0.
HWY_INLINE VF tanh(VF x) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  const ExpParts e = exp_parts(clamp(hn::Add(x, x), -20.0f, 20.0f));
  const VF minus_one = hn::MulAdd(e.power, e.rest, hn::Sub(e.power, one));
  return hn::Div(minus_one, hn::Add(minus_one, hn::Set(df, 2.0f)));
}

/// 1 / (1 + e^-x).
HWY_INLINE VF sigmoid(VF x) {
  const VF one = hn::Set(DF(), 1.0f);
  return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#endif
