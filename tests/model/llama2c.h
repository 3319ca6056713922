// Test support: the real model stories260K (llama2.c's format) as a GGUF file, and where tests find their data.
#pragma once

#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/gguf.h"

namespace fathom::test {

inline std::filesystem::path weights_folder() {
  return std::filesystem::path(FATHOM_SOURCE_DIR) / ".." / "shared" / "data" / "weights";
}

/// The real SmolLM2 file: FATHOM_TEST_MODEL, else where set-up puts it. Empty when there is none.
inline std::optional<std::filesystem::path> smollm2_path() {
  const char* given = std::getenv("FATHOM_TEST_MODEL");
  const std::filesystem::path path = given != nullptr ? std::filesystem::path(given)
                                                      : std::filesystem::path(FATHOM_SOURCE_DIR) / ".fathom" /
                                                            "models" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

inline bool has_stories260k() {
  return std::filesystem::exists(weights_folder() / "stories260K.bin") &&
         std::filesystem::exists(weights_folder() / "tok512.bin");
}

/// Reads values off the front of a file.
class Llama2cReader {
 public:
  explicit Llama2cReader(std::string data) : data_(std::move(data)) {}
  bool at_end() const { return at_ == data_.size(); }

  template <class T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view take(size_t size) {
    FATHOM_CHECK(size <= data_.size() - at_, "the file is as llama2.c writes it");
    at_ += size;
    return std::string_view(data_).substr(at_ - size, size);
  }

 private:
  std::string data_;
  size_t at_ = 0;
};

/// tok512.bin: i32 longest piece; then for each piece f32 score, i32 length, bytes. Spaces stand for U+2581.
inline void add_llama2c_vocabulary(model::GgufWriter& writer, std::string tokenizer_bin) {
  Llama2cReader in(std::move(tokenizer_bin));
  in.read<int32_t>();
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  while (!in.at_end()) {
    scores.push_back(in.read<float>());
    const auto size = static_cast<size_t>(in.read<int32_t>());
    std::string piece;
    for (const char c : in.take(size)) piece += c == ' ' ? std::string("\xE2\x96\x81") : std::string(1, c);
    const size_t id = tokens.size();
    tokens.push_back(id == 0 ? "<unk>" : id == 1 ? "<s>" : id == 2 ? "</s>" : piece);
    types.push_back(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
  }
  writer.set("tokenizer.ggml.model", "llama");
  writer.set("tokenizer.ggml.tokens", std::move(tokens));
  writer.set("tokenizer.ggml.scores", std::move(scores));
  writer.set("tokenizer.ggml.token_type", std::move(types));
  writer.set("tokenizer.ggml.bos_token_id", uint32_t{1});
  writer.set("tokenizer.ggml.eos_token_id", uint32_t{2});
}

/// Converts a llama2.c checkpoint (its "legacy" layout: seven i32 and the weights in f32) to GGUF bytes. llama2.c turns
/// neighbouring pairs, as GGUF's llama architecture does, so no rows move.
inline std::string llama2c_to_gguf(std::string checkpoint, std::string tokenizer_bin) {
  Llama2cReader in(std::move(checkpoint));
  const auto next = [&in] { return static_cast<uint64_t>(in.read<int32_t>()); };
  const uint64_t dim = next(), ffn = next(), layers = next(), heads = next(), kv_heads = next(),
                 vocab = next(), context = next();
  const uint64_t kv_dim = dim / heads * kv_heads;
  model::GgufWriter writer;
  writer.set("general.architecture", "llama");
  writer.set("general.name", "stories260K");
  writer.set("llama.block_count", static_cast<uint32_t>(layers));
  writer.set("llama.context_length", static_cast<uint32_t>(context));
  writer.set("llama.embedding_length", static_cast<uint32_t>(dim));
  writer.set("llama.feed_forward_length", static_cast<uint32_t>(ffn));
  writer.set("llama.attention.head_count", static_cast<uint32_t>(heads));
  writer.set("llama.attention.head_count_kv", static_cast<uint32_t>(kv_heads));
  writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.set("llama.vocab_size", static_cast<uint32_t>(vocab));
  add_llama2c_vocabulary(writer, std::move(tokenizer_bin));
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
    uint64_t elements = 1;
    for (const uint64_t extent : shape) elements *= extent;
    const std::string_view data = in.take(static_cast<size_t>(elements) * 4);
    writer.add_tensor(name, tensor::DType::kF32, shape, std::as_bytes(std::span(data)));
  };
  const auto add_layers = [&](const std::string& part, const std::vector<uint64_t>& shape) {
    for (uint64_t layer = 0; layer < layers; ++layer)
      add("blk." + std::to_string(layer) + "." + part + ".weight", shape);
  };
  add("token_embd.weight", {dim, vocab});  // the output matrix too: the vocabulary count is positive
  add_layers("attn_norm", {dim});
  add_layers("attn_q", {dim, dim});
  add_layers("attn_k", {dim, kv_dim});
  add_layers("attn_v", {dim, kv_dim});
  add_layers("attn_output", {dim, dim});
  add_layers("ffn_norm", {dim});
  add_layers("ffn_gate", {dim, ffn});
  add_layers("ffn_down", {ffn, dim});
  add_layers("ffn_up", {dim, ffn});
  add("output_norm.weight", {dim});
  return writer.serialise();
}

/// REQUIRES: has_stories260k().
inline std::string stories260k_gguf() {
  return llama2c_to_gguf(read_file(weights_folder() / "stories260K.bin"),
                         read_file(weights_folder() / "tok512.bin"));
}

}  // namespace fathom::test
