// The forward pass of every architecture: against an independent plain one (reference_model.h), and both against llama.cpp's
// logits for the same small random models (record_architectures.py made the recording). The models are those of
// architectures.h; their sizes and gains are such that each switch moves the logits by far more than the bounds.
#include "infer/architectures.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "infer/attention_step.h"
#include "infer/kv_cache.h"
#include "infer/reference_model.h"
#include "infer/transformer.h"
#include "infer/weights.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

using test::NamedModel;
using Tokens = std::vector<int32_t>;

/// A model that runs.
class Runner {
 public:
  /// `change`: of the description, once the weights are loaded.
  explicit Runner(const NamedModel& model, size_t threads = 2,
                  const std::function<void(model::ModelConfig&)>& change = {})
      : bytes_(test::tiny_gguf(model.model)),
        file(model::GgufFile::parse(std::as_bytes(std::span(bytes_)), model.name)),
        config(model::ModelConfig::from_gguf(file)),
        pool_(threads),
        weights_(config, file, false, pool_),
        context_(model.run_context != 0 ? model.run_context : config.context),
        changed_(changed(config, change)),
        transformer_(changed_, weights_, context_, pool_),
        pages(config, weights_.cache_dtype(), 4 * KvPool::pages_of(context_)) {}

 private:
  std::string bytes_;

 public:
  model::GgufFile file;
  model::ModelConfig config;

 private:
  ThreadPool pool_;
  Weights weights_;
  size_t context_;
  model::ModelConfig changed_;
  Transformer transformer_;

  static model::ModelConfig changed(model::ModelConfig c,
                                    const std::function<void(model::ModelConfig&)>& change) {
    if (change) change(c);
    return c;
  }

 public:
  KvPool pages;

  /// [tokens, vocab], computed `chunk` tokens at a time.
  std::vector<float> logits(const Tokens& tokens, size_t chunk) {
    KvSequence kv(pages);
    EXPECT_TRUE(kv.reserve(tokens.size()));
    std::vector<float> out(tokens.size() * config.vocab);
    for (size_t at = 0; at < tokens.size(); at += chunk) {
      const size_t n = std::min(chunk, tokens.size() - at);
      transformer_.forward(kv, std::span(tokens).subspan(at, n), SequenceChunk::Logits::kAll,
                           std::span(out).subspan(at * config.vocab, n * config.vocab));
    }
    kv.discard();
    return out;
  }

  /// Logits of two texts computed side by side, the second a token at a time while the first is read.
  std::pair<std::vector<float>, std::vector<float>> together(const Tokens& a, const Tokens& b) {
    KvSequence first(pages), second(pages);
    EXPECT_TRUE(first.reserve(a.size()) && second.reserve(b.size()));
    std::pair<std::vector<float>, std::vector<float>> out;
    const size_t step = (a.size() + b.size() - 1) / b.size();
    for (size_t i = 0; i < b.size(); ++i) {
      const size_t at = std::min(i * step, a.size());
      const auto part = std::span(a).subspan(at, std::min(step, a.size() - at));
      std::vector<SequenceChunk> chunks;
      if (!part.empty()) chunks.push_back({&first, part, SequenceChunk::Logits::kAll});
      chunks.push_back({&second, std::span(b).subspan(i, 1), SequenceChunk::Logits::kLast});
      std::vector<float> rows((part.size() + 1) * config.vocab);
      transformer_.forward(chunks, rows);
      const auto middle = rows.end() - static_cast<ptrdiff_t>(config.vocab);
      out.first.insert(out.first.end(), rows.begin(), middle);
      out.second.insert(out.second.end(), middle, rows.end());
    }
    first.discard();
    second.discard();
    return out;
  }
};

/// The same as in record_architectures.py.
Tokens tokens_of(size_t vocab, size_t count = 40) {
  Tokens out;
  for (uint64_t state = 1; out.size() < count;) {
    state = (state * 1103515245 + 12345) % (uint64_t{1} << 31);
    out.push_back(static_cast<int32_t>(state / 65536 % vocab));
  }
  return out;
}

const nlohmann::json& recording() {
  static const auto all = nlohmann::json::parse(read_file(
      std::filesystem::path(FATHOM_SOURCE_DIR) / "tests/infer/testdata/architectures.json"))["models"];
  return all;
}

bool has_gelu(const NamedModel& m) {
  return m.model.architecture.starts_with("gemma") || m.model.architecture == "grok";
}

class Architectures : public testing::TestWithParam<NamedModel> {};

