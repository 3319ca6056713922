#include "infer/transformer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"

namespace fathom::infer {

using model::BesideExperts;
using tensor::kGroupRows;

namespace {

/// Rows of the embedding, with their angles, that are worth another wait of the threads for each other.
constexpr size_t kRowsWorthAWait = 16;

/// Weights of a piece of work: few enough for threads to finish together, enough for what a piece costs not to count.
constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr size_t kLeastPieceBytes = size_t{16} << 10;
/// Of many tokens, a piece has about as many groups as a panel of the kernel (tensor/panels-inl.h), and at least so many
/// that the activations are not read too often.
constexpr size_t kMostGroups = 16;
constexpr size_t kLeastGroups = 4;

constexpr auto same_row = [](size_t t) { return t; };

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float dot(const float* a, const float* b, size_t n) { return std::inner_product(a, a + n, b, 0.0f); }

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Adds a bias to the rows of groups [begin, end), the first of which is y[0].
void add_bias(const Linear& linear, float* y, size_t stride, size_t tokens, size_t begin, size_t end) {
  if (linear.bias == nullptr) return;
  const size_t first = begin * kGroupRows;
  const size_t last = std::min(end * kGroupRows, linear.matrix.rows);
  for (size_t t = 0; t < tokens; ++t) tensor::add(y + t * stride, linear.bias + first, last - first);
}

}  // namespace

struct Transformer::Team {
  Team(size_t widest, size_t piece)
      : activations(1, widest),
        memory((widest + piece) * sizeof(float)),
        row(memory.as<float>()),
        up(row + widest) {}

