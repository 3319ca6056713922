// The forward pass against an independent plain one (reference_model.h), on random small models.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/thread_pool.h"
#include "infer/attention_step.h"
#include "infer/kv_cache.h"
#include "infer/reference_model.h"
#include "infer/tiny_model.h"
#include "infer/transformer.h"
#include "infer/weights.h"
#include "model/config.h"
#include "model/gguf.h"

namespace fathom::infer {
namespace {

using tensor::DType;
using test::TinyModel;

/// A small model, ready to run.
class Fixture {
 public:
  explicit Fixture(const TinyModel& spec, size_t threads = 2)
      : bytes_(test::tiny_gguf(spec)),
        file(model::GgufFile::parse(std::as_bytes(std::span(bytes_)), "tiny")),
        config(model::ModelConfig::from_gguf(file)),
        pool_(threads),
        weights_(config, file, false, pool_),
        transformer(config, weights_, spec.context, pool_),
        kv_pool(config, weights_.cache_dtype(), 8 * KvPool::pages_of(spec.context)) {}

 private:
  std::string bytes_;

 public:
  model::GgufFile file;
  model::ModelConfig config;

 private:
  ThreadPool pool_;
  Weights weights_;

 public:
  Transformer transformer;
  KvPool kv_pool;

  tensor::DType cache_dtype() const { return weights_.cache_dtype(); }

