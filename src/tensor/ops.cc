#include "tensor/ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "tensor/half-inl.h"
#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// f(offset, lanes) for whole vectors, then once for the rest.
template <class Whole, class Rest>
HWY_INLINE void each(size_t n, Whole whole, Rest rest) {
  size_t i = 0;
  for (; i + kN <= n; i += kN) whole(i);
  if (i < n) rest(i, n - i);
}

HWY_INLINE VF load_some(const float* at, size_t n, float other) {
  HWY_ALIGN float lanes[kN];
  for (size_t i = 0; i < kN; ++i) lanes[i] = i < n ? at[i] : other;
  return hn::Load(DF(), lanes);
}

HWY_INLINE void store_some(VF v, float* at, size_t n) {
  HWY_ALIGN float lanes[kN];
  hn::Store(v, DF(), lanes);
  for (size_t i = 0; i < n; ++i) at[i] = lanes[i];
}

/// 1 / sqrt(mean of x^2 + eps). Squares in float, their sum in double, as ggml has it: what follows rounds to 8 bits, and a
/// last bit can tip it.
HWY_INLINE float rms_scale(const float* x, float eps, size_t n) {
  const hn::CappedTag<double, kN / 2> dd;
  const hn::Rebind<float, decltype(dd)> dh;
  constexpr size_t kHalf = hn::MaxLanes(dd);
  auto low = hn::Zero(dd);
  auto high = hn::Zero(dd);
  size_t i = 0;
  for (; i + 2 * kHalf <= n; i += 2 * kHalf) {
    const auto a = hn::LoadU(dh, x + i);
    const auto b = hn::LoadU(dh, x + i + kHalf);
    low = hn::Add(low, hn::PromoteTo(dd, hn::Mul(a, a)));
    high = hn::Add(high, hn::PromoteTo(dd, hn::Mul(b, b)));
  }
  double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(low, high)));
  for (; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  return 1.0f / std::sqrt(mean + eps);
}

void RmsNorm(const float* x, const float* weight, float eps, float* out, size_t n) {
  const DF df;
  const float factor = rms_scale(x, eps, n);
  const VF s = hn::Set(df, factor);
  each(
      n,
      [&](size_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(df, x + i), s), hn::LoadU(df, weight + i)), df, out + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        for (size_t j = i; j < i + left; ++j) out[j] = x[j] * factor * weight[j];
      });
}

void AddRmsNorm(float* x, const float* y, const float* weight, float eps, size_t n) {
  const DF df;
  const float factor = rms_scale(y, eps, n);
  const VF s = hn::Set(df, factor);
  each(
      n,
      [&](size_t i) HWY_ATTR {
        const VF normed = hn::Mul(hn::Mul(hn::LoadU(df, y + i), s), hn::LoadU(df, weight + i));
        hn::StoreU(hn::Add(hn::LoadU(df, x + i), normed), df, x + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        for (size_t j = i; j < i + left; ++j) x[j] += y[j] * factor * weight[j];
      });
}

HWY_INLINE VF exp_of(VF x) { return hn::Exp(DF(), x); }

void Softmax(float* scores, size_t visible, size_t total, float scale, bool half) {
  const DF df;
  const VF s = hn::Set(df, scale);
  VF top = hn::Set(df, hwy::LowestValue<float>());
  each(
      visible,
      [&](size_t i) HWY_ATTR {
        const VF v = hn::Mul(hn::LoadU(df, scores + i), s);
        hn::StoreU(v, df, scores + i);
        top = hn::Max(top, v);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        const VF v = hn::Mul(load_some(scores + i, left, 0.0f), s);
        store_some(v, scores + i, left);
        top = hn::Max(top, load_some(scores + i, left, hwy::LowestValue<float>()));
      });
  const VF max = hn::MaxOfLanes(df, top);
  VF sum = hn::Zero(df);
  each(
      visible,
      [&](size_t i) HWY_ATTR {
        const VF e = exp_of(hn::Sub(hn::LoadU(df, scores + i), max));
        hn::StoreU(e, df, scores + i);
        sum = hn::Add(sum, e);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        store_some(exp_of(hn::Sub(load_some(scores + i, left, 0.0f), max)), scores + i, left);
        sum = hn::Add(sum, load_some(scores + i, left, 0.0f));
      });
  const VF inverse = hn::Set(df, 1.0f / hn::GetLane(hn::SumOfLanes(df, sum)));
  const auto finish = [&](VF e) HWY_ATTR {
    const VF share = hn::Mul(e, inverse);
    return half ? round_half(df, share) : share;
  };
  each(
      visible, [&](size_t i) HWY_ATTR { hn::StoreU(finish(hn::LoadU(df, scores + i)), df, scores + i); },
      [&](size_t i, size_t left)
          HWY_ATTR { store_some(finish(load_some(scores + i, left, 0.0f)), scores + i, left); });
  std::fill(scores + visible, scores + total, 0.0f);
}

HWY_INLINE VF silu(VF x) {
  const DF df;
  // Beyond 88 exp overflows; there silu is 0 already in float's eyes.
  const VF e = exp_of(hn::Min(hn::Neg(x), hn::Set(df, 88.0f)));
  return hn::Div(x, hn::Add(hn::Set(df, 1.0f), e));
}

/// x / 2 * (1 + tanh(u)) = x / (1 + e^(-2u)).
HWY_INLINE VF gelu(VF x) {
  const DF df;
  constexpr float kTwiceRootOfTwoOverPi = 1.59576912160573071f;
  const VF cubic = hn::MulAdd(hn::Mul(hn::Mul(x, x), x), hn::Set(df, 0.044715f), x);
  const VF e = exp_of(hn::Min(hn::Mul(cubic, hn::Set(df, -kTwiceRootOfTwoOverPi)), hn::Set(df, 88.0f)));
  return hn::Div(x, hn::Add(hn::Set(df, 1.0f), e));
}

/// out[i] = function(gate[i]) * up[i].
template <class Function>
HWY_INLINE void gate_mul(const float* gate, const float* up, float* out, size_t n, Function function) {
  const DF df;
  each(
      n,
      [&](size_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(function(hn::LoadU(df, gate + i)), hn::LoadU(df, up + i)), df, out + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        store_some(hn::Mul(function(load_some(gate + i, left, 0.0f)), load_some(up + i, left, 0.0f)), out + i,
                   left);
      });
}

void SiluMul(const float* gate, const float* up, float* out, size_t n) {
  gate_mul(gate, up, out, n, [](VF x) HWY_ATTR { return silu(x); });
}

void GeluMul(const float* gate, const float* up, float* out, size_t n) {
  gate_mul(gate, up, out, n, [](VF x) HWY_ATTR { return gelu(x); });
}

void Softcap(float* x, float cap, size_t n) {
  const DF df;
  const VF inverse = hn::Set(df, 1.0f / cap);
  const VF c = hn::Set(df, cap);
  const auto capped = [&](VF v) HWY_ATTR { return hn::Mul(c, hn::Tanh(df, hn::Mul(v, inverse))); };
  each(
      n, [&](size_t i) HWY_ATTR { hn::StoreU(capped(hn::LoadU(df, x + i)), df, x + i); },
      [&](size_t i, size_t left) HWY_ATTR { store_some(capped(load_some(x + i, left, 0.0f)), x + i, left); });
}

void Scale(float* x, float factor, size_t n) {
  const DF df;
  const VF f = hn::Set(df, factor);
  each(
      n, [&](size_t i) HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(df, x + i), f), df, x + i); },
      [&](size_t i, size_t left) HWY_ATTR {
        for (size_t j = i; j < i + left; ++j) x[j] *= factor;
      });
}

