// Hugging Face folders as GGUF: what each tensor and key becomes. That the numbers are right is held against the
// transformers library in tests/infer/hugging_face_test.cc.
#include "model/hugging_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "model/config.h"
#include "model/hf/description.h"
#include "model/hf/names.h"
#include "model/hugging_face_folder.h"
#include "model/tokenizer.h"

namespace fathom::model {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class HuggingFace : public ::testing::Test {
 protected:
  GgufFile open(const test::HuggingFaceFolder& folder) {
    std::filesystem::remove_all(place());
    folder.write(place());
    return GgufFile::open(place());
  }

  void expect_refused(const test::HuggingFaceFolder& folder, ErrorCode code, const std::string& what) {
    try {
      open(folder);
      ADD_FAILURE() << "accepted, though " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  }

  std::filesystem::path place() const { return folder_.path() / "tiny-model"; }

  TempDir folder_;
};

std::vector<float> numbers(const GgufTensor& tensor) {
  std::vector<float> out(tensor.elements);
  tensor::dequantize_row(*tensor.dtype, tensor.data.data(), out.data(), out.size());
  return out;
}

TEST_F(HuggingFace, OpensAsWhatItWouldBeConvertedTo) {
  const auto file = open(test::small_llama_folder());
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_string("general.name"), "tiny-model");
  EXPECT_EQ(file.get_uint("llama.attention.head_count_kv"), 2u);
  EXPECT_EQ(file.get_string("tokenizer.chat_template"), "{{ messages[0].content }}");
  EXPECT_THAT(file.tensor("blk.1.ffn_down.weight").shape, ElementsAre(96, 64));
  const auto config = ModelConfig::from_gguf(file);
  EXPECT_EQ(config.layers, 2u);
  EXPECT_EQ(config.vocab, 300u);
  EXPECT_FALSE(config.tied_output);
  const auto tokenizer = Tokenizer::from_gguf(file);
  EXPECT_EQ(tokenizer.size(), 300u);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("Grüße")), "Grüße");
}

TEST_F(HuggingFace, RowsOfQueriesAndKeysTurnFromHalvesToNeighbours) {
  const auto file = open(test::small_llama_folder());
  const auto original = test::formula_weights("model.layers.0.self_attn.k_proj.weight", {32, 64}, false);
  const auto rows = numbers(file.tensor("blk.0.attn_k.weight"));
  // Two heads of 16 rows: row 2i + j of a head was row i + 8j.
  for (size_t row = 0; row < 32; ++row) {
    const size_t source = row / 16 * 16 + row % 2 * 8 + row % 16 / 2;
    EXPECT_EQ(rows[row * 64 + 5], original[source * 64 + 5]) << row;
  }
  const auto values = test::formula_weights("model.layers.0.self_attn.v_proj.weight", {32, 64}, false);
  EXPECT_EQ(numbers(file.tensor("blk.0.attn_v.weight")), values);
}

TEST_F(HuggingFace, MatricesKeepTheirFormatAndVectorsBecomeF32) {
  for (const auto dtype : {tensor::DType::kBF16, tensor::DType::kF16}) {
    auto folder = test::small_llama_folder();
    folder.dtype = dtype;
    const auto file = open(folder);
    EXPECT_EQ(file.tensor("blk.0.attn_q.weight").dtype, dtype);
    EXPECT_EQ(file.tensor("token_embd.weight").dtype, dtype);
    EXPECT_EQ(file.tensor("output_norm.weight").dtype, tensor::DType::kF32);
    EXPECT_EQ(file.get_uint("general.file_type"), dtype == tensor::DType::kF16 ? 1u : 32u);
  }
}

TEST_F(HuggingFace, PartsReadAsOne) {
  auto folder = test::small_llama_folder();
  const auto whole = numbers(open(folder).tensor("blk.1.attn_q.weight"));
  folder.parts = 3;
  const auto file = open(folder);
  EXPECT_EQ(file.parts(), 3u);
  EXPECT_EQ(numbers(file.tensor("blk.1.attn_q.weight")), whole);
}

TEST_F(HuggingFace, ADescriptionDoesNotConvert) {
  test::small_llama_folder().write(place());
  const auto file = GgufFile::open(place(), GgufContents::kDescription);
  EXPECT_EQ(ModelConfig::from_gguf(file).parameters(),
            ModelConfig::from_gguf(GgufFile::open(place())).parameters());
  EXPECT_EQ(file.tensor("blk.0.attn_q.weight").data.size(), 64u * 64 * 4);
  EXPECT_EQ(numbers(file.tensor("blk.0.attn_q.weight"))[7], 0.0f);
}