/// The largest difference of any logit.
double distance(const std::vector<float>& got, const std::vector<test::Row>& expected) {
  double most = 0;
  size_t i = 0;
  for (const auto& row : expected)
    for (const double value : row)
      most = std::max(most, std::abs(value - static_cast<double>(got[i++])));  // NaN is caught by the sum
  EXPECT_EQ(i, got.size());
  EXPECT_TRUE(tensor::all_finite(got.data(), got.size()));
  return most;
}

TEST_P(Architectures, LogitsAreThoseOfThePlainModel) {
  Runner runner(GetParam());
  test::ReferenceModel plain(runner.file, false, GetParam().run_context);
  const Tokens tokens = tokens_of(runner.config.vocab, 60);
  const double difference = distance(runner.logits(tokens, 25), plain.logits(tokens));
  RecordProperty("difference", fmt::format("{:.2e}", difference));
  // Logits have a root mean square of about 1; gemma2_defaults's, made for its cap of 30, of 8.
  EXPECT_LE(difference, 1e-3);
}

TEST_P(Architectures, ThePlainModelIsLlamaCpps) {
  if (!GetParam().recorded) GTEST_SKIP() << "llama.cpp does not run this model, or not as it says";
  const auto& recorded = recording()[GetParam().name];
  const std::string bytes = test::tiny_gguf(GetParam().model);
  const auto file = model::GgufFile::parse(std::as_bytes(std::span(bytes)), GetParam().name);
  test::ReferenceModel plain(file, false, GetParam().run_context, true);
  const auto logits = plain.logits(recorded["tokens"].get<Tokens>());
  double most = 0;
  for (const auto& [position, row] : recorded["logits"].items())
    for (size_t i = 0; i < row.size(); ++i)
      most = std::max(most, std::abs(logits[std::stoul(position)][i] - row[i].get<double>()));
  RecordProperty("difference", fmt::format("{:.2e}", most));
  EXPECT_LE(most, 1e-3);
}

TEST_P(Architectures, LogitsAndGreedyTokensAreLlamaCpps) {
  if (!GetParam().recorded) GTEST_SKIP() << "llama.cpp does not run this model, or not as it says";
  const auto& recorded = recording()[GetParam().name];
  Runner runner(GetParam());
  auto tokens = recorded["tokens"].get<Tokens>();
  ASSERT_EQ(tokens, tokens_of(runner.config.vocab));
  const size_t vocab = runner.config.vocab;
  const auto logits = runner.logits(tokens, 16);
  // Where there is a gelu, llama.cpp looks it up in a table of f16 values.
  const float bound = has_gelu(GetParam()) ? 1e-2f : 1e-3f;
  for (const auto& [position, row] : recorded["logits"].items())
    for (size_t i = 0; i < row.size(); ++i)
      ASSERT_NEAR(logits[std::stoul(position) * vocab + i], row[i].get<float>(), bound) << position;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const bool certain = recorded["leads"][t].get<float>() > 2 * bound;
    const size_t best = tensor::argmax(logits.data() + t * vocab, vocab);
    EXPECT_TRUE(!certain || best == recorded["best"][t].get<size_t>()) << t;
  }
  const auto greedy = recorded["greedy"].get<Tokens>();
  const size_t prompt = tokens.size();
  tokens.insert(tokens.end(), greedy.begin(), greedy.end());
  const auto all = runner.logits(tokens, tokens.size());
  for (size_t i = 0; i < greedy.size(); ++i)
    EXPECT_EQ(tensor::argmax(all.data() + (prompt - 1 + i) * vocab, vocab), static_cast<size_t>(greedy[i]));
}

TEST_P(Architectures, LogitsDependNeitherOnChunksNorThreadsNorNeighbours) {
  for (const auto dtype : {tensor::DType::kF32, tensor::DType::kQ8_0}) {
    NamedModel model = GetParam();
    model.model.dtype = dtype;
    if (dtype == tensor::DType::kQ8_0 && model.model.head_dim % 32 != 0) model.model.head_dim = 32;
    Runner two(model, 2);
    const Tokens tokens = tokens_of(two.config.vocab, 45);
    const auto expected = two.logits(tokens, 45);
    for (const size_t chunk : {1u, 7u, 16u}) EXPECT_EQ(two.logits(tokens, chunk), expected) << chunk;
    Runner three(model, 3);
    EXPECT_EQ(three.logits(tokens, 20), expected);
    const Tokens other(tokens.begin() + 20, tokens.begin() + 35);
    const auto alone = two.logits(other, 15);
    const auto pair = three.together(tokens, other);
    EXPECT_EQ(pair.first, expected);
    EXPECT_EQ(pair.second, alone);
  }
}

