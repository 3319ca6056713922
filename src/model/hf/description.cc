#include "model/hf/description.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "model/config.h"
#include "model/config_bounds.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

using nlohmann::json;

constexpr uint64_t kMost = uint64_t{1} << 31;  // of any count in config.json
constexpr size_t kMostFactors = 4096;
constexpr int kDeepest = 64;

/// A JSON object with checked reading; a null counts as absent.
class Fields {
 public:
  Fields(const json& object, const std::string& name) : object_(object), name_(name) {}

  [[noreturn]] void corrupt(const std::string& what) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("in '{}', {}; download it again", name_, what));
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(ErrorCode::kUnsupported, fmt::format("'{}' {}, which this build does not read", name_, what));
  }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<uint64_t> find_count(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > kMost)
      corrupt(fmt::format("'{}' is no count of at most {}", key, kMost));
    return value->get<uint64_t>();
  }
  uint64_t count(const char* key) const {
    const auto value = find_count(key);
    if (!value) corrupt(fmt::format("'{}' is missing", key));
    return *value;
  }

  std::optional<double> find_number(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || !std::isfinite(value->get<double>()))
      corrupt(fmt::format("'{}' is no number", key));
    return value->get<double>();
  }

  bool flag_or(const char* key, bool otherwise) const {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) corrupt(fmt::format("'{}' is neither true nor false", key));
    return value->get<bool>();
  }

  std::string text_or(const char* key, std::string_view otherwise) const {
    const json* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (!value->is_string()) corrupt(fmt::format("'{}' is no text", key));
    return value->get<std::string>();
  }

  std::optional<std::vector<float>> find_factors(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_array() || value->size() > kMostFactors)
      corrupt(fmt::format("'{}' is no list of at most {} numbers", key, kMostFactors));
    std::vector<float> out;
    for (const json& item : *value) {
      if (!item.is_number()) corrupt(fmt::format("'{}' holds something else than numbers", key));
      out.push_back(static_cast<float>(item.get<double>()));
    }
    return out;
  }

  /// An object inside; an empty one where there is none.
  Fields inner(const char* key) const {
    static const json kEmpty = json::object();
    const json* value = find(key);
    if (value == nullptr) return {kEmpty, name_};
    if (!value->is_object()) corrupt(fmt::format("'{}' is no object", key));
    return {*value, name_};
  }

 private:
  const json& object_;
  const std::string& name_;
};

/// Collects the keys of one architecture.
class Builder {
 public:
  Builder(const Fields& fields, HfDescription& out) : c(fields), out_(out) {}

  const Fields& c;

  template <class T>
  void set(std::string_view suffix, T value) {
    out_.keys.emplace_back(fmt::format("{}.{}", out_.architecture, suffix), GgufValue(value));
  }
  void set_count(std::string_view suffix, uint64_t value) { set(suffix, static_cast<uint32_t>(value)); }
  void set_number(std::string_view suffix, double value) { set(suffix, static_cast<float>(value)); }
  void copy_count(std::string_view suffix, const char* key) {
    if (const auto value = c.find_count(key)) set_count(suffix, *value);
  }
  void copy_number(std::string_view suffix, const char* key) {
    if (const auto value = c.find_number(key)) set_number(suffix, *value);
  }

  HfDescription& out() { return out_; }
  uint64_t heads() const { return out_.heads; }
  uint64_t layers = 0;
  uint64_t width = 0;
  uint64_t head_dim = 0;
  uint64_t context = 0;

 private:
  HfDescription& out_;
};

// ------------------------------------------------------------------ what all decoders have

/// What a configuration class of the transformers library takes where config.json is silent.
struct Defaults {
  double rms_eps = 1e-6;
  double rope_base = 10000;
  uint64_t heads = 0, kv_heads = 0, head_dim = 0, context = 0,
           vocab = 0;  // 0: must be said; kv_heads: as heads
};

uint64_t count_or(const Builder& b, const char* key, uint64_t otherwise) {
  return otherwise == 0 ? b.c.count(key) : b.c.find_count(key).value_or(otherwise);
}

void require_activation(const Builder& b, std::initializer_list<std::string_view> known,
                        std::string_view usual) {
  const std::string named = b.c.text_or("hidden_activation", b.c.text_or("hidden_act", usual));
  if (std::find(known.begin(), known.end(), named) == known.end())
    b.c.unsupported(fmt::format("has the activation '{}'", shown(named)));
}

void require_silu(const Builder& b) { require_activation(b, {"silu", "swish"}, "silu"); }

