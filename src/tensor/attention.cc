#include "tensor/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/attention.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "tensor/half-inl.h"
#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kPageVectors = kPagePositions / kN;  // vectors of a page's positions
constexpr size_t kBlock = KvShape::kBlock;

// Rows and vectors that one pass holds in registers.
constexpr size_t kRows = HWY_CAP_GE512 ? 6 : 4;
constexpr size_t kVectors = HWY_CAP_GE512 ? 4 : 2;

template <DType kFormat>
constexpr size_t kElement = kFormat == DType::kF32   ? 4
                            : kFormat == DType::kF16 ? 2
                                                     : 1;

/// kN elements as floats; `scale` is theirs in Q8_0, else not used.
template <DType kFormat>
HWY_INLINE VF load_elements(const std::byte* at, VF scale) {
  const DF df;
  if constexpr (kFormat == DType::kF32) return hn::LoadU(df, reinterpret_cast<const float*>(at));
  if constexpr (kFormat == DType::kF16) return load_half(df, at);
  const hn::Rebind<int8_t, DF> d8;
  const hn::RebindToSigned<DF> d32;
  return hn::Mul(hn::ConvertTo(df, hn::PromoteTo(d32, hn::LoadU(d8, reinterpret_cast<const int8_t*>(at)))),
                 scale);
}

/// Where the keys of kN positions stand.
struct KeyVector {
  const std::byte* elements;  // of dimension 0; the next dimension's are a group further on
  const std::byte* scales;    // of block 0; the next block's are a page of them further on
};

HWY_INLINE KeyVector key_vector(const PagedKv& kv, size_t kv_head, size_t vector) {
  const KvShape& s = kv.shape;
  const size_t element = s.element_bytes();
  const size_t in_page = vector % kPageVectors * kN;
  const std::byte* head = kv.key_head(vector / kPageVectors, kv_head);
  return {head + (in_page / kGroupRows * kGroupRows * s.head_dim + in_page % kGroupRows) * element,
          head + kPagePositions * s.head_dim + in_page * sizeof(uint16_t)};
}

/// kR queries times the keys of kV vectors of positions.
template <DType kFormat, size_t kR, size_t kV>
HWY_INLINE void score_pass(const KeyVector (&keys)[kV], size_t dim, const float* q, float* scores,
                           size_t stride) {
  const DF df;
  VF acc[kR * kV];
  FATHOM_UNROLL
  for (size_t i = 0; i < kR * kV; ++i) acc[i] = hn::Zero(df);
  for (size_t begin = 0; begin < dim; begin += kBlock) {
    VF scale[kV];
    FATHOM_UNROLL
    for (size_t v = 0; v < kV; ++v) {
      scale[v] = hn::Zero(df);
      if constexpr (kFormat == DType::kQ8_0)
        scale[v] = load_half(df, keys[v].scales + begin / kBlock * kPagePositions * sizeof(uint16_t));
    }
    const size_t end = std::min(begin + kBlock, dim);
    for (size_t c = begin; c < end; ++c) {
      VF column[kV];
      FATHOM_UNROLL
      for (size_t v = 0; v < kV; ++v)
        column[v] = load_elements<kFormat>(keys[v].elements + c * kGroupRows * kElement<kFormat>, scale[v]);
      FATHOM_UNROLL
      for (size_t r = 0; r < kR; ++r) {
        const VF a = hn::Set(df, q[r * dim + c]);
        FATHOM_UNROLL
        for (size_t v = 0; v < kV; ++v) acc[r * kV + v] = hn::MulAdd(column[v], a, acc[r * kV + v]);
      }
    }
  }
  FATHOM_UNROLL
  for (size_t r = 0; r < kR; ++r) FATHOM_UNROLL
  for (size_t v = 0; v < kV; ++v) hn::StoreU(acc[r * kV + v], df, scores + r * stride + v * kN);
}

