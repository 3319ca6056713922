// The vectors that all kernels use, on each target: as many f32 lanes as the processor has, sixteen (a group of packed
// rows, tensor/packed.h) at most, and the same bits as integers. Included once for each target, after simd.h.
#if defined(FATHOM_TENSOR_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_VECTORS_INL_H_
#undef FATHOM_TENSOR_VECTORS_INL_H_
#else
#define FATHOM_TENSOR_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "tensor/packed.h"

// Types and constants alone: without a function, HWY_BEFORE_NAMESPACE would be an attribute that nothing uses.
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kGroupRows>;
using DI = hn::RebindToSigned<DF>;
using DU8 = hn::Repartition<uint8_t, DF>;
using DI8 = hn::Repartition<int8_t, DF>;
using DI16 = hn::Repartition<int16_t, DF>;
using DU16 = hn::Repartition<uint16_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU8 = hn::Vec<DU8>;
using VI8 = hn::Vec<DI8>;
using VI16 = hn::Vec<DI16>;

constexpr size_t kN = hn::MaxLanes(DF());
constexpr size_t kParts = kGroupRows / kN;  // vectors that hold the rows of one group

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor

#endif
