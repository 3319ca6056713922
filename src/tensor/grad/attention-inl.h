// What both passes of attention share, on each target: masks, and products of blocks of queries with blocks of keys.
// Included once for each target, after simd.h.
#if defined(FATHOM_TENSOR_GRAD_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_GRAD_ATTENTION_INL_H_
#undef FATHOM_TENSOR_GRAD_ATTENTION_INL_H_
#else
#define FATHOM_TENSOR_GRAD_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tensor/gemm-inl.h"
#include "tensor/grad/attention_split.h"
#include "tensor/grad/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

namespace math = grad::HWY_NAMESPACE;

/// One block of queries of one head, or of its keys where they are rows: `tiles` of rows as even as can be.
struct Block {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  size_t tiles() const { return div_up(size(), kTileRows); }
  Range tile(size_t i) const {
    return {begin + cut(size(), tiles(), i), begin + cut(size(), tiles(), i + 1)};
  }
};

/// Which keys the queries of a sequence see.
class Mask {
 public:
  Mask(const AttentionShape& shape, size_t sequence)
      : window_(shape.window),
        starts_(shape.starts == nullptr ? nullptr : shape.starts + sequence * shape.length) {}

  Range keys(size_t query) const {
    size_t first = starts_ == nullptr ? 0 : static_cast<size_t>(starts_[query]);
    if (window_ != 0 && query + 1 > window_) first = std::max(first, query + 1 - window_);
    return {first, query + 1};
  }

  /// Places in `block` of the keys that one query sees.
  Range places(size_t query, const Block& block) const {
    const Range all = keys(query);
    const size_t begin = std::clamp(all.begin, block.begin, block.end) - block.begin;
    return {begin, std::clamp(all.end, block.begin, block.end) - block.begin};
  }

  /// Keys of `block` that some query of `queries` sees, and those between.
  Range keys(const Range& queries, const Block& block) const {
    size_t first = everything() ? 0 : block.end;
    for (size_t t = queries.begin; t < queries.end && first > 0; ++t) first = std::min(first, keys(t).begin);
    return {std::max(first, block.begin), std::min(queries.end, block.end)};
  }

  /// Queries of `block` that see some key of `keys`, and those between.
  Range queries(const Range& of, const Block& block) const {
    Range out{std::max(of.begin, block.begin), block.end};
    while (out.end > out.begin && keys(out.end - 1).begin >= of.end) --out.end;
    return out;
  }

 private:
  bool everything() const { return window_ == 0 && starts_ == nullptr; }

  size_t window_;
  const int32_t* starts_;
};

/// What both passes do with the heads of one pair: products of blocks, and where their operands lie.
class Products {
 public:
  explicit Products(const AttentionShape& shape)
      : length_(shape.length), dim_(shape.head_dim), width_(div_up(shape.head_dim, kTileCols) * kTileCols) {}

  size_t width() const { return width_; }  // of a row of outputs, with what fills the last panel

  // Rows of one head lie apart, which the processor does not foresee: they are called for one panel ahead.

  /// Rows of queries or of their gradients, by tiles: [tile][dim][kRowStep].
  void pack_rows(const Block& block, const float* from, size_t stride, float* to) const {
    for (size_t i = 0; i < block.tiles(); ++i, to += dim_ * kRowStep) {
      const Range rows = block.tile(i);
      prefetch({rows.end, std::min(rows.end + kTileRows, block.end)}, from, stride);
      pack_along<FloatWords>(from + rows.begin * stride, stride, rows.size(), dim_, kRowStep, to);
    }
  }

  /// Rows as the columns of a product: [panel of rows][dim][kTileCols].
  void pack_columns(const float* from, size_t stride, float* to) const {
    for (size_t row = 0; row < length_; row += kTileCols, to += dim_ * kTileCols) {
      prefetch({row + kTileCols, std::min(row + 2 * kTileCols, length_)}, from, stride);
      pack_along<FloatWords>(from + row * stride, stride, std::min(kTileCols, length_ - row), dim_, kTileCols,
                             to);
    }
  }

  /// Rows as the depth of a product: [panel of dim][row][kTileCols].
  void pack_depth(const Range& rows, const float* from, size_t stride, float* to) const {
    for (size_t row = rows.begin; row < rows.end; row += kTileCols, to += kTileCols * kTileCols) {
      const size_t count = std::min(kTileCols, rows.end - row);
      prefetch({row + count, std::min(row + count + kTileCols, rows.end)}, from, stride);
      for (size_t d = 0; d < dim_; d += kTileCols)
        pack_across<FloatWords>(from + row * stride + d, stride, dim_ - d, count, kTileCols,
                                to + d * rows.size());
    }
  }

