#include <algorithm>
#include <cstdint>

#include "tensor/grad/attention.h"
#include "tensor/grad/attention_split.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/attention_backward.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// Gradients of one part of a pair: d_keys and d_values are sums over its units, [length, width].
class Backward {
 public:
  Backward(const AttentionShape& shape, const AttentionBackward& args, float* scratch, float* gradients)
      : shape_(shape),
        args_(args),
        products_(shape),
        d_keys_(gradients),
        d_values_(gradients + ScratchSizes(shape).sequence) {
    const ScratchSizes sizes(shape);
    Pieces pieces(scratch);
    key_columns_ = pieces.take(sizes.sequence);
    value_columns_ = pieces.take(sizes.sequence);
    keys_ = pieces.take(sizes.sequence);
    q_rows_ = pieces.take(sizes.rows);
    d_out_rows_ = pieces.take(sizes.rows);
    q_ = pieces.take(sizes.rows);
    d_out_ = pieces.take(sizes.rows);
    dq_ = pieces.take(sizes.rows);
    weights_ = pieces.take(kQueries * kScoreStride);
    d_scores_ = pieces.take(kQueries * kScoreStride);
    mean_ = pieces.take(kQueries);
  }

  void run(size_t pair, size_t part, const Split& split) {
    const size_t sequence = pair / shape_.kv_heads;
    const size_t kv_head = pair % shape_.kv_heads;
    const size_t kv = sequence * shape_.length * args_.kv_stride + kv_head * shape_.head_dim;
    products_.pack_columns(args_.k + kv, args_.kv_stride, key_columns_);
    products_.pack_columns(args_.v + kv, args_.kv_stride, value_columns_);
    products_.pack_depth({0, shape_.length}, args_.k + kv, args_.kv_stride, keys_);
    std::fill_n(d_keys_, shape_.length * products_.width(), 0.0f);
    std::fill_n(d_values_, shape_.length * products_.width(), 0.0f);
    const size_t group = shape_.heads / shape_.kv_heads;
    const size_t blocks = split.units / group;
    for (size_t unit = part; unit < split.units; unit += split.parts) {
      const size_t block = unit / group;
      attend(sequence, kv_head * group + unit % group,
             {cut(shape_.length, blocks, block), cut(shape_.length, blocks, block + 1)});
    }
  }

 private:
  void attend(size_t sequence, size_t head, const Block& queries) {
    const Mask mask(shape_, sequence);
    const size_t token = sequence * shape_.length;
    const float* q = args_.q + token * args_.q_stride + head * shape_.head_dim;
    const float* d_out = args_.d_out + token * args_.out_stride + head * shape_.head_dim;
    const float* out = args_.out + token * args_.out_stride + head * shape_.head_dim;
    const Range rows{queries.begin, queries.end};
    products_.pack_rows(queries, q, args_.q_stride, q_rows_);
    products_.pack_rows(queries, d_out, args_.out_stride, d_out_rows_);
    products_.pack_depth(rows, q, args_.q_stride, q_);
    products_.pack_depth(rows, d_out, args_.out_stride, d_out_);
    for (size_t t = rows.begin; t < rows.end; ++t)
      mean_[t - rows.begin] = math::sum_of(shape_.head_dim, [&](size_t i, auto part) HWY_ATTR {
        return hn::Mul(part.load(d_out + t * args_.out_stride + i),
                       part.load(out + t * args_.out_stride + i));
      });
    std::fill_n(dq_, queries.size() * products_.width(), 0.0f);
    const float* log_sum = args_.log_sum + head * shape_.tokens() + token;
    for (size_t key = 0; key < queries.end; key += kKeys) {
      const Block keys{key, std::min(key + kKeys, queries.end)};
      if (mask.keys(rows, keys).size() == 0) continue;
      products_.scores(mask, queries, keys, q_rows_, key_columns_, shape_.scale, weights_);
      products_.scores(mask, queries, keys, d_out_rows_, value_columns_, 1.0f, d_scores_);
      for (size_t t = rows.begin; t < rows.end; ++t) differentiate(mask, queries, keys, t, log_sum[t]);
      products_.add_over_keys(mask, queries, keys, d_scores_, keys_, shape_.scale, dq_);
      products_.add_over_queries(mask, queries, keys, d_scores_, q_, shape_.scale, d_keys_);
      products_.add_over_queries(mask, queries, keys, weights_, d_out_, 1.0f, d_values_);
    }
    for (size_t t = rows.begin; t < rows.end; ++t)
      std::copy_n(dq_ + (t - rows.begin) * products_.width(), shape_.head_dim,
                  args_.dq + (token + t) * args_.q_stride + head * shape_.head_dim);
  }