template <DType kFormat, size_t kV>
HWY_NOINLINE void score_rows(const PagedKv& kv, size_t kv_head, size_t vector, const float* q, size_t rows,
                             float* scores, size_t stride) {
  const size_t dim = kv.shape.head_dim;
  KeyVector keys[kV];
  for (size_t v = 0; v < kV; ++v) keys[v] = key_vector(kv, kv_head, vector + v);
  size_t r = 0;
  const auto pass = [&]<size_t kR>(std::integral_constant<size_t, kR>) HWY_ATTR {
    for (; r + kR <= rows; r += kR)
      score_pass<kFormat, kR, kV>(keys, dim, q + r * dim, scores + r * stride, stride);
  };
  pass(std::integral_constant<size_t, kRows>());
  pass(std::integral_constant<size_t, 3>());
  pass(std::integral_constant<size_t, 2>());
  pass(std::integral_constant<size_t, 1>());
}

template <DType kFormat>
void all_scores(const PagedKv& kv, size_t kv_head, size_t page_begin, size_t page_end, const float* q,
                size_t rows, float* scores, size_t stride) {
  const size_t end = page_end * kPageVectors;
  size_t v = page_begin * kPageVectors;
  for (; v + kVectors <= end; v += kVectors, scores += kVectors * kN)
    score_rows<kFormat, kVectors>(kv, kv_head, v, q, rows, scores, stride);
  for (; v < end; v += 2, scores += 2 * kN) score_rows<kFormat, 2>(kv, kv_head, v, q, rows, scores, stride);
}

void Scores(const PagedKv& kv, size_t kv_head, size_t page_begin, size_t page_end, const float* q,
            size_t rows, float* scores, size_t stride) {
  const auto all = kv.shape.dtype == DType::kF16   ? all_scores<DType::kF16>
                   : kv.shape.dtype == DType::kF32 ? all_scores<DType::kF32>
                                                   : all_scores<DType::kQ8_0>;
  all(kv, kv_head, page_begin, page_end, q, rows, scores, stride);
}

/// Positions [begin, end) of a sequence, `begin` the first of a page, and the weights of each row for them.
struct Weights {
  size_t begin, end;
  const float* weights;
  size_t stride;
};

/// Blocks that kV vectors of dimensions may touch.
template <size_t kV>
constexpr size_t kScaleBlocks = kV* kN / kBlock + 1;

template <size_t kV>
HWY_INLINE void unpack_scales(const KvShape& s, const std::byte* head, size_t vector, float* scales) {
  const DF df;
  const std::byte* all = head + kPagePositions * s.dim_groups() * kGroupRows;
  const size_t first = vector * kN / kBlock;
  const size_t last = std::min(((vector + kV) * kN - 1) / kBlock, (s.head_dim - 1) / kBlock);
  for (size_t b = first; b <= last; ++b)
    for (size_t i = 0; i < kPagePositions; i += kN)
      hn::Store(load_half(df, all + (b * kPagePositions + i) * sizeof(uint16_t)), df,
                scales + (b - first) * kPagePositions + i);
}

