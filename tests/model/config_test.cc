#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "llama2c.h"

namespace fathom::model {
namespace {

using ::testing::HasSubstr;

/// A description of a llama model that tests change, and the file that follows from it.
struct Description {
  std::map<std::string, GgufValue> keys{{"general.architecture", "llama"},
                                        {"general.name", "tiny"},
                                        {"llama.block_count", uint32_t{2}},
                                        {"llama.context_length", uint32_t{64}},
                                        {"llama.embedding_length", uint32_t{8}},
                                        {"llama.feed_forward_length", uint32_t{12}},
                                        {"llama.attention.head_count", uint32_t{4}},
                                        {"llama.attention.head_count_kv", uint32_t{2}},
                                        {"llama.attention.layer_norm_rms_epsilon", 1e-5f},
                                        {"llama.vocab_size", uint32_t{10}}};
  std::map<std::string, std::vector<uint64_t>> tensors{{"token_embd.weight", {8, 10}},
                                                       {"output_norm.weight", {8}}};

  Description() {
    for (const std::string block : {"blk.0.", "blk.1."}) {
      tensors[block + "attn_norm.weight"] = {8};
      tensors[block + "attn_q.weight"] = {8, 8};
      tensors[block + "attn_k.weight"] = {8, 4};
      tensors[block + "attn_v.weight"] = {8, 4};
      tensors[block + "attn_output.weight"] = {8, 8};
      tensors[block + "ffn_norm.weight"] = {8};
      tensors[block + "ffn_gate.weight"] = {8, 12};
      tensors[block + "ffn_up.weight"] = {8, 12};
      tensors[block + "ffn_down.weight"] = {12, 8};
    }
  }

  std::string file() const {
    static const std::vector<std::byte> kZeros(1 << 16);
    GgufWriter writer;
    for (const auto& [key, value] : keys) writer.set(key, value);
    for (const auto& [name, shape] : tensors) {
      uint64_t bytes = 4;
      for (const uint64_t extent : shape) bytes *= extent;
      writer.add_tensor(name, tensor::DType::kF32, shape,
                        std::span(kZeros).first(static_cast<size_t>(bytes)));
    }
    return writer.serialise();
  }

  ModelConfig config() const {
    const std::string bytes = file();
    return ModelConfig::from_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "tiny.gguf"));
  }
};

void expect_refused(const Description& description, ErrorCode code, const std::string& what) {
  try {
    description.config();
    ADD_FAILURE() << "accepted where '" << what << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_THAT(error.what(), HasSubstr("tiny.gguf"));
  }
}

TEST(ModelConfig, ReadsALlama) {
  const ModelConfig config = Description().config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.name, "tiny");
  EXPECT_EQ(config.layers, 2u);
  EXPECT_EQ(config.d_model, 8u);
  EXPECT_EQ(config.head_dim, 2u);
  EXPECT_EQ(config.kv_dim(), 4u);
  EXPECT_EQ(config.rope.dims, 2u);
  EXPECT_EQ(config.rope.base, 10000.0f);
  EXPECT_EQ(config.rope.scale, 1.0f);
  EXPECT_TRUE(config.tied_output);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.rope.frequency_factors);
  EXPECT_EQ(config.parameters(), 80u + 8 + 2 * (16 + 64 + 32 + 32 + 64 + 3 * 96));
}

TEST(ModelConfig, ReadsWhatIsOptional) {
  Description d;
  d.keys["llama.rope.freq_base"] = 5e5f;
  d.keys["llama.rope.scaling.type"] = "linear";
  d.keys["llama.rope.scaling.factor"] = 4.0f;
  d.keys.erase("llama.attention.head_count_kv");
  d.tensors["output.weight"] = {8, 10};
  d.tensors["rope_freqs.weight"] = {1};
  for (const std::string block : {"blk.0.", "blk.1."}) {
    d.tensors[block + "attn_k.weight"] = d.tensors[block + "attn_v.weight"] = {8, 8};
    for (const std::string part : {"attn_q", "attn_k", "attn_v", "attn_output"})
      d.tensors[block + part + ".bias"] = {8};
    d.tensors[block + "ffn_gate.bias"] = d.tensors[block + "ffn_up.bias"] = {12};
    d.tensors[block + "ffn_down.bias"] = {8};
  }
  const ModelConfig config = d.config();
  EXPECT_EQ(config.kv_heads, 4u);
  EXPECT_EQ(config.rope.base, 5e5f);
  EXPECT_EQ(config.rope.scale, 4.0f);
  EXPECT_TRUE(config.rope.frequency_factors);
  EXPECT_FALSE(config.tied_output);
  EXPECT_TRUE(config.attention_bias && config.attention_output_bias && config.ffn_bias);
  d.tensors.erase("blk.1.attn_v.bias");
  expect_refused(d, ErrorCode::kCorrupt, "blk.1.attn_v.bias");
}

