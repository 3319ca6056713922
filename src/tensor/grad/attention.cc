#include "tensor/grad/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tensor/grad/attention_split.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/grad/attention.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/grad/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

class Forward {
 public:
  Forward(const AttentionShape& shape, const AttentionForward& args, float* scratch)
      : shape_(shape), args_(args), products_(shape) {
    const ScratchSizes sizes(shape);
    Pieces pieces(scratch);
    keys_ = pieces.take(sizes.sequence);
    values_ = pieces.take(sizes.sequence);
    q_ = pieces.take(sizes.rows);
    out_ = pieces.take(sizes.rows);
    scores_ = pieces.take(kQueries * kScoreStride);
    max_ = pieces.take(kQueries);
    sum_ = pieces.take(kQueries);
  }

  /// Every `parts`-th unit of a pair, from `part` on.
  void run(size_t pair, size_t part, const Split& split) {
    const size_t sequence = pair / shape_.kv_heads;
    const size_t kv_head = pair % shape_.kv_heads;
    const size_t kv = sequence * shape_.length * args_.kv_stride + kv_head * shape_.head_dim;
    products_.pack_columns(args_.k + kv, args_.kv_stride, keys_);
    products_.pack_depth({0, shape_.length}, args_.v + kv, args_.kv_stride, values_);
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
    products_.pack_rows(queries, args_.q + token * args_.q_stride + head * shape_.head_dim, args_.q_stride,
                        q_);
    std::fill_n(out_, queries.size() * products_.width(), 0.0f);
    std::fill_n(max_, queries.size(), std::numeric_limits<float>::lowest());
    std::fill_n(sum_, queries.size(), 0.0f);
    for (size_t key = 0; key < queries.end; key += kKeys) {
      const Block keys{key, std::min(key + kKeys, queries.end)};
      if (mask.keys({queries.begin, queries.end}, keys).size() == 0) continue;
      products_.scores(mask, queries, keys, q_, keys_, shape_.scale, scores_);
      for (size_t t = queries.begin; t < queries.end; ++t) soften(mask, queries, keys, t);
      products_.add_over_keys(mask, queries, keys, scores_, values_, 1.0f, out_);
    }
    write(token, head, queries);
  }

  /// Scores of one query become weights relative to the largest score so far, and what was summed before follows.
  void soften(const Mask& mask, const Block& queries, const Block& keys, size_t query) {
    const DF df;
    const size_t r = query - queries.begin;
    float* row = scores_ + r * kScoreStride;
    const Range seen = mask.places(query, keys);
    clear_unseen(row, seen, keys.size());
    if (seen.size() == 0) return;
    const float most = std::max(max_[r], largest(row, seen));
    const VF top = hn::Set(df, most);
    VF sum = hn::Zero(df);
    each_seen(seen, [&](size_t i, auto lanes) HWY_ATTR {
      const VF weight = lanes.keep(math::exp(hn::Sub(hn::Load(df, row + i), top)));
      sum = hn::Add(sum, weight);
      hn::Store(weight, df, row + i);
    });
    const float total = hn::GetLane(hn::SumOfLanes(df, sum));
    if (max_[r] != most) {
      const float factor = std::exp(max_[r] - most);
      if (sum_[r] != 0) scale(out_ + r * products_.width(), factor, out_ + r * products_.width());
      sum_[r] *= factor;
      max_[r] = most;
    }
    sum_[r] += total;
  }

  /// The largest score of a row, once they are capped.
  HWY_INLINE float largest(float* row, const Range& seen) const {
    const DF df;
    const float inverse = shape_.cap != 0 ? 1.0f / shape_.cap : 0.0f;
    VF most = hn::Set(df, std::numeric_limits<float>::lowest());
    each_seen(seen, [&](size_t i, auto lanes) HWY_ATTR {
      VF score = hn::Load(df, row + i);
      if (shape_.cap != 0) {
        score = capped(score, shape_.cap, inverse);
        hn::Store(score, df, row + i);
      }
      most = hn::Max(lanes.or_lowest(score), most);
    });
    return hn::GetLane(hn::MaxOfLanes(df, most));
  }

  HWY_INLINE void scale(const float* from, float factor, float* to) const {
    math::each(shape_.head_dim, [&](size_t i, auto part) HWY_ATTR {
      part.store(hn::Mul(part.load(from + i), hn::Set(DF(), factor)), to + i);
    });
  }

  void write(size_t token, size_t head, const Block& queries) const {
    for (size_t t = queries.begin; t < queries.end; ++t) {
      const size_t r = t - queries.begin;
      scale(out_ + r * products_.width(), 1.0f / sum_[r],
            args_.out + (token + t) * args_.out_stride + head * shape_.head_dim);
      args_.log_sum[head * shape_.tokens() + token + t] = max_[r] + std::log(sum_[r]);
    }
  }

  const AttentionShape& shape_;
  const AttentionForward& args_;
  Products products_;
  float* keys_;    // of the pair, as columns
  float* values_;  // of the pair, as depth
  float* q_;       // of the block
  float* out_;
  float* scores_;
  float* max_;
  float* sum_;
};

void ForwardPart(const AttentionShape& shape, const AttentionForward& args, const Split& split, size_t item,
                 float* scratch) {
  Forward(shape, args, scratch).run(item / split.parts, item % split.parts, split);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

HWY_EXPORT(ForwardPart);

}  // namespace

size_t attention_scratch_bytes(const AttentionShape& shape, size_t threads) {
  const ScratchSizes sizes(shape);
  return (sizes.thread * threads + sizes.gradients * slots(Split(shape, threads), threads)) * sizeof(float);
}

void attention_forward(const AttentionShape& shape, const AttentionForward& args, ThreadPool& pool,
                       std::span<std::byte> scratch) {
  float* floats = checked_scratch(shape, pool, scratch);
  const ScratchSizes sizes(shape);
  const Split split(shape, pool.size());
  share(pool, split.pairs * split.parts, [&](size_t item, size_t thread) {
    HWY_DYNAMIC_DISPATCH(ForwardPart)(shape, args, split, item, floats + thread * sizes.thread);
  });
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
