#include "tensor/grad/rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/rows.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor::grad {
namespace HWY_NAMESPACE {

HWY_INLINE void add_row(const float* x, float* y, size_t n) {
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(hn::Add(at.load(y + i), at.load(x + i)), y + i); });
}

HWY_INLINE void add_scaled_row(const float* x, float factor, float* y, size_t n) {
  const VF f = hn::Set(DF(), factor);
  each(n,
       [&](size_t i, auto at) HWY_ATTR { at.store(hn::MulAdd(at.load(x + i), f, at.load(y + i)), y + i); });
}

HWY_INLINE void scale_row(const float* x, float factor, float* y, size_t n) {
  const VF f = hn::Set(DF(), factor);
  each(n, [&](size_t i, auto at) HWY_ATTR { at.store(hn::Mul(at.load(x + i), f), y + i); });
}

void AddBias(float* y, const float* bias, size_t rows, size_t n) {
  for (size_t r = 0; r < rows; ++r) add_row(bias, y + r * n, n);
}

void ColumnSums(const float* x, float* sums, size_t rows, size_t n) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * n) {
    each(n, [&](size_t i, auto at) HWY_ATTR {
      const VF first = hn::Add(at.load(x + i), at.load(x + n + i));
      const VF second = hn::Add(at.load(x + 2 * n + i), at.load(x + 3 * n + i));
      at.store(hn::Add(at.load(sums + i), hn::Add(first, second)), sums + i);
    });
  }
  for (; r < rows; ++r, x += n) add_row(x, sums, n);
}

void Embed(const float* table, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
           float scale, float* out) {
  for (const int32_t token : tokens) {
    const size_t row = static_cast<size_t>(token) - first;  // wraps where it is less
    if (token >= 0 && row < vocab)
      scale_row(table + row * n, scale, out, n);
    else
      std::fill_n(out, n, 0.0f);
    out += n;
  }
}

void EmbedBackward(const float* d_out, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
                   size_t begin, size_t end, float scale, float* d_table) {
  for (const int32_t token : tokens) {
    const size_t row = static_cast<size_t>(token) - first;
    if (token >= 0 && row < vocab)
      add_scaled_row(d_out + begin, scale, d_table + row * n + begin, end - begin);
    d_out += n;
  }
}

void GatherRows(const float* x, const int32_t* index, const float* weight, size_t count, size_t n,
                float* out) {
  for (size_t i = 0; i < count; ++i, out += n) {
    if (index[i] >= 0)
      scale_row(x + static_cast<size_t>(index[i]) * n, weight == nullptr ? 1.0f : weight[i], out, n);
    else
      std::fill_n(out, n, 0.0f);
  }
}

void CombineRows(const float* x, const int32_t* index, const float* weight, size_t count, size_t fan,
                 size_t n, float* out) {
  for (size_t i = 0; i < count * fan; ++i) {
    if (index[i] < 0) continue;
    add_scaled_row(x + static_cast<size_t>(index[i]) * n, weight == nullptr ? 1.0f : weight[i],
                   out + i / fan * n, n);
  }
}

void CombineRowsWeights(const float* x, const int32_t* index, const float* d_out, size_t count, size_t fan,
                        size_t n, float* d_weight) {
  for (size_t i = 0; i < count * fan; ++i) {
    const float* row = x + static_cast<size_t>(std::max(index[i], 0)) * n;
    const float* d = d_out + i / fan * n;
    d_weight[i] = index[i] < 0 ? 0.0f : sum_of(n, [&](size_t j, auto at) HWY_ATTR {
      return hn::Mul(at.load(row + j), at.load(d + j));
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor::grad
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor::grad {

HWY_EXPORT(AddBias);
HWY_EXPORT(ColumnSums);
HWY_EXPORT(Embed);
HWY_EXPORT(EmbedBackward);
HWY_EXPORT(GatherRows);
HWY_EXPORT(CombineRows);
HWY_EXPORT(CombineRowsWeights);

void add_bias(float* y, const float* bias, size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddBias)(y, bias, rows, n);
}

void column_sums(const float* x, float* sums, size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(ColumnSums)(x, sums, rows, n);
}

void embed(const float* table, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
           float scale, float* out) {
  HWY_DYNAMIC_DISPATCH(Embed)(table, tokens, first, vocab, n, scale, out);
}

void embed_backward(const float* d_out, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
                    size_t begin, size_t end, float scale, float* d_table) {
  HWY_DYNAMIC_DISPATCH(EmbedBackward)(d_out, tokens, first, vocab, n, begin, end, scale, d_table);
}

void gather_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t n,
                 float* out) {
  HWY_DYNAMIC_DISPATCH(GatherRows)(x, index, weight, count, n, out);
}

void combine_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t fan,
                  size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(CombineRows)(x, index, weight, count, fan, n, out);
}

void combine_rows_weights(const float* x, const int32_t* index, const float* d_out, size_t count, size_t fan,
                          size_t n, float* d_weight) {
  HWY_DYNAMIC_DISPATCH(CombineRowsWeights)(x, index, d_out, count, fan, n, d_weight);
}

}  // namespace fathom::tensor::grad
#endif  // HWY_ONCE
