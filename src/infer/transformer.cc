#include "infer/transformer.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/error.h"
#include "tensor/attention.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"

namespace fathom::infer {

using tensor::kGroupRows;

namespace {

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Adds a bias to the rows of groups [begin, end).
void add_bias(const Linear& linear, float* y, size_t stride, size_t tokens, size_t begin, size_t end) {
  if (linear.bias == nullptr) return;
  const size_t first = begin * kGroupRows;
  const size_t last = std::min(end * kGroupRows, linear.matrix.rows);
  for (size_t t = 0; t < tokens; ++t) tensor::add(y + t * stride + first, linear.bias + first, last - first);
}

}  // namespace

struct Transformer::Team {
  Team(size_t widest, size_t attention_floats)
      : activations(1, widest),
        memory((widest + attention_floats) * sizeof(float)),
        row(memory.as<float>()),
        attention(row + widest) {}

  Activations activations;  // of a single token, which each thread prepares for itself: cheaper than waiting
  tensor::Buffer memory;
  float* row;        // one row of the widest matrix
  float* attention;  // scratch of tensor::attend, or the probabilities of one kv head
};

Transformer::Transformer(const model::ModelConfig& config, const Weights& weights, size_t context,
                         ThreadPool& pool)
    : config_(config),
      weights_(weights),
      pool_(pool),
      context_(round_up(context, kGroupRows)),
      shared_(kChunk, std::max({config.d_model, config.q_dim(), config.ffn})) {
  const auto& c = config_;
  const size_t widest = round_up(std::max({c.d_model, c.q_dim(), c.ffn}), kGroupRows);
  const size_t group = c.heads / c.kv_heads;
  // Rows of one pass over keys and values: enough to use what was loaded, few enough for their scores to stay in cache.
  tile_tokens_ = std::max<size_t>(1, 24 / group);
  const size_t scratch = tensor::attend_scratch(tile_tokens_, group, c.head_dim, context_);
  for (size_t t = 0; t < pool_.size(); ++t) team_.push_back(std::make_unique<Team>(widest, scratch));

  float** const parts[] = {&x_, &q_, &k_, &v_, &mixed_, &gate_, &up_, &angles_, &scores_, &rounded_};
  const size_t sizes[] = {kChunk * c.d_model, kChunk * c.q_dim(), kChunk * c.kv_dim(), kChunk * c.kv_dim(),
                          kChunk * c.q_dim(), kChunk * c.ffn,     kChunk * c.ffn,      kChunk * c.rope.dims,
                          c.heads * context_, c.q_dim()};
  size_t total = 0;
  for (const size_t size : sizes) total += round_up(size, kGroupRows);
  memory_ = tensor::Buffer(total * sizeof(float));
  float* next = memory_.as<float>();
  for (size_t i = 0; i < std::size(sizes); ++i) {
    *parts[i] = next;
    next += round_up(sizes[i], kGroupRows);
  }
}

Transformer::~Transformer() = default;

template <class Row, class Body>
void Transformer::share(size_t tokens, size_t cols, Forms forms, Row row, size_t total, Body body) {
  if (tokens == 1) {
    pool_.run([&](size_t thread) {
      Team& own = *team_[thread];
      own.activations.begin(1, cols, forms);
      own.activations.set_row(0, row(0, own.row));
      body(own.activations, total * thread / pool_.size(), total * (thread + 1) / pool_.size());
    });
    return;
  }
  shared_.begin(tokens, cols, forms);
  pool_.run([&](size_t thread) {
    const size_t end = tokens * (thread + 1) / pool_.size();
    for (size_t t = tokens * thread / pool_.size(); t < end; ++t)
      shared_.set_row(t, row(t, team_[thread]->row));
  });
  pool_.run([&](size_t thread) {
    body(shared_, total * thread / pool_.size(), total * (thread + 1) / pool_.size());
  });
}

template <class Row>
void Transformer::project(size_t tokens, size_t cols, Forms forms, Row row,
                          std::span<const Product> products) {
  size_t total = 0;
  for (const Product& p : products) total += p.linear->matrix.groups();
  share(tokens, cols, forms, row, total, [&](const Activations& a, size_t begin, size_t end) {
    size_t offset = 0;
    for (const Product& p : products) {
      const size_t groups = p.linear->matrix.groups();
      const size_t first = std::clamp(begin, offset, offset + groups) - offset;
      const size_t last = std::clamp(end, offset, offset + groups) - offset;
      offset += groups;
      if (first == last) continue;
      a.multiply(p.linear->matrix, first, last, {p.y, p.stride, p.add});
      add_bias(*p.linear, p.y, p.stride, tokens, first, last);
    }
  });
}

template <class Row>
void Transformer::project_gated(size_t tokens, const LayerWeights& w, Row row) {
  const size_t ffn = config_.ffn;
  share(tokens, config_.d_model, Forms{&w.gate, &w.up}, row, w.gate.matrix.groups(),
        [&](const Activations& a, size_t begin, size_t end) {
          if (begin == end) return;
          a.multiply(w.gate.matrix, begin, end, {gate_, ffn, false});
          a.multiply(w.up.matrix, begin, end, {up_, ffn, false});
          add_bias(w.gate, gate_, ffn, tokens, begin, end);
          add_bias(w.up, up_, ffn, tokens, begin, end);
          const size_t first = begin * kGroupRows;
          const size_t count = std::min(end * kGroupRows, ffn) - first;
          for (size_t t = 0; t < tokens; ++t) {
            float* gate = gate_ + t * ffn + first;
            tensor::silu_mul(gate, up_ + t * ffn + first, gate, count);
          }
        });
}

void Transformer::embed(std::span<const int32_t> tokens) {
  for (size_t t = 0; t < tokens.size(); ++t)
    tensor::unpack_row(weights_.embedding(), static_cast<size_t>(tokens[t]), x_ + t * config_.d_model);
}

void Transformer::turn_and_store(const tensor::KvLayer& layer, size_t first, size_t tokens) {
  const auto& c = config_;
  const bool halves = c.rope.pairing == model::RopePairing::kHalves;
  const auto one = [&](size_t t) {
    const float* angles = angles_ + t * c.rope.dims;
    tensor::rope(q_ + t * c.q_dim(), c.heads, c.head_dim, c.rope.dims, halves, angles);
    tensor::rope(k_ + t * c.kv_dim(), c.kv_heads, c.head_dim, c.rope.dims, halves, angles);
    tensor::append_kv(layer, first + t, k_ + t * c.kv_dim(), v_ + t * c.kv_dim());
  };
  if (tokens == 1) return one(0);  // shorter than a wait
  pool_.parallel_for(tokens, kGroupRows, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) one(t);
  });
}

