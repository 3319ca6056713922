#include "tensor/grad/norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/norm.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

/// y = x * weight / sqrt(squares / n + eps); returns the inverse root.
HWY_INLINE float normalise(const float* x, const float* weight, float squares, float eps, float* y,
                           size_t n) {
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  const VF s = hn::Set(DF(), inverse);
  each(n, [&](size_t i, auto at)
              HWY_ATTR { at.store(hn::Mul(hn::Mul(at.load(x + i), s), at.load(weight + i)), y + i); });
  return inverse;
}

void RmsNorm(const float* x, const float* weight, float eps, float* y, float* inverse_rms, size_t rows,
             size_t n) {
  for (size_t r = 0; r < rows; ++r, x += n, y += n) {
    const float squares = sum_of(n, [&](size_t i, auto at) HWY_ATTR {
      const VF v = at.load(x + i);
      return hn::Mul(v, v);
    });
    inverse_rms[r] = normalise(x, weight, squares, eps, y, n);
  }
}

void AddRmsNorm(float* x, const float* branch, const float* weight, float eps, float* y, float* inverse_rms,
                size_t rows, size_t n) {
  for (size_t r = 0; r < rows; ++r, x += n, branch += n, y += n) {
    const float squares = sum_of(n, [&](size_t i, auto at) HWY_ATTR {
      const VF v = hn::Add(at.load(x + i), at.load(branch + i));
      at.store(v, x + i);
      return hn::Mul(v, v);
    });
    inverse_rms[r] = normalise(x, weight, squares, eps, y, n);
  }
}

/// With s = inverse_rms: dx = s * (dy w - x s^2 mean(dy w x)), d_weight += dy x s.
template <bool kAdd, bool kWeight>
HWY_INLINE void backward_row(const float* dy, const float* x, const float* weight, float inverse, float* dx,
                             float* d_weight, size_t n) {
  const float dot = sum_of(n, [&](size_t i, auto at) HWY_ATTR {
    return hn::Mul(hn::Mul(at.load(dy + i), at.load(weight + i)), at.load(x + i));
  });
  const VF s = hn::Set(DF(), inverse);
  const VF along = hn::Set(DF(), inverse * inverse * dot / static_cast<float>(n));
  each(n, [&](size_t i, auto at) HWY_ATTR {
    const VF d = at.load(dy + i);
    const VF v = at.load(x + i);
    VF out = hn::Mul(s, hn::NegMulAdd(v, along, hn::Mul(d, at.load(weight + i))));
    if constexpr (kAdd) out = hn::Add(out, at.load(dx + i));
    if constexpr (kWeight) at.store(hn::MulAdd(hn::Mul(d, v), s, at.load(d_weight + i)), d_weight + i);
    at.store(out, dx + i);
  });
}

template <bool kAdd, bool kWeight>
HWY_INLINE void backward_rows(const float* dy, const float* x, const float* weight, const float* inverse_rms,
                              float* dx, float* d_weight, size_t rows, size_t n) {
  for (size_t r = 0; r < rows; ++r)
    backward_row<kAdd, kWeight>(dy + r * n, x + r * n, weight, inverse_rms[r], dx + r * n, d_weight, n);
}

void RmsNormBackward(const float* dy, const float* x, const float* weight, const float* inverse_rms,
                     float* dx, bool add, float* d_weight, size_t rows, size_t n) {
  if (add && d_weight != nullptr)
    backward_rows<true, true>(dy, x, weight, inverse_rms, dx, d_weight, rows, n);
  else if (add)
    backward_rows<true, false>(dy, x, weight, inverse_rms, dx, d_weight, rows, n);
  else if (d_weight != nullptr)
    backward_rows<false, true>(dy, x, weight, inverse_rms, dx, d_weight, rows, n);
  else
    backward_rows<false, false>(dy, x, weight, inverse_rms, dx, d_weight, rows, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(AddRmsNorm);
HWY_EXPORT(RmsNormBackward);

void rms_norm(const float* x, const float* weight, float eps, float* y, float* inverse_rms, size_t rows,
              size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, y, inverse_rms, rows, n);
}

void add_rms_norm(float* x, const float* branch, const float* weight, float eps, float* y, float* inverse_rms,
                  size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddRmsNorm)(x, branch, weight, eps, y, inverse_rms, rows, n);
}

void rms_norm_backward(const float* dy, const float* x, const float* weight, const float* inverse_rms,
                       float* dx, bool add, float* d_weight, size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackward)(dy, x, weight, inverse_rms, dx, add, d_weight, rows, n);
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