TEST_F(HuggingFace, AFileOfItsOwnHoldsTheChatTemplate) {
  test::small_llama_folder().write(place());
  write_file_atomic(place() / "chat_template.json", R"({"chat_template":"from json"})");
  EXPECT_EQ(GgufFile::open(place()).get_string("tokenizer.chat_template"), "from json");
  write_file_atomic(place() / "chat_template.jinja", "from jinja");
  EXPECT_EQ(GgufFile::open(place()).get_string("tokenizer.chat_template"), "from jinja");
}

TEST_F(HuggingFace, RefusesClearly) {
  const auto base = test::small_llama_folder();
  auto folder = base;
  folder.config["architectures"] = {"MambaForCausalLM"};
  expect_refused(folder, ErrorCode::kUnsupported, "architecture 'MambaForCausalLM'");
  folder = base;
  folder.config["quantization_config"] = {{"quant_method", "gptq"}};
  expect_refused(folder, ErrorCode::kUnsupported, "quantised by 'gptq'");
  folder = base;
  folder.config["hidden_act"] = "relu";
  expect_refused(folder, ErrorCode::kUnsupported, "activation 'relu'");
  folder = base;
  folder.config["rope_scaling"] = {{"rope_type", "spiral"}};
  expect_refused(folder, ErrorCode::kUnsupported, "'spiral'");
  folder = base;
  folder.tensors.emplace_back("model.layers.0.self_attn.sinks.weight", std::vector<uint64_t>{4});
  expect_refused(folder, ErrorCode::kUnsupported, "self_attn.sinks");
  folder = base;
  folder.config["num_attention_heads"] = 0;
  expect_refused(folder, ErrorCode::kCorrupt, "is 0");
  folder = base;
  folder.config["num_attention_heads"] = 3;
  folder.config["head_dim"] = 16;
  expect_refused(folder, ErrorCode::kCorrupt, "do not divide into");
  folder = base;
  folder.config["hidden_size"] = "wide";
  expect_refused(folder, ErrorCode::kCorrupt, "'hidden_size'");
  folder = base;
  folder.config.erase("num_hidden_layers");
  expect_refused(folder, ErrorCode::kCorrupt, "'num_hidden_layers' is missing");
}

TEST_F(HuggingFace, AFolderWithoutAModelIsNone) {
  std::filesystem::create_directories(place());
  EXPECT_FALSE(is_hugging_face_folder(place()));
  EXPECT_THROW(GgufFile::open(place()), Error);
  test::small_llama_folder().write(place());
  EXPECT_TRUE(is_hugging_face_folder(place()));
}

