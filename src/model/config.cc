#include "model/config.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "model/config_bounds.h"

namespace fathom::model {
namespace {

[[noreturn]] void invalid(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("the description of the model is not sound: {}", what));
}

void require_within(std::string_view field, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most)
    invalid(fmt::format("'{}' is {}, not within {} to {}", field, value, least, most));
}

void require_positive(std::string_view field, float value) {
  if (!std::isfinite(value) || value <= 0)
    invalid(fmt::format("'{}' is {}, not a positive number", field, value));
}

/// Zero stands for "none" or "the usual".
void require_none_or_positive(std::string_view field, float value) {
  if (value != 0) require_positive(field, value);
}

void check_sizes(const ModelConfig& c) {
  require_within("layers", c.layers, 1, bounds::kMaxLayers);
  require_within("d_model", c.d_model, 1, bounds::kMaxWidth);
  require_within("heads", c.heads, 1, bounds::kMaxWidth);
  require_within("kv_heads", c.kv_heads, 1, c.heads);
  require_within("head_dim", c.head_dim, 1, bounds::kMaxWidth);
  require_within("vocab", c.vocab, 1, bounds::kMaxVocab);
  require_within("context", c.context, 1, bounds::kMaxContext);
  if (c.heads % c.kv_heads != 0)
    invalid(fmt::format("{} attention heads cannot share {} key heads evenly", c.heads, c.kv_heads));
  if (c.q_dim() > bounds::kMaxWidth)
    invalid(fmt::format("{} heads of {} are too wide to be true", c.heads, c.head_dim));
  const bool some_dense = c.has_dense_ffn() || c.experts.leading_dense != 0 || c.experts.period > 1;
  if (some_dense) require_within("ffn", c.ffn, 1, bounds::kMaxWidth);
  require_within("learned_positions", c.learned_positions, 0, bounds::kMaxContext);
  if (!c.gated_ffn && c.layout.fused_gate_up)
    invalid("there is no gate, but a matrix of gate and up together");
}

void check_latent(const ModelConfig& c) {
  const LatentAttention& a = c.latent;
  if (a.kv_rank == 0) {
    if (a.q_rank != 0 || a.nope_dim != 0 || a.rope_dim != 0 || a.value_dim != 0)
      invalid("sizes of latent attention are given, but 'latent.kv_rank' is 0");
    return;
  }
  require_within("latent.kv_rank", a.kv_rank, 1, bounds::kMaxWidth);
  require_within("latent.q_rank", a.q_rank, 0, bounds::kMaxWidth);
  require_within("latent.nope_dim", a.nope_dim, 1, bounds::kMaxWidth);
  require_within("latent.rope_dim", a.rope_dim, 2, bounds::kMaxWidth);
  require_within("latent.value_dim", a.value_dim, 1, bounds::kMaxWidth);
  if (c.head_dim != a.nope_dim + a.rope_dim)
    invalid(fmt::format("'head_dim' is {}, but the heads of latent attention have {} + {}", c.head_dim,
                        a.nope_dim, a.rope_dim));
  if (c.kv_heads != c.heads)
    invalid(fmt::format("'kv_heads' is {}, but latent attention has a key for each of {} heads", c.kv_heads,
                        c.heads));
  if (c.heads * (a.nope_dim + a.value_dim) > bounds::kMaxWidth)
    invalid(fmt::format("{} heads of {} are too wide to be true", c.heads, a.nope_dim + a.value_dim));
  if (c.qk_norm || c.layout.fused_qkv)
    invalid("latent attention has neither norms for each head nor one matrix for queries, keys and values");
}

void check_rope(std::string_view field, const RopeConfig& rope, const ModelConfig& c) {
  const auto name = [&](std::string_view part) { return fmt::format("{}.{}", field, part); };
  require_within(name("dims"), rope.dims, 2, c.head_dim);
  if (rope.dims % 2 != 0) invalid(fmt::format("'{}' is {}, which is odd", name("dims"), rope.dims));
  require_positive(name("base"), rope.base);
  require_positive(name("scale"), rope.scale);
  require_positive(name("attention_factor"), rope.attention_factor);
  if (rope.scaling == RopeScaling::kNone && rope.scale != 1.0f)
    invalid(fmt::format("'{}' is {}, but there is no scaling", name("scale"), rope.scale));
  const bool reaches = rope.scaling == RopeScaling::kLlama3 || rope.scaling == RopeScaling::kYarn ||
                       rope.scaling == RopeScaling::kLongRope;
  if (reaches) require_within(name("original_context"), rope.original_context, 1, bounds::kMaxContext);
  if (rope.scaling == RopeScaling::kLlama3) {
    require_positive(name("low_frequency_factor"), rope.low_frequency_factor);
    if (!std::isfinite(rope.high_frequency_factor) || rope.high_frequency_factor <= rope.low_frequency_factor)
      invalid(fmt::format("'{}' is {}, not above {}", name("high_frequency_factor"),
                          rope.high_frequency_factor, rope.low_frequency_factor));
  }
  if (rope.scaling == RopeScaling::kYarn) {
    require_positive(name("beta_fast"), rope.beta_fast);
    require_positive(name("beta_slow"), rope.beta_slow);
    if (!(rope.extrapolation >= 0 && rope.extrapolation <= 1))
      invalid(fmt::format("'{}' is {}, not within 0 to 1", name("extrapolation"), rope.extrapolation));
    if (rope.base <= 1)
      invalid(fmt::format("'{}' is {}, but yarn needs more than 1", name("base"), rope.base));
  }
}

