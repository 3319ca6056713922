// Masks of grammars and sampling, over the vocabulary of a model or one made up of 262,144 tokens.
//
//   grammar_bench [--gguf=MODEL] [Google Benchmark's own options]
//
// mask: a new matcher's masks along a text (time is that of one text; the counters are microseconds a mask, and the share of
// masks that took more than one millisecond); compile: the schema; sample: one choice from logits, with their copy.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "infer/grammar.h"
#include "infer/sampler.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace {

using namespace fathom;         // NOLINT(google-build-using-namespace)
using namespace fathom::infer;  // NOLINT(google-build-using-namespace)

struct Vocabulary {
  std::vector<std::string> pieces;
  std::unique_ptr<GrammarVocabulary> grammar;
};

/// Words of letters with and without a space, punctuation runs, numbers, JSON's own pairs, characters of three bytes.
std::vector<std::string> made_up(size_t size) {
  Random random(1);
  std::vector<std::string> out;
  for (int i = 0; i < 256; ++i) out.emplace_back(1, static_cast<char>(i));
  for (int i = 0; i < 1110; ++i) out.push_back(std::to_string(i < 1000 ? i : i - 1000));
  constexpr std::string_view kMarks = "\"\":,{}[] .;()<>=/\\'-_\n";
  while (out.size() < size) {
    std::string piece;
    const uint64_t kind = random.below(10);
    if (kind < 5) piece = " ";
    const size_t length = 1 + random.below(9);
    for (size_t i = 0; i < length; ++i) {
      if (kind == 9)
        piece += kMarks[random.below(kMarks.size())];
      else if (kind == 8)
        piece += {static_cast<char>(0xe4 + random.below(5)), static_cast<char>(0x80 + random.below(64)),
                  static_cast<char>(0x80 + random.below(64))};
      else
        piece += static_cast<char>('a' + random.below(26));
    }
    out.push_back(piece);
  }
  return out;
}

Vocabulary& vocabulary(const std::string& gguf) {
  static Vocabulary out = [&] {
    Vocabulary v;
    if (gguf.empty()) {
      v.pieces = made_up(262'143);
    } else {
      const auto file = model::GgufFile::open(gguf);
      const auto tokenizer = model::Tokenizer::from_gguf(file);
      for (size_t i = 0; i < tokenizer.size(); ++i)
        v.pieces.emplace_back(tokenizer.piece(static_cast<int32_t>(i)));
    }
    v.pieces.emplace_back();
    v.grammar =
        std::make_unique<GrammarVocabulary>(std::vector<std::string_view>(v.pieces.begin(), v.pieces.end()),
                                            std::vector<int32_t>{static_cast<int32_t>(v.pieces.size() - 1)});
    return v;
  }();
  return out;
}

const char* const kSchema =
    R"({"type": "object", "properties": {"title": {"type": "string"}, "year": {"type": "integer", "minimum": 1900, "maximum": 2100},
  "tags": {"type": "array", "items": {"type": "string"}}, "rating": {"type": "number"}, "kind": {"enum": ["film", "book", "song"]},
  "summary": {"type": "string", "maxLength": 200}, "people": {"type": "array", "items": {"type": "object", "properties":
  {"name": {"type": "string"}, "role": {"type": "string", "pattern": "^[a-z ]{1,20}$"}}, "required": ["name", "role"]}}},
  "required": ["title", "year", "tags", "rating", "kind", "summary", "people"]})";

const char* const kText =
    R"({"title": "The old house by the sea", "year": 1987, "tags": ["slow", "quiet drama", "family"], "rating": 7.25, "kind": "film",
  "summary": "A family comes back to the house where it began, and finds that the sea has taken half of it; what is left, they share.",
  "people": [{"name": "Ada Lovelace", "role": "writer"}, {"name": "Grace Hopper", "role": "director of light"}]})";

/// The longest token each time.
std::vector<int32_t> tokens_of(const Vocabulary& v, std::string_view text) {
  std::vector<int32_t> out;
  while (!text.empty()) {
    size_t best = 0;
    for (size_t t = 0; t + 1 < v.pieces.size(); ++t)
      if (v.pieces[t].size() > v.pieces[best].size() || !text.starts_with(v.pieces[best]) ||
          v.pieces[best].empty())
        if (!v.pieces[t].empty() && text.starts_with(v.pieces[t])) best = t;
    out.push_back(static_cast<int32_t>(best));
    text.remove_prefix(v.pieces[best].size());
  }
  return out;
}

void masks(benchmark::State& state, const std::string& gguf) {
  const auto& v = vocabulary(gguf);
  const auto grammar = Grammar::json_schema(nlohmann::ordered_json::parse(kSchema));
  const auto tokens = tokens_of(v, kText);
  std::vector<float> logits(v.pieces.size());
  double worst = 0;
  double total = 0;
  size_t above = 0;
  size_t count = 0;
  for (auto _ : state) {
    GrammarMatcher matcher(grammar, *v.grammar);
    for (const int32_t token : tokens) {
      std::fill(logits.begin(), logits.end(), 0.0f);
      const auto start = std::chrono::steady_clock::now();
      matcher.mask(logits);
      const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
      if (!matcher.allows(token)) return state.SkipWithError("the text is not of the grammar");
      matcher.accept(token);
      worst = std::max(worst, spent.count());
      total += spent.count();
      above += spent.count() > 1000;
      ++count;
    }
  }
  state.counters["masks"] = static_cast<double>(tokens.size());
  state.counters["mean_us"] = total / static_cast<double>(count);
  state.counters["worst_us"] = worst;
  state.counters["above_1ms"] = static_cast<double>(above) / static_cast<double>(count);
}

void compile(benchmark::State& state) {
  const auto schema = nlohmann::ordered_json::parse(kSchema);
  for (auto _ : state) benchmark::DoNotOptimize(Grammar::json_schema(schema));
}

void sample(benchmark::State& state, const Sampling& sampling) {
  Random random(2);
  std::vector<float> logits(262'144);
  for (float& x : logits) x = static_cast<float>(random.normal() * 2);
  for (int i = 0; i < 200; ++i) logits[random.below(logits.size())] += 12;  // as peaked as a model's
  Sampler sampler(sampling);
  std::vector<float> work(logits.size());
  for (auto _ : state) {
    std::copy(logits.begin(), logits.end(), work.begin());
    benchmark::DoNotOptimize(sampler.sample(work, {}));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string gguf;
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]).starts_with("--gguf=")) {
      gguf = argv[i] + 7;
      std::rotate(argv + i, argv + i + 1, argv + argc);
      --argc;
      break;
    }
  benchmark::RegisterBenchmark("mask", [&](benchmark::State& s) {
    masks(s, gguf);
  })->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("compile", compile)->Unit(benchmark::kMicrosecond);
  const auto add = [](const char* name, auto set) {
    Sampling s;
    set(s);
    benchmark::RegisterBenchmark(name, [s](benchmark::State& state) {
      sample(state, s);
    })->Unit(benchmark::kMicrosecond);
  };
  add("sample/greedy", [](Sampling& s) { s.temperature = 0; });
  add("sample/top_k_40", [](Sampling& s) { s.top_k = 40; });
  add("sample/top_p_0.9", [](Sampling& s) { s.top_p = 0.9f; });
  add("sample/min_p_0.05", [](Sampling& s) { s.min_p = 0.05f; });
  add("sample/plain", [](Sampling&) {});
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
