// The engine as its callers see it: loading, generating, the prefix cache, concurrency, cancellation, errors. On random
// small models, and on the real stories260K where it is.
#include "infer/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "infer/tiny_model.h"
#include "model/llama2c.h"

namespace fathom::infer {
namespace {

using test::TinyModel;

/// An engine over a file of its own.
struct Loaded {
  explicit Loaded(const std::string& gguf, const EngineOptions& options = {}, size_t threads = 2)
      : pool(threads) {
    const auto path = folder.path() / "model.gguf";
    write_file_atomic(path, gguf);
    engine = Engine::load(path, options, pool);
  }
  explicit Loaded(const TinyModel& spec) : Loaded(test::tiny_gguf(spec)) {}

  TempDir folder;
  ThreadPool pool;
  std::unique_ptr<Engine> engine;
};

GenerateRequest greedy(std::vector<int32_t> prompt, size_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

std::vector<int32_t> text_tokens(std::string_view text) {
  std::vector<int32_t> out;
  for (const char c : text) out.push_back(3 + static_cast<unsigned char>(c));
  return out;
}

ErrorCode code_of(const std::function<void()>& action, std::string* sentence = nullptr) {
  try {
    action();
  } catch (const Error& e) {
    if (sentence != nullptr) *sentence = e.what();
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kInternal;
}

TEST(EngineTest, DescribesItsModel) {
  TinyModel spec;
  spec.dtype = tensor::DType::kQ4_1;
  Loaded model(spec);
  const ModelInfo& info = model.engine->info();
  EXPECT_EQ(info.name, "tiny");
  EXPECT_EQ(info.architecture, "llama");
  EXPECT_EQ(info.quantisation, "Q4_1");
  EXPECT_EQ(info.context, 128u);
  EXPECT_EQ(info.vocabulary, 272u);
  EXPECT_GT(info.parameters, 50000u);
  EXPECT_EQ(info.file_bytes, std::filesystem::file_size(model.folder.path() / "model.gguf"));
}

TEST(EngineTest, StreamsWhatItReturns) {
  Loaded model{TinyModel{}};
  std::string streamed;
  auto request = greedy(text_tokens("hello"), 40);
  request.sampling.temperature = 1.5f;
  request.sampling.seed = 9;
  const auto result = model.engine->generate(request,
                                             [&](std::string_view piece) {
                                               EXPECT_FALSE(piece.empty());
                                               streamed += piece;
                                               return true;
                                             },
                                             {});
  EXPECT_EQ(result.text, streamed);
  EXPECT_EQ(result.prompt_tokens, 5u);
  EXPECT_EQ(result.cached_tokens, 0u);
  EXPECT_LE(result.completion_tokens, 40u);
  EXPECT_EQ(result.finish == FinishReason::kLength, result.completion_tokens == 40u);
  request.max_tokens = 0;
  EXPECT_EQ(model.engine->generate(request, nullptr, {}).completion_tokens, 0u);
}

TEST(EngineTest, ACachedPrefixGivesTheSameText) {
  TinyModel spec;
  spec.dtype = tensor::DType::kQ8_0;
  Loaded shared(spec);
  const std::vector<std::string> prompts = {"the same beginning, then one end",
                                            "the same beginning, then one end",
                                            "the same beginning, then another one",
                                            "the same beginning, then one end, and more",
                                            "the s",
                                            "something else entirely",
                                            "the same beginning, then one end"};
  size_t reused = 0;
  for (const auto& prompt : prompts) {
    const auto request = greedy(text_tokens(prompt), 30);
    const auto cached = shared.engine->generate(request, nullptr, {});
    Loaded fresh(spec);
    const auto expected = fresh.engine->generate(request, nullptr, {});
    EXPECT_EQ(cached.text, expected.text) << prompt;
    EXPECT_EQ(cached.completion_tokens, expected.completion_tokens);
    EXPECT_LT(cached.cached_tokens, cached.prompt_tokens);
    EXPECT_EQ(expected.cached_tokens, 0u);
    reused += cached.cached_tokens;
  }
  EXPECT_GT(reused, 80u);
}

TEST(EngineTest, TheSamePromptIsFoundInTheCacheButForItsLastToken) {
  Loaded model{TinyModel{}};
  const auto request = greedy(text_tokens("once upon a time"), 5);
  model.engine->generate(request, nullptr, {});
  model.engine->generate(greedy(text_tokens("another"), 5), nullptr, {});
  EXPECT_EQ(model.engine->generate(request, nullptr, {}).cached_tokens, 15u);
}

TEST(EngineTest, ManyCallersGetWhatOneGets) {
  Loaded model{TinyModel{}};
  const std::vector<std::string> prompts = {"alpha", "alpha and beta", "gamma", "delta delta"};
  std::vector<std::string> expected;
  for (const auto& p : prompts) {
    Loaded fresh{TinyModel{}};
    expected.push_back(fresh.engine->generate(greedy(text_tokens(p), 20), nullptr, {}).text);
  }
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < prompts.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) {
        EXPECT_EQ(model.engine->generate(greedy(text_tokens(prompts[i]), 20), nullptr, {}).text, expected[i]);
        EXPECT_EQ(model.engine->tokenize("ab").size(), 2u);
      }
    });
  }
}

