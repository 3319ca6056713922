#include "train/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "train/decoder_support.h"

namespace fathom::train {
namespace {

using model::BesideExperts;

/// Grok-shaped: four norms, softcaps, two of four experts.
model::ModelConfig grok_config() {
  model::ModelConfig c = tiny_config();
  c.architecture = "grok";
  c.rope.pairing = model::RopePairing::kHalves;
  c.activation = model::Activation::kGelu;
  c.post_norms = true;
  c.attention_softcap = 3.0f;
  c.final_softcap = 4.0f;
  c.embedding_scale = 5.0f;
  c.logit_scale = 0.6f;
  c.ffn = 0;
  c.experts.count = 4;
  c.experts.used = 2;
  c.experts.ffn = 24;
  c.experts.router_softcap = 1.5f;
  return c;
}

DecoderOptions mixture_options() {
  DecoderOptions options;
  options.sequences = 2;
  options.length = 12;
  options.recompute = Recompute::kNone;
  options.balance_weight = 0.3f;
  return options;
}

void expect_gradients(const model::ModelConfig& config, const DecoderOptions& options, uint64_t seed = 7) {
  TestDecoder t(config, options);
  disturb(t, 5);
  // A short way, on which no token chooses another expert.
  expect_gradients(t, TestBatch(options.sequences, options.length, config.vocab, seed), 5e-4f);
}

TEST(Mixture, GradientsOfAGrok) { expect_gradients(grok_config(), mixture_options()); }

TEST(Mixture, GradientsWithACapacity) {
  DecoderOptions options = mixture_options();
  options.capacity_factor = 0.8f;
  options.recompute = Recompute::kSelective;
  expect_gradients(grok_config(), options, 9);
}

TEST(Mixture, GradientsOfWeightsThatDoNotAddUpToOne) {
  model::ModelConfig c = grok_config();
  c.post_norms = false;
  c.experts.normalise = false;
  c.experts.weight_scale = 2.5f;
  c.experts.router_softcap = 0;
  expect_gradients(c, mixture_options());
}

TEST(Mixture, GradientsBesideADenseFeedForward) {
  model::ModelConfig c = grok_config();
  c.ffn = 40;
  c.experts.beside = BesideExperts::kDense;
  c.experts.beside_scale = 0.7f;
  expect_gradients(c, mixture_options());
  c.experts.beside = BesideExperts::kGatedDense;
  c.experts.beside_scale = 1.0f;
  expect_gradients(c, mixture_options());
}

TEST(Mixture, RecomputationChangesNoBit) {
  model::ModelConfig c = grok_config();
  c.ffn = 40;
  c.experts.beside = BesideExperts::kGatedDense;
  const auto gradients = [&](Recompute recompute) {
    DecoderOptions options = mixture_options();
    options.recompute = recompute;
    TestDecoder t(c, options);
    t.learn(TestBatch(2, 12, c.vocab, 7).batch);
    return t.all_gradients();
  };
  const auto kept = gradients(Recompute::kNone);
  EXPECT_EQ(kept, gradients(Recompute::kSelective));
  EXPECT_EQ(kept, gradients(Recompute::kFull));
}

/// The balance and the places that an expert has are each sequence's own.
TEST(Mixture, SequencesDoNotDependOnTheirBatch) {
  const model::ModelConfig c = grok_config();
  DecoderOptions options = mixture_options();
  options.capacity_factor = 1.0f;
  TestDecoder both(c, options);
  options.sequences = 1;
  TestDecoder one(c, options);
  const TestBatch b(2, 12, c.vocab, 7);
  const LossSums together = both.decoder->evaluate(0, b.batch, {}, {});
  LossSums apart;
  for (size_t i = 0; i < 2; ++i) {
    const auto of = [&](const std::vector<int32_t>& v) { return std::span(v).subspan(i * 12, 12); };
    apart += one.decoder->evaluate(0, {1, 12, of(b.tokens), of(b.targets), of(b.starts)}, {}, {});
  }
  EXPECT_NEAR(together.loss, apart.loss, 1e-4);
  EXPECT_NEAR(together.balance, apart.balance, 1e-6);
  EXPECT_EQ(together.dropped, apart.dropped);
  EXPECT_GT(together.dropped, 0);
  EXPECT_EQ(together.choices, 2.0 * 24 * 2);  // of two layers
}

/// A router for one sequence of four tokens, two of three experts each.
struct TestRouter {
  model::ModelConfig config = grok_config();
  Shape shape;
  std::optional<Router> router;

  explicit TestRouter(size_t capacity) {
    config.experts.count = 3;
    config.experts.router_softcap = 0;
    shape.sequences = 1;
    shape.length = shape.tokens = 4;
    shape.experts = 3;
    shape.used = 2;
    shape.choices = 8;
    shape.capacity = capacity;
    router.emplace(config, shape, 1.0f);
    const float logits[] = {3, 2, 1, 2, 3, 1, 3, 1, 2, 5, 5, 4};
    std::copy(std::begin(logits), std::end(logits), router->logits().begin());
  }
};

TEST(Router, ChoosesTheLargestAndSortsByExpert) {
  TestRouter t(0);
  const LossSums sums = t.router->choose();
  EXPECT_THAT(t.router->choice_expert(), testing::ElementsAre(0, 1, 1, 0, 0, 2, 0, 1));
  EXPECT_THAT(t.router->counts(), testing::ElementsAre(4, 3, 1));
  EXPECT_THAT(t.router->choice_row(), testing::ElementsAre(0, 4, 5, 1, 2, 7, 3, 6));
  EXPECT_THAT(t.router->row_token(), testing::ElementsAre(0, 1, 2, 3, 0, 1, 3, 2));
  EXPECT_NEAR(t.router->choice_weight()[0], 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(t.router->choice_weight()[6], 0.5, 1e-6);
  EXPECT_EQ(sums.dropped, 0);
}

TEST(Router, LaterTokensFindNoPlaceBeyondTheCapacity) {
  TestRouter t(2);
  EXPECT_EQ(t.router->choose().dropped, 3);
  EXPECT_THAT(t.router->counts(), testing::ElementsAre(2, 2, 1));
  EXPECT_THAT(t.router->choice_row(), testing::ElementsAre(0, 2, 3, 1, -1, 4, -1, -1));
}

TEST(Router, ChoosesDifferentExpertsOfLogitsThatAreNoNumbers) {
  TestRouter t(0);
  std::fill(t.router->logits().begin(), t.router->logits().end(), NAN);
  t.router->choose();
  EXPECT_THAT(t.router->choice_expert(), testing::ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
}

TEST(Router, BalanceIsOneWhereExpertsAreChosenAlike) {
  TestRouter t(0);
  std::fill(t.router->logits().begin(), t.router->logits().end(), 0.0f);
  EXPECT_NEAR(t.router->choose().balance, 1.0, 1e-6);  // equal probabilities, whatever is chosen
}

}  // namespace
}  // namespace fathom::train