void set_sizes(Builder& b, const Defaults& usual) {
  HfDescription& out = b.out();
  b.layers = b.c.count("num_hidden_layers");
  b.width = b.c.count("hidden_size");
  b.context = count_or(b, "max_position_embeddings", usual.context);
  out.heads = count_or(b, "num_attention_heads", usual.heads);
  out.kv_heads =
      b.c.find_count("num_key_value_heads").value_or(usual.kv_heads != 0 ? usual.kv_heads : out.heads);
  out.rows = count_or(b, "vocab_size", usual.vocab);
  if (out.heads == 0 || out.kv_heads == 0 || b.layers == 0 || b.width == 0)
    b.c.corrupt("a number of heads or layers or a width is 0");
  const auto said = b.c.find_count("head_dim");
  b.head_dim = said.value_or(usual.head_dim != 0 ? usual.head_dim : b.width / out.heads);
  if (b.head_dim == 0 || b.head_dim > bounds::kMaxWidth)
    b.c.corrupt(fmt::format("the heads have a width of {}", b.head_dim));
  b.set_count("block_count", b.layers);
  b.set_count("context_length", b.context);
  b.set_count("embedding_length", b.width);
  b.set_count("feed_forward_length", b.c.count("intermediate_size"));
  b.set_count("attention.head_count", out.heads);
  b.set_count("attention.head_count_kv", out.kv_heads);
  if (said || usual.head_dim != 0) {
    b.set_count("attention.key_length", b.head_dim);
    b.set_count("attention.value_length", b.head_dim);
  }
  b.set_number("attention.layer_norm_rms_epsilon", b.c.find_number("rms_norm_eps").value_or(usual.rms_eps));
  b.set_count("vocab_size", out.rows);
}

/// The numbers about rotary positions: transformers 4 has rope_theta and rope_scaling, 5 has rope_parameters with both;
/// where layers differ, one set for each kind of layer.
class Rope {
 public:
  explicit Rope(const Fields& config)
      : config_(config),
        parameters_(config.inner("rope_parameters").find("full_attention") != nullptr
                        ? config.inner("rope_parameters").inner("full_attention")
                        : config.inner("rope_parameters")),
        scaling_(config.find("rope_parameters") != nullptr ? parameters_ : config.inner("rope_scaling")) {}

  double base(double otherwise) const {
    return parameters_.find_number("rope_theta")
        .value_or(config_.find_number("rope_theta").value_or(otherwise));
  }
  double local_base(double otherwise) const {
    return config_.inner("rope_parameters")
        .inner("sliding_attention")
        .find_number("rope_theta")
        .value_or(config_.find_number("rope_local_base_freq").value_or(otherwise));
  }
  double turning_share() const {
    return parameters_.find_number("partial_rotary_factor")
        .value_or(config_.find_number("partial_rotary_factor").value_or(1.0));
  }
  std::string type() const { return scaling_.text_or("rope_type", scaling_.text_or("type", "default")); }
  const Fields& scaling() const { return scaling_; }
  uint64_t original_context(uint64_t otherwise) const {
    return scaling_.find_count("original_max_position_embeddings")
        .value_or(config_.find_count("original_max_position_embeddings").value_or(otherwise));
  }

 private:
  const Fields& config_;
  Fields parameters_;
  Fields scaling_;
};

double positive(const Fields& fields, const char* key, double otherwise) {
  const double value = fields.find_number(key).value_or(otherwise);
  if (!(value > 0)) fields.corrupt(fmt::format("'{}' is not positive", key));
  return value;
}

void scale_llama3(Builder& b, const Rope& rope, uint64_t dims, double base) {
  RopeConfig config;
  config.dims = static_cast<size_t>(dims);
  config.base = static_cast<float>(base);
  config.scale = static_cast<float>(positive(rope.scaling(), "factor", 8.0));
  config.low_frequency_factor = static_cast<float>(positive(rope.scaling(), "low_freq_factor", 1.0));
  config.high_frequency_factor = static_cast<float>(positive(rope.scaling(), "high_freq_factor", 4.0));
  config.original_context = static_cast<size_t>(rope.original_context(8192));
  if (config.low_frequency_factor >= config.high_frequency_factor)
    b.c.corrupt("'low_freq_factor' is not below 'high_freq_factor'");
  b.out().tables.emplace_back("rope_freqs.weight", llama3_rope_factors(config));
}

