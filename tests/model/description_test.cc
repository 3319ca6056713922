#include "model/description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"

namespace fathom::model {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kFolder = std::filesystem::path(FATHOM_SOURCE_DIR) / "data" / "models";

ModelConfig preset(const std::string& name) { return read_description(find_description(kFolder, name)); }

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

const std::string kSmall = R"(
name = "small"
source = "made up"
layers = 2
d_model = 8
heads = 4
kv_heads = 2
ffn = 12
vocab = 10
context = 64
)";

struct Published {
  const char* preset;
  uint64_t parameters;
};
void PrintTo(const Published& p, std::ostream* out) { *out << p.preset; }

class PublishedCounts : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedCounts, FollowFromTheShape) {
  EXPECT_EQ(preset(GetParam().preset).parameters(), GetParam().parameters);
}

// Counts of the published checkpoints.
INSTANTIATE_TEST_SUITE_P(
    Models, PublishedCounts,
    ::testing::Values(Published{"llama3-8b", 8030261248}, Published{"llama3-70b", 70553706496},
                      Published{"llama3-405b", 405853388800}, Published{"grok-2", 269515497472},
                      Published{"mixtral-8x7b", 46702792704}, Published{"deepseek-v3", 671026419200},
                      Published{"qwen3-235b-a22b", 235093634560}, Published{"gpt-oss-120b", 116829156672},
                      Published{"smollm2-135m", 134515008}));

TEST(Description, EveryPresetIsSoundAndHasItsCount) {
  const auto names = description_names(kFolder);
  ASSERT_GT(names.size(), 40u);
  for (const std::string& name : names) {
    const ModelConfig config = preset(name);  // checks the count that the file states
    EXPECT_GT(config.parameters(), 1e8) << name;
    EXPECT_LE(config.active_parameters(), config.parameters()) << name;
    EXPECT_EQ(config.active_parameters() == config.parameters(), config.dense()) << name;
    // Two operations a weight, all but the table that is looked up.
    const double matrices = static_cast<double>(config.flops_per_token(0)) / 2;
    EXPECT_LE(matrices, static_cast<double>(config.active_parameters())) << name;
    EXPECT_GT(matrices, 0.6 * static_cast<double>(config.active_parameters())) << name;
  }
}

