// A model's description as GGUF keys, and the file. The keys are those that ModelConfig::from_gguf reads
// (model/config_gguf.cc).
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "train/export.h"

namespace fathom::train {
namespace {

using model::BesideExperts;
using model::GgufWriter;
using model::ModelConfig;

struct Expectation {
  bool holds;
  std::string_view what;  // that it has, where it does not hold
};

[[noreturn]] void cannot(const ModelConfig& c, std::string_view what) {
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("the model '{}' has {}, which the architecture '{}' has no place for in a GGUF file; "
                  "describe it as llama, qwen2, qwen3, qwen3moe or grok, or leave it out",
                  c.name, what, c.architecture));
}

void require(const ModelConfig& c, std::initializer_list<Expectation> all) {
  for (const Expectation& e : all)
    if (!e.holds) cannot(c, e.what);
}

void check_plain_decoder(const ModelConfig& c) {
  require(c, {{c.activation == model::Activation::kSilu, "another activation than silu"},
              {!c.post_norms, "norms behind the branches"},
              {c.embedding_scale == 1, "a factor on the embedding"},
              {c.logit_scale == 1, "a factor on the logits"},
              {c.attention_softcap == 0 && c.final_softcap == 0, "a soft cap"},
              {c.attention_temperature_length == 0, "a temperature of attention by length"},
              {c.experts.router_softcap == 0, "a soft cap on the router"}});
}

void check_llama(const ModelConfig& c) {
  check_plain_decoder(c);
  require(c, {{!c.qk_norm, "norms of queries and keys"},
              {c.rope.pairing == model::RopePairing::kNeighbours, "rotary positions that pair halves"},
              {c.experts.beside == BesideExperts::kNothing, "a feed-forward beside the experts"}});
}

void check_qwen(const ModelConfig& c) {
  check_plain_decoder(c);
  const bool second = c.architecture.starts_with("qwen2");
  const bool mixture = c.architecture.ends_with("moe");
  require(c, {{c.qk_norm != second, second ? "norms of queries and keys" : "no norms of queries and keys"},
              {c.dense() != mixture, mixture ? "no experts" : "experts"},
              {c.sliding_window == 0, "a sliding window"},
              {c.attention_scale == 0, "a scale of attention of its own"},
              {c.rope.pairing == model::RopePairing::kHalves, "rotary positions that pair neighbours"}});
  const auto beside = c.architecture == "qwen2moe" ? BesideExperts::kGatedDense : BesideExperts::kNothing;
  require(c, {{c.dense() || c.experts.beside == beside, "another feed-forward beside the experts"}});
}

void check_grok(const ModelConfig& c) {
  require(c, {{c.activation == model::Activation::kGelu, "another activation than gelu"},
              {!c.dense(), "no experts"},
              {c.post_norms, "no norms behind the branches"},
              {!c.qk_norm, "norms of queries and keys"},
              {c.sliding_window == 0, "a sliding window"},
              {c.rope.pairing == model::RopePairing::kHalves, "rotary positions that pair neighbours"},
              {c.experts.beside != BesideExperts::kGatedDense, "a gated feed-forward beside the experts"},
              {c.experts.beside == BesideExperts::kNothing ||
                   std::abs(c.experts.beside_scale - std::sqrt(0.5f)) < 1e-6f,
               "another scale of experts and what is beside them than the root of a half"}});
}

class Keys {
 public:
  Keys(GgufWriter& writer, const ModelConfig& config) : writer_(writer), c_(config) {}

  void write() {
    sizes();
    rope();
    attention();
    experts();
  }

 private:
  std::string key(std::string_view suffix) const { return fmt::format("{}.{}", c_.architecture, suffix); }
  void count(std::string_view suffix, uint64_t value) {
    writer_.set(key(suffix), static_cast<uint32_t>(value));
  }
  void number(std::string_view suffix, float value) { writer_.set(key(suffix), value); }

  void sizes() {
    count("block_count", c_.layers);
    count("context_length", c_.context);
    count("embedding_length", c_.d_model);
    count("feed_forward_length", c_.ffn != 0 ? c_.ffn : c_.experts.ffn);
    count("vocab_size", c_.vocab);
  }

  void rope() {
    count("rope.dimension_count", c_.rope.dims);
    number("rope.freq_base", c_.rope.base);
    if (c_.rope.scaling != model::RopeScaling::kLinear) return;
    writer_.set(key("rope.scaling.type"), std::string("linear"));
    number("rope.scaling.factor", c_.rope.scale);
  }