TEST(ModelConfig, AMissingTensorNamesItself) {
  for (const auto& [name, shape] : Description().tensors) {
    Description d;
    d.tensors.erase(name);
    expect_refused(d, ErrorCode::kCorrupt, "'" + name + "'");
  }
}

TEST(ModelConfig, AMisshapenTensorNamesItself) {
  for (const auto& [name, shape] : Description().tensors) {
    Description d;
    d.tensors[name].back() += 1;
    expect_refused(d, ErrorCode::kCorrupt, "'" + name + "' has the shape");
    d.tensors[name] = shape;
    d.tensors[name].push_back(1);
    expect_refused(d, ErrorCode::kCorrupt, "'" + name + "' has the shape");
  }
}

TEST(ModelConfig, KeysOutOfBoundsNameThemselves) {
  for (const std::string key :
       {"llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.vocab_size"})
    for (const uint32_t value : {0u, 0xFFFFFFFFu}) {
      Description d;
      d.keys[key] = value;
      expect_refused(d, ErrorCode::kCorrupt, key);
      d.keys[key] = "text";
      expect_refused(d, ErrorCode::kCorrupt, key);
    }
  for (const std::string key : {"general.architecture", "llama.block_count", "llama.context_length",
                                "llama.embedding_length", "llama.feed_forward_length",
                                "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"}) {
    Description d;
    d.keys.erase(key);
    expect_refused(d, ErrorCode::kCorrupt, key);
  }
}

TEST(ModelConfig, NumbersThatCannotBe) {
  const auto with = [](const std::string& key, GgufValue value) {
    Description d;
    d.keys[key] = std::move(value);
    return d;
  };
  expect_refused(with("llama.attention.layer_norm_rms_epsilon", 0.0f), ErrorCode::kCorrupt, "epsilon");
  expect_refused(with("llama.attention.layer_norm_rms_epsilon", -NAN), ErrorCode::kCorrupt, "epsilon");
  expect_refused(with("llama.rope.freq_base", INFINITY), ErrorCode::kCorrupt, "freq_base");
  expect_refused(with("llama.rope.dimension_count", uint32_t{1}), ErrorCode::kCorrupt, "dimension_count");
  expect_refused(with("llama.rope.dimension_count", uint32_t{4}), ErrorCode::kCorrupt, "dimension_count");
  expect_refused(with("llama.attention.head_count", uint32_t{3}), ErrorCode::kCorrupt, "heads");
  expect_refused(with("llama.attention.head_count_kv", uint32_t{3}), ErrorCode::kCorrupt, "evenly");
  expect_refused(with("llama.attention.head_count_kv", uint32_t{8}), ErrorCode::kCorrupt, "head_count_kv");
}

TEST(ModelConfig, OtherModelsAreUnsupportedByName) {
  const auto with = [](const std::string& key, GgufValue value) {
    Description d;
    d.keys[key] = std::move(value);
    return d;
  };
  expect_refused(with("general.architecture", "mamba"), ErrorCode::kUnsupported, "'mamba'");
  expect_refused(with("llama.rope.scaling.type", "sideways"), ErrorCode::kUnsupported, "'sideways'");
  expect_refused(with("llama.attention.value_length", uint32_t{3}), ErrorCode::kUnsupported, "widths");
  expect_refused(with("llama.attention.head_count_kv", std::vector<int32_t>{2, 1}), ErrorCode::kUnsupported,
                 "head_count_kv");
}

/// The same description under another architecture's name.
Description renamed(const std::string& architecture) {
  Description d, out;
  out.tensors = d.tensors;
  out.keys.clear();
  for (const auto& [key, value] : d.keys)
    out.keys[key.starts_with("llama.") ? architecture + key.substr(5) : key] = value;
  out.keys["general.architecture"] = architecture;
  return out;
}

TEST(ModelConfig, AMistralHasItsWindow) {
  Description d;
  d.keys["llama.attention.sliding_window"] = uint32_t{16};
  EXPECT_EQ(d.config().window(0), 16u);
  EXPECT_EQ(d.config().window(1), 16u);
  d.keys["llama.attention.sliding_window"] = uint32_t{0};
  EXPECT_EQ(d.config().window(0), 0u);
  d.keys["llama.attention.sliding_window"] = 0.5f;
  expect_refused(d, ErrorCode::kCorrupt, "sliding_window");
  Description named = renamed("mistral");
  named.keys["mistral.attention.sliding_window"] = uint32_t{16};
  EXPECT_EQ(named.config().window(0), 16u);
}