/// kR rows of weights times the values of kV vectors of dimensions, from vector `vector` on.
template <DType kFormat, size_t kR, size_t kV>
HWY_NOINLINE void value_pass(const PagedKv& kv, size_t kv_head, const Weights& w, size_t vector, float* out,
                             size_t out_stride) {
  const DF df;
  const size_t dim = kv.shape.head_dim;
  VF acc[kR * kV];
  FATHOM_UNROLL
  for (size_t i = 0; i < kR * kV; ++i) acc[i] = hn::Zero(df);
  for (size_t first = w.begin; first < w.end; first += kPagePositions) {
    const std::byte* head = kv.value_head(first / kPagePositions, kv_head);
    // The scales of this page, as floats: [vectors' blocks][positions].
    HWY_ALIGN float scales[kFormat == DType::kQ8_0 ? kScaleBlocks<kV> * kPagePositions : 1];
    if constexpr (kFormat == DType::kQ8_0) unpack_scales<kV>(kv.shape, head, vector, scales);
    const std::byte* at[kV];
    FATHOM_UNROLL
    for (size_t v = 0; v < kV; ++v)
      at[v] = head + ((vector + v) / kParts * kPagePositions * kGroupRows + (vector + v) % kParts * kN) *
                         kElement<kFormat>;
    const float* weights = w.weights + (first - w.begin);
    const size_t count = std::min(kPagePositions, w.end - first);
    for (size_t i = 0; i < count; ++i) {
      VF value[kV];
      FATHOM_UNROLL
      for (size_t v = 0; v < kV; ++v) {
        VF scale = hn::Zero(df);
        if constexpr (kFormat == DType::kQ8_0)
          scale =
              hn::Set(df, scales[((vector + v) * kN / kBlock - vector * kN / kBlock) * kPagePositions + i]);
        value[v] = load_elements<kFormat>(at[v] + i * kGroupRows * kElement<kFormat>, scale);
      }
      FATHOM_UNROLL
      for (size_t r = 0; r < kR; ++r) {
        const VF a = hn::Set(df, weights[r * w.stride + i]);
        FATHOM_UNROLL
        for (size_t v = 0; v < kV; ++v) acc[r * kV + v] = hn::MulAdd(value[v], a, acc[r * kV + v]);
      }
    }
  }
  FATHOM_UNROLL
  for (size_t v = 0; v < kV; ++v) {
    const size_t d = (vector + v) * kN;
    if (d >= dim) continue;
    for (size_t r = 0; r < kR; ++r) {
      if (d + kN <= dim) {
        hn::StoreU(acc[r * kV + v], df, out + r * out_stride + d);
      } else {
        HWY_ALIGN float lanes[kN];
        hn::Store(acc[r * kV + v], df, lanes);
        std::copy_n(lanes, dim - d, out + r * out_stride + d);
      }
    }
  }
}

template <DType kFormat>
void all_values(const PagedKv& kv, size_t kv_head, const Weights& w, size_t rows, size_t group_begin,
                size_t group_end, float* out, size_t out_stride) {
  const size_t end = group_end * kParts;
  size_t r = 0;
  const auto pass = [&]<size_t kR>(std::integral_constant<size_t, kR>) HWY_ATTR {
    for (; r + kR <= rows; r += kR) {
      const Weights own{w.begin, w.end, w.weights + r * w.stride, w.stride};
      float* at = out + r * out_stride;
      size_t v = group_begin * kParts;
      for (; v + kVectors <= end; v += kVectors)
        value_pass<kFormat, kR, kVectors>(kv, kv_head, own, v, at, out_stride);
      for (; v < end; ++v) value_pass<kFormat, kR, 1>(kv, kv_head, own, v, at, out_stride);
    }
  };
  pass(std::integral_constant<size_t, kRows>());
  pass(std::integral_constant<size_t, 3>());
  pass(std::integral_constant<size_t, 2>());
  pass(std::integral_constant<size_t, 1>());
}

void Values(const PagedKv& kv, size_t kv_head, size_t begin, size_t end, const float* weights, size_t stride,
            size_t rows, size_t group_begin, size_t group_end, float* out, size_t out_stride) {
  const auto all = kv.shape.dtype == DType::kF16   ? all_values<DType::kF16>
                   : kv.shape.dtype == DType::kF32 ? all_values<DType::kF32>
                                                   : all_values<DType::kQ8_0>;
  all(kv, kv_head, {begin, end, weights, stride}, rows, group_begin, group_end, out, out_stride);
}