  void attention() {
    count("attention.head_count", c_.heads);
    count("attention.head_count_kv", c_.kv_heads);
    count("attention.key_length", c_.head_dim);
    count("attention.value_length", c_.head_dim);
    number("attention.layer_norm_rms_epsilon", c_.rms_eps);
    if (c_.sliding_window != 0) count("attention.sliding_window", c_.sliding_window);
    if (c_.architecture == "llama" && c_.attention_scale != 0) number("attention.scale", c_.attention_scale);
    if (c_.architecture != "grok") return;
    number("embedding_scale", c_.embedding_scale);
    number("logit_scale", c_.logit_scale);
    number("attention.output_scale", c_.score_scale());
    number("attn_logit_softcapping", c_.attention_softcap);
    number("final_logit_softcapping", c_.final_softcap);
    number("router_logit_softcapping", c_.experts.router_softcap);
    if (c_.attention_temperature_length != 0)
      count("attention.temperature_length", c_.attention_temperature_length);
  }

  void experts() {
    const auto& e = c_.experts;
    if (e.count == 0) return;
    count("expert_count", e.count);
    count("expert_used_count", e.used);
    count("expert_feed_forward_length", e.ffn);
    writer_.set(key("expert_weights_norm"), e.normalise);
    number("expert_weights_scale", e.weight_scale);
    if (e.beside == BesideExperts::kGatedDense) count("expert_shared_feed_forward_length", c_.ffn);
  }

  GgufWriter& writer_;
  const ModelConfig& c_;
};

/// Of a file that describes a model of this very shape, all its keys: those of stretched positions among them.
bool describes(const model::GgufFile& file, const ModelConfig& c) {
  const auto number_is = [&](const char* key, float value) {  // a key that is missing says what is usual
    return static_cast<float>(file.find_float(c.architecture + key).value_or(value)) == value;
  };
  return file.find_string("general.architecture") == c.architecture &&
         file.find_uint(c.architecture + ".block_count") == c.layers &&
         file.find_uint(c.architecture + ".embedding_length") == c.d_model &&
         file.find_uint(c.architecture + ".attention.head_count") == c.heads &&
         file.find_uint(c.architecture + ".attention.head_count_kv") == c.kv_heads &&
         file.find_uint(c.architecture + ".context_length") == c.context &&
         number_is(".attention.layer_norm_rms_epsilon", c.rms_eps) &&
         number_is(".rope.freq_base", c.rope.base) &&
         file.find_uint(c.architecture + ".expert_count").value_or(0) == c.experts.count &&
         (c.ffn == 0 || file.find_uint(c.architecture + ".feed_forward_length") == c.ffn);
}

bool plain_positions(const ModelConfig& c) {
  using model::RopeScaling;
  const auto plain = c.rope.scaling == RopeScaling::kNone || c.rope.scaling == RopeScaling::kLinear;
  return plain && !c.rope.frequency_factors && c.window_rope.dims == 0;
}

uint32_t file_type(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF32: return 0;
    case tensor::DType::kF16: return 1;
    default: return 32;  // BF16
  }
}

bool stays_f32(const model::TensorSpec& spec) {
  return spec.shape.size() == 1 || spec.name.find("ffn_gate_inp") != std::string::npos;
}

}  // namespace

void check_exportable(const ModelConfig& config) {
  const std::string& a = config.architecture;
  if (!config.runs()) cannot(config, config.runs_not());
  if (a == "llama" || a == "mistral") return check_llama(config);
  if (a == "qwen2" || a == "qwen2moe" || a == "qwen3" || a == "qwen3moe") return check_qwen(config);
  if (a == "grok") return check_grok(config);
  if (a == "gemma" || a == "gemma2" || a == "gemma3" || a == "phi3") return;  // from a file alone
  cannot(config, "no architecture that files have a name for");
}

void export_gguf(const ModelConfig& config, const model::GgufFile& tokenizer, const TensorSource& source,
                 tensor::DType dtype, const std::filesystem::path& out) {
  FATHOM_CHECK(tensor::block_size(dtype) == 1, "models are exported in plain formats");
  check_exportable(config);
  GgufWriter writer;
  writer.set("general.architecture", config.architecture);
  writer.set("general.type", std::string("model"));
  writer.set("general.name", config.name.empty() ? out.stem().string() : config.name);
  writer.set("general.file_type", file_type(dtype));
  const bool copied = describes(tokenizer, config);
  if (copied) {
    for (const auto& [key, entry] : tokenizer.metadata())
      if (key.starts_with(config.architecture + ".")) writer.set(key, entry);
  } else {
    if (!plain_positions(config)) cannot(config, "stretched positions, and no file that tells of them");
    Keys(writer, config).write();
  }
  for (const auto& [key, entry] : tokenizer.metadata())
    if (key.starts_with("tokenizer.") || key.starts_with("fathom.tokenizer.")) writer.set(key, entry);
  for (const model::TensorSpec& spec : model::required_tensors(config)) {
    const tensor::DType stored = stays_f32(spec) ? tensor::DType::kF32 : dtype;
    writer.add_tensor(spec.name, stored, spec.shape, [spec, stored, &source](const model::GgufSink& sink) {
      const std::vector<float> values = source(spec.name);
      std::vector<std::byte> bytes(tensor::row_bytes(stored, values.size()));
      tensor::quantize_row(stored, values.data(), bytes.data(), values.size());
      sink(bytes);
    });
  }
  writer.write(out);
}

}  // namespace fathom::train