/// Queries and keys are multiplied by 0.1 ln(factor) + 1 unless the file says otherwise; GGUF keeps the ratio of the two.
void scale_yarn(Builder& b, const Rope& rope) {
  const double factor = positive(rope.scaling(), "factor", 1.0);
  b.set("rope.scaling.type", std::string("yarn"));
  b.set_number("rope.scaling.factor", factor);
  b.set_count("rope.scaling.original_context_length", rope.original_context(b.context));
  if (const auto fast = rope.scaling().find_number("beta_fast"))
    b.set_number("rope.scaling.yarn_beta_fast", *fast);
  if (const auto slow = rope.scaling().find_number("beta_slow"))
    b.set_number("rope.scaling.yarn_beta_slow", *slow);
  const double usual = factor > 1 ? 0.1 * std::log(factor) + 1.0 : 1.0;
  if (rope.scaling().find("attention_factor") != nullptr)
    b.set_number("rope.scaling.attn_factor", positive(rope.scaling(), "attention_factor", usual) / usual);
}

void scale_long(Builder& b, const Rope& rope, uint64_t dims) {
  const uint64_t original = rope.original_context(b.context);
  auto far = rope.scaling().find_factors("long_factor");
  auto near = rope.scaling().find_factors("short_factor");
  if (!far || !near || far->size() != dims / 2 || near->size() != dims / 2)
    b.c.corrupt(fmt::format("'long_factor' and 'short_factor' are not {} numbers each", dims / 2));
  if (original < 2) b.c.corrupt("'original_max_position_embeddings' is less than 2");
  const double scale = static_cast<double>(b.context) / static_cast<double>(original);
  const double usual =
      scale > 1 ? std::sqrt(1.0 + std::log(scale) / std::log(static_cast<double>(original))) : 1.0;
  b.set_count("rope.scaling.original_context_length", original);
  b.set_number("rope.scaling.attn_factor", positive(rope.scaling(), "attention_factor", usual));
  b.out().tables.emplace_back("rope_factors_long.weight", *std::move(far));
  b.out().tables.emplace_back("rope_factors_short.weight", *std::move(near));
}

void set_rope(Builder& b, double usual_base) {
  const Rope rope(b.c);
  const double base = rope.base(usual_base);
  const double share = rope.turning_share();
  if (!(share >= 0 && share <= 1)) b.c.corrupt("'partial_rotary_factor' is not within 0 to 1");
  const auto dims = static_cast<uint64_t>(static_cast<double>(b.head_dim) * share);
  if (dims == 0 || dims % 2 != 0 || dims > b.head_dim)
    b.c.corrupt(fmt::format("{} of {} elements of a head turn, which cannot be", dims, b.head_dim));
  if (dims != b.head_dim && b.out().permutes_heads) b.c.unsupported("turns a part of each head");
  b.set_number("rope.freq_base", base);
  b.set_count("rope.dimension_count", dims);
  const std::string type = rope.type();
  // "dynamic" changes nothing within the context that the model was trained with, beyond which nothing goes here.
  if (type == "default" || type == "dynamic") return;
  if (type == "llama3") return scale_llama3(b, rope, dims, base);
  if (type == "yarn") return scale_yarn(b, rope);
  if (type == "longrope" || type == "su") return scale_long(b, rope, dims);
  if (type != "linear") b.c.unsupported(fmt::format("scales its rotary positions by '{}'", shown(type)));
  b.set("rope.scaling.type", std::string("linear"));
  b.set_number("rope.scaling.factor", positive(rope.scaling(), "factor", 1.0));
}

/// Which layers look back only so far, by "layer_types"; empty where the file does not say.
std::vector<bool> windowed_layers(const Builder& b) {
  const json* types = b.c.find("layer_types");
  if (types == nullptr) return {};
  if (!types->is_array() || types->size() != b.layers) b.c.corrupt("'layer_types' does not name every layer");
  std::vector<bool> windowed;
  for (const json& type : *types) {
    const std::string name = type.is_string() ? type.get<std::string>() : "";
    if (name != "full_attention" && name != "sliding_attention")
      b.c.unsupported(fmt::format("has layers of the type '{}'", shown(name)));
    windowed.push_back(name == "sliding_attention");
  }
  return windowed;
}

void require_no_window(const Builder& b) {
  const auto windowed = windowed_layers(b);
  if (b.c.flag_or("use_sliding_window", false) ||
      std::find(windowed.begin(), windowed.end(), true) != windowed.end())
    b.c.unsupported("has a sliding window in some of its layers");
}

