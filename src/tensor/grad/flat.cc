#include "tensor/grad/flat.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/flat.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

void Fill(float* x, float value, size_t n) {
  const VF v = hn::Set(DF(), value);
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(v, x + i); });
}

void Copy(const float* x, float* y, size_t n) {
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(at.load(x + i), y + i); });
}

void Add(const float* x, float* y, size_t n) {
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(hn::Add(at.load(y + i), at.load(x + i)), y + i); });
}

void Scale(float* x, float factor, size_t n) {
  const VF f = hn::Set(DF(), factor);
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(hn::Mul(at.load(x + i), f), x + i); });
}

double SumOfSquares(const float* x, size_t n) {
  const hn::CappedTag<double, kN / 2> dd;
  const hn::Rebind<float, decltype(dd)> dh;
  constexpr size_t kHalf = hn::MaxLanes(dd);
  constexpr size_t kChains = 4;
  hn::Vec<decltype(dd)> sums[kChains];
  for (auto& sum : sums) sum = hn::Zero(dd);
  size_t i = 0;
  for (; i + kChains * kHalf <= n; i += kChains * kHalf) {
    FATHOM_UNROLL
    for (size_t c = 0; c < kChains; ++c) {
      const auto v = hn::PromoteTo(dd, hn::LoadU(dh, x + i + c * kHalf));
      sums[c] = hn::MulAdd(v, v, sums[c]);
    }
  }
  double rest = 0;
  for (; i < n; ++i) rest += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const auto total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::GetLane(hn::SumOfLanes(dd, total)) + rest;
}

void AdamW(const AdamWArgs& args, float* w, const float* g, float* m, float* v, size_t n) {
  const DF df;
  const auto number = [&](double x) HWY_ATTR { return hn::Set(df, static_cast<float>(x)); };
  const auto learning_rate = static_cast<double>(args.learning_rate);
  const auto b1 = static_cast<double>(args.beta1);
  const auto b2 = static_cast<double>(args.beta2);
  const auto step = static_cast<double>(args.step);
  const VF scale = hn::Set(df, args.gradient_scale);
  const VF beta1 = hn::Set(df, args.beta1);
  const VF rest1 = number(1 - b1);
  const VF beta2 = hn::Set(df, args.beta2);
  const VF rest2 = number(1 - b2);
  const VF keep = number(1 - learning_rate * static_cast<double>(args.weight_decay));
  const VF rate = number(learning_rate / (1 - std::pow(b1, step)));
  const VF root = number(1 / std::sqrt(1 - std::pow(b2, step)));
  const VF epsilon = hn::Set(df, args.epsilon);
  each(n, [&](size_t i, auto at) HWY_ATTR {
    const VF gradient = hn::Mul(at.load(g + i), scale);
    const VF first = hn::MulAdd(beta1, at.load(m + i), hn::Mul(rest1, gradient));
    const VF second = hn::MulAdd(beta2, at.load(v + i), hn::Mul(rest2, hn::Mul(gradient, gradient)));
    at.store(first, m + i);
    at.store(second, v + i);
    const VF move = hn::Div(hn::Mul(rate, first), hn::MulAdd(hn::Sqrt(second), root, epsilon));
    at.store(hn::MulSub(keep, at.load(w + i), move), w + i);
  });
}

void Ema(const float* w, float decay, float* average, size_t n) {
  const VF rest = hn::Set(DF(), 1.0f - decay);
  each(n, [&](size_t i, auto at) HWY_ATTR {
    const VF a = at.load(average + i);
    at.store(hn::MulAdd(rest, hn::Sub(at.load(w + i), a), a), average + i);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(Fill);
HWY_EXPORT(Copy);
HWY_EXPORT(Add);
HWY_EXPORT(Scale);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(AdamW);
HWY_EXPORT(Ema);

void fill(float* x, float value, size_t n) { HWY_DYNAMIC_DISPATCH(Fill)(x, value, n); }

void copy(const float* x, float* y, size_t n) { HWY_DYNAMIC_DISPATCH(Copy)(x, y, n); }

void add(const float* x, float* y, size_t n) { HWY_DYNAMIC_DISPATCH(Add)(x, y, n); }

void scale(float* x, float factor, size_t n) { HWY_DYNAMIC_DISPATCH(Scale)(x, factor, n); }

double sum_of_squares(const float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(SumOfSquares)(x, n); }

void adamw(const AdamWArgs& args, float* w, const float* g, float* m, float* v, size_t n) {
  HWY_DYNAMIC_DISPATCH(AdamW)(args, w, g, m, v, n);
}

void ema(const float* w, float decay, float* average, size_t n) {
  HWY_DYNAMIC_DISPATCH(Ema)(w, decay, average, n);
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
