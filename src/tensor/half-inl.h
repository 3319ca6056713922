// Conversions between f32 and f16 vectors for the kernels, on each target with IEEE rounding. Included once for each
// target, after simd.h.
#if defined(FATHOM_TENSOR_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_HALF_INL_H_
#undef FATHOM_TENSOR_HALF_INL_H_
#else
#define FATHOM_TENSOR_HALF_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load_half(D df, const void* at) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(df, hn::LoadU(d16, static_cast<const hwy::float16_t*>(at)));
}

template <class D>
HWY_INLINE void store_half(D df, hn::Vec<D> v, uint16_t* at) {
#if HWY_TARGET == HWY_SSE4
  // Highway's own conversion truncates where the processor has none.
  HWY_ALIGN float lanes[hn::MaxLanes(D())];
  hn::Store(v, df, lanes);
  for (size_t i = 0; i < hn::MaxLanes(D()); ++i) at[i] = f32_to_f16(lanes[i]);
#else
  (void)df;
  const hn::Rebind<hwy::float16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, reinterpret_cast<hwy::float16_t*>(at));
#endif
}

/// v rounded to f16 and back.
template <class D>
HWY_INLINE hn::Vec<D> round_half(D df, hn::Vec<D> v) {
#if HWY_TARGET == HWY_SSE4
  uint16_t bits[hn::MaxLanes(D())];
  store_half(df, v, bits);
  return load_half(df, bits);
#else
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(df, hn::DemoteTo(d16, v));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
