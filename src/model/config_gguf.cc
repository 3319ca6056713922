// ModelConfig::from_gguf: the keys of each architecture (docs/gguf.md of ggml, and llama.cpp's reading of what that leaves
// open: defaults, orders of operations).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "model/config.h"
#include "model/config_bounds.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

[[noreturn]] void corrupt(const GgufFile& file, const std::string& what) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("in '{}', {}; download or convert it again", file.name(), what));
}

[[noreturn]] void unsupported(const GgufFile& file, const std::string& what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("'{}' {}, which this build does not run", file.name(), what));
}

/// Reads the keys of one architecture, each within its bounds.
class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", prefix_, suffix); }
  bool has(std::string_view suffix) const { return file_.has(key(suffix)); }

  size_t count(std::string_view suffix, uint64_t most) const {
    const auto value = number(suffix);
    return within(suffix, value ? *value : file_.get_uint(key(suffix)), most);
  }

  size_t count_or(std::string_view suffix, uint64_t otherwise, uint64_t most) const {
    return within(suffix, number(suffix).value_or(otherwise), most);
  }

  /// Zero where the key is absent or says so.
  size_t count_or_none(std::string_view suffix, uint64_t most) const {
    const auto value = number(suffix);
    return value && *value != 0 ? within(suffix, *value, most) : 0;
  }

  float positive(std::string_view suffix) const { return positive(suffix, file_.get_float(key(suffix))); }

  float positive_or(std::string_view suffix, double otherwise) const {
    return positive(suffix, file_.find_float(key(suffix)).value_or(otherwise));
  }

  /// Zero stands for "none".
  float cap_or(std::string_view suffix, double otherwise) const {
    const double value = file_.find_float(key(suffix)).value_or(otherwise);
    return value == 0 ? 0.0f : positive(suffix, value);
  }

  std::string_view text_or(std::string_view suffix, std::string_view otherwise) const {
    return file_.find_string(key(suffix)).value_or(otherwise);
  }

  bool flag_or(std::string_view suffix, bool otherwise) const {
    return file_.find_bool(key(suffix)).value_or(otherwise);
  }

  /// One flag a layer, where the key is an array of that many.
  std::optional<std::vector<bool>> flags(std::string_view suffix, size_t layers) const {
    const auto found = file_.metadata().find(key(suffix));
    if (found == file_.metadata().end() || found->second.type != GgufType::kArray) return std::nullopt;
    const GgufEntry& entry = found->second;
    if (entry.element != GgufType::kBool || entry.count < layers)
      corrupt(file_, fmt::format("the metadata key '{}' is not one flag for each of {} layers", key(suffix),
                                 layers));
    std::vector<bool> out;
    for (size_t i = 0; i < layers; ++i) out.push_back(entry.bytes[i] != std::byte{0});
    return out;
  }

 private:
  /// An array (of one value a layer) counts as its value where all are the same.
  std::optional<uint64_t> number(std::string_view suffix) const {
    const auto found = file_.metadata().find(key(suffix));
    if (found == file_.metadata().end()) return std::nullopt;
    if (found->second.type != GgufType::kArray) return file_.find_uint(key(suffix));
    const auto values = *file_.find_ints(key(suffix));
    const bool same = std::equal(values.begin() + !values.empty(), values.end(), values.begin());
    if (values.empty() || !same || values[0] < 0)
      unsupported(file_, fmt::format("has layers of different sizes ('{}')", key(suffix)));
    return static_cast<uint64_t>(values[0]);
  }

  size_t within(std::string_view suffix, uint64_t value, uint64_t most) const {
    if (value < 1 || value > most)
      corrupt(file_,
              fmt::format("the metadata key '{}' is {}, not within 1 to {}", key(suffix), value, most));
    return static_cast<size_t>(value);
  }

  float positive(std::string_view suffix, double value) const {
    const auto narrow = static_cast<float>(value);
    if (!std::isfinite(narrow) || narrow <= 0)
      corrupt(file_, fmt::format("the metadata key '{}' is {}, not a positive number", key(suffix), value));
    return narrow;
  }

  const GgufFile& file_;
  std::string prefix_;
};

// ------------------------------------------------------------------ what all architectures have

