// Sampling against plain definitions: sorted, in doubles, one step after the other.
#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "infer/grammar.h"

namespace fathom::infer {
namespace {

std::vector<float> random_logits(size_t n, uint64_t seed, double spread) {
  Random random(seed);
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>(random.normal() * spread);
  return out;
}

/// Ids by falling logit, the lower first on a tie.
std::vector<int32_t> order(const std::vector<float>& logits) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  return ids;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature = 1) {
  const double max = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  std::vector<double> out(logits.size());
  double total = 0;
  for (size_t i = 0; i < out.size(); ++i)
    total += out[i] = std::exp((static_cast<double>(logits[i]) - max) / temperature);
  for (double& p : out) p /= total;
  return out;
}

/// What may be drawn, by the definitions of top-k, top-p and min-p, in this order.
std::set<int32_t> survivors(const Sampling& s, const std::vector<float>& logits) {
  auto ids = order(logits);
  const auto p = softmax(logits, static_cast<double>(s.temperature));
  const auto at = [&](int32_t id) { return p[static_cast<size_t>(id)]; };
  if (s.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(s.top_k)));
  double total = 0;
  for (const int32_t id : ids) total += at(id);
  double sum = 0;
  size_t kept = 0;
  while (kept < ids.size() && (s.top_p >= 1 || sum < total * static_cast<double>(s.top_p)))
    sum += at(ids[kept++]);
  ids.resize(kept);
  std::set<int32_t> out;
  for (const int32_t id : ids)
    if (at(id) >= at(ids[0]) * static_cast<double>(s.min_p)) out.insert(id);
  return out;
}

std::map<int32_t, int> draws(const Sampling& sampling, const std::vector<float>& logits, int count) {
  Sampler sampler(sampling);
  std::map<int32_t, int> out;
  for (int i = 0; i < count; ++i) {
    auto copy = logits;
    ++out[sampler.sample(copy, {})];
  }
  return out;
}

int32_t once(const Sampling& sampling, std::vector<float> logits, const std::vector<int32_t>& history,
             size_t prompt) {
  return Sampler(sampling).sample(logits, history, prompt);
}

TEST(SamplerDefinitionTest, OnlyWhatTheDefinitionsKeepIsDrawnAndAllOfIt) {
  struct Case {
    int top_k;
    float top_p, min_p, temperature;
  };
  const std::vector<Case> cases = {{5, 1, 0, 1},        {0, 0.6f, 0, 1},     {0, 1, 0.3f, 1},
                                   {40, 0.7f, 0, 0.8f}, {12, 0.9f, 0.2f, 1}, {0, 0.5f, 0.4f, 1},
                                   {0, 0.4f, 0, 1.3f},  {2000, 0.3f, 0, 1},  {3, 1, 0.9f, 0.5f}};
  for (const size_t n : {7u, 64u, 65u, 200u}) {
    for (size_t i = 0; i < cases.size(); ++i) {
      Sampling s;
      s.top_k = cases[i].top_k;
      s.top_p = cases[i].top_p;
      s.min_p = cases[i].min_p;
      s.temperature = cases[i].temperature;
      s.seed = i;
      const auto logits = random_logits(n, 100 + i, 2.5);
      const auto wanted = survivors(s, logits);
      const auto p = softmax(logits, static_cast<double>(s.temperature));
      double kept = 0;
      for (const int32_t id : wanted) kept += p[static_cast<size_t>(id)];
      const int count = 2000;
      const auto seen = draws(s, logits, count);
      for (const auto& [id, times] : seen)
        EXPECT_TRUE(wanted.contains(id)) << "case " << i << ", token " << id;
      for (const int32_t id : wanted) {
        const double share = p[static_cast<size_t>(id)] / kept;
        const auto it = seen.find(id);
        const double got = it == seen.end() ? 0 : it->second / static_cast<double>(count);
        EXPECT_NEAR(got, share, 5 * std::sqrt(share / count) + 1e-3) << "case " << i << ", token " << id;
      }
    }
  }
}