TEST(ModelConfig, ReadsExperts) {
  Description d;
  d.keys["llama.expert_count"] = uint32_t{4};
  expect_refused(d, ErrorCode::kCorrupt, "expert_used_count");
  d.keys["llama.expert_used_count"] = uint32_t{5};
  expect_refused(d, ErrorCode::kCorrupt, "expert_used_count");
  d.keys["llama.expert_used_count"] = uint32_t{0};
  expect_refused(d, ErrorCode::kCorrupt, "expert_used_count");
  d.keys["llama.expert_used_count"] = uint32_t{2};
  expect_refused(d, ErrorCode::kCorrupt, "ffn_gate_inp");
  for (const std::string block : {"blk.0.", "blk.1."}) {
    for (const std::string part : {"ffn_gate", "ffn_up", "ffn_down"})
      d.tensors.erase(block + part + ".weight");
    d.tensors[block + "ffn_gate_inp.weight"] = {8, 4};
    d.tensors[block + "ffn_gate_exps.weight"] = d.tensors[block + "ffn_up_exps.weight"] = {8, 12, 4};
    d.tensors[block + "ffn_down_exps.weight"] = {12, 8, 4};
  }
  const std::string bytes = d.file();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "tiny.gguf");
  const ModelConfig config = ModelConfig::from_gguf(file);
  EXPECT_EQ(config.experts.count, 4u);
  EXPECT_EQ(config.experts.used, 2u);
  EXPECT_EQ(config.experts.ffn, 12u);
  EXPECT_EQ(config.parameters() - config.active_parameters(), 2u * 2 * 3 * 8 * 12);
  EXPECT_EQ(bytes_read_per_token(config, file), 4 * config.active_parameters());
  d.keys["llama.expert_count"] = uint32_t{3};
  expect_refused(d, ErrorCode::kCorrupt, "ffn_gate_inp.weight' has the shape [8, 4] where [8, 3] is needed");
  d.keys["llama.expert_count"] = uint32_t{1} << 31;
  expect_refused(d, ErrorCode::kCorrupt, "expert_count");
  d.keys["llama.expert_count"] = uint32_t{4};
  d.keys["llama.expert_weights_scale"] = NAN;
  expect_refused(d, ErrorCode::kCorrupt, "expert_weights_scale");
}

TEST(ModelConfig, WhatABlockHasNoPlaceForIsRefused) {
  Description d;
  d.tensors["blk.1.attn_sub_norm.weight"] = {8};
  expect_refused(d, ErrorCode::kUnsupported, "'blk.1.attn_sub_norm.weight'");
  Description embedding;
  embedding.tensors["token_embd_norm.weight"] = {8};
  expect_refused(embedding, ErrorCode::kUnsupported, "'token_embd_norm.weight'");
  Description norm;  // a llama with the norms of a qwen3
  norm.tensors["blk.0.attn_q_norm.weight"] = {2};
  expect_refused(norm, ErrorCode::kUnsupported, "'blk.0.attn_q_norm.weight'");
  Description harmless;
  harmless.tensors["blk.0.attn_rot_embd.weight"] = {1};
  harmless.tensors["blk.2.nextn.eh_proj.weight"] = {8, 8};
  harmless.tensors["v.patch_embd.weight"] = {8, 8};
  EXPECT_EQ(harmless.config().parameters(), Description().config().parameters());
}