void check_experts(const ModelConfig& c) {
  const ExpertsConfig& e = c.experts;
  if (e.count == 0) {
    if (e.beside != BesideExperts::kNothing)
      invalid("there is a feed-forward beside experts, but no experts");
    if (e.shared != 0 || e.leading_dense != 0 || e.period != 1)
      invalid("layers with and without experts are told apart, but there are no experts");
    return;
  }
  require_within("experts.count", e.count, 1, bounds::kMaxExperts);
  require_within("experts.used", e.used, 1, e.count);
  require_within("experts.ffn", e.ffn, 1, bounds::kMaxWidth);
  require_positive("experts.weight_scale", e.weight_scale);
  require_none_or_positive("experts.router_softcap", e.router_softcap);
  require_positive("experts.beside_scale", e.beside_scale);
  require_within("experts.leading_dense", e.leading_dense, 0, c.layers - 1);
  require_within("experts.period", e.period, 1, c.layers - e.leading_dense);
  require_within("experts.shared", e.shared, 0, bounds::kMaxExperts);
  require_within("experts.shared * ffn", e.shared * e.ffn, 0, bounds::kMaxWidth);
  if (e.shared != 0 && e.beside != BesideExperts::kNothing)
    invalid("there are shared experts and another feed-forward beside the experts");
  if (c.ffn_bias && c.layout.single_experts) invalid("experts in tensors of their own have no biases");
}

void check_window(const ModelConfig& c) {
  if (c.sliding_window == 0) {
    if (!c.window_layers.empty()) invalid("'window_layers' marks layers, but 'sliding_window' is 0");
    return;
  }
  require_within("sliding_window", c.sliding_window, 1, bounds::kMaxContext);
  if (c.window_layers.size() != c.layers)
    invalid(fmt::format("'window_layers' has {} entries for {} layers", c.window_layers.size(), c.layers));
  if (c.window_rope.dims != 0) check_rope("window_rope", c.window_rope, c);
}

/// Every count of weights, operations and bytes stays far below 2^64.
void check_total(const ModelConfig& c) {
  constexpr double kMost = 1e17;
  const auto of = [](size_t n) { return static_cast<double>(n); };
  const double latent = of(c.latent.q_rank + c.latent.kv_rank) * of(c.d_model + c.q_dim()) +
                        of(c.heads * c.latent.value_dim) * of(c.d_model + c.latent.kv_rank);
  const double attention = of(c.d_model) * 2 * (of(c.q_dim()) + of(c.kv_dim())) + latent;
  const double feed_forward =
      3 * of(c.d_model) * (of(c.ffn) + of(c.experts.count + c.experts.shared) * of(c.experts.ffn));
  const double tables = of(c.d_model) * (2 * of(c.vocab) + of(c.learned_positions));
  const double total = of(c.layers) * (attention + feed_forward) + tables;
  if (total > kMost) invalid(fmt::format("{:.3g} weights are too many to be true", total));
}

}  // namespace

void ModelConfig::check() const {
  check_sizes(*this);
  require_positive("rms_eps", rms_eps);
  require_positive("embedding_scale", embedding_scale);
  require_positive("logit_scale", logit_scale);
  require_none_or_positive("attention_scale", attention_scale);
  require_none_or_positive("attention_softcap", attention_softcap);
  require_none_or_positive("final_softcap", final_softcap);
  // log2(1) is 0: nothing can be divided by it.
  if (attention_temperature_length != 0)
    require_within("attention_temperature_length", attention_temperature_length, 2, bounds::kMaxContext);
  // Positions that are learned leave nothing to turn.
  if (learned_positions == 0 || rope.dims != 0) check_rope("rope", rope, *this);
  check_latent(*this);
  check_window(*this);
  check_experts(*this);
  check_total(*this);
}

std::string ModelConfig::runs_not() const {
  if (layer_norm) return "LayerNorm";
  if (!gated_ffn) return "a feed-forward without a gate";
  if (activation == Activation::kSquaredRelu) return "squared ReLU";
  if (learned_positions != 0) return "learned positions";
  if (attention_sinks) return "attention sinks";
  if (latent.kv_rank != 0) return "latent attention";
  if (experts.shared != 0) return "shared experts";
  if (experts.router_bias || experts.selection_bias) return "a router with a bias";
  if (!dense() && ffn_bias) return "experts with biases";
  if (experts.leading_dense != 0 || experts.period != 1)
    return "layers without experts among layers with them";
  return "";
}

float ModelConfig::score_scale() const {
  return attention_scale != 0 ? attention_scale : 1.0f / std::sqrt(static_cast<float>(head_dim));
}

void ModelConfig::set_window_period(size_t period) {
  window_layers.assign(layers, true);
  if (period == 0) return;
  for (size_t l = period - 1; l < layers; l += period) window_layers[l] = false;
}

std::vector<float> llama3_rope_factors(const RopeConfig& rope) {
  std::vector<float> factors(rope.dims / 2, 1.0f);
  const double context = static_cast<double>(rope.original_context);
  const double low = static_cast<double>(rope.low_frequency_factor);
  const double high = static_cast<double>(rope.high_frequency_factor);
  const double scale = static_cast<double>(rope.scale);
  for (size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(static_cast<double>(rope.base),
                                      -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims));
    const double turns = context * frequency / (2 * std::numbers::pi);  // within the original context
    if (turns > high) continue;
    const double smooth = turns < low ? 0.0 : (turns - low) / (high - low);
    factors[i] = static_cast<float>(1.0 / ((1.0 - smooth) / scale + smooth));
  }
  return factors;
}

}  // namespace fathom::model