  /// scores[query][key - keys.begin] = alpha * rows . columns, wherever the mask lets any through.
  void scores(const Mask& mask, const Block& queries, const Block& keys, const float* rows,
              const float* columns, float alpha, float* scores) const {
    for (size_t i = 0; i < queries.tiles(); ++i) {
      const Range tile = queries.tile(i);
      const Range seen = mask.keys(tile, keys);
      for (size_t key = seen.begin / kTileCols * kTileCols; key < seen.end; key += kTileCols) {
        Tile t;
        t.a = rows + i * dim_ * kRowStep;
        t.b = columns + key * dim_;
        t.depth = dim_;
        t.c = scores + (tile.begin - queries.begin) * kScoreStride + (key - keys.begin);
        t.c_stride = kScoreStride;
        t.alpha = alpha;
        kMultiplyTile<FloatProducts>[tile.size()](t);
      }
    }
  }

  /// out[query] += the sum over keys of weights[query][key] * values[key]; `values` of the whole sequence.
  void add_over_keys(const Mask& mask, const Block& queries, const Block& keys, const float* weights,
                     const float* values, float alpha, float* out) const {
    for (size_t i = 0; i < queries.tiles(); ++i) {
      const Range tile = queries.tile(i);
      const Range seen = mask.keys(tile, keys);
      const size_t row = tile.begin - queries.begin;
      if (seen.size() > 0)
        add<kScoreStride, 1>(weights + row * kScoreStride + (seen.begin - keys.begin),
                             values + seen.begin * kTileCols, length_, {tile.size(), seen.size()}, alpha,
                             out + row * width_);
    }
  }

  /// out[key] += the sum over queries of weights[query][key] * values[query]; `values` of the block alone, `out` of the
  /// whole sequence.
  void add_over_queries(const Mask& mask, const Block& queries, const Block& keys, const float* weights,
                        const float* values, float alpha, float* out) const {
    for (size_t i = 0; i < keys.tiles(); ++i) {
      const Range tile = keys.tile(i);
      const Range seen = mask.queries(tile, queries);
      const size_t row = seen.begin - queries.begin;
      if (seen.size() > 0)
        add<1, kScoreStride>(weights + row * kScoreStride + (tile.begin - keys.begin),
                             values + row * kTileCols, queries.size(), {tile.size(), seen.size()}, alpha,
                             out + tile.begin * width_);
    }
  }

 private:
  void prefetch(const Range& rows, const float* from, size_t stride) const {
    for (size_t row = rows.begin; row < rows.end; ++row)
      for (size_t i = 0; i < dim_; i += 16) __builtin_prefetch(from + row * stride + i, 0, 3);
  }

  struct Size {
    size_t rows = 0;
    size_t depth = 0;
  };

  template <size_t kAcross, size_t kAlong>
  void add(const float* a, const float* b, size_t panel_rows, const Size& size, float alpha,
           float* out) const {
    for (size_t d = 0; d < width_; d += kTileCols) {
      Tile t;
      t.a = a;
      t.b = b + d * panel_rows;
      t.depth = size.depth;
      t.c = out + d;
      t.c_stride = width_;
      t.alpha = alpha;
      t.add = true;
      kMultiplyTile<FloatProducts, kAcross, kAlong>[size.rows](t);
    }
  }

  size_t length_;
  size_t dim_;
  size_t width_;
};

/// Which lanes of a vector of scores the mask lets through: all,
struct AllSeen {
  HWY_INLINE VF keep(VF v) const { return v; }
  HWY_INLINE VF or_lowest(VF v) const { return v; }
};

/// or some.
struct SomeSeen {
  hn::Mask<DF> seen;
  HWY_INLINE VF keep(VF v) const { return hn::IfThenElseZero(seen, v); }
  HWY_INLINE VF or_lowest(VF v) const {
    return hn::IfThenElse(seen, v, hn::Set(DF(), std::numeric_limits<float>::lowest()));
  }
};

/// body(i, lanes) for each vector of a row of scores that holds some of `seen`, which is not empty.
template <class Body>
HWY_INLINE void each_seen(const Range& seen, const Body& body) {
  const DF df;
  const auto some = [&](size_t i) HWY_ATTR {
    const auto before = hn::FirstN(df, seen.begin - std::min(seen.begin, i));
    body(i, SomeSeen{hn::AndNot(before, hn::FirstN(df, seen.end - i))});
  };
  size_t i = seen.begin / kN * kN;
  if (i < seen.begin) {
    some(i);
    i += kN;
  }
  for (; i + kN <= seen.end; i += kN) body(i, AllSeen{});
  if (i < seen.end) some(i);
}

/// 0 for the vectors of a row of `size` scores that hold none of `seen`.
HWY_INLINE void clear_unseen(float* row, const Range& seen, size_t size) {
  const size_t begin = seen.size() > 0 ? seen.begin / kN * kN : 0;
  for (size_t i = 0; i < begin; i += kN) hn::Store(hn::Zero(DF()), DF(), row + i);
  const size_t end = seen.size() > 0 ? div_up(seen.end, kN) * kN : 0;
  for (size_t i = end; i < size; i += kN) hn::Store(hn::Zero(DF()), DF(), row + i);
}

/// cap * tanh(score / cap).
HWY_INLINE VF capped(VF score, float cap, float inverse) {
  const DF df;
  return hn::Mul(hn::Set(df, cap), math::tanh(hn::Mul(score, hn::Set(df, inverse))));
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