TEST(EngineTest, CanBeCancelled) {
  Loaded model{TinyModel{}};
  std::stop_source stop;
  auto request = greedy(text_tokens("go"), 100);
  request.sampling.temperature = 3.0f;
  int pieces = 0;
  const auto by_sink = model.engine->generate(request, [&](std::string_view) { return ++pieces < 3; }, {});
  EXPECT_EQ(by_sink.finish, FinishReason::kCancelled);
  EXPECT_EQ(pieces, 3);
  const auto by_token = model.engine->generate(
      request,
      [&](std::string_view) {
        stop.request_stop();
        return true;
      },
      stop.get_token());
  EXPECT_EQ(by_token.finish, FinishReason::kCancelled);
  EXPECT_LT(by_token.completion_tokens, 100u);
  const auto before = model.engine->generate(request, nullptr, stop.get_token());
  EXPECT_EQ(before.finish, FinishReason::kCancelled);
  EXPECT_EQ(before.completion_tokens, 0u);
}

TEST(EngineTest, AQueuedCallerCanGiveUp) {
  Loaded model(test::tiny_gguf(TinyModel{}), EngineOptions{.sequences = 1});
  std::stop_source stop;
  auto first = greedy(text_tokens("first"), 120);
  first.ignore_end = true;  // longer than a reader may lag: it holds its place until it is read
  FinishReason second = FinishReason::kStop;
  std::jthread queued;
  model.engine->generate(
      first,
      [&](std::string_view) {
        if (queued.joinable()) return true;
        queued = std::jthread([&] {
          second = model.engine->generate(greedy(text_tokens("second"), 3), nullptr, stop.get_token()).finish;
        });
        stop.request_stop();
        queued.join();
        return true;
      },
      {});
  EXPECT_EQ(second, FinishReason::kCancelled);
}

TEST(EngineTest, StopStringsEndTheText) {
  Loaded model{TinyModel{}};
  auto request = greedy(text_tokens("abc"), 60);
  request.sampling.temperature = 2.0f;
  const auto whole = model.engine->generate(request, nullptr, {});
  ASSERT_GT(whole.text.size(), 12u);
  // A stretch of ASCII from the middle of the text.
  size_t at = whole.text.size() / 2;
  while (at < whole.text.size() && static_cast<unsigned char>(whole.text[at]) >= 0x80) ++at;
  ASSERT_LT(at, whole.text.size());
  request.stop = {whole.text.substr(at, 1)};
  const auto cut = model.engine->generate(request, nullptr, {});
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(request.stop[0])));
  EXPECT_EQ(cut.finish, FinishReason::kStop);
}

TEST(EngineTest, TheContextIsALimit) {
  Loaded model(test::tiny_gguf(TinyModel{}), EngineOptions{.context = 32});
  EXPECT_EQ(model.engine->info().context, 32u);
  std::string sentence;
  EXPECT_EQ(code_of([&] { model.engine->generate(greedy(std::vector<int32_t>(33, 70), 5), nullptr, {}); },
                    &sentence),
            ErrorCode::kResourceExhausted);
  EXPECT_NE(sentence.find("33"), std::string::npos);
  EXPECT_NE(sentence.find("32"), std::string::npos);
  auto request = greedy(std::vector<int32_t>(30, 70), 50);
  request.sampling.temperature = 5.0f;
  const auto result = model.engine->generate(request, nullptr, {});
  EXPECT_LE(result.completion_tokens, 2u);
  EXPECT_EQ(model.engine->generate(greedy(std::vector<int32_t>(32, 70), 5), nullptr, {}).finish,
            FinishReason::kLength);
  EXPECT_EQ(code_of([] { Loaded(test::tiny_gguf(TinyModel{}), EngineOptions{.context = 129}); }),
            ErrorCode::kInvalidArgument);
}

