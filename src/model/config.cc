#include "model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

namespace fathom::model {
namespace {

constexpr uint64_t kMaxLayers = 4096;
constexpr uint64_t kMaxWidth = uint64_t{1} << 24;  // of any vector: d_model, ffn, all heads together
constexpr uint64_t kMaxVocab = uint64_t{1} << 24;
constexpr uint64_t kMaxContext = uint64_t{1} << 31;

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
    return within(suffix, file_.get_uint(key(suffix)), most);
  }

  size_t count_or(std::string_view suffix, uint64_t otherwise, uint64_t most) const {
    return within(suffix, file_.find_uint(key(suffix)).value_or(otherwise), most);
  }

  float positive(std::string_view suffix, double value) const {
    const auto narrow = static_cast<float>(value);
    if (!std::isfinite(narrow) || narrow <= 0)
      corrupt(file_, fmt::format("the metadata key '{}' is {}, not a positive number", key(suffix), value));
    return narrow;
  }

  float positive_or(std::string_view suffix, double otherwise) const {
    return positive(suffix, file_.find_float(key(suffix)).value_or(otherwise));
  }

 private:
  size_t within(std::string_view suffix, uint64_t value, uint64_t most) const {
    if (value < 1 || value > most)
      corrupt(file_,
              fmt::format("the metadata key '{}' is {}, not within 1 to {}", key(suffix), value, most));
    return static_cast<size_t>(value);
  }

  const GgufFile& file_;
  std::string prefix_;
};

void refuse_variants(const GgufFile& file, const Keys& keys) {
  if (file.find_uint(keys.key("expert_count")).value_or(0) > 0) unsupported(file, "is a mixture of experts");
  const auto scaling = file.find_string(keys.key("rope.scaling.type")).value_or("none");
  if (scaling != "none" && scaling != "linear")
    unsupported(file, fmt::format("scales its rotary positions by '{}'", scaling.substr(0, 40)));
  const auto kv_heads = file.metadata().find(keys.key("attention.head_count_kv"));
  if (kv_heads != file.metadata().end() && kv_heads->second.type == GgufType::kArray)
    unsupported(file, "has layers of different numbers of heads");
}

void read_heads(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  config.heads = keys.count("attention.head_count", kMaxWidth);
  config.kv_heads = keys.count_or("attention.head_count_kv", config.heads, config.heads);
  if (config.heads % config.kv_heads != 0)
    corrupt(file, fmt::format("{} attention heads cannot share {} key heads evenly", config.heads,
                              config.kv_heads));
  if (!keys.has("attention.key_length") && config.d_model % config.heads != 0)
    corrupt(file, fmt::format("a width of {} does not divide into {} heads", config.d_model, config.heads));
  config.head_dim = keys.count_or("attention.key_length", config.d_model / config.heads, kMaxWidth);
  const size_t value_dim = keys.count_or("attention.value_length", config.head_dim, kMaxWidth);
  if (value_dim != config.head_dim) unsupported(file, "has keys and values of different widths");
  if (config.heads * config.head_dim > kMaxWidth)
    corrupt(file, fmt::format("{} heads of {} are too wide to be true", config.heads, config.head_dim));
}

RopeConfig read_rope(const GgufFile& file, const Keys& keys, const ModelConfig& config) {
  RopeConfig rope;
  rope.dims = keys.count_or("rope.dimension_count", config.head_dim, config.head_dim);
  if (rope.dims % 2 != 0)
    corrupt(file, fmt::format("the metadata key '{}' is {}, which is odd", keys.key("rope.dimension_count"),
                              rope.dims));
  rope.base = keys.positive_or("rope.freq_base", 10000.0);
  rope.scale = keys.positive_or("rope.scale_linear", 1.0);  // the key of old files
  if (file.find_string(keys.key("rope.scaling.type")) == "linear")
    rope.scale = keys.positive_or("rope.scaling.factor", rope.scale);
  rope.frequency_factors = file.find_tensor("rope_freqs.weight") != nullptr;
  return rope;
}

size_t read_vocab(const GgufFile& file, const Keys& keys) {
  const auto tokens = file.metadata().find("tokenizer.ggml.tokens");
  const uint64_t listed = tokens == file.metadata().end() ? 0 : tokens->second.count;
  return keys.count_or("vocab_size", listed, kMaxVocab);
}

uint64_t elements(const TensorSpec& spec) {
  uint64_t product = 1;
  for (const uint64_t extent : spec.shape) product *= extent;
  return product;
}

