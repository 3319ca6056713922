// Test support: Hugging Face folders of small models. Weights follow from a tensor's name and an element's number as in
// tests/infer/record_hugging_face.py, so that only configurations and results need recording.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "model/safetensors_writer.h"
#include "tensor/dtype.h"

namespace fathom::test {

using TensorShapes = std::vector<std::pair<std::string, std::vector<uint64_t>>>;  // by Hugging Face's names

inline uint64_t name_hash(std::string_view name) {
  uint64_t value = 14695981039346656037u;  // FNV-1a
  for (const char c : name) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return value;
}

/// In [-1, 1): SplitMix64 of the name's hash and the element's number.
inline double unit_weight(uint64_t hash, uint64_t index) {
  uint64_t z = hash + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) / static_cast<double>(1 << 23) - 1.0;
}

/// `gemma`: norms are offsets from 1.
inline std::vector<float> formula_weights(std::string_view name, const std::vector<uint64_t>& shape,
                                          bool gemma) {
  uint64_t count = 1;
  for (const uint64_t extent : shape) count *= extent;
  const uint64_t hash = name_hash(name);
  const bool norm = name.find("norm") != std::string_view::npos;
  const double matrix_scale = 1.5 / std::sqrt(static_cast<double>(shape.back()));
  const double scale = norm || shape.size() == 1 ? 0.25 : matrix_scale;
  const double middle = norm && !gemma ? 1.0 : 0.0;
  std::vector<float> values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = static_cast<float>(middle + unit_weight(hash, i) * scale);
  return values;
}

/// A byte-level BPE of 256 bytes and, after them, words of no merge up to `size`; ids 0 to 2 are special.
inline std::string byte_tokenizer_json(size_t size) {
  nlohmann::json vocabulary = nlohmann::json::object();
  nlohmann::json added = nlohmann::json::array();
  for (const char* name : {"<unk>", "<s>", "</s>"}) {
    added.push_back({{"id", added.size()},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    vocabulary[name] = vocabulary.size();
  }
  for (unsigned byte = 0, beyond = 0; byte < 256; ++byte) {  // GPT-2's alphabet of bytes
    const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const unsigned code = shown ? byte : 256 + beyond++;
    std::string text;
    if (code < 128)
      text = static_cast<char>(code);
    else
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    vocabulary[text] = vocabulary.size();
  }
  while (vocabulary.size() < size) vocabulary["word" + std::to_string(vocabulary.size())] = vocabulary.size();
  return nlohmann::json{
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}}
      .dump();
}

struct HuggingFaceFolder {
  nlohmann::json config;
  TensorShapes tensors;
  tensor::DType dtype = tensor::DType::kF32;
  bool gemma = false;
  size_t parts = 1;  // safetensors files, with an index where more than one

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_file_atomic(folder / "config.json", config.dump());
    write_file_atomic(folder / "tokenizer.json",
                      byte_tokenizer_json(config.value("vocab_size", size_t{300})));
    write_file_atomic(
        folder / "tokenizer_config.json",
        R"({"bos_token":"<s>","eos_token":"</s>","chat_template":"{{ messages[0].content }}"})");
    std::vector<SafetensorsWriter> writers(parts);
    nlohmann::json index = nlohmann::json::object();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, shape] = tensors[i];
      const size_t part = i * parts / tensors.size();
      writers[part].add(name, dtype, shape, formula_weights(name, shape, gemma));
      index[name] = part_name(part);
    }
    for (size_t part = 0; part < parts; ++part)
      write_file_atomic(folder / part_name(part), writers[part].serialise());
    if (parts > 1)
      write_file_atomic(folder / "model.safetensors.index.json",
                        nlohmann::json{{"weight_map", index}}.dump());
  }

  std::string part_name(size_t part) const {
    if (parts == 1) return "model.safetensors";
    const auto five = [](size_t n) {
      return std::string(5 - std::to_string(n).size(), '0') + std::to_string(n);
    };
    return "model-" + five(part + 1) + "-of-" + five(parts) + ".safetensors";
  }
};

/// A llama of 2 layers, 4 heads of 16 that share 2 key heads, and a vocabulary of 300.
inline HuggingFaceFolder small_llama_folder() {
  HuggingFaceFolder folder;
  folder.config = {{"architectures", {"LlamaForCausalLM"}},
                   {"model_type", "llama"},
                   {"hidden_size", 64},
                   {"intermediate_size", 96},
                   {"num_hidden_layers", 2},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2},
                   {"max_position_embeddings", 128},
                   {"rms_norm_eps", 1e-5},
                   {"rope_theta", 10000.0},
                   {"hidden_act", "silu"},
                   {"tie_word_embeddings", false},
                   {"vocab_size", 300}};
  folder.tensors = {
      {"model.embed_tokens.weight", {300, 64}}, {"model.norm.weight", {64}}, {"lm_head.weight", {300, 64}}};
  for (const char* layer : {"0", "1"}) {
    const std::string block = std::string("model.layers.") + layer + ".";
    for (const auto& [name, shape] : TensorShapes{{"input_layernorm", {64}},
                                                  {"post_attention_layernorm", {64}},
                                                  {"self_attn.q_proj", {64, 64}},
                                                  {"self_attn.k_proj", {32, 64}},
                                                  {"self_attn.v_proj", {32, 64}},
                                                  {"self_attn.o_proj", {64, 64}},
                                                  {"mlp.gate_proj", {96, 64}},
                                                  {"mlp.up_proj", {96, 64}},
                                                  {"mlp.down_proj", {64, 96}}})
      folder.tensors.emplace_back(block + name + ".weight", shape);
  }
  return folder;
}

}  // namespace fathom::test
