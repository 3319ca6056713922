// SmolLM2's greedy output against what llama.cpp generated for the same prompts (record_greedy.py made the recording).
//
// What can be asked for. Before each product with a 4-bit matrix, llama.cpp and this engine alike round activations to 8
// bits. The last bit of a float sum, which depends on the order of its terms, sometimes tips such a rounding, and through
// thirty layers that grows to some tenths of a logit. So llama.cpp does not agree with itself: it takes all the tokens of its
// own default settings, each step after the same text, on 28 of these 53 prompts when it reads them token by token, on 23
// with flash attention, on 24 when it was built for AVX2 in place of AVX-512; this engine, whose sums have yet another order,
// on 19 to 21. (The logit that differs most does so by 0.6 on average in the first case and by 0.7 in the others.) The
// recording therefore has, for each prompt, 64 tokens with llama.cpp's default settings, the lead of each over the second
// best, and the other tokens that llama.cpp takes at this step after the same text when it computes in other ways ("also").
//
// What is asserted:
// 1. Every prompt becomes the same tokens.
// 2. At every step the engine takes a token that llama.cpp takes: the default's, or another way's; but for kLuck steps at
//    most, which are near ties (kNearTie) on which none of llama.cpp's few ways happens to waver.
// 3. The prompts of kSame get exactly the tokens of llama.cpp's default settings, over all 64. They are those that come out
//    the same with AVX-512 and with AVX2, whose sums have different orders; on either a few more are exact.
//
// How. Each step is judged after the recorded tokens before it, so that one early difference does not hide the rest; all
// steps of a prompt are computed in one batch. Where each step takes the recorded token, generating step by step gives the
// recorded text, because a token's logits do not depend on the batch it is computed in (Forward.LogitsDoNotDependOn..., bit
// for bit); the prompts of kGenerated are generated in that way too, as proof that it is so for the real model.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "infer/engine.h"
#include "model/llama2c.h"
#include "tensor/ops.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FATHOM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FATHOM_SANITIZED 1
#endif
#endif

namespace fathom::infer {
namespace {

/// What the recorded token leads by, and the engine's by in the engine's eyes, together.
constexpr float kNearTie = 0.5f;

/// Of some 3,000 steps.
constexpr size_t kLuck = 15;

const std::set<std::string> kSame = {
    "chat_long",   "chat_months", "chat_numbers", "chat_sys",         "chat_tests",  "chat_turns",
    "raw_accents", "raw_again",   "raw_code",     "raw_engine_again", "raw_html",    "raw_json",
    "raw_letters", "raw_list",    "raw_log",      "raw_long",         "raw_planets", "raw_steps"};
const std::set<std::string> kGenerated = {"chat_turns",  "chat_months", "chat_numbers", "raw_accents",
                                          "raw_letters", "raw_code",    "raw_json",     "raw_planets"};

/// Prompt and answer together. Under a sanitizer only the shortest case (65) runs: the small models run the same code.
#ifdef FATHOM_SANITIZED
constexpr size_t kMostTokens = 66;
#else
constexpr size_t kMostTokens = SIZE_MAX;
#endif

using Tokens = std::vector<int32_t>;

struct Case {
  explicit Case(const nlohmann::json& item)
      : name(item["name"]),
        prompt(item["prompt"].get<Tokens>()),
        tokens(item["tokens"].get<Tokens>()),
        leads(item["leads"].get<std::vector<float>>()) {
    for (const auto& [step, others] : item["also"].items())
      also[std::stoul(step)] = others.get<std::set<int32_t>>();
  }

  bool taken_too(size_t step, int32_t token) const {
    const auto others = also.find(step);
    return others != also.end() && others->second.contains(token);
  }

