// Generations that run beside each other: each gets what it would get alone, whatever else happens.
#include "infer/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <latch>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "infer/engine.h"
#include "infer/grammar.h"
#include "infer/tiny_model.h"

namespace fathom::infer {
namespace {

using test::TinyModel;
using Tokens = std::vector<int32_t>;

TinyModel small(tensor::DType dtype = tensor::DType::kQ8_0) {
  TinyModel spec;
  spec.dtype = dtype;
  spec.context = 256;
  return spec;
}

/// An engine over a file of its own.
struct Loaded {
  explicit Loaded(const EngineOptions& options = {}, const TinyModel& spec = small(), size_t threads = 2)
      : pool(threads) {
    const auto path = folder.path() / "model.gguf";
    write_file_atomic(path, test::tiny_gguf(spec));
    engine = Engine::load(path, options, pool);
  }

  TempDir folder;
  ThreadPool pool;
  std::unique_ptr<Engine> engine;
};

/// Bytes of so many pages of the small model, F16.
uint64_t page_bytes(size_t pages) { return pages * (2 * 2 * 2 * 16 * KvPool::kPositions * 2); }

GenerateRequest request_of(const Tokens& prompt, size_t max_tokens, float temperature = 1.2f,
                           uint64_t seed = 1) {
  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = max_tokens;
  request.sampling.temperature = temperature;
  request.sampling.seed = seed;
  request.ignore_end = true;
  return request;
}

/// Prompts of many lengths, some of which begin alike.
std::vector<GenerateRequest> mixed_requests(size_t count, size_t longest = 120, uint64_t seed = 3) {
  Random random(seed);
  Tokens shared(longest);
  for (auto& t : shared) t = static_cast<int32_t>(3 + random.below(256));
  std::vector<GenerateRequest> out;
  for (size_t i = 0; i < count; ++i) {
    Tokens prompt(shared.begin(), shared.begin() + static_cast<ptrdiff_t>(random.below(longest / 2)));
    const size_t own = 1 + random.below(longest / 2);
    for (size_t t = 0; t < own; ++t) prompt.push_back(static_cast<int32_t>(3 + random.below(6)));
    out.push_back(request_of(prompt, 5 + random.below(60), i % 3 == 0 ? 0.0f : 1.2f, i));
    out.back().lookup = i % 2 == 0;
    if (i % 4 == 1) out.back().logprobs = 2;
  }
  return out;
}

struct Answer {
  std::string text;
  Tokens tokens;
  std::vector<float> logprobs;
  size_t completion = 0;
  bool operator==(const Answer&) const = default;
};

Answer ask(Engine& engine, GenerateRequest request) {
  Answer out;
  if (request.logprobs)
    request.on_token = [&out](const TokenChoice& choice) {
      out.tokens.push_back(choice.token);
      out.logprobs.push_back(choice.logprob);
    };
  const auto result = engine.generate(request, nullptr, {});
  out.text = result.text;
  out.completion = result.completion_tokens;
  return out;
}

/// What each request gets alone, without anybody's cache and without guesses.
std::vector<Answer> alone(const std::vector<GenerateRequest>& requests, const TinyModel& spec = small()) {
  std::vector<Answer> out;
  for (GenerateRequest request : requests) {
    Loaded fresh({.sequences = 1}, spec, 1);
    request.lookup = false;
    out.push_back(ask(*fresh.engine, request));
  }
  return out;
}

void expect_each_gets_its_own(Engine& engine, const std::vector<GenerateRequest>& requests,
                              const std::vector<Answer>& expected, size_t threads, int rounds) {
  std::atomic<size_t> next{0};
  std::vector<std::jthread> callers;
  for (size_t t = 0; t < threads; ++t)
    callers.emplace_back([&] {
      for (size_t i = next++; i < requests.size() * static_cast<size_t>(rounds); i = next++)
        EXPECT_EQ(ask(engine, requests[i % requests.size()]), expected[i % requests.size()]) << i;
    });
}

TEST(SchedulerTest, EachGetsWhatItWouldGetAlone) {
  const auto requests = mixed_requests(12);
  const auto expected = alone(requests);
  for (const size_t threads : {1u, 2u, 3u}) {
    Loaded model({.sequences = 5}, small(), threads);
    expect_each_gets_its_own(*model.engine, requests, expected, 8, 2);
    const auto status = model.engine->status();
    EXPECT_EQ(status.running, 0u);
    EXPECT_EQ(status.waiting, 0u);
    EXPECT_GT(status.cached_tokens, 0u);
    EXPECT_GT(status.guessed_tokens, 0u);
    size_t completions = 0;
    for (const Answer& a : expected) completions += 2 * a.completion;
    EXPECT_EQ(status.completion_tokens, completions);
  }
}

/// So few pages that generations must give theirs up and begin again, and nothing stays in the cache for long.
TEST(SchedulerTest, FewPagesChangeNothingButTheTime) {
  const auto requests = mixed_requests(10);
  const auto expected = alone(requests);
  Loaded model({.sequences = 6, .cache_bytes = page_bytes(1)});
  EXPECT_EQ(model.engine->status().cache_pages, 256 / KvPool::kPositions + 1);
  expect_each_gets_its_own(*model.engine, requests, expected, 7, 2);
  // Whoever begins again and finds its own pages has saved nothing.
  const auto status = model.engine->status();
  EXPECT_LT(status.cached_tokens, status.prompt_tokens);
}

TEST(SchedulerTest, AQuantisedCacheIsDeterministicToo) {
  TinyModel spec = small();
  spec.head_dim = 32;
  const auto requests = mixed_requests(6);
  std::vector<Answer> expected;
  for (const auto& request : requests) {
    Loaded fresh({.sequences = 1, .cache_q8 = true}, spec, 1);
    expected.push_back(ask(*fresh.engine, request));
  }
  Loaded model({.sequences = 4, .cache_q8 = true}, spec);
  expect_each_gets_its_own(*model.engine, requests, expected, 4, 2);
}

TEST(SchedulerTest, EqualPromptsAtOnceAreComputedOnce) {
  Loaded model;
  Tokens prompt(129);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(3 + i);
  std::vector<std::jthread> callers;
  std::vector<size_t> cached(6);
  for (size_t i = 0; i < cached.size(); ++i)
    callers.emplace_back([&, i] {
      cached[i] = model.engine->generate(request_of(prompt, 20, 1.0f, i), nullptr, {}).cached_tokens;
    });
  callers.clear();
  // All but one find every full page.
  EXPECT_EQ(std::count_if(cached.begin(), cached.end(), [](size_t n) { return n < 128; }), 1);
}

/// Readers that do not read keep their places: a slow one makes room for those only that can get ahead.
TEST(SchedulerTest, MoreThanMayWaitAreRefused) {
  Loaded model({.sequences = 1, .waiting = 2});
  std::latch go(1);
  const auto read_late = [&](std::string_view) {
    go.wait();
    return true;
  };
  // Refused while another is being set aside, they come again.
  const auto ask = [&] {
    for (;;) {
      try {
        return model.engine->generate(request_of({5, 6, 7}, 200), read_late, {}).completion_tokens;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kResourceExhausted);
      }
    }
  };
  std::vector<std::jthread> readers;
  for (int i = 0; i < 3; ++i) readers.emplace_back([&] { EXPECT_EQ(ask(), 200u); });
  // Once all three are as far ahead as they may be, nobody moves, and two wait.
  std::string refusal;
  while (refusal.empty()) {
    try {
      model.engine->generate(request_of({8, 9}, 3), nullptr, {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kResourceExhausted);
      refusal = e.what();
    }
  }
  EXPECT_NE(refusal.find("2 requests wait"), std::string::npos) << refusal;
  go.count_down();
}

/// A reader that does not read holds up nobody else, and loses nothing.
TEST(SchedulerTest, ASlowReaderHoldsUpNobody) {
  const auto slow_request = request_of({5, 6, 7}, 200);
  const auto expected = alone({slow_request}).front();
  Loaded model({.sequences = 2});
  std::latch reading(1), go(1);
  std::string text;
  std::jthread slow([&] {
    text = model.engine
               ->generate(slow_request,
                          [&, begun = false](std::string_view) mutable {
                            if (!std::exchange(begun, true)) reading.count_down();
                            go.wait();
                            return true;
                          },
                          {})
               .text;
  });
  reading.wait();
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(model.engine->generate(request_of({8, 9, 10 + i}, 100), nullptr, {}).completion_tokens, 100u);
  EXPECT_EQ(model.engine->status().running, 1u);  // it waits for its reader
  go.count_down();
  slow.join();
  EXPECT_EQ(text, expected.text);
}

/// Nor does it keep a place that somebody else could have.
TEST(SchedulerTest, ASlowReaderGivesItsPlaceUp) {
  const auto slow_request = request_of({5, 6, 7}, 200);
  const auto expected = alone({slow_request}).front();
  Loaded model({.sequences = 1});
  std::latch reading(2), go(1);
  std::vector<std::string> texts(2);
  std::vector<std::jthread> slow;
  for (std::string& text : texts)
    slow.emplace_back([&] {
      text = model.engine
                 ->generate(slow_request,
                            [&, begun = false](std::string_view) mutable {
                              if (!std::exchange(begun, true)) reading.count_down();
                              go.wait();
                              return true;
                            },
                            {})
                 .text;
    });
  reading.wait();  // both have begun, and neither goes on
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(model.engine->generate(request_of({8, 9, 10 + i}, 100), nullptr, {}).completion_tokens, 100u);
  go.count_down();
  slow.clear();
  for (const std::string& text : texts) EXPECT_EQ(text, expected.text);
}

/// A choice that is made in as many pieces as can be gives what it gives at once.
TEST(SchedulerTest, ChoicesInPiecesChangeNothing) {
  const auto grammar = Grammar::json_schema(nlohmann::ordered_json::parse(
      R"({"type": "object", "properties": {"a": {"type": "string", "maxLength": 12}, "b": {"type": "integer"},
          "c": {"type": "array", "items": {"enum": ["red", "green", 7]}, "maxItems": 4}}, "required": ["a", "c"]})"));
  auto requests = mixed_requests(12);
  for (size_t i = 0; i < requests.size(); ++i) {
    if (i % 3 != 0) requests[i].grammar = grammar;
    requests[i].ignore_end = false;
    if (i % 2 == 1) requests[i].sampling.frequency_penalty = 0.5f;
  }
  const auto expected = alone(requests);
  Loaded model({.sequences = 5, .choice = std::chrono::microseconds(0)});
  expect_each_gets_its_own(*model.engine, requests, expected, 6, 2);
  // With few pages some are set aside in the middle of a choice.
  Loaded tight({.sequences = 5, .cache_bytes = page_bytes(9), .choice = std::chrono::microseconds(0)});
  expect_each_gets_its_own(*tight.engine, requests, expected, 6, 2);
}

TEST(SchedulerTest, DeadlinesEndWhatIsLate) {
  Loaded model({.sequences = 1});
  auto late = request_of({5, 6}, 50);
  late.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  try {
    model.engine->generate(late, nullptr, {});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kDeadlineExceeded);
  }
  // After the first token what there is returns: the reader itself lets the time pass.
  auto slow = request_of({5, 6}, 250);
  slow.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  const auto result = model.engine->generate(slow,
                                             [&](std::string_view) {
                                               std::this_thread::sleep_until(*slow.deadline);
                                               return true;
                                             },
                                             {});
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_GT(result.completion_tokens, 0u);
  EXPECT_LT(result.completion_tokens, 250u);
  while (model.engine->status().running > 0) std::this_thread::yield();
}

