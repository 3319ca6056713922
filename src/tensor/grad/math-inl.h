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

/// x = k ln 2 + r with |r| <= ln 2 / 2, for |x| < 88 or NaN.
struct Reduced {
  VF r;
  VI exponent;  // k, where a float's exponent has its place
};

HWY_INLINE Reduced reduce(VF x) {
  const DF df;
  const VF shift = hn::Set(df, 12582912.0f);  // 1.5 * 2^23: the sum's last bits are the nearest integer
  const VF shifted = hn::MulAdd(x, hn::Set(df, 1.44269504f), shift);
  const VF k = hn::Sub(shifted, shift);
#if HWY_NATIVE_FMA
  const VF r = hn::NegMulAdd(k, hn::Set(df, 0.693147181f), x);
#else  // ln 2 in two parts, the first with so few bits that its product with k is exact
  VF r = hn::NegMulAdd(k, hn::Set(df, 0.693359375f), x);
  r = hn::NegMulAdd(k, hn::Set(df, -2.12194440e-4f), r);
#endif
  return {r, hn::ShiftLeft<23>(hn::BitCast(DI(), shifted))};
}

/// (e^r - 1 - r) / r^2, fitted to the least greatest relative error of e^r: 1.05e-7.
HWY_INLINE VF exp_rest(VF r) {
  const DF df;
  const VF low = hn::MulAdd(r, hn::Set(df, 0.16667116f), hn::Set(df, 0.4999923f));
  const VF high = hn::MulAdd(r, hn::Set(df, 0.008312501f), hn::Set(df, 0.04189033f));
  return hn::MulAdd(high, hn::Mul(r, r), low);
}

/// e^x with relative error below 5e-7; 0 for x < -87; NaN stays. REQUIRES: x < 88 or NaN.
HWY_INLINE VF exp(VF x) {
  const DF df;
  const Reduced e = reduce(x);
  const VF one_and_r = hn::Add(e.r, hn::Set(df, 1.0f));
  const VF power = hn::MulAdd(exp_rest(e.r), hn::Mul(e.r, e.r), one_and_r);
  const VF scaled = hn::BitCast(df, hn::Add(hn::BitCast(DI(), power), e.exponent));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(df, -87.0f)), scaled);
}

/// min and max that keep a NaN x: on x86 the second operand is what such comparisons give.
HWY_INLINE VF clamp(VF x, float low, float high) {
  const DF df;
  return hn::Max(hn::Set(df, low), hn::Min(hn::Set(df, high), x));
}

/// tanh(x / 2) with relative error below 1e-6; NaN stays. By e^x - 1, which does not cancel near 0.
HWY_INLINE VF tanh_of_half(VF x) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  const Reduced e = reduce(clamp(x, -20.0f, 20.0f));
  const VF rest = hn::MulAdd(exp_rest(e.r), hn::Mul(e.r, e.r), e.r);
  const VF power = hn::BitCast(df, hn::Add(hn::BitCast(DI(), one), e.exponent));
  const VF minus_one = hn::MulAdd(power, rest, hn::Sub(power, one));
  return hn::Div(minus_one, hn::Add(minus_one, hn::Set(df, 2.0f)));
}

HWY_INLINE VF tanh(VF x) { return tanh_of_half(hn::Add(x, x)); }

/// 1 / (1 + e^-x).
HWY_INLINE VF sigmoid(VF x) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  return hn::Div(one, hn::Add(one, exp(hn::Min(hn::Set(df, 87.9f), hn::Neg(x)))));
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#endif
