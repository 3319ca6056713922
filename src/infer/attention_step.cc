#include "infer/attention_step.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"

namespace fathom::infer {
namespace {

constexpr size_t kAlign = 16;  // floats of a cache line

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Positions from which on a single token's scores are worth another wait of the threads for each other.
constexpr size_t kWorthSplitting = 64;

}  // namespace

AttentionStep::AttentionStep(const Shape& shape, size_t context, size_t max_rows, ThreadPool& pool)
    : shape_(shape), context_(round_up(context, KvPool::kPositions)), pool_(pool) {
  // Rows of one pass over keys and values: enough to use what was loaded, few enough for their scores to stay in cache.
  tile_rows_ = std::max<size_t>(1, 24 / group());
  scratch_floats_ = round_up(tensor::attend_scratch(tile_rows_, group(), shape.head_dim, context_), kAlign);
  scratch_ = tensor::Buffer(pool.size() * scratch_floats_ * sizeof(float));
  single_ = tensor::Buffer((round_up(q_dim(), kAlign) + shape.heads * context_) * sizeof(float));
  rows_.reserve(max_rows);
  tiles_.reserve(max_rows);
}

void AttentionStep::begin(std::span<const SequenceChunk> chunks) {
  rows_.clear();
  tiles_.clear();
  for (const SequenceChunk& chunk : chunks) {
    const size_t first = chunk.kv->tokens().size();
    FATHOM_CHECK(!chunk.tokens.empty() && first + chunk.tokens.size() <= chunk.kv->capacity());
    for (size_t t = 0; t < chunk.tokens.size(); ++t) {
      if (t % tile_rows_ == 0)
        tiles_.push_back({chunk.kv, rows_.size(), std::min(tile_rows_, chunk.tokens.size() - t), first + t});
      rows_.push_back({chunk.kv, first + t});
    }
  }
  std::stable_sort(tiles_.begin(), tiles_.end(), [](const Tile& a, const Tile& b) {
    return a.count * (a.first + a.count) > b.count * (b.first + b.count);
  });
}

void AttentionStep::store(size_t layer, size_t row, const float* k, const float* v) const {
  tensor::append_kv(rows_[row].kv->layer(layer), rows_[row].position, k, v);
}

void AttentionStep::attend(size_t layer, const tensor::AttentionRule& rule, const float* q, float* out) {
  if (rows_.size() == 1)
    attend_single(layer, rule, q, out);
  else
    attend_tiles(layer, rule, q, out);
}

void AttentionStep::attend_tiles(size_t layer, const tensor::AttentionRule& rule, const float* q,
                                 float* out) {
  std::atomic<size_t> next{0};
  pool_.run([&](size_t thread) {
    for (;;) {
      const size_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= tiles_.size() * shape_.kv_heads) return;
      const Tile& tile = tiles_[item / shape_.kv_heads];
      const size_t h = item % shape_.kv_heads;
      const size_t at = tile.row * q_dim() + h * group() * shape_.head_dim;
      tensor::attend(tile.kv->layer(layer),
                     {h, group(), q + at, q_dim(), tile.count, tile.first, rule, out + at, q_dim()},
                     scratch(thread));
    }
  });
}

/// One token: threads share out pages for the scores, then dimensions for the weighted sums.
void AttentionStep::attend_single(size_t layer, const tensor::AttentionRule& rule, const float* q,
                                  float* out) {
  const tensor::PagedKv kv = rows_[0].kv->layer(layer);
  const size_t position = rows_[0].position;
  const size_t from = tensor::first_visible(rule, position) / KvPool::kPositions;
  const size_t pages = KvPool::pages_of(position + 1) - from;
  const size_t stride = pages * KvPool::kPositions;
  float* rounded = single_.as<float>();
  float* scores = rounded + round_up(q_dim(), kAlign);
  tensor::round_queries(kv.shape, q, rounded, q_dim());
  const auto args = [&](size_t h) {
    const size_t at = h * group() * shape_.head_dim;
    return tensor::AttendArgs{h, group(), rounded + at, q_dim(), 1, position, rule, out + at, q_dim()};
  };
  const auto score = [&](size_t begin, size_t end) {
    for (size_t h = 0; h < shape_.kv_heads; ++h)
      tensor::attend_scores(kv, args(h), from + begin, from + end, scores + h * group() * stride, stride);
  };
  if (stride <= kWorthSplitting)
    score(0, pages);
  else
    pool_.parallel_for(pages, 1, score);
  const size_t parts = kv.shape.dim_groups();
  pool_.run([&](size_t thread) {
    const size_t begin = shape_.kv_heads * parts * thread / pool_.size();
    const size_t end = shape_.kv_heads * parts * (thread + 1) / pool_.size();
    for (size_t h = begin / parts; h * parts < end; ++h) {
      float* weights = scratch(thread);  // the scores are others' too
      std::copy_n(scores + h * group() * stride, group() * stride, weights);
      tensor::attend_values(kv, args(h), std::max(begin, h * parts) - h * parts,
                            std::min(end - h * parts, parts), weights, stride);
    }
  });
}

}  // namespace fathom::infer
