// Counts of published models from their shapes, and descriptions that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "model/config.h"

namespace fathom::model {
namespace {

using ::testing::HasSubstr;

ModelConfig decoder(size_t layers, size_t d_model, size_t heads, size_t kv_heads, size_t ffn, size_t vocab,
                    size_t context) {
  ModelConfig c;
  c.architecture = "llama";
  c.layers = layers;
  c.d_model = d_model;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_dim = 128;
  c.ffn = ffn;
  c.vocab = vocab;
  c.context = context;
  c.rope.dims = 128;
  return c;
}

ModelConfig llama3_8b() { return decoder(32, 4096, 32, 8, 14336, 128256, 8192); }
ModelConfig llama3_70b() { return decoder(80, 8192, 64, 8, 28672, 128256, 8192); }
ModelConfig llama3_405b() { return decoder(126, 16384, 128, 8, 53248, 128256, 131072); }

ModelConfig mixtral() {
  ModelConfig c = decoder(32, 4096, 32, 8, 0, 32000, 32768);
  c.experts.count = 8;
  c.experts.used = 2;
  c.experts.ffn = 14336;
  return c;
}

ModelConfig grok1() {
  ModelConfig c = decoder(64, 6144, 48, 8, 0, 131072, 8192);
  c.architecture = "grok";
  c.experts.count = 8;
  c.experts.used = 2;
  c.experts.ffn = 32768;
  c.activation = Activation::kGelu;
  c.post_norms = true;
  c.tied_output = true;
  c.attention_softcap = 30;
  return c;
}

ModelConfig grok2() {
  ModelConfig c = decoder(64, 8192, 64, 8, 32768, 131072, 131072);
  c.architecture = "grok";
  c.experts.count = 8;
  c.experts.used = 2;
  c.experts.ffn = 16384;
  c.experts.beside = BesideExperts::kDense;
  c.post_norms = true;
  return c;
}

TEST(ModelCounts, PublishedParameters) {
  EXPECT_EQ(llama3_8b().parameters(), 8'030'261'248u);
  EXPECT_EQ(llama3_70b().parameters(), 70'553'706'496u);
  EXPECT_EQ(llama3_405b().parameters(), 405'853'388'800u);
  EXPECT_EQ(mixtral().parameters(), 46'702'792'704u);
  EXPECT_EQ(grok2().parameters(), 269'515'497'472u);
  // "314 B" is Grok-1 without its embedding.
  const uint64_t embedding = uint64_t{131072} * 6144;
  EXPECT_EQ(grok1().parameters() - embedding, 314'879'514'624u);
}

TEST(ModelCounts, OfExpertsATokenUsesTheChosenOnes) {
  EXPECT_EQ(llama3_8b().active_parameters(), llama3_8b().parameters());
  const uint64_t expert = uint64_t{3} * 4096 * 14336;
  EXPECT_EQ(mixtral().active_parameters(), 46'702'792'704u - 32 * 6 * expert);
  EXPECT_NEAR(static_cast<double>(mixtral().active_parameters()), 12.9e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(grok2().active_parameters()), 114.9e9, 0.05e9);
}

TEST(ModelCounts, OperationsOfOneToken) {
  const ModelConfig c = llama3_8b();
  const uint64_t embedding = uint64_t{128256} * 4096;
  const uint64_t norms = uint64_t{65} * 4096;
  const uint64_t products = 2 * (c.parameters() - embedding - norms);
  EXPECT_EQ(c.flops_per_token(1), products + 32 * 4 * 4096);
  EXPECT_EQ(c.flops_per_token(1000), products + 32 * 4 * 4096 * uint64_t{1000});
  ModelConfig windowed = c;
  windowed.sliding_window = 100;
  windowed.set_window_period(2);  // sixteen of the layers
  EXPECT_EQ(windowed.flops_per_token(1000), products + 16 * 4 * 4096 * uint64_t{1100});
  ModelConfig tied = c;
  tied.tied_output = true;  // the embedding is multiplied with then
  EXPECT_EQ(tied.flops_per_token(1), c.flops_per_token(1));
  EXPECT_LT(mixtral().flops_per_token(1), 2 * mixtral().active_parameters());
}

TEST(ModelCounts, BytesOfKeysAndValues) {
  EXPECT_EQ(llama3_8b().kv_bytes_per_token(tensor::DType::kF16), 2u * 32 * 1024 * 2);
  EXPECT_EQ(llama3_8b().kv_bytes_per_token(tensor::DType::kF32), 2u * 32 * 1024 * 4);
  EXPECT_EQ(llama3_8b().kv_bytes_per_token(tensor::DType::kQ8_0), 2u * 32 * 1024 / 32 * 34);
}

TEST(ModelCounts, WindowsOfLayers) {
  ModelConfig c = llama3_8b();
  c.sliding_window = 512;
  c.set_window_period(6);
  for (size_t l = 0; l < c.layers; ++l) EXPECT_EQ(c.window(l), l % 6 == 5 ? 0u : 512u) << l;
  c.set_window_period(1);
  for (size_t l = 0; l < c.layers; ++l) EXPECT_EQ(c.window(l), 0u) << l;
  c.set_window_period(0);
  for (size_t l = 0; l < c.layers; ++l) EXPECT_EQ(c.window(l), 512u) << l;
}

/// Llama 3.1's table, from its published parameters (factor 8, 1 and 4, of 8192): the first 29 pairs are as they were, the
/// last 29 are slowed by 8, and those between fall in line.
TEST(ModelCounts, Llama3RopeFactors) {
  RopeConfig rope;
  rope.dims = 128;
  rope.base = 500000;
  rope.scaling = RopeScaling::kLlama3;
  rope.scale = 8;
  rope.original_context = 8192;
  const auto factors = llama3_rope_factors(rope);
  ASSERT_EQ(factors.size(), 64u);
  for (size_t i = 0; i < 29; ++i) EXPECT_EQ(factors[i], 1.0f) << i;
  for (size_t i = 35; i < 64; ++i) EXPECT_EQ(factors[i], 8.0f) << i;
  for (size_t i = 28; i < 35; ++i) EXPECT_LE(factors[i], factors[i + 1]) << i;
  // Pair 31: frequency 500000^(-62/128), wavelength 3622.6, smooth (8192 / 3622.6 - 1) / 3.
  const double turns = 8192 * std::pow(500000.0, -62.0 / 128) / (2 * 3.14159265358979);
  const double smooth = (turns - 1) / 3;
  EXPECT_NEAR(static_cast<double>(factors[31]), 1 / ((1 - smooth) / 8 + smooth), 1e-5);
}

void expect_invalid(const std::string& what, const std::function<void(ModelConfig&)>& change) {
  ModelConfig c = grok2();
  EXPECT_NO_THROW(c.check());
  change(c);
  try {
    c.check();
    ADD_FAILURE() << "accepted where '" << what << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ModelCheck, SizesThatCannotBe) {
  for (const size_t huge : {size_t{0}, SIZE_MAX, size_t{1} << 40}) {
    expect_invalid("'layers'", [&](ModelConfig& c) { c.layers = huge; });
    expect_invalid("'d_model'", [&](ModelConfig& c) { c.d_model = huge; });
    expect_invalid("'heads'", [&](ModelConfig& c) { c.heads = huge; });
    expect_invalid("'kv_heads'", [&](ModelConfig& c) { c.kv_heads = huge; });
    expect_invalid("'head_dim'", [&](ModelConfig& c) { c.head_dim = huge; });
    expect_invalid("'ffn'", [&](ModelConfig& c) { c.ffn = huge; });
    expect_invalid("'vocab'", [&](ModelConfig& c) { c.vocab = huge; });
    expect_invalid("'context'", [&](ModelConfig& c) { c.context = huge; });
    expect_invalid("'experts.ffn'", [&](ModelConfig& c) { c.experts.ffn = huge; });
    expect_invalid("'experts.used'", [&](ModelConfig& c) { c.experts.used = huge; });
    expect_invalid("'rope.dims'", [&](ModelConfig& c) { c.rope.dims = huge; });
  }
  expect_invalid("evenly", [](ModelConfig& c) { c.kv_heads = 7; });
  expect_invalid("too wide", [](ModelConfig& c) { c.head_dim = size_t{1} << 20; });
  expect_invalid("'experts.count'", [](ModelConfig& c) { c.experts.count = 1 << 20; });
  expect_invalid("'experts.used' is 9, not within 1 to 8", [](ModelConfig& c) { c.experts.used = 9; });
  expect_invalid("no experts", [](ModelConfig& c) { c.experts.count = 0; });
  expect_invalid("odd", [](ModelConfig& c) { c.rope.dims = 31; });
  expect_invalid("too many to be true", [](ModelConfig& c) {
    c.experts.count = 4096;
    c.experts.used = 1;
    c.experts.ffn = size_t{1} << 24;
    c.layers = 4096;
  });
}

TEST(ModelCheck, NumbersThatCannotBe) {
  for (const float bad : {kNaN, kInfinity, -1.0f, -kInfinity}) {
    expect_invalid("'rms_eps'", [&](ModelConfig& c) { c.rms_eps = bad; });
    expect_invalid("'embedding_scale'", [&](ModelConfig& c) { c.embedding_scale = bad; });
    expect_invalid("'logit_scale'", [&](ModelConfig& c) { c.logit_scale = bad; });
    expect_invalid("'attention_scale'", [&](ModelConfig& c) { c.attention_scale = bad; });
    expect_invalid("'attention_softcap'", [&](ModelConfig& c) { c.attention_softcap = bad; });
    expect_invalid("'final_softcap'", [&](ModelConfig& c) { c.final_softcap = bad; });
    expect_invalid("'rope.base'", [&](ModelConfig& c) { c.rope.base = bad; });
    expect_invalid("'rope.scale'", [&](ModelConfig& c) { c.rope.scale = bad; });
    expect_invalid("'rope.attention_factor'", [&](ModelConfig& c) { c.rope.attention_factor = bad; });
    expect_invalid("'experts.router_softcap'", [&](ModelConfig& c) { c.experts.router_softcap = bad; });
    expect_invalid("'experts.weight_scale'", [&](ModelConfig& c) { c.experts.weight_scale = bad; });
    expect_invalid("'rope.beta_fast'", [&](ModelConfig& c) {
      c.rope.scaling = RopeScaling::kYarn;
      c.rope.original_context = 8192;
      c.rope.beta_fast = bad;
    });
    expect_invalid("'rope.extrapolation'", [&](ModelConfig& c) {
      c.rope.scaling = RopeScaling::kYarn;
      c.rope.original_context = 8192;
      c.rope.extrapolation = bad;
    });
  }
  expect_invalid("'rms_eps'", [](ModelConfig& c) { c.rms_eps = 0; });
  expect_invalid("there is no scaling", [](ModelConfig& c) { c.rope.scale = 2; });
  expect_invalid("'rope.original_context'", [](ModelConfig& c) { c.rope.scaling = RopeScaling::kYarn; });
  expect_invalid("'attention_temperature_length'",
                 [](ModelConfig& c) { c.attention_temperature_length = 1; });
  expect_invalid("'rope.high_frequency_factor'", [](ModelConfig& c) {
    c.rope.scaling = RopeScaling::kLlama3;
    c.rope.original_context = 8192;
    c.rope.high_frequency_factor = 1;
  });
}

TEST(ModelCheck, WindowsThatCannotBe) {
  expect_invalid("'sliding_window'", [](ModelConfig& c) { c.set_window_period(2); });
  expect_invalid("'window_layers' has 0 entries", [](ModelConfig& c) { c.sliding_window = 8; });
  expect_invalid("'window_rope.base'", [](ModelConfig& c) {
    c.sliding_window = 8;
    c.set_window_period(2);
    c.window_rope.dims = 128;
    c.window_rope.base = kNaN;
  });
}

}  // namespace
}  // namespace fathom::model
