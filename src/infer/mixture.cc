#include "infer/mixture.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "tensor/ops.h"

namespace fathom::infer {

using tensor::kGroupRows;

namespace {

/// Tasks for each thread, so that threads finish together although experts have different numbers of tokens.
constexpr size_t kTasksPerThread = 8;

/// Groups of gate and up that are multiplied before they meet.
constexpr size_t kUpGroups = 16;

/// What up gives for them, of one expert: of a token once at most.
constexpr size_t up_floats(size_t max_tokens) { return max_tokens * kUpGroups * kGroupRows; }

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

GateFunction gate_function(model::Activation activation) {
  return activation == model::Activation::kGelu ? tensor::gelu_mul : tensor::silu_mul;
}

Mixture::Mixture(const model::ModelConfig& config, size_t max_tokens, ThreadPool& pool)
    : config_(config),
      max_tokens_(max_tokens),
      pool_(pool),
      gate_function_(gate_function(config.activation)) {
  if (config.dense()) return;
  const model::ExpertsConfig& e = config.experts;
  const size_t rows = max_tokens * e.used;
  for (auto* part : {&chosen_, &row_, &token_}) part->resize(rows);
  share_.resize(rows);
  first_.resize(e.count);
  count_.resize(e.count);
  active_.reserve(e.count);
  tasks_.reserve(e.count + kTasksPerThread * pool.size() * 2);
  const size_t widest = std::max(config.d_model, e.ffn);
  for (size_t t = 0; t < pool.size(); ++t) own_.push_back(std::make_unique<Activations>(e.used, widest));
  in_ = std::make_unique<Activations>(rows, config.d_model);
  mid_ = std::make_unique<Activations>(rows, e.ffn);
  // Of many tokens, what down gives has the place of what it was given; of one, whose threads do not wait for each other
  // there, the place of up.
  const size_t up = std::max(pool.size() * up_floats(max_tokens), e.used * config.d_model);
  const std::pair<float**, size_t> parts[] = {
      {&logits_, max_tokens * e.count}, {&gate_, rows * widest}, {&up_, up}};
  size_t total = 0;
  for (const auto& [part, size] : parts) total += round_up(size, kGroupRows);
  memory_ = tensor::Buffer(total * sizeof(float));
  float* next = memory_.as<float>();
  for (const auto& [part, size] : parts) {
    *part = next;
    next += round_up(size, kGroupRows);
  }
}

Mixture::~Mixture() = default;

/// The experts with the largest logits, of equal ones the first; their weights are softmax over all experts, or over those
/// chosen where they are made to add up to 1.
void Mixture::route(size_t token) {
  const model::ExpertsConfig& e = config_.experts;
  float* logits = logits_ + token * e.count;
  if (e.router_softcap != 0) tensor::softcap(logits, e.router_softcap, e.count);
  const float most = *std::max_element(logits, logits + e.count);
  float all = 0;
  for (size_t i = 0; i < e.count; ++i) all += std::exp(logits[i] - most);
  uint32_t* chosen = chosen_.data() + token * e.used;
  float* share = share_.data() + token * e.used;
  float sum = 0;
  for (size_t k = 0; k < e.used; ++k) {
    const auto best = static_cast<uint32_t>(std::max_element(logits, logits + e.count) - logits);
    chosen[k] = best;
    share[k] = std::exp(logits[best] - most);
    sum += share[k];
    logits[best] = -INFINITY;
  }
  for (size_t k = 0; k < e.used; ++k) share[k] = share[k] / (e.normalise ? sum : all) * e.weight_scale;
}

/// Gives each expert a range of rows, for its tokens in their order.
void Mixture::group(size_t tokens) {
  const model::ExpertsConfig& e = config_.experts;
  std::fill(count_.begin(), count_.end(), 0);
  for (size_t i = 0; i < tokens * e.used; ++i) ++count_[chosen_[i]];
  active_.clear();
  size_t next = 0;
  for (uint32_t i = 0; i < e.count; ++i) {
    first_[i] = next;
    next += count_[i];
    if (count_[i] != 0) active_.push_back(i);
  }
  std::fill(count_.begin(), count_.end(), 0);
  for (size_t i = 0; i < tokens * e.used; ++i) {
    const uint32_t expert = chosen_[i];
    row_[i] = static_cast<uint32_t>(first_[expert] + count_[expert]++);
    token_[row_[i]] = static_cast<uint32_t>(i / e.used);
  }
}

/// Tasks over matrices of so many groups, one such matrix (or pair) for each active expert.
void Mixture::split(size_t groups) {
  const size_t wanted = kTasksPerThread * pool_.size();
  const size_t parts = std::clamp<size_t>(wanted / active_.size(), 1, groups);
  tasks_.clear();
  for (const uint32_t expert : active_)
    for (size_t p = 0; p < parts; ++p)
      tasks_.push_back({expert, groups * p / parts, groups * (p + 1) / parts});
}

template <class Body>
void Mixture::drain(Body body) {
  std::atomic<size_t> next{0};
  pool_.run([&](size_t thread) {
    body.begin(thread);
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks_.size();)
      body.task(thread, tasks_[i]);
  });
}

void Mixture::expand(size_t thread, const GatedWeights& w, const Activations& in, Activations::Range from,
                     const Task& task) {
  const size_t ffn = config_.experts.ffn;
  float* out = gate_ + first_[task.expert] * ffn;
  float* up = up_ + thread * up_floats(max_tokens_);
  for (size_t g = task.group_begin; g < task.group_end; g += kUpGroups) {
    const size_t end = std::min(g + kUpGroups, task.group_end);
    const size_t begin = g * kGroupRows;
    const size_t n = std::min(end * kGroupRows, ffn) - begin;
    in.multiply(from, w.gate.matrix, g, end, {out, ffn, false});
    in.multiply(from, w.up.matrix.from_group(g), 0, end - g, {up, n, false});
    for (size_t r = 0; r < from.count; ++r) {
      float* gate = out + r * ffn + begin;
      gate_function_(gate, up + r * n, gate, n);
    }
  }
}

void Mixture::contract(const GatedWeights& w, const Activations& in, Activations::Range from,
                       const Task& task) {
  in.multiply(from, w.down.matrix, task.group_begin, task.group_end,
              {out_ + first_[task.expert] * config_.d_model, config_.d_model, false});
}

namespace {

template <class Begin, class Each>
struct Work {
  Begin begin;
  Each task;
};
template <class Begin, class Each>
Work(Begin, Each) -> Work<Begin, Each>;

Forms forms_of(const LayerWeights& w, bool down) {
  Forms forms;
  for (const GatedWeights& e : w.experts) {
    if (down) {
      forms.add(tensor::activation_form(e.down.matrix.dtype));
    } else {
      forms.add(tensor::activation_form(e.gate.matrix.dtype));
      forms.add(tensor::activation_form(e.up.matrix.dtype));
    }
  }
  return forms;
}

}  // namespace

/// One token: each thread prepares the rows for itself, which is cheaper than waiting for each other.
void Mixture::compute_one(const LayerWeights& w, const float* h) {
  const size_t ffn = config_.experts.ffn;
  split(w.experts[0].gate.matrix.groups());
  const Forms up = forms_of(w, false);
  drain(Work{[&](size_t thread) {
               own_[thread]->begin(config_.d_model, up);
               own_[thread]->set_row({0, 1}, 0, h);
             },
             [&](size_t thread, const Task& task) {
               expand(thread, w.experts[task.expert], *own_[thread], {0, 1}, task);
             }});
  split(w.experts[0].down.matrix.groups());
  const Forms down = forms_of(w, true);
  drain(Work{[&](size_t thread) {
               own_[thread]->begin(ffn, down);
               for (const uint32_t e : active_) own_[thread]->set_row(range(e), 0, gate_ + first_[e] * ffn);
             },
             [&](size_t thread, const Task& task) {
               contract(w.experts[task.expert], *own_[thread], range(task.expert), task);
             }});
}

void Mixture::compute_many(const LayerWeights& w, size_t tokens, const float* h) {
  const size_t ffn = config_.experts.ffn;
  const size_t rows = tokens * config_.experts.used;
  const auto fill = [&](Activations& to, size_t cols, Forms forms, auto source) {
    to.begin(cols, forms);
    pool_.parallel_for(rows, 1, [&](size_t begin, size_t end) {
      for (const uint32_t e : active_)
        for (size_t r = std::max(begin, first_[e]); r < std::min(end, first_[e] + count_[e]); ++r)
          to.set_row(range(e), r - first_[e], source(r));
    });
  };
  const auto nothing = [](size_t) {};
  fill(*in_, config_.d_model, forms_of(w, false), [&](size_t r) { return h + token_[r] * config_.d_model; });
  split(w.experts[0].gate.matrix.groups());
  drain(Work{nothing, [&](size_t thread, const Task& task) {
               expand(thread, w.experts[task.expert], *in_, range(task.expert), task);
             }});
  fill(*mid_, ffn, forms_of(w, true), [&](size_t r) { return gate_ + r * ffn; });
  split(w.experts[0].down.matrix.groups());
  drain(Work{nothing, [&](size_t, const Task& task) {
               contract(w.experts[task.expert], *mid_, range(task.expert), task);
             }});
}

void Mixture::compute(const LayerWeights& w, size_t tokens, const float* h) {
  FATHOM_CHECK(w.experts.size() == config_.experts.count);
  if (tokens == 1)
    route(0);
  else
    pool_.parallel_for(tokens, 1, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) route(t);
    });
  group(tokens);
  out_ = tokens == 1 ? up_ : gate_;
  if (tokens == 1)
    compute_one(w, h);
  else
    compute_many(w, tokens, h);
}

void Mixture::add_to(size_t token, float* y) const {
  const size_t used = config_.experts.used;
  for (size_t k = token * used; k < (token + 1) * used; ++k)
    tensor::add_scaled(y, out_ + row_[k] * config_.d_model, share_[k], config_.d_model);
}

}  // namespace fathom::infer