TEST(SamplerDefinitionTest, APlainDrawFollowsTheProbabilitiesOfALargeVocabulary) {
  auto logits = random_logits(5000, 3, 1);
  logits[4999] += 6;
  logits[64] += 6;
  const auto p = softmax(logits);
  const auto seen = draws({}, logits, 4000);
  EXPECT_NEAR(seen.at(4999) / 4000.0, p[4999], 0.03);
  EXPECT_NEAR(seen.at(64) / 4000.0, p[64], 0.03);
  EXPECT_GT(seen.size(), 1000u);
}

TEST(SamplerDefinitionTest, ExtremeLogitsAndTemperatures) {
  const std::vector<float> extreme = {-3e38f, 1e30f, -1e30f, 0};
  for (const float temperature : {1e-45f, 1e-6f, 1.0f, 100.0f}) {
    for (const float top_p : {1.0f, 0.5f, 1e-9f}) {
      for (const int top_k : {0, 1, 3}) {
        Sampling s;
        s.temperature = temperature;
        s.top_p = top_p;
        s.top_k = top_k;
        EXPECT_EQ(draws(s, extreme, 20).size(), 1u);
        EXPECT_EQ(once(s, extreme, {}, 0), 1);
      }
    }
    Sampling s;
    s.temperature = temperature;
    EXPECT_EQ(draws(s, {1.0f, 1.0f}, 100).size(), 2u);
    s.min_p = 1.0f;
    EXPECT_EQ(draws(s, {1.0f, 1.0f, 0.999f}, 100).size(), 2u);
  }
}

/// A penalty below 1 rewards: the logit that it makes too great for a float is still one to draw.
TEST(SamplerDefinitionTest, ARepetitionPenaltyStaysANumber) {
  for (const int top_k : {0, 2}) {
    Sampling s;
    s.repetition_penalty = 1e-38f;
    s.top_k = top_k;
    EXPECT_EQ(once(s, {1.0f, 20.0f, -3.0f, 2.0f}, {1, 2}, 1), 1);
    s.repetition_penalty = 100.0f;
    EXPECT_EQ(once(s, {1.0f, -3e38f, -40.0f, -50.0f}, {1}, 0), 0);
  }
}

TEST(SamplerDefinitionTest, FrequencyAndPresencePenaltiesDoNotSeeThePrompt) {
  Sampling s;
  s.temperature = 0;
  s.presence_penalty = 1;
  EXPECT_EQ(once(s, {1.0f, 0.5f}, {0, 0, 0}, 3), 0);
  EXPECT_EQ(once(s, {1.0f, 0.5f}, {1, 1, 0}, 2), 1);
  s.presence_penalty = 0;
  s.frequency_penalty = 0.2f;
  EXPECT_EQ(once(s, {1.0f, 0.5f}, {0, 0, 0, 0, 0}, 3), 0);
  EXPECT_EQ(once(s, {1.0f, 0.5f}, {1, 0, 0, 0}, 1), 1);
  // They see all of the completion, however small the window of the repetition penalty.
  s.repeat_window = 1;
  EXPECT_EQ(once(s, {1.0f, 0.5f}, {1, 0, 0, 0}, 1), 1);
  // The repetition penalty sees the prompt too.
  Sampling r;
  r.temperature = 0;
  r.repetition_penalty = 3;
  EXPECT_EQ(once(r, {1.0f, 0.5f}, {0}, 1), 1);
  // Counts do not stay from one call to the next.
  Sampler twice(s);
  std::vector<float> first = {1.0f, 0.5f};
  std::vector<float> second = first;
  const std::vector<int32_t> none;
  EXPECT_EQ(twice.sample(first, std::vector<int32_t>{0, 0, 0}, 0), 1);
  EXPECT_EQ(twice.sample(second, none, 0), 0);
}

