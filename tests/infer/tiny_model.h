// Test support: small random models as GGUF bytes, with a tokenizer whose tokens are bytes.
#pragma once

#include <cmath>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "model/gguf.h"
#include "tensor/dtype.h"

namespace fathom::test {

struct TinyModel {
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
  bool biases = false;
  bool rope_factors = false;
  double logits = 1;     // their root mean square, about
  std::string poisoned;  // the tensor whose first number (or first block's scale) is `poison`
  float poison = 0;
  uint64_t seed = 1;
};

/// Writes tensors of random values, which it keeps until the file is serialised.
class TinyWriter {
 public:
  explicit TinyWriter(const TinyModel& spec) : spec_(spec), random_(spec.seed) {}

  std::string serialise() {
    add_metadata();
    add_vocabulary();
    const auto& s = spec_;
    const uint64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    matrix("token_embd", s.d_model, s.vocab, false);
    for (size_t l = 0; l < s.layers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      vector(block + "attn_norm.weight", s.d_model, 1.0);
      matrix(block + "attn_q", s.d_model, q, s.biases);
      matrix(block + "attn_k", s.d_model, kv, s.biases);
      matrix(block + "attn_v", s.d_model, kv, s.biases);
      matrix(block + "attn_output", q, s.d_model, s.biases);
      vector(block + "ffn_norm.weight", s.d_model, 1.0);
      matrix(block + "ffn_gate", s.d_model, s.ffn, s.biases);
      matrix(block + "ffn_up", s.d_model, s.ffn, s.biases);
      matrix(block + "ffn_down", s.ffn, s.d_model, s.biases);
    }
    vector("output_norm.weight", s.d_model, 1.0);
    if (!s.tied) matrix("output", s.d_model, s.vocab, false);
    if (s.rope_factors) vector("rope_freqs.weight", s.head_dim / 2, 2.0);
    return writer_.serialise();
  }

 private:
  void add_metadata() {
    const auto& s = spec_;
    const auto number = [](size_t n) { return static_cast<uint32_t>(n); };
    writer_.set("general.architecture", "llama");
    writer_.set("general.name", "tiny");
    writer_.set("llama.block_count", number(s.layers));
    writer_.set("llama.context_length", number(s.context));
    writer_.set("llama.embedding_length", number(s.d_model));
    writer_.set("llama.feed_forward_length", number(s.ffn));
    writer_.set("llama.attention.head_count", number(s.heads));
    writer_.set("llama.attention.head_count_kv", number(s.kv_heads));
    writer_.set("llama.attention.key_length", number(s.head_dim));
    writer_.set("llama.attention.value_length", number(s.head_dim));
    writer_.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    writer_.set("llama.rope.freq_base", 1000.0f);
    writer_.set("llama.vocab_size", number(s.vocab));
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

  void matrix(const std::string& stem, uint64_t in, uint64_t out, bool bias) {
    // As trained models have it: each matrix a little below keeping its input's size.
    const bool table = stem == "token_embd" || stem == "output";
    const double scale = (table ? spec_.logits : 0.8) / std::sqrt(static_cast<double>(in));
    add(stem + ".weight", spec_.dtype, {in, out}, scale, 0.0);
    if (bias) vector(stem + ".bias", out, 0.0);
  }

  void vector(const std::string& name, uint64_t n, double mean) {
    add(name, tensor::DType::kF32, {n}, 0.2, mean);
  }

  void add(const std::string& name, tensor::DType dtype, const std::vector<uint64_t>& shape, double scale,
           double mean) {
    const size_t cols = shape[0];
    const size_t rows = shape.size() > 1 ? shape[1] : 1;
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
    const bool plain = tensor::block_size(dtype) == 1;  // a block format begins with an F16
    tensor::quantize_row(plain ? dtype : tensor::DType::kF16, &spec_.poison, at, 1);
  }

  TinyModel spec_;
  Random random_;
  model::GgufWriter writer_;
  std::deque<std::vector<std::byte>> kept_;
};

inline std::string tiny_gguf(const TinyModel& spec) { return TinyWriter(spec).serialise(); }

}  // namespace fathom::test
