// Test support: small random models as GGUF bytes, with a tokenizer whose tokens are bytes.
#pragma once

#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "model/gguf.h"
#include "tensor/block_format.h"
#include "tensor/dtype.h"

namespace fathom::test {

struct TinyModel {
  std::string architecture = "llama";
  tensor::DType dtype = tensor::DType::kF32;
  size_t layers = 2;
  size_t d_model = 64;
  size_t heads = 4;
  size_t kv_heads = 2;
  size_t head_dim = 16;
  size_t ffn = 96;
  size_t vocab = 272;  // 3 control tokens, 256 bytes, the rest words
  size_t context = 128;
  bool tied = true;
  bool biases = false;      // of every matrix of a dense block
  bool qkv_biases = false;  // of these three
  bool rope_factors = false;
  bool long_rope_factors = false;
  bool qk_norm = false;
  std::string attention_post_norm, ffn_post_norm;  // names; empty: none
  bool fused = false;                              // q, k and v in one tensor, gate and up in one
  size_t experts = 0;
  size_t experts_used = 2;
  size_t expert_ffn = 64;
  bool single_experts = false;  // a tensor for each
  bool dense_beside = false;    // a feed-forward beside the experts
  bool gated_beside = false;    // the same behind a sigmoid
  double qk_gain = 1;           // queries and keys are this much longer than usual
  std::map<std::string, model::GgufValue>
      keys;              // beside the usual ones or in their place, without the architecture
  double logits = 1;     // their root mean square, about
  std::string poisoned;  // the tensor whose first number (or first block's scale) is `poison`
  float poison = 0;
  uint64_t seed = 1;
};

/// The plain model in a format, its rows whole blocks.
inline TinyModel tiny_model(tensor::DType dtype) {
  TinyModel out;
  out.dtype = dtype;
  if (tensor::block_size(dtype) <= 32) return out;
  out.d_model = tensor::block_size(dtype);
  out.head_dim = out.d_model / out.heads;
  out.ffn = 2 * out.d_model;
  return out;
}

/// Writes tensors of random values, which it keeps until the file is serialised.
class TinyWriter {
 public:
  explicit TinyWriter(const TinyModel& spec) : spec_(spec), random_(spec.seed) {}

  std::string serialise() {
    add_metadata();
    add_vocabulary();
    const auto& s = spec_;
    matrix("token_embd", s.d_model, s.vocab, false);
    for (size_t l = 0; l < s.layers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      add_attention(block, s.heads * s.head_dim, s.kv_heads * s.head_dim);
      vector(block + "ffn_norm.weight", s.d_model, 1.0);
      if (s.experts > 0) add_experts(block);
      if (s.experts == 0 || s.dense_beside) add_feed_forward(block, "");
      if (s.gated_beside) {
        vector(block + "ffn_gate_inp_shexp.weight", s.d_model, 0.0);
        add_feed_forward(block, "_shexp");
      }
      if (!s.ffn_post_norm.empty()) vector(block + s.ffn_post_norm + ".weight", s.d_model, 1.0);
    }
    vector("output_norm.weight", s.d_model, 1.0);
    if (!s.tied) matrix("output", s.d_model, s.vocab, false);
    const size_t pairs = rope_dims() / 2;
    if (s.rope_factors) vector("rope_freqs.weight", pairs, 2.0);
    if (s.long_rope_factors) {
      vector("rope_factors_long.weight", pairs, 3.0);
      vector("rope_factors_short.weight", pairs, 1.2);
    }
    return writer_.serialise();
  }

 private:
  size_t rope_dims() const {
    const auto found = spec_.keys.find("rope.dimension_count");
    return found == spec_.keys.end() ? spec_.head_dim : std::get<uint32_t>(found->second);
  }

  void add_attention(const std::string& block, uint64_t q, uint64_t kv) {
    const auto& s = spec_;
    const bool bias = s.biases || s.qkv_biases;
    vector(block + "attn_norm.weight", s.d_model, 1.0);
    if (s.fused) {
      matrix(block + "attn_qkv", s.d_model, q + 2 * kv, bias);
    } else {
      matrix(block + "attn_q", s.d_model, q, bias, s.qk_gain);
      matrix(block + "attn_k", s.d_model, kv, bias, s.qk_gain);
      matrix(block + "attn_v", s.d_model, kv, bias);
    }
    if (s.qk_norm) {
      vector(block + "attn_q_norm.weight", s.head_dim, s.qk_gain);
      vector(block + "attn_k_norm.weight", s.head_dim, s.qk_gain);
    }
    matrix(block + "attn_output", q, s.d_model, s.biases);
    if (!s.attention_post_norm.empty()) vector(block + s.attention_post_norm + ".weight", s.d_model, 1.0);
  }

  void add_feed_forward(const std::string& block, const std::string& suffix) {
    const auto& s = spec_;
    if (s.fused) {
      matrix(block + "ffn_up", s.d_model, 2 * s.ffn, s.biases);
    } else {
      matrix(block + "ffn_gate" + suffix, s.d_model, s.ffn, s.biases);
      matrix(block + "ffn_up" + suffix, s.d_model, s.ffn, s.biases);
    }
    matrix(block + "ffn_down" + suffix, s.ffn, s.d_model, s.biases);
  }