/// A matrix or vector of block `layer` by its name, with its bias where there is one.
void add(std::vector<TensorSpec>& specs, const std::string& stem, std::vector<uint64_t> shape, bool bias) {
  const uint64_t out = shape.back();
  specs.push_back({stem + ".weight", std::move(shape)});
  if (bias) specs.push_back({stem + ".bias", {out}});
}

}  // namespace

ModelConfig ModelConfig::from_gguf(const GgufFile& file) {
  ModelConfig config;
  config.architecture = file.get_string("general.architecture");
  config.name = file.find_string("general.name").value_or("");
  if (config.architecture != "llama")
    unsupported(file, fmt::format("is of the architecture '{}'", config.architecture.substr(0, 40)));
  const Keys keys(file, config.architecture);
  refuse_variants(file, keys);
  config.layers = keys.count("block_count", kMaxLayers);
  config.d_model = keys.count("embedding_length", kMaxWidth);
  config.ffn = keys.count("feed_forward_length", kMaxWidth);
  config.context = keys.count("context_length", kMaxContext);
  config.vocab = read_vocab(file, keys);
  read_heads(file, keys, config);
  config.rms_eps = keys.positive("attention.layer_norm_rms_epsilon",
                                 file.get_float(keys.key("attention.layer_norm_rms_epsilon")));
  config.rope = read_rope(file, keys, config);
  config.tied_output = file.find_tensor("output.weight") == nullptr;
  config.attention_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  config.attention_output_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  config.ffn_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
  check_tensors(config, file);
  return config;
}

uint64_t ModelConfig::parameters() const {
  uint64_t total = 0;
  for (const TensorSpec& spec : required_tensors(*this))
    if (spec.name != "rope_freqs.weight") total += elements(spec);
  return total;
}

std::vector<TensorSpec> required_tensors(const ModelConfig& c) {
  std::vector<TensorSpec> specs;
  specs.reserve(c.layers * 9 + 4);
  specs.push_back({"token_embd.weight", {c.d_model, c.vocab}});
  if (c.rope.frequency_factors) specs.push_back({"rope_freqs.weight", {c.rope.dims / 2}});
  for (size_t layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    add(specs, block + "attn_norm", {c.d_model}, false);
    add(specs, block + "attn_q", {c.d_model, c.q_dim()}, c.attention_bias);
    add(specs, block + "attn_k", {c.d_model, c.kv_dim()}, c.attention_bias);
    add(specs, block + "attn_v", {c.d_model, c.kv_dim()}, c.attention_bias);
    add(specs, block + "attn_output", {c.q_dim(), c.d_model}, c.attention_output_bias);
    add(specs, block + "ffn_norm", {c.d_model}, false);
    add(specs, block + "ffn_gate", {c.d_model, c.ffn}, c.ffn_bias);
    add(specs, block + "ffn_up", {c.d_model, c.ffn}, c.ffn_bias);
    add(specs, block + "ffn_down", {c.ffn, c.d_model}, c.ffn_bias);
  }
  specs.push_back({"output_norm.weight", {c.d_model}});
  if (!c.tied_output) specs.push_back({"output.weight", {c.d_model, c.vocab}});
  return specs;
}

void check_tensors(const ModelConfig& config, const GgufFile& file) {
  for (const TensorSpec& spec : required_tensors(config)) {
    const GgufTensor& tensor = file.tensor(spec.name);
    if (tensor.shape != spec.shape)
      corrupt(file, fmt::format("the tensor '{}' has the shape [{}] where [{}] is needed", spec.name,
                                fmt::join(tensor.shape, ", "), fmt::join(spec.shape, ", ")));
  }
}

uint64_t bytes_read_per_token(const ModelConfig& config, const GgufFile& file) {
  uint64_t total = 0;
  for (const TensorSpec& spec : required_tensors(config)) {
    const GgufTensor& tensor = file.tensor(spec.name);
    const bool one_row = spec.name == "token_embd.weight" && !config.tied_output;
    total += one_row ? tensor::row_bytes(*tensor.dtype, config.d_model) : tensor.data.size();
  }
  return total;
}

std::string dominant_format(const GgufFile& file) {
  std::map<uint32_t, uint64_t> weights;
  for (const GgufTensor& tensor : file.tensors()) weights[tensor.type_id] += tensor.elements;
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == weights.end() ? "" : gguf_tensor_type_name(most->first);
}

}  // namespace fathom::model
