// A model as a Hugging Face folder, and an adapter as PEFT has it: model/hugging_face.cc read backwards.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "model/hf/names.h"
#include "model/safetensors_file_writer.h"
#include "model/tokenizer_json.h"
#include "train/export.h"

namespace fathom::train {
namespace {

using model::ModelConfig;
using nlohmann::ordered_json;

struct Class {
  std::string_view gguf, name, type;
};
constexpr Class kClasses[] = {
    {"llama", "LlamaForCausalLM", "llama"},           {"mistral", "MistralForCausalLM", "mistral"},
    {"qwen2", "Qwen2ForCausalLM", "qwen2"},           {"qwen3", "Qwen3ForCausalLM", "qwen3"},
    {"qwen3moe", "Qwen3MoeForCausalLM", "qwen3_moe"}, {"grok", "GrokForCausalLM", "grok"},
};

[[noreturn]] void cannot(const ModelConfig& c, std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the architecture '{}' {} as a Hugging Face folder here; write a GGUF file instead",
                          c.architecture, what));
}

Class class_of(const ModelConfig& c) {
  if (c.architecture == "llama" && !c.dense()) return {"llama", "MixtralForCausalLM", "mixtral"};
  if (c.architecture == "llama" && c.sliding_window != 0) return {"llama", "MistralForCausalLM", "mistral"};
  const auto* found = std::find_if(std::begin(kClasses), std::end(kClasses),
                                   [&](const Class& k) { return k.gguf == c.architecture; });
  if (found == std::end(kClasses)) cannot(c, "is not written");
  return *found;
}

void describe_experts(const ModelConfig& c, ordered_json& out) {
  const auto& e = c.experts;
  if (e.count == 0) return;
  out[c.architecture == "qwen3moe" ? "num_experts" : "num_local_experts"] = e.count;
  out["num_experts_per_tok"] = e.used;
  if (c.architecture == "qwen3moe") {
    out["moe_intermediate_size"] = e.ffn;
    out["norm_topk_prob"] = e.normalise;
    out["decoder_sparse_step"] = 1;
    out["mlp_only_layers"] = ordered_json::array();
  }
}

void describe_grok(const ModelConfig& c, ordered_json& out) {
  out["moe_intermediate_size"] = c.experts.ffn;
  out["embedding_multiplier_scale"] = c.embedding_scale;
  out["output_multiplier_scale"] = c.logit_scale;
  out["attn_output_multiplier"] = c.score_scale();
  out["attn_logit_softcapping"] = c.attention_softcap;
  out["final_logit_softcapping"] = c.final_softcap;
  out["router_logit_softcapping"] = c.experts.router_softcap;
  if (c.attention_temperature_length != 0) out["attn_temperature_len"] = c.attention_temperature_length;
}

void describe_tokens(const model::GgufFile& tokenizer, ordered_json& out) {
  for (const char* kind : {"bos", "eos", "pad"})
    if (const auto id = tokenizer.find_uint(fmt::format("tokenizer.ggml.{}_token_id", kind)))
      out[fmt::format("{}_token_id", kind)] = *id;
}

std::string torch_name(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF32: return "float32";
    case tensor::DType::kF16: return "float16";
    default: return "bfloat16";
  }
}

ordered_json describe(const ModelConfig& c, const model::GgufFile& tokenizer, tensor::DType dtype) {
  const Class k = class_of(c);
  ordered_json out = {{"architectures", {k.name}},
                      {"model_type", k.type},
                      {"hidden_size", c.d_model},
                      {"intermediate_size", c.ffn != 0 ? c.ffn : c.experts.ffn},
                      {"num_hidden_layers", c.layers},
                      {"num_attention_heads", c.heads},
                      {"num_key_value_heads", c.kv_heads},
                      {"head_dim", c.head_dim},
                      {"vocab_size", c.vocab},
                      {"max_position_embeddings", c.context},
                      {"rms_norm_eps", c.rms_eps},
                      {"rope_theta", c.rope.base},
                      {"hidden_act", c.activation == model::Activation::kGelu ? "gelu" : "silu"},
                      {"attention_bias", c.attention_bias},
                      {"tie_word_embeddings", c.tied_output},
                      {"torch_dtype", torch_name(dtype)}};
  if (c.sliding_window != 0) out["sliding_window"] = c.sliding_window;
  if (c.rope.scaling == model::RopeScaling::kLinear)
    out["rope_scaling"] = {{"rope_type", "linear"}, {"factor", c.rope.scale}};
  describe_experts(c, out);
  if (c.architecture == "grok") describe_grok(c, out);
  describe_tokens(tokenizer, out);
  return out;
}