TEST(Description, Grok1IsCountedAsPublished) {
  const ModelConfig config = preset("grok-1");
  const uint64_t embedding = 131072ull * 6144, last_norm = 6144;
  EXPECT_EQ((config.parameters() - embedding - last_norm) / 1'000'000'000, 314u);  // "314B": of the blocks
  EXPECT_EQ(config.parameters(), 314'879'508'480u + embedding + last_norm);
  EXPECT_NEAR(static_cast<double>(config.active_parameters()), 84e9,
              1e9);  // "25 % of the weights are active"
}

TEST(Description, ActiveWeightsAreThePublishedOnes) {
  EXPECT_NEAR(static_cast<double>(preset("deepseek-v3").active_parameters()), 37.5e9, 0.5e9);
  EXPECT_NEAR(static_cast<double>(preset("mixtral-8x7b").active_parameters()), 12.9e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(preset("qwen3-235b-a22b").active_parameters()), 22.2e9, 0.3e9);
  EXPECT_NEAR(static_cast<double>(preset("gpt-oss-120b").active_parameters()), 5.7e9,
              0.1e9);  // 5.1 without embedding
  EXPECT_NEAR(static_cast<double>(preset("kimi-k2").parameters()), 1.026e12, 0.005e12);
  EXPECT_NEAR(static_cast<double>(preset("llama4-scout").parameters()), 107.8e9, 0.2e9);
  EXPECT_NEAR(static_cast<double>(preset("llama4-maverick").parameters()), 400.7e9, 0.5e9);
  EXPECT_NEAR(static_cast<double>(preset("gpt3-175b").parameters()), 174.6e9, 0.1e9);
}

// Narayanan et al. 2021, equation 2: P = 12 l h^2 (1 + 13 / (12 h) + (V + s) / (12 l h)); and Table 1's column.
TEST(Description, MegatronsFormulaHolds) {
  const std::pair<const char*, double> table[] = {{"megatron-1.7b", 1.7},   {"megatron-18b", 18.4},
                                                  {"megatron-39b", 39.1},   {"megatron-145b", 145.6},
                                                  {"megatron-530b", 529.6}, {"megatron-1t", 1008.0}};
  for (const auto& [name, billions] : table) {
    const ModelConfig c = preset(name);
    const double l = static_cast<double>(c.layers), h = static_cast<double>(c.d_model);
    const double formula = 12 * l * h * h * (1 + 13 / (12 * h) + (51200.0 + 2048.0) / (12 * l * h));
    EXPECT_NEAR(static_cast<double>(c.parameters()), formula, 1e-4 * formula) << name;
    EXPECT_NEAR(static_cast<double>(c.parameters()), billions * 1e9, 0.05e9 + 0.0005e9 * billions) << name;
  }
}

// The paper's 96 B s l h^2 (1 + s / 6h + V / 16lh) has four passes over the blocks: forward, its repetition, and the
// backward pass of twice the work; and counts the whole square of scores, not the causal half.
TEST(Description, OperationsAreMegatrons) {
  const ModelConfig c = preset("gpt3-175b");
  const double l = 96, h = 12288, s = 2048, vocab = 50257;
  const double without_repetition = 72 * l * h * h * (1 + s / (6 * h)) + 6 * vocab * h;
  EXPECT_NEAR(3 * static_cast<double>(c.flops_per_token(2048)), without_repetition,
              1e-6 * without_repetition);
}

TEST(Description, LatentAttentionKeepsOneVector) {
  const ModelConfig c = preset("deepseek-v3");
  EXPECT_EQ(c.kv_bytes_per_token(tensor::DType::kBF16), 61u * (512 + 64) * 2);  // 70 KB, as the paper has it
  const double scores = static_cast<double>(c.flops_per_token(1000) - c.flops_per_token(0));
  EXPECT_EQ(scores, 61.0 * 128 * 2 * (192 + 128) * 1000);
}

TEST(Description, WhatIsOnlyDescribedSaysSo) {
  EXPECT_TRUE(preset("llama3-8b").runs());
  EXPECT_TRUE(preset("grok-2").runs());
  EXPECT_TRUE(preset("mixtral-8x7b").runs());
  EXPECT_EQ(preset("gpt3-175b").runs_not(), "LayerNorm");
  EXPECT_EQ(preset("deepseek-v3").runs_not(), "latent attention");
  EXPECT_EQ(preset("llama4-scout").runs_not(), "shared experts");
  EXPECT_EQ(preset("gpt-oss-20b").runs_not(), "attention sinks");
}

TEST(Description, ExpertsStandInSomeLayers) {
  const ModelConfig maverick = preset("llama4-maverick");
  EXPECT_EQ(maverick.expert_layers(), 24u);
  EXPECT_FALSE(maverick.expert_layer(0));
  EXPECT_TRUE(maverick.expert_layer(1));
  const ModelConfig deepseek = preset("deepseek-v3");
  EXPECT_EQ(deepseek.expert_layers(), 58u);
  for (const ModelConfig& c : {maverick, deepseek, preset("llama3-8b"), preset("mixtral-8x7b")}) {
    size_t counted = 0;
    for (size_t l = 0; l < c.layers; ++l) counted += c.expert_layer(l) ? 1 : 0;
    EXPECT_EQ(counted, c.expert_layers()) << c.name;
  }
}

TEST(Description, TensorsAreNamedOnce) {
  for (const char* name : {"deepseek-v3", "gpt-oss-20b", "llama4-maverick", "gpt3-175b", "grok-2"}) {
    auto specs = required_tensors(preset(name));
    std::vector<std::string> names;
    for (const TensorSpec& spec : specs) names.push_back(spec.name);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end()) << name;
  }
}

TEST(Description, SmallModelIsRead) {
  const ModelConfig c = parse_description(kSmall, "small.toml");
  EXPECT_EQ(c.head_dim, 2u);
  // Two tables of 80; of a layer 64 + 2 * 32 + 64 of attention, 3 * 96 of feed-forward, 2 norms of 8; one norm.
  EXPECT_EQ(c.parameters(), 2 * 80u + 2 * (64 + 2 * 32 + 64 + 3 * 96 + 2 * 8) + 8);
  EXPECT_EQ(parse_description(kSmall + "gated_ffn = false\n", "s").parameters(), c.parameters() - 2 * 96);
  EXPECT_EQ(parse_description(kSmall + "norm = \"layer\"\n", "s").parameters(), c.parameters() + 5 * 8);
  EXPECT_EQ(parse_description(kSmall + "learned_positions = 64\n", "s").parameters(),
            c.parameters() + 64 * 8);
}

TEST(Description, MistakesAreNamedByLine) {
  const auto error = [](const std::string& text) {
    return refusal([&] { (void)parse_description(text, "my.toml"); });
  };
  EXPECT_THAT(error(kSmall + "layerz = 3\n"), HasSubstr("my.toml:11"));
  EXPECT_THAT(error(kSmall + "parameters = 7\n"), HasSubstr("my.toml:11: 'parameters'"));
  EXPECT_THAT(error(kSmall + "parameters = 7\n"), HasSubstr("7 are stated, but the shape has"));
  EXPECT_THAT(error("name = \"x\"\nsource = \"y\"\n"), HasSubstr("layers"));
  EXPECT_THAT(error(kSmall + "[experts]\ncount = 4\nused = 9\nffn = 2\n"), HasSubstr("my.toml:13"));
  EXPECT_THAT(error(kSmall + "head_dim = 3\n"), HasSubstr("odd"));
  EXPECT_THAT(error(kSmall + "window_period = 2\n"), HasSubstr("sliding_window"));
  EXPECT_THAT(error(kSmall + "[latent]\nkv_rank = 4\nnope_dim = 2\nrope_dim = 2\nvalue_dim = 2\n"),
              HasSubstr("kv_heads"));
  EXPECT_THAT(error(kSmall + "[experts]\ncount = 4\nused = 1\nffn = 2\nshared = 1\nbeside = \"dense\"\n"),
              HasSubstr("shared experts"));
}

TEST(Description, NamesAreFoundHoweverTheyAreSpelt) {
  const auto aliases = description_aliases(kFolder);
  for (const char* name : {"LLAMA3_70B", "Llama 3.3 70B", "llama-3.1-70b", "meta-llama/Llama-3.1-70B"})
    EXPECT_EQ(aliases.at(fold_model_name(name)), "llama3-70b") << name;
  EXPECT_EQ(aliases.at(fold_model_name("DeepSeekV3")), "deepseek-v3");
  EXPECT_EQ(aliases.at(fold_model_name("Qwen3_235B_a22B")), "qwen3-235b-a22b");
}

TEST(Description, PresetsAreNotPaths) {
  EXPECT_THAT(refusal([] { (void)find_description(kFolder, "../models/grok-1"); }),
              HasSubstr("is not the name"));
  EXPECT_THAT(refusal([] { (void)find_description(kFolder, "grok-9"); }), HasSubstr("grok-2"));
  EXPECT_THAT(refusal([] { (void)description_names("/nowhere/at/all"); }), HasSubstr("/nowhere/at/all"));
}

}  // namespace
}  // namespace fathom::model