TEST(SchedulerTest, ASinkThatThrowsEndsItsGenerationAlone) {
  Loaded model;
  EXPECT_THROW(
      model.engine->generate(request_of({5}, 250),
                             [](std::string_view) -> bool { throw Error(ErrorCode::kIo, "gone"); }, {}),
      Error);
  EXPECT_EQ(model.engine->generate(request_of({5}, 20), nullptr, {}).completion_tokens, 20u);
  while (model.engine->status().running > 0) std::this_thread::yield();
}

/// Two lag behind their readers, so that neither they nor the two that wait for them can come to an end by themselves.
TEST(SchedulerTest, EndingTheEngineEndsWhatRuns) {
  for (int round = 0; round < 3; ++round) {
    Loaded model({.sequences = 2});
    Engine& engine = *model.engine;
    std::latch reading(2), go(1);
    std::atomic<int> cancelled{0};
    const auto ask = [&](int32_t token, size_t tokens, const TextSink& sink) {
      return engine.generate(request_of({5, token}, tokens), sink, {}).finish == FinishReason::kCancelled;
    };
    std::vector<std::jthread> lagging, busy;
    for (int32_t i = 0; i < 2; ++i)
      lagging.emplace_back([&, i] {
        cancelled += ask(i, 240, [&, begun = false](std::string_view) mutable {
          if (!std::exchange(begun, true)) reading.count_down();
          go.wait();
          return true;
        });
      });
    reading.wait();
    // The others get their turns beside those that lag, again and again until the engine ends.
    for (int32_t i = 2; i < 4; ++i)
      busy.emplace_back([&, i] {
        while (!ask(i, 40, nullptr)) {
        }
        ++cancelled;
      });
    std::jthread end([&] { model.engine.reset(); });
    busy.clear();  // only the end of the engine lets them go
    go.count_down();
    lagging.clear();
    EXPECT_EQ(cancelled.load(), 4);
  }
}