TEST(ModelConfig, RopeScalingWithinBounds) {
  const auto with = [](const std::string& key, GgufValue value) {
    Description d;
    d.keys["llama.rope.scaling.type"] = "yarn";
    d.keys["llama.rope.scaling.factor"] = 4.0f;
    d.keys[key] = std::move(value);
    return d;
  };
  const ModelConfig config = with("llama.rope.scaling.original_context_length", uint32_t{32}).config();
  EXPECT_EQ(config.rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(config.rope.original_context, 32u);
  EXPECT_NEAR(config.rope.attention_factor, 1.1386f, 1e-4f);  // 1 + ln(4) / 10
  expect_refused(with("llama.rope.scaling.factor", 0.0f), ErrorCode::kCorrupt, "scaling.factor");
  expect_refused(with("llama.rope.scaling.factor", NAN), ErrorCode::kCorrupt, "scaling.factor");
  expect_refused(with("llama.rope.scaling.original_context_length", uint32_t{0}), ErrorCode::kCorrupt,
                 "original_context_length");
  expect_refused(with("llama.rope.scaling.yarn_beta_fast", -1.0f), ErrorCode::kCorrupt, "yarn_beta_fast");
  expect_refused(with("llama.rope.scaling.yarn_ext_factor", 2.0f), ErrorCode::kCorrupt, "extrapolation");
  expect_refused(with("llama.rope.freq_base", 0.5f), ErrorCode::kCorrupt, "base");
}

TEST(ModelConfig, OtherArchitecturesCallForTheirTensors) {
  expect_refused(renamed("qwen3"), ErrorCode::kCorrupt, "'blk.0.attn_q_norm.weight'");
  expect_refused(renamed("gemma2"), ErrorCode::kCorrupt, "'blk.0.post_attention_norm.weight'");
  expect_refused(renamed("grok"), ErrorCode::kCorrupt, "'grok.expert_count'");
  expect_refused(renamed("qwen2moe"), ErrorCode::kCorrupt, "'qwen2moe.expert_count'");
  EXPECT_EQ(renamed("qwen2").config().rope.pairing, RopePairing::kHalves);
  const ModelConfig gemma = renamed("gemma").config();
  EXPECT_FLOAT_EQ(gemma.embedding_scale, std::sqrt(8.0f));
  EXPECT_EQ(gemma.activation, Activation::kGelu);
  Description experts = renamed("gemma");
  experts.keys["gemma.expert_count"] = uint32_t{2};
  experts.keys["gemma.expert_used_count"] = uint32_t{1};
  expect_refused(experts, ErrorCode::kUnsupported, "mixture of experts");
}

TEST(ModelConfig, WindowPatternsOfGemma) {
  Description d = renamed("gemma2");
  for (const std::string block : {"blk.0.", "blk.1."})
    d.tensors[block + "post_attention_norm.weight"] = d.tensors[block + "post_ffw_norm.weight"] = {8};
  EXPECT_EQ(d.config().window(0), 4096u);
  EXPECT_EQ(d.config().window(1), 0u);
  EXPECT_EQ(d.config().attention_softcap, 50.0f);
  EXPECT_EQ(d.config().final_softcap, 30.0f);
  d.keys["gemma2.attention.sliding_window_pattern"] = std::vector<bool>{false, true};
  EXPECT_EQ(d.config().window(0), 0u);
  EXPECT_EQ(d.config().window(1), 4096u);
  d.keys["gemma2.attention.sliding_window_pattern"] = std::vector<bool>{true};
  expect_refused(d, ErrorCode::kCorrupt, "sliding_window_pattern");
  d.keys["gemma2.attention.sliding_window_pattern"] = std::vector<int32_t>{1, 1};
  expect_refused(d, ErrorCode::kCorrupt, "sliding_window_pattern");
  d.keys.erase("gemma2.attention.sliding_window_pattern");
  d.keys["gemma2.attention.sliding_window"] = uint32_t{0};
  expect_refused(d, ErrorCode::kCorrupt, "sliding_window");
  d.keys.erase("gemma2.attention.sliding_window");
  d.keys["gemma2.attn_logit_softcapping"] = -50.0f;
  expect_refused(d, ErrorCode::kCorrupt, "attn_logit_softcapping");
}

TEST(ModelConfig, ReadsTheRealStories260K) {
  if (!test::has_stories260k()) GTEST_SKIP() << "the shared data folder is not beside the checkout";
  const std::string bytes = test::stories260k_gguf();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "stories260K");
  const ModelConfig config = ModelConfig::from_gguf(file);
  EXPECT_EQ(config.layers, 5u);
  EXPECT_EQ(config.d_model, 64u);
  EXPECT_EQ(config.kv_dim(), 32u);
  EXPECT_EQ(config.parameters(), 260'032u);
  EXPECT_EQ(bytes_read_per_token(config, file), 260'032u * 4);
  EXPECT_EQ(dominant_format(file), "F32");
}

TEST(ModelConfig, ReadsTheRealSmolLm2) {
  if (!test::smollm2_path()) GTEST_SKIP() << "the SmolLM2 model file is not there; ./run fetches it";
  const auto file = GgufFile::open(*test::smollm2_path());
  const ModelConfig config = ModelConfig::from_gguf(file);
  EXPECT_EQ(config.layers, 30u);
  EXPECT_EQ(config.head_dim, 64u);
  EXPECT_EQ(config.rope.base, 100000.0f);
  EXPECT_EQ(config.vocab, 49152u);
  EXPECT_TRUE(config.tied_output);
  EXPECT_EQ(config.parameters(), 134'515'008u);
  EXPECT_EQ(dominant_format(file), "Q4_1");
  EXPECT_GT(bytes_read_per_token(config, file), 90'000'000u);
}

}  // namespace
}  // namespace fathom::model