/// Where "sliding_window" stands alone, every layer has it.
void set_window_everywhere(Builder& b) {
  const auto window = b.c.find_count("sliding_window").value_or(0);
  const auto windowed = windowed_layers(b);
  const auto many = static_cast<size_t>(std::count(windowed.begin(), windowed.end(), true));
  if (many != 0 && many != windowed.size()) b.c.unsupported("has a sliding window in some of its layers");
  if (window != 0 && window < b.context && (windowed.empty() || many != 0))
    b.set_count("attention.sliding_window", window);
}

void set_window_pattern(Builder& b, uint64_t usual_window) {
  b.set_count("attention.sliding_window", b.c.find_count("sliding_window").value_or(usual_window));
  if (auto windowed = windowed_layers(b); !windowed.empty())
    b.set("attention.sliding_window_pattern", std::move(windowed));
  else if (const auto period = b.c.find_count("sliding_window_pattern"))
    b.set_count("attention.sliding_window_pattern", *period);
}

// ------------------------------------------------------------------ what each has of its own

void fill_llama(Builder& b) {
  require_silu(b);
  b.out().permutes_heads = true;
  set_sizes(b, {});
  set_rope(b, 10000);
}

void fill_mistral(Builder& b) {
  fill_llama(b);
  set_window_everywhere(b);
}

void fill_mixtral(Builder& b) {
  require_silu(b);
  b.out().permutes_heads = true;
  set_sizes(b, {.rms_eps = 1e-5});
  set_rope(b, 1e6);
  set_window_everywhere(b);
  b.set_count("expert_count", b.c.count("num_local_experts"));
  b.set_count("expert_used_count", b.c.find_count("num_experts_per_tok").value_or(2));
}

void fill_qwen(Builder& b) {
  require_silu(b);
  set_sizes(b, {});
  set_rope(b, 10000);
  require_no_window(b);
}

/// All layers have experts, or it is refused.
void set_qwen_experts(Builder& b) {
  const json* dense = b.c.find("mlp_only_layers");
  if ((dense != nullptr && (!dense->is_array() || !dense->empty())) ||
      b.c.find_count("decoder_sparse_step").value_or(1) != 1)
    b.c.unsupported("has experts in some of its layers only");
  const auto experts = b.c.find_count("num_experts");
  b.set_count("expert_count", experts ? *experts : b.c.count("num_local_experts"));  // transformers 5
  b.set_count("expert_used_count", b.c.count("num_experts_per_tok"));
  b.set_count("expert_feed_forward_length", b.c.count("moe_intermediate_size"));
  b.copy_count("expert_shared_feed_forward_length", "shared_expert_intermediate_size");
  b.set("expert_weights_norm", b.c.flag_or("norm_topk_prob", false));
}

void fill_qwen_moe(Builder& b) {
  fill_qwen(b);
  set_qwen_experts(b);
}

void set_gemma(Builder& b) {
  // Old files say "gelu" and mean its approximation: the models were trained with that.
  require_activation(b, {"gelu_pytorch_tanh", "gelu"}, "gelu_pytorch_tanh");
  b.out().norm_shift = 1.0f;
  b.out().tied_output = true;
}

/// GGUF has no key for what scores are divided by; a forward pass takes sqrt(head_dim), but for the largest model
/// sqrt(width / heads).
void check_score_scale(const Builder& b, uint64_t largest_depth) {
  const auto said = b.c.find_number("query_pre_attn_scalar");
  const uint64_t expected = b.layers == largest_depth ? b.width / b.heads() : b.head_dim;
  if (said && *said != static_cast<double>(expected))
    b.c.unsupported(fmt::format("divides scores by the root of {} where {} is known", *said, expected));
}

void fill_gemma(Builder& b) {
  set_gemma(b);
  set_sizes(b, {.head_dim = 256});
  set_rope(b, 10000);
}

void fill_gemma2(Builder& b) {
  set_gemma(b);
  set_sizes(b, {.heads = 8, .kv_heads = 4, .head_dim = 256, .context = 8192, .vocab = 256000});
  set_rope(b, 10000);
  set_window_pattern(b, 4096);
  check_score_scale(b, 46);
  b.set_number("attn_logit_softcapping", b.c.find_number("attn_logit_softcapping").value_or(50));
  b.set_number("final_logit_softcapping", b.c.find_number("final_logit_softcapping").value_or(30));
}

