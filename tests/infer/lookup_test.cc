// Guesses from what followed the same words before.
#include "infer/lookup.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "infer/engine.h"
#include "model/llama2c.h"

namespace fathom::infer {
namespace {

using Tokens = std::vector<int32_t>;

Tokens guess(const Tokens& history, size_t most = PromptLookup::kMost) {
  PromptLookup lookup;
  Tokens out;
  lookup.propose(history, most, out);
  return out;
}

TEST(PromptLookupTest, TakesWhatFollowedTheLongestMatch) {
  // 2 3 4 was followed by 5 6; the later 9 4 by 7.
  EXPECT_EQ(guess({1, 2, 3, 4, 5, 6, 9, 4, 7, 2, 3, 4}), (Tokens{5, 6, 9, 4}));
  // Of equal matches the latest.
  EXPECT_EQ(guess({1, 2, 8, 8, 1, 2, 9, 9, 1, 2}), (Tokens{9, 9, 1}));
  EXPECT_EQ(guess({1, 2, 3, 4, 5, 6, 9, 4, 7, 2, 3, 4}, 2), (Tokens{5, 6}));
}

TEST(PromptLookupTest, OneEqualTokenIsNoMatch) {
  EXPECT_TRUE(guess({1, 2, 3, 2}).empty());
  EXPECT_TRUE(guess({}).empty());
  EXPECT_TRUE(guess({1}).empty());
  EXPECT_TRUE(guess({1, 2}).empty());
  EXPECT_TRUE(guess({1, 2, 3, 4, 5, 6, 7, 8}).empty());
  EXPECT_TRUE(guess({1, 2, 1, 2}, 0).empty());
}

TEST(PromptLookupTest, RepeatsOfOneTokenAreFoundToo) {
  EXPECT_EQ(guess({5, 5, 5, 5, 5, 5}).size(), 1u);
  EXPECT_EQ(guess({5, 5, 5}), (Tokens{5}));
}

TEST(PromptLookupTest, GrowsWhileItIsRightAndWaitsWhenItIsWrong) {
  Tokens history;
  for (int32_t i = 0; i < 40; ++i) history.push_back(i);
  history.insert(history.end(), {0, 1, 2, 3});
  PromptLookup lookup;
  Tokens out;
  lookup.propose(history, 100, out);
  EXPECT_EQ(out.size(), 4u);
  lookup.learn(4, 4);
  lookup.propose(history, 100, out);
  EXPECT_EQ(out.size(), 8u);
  lookup.learn(8, 8);
  lookup.propose(history, 100, out);
  EXPECT_EQ(out.size(), PromptLookup::kMost);
  lookup.learn(out.size(), 3);
  lookup.propose(history, 100, out);
  EXPECT_EQ(out.size(), 4u);

  // Always wrong: ever fewer guesses.
  size_t guessed = 0;
  for (int step = 0; step < 1000; ++step) {
    lookup.propose(history, 100, out);
    guessed += out.size();
    if (!out.empty()) lookup.learn(out.size(), 0);
  }
  EXPECT_LT(guessed, 50u);
}

/// Greedy and drawn, texts that quote their prompt and texts that do not.
TEST(PromptLookupTest, ARealModelSaysTheSameWithAndWithout) {
  const auto path = test::smollm2_path();
  if (!path) GTEST_SKIP() << "SmolLM2 is not there; set FATHOM_TEST_MODEL to its GGUF file";
  ThreadPool pool(2);
  EngineOptions options;
  options.context = 1024;
  const auto engine = Engine::load(*path, options, pool);
  const std::string posts =
      "[1] Anna: The new tram line between the harbour and the university opens on Monday at six in the "
      "morning.\n"
      "[2] Ben: Rain again in the valley, the third day in a row; the lower bridge is closed.\n"
      "[3] Carla: Our bakery will be closed from the 4th to the 9th because the oven is being replaced.\n";
  size_t guessed = 0;
  for (const std::string ask :
       {"Repeat post 1 word for word.", "Repeat all posts.", "Write a poem about the sea."}) {
    for (const float temperature : {0.0f, 0.8f}) {
      GenerateRequest request;
      request.prompt = engine->tokenize_chat({{"user", posts + ask}});
      request.max_tokens = 48;
      request.sampling.temperature = temperature;
      request.sampling.seed = 4;
      request.lookup = false;
      const auto plain = engine->generate(request, nullptr, {});
      EXPECT_EQ(plain.guessed_tokens, 0u);
      request.lookup = true;
      const auto quick = engine->generate(request, nullptr, {});
      EXPECT_EQ(quick.text, plain.text) << ask;
      EXPECT_EQ(quick.completion_tokens, plain.completion_tokens);
      guessed += quick.guessed_tokens;
    }
  }
  EXPECT_GT(guessed, 30u);
}

}  // namespace
}  // namespace fathom::infer