/// scores[i] = cap * tanh(scores[i] * scale / cap), for n rounded up to whole vectors.
void CapScores(float* scores, size_t n, float scale, float cap) {
  const DF df;
  const VF factor = hn::Set(df, scale / cap);
  const VF c = hn::Set(df, cap);
  for (size_t i = 0; i < n; i += kN)
    hn::StoreU(hn::Mul(c, hn::Tanh(df, hn::Mul(hn::LoadU(df, scores + i), factor))), df, scores + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

HWY_EXPORT(Scores);
HWY_EXPORT(Values);
HWY_EXPORT(CapScores);

size_t pages_of(size_t positions) { return (positions + kPagePositions - 1) / kPagePositions; }

// What F16 can hold: a key that is larger stays a number, for later tokens are multiplied by 0 before they are seen.
constexpr float kMostF16 = 65504.0f;

void convert(const float* x, uint16_t* out, size_t n) {
  float bounded[KvShape::kBlock];
  for (size_t i = 0; i < n; ++i) bounded[i] = std::min(std::max(x[i], -kMostF16), kMostF16);
  to_f16(bounded, out, n);
}
void convert(const float* x, float* out, size_t n) { std::copy_n(x, n, out); }

/// One block: the scale as F16 bits and what it is to be multiplied with, to nearest.
uint16_t quantise(const float* x, int8_t* out, size_t n) {
  float most = 0;
  for (size_t i = 0; i < n; ++i) most = std::max(most, std::abs(x[i]));
  const uint16_t bits = f32_to_f16(std::min(most / 127.0f, kMostF16));
  const float d = f16_to_f32(bits);
  const float inverse = d > 0.0f ? 1.0f / d : 0.0f;
  for (size_t i = 0; i < n; ++i)
    // In this order what is not a number becomes -127, which a conversion is defined for.
    out[i] = static_cast<int8_t>(std::nearbyint(std::min(127.0f, std::max(-127.0f, x[i] * inverse))));
  return bits;
}

/// Where one position of a head is kept.
struct Slot {
  std::byte* key;          // dimension c at c * kGroupRows elements
  std::byte* value;        // dimension d at d / kGroupRows * kPagePositions * kGroupRows + d % kGroupRows
  std::byte* key_scale;    // block b at b * kPagePositions F16
  std::byte* value_scale;  // likewise
};

Slot slot_of(const PagedKv& kv, size_t kv_head, size_t position) {
  const KvShape& s = kv.shape;
  const size_t element = s.element_bytes();
  const size_t row = position % kPagePositions;
  std::byte* key = kv.key_head(position / kPagePositions, kv_head);
  std::byte* value = kv.value_head(position / kPagePositions, kv_head);
  return {key + (row / kGroupRows * kGroupRows * s.head_dim + row % kGroupRows) * element,
          value + row * kGroupRows * element, key + kPagePositions * s.head_dim + row * sizeof(uint16_t),
          value + kPagePositions * s.dim_groups() * kGroupRows + row * sizeof(uint16_t)};
}

template <class Element>
void append_head(const KvShape& s, const Slot& slot, const float* k, const float* v) {
  constexpr size_t kBlock = KvShape::kBlock;
  Element bits[kBlock];
  uint16_t scale = 0;
  const auto encode = [&](const float* x, size_t n) {
    if constexpr (sizeof(Element) == 1)
      scale = quantise(x, bits, n);
    else
      convert(x, bits, n);
  };
  for (size_t begin = 0; begin < s.head_dim; begin += kBlock) {
    const size_t n = std::min(kBlock, s.head_dim - begin);
    const size_t scale_at = begin / kBlock * kPagePositions * sizeof(uint16_t);
    encode(k + begin, n);
    for (size_t i = 0; i < n; ++i)
      std::memcpy(slot.key + (begin + i) * kGroupRows * sizeof(Element), bits + i, sizeof(Element));
    if constexpr (sizeof(Element) == 1) std::memcpy(slot.key_scale + scale_at, &scale, sizeof(scale));
    encode(v + begin, n);
    for (size_t i = 0; i < n; i += kGroupRows)
      std::memcpy(slot.value + (begin + i) * kPagePositions * sizeof(Element), bits + i,
                  std::min(kGroupRows, n - i) * sizeof(Element));
    if constexpr (sizeof(Element) == 1) std::memcpy(slot.value_scale + scale_at, &scale, sizeof(scale));
  }
}

/// The probabilities of one row; `scores` begins at position `base`, the first of a page, and has `total` positions.
void probabilities(const AttentionRule& rule, DType dtype, size_t base, size_t position, float* scores,
                   size_t total) {
  const size_t from = first_visible(rule, position);
  // From the token's own first page on, so that the order of sums is that of the token computed alone.
  const size_t skip = from / kPagePositions * kPagePositions - base;
  const size_t visible = position + 1 - base - skip;
  std::fill_n(scores, skip, 0.0f);
  scores += skip;
  float scale = rule.scale;
  if (rule.cap != 0.0f) {
    HWY_DYNAMIC_DISPATCH(CapScores)(scores, visible, scale, rule.cap);
    scale = 1.0f;
  }
  // Too little for exp, whatever the scale makes of it.
  std::fill_n(scores, from % kPagePositions, std::numeric_limits<float>::lowest());
  softmax(scores, visible, total - skip, scale, dtype == DType::kF16 ? DType::kF16 : DType::kF32);
}

}  // namespace

void append_kv(const PagedKv& kv, size_t position, const float* k, const float* v) {
  const KvShape& s = kv.shape;
  FATHOM_CHECK(position < kv.capacity());
  const auto append = s.dtype == DType::kF16   ? append_head<uint16_t>
                      : s.dtype == DType::kF32 ? append_head<float>
                                               : append_head<int8_t>;
  for (size_t h = 0; h < s.kv_heads; ++h)
    append(s, slot_of(kv, h, position), k + h * s.head_dim, v + h * s.head_dim);
}

void round_queries(const KvShape& shape, const float* q, float* out, size_t n) {
  round_row(shape.dtype == DType::kF16 ? ActivationForm::kF16 : ActivationForm::kF32, q, out, n);
}

size_t attend_scratch(size_t tokens, size_t group, size_t head_dim, size_t context) {
  return tokens * group * (pages_of(context) * kPagePositions + 2 * head_dim);
}

void attend(const PagedKv& kv, const AttendArgs& a, float* scratch) {
  const size_t dim = kv.shape.head_dim;
  const size_t rows = a.tokens * a.group;
  const size_t end = a.first + a.tokens;
  const size_t first_page = first_visible(a.rule, a.first) / kPagePositions;
  const size_t base = first_page * kPagePositions;
  const size_t stride = pages_of(end) * kPagePositions - base;
  FATHOM_CHECK(end <= kv.capacity());
  float* q = scratch;
  float* out = q + rows * dim;
  float* scores = out + rows * dim;
  for (size_t t = 0; t < a.tokens; ++t)
    round_queries(kv.shape, a.q + t * a.q_stride, q + t * a.group * dim, a.group * dim);
  HWY_DYNAMIC_DISPATCH(Scores)(kv, a.kv_head, first_page, pages_of(end), q, rows, scores, stride);
  for (size_t r = 0; r < rows; ++r)
    probabilities(a.rule, kv.shape.dtype, base, a.first + r / a.group, scores + r * stride, stride);
  HWY_DYNAMIC_DISPATCH(Values)
  (kv, a.kv_head, base, end, scores, stride, rows, 0, kv.shape.dim_groups(), out, dim);
  for (size_t t = 0; t < a.tokens; ++t)
    std::copy_n(out + t * a.group * dim, a.group * dim, a.out + t * a.out_stride);
}

void attend_scores(const PagedKv& kv, const AttendArgs& a, size_t page_begin, size_t page_end, float* scores,
                   size_t stride) {
  const size_t first_page = first_visible(a.rule, a.first) / kPagePositions;
  FATHOM_CHECK(first_page <= page_begin && page_end <= pages_of(a.first + 1) && a.first < kv.capacity());
  HWY_DYNAMIC_DISPATCH(Scores)
  (kv, a.kv_head, page_begin, page_end, a.q, a.group, scores + (page_begin - first_page) * kPagePositions,
   stride);
}

void attend_values(const PagedKv& kv, const AttendArgs& a, size_t group_begin, size_t group_end,
                   float* scores, size_t stride) {
  const size_t base = first_visible(a.rule, a.first) / kPagePositions * kPagePositions;
  const size_t total = pages_of(a.first + 1) * kPagePositions - base;
  for (size_t r = 0; r < a.group; ++r)
    probabilities(a.rule, kv.shape.dtype, base, a.first, scores + r * stride, total);
  HWY_DYNAMIC_DISPATCH(Values)
  (kv, a.kv_head, base, a.first + 1, scores, stride, a.group, group_begin, group_end, a.out,
   kv.shape.head_dim);
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