void AddScaled(float* x, const float* y, float factor, size_t n) {
  const DF df;
  const VF f = hn::Set(df, factor);
  // The product is rounded before the sum, on every processor: what a sum of branches gives does not depend on it.
  each(
      n,
      [&](size_t i) HWY_ATTR {
        hn::StoreU(hn::Add(hn::LoadU(df, x + i), hn::Mul(hn::LoadU(df, y + i), f)), df, x + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        store_some(hn::Add(load_some(x + i, left, 0.0f), hn::Mul(load_some(y + i, left, 0.0f), f)), x + i,
                   left);
      });
}

void Add(float* x, const float* y, size_t n) {
  const DF df;
  each(
      n,
      [&](size_t i) HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(df, x + i), hn::LoadU(df, y + i)), df, x + i); },
      [&](size_t i, size_t left) HWY_ATTR {
        for (size_t j = i; j < i + left; ++j) x[j] += y[j];
      });
}

size_t Argmax(const float* x, size_t n) {
  const DF df;
  VF top = hn::Set(df, x[0]);
  each(
      n, [&](size_t i) HWY_ATTR { top = hn::Max(top, hn::LoadU(df, x + i)); },
      [&](size_t i, size_t left) HWY_ATTR { top = hn::Max(top, load_some(x + i, left, x[0])); });
  const float max = hn::GetLane(hn::MaxOfLanes(df, top));
  for (size_t i = 0; i < n; ++i)
    if (x[i] == max) return i;
  return 0;
}

bool AllFinite(const float* x, size_t n) {
  const DF df;
  // Times zero, what is not finite becomes NaN, and NaN stays in a sum.
  VF bad = hn::Zero(df);
  const VF zero = hn::Zero(df);
  each(
      n, [&](size_t i) HWY_ATTR { bad = hn::MulAdd(hn::LoadU(df, x + i), zero, bad); },
      [&](size_t i, size_t left) HWY_ATTR { bad = hn::MulAdd(load_some(x + i, left, 0.0f), zero, bad); });
  return hn::GetLane(hn::SumOfLanes(df, bad)) == 0.0f;
}