  void add_experts(const std::string& block) {
    const auto& s = spec_;
    add(block + "ffn_gate_inp.weight", tensor::DType::kF32, {s.d_model, s.experts},
        2 / std::sqrt(static_cast<double>(s.d_model)), 0.0);
    if (!s.single_experts) {
      matrix(block + "ffn_gate_exps", s.d_model, s.expert_ffn, false, 1, s.experts);
      matrix(block + "ffn_up_exps", s.d_model, s.expert_ffn, false, 1, s.experts);
      matrix(block + "ffn_down_exps", s.expert_ffn, s.d_model, false, 1, s.experts);
      return;
    }
    for (size_t e = 0; e < s.experts; ++e) {
      matrix(block + "ffn_gate." + std::to_string(e), s.d_model, s.expert_ffn, false);
      matrix(block + "ffn_up." + std::to_string(e), s.d_model, s.expert_ffn, false);
      matrix(block + "ffn_down." + std::to_string(e), s.expert_ffn, s.d_model, false);
    }
  }

  void add_metadata() {
    const auto& s = spec_;
    const auto number = [](size_t n) { return static_cast<uint32_t>(n); };
    writer_.set("general.architecture", s.architecture);
    writer_.set("general.name", "tiny");
    std::map<std::string, model::GgufValue> keys = {
        {"block_count", number(s.layers)},
        {"context_length", number(s.context)},
        {"embedding_length", number(s.d_model)},
        {"feed_forward_length", number(s.ffn)},
        {"attention.head_count", number(s.heads)},
        {"attention.head_count_kv", number(s.kv_heads)},
        {"attention.key_length", number(s.head_dim)},
        {"attention.value_length", number(s.head_dim)},
        {"attention.layer_norm_rms_epsilon", 1e-5f},
        {"rope.freq_base", 1000.0f},
        {"vocab_size", number(s.vocab)},
    };
    if (s.experts > 0) {
      keys["expert_count"] = number(s.experts);
      keys["expert_used_count"] = number(s.experts_used);
      keys["expert_feed_forward_length"] = number(s.expert_ffn);
    }
    for (const auto& [key, value] : s.keys) keys[key] = value;
    for (const auto& [key, value] : keys) writer_.set(s.architecture + "." + key, value);
  }

  void add_vocabulary() {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> types = {2, 3, 3};
    for (int byte = 0; byte < 256; ++byte) {
      const char* digits = "0123456789ABCDEF";
      tokens.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
      types.push_back(6);
    }
    while (tokens.size() < spec_.vocab) {
      tokens.push_back(std::string(1, static_cast<char>('a' + (tokens.size() - 259) % 26)) +
                       std::to_string(tokens.size()));
      types.push_back(1);
    }
    writer_.set("tokenizer.ggml.model", "llama");
    writer_.set("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1.0f));
    writer_.set("tokenizer.ggml.tokens", std::move(tokens));
    writer_.set("tokenizer.ggml.token_type", std::move(types));
    writer_.set("tokenizer.ggml.bos_token_id", uint32_t{1});
    writer_.set("tokenizer.ggml.eos_token_id", uint32_t{2});
    writer_.set("tokenizer.ggml.add_space_prefix", false);
  }

  void matrix(const std::string& stem, uint64_t in, uint64_t out, bool bias, double gain = 1,
              uint64_t count = 1) {
    // As trained models have it: each matrix a little below keeping its input's size.
    const bool table = stem == "token_embd" || stem == "output";
    const double scale = gain * (table ? spec_.logits : 0.8) / std::sqrt(static_cast<double>(in));
    std::vector<uint64_t> shape = {in, out};
    if (count > 1) shape.push_back(count);
    add(stem + ".weight", spec_.dtype, shape, scale, 0.0);
    if (bias) vector(stem + ".bias", out, 0.0);
  }

  void vector(const std::string& name, uint64_t n, double mean) {
    add(name, tensor::DType::kF32, {n}, 0.2, mean);
  }

  void add(const std::string& name, tensor::DType dtype, const std::vector<uint64_t>& shape, double scale,
           double mean) {
    const size_t cols = shape[0];
    size_t rows = 1;
    for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
    std::vector<float> row(cols);
    auto& data = kept_.emplace_back(rows * tensor::row_bytes(dtype, cols));
    for (size_t r = 0; r < rows; ++r) {
      for (float& v : row) v = static_cast<float>(mean + scale * random_.normal());
      tensor::quantize_row(dtype, row.data(), data.data() + r * tensor::row_bytes(dtype, cols), cols);
    }
    if (name == spec_.poisoned) store_poison(dtype, data.data());
    writer_.add_tensor(name, dtype, shape, data);
  }

  void store_poison(tensor::DType dtype, std::byte* at) const {
    const bool plain = tensor::block_size(dtype) == 1;  // a block format has an F16 scale
    tensor::quantize_row(plain ? dtype : tensor::DType::kF16, &spec_.poison,
                         at + tensor::block_format(dtype).half_at[0], 1);
  }

  TinyModel spec_;
  Random random_;
  model::GgufWriter writer_;
  std::deque<std::vector<std::byte>> kept_;
};

inline std::string tiny_gguf(const TinyModel& spec) { return TinyWriter(spec).serialise(); }

}  // namespace fathom::test