void read_heads(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  config.heads = keys.count("attention.head_count", bounds::kMaxWidth);
  config.kv_heads = keys.count_or("attention.head_count_kv", config.heads, config.heads);
  if (config.heads % config.kv_heads != 0)
    corrupt(file, fmt::format("{} attention heads cannot share {} key heads evenly", config.heads,
                              config.kv_heads));
  if (!keys.has("attention.key_length") && config.d_model % config.heads != 0)
    corrupt(file, fmt::format("a width of {} does not divide into {} heads", config.d_model, config.heads));
  config.head_dim = keys.count_or("attention.key_length", config.d_model / config.heads, bounds::kMaxWidth);
  const size_t value_dim = keys.count_or("attention.value_length", config.head_dim, bounds::kMaxWidth);
  if (value_dim != config.head_dim) unsupported(file, "has keys and values of different widths");
  if (config.q_dim() > bounds::kMaxWidth)
    corrupt(file, fmt::format("{} heads of {} are too wide to be true", config.heads, config.head_dim));
}

/// YaRN scales queries and keys by 0.1 ln(s) + 1 (Peng et al., 2023, equation 22), and by what the file says.
float yarn_attention_factor(const RopeConfig& rope, float said) {
  if (rope.extrapolation == 0 || rope.scale <= 1) return said;
  return said * (0.1f * std::log(rope.scale) + 1.0f);
}

void read_rope_scaling(const GgufFile& file, const Keys& keys, const ModelConfig& config, RopeConfig& rope) {
  const auto type = keys.text_or("rope.scaling.type", "linear");
  const float factor = keys.positive_or("rope.scaling.factor", keys.positive_or("rope.scale_linear", 1.0));
  rope.original_context =
      keys.count_or("rope.scaling.original_context_length", config.context, bounds::kMaxContext);
  rope.attention_factor = keys.positive_or("rope.scaling.attn_factor", 1.0);
  if (file.find_tensor("rope_factors_long.weight") != nullptr && type != "yarn") {
    rope.scaling = RopeScaling::kLongRope;  // files of Phi-3 have the tables and no type
  } else if (type == "linear") {
    rope.scale = factor;
    if (factor != 1.0f) rope.scaling = RopeScaling::kLinear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.scale = factor;
    rope.extrapolation = keys.cap_or("rope.scaling.yarn_ext_factor", 1.0);
    rope.beta_fast =
        keys.positive_or("rope.scaling.yarn_beta_fast", config.architecture == "grok" ? 8.0 : 32.0);
    rope.beta_slow = keys.positive_or("rope.scaling.yarn_beta_slow", 1.0);
    rope.attention_factor = yarn_attention_factor(rope, rope.attention_factor);
  } else if (type != "none") {
    unsupported(file, fmt::format("scales its rotary positions by '{}'", shown(type)));
  }
}

RopeConfig read_rope(const GgufFile& file, const Keys& keys, const ModelConfig& config) {
  RopeConfig rope;
  rope.dims = keys.count_or("rope.dimension_count", config.head_dim, config.head_dim);
  if (rope.dims % 2 != 0)
    corrupt(file, fmt::format("the metadata key '{}' is {}, which is odd", keys.key("rope.dimension_count"),
                              rope.dims));
  rope.base = keys.positive_or("rope.freq_base", 10000.0);
  rope.pairing = RopePairing::kHalves;
  rope.frequency_factors = file.find_tensor("rope_freqs.weight") != nullptr;
  read_rope_scaling(file, keys, config, rope);
  return rope;
}

size_t read_vocab(const GgufFile& file, const Keys& keys) {
  const auto tokens = file.metadata().find("tokenizer.ggml.tokens");
  const uint64_t listed = tokens == file.metadata().end() ? 0 : tokens->second.count;
  return keys.count_or("vocab_size", listed, bounds::kMaxVocab);
}

/// What can be seen from which tensors there are.
void read_layout(const GgufFile& file, ModelConfig& config) {
  const auto there = [&](std::string_view name) { return file.find_tensor(name) != nullptr; };
  config.tied_output = !there("output.weight");
  config.layout.fused_qkv = there("blk.0.attn_qkv.weight");
  config.layout.single_experts = there("blk.0.ffn_gate.0.weight");
  config.attention_bias = there("blk.0.attn_q.bias") || there("blk.0.attn_qkv.bias");
  config.attention_output_bias = there("blk.0.attn_output.bias");
  config.ffn_bias = there("blk.0.ffn_gate.bias");
}