void ToF16(const float* x, uint16_t* out, size_t n) {
  const DF df;
  each(
      n, [&](size_t i) HWY_ATTR { store_half(df, hn::LoadU(df, x + i), out + i); },
      [&](size_t i, size_t left) HWY_ATTR {
        uint16_t bits[kN];
        store_half(df, load_some(x + i, left, 0.0f), bits);
        std::copy_n(bits, left, out + i);
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(AddRmsNorm);
HWY_EXPORT(Softmax);
HWY_EXPORT(SiluMul);
HWY_EXPORT(GeluMul);
HWY_EXPORT(Softcap);
HWY_EXPORT(Scale);
HWY_EXPORT(AddScaled);
HWY_EXPORT(Add);
HWY_EXPORT(Argmax);
HWY_EXPORT(AllFinite);
HWY_EXPORT(ToF16);

void rms_norm(const float* x, const float* weight, float eps, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, out, n);
}

void add_rms_norm(float* x, const float* y, const float* weight, float eps, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddRmsNorm)(x, y, weight, eps, n);
}

void RopeSpec::set_yarn(float extrapolate, size_t original_context, float beta_fast, float beta_slow) {
  // The pair that turns so many times within the original context.
  const auto pair_of = [&](float turns) {
    const double most =
        static_cast<double>(original_context) / (static_cast<double>(turns) * 2 * std::numbers::pi);
    return static_cast<double>(dims) * std::log(most) / (2 * std::log(static_cast<double>(base)));
  };
  extrapolation = extrapolate;
  ramp_low = static_cast<float>(std::max(0.0, std::floor(pair_of(beta_fast))));
  ramp_high = static_cast<float>(std::min(static_cast<double>(dims) - 1, std::ceil(pair_of(beta_slow))));
}

void rope_angles(size_t position, const RopeSpec& spec, float* cos_sin) {
  FATHOM_CHECK(spec.factors.empty() || spec.factors.size() == spec.dims / 2);
  const float step = std::pow(spec.base, -2.0f / static_cast<float>(spec.dims));
  const float width = std::max(0.001f, spec.ramp_high - spec.ramp_low);
  float theta = static_cast<float>(position);
  for (size_t i = 0; i < spec.dims / 2; ++i, theta *= step) {
    const float full = theta / (spec.factors.empty() ? 1.0f : spec.factors[i]);
    float angle = full * (1.0f / spec.scale);
    if (spec.extrapolation != 0.0f) {
      const float along = (static_cast<float>(i) - spec.ramp_low) / width;
      const float mix = (1.0f - std::clamp(along, 0.0f, 1.0f)) * spec.extrapolation;
      angle = angle * (1.0f - mix) + full * mix;
    }
    cos_sin[2 * i] = std::cos(angle) * spec.magnitude;
    cos_sin[2 * i + 1] = std::sin(angle) * spec.magnitude;
  }
}

void rope_angles(size_t position, size_t dims, float base, float scale, std::span<const float> factors,
                 float* cos_sin) {
  RopeSpec spec;
  spec.dims = dims;
  spec.base = base;
  spec.scale = scale;
  spec.factors = factors;
  rope_angles(position, spec, cos_sin);
}

void rope(float* x, size_t heads, size_t head_dim, size_t dims, bool halves, const float* cos_sin) {
  const size_t pairs = dims / 2;
  const size_t step = halves ? 1 : 2;
  const size_t partner = halves ? pairs : 1;
  for (size_t h = 0; h < heads; ++h, x += head_dim) {
    for (size_t i = 0; i < pairs; ++i) {
      float& a = x[i * step];
      float& b = x[i * step + partner];
      const float c = cos_sin[2 * i];
      const float s = cos_sin[2 * i + 1];
      const float turned = a * c - b * s;
      b = a * s + b * c;
      a = turned;
    }
  }
}

void softmax(float* scores, size_t visible, size_t total, float scale, DType precision) {
  FATHOM_CHECK(visible > 0 && visible <= total && (precision == DType::kF32 || precision == DType::kF16));
  HWY_DYNAMIC_DISPATCH(Softmax)(scores, visible, total, scale, precision == DType::kF16);
}

void silu_mul(const float* gate, const float* up, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(SiluMul)(gate, up, out, n);
}

void gelu_mul(const float* gate, const float* up, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(GeluMul)(gate, up, out, n);
}

void softcap(float* x, float cap, size_t n) {
  FATHOM_CHECK(cap > 0);
  HWY_DYNAMIC_DISPATCH(Softcap)(x, cap, n);
}

void scale(float* x, float factor, size_t n) { HWY_DYNAMIC_DISPATCH(Scale)(x, factor, n); }

void add(float* x, const float* y, size_t n) { HWY_DYNAMIC_DISPATCH(Add)(x, y, n); }

void add_scaled(float* x, const float* y, float factor, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(x, y, factor, n);
}

size_t argmax(const float* x, size_t n) {
  FATHOM_CHECK(n > 0);
  return HWY_DYNAMIC_DISPATCH(Argmax)(x, n);
}

bool all_finite(const float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(AllFinite)(x, n); }

void to_f16(const float* x, uint16_t* out, size_t n) { HWY_DYNAMIC_DISPATCH(ToF16)(x, out, n); }

}  // namespace fathom::tensor
#endif  // HWY_ONCE