/// Everything at once over few pages: prompts that share, cancels at any time, deadlines, slow readers.
TEST(SchedulerTest, ManyCallersWhoComeAndGo) {
  const auto requests = mixed_requests(8, 60, 11);
  const auto expected = alone(requests);
  Loaded model({.sequences = 4, .waiting = 64, .cache_bytes = page_bytes(12)});
  std::atomic<size_t> whole{0};
  std::vector<std::jthread> callers;
  for (size_t t = 0; t < 8; ++t) {
    callers.emplace_back([&, t] {
      Random random(t);
      for (int round = 0; round < 12; ++round) {
        const size_t which = random.below(requests.size());
        GenerateRequest request = requests[which];
        std::stop_source stop;
        size_t pieces = random.below(3) == 0 ? random.below(10) : SIZE_MAX;
        const bool by_stop = random.below(2) == 0;
        if (random.below(8) == 0)
          request.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(random.below(3000));
        std::jthread stopper;
        if (random.below(4) == 0) stopper = std::jthread([&stop] { stop.request_stop(); });
        try {
          const auto result = model.engine->generate(
              request,
              [&](std::string_view) {
                if (pieces-- > 0) return true;
                if (by_stop) stop.request_stop();
                return by_stop;
              },
              stop.get_token());
          EXPECT_EQ(result.text, expected[which].text.substr(0, result.text.size()));
          if (result.finish != FinishReason::kCancelled && !request.deadline) {
            EXPECT_EQ(result.text, expected[which].text);
            ++whole;
          }
        } catch (const Error& e) {
          EXPECT_EQ(e.code(), ErrorCode::kDeadlineExceeded) << e.what();
        }
      }
    });
  }
  callers.clear();
  EXPECT_GT(whole.load(), 0u);
  while (model.engine->status().running > 0) std::this_thread::yield();
  EXPECT_EQ(model.engine->status().waiting, 0u);
}