void fill_gemma3(Builder& b) {
  set_gemma(b);
  set_sizes(b, {.heads = 8, .kv_heads = 4, .head_dim = 256, .context = 131072, .vocab = 262208});
  set_rope(b, 1e6);
  set_window_pattern(b, 4096);
  check_score_scale(b, 62);
  b.set_number("rope.freq_base_swa", Rope(b.c).local_base(10000));
  if (b.c.find_number("attn_logit_softcapping").value_or(0) != 0)
    b.c.unsupported("caps its attention scores");
  b.copy_number("final_logit_softcapping", "final_logit_softcapping");
}

void fill_phi3(Builder& b) {
  require_silu(b);
  set_sizes(b, {.rms_eps = 1e-5});
  set_rope(b, 10000);
  b.set_count("attention.sliding_window", b.c.find_count("sliding_window").value_or(0));
}

/// Grok-2 writes the scaling of positions beside everything else, and calls YaRN "original".
void fill_grok(Builder& b) {
  require_activation(b, {"gelu", "gelu_pytorch_tanh"}, "gelu");
  set_sizes(b, {.rms_eps = 1e-5});
  b.set_number("rope.freq_base", b.c.find_number("rope_theta").value_or(10000));
  b.set_count("rope.dimension_count", b.head_dim);
  b.set_count("expert_count", b.c.count("num_local_experts"));
  b.set_count("expert_used_count", b.c.find_count("num_experts_per_tok").value_or(2));
  b.copy_count("expert_feed_forward_length", "moe_intermediate_size");
  b.set_number("attn_logit_softcapping", b.c.find_number("attn_logit_softcapping").value_or(30));
  b.set_number("router_logit_softcapping", b.c.find_number("router_logit_softcapping").value_or(30));
  b.copy_number("final_logit_softcapping", "final_logit_softcapping");
  b.copy_number("embedding_scale", "embedding_multiplier_scale");
  b.copy_number("logit_scale", "output_multiplier_scale");
  b.set_number(
      "attention.output_scale",
      b.c.find_number("attn_output_multiplier").value_or(1 / std::sqrt(static_cast<double>(b.head_dim))));
  if (b.c.find_count("attn_temperature_len").value_or(0) != 0)
    b.copy_count("attention.temperature_length", "attn_temperature_len");
  const std::string type = b.c.text_or("rope_type", "default");
  if (type == "default") return;
  if (type != "yarn" && type != "original")
    b.c.unsupported(fmt::format("scales its rotary positions by '{}'", shown(type)));
  b.set("rope.scaling.type", std::string("yarn"));
  b.set_number("rope.scaling.factor", positive(b.c, "scaling_factor", 1.0));
  b.set_count("rope.scaling.original_context_length", b.c.count("original_max_position_embeddings"));
  b.copy_number("rope.scaling.yarn_ext_factor", "extrapolation_factor");
  b.copy_number("rope.scaling.attn_factor", "attn_factor");
  b.copy_number("rope.scaling.yarn_beta_fast", "beta_fast");
  b.copy_number("rope.scaling.yarn_beta_slow", "beta_slow");
}

void fill_bert(Builder& b) {
  require_activation(b, {"gelu"}, "gelu");
  if (b.c.text_or("position_embedding_type", "absolute") != "absolute")
    b.c.unsupported("has relative positions");
  HfDescription& out = b.out();
  out.heads = out.kv_heads = b.c.count("num_attention_heads");
  out.rows = b.c.count("vocab_size");
  b.set_count("block_count", b.c.count("num_hidden_layers"));
  b.set_count("context_length", b.c.count("max_position_embeddings"));
  b.set_count("embedding_length", b.c.count("hidden_size"));
  b.set_count("feed_forward_length", b.c.count("intermediate_size"));
  b.set_count("attention.head_count", out.heads);
  b.set_number("attention.layer_norm_epsilon", b.c.find_number("layer_norm_eps").value_or(1e-12));
  b.set("attention.causal", false);
  b.set_count("vocab_size", out.rows);
  out.keys.emplace_back("tokenizer.ggml.token_type_count",
                        static_cast<uint32_t>(b.c.find_count("type_vocab_size").value_or(2)));
}