/// One token: threads share out positions for the scores, then dimensions for the weighted sums.
void Transformer::attend_one(const tensor::KvLayer& layer, size_t position) {
  const auto& c = config_;
  const size_t group = c.heads / c.kv_heads;
  const size_t positions = position + 1;
  const size_t groups = (positions + kGroupRows - 1) / kGroupRows;
  const size_t stride = groups * kGroupRows;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  tensor::round_row(tensor::activation_form(layer.dtype), q_, rounded_, c.q_dim());
  const auto scores = [&](size_t begin, size_t end) {
    for (size_t h = 0; h < c.kv_heads; ++h)
      tensor::attention_scores(layer, h, rounded_ + h * group * c.head_dim, group, begin, end,
                               scores_ + h * group * stride, stride);
  };
  pool_.parallel_for(groups, 4, scores);
  const size_t parts = layer.dim_groups();
  pool_.run([&](size_t thread) {
    const size_t begin = c.kv_heads * parts * thread / pool_.size();
    const size_t end = c.kv_heads * parts * (thread + 1) / pool_.size();
    for (size_t h = begin / parts; h * parts < end; ++h) {
      float* weights = team_[thread]->attention;  // the scores are others' too
      std::copy_n(scores_ + h * group * stride, group * stride, weights);
      for (size_t r = 0; r < group; ++r)
        tensor::softmax(weights + r * stride, positions, stride, scale, layer.dtype);
      tensor::attention_values(layer, h, weights, stride, group, positions,
                               std::max(begin, h * parts) - h * parts, std::min(end - h * parts, parts),
                               mixed_ + h * group * c.head_dim, c.head_dim);
    }
  });
}