/// A text that goes round in a circle is guessed, and is the same text.
TEST(SchedulerTest, GuessesChangeNothingButTheSteps) {
  size_t guessed = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    TinyModel spec = small();
    spec.seed = seed;
    Loaded model({}, spec);
    Tokens prompt;
    for (int i = 0; i < 60; ++i) prompt.push_back(3 + (i % 7) * 11);
    for (const float temperature : {0.0f, 0.7f}) {
      auto request = request_of(prompt, 120, temperature, seed);
      request.logprobs = 1;
      request.lookup = false;
      const Answer plain = ask(*model.engine, request);
      request.lookup = true;
      EXPECT_EQ(ask(*model.engine, request), plain);
      request.max_tokens = 17;
      EXPECT_EQ(ask(*model.engine, request).completion, 17u);
      guessed += model.engine->generate(request, nullptr, {}).guessed_tokens;
    }
  }
  EXPECT_GT(guessed, 0u);
}

TEST(SchedulerTest, LogitsBesideGenerations) {
  Loaded model;
  Tokens text(100);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<int32_t>(3 + i);
  const auto expected = model.engine->logits(text, 50);
  std::atomic<bool> done{false};
  std::jthread other([&] {
    while (!done) model.engine->generate(request_of({5, 6}, 30), nullptr, {});
  });
  for (int i = 0; i < 5; ++i) EXPECT_EQ(model.engine->logits(text, 50), expected);
  done = true;
}

}  // namespace
}  // namespace fathom::infer