  /// Scores of one query become weights, and gradients of weights those of scores.
  void differentiate(const Mask& mask, const Block& queries, const Block& keys, size_t query, float log_sum) {
    const DF df;
    const size_t r = query - queries.begin;
    const Range seen = mask.places(query, keys);
    float* weights = weights_ + r * kScoreStride;
    float* d_scores = d_scores_ + r * kScoreStride;
    clear_unseen(weights, seen, keys.size());
    clear_unseen(d_scores, seen, keys.size());
    if (seen.size() == 0) return;
    const VF log = hn::Set(df, log_sum);
    const VF mean = hn::Set(df, mean_[r]);
    const float cap = shape_.cap;
    const float inverse = cap != 0 ? 1.0f / cap : 0.0f;
    each_seen(seen, [&](size_t i, auto lanes) HWY_ATTR {
      VF score = hn::Load(df, weights + i);
      VF d_score = hn::Sub(hn::Load(df, d_scores + i), mean);
      if (cap != 0) {
        score = capped(score, cap, inverse);
        const VF t = hn::Mul(score, hn::Set(df, inverse));
        d_score = hn::Mul(d_score, hn::NegMulAdd(t, t, hn::Set(df, 1.0f)));
      }
      const VF weight = math::exp(hn::Sub(score, log));
      hn::Store(lanes.keep(weight), df, weights + i);
      hn::Store(lanes.keep(hn::Mul(weight, d_score)), df, d_scores + i);
    });
  }

  const AttentionShape& shape_;
  const AttentionBackward& args_;
  Products products_;
  float* d_keys_;
  float* d_values_;
  float* key_columns_;  // of the pair
  float* value_columns_;
  float* keys_;    // as depth
  float* q_rows_;  // of the block
  float* d_out_rows_;
  float* q_;      // as depth
  float* d_out_;  // as depth
  float* dq_;
  float* weights_;
  float* d_scores_;
  float* mean_;  // of the gradients of each query's weights, by the weights
};

void BackwardPart(const AttentionShape& shape, const AttentionBackward& args, const Split& split, size_t item,
                  float* scratch, float* gradients) {
  Backward(shape, args, scratch, gradients).run(item / split.parts, item % split.parts, split);
}

size_t RowWidth(const AttentionShape& shape) { return Products(shape).width(); }

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

HWY_EXPORT(BackwardPart);
HWY_EXPORT(RowWidth);

/// Adds up the parts of one pair's gradients, always in the same order, into dk and dv.
void write_gradients(const AttentionShape& shape, const AttentionBackward& args, size_t pair,
                     const float* parts, size_t count) {
  const ScratchSizes sizes(shape);
  const size_t width = HWY_DYNAMIC_DISPATCH(RowWidth)(shape);
  const size_t dim = shape.head_dim;
  for (size_t t = 0; t < shape.length; ++t) {
    const size_t token = pair / shape.kv_heads * shape.length + t;
    const size_t at = token * args.kv_stride + pair % shape.kv_heads * dim;
    for (float* to : {args.dk + at, args.dv + at}) {
      const float* from = parts + t * width + (to == args.dv + at ? sizes.sequence : 0);
      std::copy_n(from, dim, to);
      for (size_t p = 1; p < count; ++p)
        for (size_t i = 0; i < dim; ++i) to[i] += from[p * sizes.gradients + i];
    }
  }
}

}  // namespace

void attention_backward(const AttentionShape& shape, const AttentionBackward& args, ThreadPool& pool,
                        std::span<std::byte> scratch) {
  float* floats = checked_scratch(shape, pool, scratch);
  const ScratchSizes sizes(shape);
  const Split split(shape, pool.size());
  float* gradients = floats + pool.size() * sizes.thread;
  share(pool, split.pairs * split.parts, [&](size_t item, size_t thread) {
    float* own = gradients + (split.parts == 1 ? thread : item) * sizes.gradients;
    HWY_DYNAMIC_DISPATCH(BackwardPart)(shape, args, split, item, floats + thread * sizes.thread, own);
    if (split.parts == 1) write_gradients(shape, args, item, own, 1);
  });
  if (split.parts > 1)
    share(pool, split.pairs, [&](size_t pair, size_t /*thread*/) {
      write_gradients(shape, args, pair, gradients + pair * split.parts * sizes.gradients, split.parts);
    });
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