/// Mixtral has no width of experts apart from the feed-forward's, and its router's weights always add up to 1.
void check_describable(const ModelConfig& c) {
  check_exportable(c);
  const bool stretched = c.rope.frequency_factors || (c.rope.scaling != model::RopeScaling::kNone &&
                                                      c.rope.scaling != model::RopeScaling::kLinear);
  if (stretched) cannot(c, "with stretched positions is not written");
  if (c.rope.dims != c.head_dim) cannot(c, "with heads that turn in part is not written");
  if (c.architecture == "llama" && c.attention_scale != 0)
    cannot(c, "with a scale of attention is not written");
  const auto& e = c.experts;
  if (e.count != 0 && (e.weight_scale != 1 || (c.architecture != "qwen3moe" && !e.normalise)))
    cannot(c, "with experts weighted in this way is not written");
}

bool turns_neighbours(const ModelConfig& c) { return c.rope.pairing == model::RopePairing::kNeighbours; }

/// Rows of each head from neighbours to halves: row i of half j is row 2i + j.
std::vector<float> in_halves(const std::vector<float>& from, size_t heads, size_t rows) {
  std::vector<float> to(from.size());
  const size_t row = from.size() / rows, head_rows = rows / heads, half = head_rows / 2;
  for (size_t r = 0; r < rows; ++r) {
    const size_t within = r % head_rows;
    const size_t target = r - within + within % 2 * half + within / 2;
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(r * row), row,
                to.begin() + static_cast<std::ptrdiff_t>(target * row));
  }
  return to;
}

/// Of q and k in models that turn neighbours in GGUF; `heads` of others is 0.
size_t heads_to_turn(const ModelConfig& c, std::string_view name) {
  if (!turns_neighbours(c)) return 0;
  if (name.find(".attn_q.") != std::string_view::npos) return c.heads;
  return name.find(".attn_k.") != std::string_view::npos ? c.kv_heads : 0;
}

std::string name_of(const ModelConfig& c, const std::string& gguf) {
  // Files of Grok-1 name this norm in another way; both are one to a checkpoint.
  constexpr std::string_view kOld = ".layer_output_norm.";
  std::string known = gguf;
  if (const size_t at = known.find(kOld); at != std::string::npos)
    known.replace(at, kOld.size(), ".post_ffw_norm.");
  std::string name = model::hugging_face_name(c.architecture == "mistral" ? "llama" : c.architecture, known);
  if (name.empty()) cannot(c, fmt::format("has no name for '{}'", gguf));
  return name;
}

std::vector<uint64_t> reversed(const std::vector<uint64_t>& shape) { return {shape.rbegin(), shape.rend()}; }

class ModelWriter {
 public:
  ModelWriter(const ModelConfig& config, const TensorSource& source, tensor::DType dtype)
      : c_(config), source_(source), dtype_(dtype) {}

  void add(const model::TensorSpec& spec) {
    if (spec.shape.size() == 3) return add_experts(spec);
    const size_t heads = heads_to_turn(c_, spec.name);
    const auto rows = static_cast<size_t>(spec.shape.back());
    writer_.add(name_of(c_, spec.name), dtype_, reversed(spec.shape), [this, spec, heads, rows] {
      const auto values = source_(spec.name);
      return heads == 0 ? values : in_halves(values, heads, rows);
    });
  }
  void write(const std::filesystem::path& path) const { writer_.write(path); }

 private:
  /// One tensor an expert; the stack is read once for all of them, as they follow each other.
  void add_experts(const model::TensorSpec& spec) {
    constexpr std::string_view kStack = "_exps.weight";
    const std::string stem = spec.name.substr(0, spec.name.size() - kStack.size());
    const uint64_t size = spec.shape[0] * spec.shape[1];
    for (uint64_t e = 0; e < spec.shape[2]; ++e)
      writer_.add(name_of(c_, fmt::format("{}.{}.weight", stem, e)), dtype_, {spec.shape[1], spec.shape[0]},
                  [this, name = spec.name, e, size] {
                    if (e == 0 || stack_name_ != name) {
                      stack_ = source_(name);
                      stack_name_ = name;
                    }
                    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(e * size);
                    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(size));
                  });
  }

  const ModelConfig& c_;
  const TensorSource& source_;
  tensor::DType dtype_;
  model::SafetensorsFileWriter writer_;
  std::string stack_name_;
  std::vector<float> stack_;
};

