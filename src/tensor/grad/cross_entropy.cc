#include "tensor/grad/cross_entropy.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/cross_entropy.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

constexpr size_t kChunk =
    2048;  // columns at a time, which stay in the first cache between the two passes over them

/// What the softmax sees of a product: scaled, and capped where kCap.
template <bool kCap>
struct Logit {
  VF scale;
  VF cap;

  explicit Logit(const CrossEntropyShape& shape)
      : scale(hn::Set(DF(), kCap ? 2 * shape.logit_scale / shape.softcap : shape.logit_scale)),
        cap(hn::Set(DF(), shape.softcap)) {}
  /// tanh(logit / cap), or the logit itself.
  HWY_INLINE VF inner(VF x) const {
    const VF scaled = hn::Mul(x, scale);
    return kCap ? tanh_of_half(scaled) : scaled;
  }
  HWY_INLINE VF operator()(VF x) const { return kCap ? hn::Mul(inner(x), cap) : inner(x); }
};

/// Adds the columns of one chunk to the row's part; the sum is of exp(logit - max) for the greatest so far.
template <bool kCap>
HWY_INLINE void add_chunk(const Logit<kCap>& logit, const float* x, size_t n, SoftmaxPart& part) {
  HWY_ALIGN float seen[kChunk];
  const float lowest = hwy::LowestValue<float>();
  VF top = hn::Set(DF(), lowest);
  each(n, [&](size_t i, auto at) HWY_ATTR {
    const VF v = at.or_else(logit(at.load(x + i)), lowest);
    hn::Store(v, DF(), seen + i);
    top = hn::Max(top, v);
  });
  const float max = std::max(part.max, hn::GetLane(hn::MaxOfLanes(DF(), top)));
  const VF shift = hn::Set(DF(), max);
  const float sum = sum_of((n + kN - 1) / kN * kN, [&](size_t i, auto at) HWY_ATTR {
    hwy::Prefetch(x + kChunk + i);
    return exp(hn::Sub(at.load(seen + i), shift));
  });
  part.sum = part.sum * std::exp(part.max - max) + sum;
  part.max = max;
}

template <bool kCap>
void parts_of(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
              SoftmaxPart* parts) {
  const Logit<kCap> logit(shape);
  for (size_t r = 0; r < shape.rows; ++r) {
    parts[r] = {};
    if (targets[r] < 0) continue;
    const float* row = logits + r * shape.vocab;
    SoftmaxPart part{.max = hwy::LowestValue<float>()};
    for (size_t i = 0; i < shape.vocab; i += kChunk)
      add_chunk(logit, row + i, std::min(kChunk, shape.vocab - i), part);
    const size_t column = static_cast<size_t>(targets[r]) - shape.first;  // wraps where it is less
    if (column < shape.vocab) part.target = hn::GetLane(logit(hn::Set(DF(), row[column])));
    parts[r] = part;
  }
}

template <bool kCap>
void gradients_of(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                  const SoftmaxPart* merged) {
  const Logit<kCap> logit(shape);
  const VF one = hn::Set(DF(), 1.0f);
  for (size_t r = 0; r < shape.rows; ++r) {
    float* row = logits + r * shape.vocab;
    if (targets[r] < 0) {
      std::fill_n(row, shape.vocab, 0.0f);
      continue;
    }
    const SoftmaxPart& part = merged[r];
    const float log_sum = part.max + std::log(part.sum);
    const VF max = hn::Set(DF(), part.max);
    const VF share = hn::Set(DF(), (1 + 2 * shape.z_loss * log_sum) / part.sum * shape.logit_scale);
    for (size_t c = 0; c < shape.vocab; c += kChunk) {
      float* x = row + c;
      const size_t n = std::min(kChunk, shape.vocab - c);
      if constexpr (kCap)
        each(n, [&](size_t i, auto at) HWY_ATTR { at.store(logit.inner(at.load(x + i)), x + i); });
      each(n, [&](size_t i, auto at) HWY_ATTR {
        const VF inner = kCap ? at.load(x + i) : logit.inner(at.load(x + i));
        VF d = hn::Mul(exp(hn::Sub(kCap ? hn::Mul(inner, logit.cap) : inner, max)), share);
        if constexpr (kCap) d = hn::Mul(d, hn::NegMulAdd(inner, inner, one));
        at.store(d, x + i);
      });
    }
    const size_t column = static_cast<size_t>(targets[r]) - shape.first;
    const float inner = kCap ? part.target / shape.softcap : 0.0f;
    if (column < shape.vocab) row[column] -= shape.logit_scale * (1 - inner * inner);
  }
}

void CrossEntropyPart(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
                      SoftmaxPart* parts) {
  if (shape.softcap != 0.0f)
    parts_of<true>(shape, logits, targets, parts);
  else
    parts_of<false>(shape, logits, targets, parts);
}

void CrossEntropyGradient(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                          const SoftmaxPart* merged) {
  if (shape.softcap != 0.0f)
    gradients_of<true>(shape, logits, targets, merged);
  else
    gradients_of<false>(shape, logits, targets, merged);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(CrossEntropyPart);
HWY_EXPORT(CrossEntropyGradient);

void cross_entropy_part(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
                        SoftmaxPart* parts) {
  HWY_DYNAMIC_DISPATCH(CrossEntropyPart)(shape, logits, targets, parts);
}

void cross_entropy_gradient(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                            const SoftmaxPart* merged) {
  HWY_DYNAMIC_DISPATCH(CrossEntropyGradient)(shape, logits, targets, merged);
}

double cross_entropy_loss(const CrossEntropyShape& shape, const int32_t* targets, const SoftmaxPart* merged) {
  double loss = 0;
  for (size_t r = 0; r < shape.rows; ++r) {
    if (targets[r] < 0) continue;
    const double log_sum = static_cast<double>(merged[r].max) + std::log(static_cast<double>(merged[r].sum));
    loss += log_sum - static_cast<double>(merged[r].target) +
            static_cast<double>(shape.z_loss) * log_sum * log_sum;
  }
  return loss;
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
