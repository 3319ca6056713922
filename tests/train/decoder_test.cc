#include "train/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/llama2c.h"
#include "model/tokenizer.h"
#include "train/decoder_support.h"

namespace fathom::train {
namespace {

DecoderOptions tiny_options() {
  DecoderOptions options;
  options.sequences = 2;
  options.length = 12;
  options.recompute = Recompute::kNone;
  options.loss_rows = 10;  // the last block is a part of one
  return options;
}

void expect_gradients(const model::ModelConfig& config, const DecoderOptions& options,
                      bool documents = false) {
  TestDecoder t(config, options);
  disturb(t, 5);
  TestBatch b(options.sequences, options.length, config.vocab, 7);
  if (documents)
    for (size_t i = 5; i < options.length; ++i) b.starts[i] = 5;
  expect_gradients(t, b);
}

TEST(Decoder, GradientsOfALlama) { expect_gradients(tiny_config(), tiny_options()); }

TEST(Decoder, GradientsOfAllSwitchesOfADenseModel) {
  model::ModelConfig c = tiny_config();
  c.rope.pairing = model::RopePairing::kHalves;
  c.rope.dims = 6;
  c.activation = model::Activation::kGelu;
  c.tied_output = false;
  c.embedding_scale = 3.0f;
  c.logit_scale = 0.7f;
  c.attention_scale = 0.4f;
  c.attention_softcap = 2.0f;
  c.final_softcap = 3.0f;
  c.sliding_window = 4;
  c.window_layers = {true, false};
  c.window_rope = c.rope;
  c.window_rope.base = 100.0f;
  c.qk_norm = c.post_norms = true;
  c.attention_bias = c.attention_output_bias = c.ffn_bias = true;
  DecoderOptions options = tiny_options();
  options.z_loss = 0.01f;
  expect_gradients(c, options, true);
}

TEST(Decoder, GradientsWithBiasesOfOneProductAndStretchedPositions) {
  model::ModelConfig c = tiny_config();
  c.attention_bias = true;
  c.rope.scaling = model::RopeScaling::kYarn;
  c.rope.scale = 4.0f;
  c.rope.original_context = 8;
  c.rope.attention_factor = 1.1f;
  c.attention_temperature_length = 4;
  expect_gradients(c, tiny_options());
}

TEST(Decoder, GradientsOfAdapters) {
  DecoderOptions options = tiny_options();
  options.lora.rank = 4;
  options.lora.matrices = {"attn_q", "attn_v", "attn_output", "ffn_gate", "ffn_down"};
  expect_gradients(tiny_config(), options);
}

TEST(Decoder, RecomputationChangesNoBit) {
  model::ModelConfig c = tiny_config();
  c.post_norms = c.qk_norm = true;
  const auto gradients = [&](Recompute recompute) {
    DecoderOptions options = tiny_options();
    options.recompute = recompute;
    TestDecoder t(c, options);
    const TestBatch b(2, 12, c.vocab, 7);
    const LossSums sums = t.learn(b.batch);
    auto out = t.all_gradients();
    out.push_back(static_cast<float>(sums.loss));
    return out;
  };
  const auto kept = gradients(Recompute::kNone);
  EXPECT_EQ(kept, gradients(Recompute::kSelective));
  EXPECT_EQ(kept, gradients(Recompute::kFull));
}

TEST(Decoder, ThreadsChangeRoundingAlone) {
  const model::ModelConfig c = tiny_config();
  const TestBatch b(2, 12, c.vocab, 7);
  TestDecoder one(c, tiny_options(), 1), three(c, tiny_options(), 3);
  EXPECT_NEAR(one.learn(b.batch).loss, three.learn(b.batch).loss, 1e-4);
  EXPECT_THAT(three.all_gradients(), testing::Pointwise(testing::FloatNear(2e-5f), one.all_gradients()));
}

TEST(Decoder, MicroBatchesAddUp) {
  const model::ModelConfig c = tiny_config();
  DecoderOptions half = tiny_options();
  half.sequences = 1;
  half.slots = 2;
  TestDecoder whole(c, tiny_options()), parts(c, half);
  const TestBatch b(2, 12, c.vocab, 7);
  const auto part = [&](size_t i) {
    const auto of = [&](const std::vector<int32_t>& v) { return std::span(v).subspan(i * 12, 12); };
    return MicroBatch{1, 12, of(b.tokens), of(b.targets), of(b.starts)};
  };
  // Both forward passes before either backward pass: each keeps what it needs in its slot.
  LossSums sums = parts.decoder->forward(0, 0, part(0), parts.scale, {}, {});
  sums += parts.decoder->forward(0, 1, part(1), parts.scale, {}, {});
  parts.decoder->backward(0, 0, part(0), parts.scale, {}, {}, {});
  parts.decoder->backward(0, 1, part(1), parts.scale, {}, {}, {});
  EXPECT_NEAR(whole.learn(b.batch).loss, sums.loss, 1e-4);
  EXPECT_THAT(parts.all_gradients(), testing::Pointwise(testing::FloatNear(2e-5f), whole.all_gradients()));
}

TEST(Decoder, DocumentsOfARowDoNotSeeEachOther) {
  const model::ModelConfig c = tiny_config();
  DecoderOptions options = tiny_options();
  TestDecoder t(c, options);
  TestBatch b(2, 12, c.vocab, 7);
  for (size_t i = 6; i < 12; ++i) b.starts[i] = b.starts[12 + i] = 6;
  const double packed = t.loss(b.batch);
  options.length = 6;
  options.sequences = 4;
  TestDecoder apart(c, options);
  TestBatch same = b;
  same.starts.assign(24, 0);
  EXPECT_NEAR(packed, apart.loss({4, 6, same.tokens, same.targets, same.starts}), 1e-5);
}

TEST(Decoder, LayersAreDoneFromTheEndToTheBeginning) {
  TestDecoder t(tiny_config(), tiny_options());
  const TestBatch b(2, 12, 50, 7);
  std::vector<std::string> done;
  t.decoder->forward(0, 0, b.batch, t.scale, {}, {});
  t.decoder->backward(0, 0, b.batch, t.scale, {}, {}, [&](const Parameter& p) { done.push_back(p.name); });
  EXPECT_THAT(done, testing::ElementsAre("output_norm.weight", "blk.1.attn_norm.weight",
                                         "blk.0.attn_norm.weight", "token_embd.weight"));
}

TEST(Decoder, LogitsGiveTheLoss) {
  model::ModelConfig c = tiny_config();
  c.final_softcap = 2.0f;
  c.logit_scale = 1.5f;
  DecoderOptions options = tiny_options();
  options.sequences = 1;
  TestDecoder t(c, options);
  const TestBatch b(1, 12, c.vocab, 9);
  const auto rows = logits(c, t.parameters, *t.ops, b.tokens, tensor::Precision::kF32);
  double loss = 0;
  for (size_t i = 0; i < 12; ++i) {
    if (b.targets[i] < 0) continue;
    double sum = 0;
    for (size_t v = 0; v < c.vocab; ++v) sum += std::exp(static_cast<double>(rows[i * c.vocab + v]));
    loss += std::log(sum) - static_cast<double>(rows[i * c.vocab + static_cast<size_t>(b.targets[i])]);
  }
  EXPECT_NEAR(t.decoder->evaluate(0, b.batch, {}, {}).loss, loss, 1e-4);
}

TEST(Decoder, KnowsTheStoriesOfARealModel) {
  if (!test::has_stories260k()) GTEST_SKIP() << "no stories260K";
  const std::string bytes = test::stories260k_gguf();
  const auto file = model::GgufFile::parse(std::as_bytes(std::span(bytes)), "stories260K");
  const auto tokenizer = model::Tokenizer::from_gguf(file);
  auto tokens = tokenizer.encode(
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
      "she saw a big, red ball.");
  tokens.insert(tokens.begin(), tokenizer.bos().value());
  std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
  targets.push_back(-1);
  for (const tensor::Precision precision : {tensor::Precision::kF32, tensor::Precision::kBF16}) {
    DecoderOptions options;
    options.length = tokens.size();
    options.precision = precision;
    TestDecoder t(model::ModelConfig::from_gguf(file), options);
    t.parameters.load(file);
    const LossSums sums = t.decoder->evaluate(0, {1, tokens.size(), tokens, targets, {}}, {}, {});
    EXPECT_LT(sums.loss / sums.tokens, 1.0);  // nats; a vocabulary of 512 alike has 6.2
  }
}

TEST(Decoder, RoundedProductsGiveNearlyTheSameGradients) {
  const model::ModelConfig c = tiny_config();
  const TestBatch b(2, 12, c.vocab, 7);
  DecoderOptions options = tiny_options();
  TestDecoder exact(c, options);
  options.precision = tensor::Precision::kBF16;
  TestDecoder rounded(c, options);
  EXPECT_NEAR(exact.learn(b.batch).loss, rounded.learn(b.batch).loss, 0.1);
  const auto expected = exact.all_gradients(), got = rounded.all_gradients();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i] - expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 0.02);
  EXPECT_GT(difference, 0);
}

TEST(Decoder, RefusesByNameWhatItHasNoBackwardPassFor) {
  model::ModelConfig c = tiny_config();
  c.attention_sinks = true;
  try {
    TestDecoder t(c, tiny_options());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("attention sinks"));
  }
}

}  // namespace
}  // namespace fathom::train