/// What cannot be written is left out and told: the model is of use without it.
void write_tokenizer(const model::GgufFile& tokenizer, const std::filesystem::path& folder) {
  try {
    const model::TokenizerFiles files = model::tokenizer_files(tokenizer);
    write_file_atomic(folder / "tokenizer.json", files.tokenizer);
    write_file_atomic(folder / "tokenizer_config.json", files.config);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported && error.code() != ErrorCode::kCorrupt) throw;
    log().warn("'{}' has no tokenizer.json: {}", folder.string(), error.what());
  }
}

constexpr std::pair<std::string_view, std::string_view> kModules[] = {
    {"attn_q", "q_proj"},      {"attn_k", "k_proj"},  {"attn_v", "v_proj"},     {"attn_output", "o_proj"},
    {"ffn_gate", "gate_proj"}, {"ffn_up", "up_proj"}, {"ffn_down", "down_proj"}};

std::vector<std::string> module_names(const LoraSpec& lora) {
  std::vector<std::string> out;
  for (const auto& [gguf, module] : kModules)
    if (std::find(lora.matrices.begin(), lora.matrices.end(), gguf) != lora.matrices.end())
      out.emplace_back(module);
  return out;
}

bool is_adapted(const LoraSpec& lora, const model::TensorSpec& spec) {
  return std::any_of(lora.matrices.begin(), lora.matrices.end(), [&](const std::string& matrix) {
    return spec.name.ends_with(fmt::format(".{}.weight", matrix));
  });
}

}  // namespace

void export_hugging_face(const ModelConfig& config, const model::GgufFile& tokenizer,
                         const TensorSource& source, tensor::DType dtype,
                         const std::filesystem::path& folder) {
  check_describable(config);
  const ordered_json description = describe(config, tokenizer, dtype);
  std::filesystem::create_directories(folder);
  ModelWriter writer(config, source, dtype);
  for (const model::TensorSpec& spec : model::required_tensors(config)) writer.add(spec);
  writer.write(folder / "model.safetensors");
  write_tokenizer(tokenizer, folder);
  write_file_atomic(folder / "config.json", description.dump(2) + "\n");  // last: now it is a model
}

void export_adapter(const ModelConfig& config, const LoraSpec& lora, const TensorSource& source,
                    tensor::DType dtype, const std::string& base_model, const std::filesystem::path& folder,
                    const std::string& prompt) {
  std::filesystem::create_directories(folder);
  model::SafetensorsFileWriter writer;
  for (const model::TensorSpec& spec : model::required_tensors(config)) {
    if (!is_adapted(lora, spec)) continue;
    const std::string name = name_of(config, spec.name);
    const std::string stem =
        "base_model.model." + name.substr(0, name.size() - std::string_view("weight").size());
    const uint64_t in = spec.shape[0], out = spec.shape[1];
    const size_t heads = heads_to_turn(config, spec.name);
    writer.add(stem + "lora_A.weight", dtype, {lora.rank, in},
               [&source, gguf = spec.name] { return source(gguf + ".lora_a"); });
    writer.add(stem + "lora_B.weight", dtype, {out, lora.rank},
               [&source, gguf = spec.name, heads, rows = static_cast<size_t>(out)] {
                 const auto values = source(gguf + ".lora_b");
                 return heads == 0 ? values : in_halves(values, heads, rows);
               });
  }
  writer.write(folder / "adapter_model.safetensors");
  ordered_json description = {
      {"peft_type", "LORA"},   {"task_type", "CAUSAL_LM"}, {"base_model_name_or_path", base_model},
      {"r", lora.rank},        {"lora_alpha", lora.alpha}, {"target_modules", module_names(lora)},
      {"lora_dropout", 0.0},   {"bias", "none"},           {"fan_in_fan_out", false},
      {"inference_mode", true}};
  if (!prompt.empty()) description["fathom_prompt"] = prompt;
  write_file_atomic(folder / "adapter_config.json", description.dump(2) + "\n");
}

}  // namespace fathom::train