/// Many tokens: threads take tiles of tokens of one kv head, the longest first.
void Transformer::attend_many(const tensor::KvLayer& layer, size_t first, size_t tokens) {
  const auto& c = config_;
  const size_t group = c.heads / c.kv_heads;
  const size_t tiles = (tokens + tile_tokens_ - 1) / tile_tokens_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  std::atomic<size_t> next{0};
  pool_.run([&](size_t thread) {
    for (;;) {
      const size_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= tiles * c.kv_heads) return;
      const size_t begin = (tiles - 1 - item / c.kv_heads) * tile_tokens_;
      const size_t h = item % c.kv_heads;
      const size_t at = begin * c.q_dim() + h * group * c.head_dim;
      tensor::attend(layer,
                     {h, group, q_ + at, c.q_dim(), std::min(tile_tokens_, tokens - begin), first + begin,
                      scale, mixed_ + at, c.q_dim()},
                     team_[thread]->attention);
    }
  });
}

void Transformer::attention(const LayerWeights& w, const tensor::KvLayer& layer, size_t first,
                            size_t tokens) {
  const auto& c = config_;
  const auto normed = [&](size_t t, float* scratch) -> const float* {
    tensor::rms_norm(x_ + t * c.d_model, w.attention_norm, c.rms_eps, scratch, c.d_model);
    return scratch;
  };
  const Product in[] = {
      {&w.q, q_, c.q_dim(), false}, {&w.k, k_, c.kv_dim(), false}, {&w.v, v_, c.kv_dim(), false}};
  project(tokens, c.d_model, Forms{&w.q, &w.k, &w.v}, normed, in);
  turn_and_store(layer, first, tokens);
  if (tokens == 1)
    attend_one(layer, first);
  else
    attend_many(layer, first, tokens);
  const Product out[] = {{&w.o, x_, c.d_model, true}};
  project(
      tokens, c.q_dim(), Forms{&w.o}, [&](size_t t, float*) { return mixed_ + t * c.q_dim(); }, out);
}

void Transformer::feed_forward(const LayerWeights& w, size_t tokens) {
  const auto& c = config_;
  project_gated(tokens, w, [&](size_t t, float* scratch) -> const float* {
    tensor::rms_norm(x_ + t * c.d_model, w.ffn_norm, c.rms_eps, scratch, c.d_model);
    return scratch;
  });
  const Product out[] = {{&w.down, x_, c.d_model, true}};
  project(
      tokens, c.ffn, Forms{&w.down}, [&](size_t t, float*) { return gate_ + t * c.ffn; }, out);
}

void Transformer::output(size_t tokens, std::span<float> logits) {
  const auto& c = config_;
  const size_t rows = logits.size() / c.vocab;
  const float* first = x_ + (tokens - rows) * c.d_model;
  const Linear head{weights_.output(), nullptr};
  const Product out[] = {{&head, logits.data(), c.vocab, false}};
  project(
      rows, c.d_model, Forms(head.matrix),
      [&](size_t t, float* scratch) -> const float* {
        tensor::rms_norm(first + t * c.d_model, weights_.output_norm(), c.rms_eps, scratch, c.d_model);
        return scratch;
      },
      out);
}

void Transformer::forward(KvCache& kv, std::span<const int32_t> tokens, std::span<float> logits) {
  const size_t n = tokens.size();
  const size_t first = kv.tokens().size();
  FATHOM_CHECK(n > 0 && n <= kChunk && first + n <= kv.capacity());
  FATHOM_CHECK(logits.empty() || logits.size() == config_.vocab || logits.size() == n * config_.vocab);
  embed(tokens);
  for (size_t t = 0; t < n; ++t)
    tensor::rope_angles(first + t, config_.rope.dims, config_.rope.base, config_.rope.scale,
                        weights_.rope_factors(), angles_ + t * config_.rope.dims);
  for (size_t l = 0; l < config_.layers; ++l) {
    attention(weights_.layer(l), kv.layer(l), first, n);
    feed_forward(weights_.layer(l), n);
  }
  kv.extend(tokens);
  if (!logits.empty()) output(n, logits);
}

}  // namespace fathom::infer