  std::string name;
  Tokens prompt, tokens;
  std::vector<float> leads;
  std::map<size_t, std::set<int32_t>> also;
};

/// How the engine's choice at each recorded step compares with llama.cpp's.
struct Agreement {
  size_t others = 0;       // steps where the default takes another token
  size_t alone = 0;        // of them, those where every way does
  std::string difference;  // the first of these that is no near tie
};

Agreement compare(Engine& engine, const Case& c) {
  Tokens all = c.prompt;
  all.insert(all.end(), c.tokens.begin(), c.tokens.end() - 1);
  const auto logits = engine.logits(all, c.prompt.size() - 1);
  const size_t vocab = engine.info().vocabulary;
  Agreement out;
  for (size_t i = 0; i < c.tokens.size(); ++i) {
    const float* row = logits.data() + i * vocab;
    const auto best = static_cast<int32_t>(tensor::argmax(row, vocab));
    if (best == c.tokens[i]) continue;
    ++out.others;
    if (c.taken_too(i, best)) continue;
    ++out.alone;
    const float gap = row[best] - row[c.tokens[i]];
    const bool near_tie = c.leads[i] + gap < kNearTie;
    if (!near_tie && out.difference.empty())
      out.difference = "at token " + std::to_string(i) + ": " + std::to_string(best) + " instead of " +
                       std::to_string(c.tokens[i]) + ", ahead of it by " + std::to_string(gap) +
                       "; recorded lead " + std::to_string(c.leads[i]);
  }
  return out;
}

class Greedy : public testing::Test {
 protected:
  void SetUp() override {
    const auto path = test::smollm2_path();
    if (!path) GTEST_SKIP() << "SmolLM2 is not there; set FATHOM_TEST_MODEL to its GGUF file";
    pool_ = std::make_unique<ThreadPool>(2);
    EngineOptions options;
    options.context = 2048;
    engine_ = Engine::load(*path, options, *pool_);
    recording_ = nlohmann::json::parse(read_file(std::filesystem::path(FATHOM_SOURCE_DIR) /
                                                 "tests/infer/testdata/greedy_smollm2_q4_1.json"));
  }

  std::vector<Case> cases() const {
    std::vector<Case> out;
    for (const auto& item : recording_["cases"]) {
      Case c(item);
      if (c.prompt.size() + c.tokens.size() <= kMostTokens) out.push_back(std::move(c));
    }
    return out;
  }

  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Engine> engine_;
  nlohmann::json recording_;
};

TEST_F(Greedy, PromptsBecomeTheSameTokens) {
  for (const auto& item : recording_["cases"]) {
    std::vector<ChatMessage> messages;
    for (const auto& m : item.value("messages", nlohmann::json::array()))
      messages.push_back({m["role"], m["content"]});
    const auto tokens = messages.empty() ? engine_->tokenize(item["text"].get<std::string>())
                                         : engine_->tokenize_chat(messages);
    EXPECT_EQ(tokens, item["prompt"].get<Tokens>()) << item["name"];
  }
}

TEST_F(Greedy, EachStepTakesATokenThatLlamaCppTakes) {
  size_t others = 0, alone = 0;
  for (const Case& c : cases()) {
    const Agreement agreement = compare(*engine_, c);
    EXPECT_EQ(agreement.difference, "") << c.name;
    EXPECT_TRUE(agreement.others == 0 || !kSame.contains(c.name))
        << c.name << ": another token at " << agreement.others << " of " << c.tokens.size() << " steps";
    others += agreement.others;
    alone += agreement.alone;
    RecordProperty(c.name, std::to_string(agreement.others) + ", alone " + std::to_string(agreement.alone));
  }
  EXPECT_LE(alone, kLuck) << "of " << others << " steps on which the default takes another token";
}

TEST_F(Greedy, GeneratedTextIsThatOfLlamaCpp) {
  for (const Case& c : cases()) {
    if (!kGenerated.contains(c.name)) continue;
    GenerateRequest request;
    request.prompt = c.prompt;
    request.max_tokens = c.tokens.size();
    request.sampling.temperature = 0;
    const auto result = engine_->generate(request, nullptr, {});
    const auto end =
        std::find_if(c.tokens.begin(), c.tokens.end(), [](int32_t t) { return t == 0 || t == 2 || t == 4; });
    const Tokens spoken(c.tokens.begin(), end);
    EXPECT_EQ(result.text, engine_->detokenize(spoken)) << c.name;
    EXPECT_EQ(result.completion_tokens, spoken.size()) << c.name;
    EXPECT_EQ(result.finish, end == c.tokens.end() ? FinishReason::kLength : FinishReason::kStop) << c.name;
  }
}

}  // namespace
}  // namespace fathom::infer