  /// Logits of the tokens from where the sequence stands, computed `chunk` tokens at a time.
  std::vector<float> logits(KvSequence& kv, const std::vector<int32_t>& tokens, size_t chunk) {
    const size_t first = kv.tokens().size();
    EXPECT_TRUE(kv.reserve(tokens.size()));
    std::vector<float> out((tokens.size() - first) * config.vocab);
    for (size_t at = first; at < tokens.size(); at += chunk) {
      const size_t n = std::min(chunk, tokens.size() - at);
      transformer.forward(kv, std::span(tokens).subspan(at, n), SequenceChunk::Logits::kAll,
                          std::span(out).subspan((at - first) * config.vocab, n * config.vocab));
    }
    return out;
  }
  std::vector<float> logits(const std::vector<int32_t>& tokens, size_t chunk) {
    KvSequence kv(kv_pool);
    auto out = logits(kv, tokens, chunk);
    kv.discard();
    return out;
  }
};

std::vector<int32_t> random_tokens(size_t count, size_t vocab) {
  Random random(11);
  std::vector<int32_t> out(count);
  for (auto& t : out) t = static_cast<int32_t>(random.below(vocab));
  return out;
}

/// The largest absolute difference over all logits, and the root mean square of the expected ones.
struct Difference {
  double most = 0;
  double rms = 0;
};

Difference compare(const std::vector<float>& got, const std::vector<test::Row>& expected) {
  Difference out;
  size_t i = 0;
  for (const auto& row : expected) {
    for (const double value : row) {
      out.most = std::max(out.most, std::abs(value - static_cast<double>(got[i++])));
      out.rms += value * value;
    }
  }
  out.rms = std::sqrt(out.rms / static_cast<double>(i));
  return out;
}

std::vector<TinyModel> shapes(DType dtype) {
  TinyModel plain = test::tiny_model(dtype);
  TinyModel untied = plain;
  untied.tied = false;
  untied.biases = true;
  untied.kv_heads = 1;
  TinyModel wide = plain;  // head_dim not a multiple of 16, widths not multiples of 64
  if (tensor::block_size(dtype) <= 32) {
    wide.d_model = 96;
    wide.heads = 6;
    wide.kv_heads = 3;
    wide.head_dim = 16 + 8 * (tensor::block_size(dtype) == 1);
    wide.ffn = 160;
  }
  wide.layers = 3;
  wide.rope_factors = true;
  wide.vocab = 301;
  std::vector<TinyModel> out = {plain, untied, wide};
  if (tensor::block_size(dtype) == 1) {
    TinyModel odd = plain;
    odd.d_model = 35;
    odd.heads = 5;
    odd.kv_heads = 5;
    odd.head_dim = 6;
    odd.ffn = 51;
    odd.vocab = 263;
    out.push_back(odd);
  }
  return out;
}

/// Bounds on the largest difference of any logit, in units of the logits' root mean square. F16 and BF16 round activations
/// to their 11 and 8 bits; the block formats round them to 8 bits in blocks. F32 has a stricter test of its own.
double bound(DType dtype) {
  if (dtype == DType::kF32) return 1e-4;
  if (dtype == DType::kF16) return 0.01;
  if (dtype == DType::kBF16) return 0.05;
  return 0.15;
}

TEST(Forward, LogitsEqualThePlainModelInEveryFormat) {
  for (const DType dtype : tensor::kAllDTypes) {
    for (const TinyModel& spec : shapes(dtype)) {
      Fixture model(spec);
      const auto tokens = random_tokens(45, spec.vocab);
      test::ReferenceModel plain(model.file, dtype != DType::kF32);
      const auto difference = compare(model.logits(tokens, 32), plain.logits(tokens));
      EXPECT_LT(difference.most, bound(dtype) * difference.rms)
          << tensor::name(dtype) << " width " << spec.d_model;
      RecordProperty(std::string(tensor::name(dtype)) + "_" + std::to_string(spec.d_model) + "_" +
                         std::to_string(spec.kv_heads),
                     std::to_string(difference.most / difference.rms));
    }
  }
}

/// Nothing in an F32 model is rounded below float, the cache included: its logits are those of exact arithmetic but for the
/// last bits of floats, on models of ordinary scale and over contexts of hundreds of tokens.
TEST(Forward, F32LogitsAreWithinAThousandthOfExactOnes) {
  for (TinyModel spec : shapes(DType::kF32)) {
    for (const double scale : {1.0, 4.0}) {
      spec.logits = scale;
      spec.context = 400;
      Fixture model(spec);
      const auto tokens = random_tokens(scale > 1 ? 380 : 60, spec.vocab);
      const auto difference =
          compare(model.logits(tokens, 256), test::ReferenceModel(model.file, false).logits(tokens));
      const auto what = "width " + std::to_string(spec.d_model) + ", " + std::to_string(tokens.size()) +
                        " tokens, logits of " + std::to_string(difference.rms);
      EXPECT_LE(difference.most, 1e-3) << what;
      EXPECT_GT(difference.rms, 0.5) << what;
      RecordProperty("difference_" + std::to_string(spec.d_model) + "_" + std::to_string(spec.kv_heads) +
                         "_" + std::to_string(tokens.size()),
                     fmt::format("{:.2e} of {:.2f}", difference.most, difference.rms));
    }
  }
}

TEST(Forward, TheCacheIsAsPreciseAsTheMatrices) {
  for (const DType dtype : tensor::kAllDTypes) {
    TinyModel spec = test::tiny_model(dtype);
    const Fixture model(spec);
    EXPECT_EQ(model.cache_dtype(), dtype == DType::kF32 ? DType::kF32 : DType::kF16) << tensor::name(dtype);
  }
  const Fixture model{TinyModel{}};
  EXPECT_EQ(KvPool::page_bytes(model.config, DType::kF32), 2 * KvPool::page_bytes(model.config, DType::kF16));
  // [layers][k, v][kv_heads][positions][head_dim]
  EXPECT_EQ(KvPool::page_bytes(model.config, DType::kF16),
            2u * 2 * 2 * KvPool::kPositions * 16 * sizeof(uint16_t));
}

TEST(Forward, LogitsDoNotDependOnChunksOrThreads) {
  for (const DType dtype : tensor::kAllDTypes) {
    TinyModel spec = test::tiny_model(dtype);
    const auto tokens = random_tokens(100, spec.vocab);
    Fixture two(spec, 2);
    const auto expected = two.logits(tokens, 100);
    for (const size_t chunk : {1u, 7u, 16u, 33u})
      EXPECT_EQ(two.logits(tokens, chunk), expected) << tensor::name(dtype);
    Fixture three(spec, 3);
    EXPECT_EQ(three.logits(tokens, 16), expected);
    Fixture one(spec, 1);
    EXPECT_EQ(one.logits(tokens, 50), expected);
  }
}

TEST(Forward, ASharedPrefixGivesTheSameLogits) {
  for (const DType dtype : {DType::kQ4_1, DType::kF32}) {
    TinyModel spec = test::tiny_model(dtype);
    Fixture model(spec);
    const auto tokens = random_tokens(100, spec.vocab);
    const auto expected = model.logits(tokens, 100);
    for (const size_t shared : {1u, 31u, 32u, 33u, 50u, 64u, 70u}) {
      KvSequence first(model.kv_pool);
      const std::vector<int32_t> beginning(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(shared));
      model.logits(first, beginning, 7);
      first.publish();
      KvSequence second(model.kv_pool);
      EXPECT_GE(second.adopt(beginning), shared / KvPool::kPositions * KvPool::kPositions);
      const size_t from = second.tokens().size();
      EXPECT_EQ(
          model.logits(second, tokens, 100),
          std::vector<float>(expected.begin() + static_cast<ptrdiff_t>(from * spec.vocab), expected.end()));
      first.discard();
      second.discard();
    }
  }
}

/// Sequences of different lengths and chunks in one batch, between them tokens whose logits nobody wants.
TEST(Forward, ABatchGivesEachSequenceItsOwnLogits) {
  for (const DType dtype : tensor::kAllDTypes) {
    TinyModel spec = test::tiny_model(dtype);
    Fixture model(spec, 3);
    std::vector<std::vector<int32_t>> texts;
    std::vector<std::vector<float>> expected;
    for (const size_t length : {70u, 33u, 1u, 100u, 64u}) {
      auto text = random_tokens(length + 3 * texts.size(), spec.vocab);
      text.erase(text.begin(), text.begin() + static_cast<ptrdiff_t>(3 * texts.size()));
      texts.push_back(text);
      expected.push_back(model.logits(text, 100));
    }
    std::deque<KvSequence> sequences;
    for (size_t i = 0; i < texts.size(); ++i) {
      sequences.emplace_back(model.kv_pool);
      ASSERT_TRUE(sequences.back().reserve(texts[i].size()));
    }
    Random random(5);
    std::vector<size_t> done(texts.size());
    for (bool more = true; more;) {
      more = false;
      std::vector<SequenceChunk> chunks;
      std::vector<std::pair<size_t, size_t>> rows;  // sequence, token
      for (size_t i = 0; i < texts.size(); ++i) {
        const size_t n =
            std::min<size_t>(random.below(3) == 0 ? 1 : random.below(24), texts[i].size() - done[i]);
        more |= done[i] + n < texts[i].size();
        if (n == 0) continue;
        const auto wanted = static_cast<SequenceChunk::Logits>(random.below(3));
        chunks.push_back({&sequences[i], std::span(texts[i]).subspan(done[i], n), wanted});
        done[i] += n;
        for (size_t r = 0; r < chunks.back().logit_rows(); ++r)
          rows.emplace_back(i, done[i] - chunks.back().logit_rows() + r);
      }
      if (chunks.empty()) continue;
      std::vector<float> logits(rows.size() * spec.vocab);
      model.transformer.forward(chunks, logits);
      for (size_t r = 0; r < rows.size(); ++r) {
        const auto at = static_cast<ptrdiff_t>(rows[r].second * spec.vocab);
        EXPECT_TRUE(std::equal(logits.begin() + static_cast<ptrdiff_t>(r * spec.vocab),
                               logits.begin() + static_cast<ptrdiff_t>((r + 1) * spec.vocab),
                               expected[rows[r].first].begin() + at))
            << tensor::name(dtype) << " sequence " << rows[r].first << " token " << rows[r].second;
      }
    }
  }
}

}  // namespace
}  // namespace fathom::infer
