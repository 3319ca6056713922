#include "tensor/grad/gate.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/gate.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

struct Activated {
  VF value;
  VF slope;
};

struct Silu {
  HWY_INLINE VF value(VF x) const { return hn::Mul(x, sigmoid(x)); }
  HWY_INLINE Activated both(VF x) const {
    const VF s = sigmoid(x);
    const VF value = hn::Mul(x, s);
    return {value, hn::MulAdd(s, hn::Sub(x, value), s)};  // s (1 + x (1 - s))
  }
};

/// x / 2 * (1 + tanh(u / 2)) = x * sigmoid(u), u = 2 sqrt(2 / pi) (x + c x^3).
struct Gelu {
  static constexpr float kTwiceRootOfTwoOverPi = 1.59576912160573071f;
  static constexpr float kCubic = 0.044715f * kTwiceRootOfTwoOverPi;

  HWY_INLINE VF value(VF x) const { return both(x).value; }
  HWY_INLINE Activated both(VF x) const {
    const DF df;
    const VF linear = hn::Set(df, kTwiceRootOfTwoOverPi);
    const VF c = clamp(x, -20.0f, 20.0f);  // beyond which the sigmoid is 0 or 1, and its cube may overflow
    const VF squared = hn::Mul(c, c);
    const VF s = sigmoid(hn::Mul(c, hn::MulAdd(squared, hn::Set(df, kCubic), linear)));
    const VF value = hn::Mul(x, s);
    const VF steepness = hn::MulAdd(squared, hn::Set(df, 3 * kCubic), linear);  // u'
    return {value, hn::MulAdd(hn::Mul(s, hn::Sub(x, value)), steepness, s)};    // s + x s (1 - s) u'
  }
};

template <class Act>
HWY_INLINE void gate_rows(Act act, const float* gate, const float* up, size_t in_stride, float* out,
                          size_t rows, size_t n) {
  for (size_t r = 0; r < rows; ++r, gate += in_stride, up += in_stride, out += n) {
    each(n, [&](size_t i, auto at)
                HWY_ATTR { at.store(hn::Mul(act.value(at.load(gate + i)), at.load(up + i)), out + i); });
  }
}

template <class Act>
HWY_INLINE void backward_rows(Act act, const float* gate, const float* up, size_t in_stride,
                              const float* d_out, float* d_gate, float* d_up, float* out, size_t rows,
                              size_t n) {
  for (size_t r = 0; r < rows; ++r) {
    const size_t in = r * in_stride;
    each(n, [&](size_t i, auto at) HWY_ATTR {
      const VF d = at.load(d_out + r * n + i);
      const VF u = at.load(up + in + i);
      const Activated a = act.both(at.load(gate + in + i));
      at.store(hn::Mul(hn::Mul(d, u), a.slope), d_gate + in + i);
      at.store(hn::Mul(d, a.value), d_up + in + i);
      if (out != nullptr) at.store(hn::Mul(a.value, u), out + r * n + i);
    });
  }
}

void Gate(GateActivation act, const float* gate, const float* up, size_t in_stride, float* out, size_t rows,
          size_t n) {
  if (act == GateActivation::kSilu)
    gate_rows(Silu(), gate, up, in_stride, out, rows, n);
  else
    gate_rows(Gelu(), gate, up, in_stride, out, rows, n);
}

void GateBackward(GateActivation act, const float* gate, const float* up, size_t in_stride,
                  const float* d_out, float* d_gate, float* d_up, float* out, size_t rows, size_t n) {
  if (act == GateActivation::kSilu)
    backward_rows(Silu(), gate, up, in_stride, d_out, d_gate, d_up, out, rows, n);
  else
    backward_rows(Gelu(), gate, up, in_stride, d_out, d_gate, d_up, out, rows, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(Gate);
HWY_EXPORT(GateBackward);

void gate(GateActivation act, const float* gate, const float* up, size_t in_stride, float* out, size_t rows,
          size_t n) {
  HWY_DYNAMIC_DISPATCH(Gate)(act, gate, up, in_stride, out, rows, n);
}

void gate_backward(GateActivation act, const float* gate, const float* up, size_t in_stride,
                   const float* d_out, float* d_gate, float* d_up, float* out, size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(GateBackward)
  (act, gate, up, in_stride, d_out, d_gate, d_up, out, rows, n);
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