  Activations activations;  // of a single token, which each thread prepares for itself: cheaper than waiting
  tensor::Buffer memory;
  float* row;  // one row of the widest matrix
  float* up;   // what a piece of work gives before it is multiplied with act(gate)
};

Transformer::Transformer(const model::ModelConfig& config, const Weights& weights, size_t context,
                         ThreadPool& pool)
    : config_(config),
      weights_(weights),
      pool_(pool),
      shares_(pool.size()),
      shared_(kChunk, std::max({config.d_model, config.q_dim(), config.ffn})),
      attention_({config.heads, config.kv_heads, config.head_dim}, context, kChunk, pool),
      rope_(config, weights.rope_factors(), context),
      mixture_(config, kChunk, pool),
      gate_function_(gate_function(config.activation)) {
  const auto& c = config_;
  const size_t widest = round_up(std::max({c.d_model, c.q_dim(), c.ffn}), kGroupRows);
  const size_t piece = c.has_dense_ffn() ? std::max(kChunk * kMostGroups * kGroupRows, widest) : 0;
  for (size_t t = 0; t < pool_.size(); ++t) team_.push_back(std::make_unique<Team>(widest, piece));
  tokens_.reserve(kChunk);
  wanted_.reserve(kChunk);

  // What attention uses is done with when the feed-forward begins, and the other way round: they have the same memory.
  const size_t branch = c.post_norms || !c.dense() ? c.d_model : 0;
  const size_t attention = c.q_dim() * 2 + c.kv_dim() * 2;
  const std::pair<float**, size_t> parts[] = {{&x_, c.d_model},
                                              {&branch_, branch},
                                              {&normed_, c.dense() ? 0 : c.d_model},
                                              {&angles_, rope_.floats()},
                                              {&gate_, std::max(attention, c.ffn)}};
  size_t total = 0;
  for (const auto& [part, width] : parts) total += round_up(kChunk * width, kGroupRows);
  memory_ = tensor::Buffer(total * sizeof(float));
  float* next = memory_.as<float>();
  for (const auto& [part, width] : parts) {
    *part = next;
    next += round_up(kChunk * width, kGroupRows);
  }
  q_ = gate_;
  mixed_ = q_ + kChunk * c.q_dim();
  k_ = mixed_ + kChunk * c.q_dim();
  v_ = k_ + kChunk * c.kv_dim();
}

Transformer::~Transformer() = default;

template <class Row, class Body>
void Transformer::share(size_t tokens, Work work, Forms forms, Row row, Body body) {
  const size_t cols = work.first->cols;
  const auto groups_of = [&](size_t bytes) { return std::max<size_t>(1, bytes / work.first->group_bytes); };
  const size_t most = tokens == 1 ? groups_of(kPieceBytes) : std::min(groups_of(kPieceBytes), kMostGroups);
  const size_t least = std::min(most, tokens == 1 ? groups_of(kLeastPieceBytes) : kLeastGroups);
  shares_.begin(work.groups);
  const auto drain = [&](const Activations& a, size_t thread) {
    for (auto p = shares_.take(thread, least, most); !p.empty(); p = shares_.take(thread, least, most))
      body(a, *team_[thread], p.begin, p.end);
  };
  if (tokens == 1) {
    pool_.run([&](size_t thread) {
      Team& own = *team_[thread];
      own.activations.begin(1, cols, forms);
      own.activations.set_row(0, row(0, own.row));
      drain(own.activations, thread);
    });
    return;
  }
  shared_.begin(tokens, cols, forms);
  pool_.run([&](size_t thread) {
    const size_t end = tokens * (thread + 1) / pool_.size();
    for (size_t t = tokens * thread / pool_.size(); t < end; ++t)
      shared_.set_row(t, row(t, team_[thread]->row));
  });
  pool_.run([&](size_t thread) { drain(shared_, thread); });
}

template <class Row>
void Transformer::project(size_t tokens, Forms forms, Row row, std::span<const Product> products) {
  Work work{&products[0].linear->matrix, 0};
  for (const Product& p : products) work.groups += p.linear->matrix.groups();
  share(tokens, work, forms, row, [&](const Activations& a, Team&, size_t begin, size_t end) {
    size_t offset = 0;
    for (const Product& p : products) {
      const size_t groups = p.linear->matrix.groups();
      const size_t first = std::clamp(begin, offset, offset + groups) - offset;
      const size_t last = std::clamp(end, offset, offset + groups) - offset;
      offset += groups;
      if (first == last) continue;
      a.multiply(p.linear->matrix, first, last, {p.y, p.stride, p.add});
      add_bias(*p.linear, p.y + first * kGroupRows, p.stride, tokens, first, last);
    }
  });
}

template <class Row>
void Transformer::project_gated(size_t tokens, const GatedWeights& w, Row row) {
  const size_t ffn = config_.ffn;
  share(tokens, {&w.gate.matrix, w.gate.matrix.groups()}, Forms{&w.gate, &w.up}, row,
        [&](const Activations& a, Team& own, size_t begin, size_t end) {
          const size_t first = begin * kGroupRows;
          const size_t count = std::min(end * kGroupRows, ffn) - first;
          a.multiply(w.gate.matrix, begin, end, {gate_, ffn, false});
          a.multiply(w.up.matrix.from_group(begin), 0, end - begin, {own.up, count, false});
          add_bias(w.gate, gate_ + first, ffn, tokens, begin, end);
          add_bias(w.up, own.up, count, tokens, begin, end);
          for (size_t t = 0; t < tokens; ++t) {
            float* gate = gate_ + t * ffn + first;
            gate_function_(gate, own.up + t * count, gate, count);
          }
        });
}

void Transformer::join(const Pending& pending, size_t t) {
  const auto& c = config_;
  float* y = branch_ + t * c.d_model;
  if (const LayerWeights* w = pending.mixture) {
    if (c.experts.beside == BesideExperts::kNothing) std::fill_n(y, c.d_model, 0.0f);
    if (c.experts.beside == BesideExperts::kGatedDense)
      tensor::scale(y, sigmoid(dot(normed_ + t * c.d_model, w->ffn_scale, c.d_model)), c.d_model);
    mixture_.add_to(t, y);
    if (c.experts.beside == BesideExperts::kDense) tensor::scale(y, c.experts.beside_scale, c.d_model);
  }
  if (pending.norm != nullptr)
    tensor::add_rms_norm(x_ + t * c.d_model, y, pending.norm, c.rms_eps, c.d_model);
  else
    tensor::add(x_ + t * c.d_model, y, c.d_model);
}

/// The row of a single token is prepared by all threads at once, each for itself, so what is pending is added before;
/// among many, each row is prepared once, by whoever comes to it.
template <class At, class Body>
void Transformer::with_normed(size_t tokens, const float* weight, At at, Body body) {
  const size_t width = config_.d_model;
  const Pending pending = std::exchange(pending_, {});
  const bool now = pending.any() && tokens == 1;
  const bool later = pending.any() && tokens > 1;
  if (now) join(pending, at(0));
  body([&](size_t t, float* scratch) -> const float* {
    const size_t row = at(t);
    if (later) join(pending, row);
    tensor::rms_norm(x_ + row * width, weight, config_.rms_eps, scratch, width);
    return scratch;
  });
}

template <class Row>
void Transformer::project_branch(size_t tokens, const Linear& linear, const float* norm, Row row) {
  const Product out[] = {{&linear, norm != nullptr ? branch_ : x_, config_.d_model, norm == nullptr}};
  project(tokens, Forms{&linear}, row, out);
  pending_.norm = norm;
}

void Transformer::begin(std::span<const SequenceChunk> chunks, size_t tokens) {
  tokens_.clear();
  for (const SequenceChunk& chunk : chunks)
    tokens_.insert(tokens_.end(), chunk.tokens.begin(), chunk.tokens.end());
  attention_.begin(chunks);
  pending_ = {};
  pool_.parallel_for(tokens, kRowsWorthAWait, [&](size_t first, size_t last) {
    for (size_t t = first; t < last; ++t) {
      float* x = x_ + t * config_.d_model;
      tensor::unpack_row(weights_.embedding(), static_cast<size_t>(tokens_[t]), x);
      if (config_.embedding_scale != 1.0f) tensor::scale(x, config_.embedding_scale, config_.d_model);
      rope_.angles(attention_.position(t), angles_ + t * rope_.floats());
    }
  });
}

void Transformer::turn_and_store_row(size_t layer, size_t t) {
  const auto& c = config_;
  const LayerWeights& w = weights_.layer(layer);
  float* q = q_ + t * c.q_dim();
  float* k = k_ + t * c.kv_dim();
  if (c.qk_norm) {
    for (size_t h = 0; h < c.q_dim(); h += c.head_dim)
      tensor::rms_norm(q + h, w.q_norm, c.rms_eps, q + h, c.head_dim);
    for (size_t h = 0; h < c.kv_dim(); h += c.head_dim)
      tensor::rms_norm(k + h, w.k_norm, c.rms_eps, k + h, c.head_dim);
  }
  const float* angles = angles_ + t * rope_.floats();
  rope_.turn(layer, angles, q, c.heads);
  rope_.turn(layer, angles, k, c.kv_heads);
  const size_t sharpen = c.attention_temperature_length;
  const size_t position = attention_.position(t);
  if (sharpen != 0 && position > sharpen)
    tensor::scale(q, std::log2(static_cast<float>(position)) / std::log2(static_cast<float>(sharpen)),
                  c.q_dim());
  attention_.store(layer, t, k, v_ + t * c.kv_dim());
}

void Transformer::turn_and_store(size_t layer, size_t tokens) {
  if (tokens == 1) return turn_and_store_row(layer, 0);  // shorter than a wait
  pool_.parallel_for(tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) turn_and_store_row(layer, t);
  });
}