struct Architecture {
  std::string_view class_name;
  std::string_view gguf;
  void (*fill)(Builder&);
};

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", "llama", fill_llama},
    {"LLaMAForCausalLM", "llama", fill_llama},
    {"MistralForCausalLM", "llama", fill_mistral},
    {"MixtralForCausalLM", "llama", fill_mixtral},
    {"Qwen2ForCausalLM", "qwen2", fill_qwen},
    {"Qwen3ForCausalLM", "qwen3", fill_qwen},
    {"Qwen2MoeForCausalLM", "qwen2moe", fill_qwen_moe},
    {"Qwen3MoeForCausalLM", "qwen3moe", fill_qwen_moe},
    {"GemmaForCausalLM", "gemma", fill_gemma},
    {"Gemma2ForCausalLM", "gemma2", fill_gemma2},
    {"Gemma3ForCausalLM", "gemma3", fill_gemma3},
    {"Gemma3ForConditionalGeneration", "gemma3", fill_gemma3},
    {"Phi3ForCausalLM", "phi3", fill_phi3},
    {"GrokForCausalLM", "grok", fill_grok},
    {"Grok1ForCausalLM", "grok", fill_grok},
    {"BertModel", "bert", fill_bert},
    {"BertForMaskedLM", "bert", fill_bert},
};

const Architecture& find_architecture(const Fields& config) {
  const json* names = config.find("architectures");
  if (names == nullptr || !names->is_array() || names->empty() || !(*names)[0].is_string())
    config.corrupt("'architectures' does not name the model's class");
  const auto& name = (*names)[0].get_ref<const std::string&>();
  for (const Architecture& a : kArchitectures)
    if (a.class_name == name) return a;
  config.unsupported(fmt::format("is of the architecture '{}'", shown(name)));
}

/// Nesting is bounded: values are copied here and there, which calls itself for each level.
json parse(std::string_view text, std::string_view file, const std::string& name) {
  const auto shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{} of '{}' is nested too deep; download it again", file, name));
    return true;
  };
  json object = json::parse(text, shallow, false);
  if (!object.is_object())
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{} of '{}' is not a JSON object; download it again", file, name));
  return object;
}

/// An id, or the first of a list of ids, of which the second is taken for the end of a turn.
void read_special(const Fields& fields, const char* key, std::string_view kind, HfDescription& out) {
  const json* value = fields.find(key);
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  for (size_t i = 0; i < list.size() && i < 2; ++i) {
    if (!list[i].is_number_unsigned() || list[i].get<uint64_t>() > kMost) return;  // some say -1
    if (i == 1 && kind != "eos") return;
    const std::string gguf = fmt::format("tokenizer.ggml.{}_token_id", i == 0 ? kind : "eot");
    const auto same = [&](const auto& item) { return item.first == gguf; };
    if (std::none_of(out.special_ids.begin(), out.special_ids.end(), same))
      out.special_ids.emplace_back(gguf, list[i].get<uint32_t>());
  }
}

}  // namespace

HfDescription describe_hugging_face(std::string_view config_text, std::string_view generation_text,
                                    const std::string& name) {
  const json config = parse(config_text, "config.json", name);
  const Fields whole(config, name);
  const Architecture& architecture = find_architecture(whole);
  if (whole.find("quantization_config") != nullptr)
    whole.unsupported(fmt::format("holds weights quantised by '{}'",
                                  shown(whole.inner("quantization_config").text_or("quant_method", "?"))));
  HfDescription out;
  out.architecture = architecture.gguf;
  const Fields text = whole.find("text_config") != nullptr ? whole.inner("text_config") : whole;
  out.tied_output = whole.flag_or("tie_word_embeddings", text.flag_or("tie_word_embeddings", false));
  Builder builder(text, out);
  architecture.fill(builder);
  const json generation =
      generation_text.empty() ? json::object() : parse(generation_text, "generation_config.json", name);
  const Fields said(generation, name);
  for (const char* kind : {"bos", "eos", "pad"}) {
    const std::string key = fmt::format("{}_token_id", kind);
    read_special(said, key.c_str(), kind, out);
    read_special(text, key.c_str(), kind, out);
  }
  return out;
}

uint32_t pooling_type(std::string_view pooling, const std::string& name) {
  const json config = parse(pooling, "1_Pooling/config.json", name);
  const Fields fields(config, name);
  if (fields.flag_or("pooling_mode_cls_token", false)) return 2;
  if (fields.flag_or("pooling_mode_lasttoken", false)) return 3;
  if (fields.flag_or("pooling_mode_mean_tokens", false)) return 1;
  fields.unsupported("pools its tokens in another way than mean, first or last");
}

std::string chat_template_of(std::string_view text, const std::string& name) {
  const json object = parse(text, "chat_template.json", name);
  return Fields(object, name).text_or("chat_template", "");
}

}  // namespace fathom::model
