// The engine's parts that need no model: sampling, the text stream, the queue.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "infer/sampler.h"
#include "infer/text_stream.h"

namespace fathom::infer {
namespace {

int32_t once(const Sampling& sampling, std::vector<float> logits, std::vector<int32_t> history = {}) {
  return Sampler(sampling).sample(logits, history);
}

/// How often each token comes in `count` draws.
std::map<int32_t, int> draws(Sampling sampling, const std::vector<float>& logits, int count) {
  Sampler sampler(sampling);
  std::map<int32_t, int> out;
  for (int i = 0; i < count; ++i) {
    auto copy = logits;
    ++out[sampler.sample(copy, {})];
  }
  return out;
}

TEST(SamplerTest, GreedyTakesTheHighestAndTheLowestIdOnATie) {
  Sampling greedy;
  greedy.temperature = 0;
  EXPECT_EQ(once(greedy, {0.1f, 0.9f, 0.5f}), 1);
  EXPECT_EQ(once(greedy, {0.1f, 0.9f, 0.9f}), 1);
  EXPECT_EQ(once(greedy, {-5.0f}), 0);
}

TEST(SamplerTest, FrequenciesFollowTheProbabilities) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  const auto seen = draws({}, logits, 4000);
  EXPECT_NEAR(seen.at(0) / 4000.0, 0.125, 0.02);
  EXPECT_NEAR(seen.at(1) / 4000.0, 0.25, 0.03);
  EXPECT_NEAR(seen.at(2) / 4000.0, 0.625, 0.03);
  Sampling cold;
  cold.temperature = 0.5f;  // squares the odds: 1 : 4 : 25
  EXPECT_NEAR(draws(cold, logits, 4000).at(2) / 4000.0, 25.0 / 30.0, 0.03);
}

TEST(SamplerTest, TheSeedDecides) {
  const std::vector<float> logits(100, 0.0f);
  const auto sequence = [&](uint64_t seed) {
    Sampling s;
    s.seed = seed;
    Sampler sampler(s);
    std::vector<int32_t> out;
    for (int i = 0; i < 50; ++i) {
      auto copy = logits;
      out.push_back(sampler.sample(copy, out));
    }
    return out;
  };
  EXPECT_EQ(sequence(5), sequence(5));
  EXPECT_NE(sequence(5), sequence(6));
}

TEST(SamplerTest, TopKTopPAndMinPCutTheTail) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = -0.5f * static_cast<float>(i);  // odds e^-0.5 from one to the next
  Sampling top_k;
  top_k.top_k = 3;
  EXPECT_EQ(draws(top_k, logits, 2000).size(), 3u);
  Sampling top_p;
  top_p.top_p = 0.6f;  // the first has 0.39, the first two 0.63
  EXPECT_EQ(draws(top_p, logits, 2000).size(), 2u);
  Sampling min_p;
  min_p.min_p = 0.2f;  // e^-1.5 is 0.22, e^-2 is 0.14
  EXPECT_EQ(draws(min_p, logits, 5000).size(), 4u);
  Sampling all;
  all.top_k = 1;
  EXPECT_EQ(draws(all, logits, 100).size(), 1u);
}

TEST(SamplerTest, TopPReachesPastTheFirstSortedStretch) {
  const std::vector<float> flat(1000, 1.0f);
  Sampling s;
  s.top_p = 0.9f;
  const auto seen = draws(s, flat, 1000);
  EXPECT_GT(seen.size(), 450u);
  EXPECT_GT(seen.rbegin()->first, 700);
  EXPECT_LT(seen.rbegin()->first, 902);  // ties go to lower ids
}

TEST(SamplerTest, PenaltiesLookAtTheWindow) {
  Sampling s;
  s.temperature = 0;
  s.repetition_penalty = 2.0f;
  EXPECT_EQ(once(s, {1.0f, 0.9f}, {0}), 1);
  EXPECT_EQ(once(s, {-1.0f, -1.5f}, {0}), 1);  // a negative logit is multiplied
  s.repeat_window = 1;
  EXPECT_EQ(once(s, {1.0f, 0.9f}, {0, 1}), 0);  // only token 1 is in the window
  s.repeat_window = 0;
  EXPECT_EQ(once(s, {1.0f, 0.9f}, {0}), 0);
  Sampling counts;
  counts.temperature = 0;
  counts.frequency_penalty = 0.1f;
  EXPECT_EQ(once(counts, {1.0f, 0.85f}, {0}), 0);
  EXPECT_EQ(once(counts, {1.0f, 0.85f}, {0, 0}), 1);
  Sampling presence;
  presence.temperature = 0;
  presence.presence_penalty = 0.1f;
  EXPECT_EQ(once(presence, {1.0f, 0.85f}, {0, 0}), 0);
}