void Transformer::attention(size_t layer, size_t tokens) {
  const auto& c = config_;
  const LayerWeights& w = weights_.layer(layer);
  const Product in[] = {
      {&w.q, q_, c.q_dim(), false}, {&w.k, k_, c.kv_dim(), false}, {&w.v, v_, c.kv_dim(), false}};
  with_normed(tokens, w.attention_norm, same_row, [&](auto row) {
    project(tokens, Forms{&w.q, &w.k, &w.v}, row, in);
  });
  turn_and_store(layer, tokens);
  attention_.attend(layer, {c.score_scale(), c.attention_softcap, c.window(layer)}, q_, mixed_);
  project_branch(tokens, w.o, w.attention_post_norm,
                 [&](size_t t, float*) { return mixed_ + t * c.q_dim(); });
}

void Transformer::feed_forward(const LayerWeights& w, size_t tokens) {
  if (!config_.dense()) return mixture(w, tokens);
  with_normed(tokens, w.ffn_norm, same_row, [&](auto row) { project_gated(tokens, w.ffn, row); });
  project_branch(tokens, w.ffn.down, w.ffn_post_norm,
                 [&](size_t t, float*) { return gate_ + t * config_.ffn; });
}

void Transformer::mixture(const LayerWeights& w, size_t tokens) {
  const auto& c = config_;
  const auto kept = [&](size_t t, float*) -> const float* { return normed_ + t * c.d_model; };
  const Product router[] = {{&w.router, mixture_.router_logits(), c.experts.count, false}};
  with_normed(tokens, w.ffn_norm, same_row, [&](auto row) {
    const auto keep = [&](size_t t) { row(t, normed_ + t * c.d_model); };
    if (tokens == 1) keep(0);
    project(
        tokens, Forms{&w.router},
        [&](size_t t, float*) -> const float* {
          if (tokens > 1) keep(t);
          return normed_ + t * c.d_model;
        },
        router);
  });
  mixture_.compute(w, tokens, normed_);
  if (c.has_dense_ffn()) {
    project_gated(tokens, w.ffn, kept);
    const Product out[] = {{&w.ffn.down, branch_, c.d_model, false}};
    project(
        tokens, Forms{&w.ffn.down}, [&](size_t t, float*) { return gate_ + t * c.ffn; }, out);
  }
  pending_ = {w.ffn_post_norm, &w};
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
  const tensor::PackedMatrix& head = weights_.output();
  const auto finish = [&](const Activations& a, Team&, size_t begin, size_t end) {
    a.multiply(head, begin, end, {logits.data(), c.vocab, false});
    if (c.logit_scale == 1.0f && c.final_softcap == 0.0f) return;
    const size_t first = begin * kGroupRows;
    const size_t count = std::min(end * kGroupRows, c.vocab) - first;
    for (size_t t = 0; t < wanted_.size(); ++t) {
      float* y = logits.data() + t * c.vocab + first;
      if (c.logit_scale != 1.0f) tensor::scale(y, c.logit_scale, count);
      if (c.final_softcap != 0.0f) tensor::softcap(y, c.final_softcap, count);
    }
  };
  with_normed(
      wanted_.size(), weights_.output_norm(), [&](size_t t) { return wanted_[t]; },
      [&](auto normed) {
        share(wanted_.size(), {&head, head.groups()}, Forms(head), normed, finish);
      });
}

void Transformer::forward(std::span<const SequenceChunk> chunks, std::span<float> logits) {
  size_t tokens = 0;
  for (const SequenceChunk& chunk : chunks) tokens += chunk.tokens.size();
  FATHOM_CHECK(tokens > 0 && tokens <= kChunk);
  begin(chunks, tokens);
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
