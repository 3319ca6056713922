#include "infer/transformer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
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
  explicit Team(size_t widest)
      : activations(1, widest), memory(widest * sizeof(float)), row(memory.as<float>()) {}

  Activations activations;  // of a single token, which each thread prepares for itself: cheaper than waiting
  tensor::Buffer memory;
  float* row;  // one row of the widest matrix
};

Transformer::Transformer(const model::ModelConfig& config, const Weights& weights, size_t context,
                         ThreadPool& pool)
    : config_(config),
      weights_(weights),
      pool_(pool),
      shared_(kChunk, std::max({config.d_model, config.q_dim(), config.ffn})),
      attention_({config.heads, config.kv_heads, config.head_dim}, context, kChunk, pool) {
  const auto& c = config_;
  const size_t widest = round_up(std::max({c.d_model, c.q_dim(), c.ffn}), kGroupRows);
  for (size_t t = 0; t < pool_.size(); ++t) team_.push_back(std::make_unique<Team>(widest));
  wanted_.reserve(kChunk);

  float** const parts[] = {&x_, &q_, &k_, &v_, &mixed_, &gate_, &up_, &angles_};
  const size_t sizes[] = {kChunk * c.d_model, kChunk * c.q_dim(), kChunk * c.kv_dim(), kChunk * c.kv_dim(),
                          kChunk * c.q_dim(), kChunk * c.ffn,     kChunk * c.ffn,      kChunk * c.rope.dims};
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

void Transformer::embed(std::span<const SequenceChunk> chunks) {
  float* x = x_;
  for (const SequenceChunk& chunk : chunks) {
    for (const int32_t token : chunk.tokens) {
      tensor::unpack_row(weights_.embedding(), static_cast<size_t>(token), x);
      x += config_.d_model;
    }
  }
}

void Transformer::turn_and_store(size_t layer, size_t tokens) {
  const auto& c = config_;
  const bool halves = c.rope.pairing == model::RopePairing::kHalves;
  const auto one = [&](size_t t) {
    const float* angles = angles_ + t * c.rope.dims;
    tensor::rope(q_ + t * c.q_dim(), c.heads, c.head_dim, c.rope.dims, halves, angles);
    tensor::rope(k_ + t * c.kv_dim(), c.kv_heads, c.head_dim, c.rope.dims, halves, angles);
    attention_.store(layer, t, k_ + t * c.kv_dim(), v_ + t * c.kv_dim());
  };
  if (tokens == 1) return one(0);  // shorter than a wait
  pool_.parallel_for(tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) one(t);
  });
}

void Transformer::attention(size_t layer, size_t tokens) {
  const auto& c = config_;
  const LayerWeights& w = weights_.layer(layer);
  const auto normed = [&](size_t t, float* scratch) -> const float* {
    tensor::rms_norm(x_ + t * c.d_model, w.attention_norm, c.rms_eps, scratch, c.d_model);
    return scratch;
  };
  const Product in[] = {
      {&w.q, q_, c.q_dim(), false}, {&w.k, k_, c.kv_dim(), false}, {&w.v, v_, c.kv_dim(), false}};
  project(tokens, c.d_model, Forms{&w.q, &w.k, &w.v}, normed, in);
  turn_and_store(layer, tokens);
  const tensor::AttentionRule rule{1.0f / std::sqrt(static_cast<float>(c.head_dim)), 0.0f, 0};
  attention_.attend(layer, rule, q_, mixed_);
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

void Transformer::output(std::span<const SequenceChunk> chunks, std::span<float> logits) {
  const auto& c = config_;
  wanted_.clear();
  size_t row = 0;
  for (const SequenceChunk& chunk : chunks) {
    row += chunk.tokens.size();
    for (size_t i = row - chunk.logit_rows(); i < row; ++i) wanted_.push_back(i);
  }
  FATHOM_CHECK(logits.size() == wanted_.size() * c.vocab);
  if (wanted_.empty()) return;
  const Linear head{weights_.output(), nullptr};
  const Product out[] = {{&head, logits.data(), c.vocab, false}};
  project(
      wanted_.size(), c.d_model, Forms(head.matrix),
      [&](size_t t, float* scratch) -> const float* {
        tensor::rms_norm(x_ + wanted_[t] * c.d_model, weights_.output_norm(), c.rms_eps, scratch, c.d_model);
        return scratch;
      },
      out);
}

void Transformer::forward(std::span<const SequenceChunk> chunks, std::span<float> logits) {
  size_t tokens = 0;
  for (const SequenceChunk& chunk : chunks) tokens += chunk.tokens.size();
  FATHOM_CHECK(tokens > 0 && tokens <= kChunk);
  attention_.begin(chunks);
  embed(chunks);
  for (size_t t = 0; t < tokens; ++t)
    tensor::rope_angles(attention_.position(t), config_.rope.dims, config_.rope.base, config_.rope.scale,
                        weights_.rope_factors(), angles_ + t * config_.rope.dims);
  for (size_t l = 0; l < config_.layers; ++l) {
    attention(l, tokens);
    feed_forward(weights_.layer(l), tokens);
  }
  for (const SequenceChunk& chunk : chunks) chunk.kv->extend(chunk.tokens);
  output(chunks, logits);
}

void Transformer::forward(KvSequence& kv, std::span<const int32_t> tokens, SequenceChunk::Logits wanted,
                          std::span<float> logits) {
  const SequenceChunk chunk{&kv, tokens, wanted};
  forward(std::span(&chunk, 1), logits);
}

}  // namespace fathom::infer