TEST(SamplerDefinitionTest, AGrammarThatTheVocabularyCannotWriteIsAnError) {
  const GrammarVocabulary vocabulary({"a", "b"}, {});
  for (const float temperature : {0.0f, 1.0f}) {
    Sampling s;
    s.temperature = temperature;
    Sampler sampler(s);
    GrammarMatcher matcher(Grammar::choice({"ac"}), vocabulary);
    std::vector<float> logits = {1.0f, 2.0f};
    EXPECT_EQ(sampler.sample(logits, {}, 0, &matcher), 0);
    matcher.accept(0);
    logits = {1.0f, 2.0f};
    try {
      sampler.sample(logits, {}, 0, &matcher);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    }
  }
}

TEST(SamplerDefinitionTest, BiasForbidsAndForces) {
  Sampling s;
  s.temperature = 0;
  s.logit_bias = {{1, -100.0f}};
  EXPECT_EQ(once(s, {1.0f, 9.0f, 2.0f}, {}, 0), 2);
  s.logit_bias = {{0, 100.0f}};
  EXPECT_EQ(once(s, {1.0f, 9.0f, 2.0f}, {}, 0), 0);
  s.logit_bias = {{2, 3.0f}, {2, 3.0f}, {1, -2.0f}};
  EXPECT_EQ(once(s, {1.0f, 9.0f, 2.0f}, {}, 0), 2);
  s.temperature = 1;
  s.logit_bias = {{1, -100.0f}};
  EXPECT_FALSE(draws(s, {1.0f, 9.0f, 2.0f}, 500).contains(1));
}

TEST(SamplerDefinitionTest, BadBiasIsNamed) {
  const auto refused = [](int32_t token, float bias, size_t vocabulary) {
    Sampling s;
    s.logit_bias = {{token, bias}};
    try {
      check_sampling(s, vocabulary);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused(5, 100, 6), "");
  EXPECT_EQ(refused(500000, -100, 0), "");
  EXPECT_NE(refused(6, 1, 6).find("a token of logit_bias is 6; it must be from 0 to 5"), std::string::npos);
  EXPECT_NE(refused(-1, 1, 0), "");
  EXPECT_NE(refused(1, 100.5f, 6), "");
  EXPECT_NE(refused(1, NAN, 6), "");
}

TEST(DescribeTest, LogProbabilitiesAreOfTheSoftmax) {
  for (const size_t n : {1u, 3u, 64u, 200u, 4097u}) {
    const auto logits = random_logits(n, n, 4);
    const auto p = softmax(logits);
    const auto ids = order(logits);
    for (const int top : {0, 1, 5, 20}) {
      const auto token = static_cast<int32_t>(n / 2);
      const auto choice = describe(logits, token, top);
      EXPECT_EQ(choice.token, token);
      EXPECT_NEAR(choice.logprob, std::log(p[n / 2]), 1e-4);
      ASSERT_EQ(choice.top.size(), std::min(n, static_cast<size_t>(top)));
      for (size_t i = 0; i < choice.top.size(); ++i) {
        EXPECT_EQ(choice.top[i].first, ids[i]);
        EXPECT_NEAR(choice.top[i].second, std::log(p[static_cast<size_t>(ids[i])]), 1e-4);
      }
    }
  }
}

TEST(DescribeTest, IsStableForGreatAndSmallLogits) {
  const auto great = describe(std::vector<float>{1e30f, 0.0f}, 0, 2);
  EXPECT_EQ(great.logprob, 0.0f);
  EXPECT_LT(great.top[1].second, -1e29f);
  EXPECT_TRUE(std::isfinite(great.top[1].second));
  const auto even = describe(std::vector<float>(1000, 5e4f), 999, 3);
  EXPECT_NEAR(even.logprob, -std::log(1000.0), 1e-4);
  EXPECT_EQ(even.top[0].first, 0);
  EXPECT_EQ(even.top[2].first, 2);
}

}  // namespace
}  // namespace fathom::infer