TEST(HuggingFaceNames, FollowTheConverter) {
  const auto name = [](const char* architecture, const char* from) {
    return gguf_name(architecture, from).gguf;
  };
  EXPECT_EQ(name("llama", "model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(name("llama", "lm_head.weight"), "output.weight");
  EXPECT_EQ(name("llama", "model.layers.11.post_attention_layernorm.weight"), "blk.11.ffn_norm.weight");
  EXPECT_EQ(name("gemma3", "model.layers.0.post_attention_layernorm.weight"),
            "blk.0.post_attention_norm.weight");
  EXPECT_EQ(name("gemma3", "language_model.model.layers.0.mlp.up_proj.weight"), "blk.0.ffn_up.weight");
  EXPECT_EQ(name("gemma3", "model.language_model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(name("llama", "model.layers.3.block_sparse_moe.experts.7.w2.weight"), "blk.3.ffn_down.7.weight");
  EXPECT_EQ(name("qwen3moe", "model.layers.3.mlp.experts.12.gate_proj.weight"), "blk.3.ffn_gate.12.weight");
  EXPECT_EQ(name("grok", "model.layers.0.post_attn_norm.weight"), "blk.0.attn_output_norm.weight");
  EXPECT_EQ(name("bert", "bert.encoder.layer.5.attention.output.LayerNorm.bias"),
            "blk.5.attn_output_norm.bias");
  EXPECT_EQ(name("bert", "embeddings.position_embeddings.weight"), "position_embd.weight");
  EXPECT_EQ(gguf_name("llama", "model.layers.0.self_attn.rotary_emb.inv_freq").place, HfPlace::kPassedOver);
  EXPECT_EQ(gguf_name("gemma3", "vision_tower.encoder.x.weight").place, HfPlace::kPassedOver);
  EXPECT_EQ(gguf_name("bert", "embeddings.position_ids").place, HfPlace::kPassedOver);
  for (const char* odd :
       {"", ".", "weight", "model.layers.x.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight",
        "model.layers.0.weight", "model.layers.0.mlp.up_proj.scale", "model.norm.scale"})
    EXPECT_EQ(gguf_name("llama", odd).place, HfPlace::kUnknown) << odd;
}

/// The value of a key as text; empty when there is none.
std::string key_of(const HfDescription& description, const std::string& key) {
  for (const auto& [name, value] : description.keys) {
    if (name != key) continue;
    if (const auto* number = std::get_if<uint32_t>(&value)) return std::to_string(*number);
    if (const auto* real = std::get_if<float>(&value)) return std::to_string(*real);
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
    return "?";
  }
  return "";
}

json config_of(const char* architecture, const json& more = json::object()) {
  json config = test::small_llama_folder().config;
  config["architectures"] = {architecture};
  config.update(more);
  return config;
}

TEST(HuggingFaceDescription, ReadsOldAndNewFormsOfRopeAlike) {
  const json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 32}};
  const auto old_form = describe_hugging_face(
      config_of("LlamaForCausalLM", {{"rope_theta", 500000.0}, {"rope_scaling", scaling}}).dump(), "", "f");
  json parameters = scaling;
  parameters["rope_theta"] = 500000.0;
  json config = config_of("LlamaForCausalLM", {{"rope_parameters", parameters}});
  config.erase("rope_theta");
  const auto new_form = describe_hugging_face(config.dump(), "", "f");
  EXPECT_EQ(key_of(old_form, "llama.rope.freq_base"), "500000.000000");
  EXPECT_EQ(old_form.keys, new_form.keys);
  ASSERT_EQ(old_form.tables.size(), 1u);
  EXPECT_EQ(old_form.tables, new_form.tables);
}

TEST(HuggingFaceDescription, HostileOnesAreRefused) {
  const auto expect_refused = [](const std::string& text, const char* what) {
    try {
      (void)describe_hugging_face(text, "", "f");
      ADD_FAILURE() << "was read, though " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_NE(std::string_view(error.what()).find(what), std::string_view::npos) << error.what();
    }
  };
  std::string deep = config_of("LlamaForCausalLM", {{"eos_token_id", "@"}}).dump();
  deep.replace(deep.find("\"@\""), 3, std::string(500'000, '[') + std::string(500'000, ']'));
  expect_refused(deep, "nested too deep");
  expect_refused(config_of("LlamaForCausalLM", {{"head_dim", 1u << 30}}).dump(), "width");
  expect_refused(config_of("LlamaForCausalLM", {{"partial_rotary_factor", -1e300}}).dump(),
                 "partial_rotary_factor");
}

TEST(HuggingFaceDescription, SlidingWindows) {
  const auto window = [](const char* architecture, const json& more) {
    const auto description = describe_hugging_face(config_of(architecture, more).dump(), "", "f");
    return key_of(description, description.architecture + ".attention.sliding_window");
  };
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", 64}}), "64");
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", nullptr}}), "");
  EXPECT_EQ(window("MistralForCausalLM", {{"sliding_window", 4096}}), "");  // more than the context
  EXPECT_EQ(window("Qwen2ForCausalLM", {{"sliding_window", 64}, {"use_sliding_window", false}}), "");
  EXPECT_THROW(window("Qwen2ForCausalLM", {{"use_sliding_window", true}}), Error);
}

TEST(HuggingFaceDescription, GrokTwo) {
  const auto grok =
      describe_hugging_face(config_of("Grok1ForCausalLM", {{"hidden_act", "gelu"},
                                                           {"num_local_experts", 8},
                                                           {"num_experts_per_tok", 2},
                                                           {"moe_intermediate_size", 48},
                                                           {"embedding_multiplier_scale", 90.5},
                                                           {"output_multiplier_scale", 0.5},
                                                           {"final_logit_softcapping", 50},
                                                           {"rope_type", "original"},
                                                           {"scaling_factor", 16.0},
                                                           {"original_max_position_embeddings", 32},
                                                           {"extrapolation_factor", 1.0},
                                                           {"attn_factor", 1.0},
                                                           {"beta_fast", 8},
                                                           {"beta_slow", 1},
                                                           {"attn_temperature_len", 1024}})
                                .dump(),
                            "", "f");
  EXPECT_EQ(grok.architecture, "grok");
  EXPECT_FALSE(grok.permutes_heads);
  EXPECT_EQ(key_of(grok, "grok.rope.scaling.type"), "yarn");
  EXPECT_EQ(key_of(grok, "grok.expert_feed_forward_length"), "48");
  EXPECT_EQ(key_of(grok, "grok.embedding_scale"), "90.500000");
  EXPECT_EQ(key_of(grok, "grok.attention.temperature_length"), "1024");
}

TEST(HuggingFaceDescription, GenerationConfigNamesTheEnds) {
  const auto description =
      describe_hugging_face(config_of("LlamaForCausalLM", {{"bos_token_id", 1}, {"eos_token_id", 9}}).dump(),
                            R"({"eos_token_id":[2,7],"pad_token_id":null})", "f");
  EXPECT_THAT(description.special_ids,
              ElementsAre(std::pair<std::string, uint32_t>("tokenizer.ggml.bos_token_id", 1),
                          std::pair<std::string, uint32_t>("tokenizer.ggml.eos_token_id", 2),
                          std::pair<std::string, uint32_t>("tokenizer.ggml.eot_token_id", 7)));
}

}  // namespace
}  // namespace fathom::model