void read_experts(const Keys& keys, ModelConfig& config) {
  ExpertsConfig& e = config.experts;
  e.count = keys.count_or_none("expert_count", bounds::kMaxExperts);
  if (e.count == 0) return;
  e.used = keys.count("expert_used_count", e.count);
  e.ffn = keys.count_or("expert_feed_forward_length", config.ffn, bounds::kMaxWidth);
  e.normalise = keys.flag_or("expert_weights_norm", true);
  // Zero, as some writers have it, is no scale at all.
  const float scale = keys.cap_or("expert_weights_scale", 1.0);
  e.weight_scale = scale == 0 ? 1.0f : scale;
}

void require_experts(const GgufFile& file, const Keys& keys, const ModelConfig& config) {
  if (config.dense())
    corrupt(file, fmt::format("'{}' is not there or 0, but a {} model has experts", keys.key("expert_count"),
                              config.architecture));
}

void require_dense(const GgufFile& file, const ModelConfig& config) {
  if (!config.dense())
    unsupported(file, fmt::format("is a mixture of experts of the architecture '{}'", config.architecture));
}

/// Files of models whose experts are narrower say how wide; older ones leave it to be ffn / used.
void narrow_experts(const Keys& keys, ModelConfig& config) {
  if (keys.has("expert_feed_forward_length")) return;
  config.experts.ffn = std::max<size_t>(1, config.ffn / config.experts.used);
}

// ------------------------------------------------------------------ what each has of its own

void read_llama(const GgufFile&, const Keys& keys, ModelConfig& config) {
  config.rope.pairing = RopePairing::kNeighbours;
  config.sliding_window = keys.count_or_none("attention.sliding_window", bounds::kMaxContext);
  if (config.sliding_window != 0) config.set_window_period(0);
  config.attention_scale = keys.cap_or("attention.scale", 0.0);
}

void read_qwen2(const GgufFile& file, const Keys&, ModelConfig& config) { require_dense(file, config); }

void read_qwen2moe(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  require_experts(file, keys, config);
  narrow_experts(keys, config);
  config.ffn = keys.count_or("expert_shared_feed_forward_length", config.ffn, bounds::kMaxWidth);
  config.experts.normalise = keys.flag_or("expert_weights_norm", false);
  config.experts.beside = BesideExperts::kGatedDense;
}

void read_qwen3(const GgufFile& file, const Keys&, ModelConfig& config) {
  require_dense(file, config);
  config.qk_norm = true;
}

void read_qwen3moe(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  require_experts(file, keys, config);
  narrow_experts(keys, config);
  config.qk_norm = true;
}

void read_gemma(const GgufFile& file, const Keys&, ModelConfig& config) {
  require_dense(file, config);
  config.embedding_scale = std::sqrt(static_cast<float>(config.d_model));
  config.activation = Activation::kGelu;
}

/// The largest of gemma 2 and 3, which files tell from the others by its depth alone, divides scores by
/// sqrt(d_model / heads) in place of sqrt(head_dim).
void scale_by_width(ModelConfig& config, size_t largest_depth) {
  if (config.layers == largest_depth && config.d_model >= config.heads)
    config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.d_model / config.heads));
}

void read_window_pattern(const Keys& keys, size_t period, ModelConfig& config) {
  if (const auto flags = keys.flags("attention.sliding_window_pattern", config.layers))
    config.window_layers = *flags;
  else
    config.set_window_period(keys.count_or("attention.sliding_window_pattern", period, bounds::kMaxLayers));
}

void read_gemma2(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  read_gemma(file, keys, config);
  config.post_norms = true;
  config.attention_softcap = keys.cap_or("attn_logit_softcapping", 50.0);
  config.final_softcap = keys.cap_or("final_logit_softcapping", 30.0);
  config.sliding_window = keys.count_or("attention.sliding_window", 4096, bounds::kMaxContext);
  read_window_pattern(keys, 2, config);
  if (keys.has("rope.freq_base_swa")) {
    config.window_rope = config.rope;
    config.window_rope.base = keys.positive("rope.freq_base_swa");
  }
  scale_by_width(config, 46);
}