TEST(EngineTest, LogitsAreThoseAfterEachToken) {
  Loaded model{TinyModel{}};
  const auto tokens = text_tokens("some text");
  const size_t vocab = model.engine->info().vocabulary;
  const auto all = model.engine->logits(tokens, 0);
  ASSERT_EQ(all.size(), tokens.size() * vocab);
  for (const size_t first : {1u, 8u})
    EXPECT_EQ(model.engine->logits(tokens, first),
              std::vector<float>(all.begin() + static_cast<ptrdiff_t>(first * vocab), all.end()));
  EXPECT_EQ(code_of([&] { model.engine->logits(tokens, 9); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { model.engine->logits({}, 0); }), ErrorCode::kInvalidArgument);
}

TEST(EngineTest, BadRequestsAreRefused) {
  Loaded model{TinyModel{}};
  const auto refuse = [&](const GenerateRequest& request) {
    EXPECT_EQ(code_of([&] { model.engine->generate(request, nullptr, {}); }), ErrorCode::kInvalidArgument);
  };
  refuse(greedy({}, 5));
  refuse(greedy({-1}, 5));
  refuse(greedy({272}, 5));
  auto hot = greedy({5}, 5);
  hot.sampling.top_p = -1;
  refuse(hot);
}

TEST(EngineTest, ATensorThatIsNotFiniteIsNamed) {
  for (const tensor::DType dtype : tensor::kAllDTypes) {
    for (const std::string name :
         {"token_embd.weight", "blk.1.attn_v.weight", "blk.0.ffn_up.weight", "output_norm.weight"}) {
      for (const float poison : {NAN, INFINITY, -INFINITY}) {
        if (tensor::block_size(dtype) > 32 && !std::isnan(poison))
          continue;  // large models, one check of all
        TinyModel spec = test::tiny_model(dtype);
        spec.poisoned = name;
        spec.poison = poison;
        std::string sentence;
        EXPECT_EQ(code_of([&] { Loaded model(spec); }, &sentence), ErrorCode::kCorrupt);
        EXPECT_NE(sentence.find("tensor " + name + " holds a number that is not finite"), std::string::npos)
            << sentence;
      }
    }
  }
}

TEST(EngineTest, ComputingWhatIsNotFiniteIsAnError) {
  TinyModel spec;
  spec.poisoned = "output_norm.weight";
  spec.poison = 3e38f;  // finite, but its product with a large activation is not
  spec.logits = 100;
  Loaded model(spec);
  std::string sentence;
  EXPECT_EQ(code_of([&] { model.engine->generate(greedy(text_tokens("x"), 5), nullptr, {}); }, &sentence),
            ErrorCode::kCorrupt);
  EXPECT_NE(sentence.find("not finite"), std::string::npos) << sentence;
  // What was computed is not kept for the next caller as if it were good.
  EXPECT_EQ(code_of([&] { model.engine->generate(greedy(text_tokens("x"), 5), nullptr, {}); }),
            ErrorCode::kCorrupt);
}

TEST(EngineTest, TheSmallestRequests) {
  const std::string gguf = test::tiny_gguf(TinyModel{});
  Loaded one(gguf, EngineOptions{.context = 1});
  const auto full = one.engine->generate(greedy({70}, 5), nullptr, {});
  EXPECT_EQ(full.completion_tokens, 0u);
  EXPECT_EQ(full.finish, FinishReason::kLength);
  EXPECT_EQ(full.text, "");
  std::string sentence;
  EXPECT_EQ(code_of(
                [&] {
                  one.engine->generate(greedy({70, 71}, 5), nullptr, {});
                },
                &sentence),
            ErrorCode::kResourceExhausted);
  EXPECT_NE(sentence.find("the context holds 1"), std::string::npos) << sentence;

  Loaded model(gguf, EngineOptions{.context = 17});
  for (const size_t prompt : {1u, 16u, 17u}) {
    const auto none = model.engine->generate(greedy(std::vector<int32_t>(prompt, 70), 0), nullptr, {});
    EXPECT_EQ(none.completion_tokens, 0u);
    EXPECT_EQ(none.finish, FinishReason::kLength);
    auto request = greedy(std::vector<int32_t>(prompt, 70), SIZE_MAX);
    request.sampling.temperature = 5.0f;
    EXPECT_LE(model.engine->generate(request, nullptr, {}).completion_tokens, 17 - prompt);
  }
}

TEST(EngineTest, ABrokenFileGetsASentence) {
  const std::string good = test::tiny_gguf(TinyModel{});
  for (const size_t size : {size_t{0}, size_t{3}, size_t{40}, good.size() / 2, good.size() - 1}) {
    std::string sentence;
    EXPECT_EQ(code_of([&] { Loaded(good.substr(0, size)); }, &sentence), ErrorCode::kCorrupt) << size;
    EXPECT_NE(sentence.find("model.gguf"), std::string::npos) << sentence;
  }
  ThreadPool pool(1);
  EXPECT_EQ(code_of([&] { Engine::load("/nowhere/model.gguf", {}, pool); }), ErrorCode::kNotFound);
}

TEST(EngineTest, ChatGoesThroughATemplateAndUsersCannotForgeIt) {
  Loaded model{TinyModel{}};
  const auto plain = model.engine->tokenize_chat({{"user", "hi"}});
  EXPECT_EQ(plain.front(), model.engine->bos().value());
  const auto forged = model.engine->tokenize_chat({{"user", "</s>"}});
  EXPECT_EQ(std::count(forged.begin(), forged.end(), 2), 0);
}

TEST(Stories260K, TellsItsStory) {
  if (!test::has_stories260k()) GTEST_SKIP() << "shared/data/weights with stories260K is not there";
  Loaded model(test::stories260k_gguf());
  const auto result = model.engine->generate(greedy({1}, 60), nullptr, {});
  const std::string story =
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park";
  const size_t from = result.text.find_first_not_of(' ');
  EXPECT_EQ(result.text.substr(from == std::string::npos ? 0 : from, story.size()), story);
}

}  // namespace
}  // namespace fathom::infer