TEST(SamplerTest, BadSettingsAreNamed) {
  const auto field = [](auto set) {
    Sampling s;
    set(s);
    try {
      check_sampling(s);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return std::string(e.what()).substr(0, std::string(e.what()).find(' '));
    }
    return std::string("accepted");
  };
  EXPECT_EQ(field([](Sampling&) {}), "accepted");
  EXPECT_EQ(field([](Sampling& s) { s.temperature = -1; }), "temperature");
  EXPECT_EQ(field([](Sampling& s) { s.temperature = NAN; }), "temperature");
  EXPECT_EQ(field([](Sampling& s) { s.top_k = -1; }), "top_k");
  EXPECT_EQ(field([](Sampling& s) { s.top_p = 0; }), "top_p");
  EXPECT_EQ(field([](Sampling& s) { s.top_p = NAN; }), "top_p");
  EXPECT_EQ(field([](Sampling& s) { s.min_p = 2; }), "min_p");
  EXPECT_EQ(field([](Sampling& s) { s.repetition_penalty = 0; }), "repetition_penalty");
  EXPECT_EQ(field([](Sampling& s) { s.frequency_penalty = INFINITY; }), "frequency_penalty");
  EXPECT_EQ(field([](Sampling& s) { s.presence_penalty = -INFINITY; }), "presence_penalty");
  EXPECT_EQ(field([](Sampling& s) { s.repeat_window = -1; }), "repeat_window");
}

/// The pieces that come out when `text` goes in byte by byte.
std::vector<std::string> pieces(std::vector<std::string> stops, std::string_view text) {
  TextStream stream(std::move(stops));
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size(); ++i)
    if (auto piece = stream.push(text.substr(i, 1)); !piece.empty()) out.push_back(piece);
  if (auto piece = stream.finish(); !piece.empty()) out.push_back(piece);
  return out;
}

std::string joined(std::vector<std::string> stops, std::string_view text) {
  std::string out;
  for (const auto& piece : pieces(std::move(stops), text)) out += piece;
  return out;
}

TEST(TextStreamTest, GivesWholeCharacters) {
  EXPECT_EQ(pieces({}, "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
            (std::vector<std::string>{"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}));
  EXPECT_EQ(joined({}, "x\xE2\x82"), "x\xEF\xBF\xBD");              // cut off at the end
  EXPECT_EQ(joined({}, "\xFFy\x80"), "\xEF\xBF\xBDy\xEF\xBF\xBD");  // never UTF-8
}

TEST(TextStreamTest, EndsBeforeTheFirstStopString) {
  EXPECT_EQ(joined({"END"}, "one END two"), "one ");
  EXPECT_EQ(joined({"zz", "o  t"}, "one two three"), "one two three");
  EXPECT_EQ(joined({"three", "two"}, "one two three"), "one ");
  EXPECT_EQ(joined({"aab"}, "aaaab"), "aa");
  EXPECT_EQ(joined({""}, "abc"), "abc");
  EXPECT_EQ(joined({"\xE2\x82\xAC"}, "5 \xE2\x82\xAC and"), "5 ");
}

TEST(TextStreamTest, HoldsBackWhatMayBecomeAStopString) {
  EXPECT_EQ(pieces({"\n\nQ"}, "a\n\nb"), (std::vector<std::string>{"a", "\n\nb"}));
  EXPECT_EQ(pieces({"\n\nQ"}, "a\n\n"), (std::vector<std::string>{"a", "\n\n"}));
  TextStream stream({"stop"});
  EXPECT_EQ(stream.push("now st"), "now ");
  EXPECT_EQ(stream.push("op here"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push("more"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStreamTest, SaysWhichStringStopped) {
  TextStream stream({"later", "now", "no"});
  EXPECT_EQ(stream.push("it is now later"), "it is ");
  EXPECT_EQ(stream.stopped_by(), "now");
  TextStream none({"x"});
  none.push("abc");
  none.finish();
  EXPECT_EQ(none.stopped_by(), "");
}

}  // namespace
}  // namespace fathom::infer
