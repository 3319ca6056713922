// Loss and gradients of whole small models against what PyTorch gave for them (record_torch.py).
#include <gtest/gtest.h>

#include <cmath>

#include "model/safetensors.h"
#include "train/decoder_support.h"

namespace fathom::train {
namespace {

using model::ModelConfig;

ModelConfig llama() {
  ModelConfig c;
  c.architecture = "llama";
  c.layers = 2;
  c.d_model = 16;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = c.rope.dims = 6;
  c.ffn = 20;
  c.vocab = 30;
  c.context = 16;
  c.tied_output = true;
  return c;
}

ModelConfig gemma() {
  ModelConfig c = llama();
  c.d_model = 12;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 8;
  c.ffn = 16;
  c.vocab = 24;
  c.rope.dims = 6;
  c.rope.pairing = model::RopePairing::kHalves;
  c.activation = model::Activation::kGelu;
  c.tied_output = false;
  c.qk_norm = c.post_norms = true;
  c.attention_bias = c.attention_output_bias = c.ffn_bias = true;
  c.sliding_window = 4;
  c.window_layers = {true, false};
  c.attention_softcap = 2.0f;
  c.final_softcap = 3.0f;
  c.embedding_scale = 3.0f;
  return c;
}

ModelConfig grok() {
  ModelConfig c = llama();
  c.head_dim = c.rope.dims = 4;
  c.vocab = 26;
  c.rope.pairing = model::RopePairing::kHalves;
  c.activation = model::Activation::kGelu;
  c.post_norms = true;
  c.attention_softcap = 3.0f;
  c.final_softcap = 4.0f;
  c.embedding_scale = 4.0f;
  c.logit_scale = 0.6f;
  c.experts.count = 4;
  c.experts.used = 2;
  c.experts.ffn = 8;
  c.experts.router_softcap = 1.5f;
  c.experts.beside = model::BesideExperts::kDense;
  c.experts.beside_scale = 0.7f;
  return c;
}

std::vector<int32_t> ints(const model::SafetensorsFile& file, const char* name) {
  const auto floats = file.floats(name);
  return {floats.begin(), floats.end()};
}

/// Differences relative to the largest element of what is expected.
void expect_same(std::span<const float> got, const std::vector<float>& expected, const std::string& name) {
  ASSERT_EQ(got.size(), expected.size()) << name;
  float largest = 0, difference = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(got[i] - expected[i]));
  }
  EXPECT_LE(difference, 1e-4f * largest) << name;
}

void expect_as_recorded(const std::string& name, const ModelConfig& config, DecoderOptions options) {
  const auto file =
      model::SafetensorsFile::open(FATHOM_SOURCE_DIR "/tests/train/testdata/torch_" + name + ".safetensors");
  options.sequences = 2;
  options.length = 10;
  options.loss_rows = 8;
  TestDecoder t(config, options);
  for (const Parameter& p : t.parameters.all()) {
    const auto values = file.floats(p.name);
    ASSERT_EQ(values.size(), p.elements()) << p.name;
    std::copy(values.begin(), values.end(), t.values(p).begin());
  }
  const auto tokens = ints(file, "tokens"), targets = ints(file, "targets"), starts = ints(file, "starts");
  t.scale = {1.0f / 18, 1.0f / 2};
  const LossSums sums = t.learn({2, 10, tokens, targets, starts});
  EXPECT_EQ(sums.tokens, 18);
  const auto loss = static_cast<double>(file.floats("loss")[0]);
  EXPECT_NEAR(sums.loss, loss, 1e-5 * loss);
  const auto balance = static_cast<double>(file.floats("balance")[0]);
  EXPECT_NEAR(sums.balance, balance, 1e-5 * balance);
  for (const Parameter& p : t.parameters.all())
    expect_same(t.gradients(p), file.floats("gradient." + p.name), p.name);
}

TEST(Torch, GivesTheSameForALlama) { expect_as_recorded("llama", llama(), {}); }

TEST(Torch, GivesTheSameForAGemma) {
  DecoderOptions options;
  options.z_loss = 0.01f;
  expect_as_recorded("gemma", gemma(), options);
}

TEST(Torch, GivesTheSameForAGrok) {
  DecoderOptions options;
  options.balance_weight = 0.3f;
  options.capacity_factor = 0.8f;  // four places
  expect_as_recorded("grok", grok(), options);
}

}  // namespace
}  // namespace fathom::train