void read_gemma3(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  read_gemma(file, keys, config);
  config.post_norms = true;
  config.qk_norm = true;
  config.final_softcap = keys.cap_or("final_logit_softcapping", 0.0);
  config.sliding_window = keys.count_or_none("attention.sliding_window", bounds::kMaxContext);
  if (config.sliding_window != 0) {
    read_window_pattern(keys, 6, config);
    config.window_rope.pairing = config.rope.pairing;
    config.window_rope.dims = config.rope.dims;
    config.window_rope.base = keys.positive_or("rope.freq_base_swa", 10000.0);
  }
  scale_by_width(config, 62);
}

/// Its sliding window is passed over, as llama.cpp does: files carry wrong ones.
void read_phi3(const GgufFile& file, const Keys&, ModelConfig& config) {
  require_dense(file, config);
  config.layout.fused_gate_up = file.find_tensor("blk.0.ffn_gate.weight") == nullptr;
  if (config.layout.fused_gate_up) config.ffn_bias = file.find_tensor("blk.0.ffn_up.bias") != nullptr;
}

/// Files of Grok-1 have none of these keys: the defaults are its run.py's. Of Grok-2 they have all.
void read_grok(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  require_experts(file, keys, config);
  config.activation = Activation::kGelu;
  config.post_norms = true;
  config.layout.attention_post_norm = "attn_output_norm";
  if (file.find_tensor("blk.0.layer_output_norm.weight") != nullptr)
    config.layout.ffn_post_norm = "layer_output_norm";
  config.embedding_scale = keys.positive_or("embedding_scale", 78.38367176906169);
  config.logit_scale = keys.positive_or("logit_scale", 0.5773502691896257);
  config.attention_scale = keys.positive_or("attention.output_scale", 0.08838834764831845);
  config.attention_softcap = keys.cap_or("attn_logit_softcapping", 30.0);
  config.final_softcap = keys.cap_or("final_logit_softcapping", 0.0);
  config.experts.router_softcap = keys.cap_or("router_logit_softcapping", 0.0);
  config.attention_temperature_length =
      keys.count_or_none("attention.temperature_length", bounds::kMaxContext);
  if (file.find_tensor("blk.0.ffn_up.weight") != nullptr) {
    config.experts.beside = BesideExperts::kDense;
    config.experts.beside_scale = 0.70710678118654752f;  // of two branches, to keep the size of one
  }
}

struct Architecture {
  std::string_view name;
  void (*read)(const GgufFile&, const Keys&, ModelConfig&);
};

constexpr Architecture kArchitectures[] = {
    {"llama", read_llama},   {"mistral", read_llama},     {"qwen2", read_qwen2}, {"qwen2moe", read_qwen2moe},
    {"qwen3", read_qwen3},   {"qwen3moe", read_qwen3moe}, {"gemma", read_gemma}, {"gemma2", read_gemma2},
    {"gemma3", read_gemma3}, {"phi3", read_phi3},         {"grok", read_grok},
};

const Architecture& find_architecture(const GgufFile& file, std::string_view name) {
  for (const Architecture& a : kArchitectures)
    if (a.name == name) return a;
  unsupported(file, fmt::format("is of the architecture '{}'", shown(name)));
}

}  // namespace

ModelConfig ModelConfig::from_gguf(const GgufFile& file) {
  ModelConfig config;
  config.architecture = file.get_string("general.architecture");
  config.name = sanitize_utf8(file.find_string("general.name").value_or(""));
  const Architecture& architecture = find_architecture(file, config.architecture);
  const Keys keys(file, config.architecture);
  config.layers = keys.count("block_count", bounds::kMaxLayers);
  config.d_model = keys.count("embedding_length", bounds::kMaxWidth);
  config.ffn = keys.count("feed_forward_length", bounds::kMaxWidth);
  config.context = keys.count("context_length", bounds::kMaxContext);
  config.vocab = read_vocab(file, keys);
  read_heads(file, keys, config);
  config.rms_eps = keys.positive("attention.layer_norm_rms_epsilon");
  config.rope = read_rope(file, keys, config);
  read_layout(file, config);
  read_experts(keys, config);
  architecture.read(file, keys, config);
  if (!config.has_dense_ffn()) config.ffn = 0;
  try {
    config.check();
  } catch (const Error& error) {
    corrupt(file, error.what());
  }
  check_tensors(config, file);
  return config;
}

}  // namespace fathom::model