/// A switch of the description, the models that have it, and another position of it.
struct Switch {
  std::string name;
  std::function<bool(const model::ModelConfig&)> has;
  std::function<void(model::ModelConfig&)> turn;
};

std::vector<Switch> switches() {
  using C = model::ModelConfig;
  const auto swap = [](auto& value, auto a, auto b) { value = value == a ? b : a; };
  const auto any = [](const C&) { return true; };
  return {
      {"pairing", any,
       [=](C& c) { swap(c.rope.pairing, model::RopePairing::kHalves, model::RopePairing::kNeighbours); }},
      {"base", any, [](C& c) { c.rope.base *= 3; }},
      {"scaling", [](const C& c) { return c.rope.scaling != model::RopeScaling::kNone; },
       [](C& c) { c.rope.scaling = model::RopeScaling::kNone; }},
      {"magnitude", [](const C& c) { return c.rope.attention_factor != 1; },
       [](C& c) { c.rope.attention_factor = 1; }},
      {"extrapolation", [](const C& c) { return c.rope.scaling == model::RopeScaling::kYarn; },
       [](C& c) { c.rope.extrapolation = 0; }},
      {"qk_norm", [](const C& c) { return c.qk_norm; }, [](C& c) { c.qk_norm = false; }},
      {"attention_scale", any, [](C& c) { c.attention_scale = 0.5f * c.score_scale(); }},
      {"attention_softcap", [](const C& c) { return c.attention_softcap != 0; },
       [](C& c) { c.attention_softcap = 0; }},
      {"final_softcap", [](const C& c) { return c.final_softcap != 0; }, [](C& c) { c.final_softcap = 0; }},
      {"embedding_scale", any, [](C& c) { c.embedding_scale *= 0.5f; }},
      {"logit_scale", [](const C& c) { return c.logit_scale != 1; }, [](C& c) { c.logit_scale = 1; }},
      {"temperature", [](const C& c) { return c.attention_temperature_length != 0; },
       [](C& c) { c.attention_temperature_length = 0; }},
      {"window", [](const C& c) { return c.sliding_window != 0 && c.sliding_window < 40; },
       [](C& c) { c.sliding_window += 1; }},
      {"window_layers", [](const C& c) { return c.sliding_window != 0 && c.sliding_window < 40; },
       [](C& c) { c.window_layers[0] = false; }},
      {"window_rope", [](const C& c) { return c.window_rope.dims != 0; },
       [](C& c) { c.window_rope = c.rope; }},
      {"activation", any,
       [=](C& c) { swap(c.activation, model::Activation::kGelu, model::Activation::kSilu); }},
      // A norm behind the experts alone takes their common size away.
      {"normalise", [](const C& c) { return !c.dense() && (!c.post_norms || c.has_dense_ffn()); },
       [](C& c) { c.experts.normalise = !c.experts.normalise; }},
      {"router_softcap",
       [](const C& c) { return c.experts.router_softcap != 0 && c.experts.router_softcap < 100; },
       [](C& c) { c.experts.router_softcap = 0; }},
  };
}

/// So the comparisons above would not pass without any of them.
TEST_P(Architectures, EverySwitchMovesTheLogits) {
  Runner runner(GetParam());
  const Tokens tokens = tokens_of(runner.config.vocab);
  const auto expected = runner.logits(tokens, 40);
  for (const Switch& s : switches()) {
    if (!s.has(runner.config)) continue;
    const auto other = Runner(GetParam(), 2, s.turn).logits(tokens, 40);
    float most = 0;
    for (size_t i = 0; i < other.size(); ++i) most = std::max(most, std::abs(other[i] - expected[i]));
    EXPECT_GT(most, 0.02f) << s.name;
  }
}

std::vector<NamedModel> all_models() { return test::architectures(); }

INSTANTIATE_TEST_SUITE_P(All, Architectures, testing::ValuesIn(all_models()),
                         [](const auto& instance) { return instance.param.name; });

/// For record_architectures.py.
TEST(ArchitectureModels, Written) {
  const char* folder = std::getenv("FATHOM_WRITE_ARCHITECTURES");
  if (folder == nullptr) GTEST_SKIP() << "FATHOM_WRITE_ARCHITECTURES names no folder";
  for (const NamedModel& m : test::architectures())
    write_file_atomic(std::filesystem::path(folder) / (m.name + ".gguf"), test::tiny_gguf(m.model));
}

}  // namespace
}  // namespace fathom::infer
