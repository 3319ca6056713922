#include "tensor/ops.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/ops.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "tensor/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
constexpr size_t kN = hn::MaxLanes(DF());

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

void RmsNorm(const float* x, const float* weight, float eps, float* out, size_t n) {
  const DF df;
  // Squares in float, their sum in double, as ggml has it: what follows rounds to 8 bits, and a last bit can tip it.
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0f / std::sqrt(mean + eps);
  const VF s = hn::Set(df, scale);
  each(
      n,
      [&](size_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(df, x + i), s), hn::LoadU(df, weight + i)), df, out + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        for (size_t j = i; j < i + left; ++j) out[j] = x[j] * scale * weight[j];
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

void SiluMul(const float* gate, const float* up, float* out, size_t n) {
  const DF df;
  each(
      n,
      [&](size_t i) HWY_ATTR {
        hn::StoreU(hn::Mul(silu(hn::LoadU(df, gate + i)), hn::LoadU(df, up + i)), df, out + i);
      },
      [&](size_t i, size_t left) HWY_ATTR {
        store_some(hn::Mul(silu(load_some(gate + i, left, 0.0f)), load_some(up + i, left, 0.0f)), out + i,
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
HWY_EXPORT(Softmax);
HWY_EXPORT(SiluMul);
HWY_EXPORT(Add);
HWY_EXPORT(Argmax);
HWY_EXPORT(AllFinite);
HWY_EXPORT(ToF16);

void rms_norm(const float* x, const float* weight, float eps, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, out, n);
}

void rope_angles(size_t position, size_t dims, float base, float scale, std::span<const float> factors,
                 float* cos_sin) {
  FATHOM_CHECK(factors.empty() || factors.size() == dims / 2);
  const float step = std::pow(base, -2.0f / static_cast<float>(dims));
  float theta = static_cast<float>(position);
  for (size_t i = 0; i < dims / 2; ++i, theta *= step) {
    const float angle = theta / (factors.empty() ? 1.0f : factors[i]) * (1.0f / scale);
    cos_sin[2 * i] = std::cos(angle);
    cos_sin[2 * i + 1] = std::sin(angle);
  }
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

void add(float* x, const float* y, size_t n) { HWY_DYNAMIC_DISPATCH(Add)(x, y, n); }

size_t argmax(const float* x, size_t n) {
  FATHOM_CHECK(n > 0);
  return HWY_DYNAMIC_DISPATCH(Argmax)(x, n);
}

bool all_finite(const float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(AllFinite)(x, n); }

void to_f16(const float* x, uint16_t* out, size_t n) { HWY_DYNAMIC_DISPATCH(ToF16)(x, out, n); }

}  // namespace fathom::tensor
#endif  // HWY_ONCE
