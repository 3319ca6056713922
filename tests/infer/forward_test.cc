// The forward pass against an independent plain one (reference_model.h), on random small models.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/thread_pool.h"
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
        transformer(config, weights_, spec.context, pool_) {}

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

  /// Logits of all tokens, computed `chunk` tokens at a time.
  std::vector<float> logits(const std::vector<int32_t>& tokens, size_t chunk) {
    KvCache cache(config, config.context);
    std::vector<float> out(tokens.size() * config.vocab);
    for (size_t at = 0; at < tokens.size(); at += chunk) {
      const size_t n = std::min(chunk, tokens.size() - at);
      transformer.forward(cache, std::span(tokens).subspan(at, n),
                          std::span(out).subspan(at * config.vocab, n * config.vocab));
    }
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
  TinyModel plain;
  plain.dtype = dtype;
  TinyModel untied = plain;
  untied.tied = false;
  untied.biases = true;
  untied.kv_heads = 1;
  TinyModel wide = plain;  // head_dim not a multiple of 16, widths not multiples of 64
  wide.d_model = 96;
  wide.heads = 6;
  wide.kv_heads = 3;
  wide.head_dim = 16 + 8 * (tensor::block_size(dtype) == 1);
  wide.ffn = 160;
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

/// Bounds on the largest difference of any logit, in units of the logits' root mean square. F32 differs by the f16 cache
/// alone; F16 and BF16 round activations to their 11 and 8 bits; the block formats round them to 8 bits in blocks.
double bound(DType dtype) {
  if (dtype == DType::kF32) return 0.005;
  if (dtype == DType::kF16) return 0.01;
  if (dtype == DType::kBF16) return 0.05;
  return 0.15;
}

TEST(Forward, LogitsEqualThePlainModelInEveryFormat) {
  for (const DType dtype : tensor::kAllDTypes) {
    for (const TinyModel& spec : shapes(dtype)) {
      Fixture model(spec);
      const auto tokens = random_tokens(45, spec.vocab);
      const auto difference =
          compare(model.logits(tokens, 32), test::ReferenceModel(model.file, false).logits(tokens));
      EXPECT_LT(difference.most, bound(dtype) * difference.rms)
          << tensor::name(dtype) << " width " << spec.d_model;
      RecordProperty(std::string(tensor::name(dtype)) + "_" + std::to_string(spec.d_model) + "_" +
                         std::to_string(spec.kv_heads),
                     std::to_string(difference.most / difference.rms));
    }
  }
}

/// With the cache's rounding in the plain model too, what is left is the order of float sums.
TEST(Forward, F32LogitsAreWithinAThousandth) {
  for (const TinyModel& spec : shapes(DType::kF32)) {
    Fixture model(spec);
    const auto tokens = random_tokens(60, spec.vocab);
    const auto difference =
        compare(model.logits(tokens, 60), test::ReferenceModel(model.file, true).logits(tokens));
    EXPECT_LT(difference.most, 1e-3) << "width " << spec.d_model << ", logits of about " << difference.rms;
    RecordProperty("difference_" + std::to_string(spec.d_model), std::to_string(difference.most));
  }
}

TEST(Forward, LogitsDoNotDependOnChunksOrThreads) {
  for (const DType dtype : tensor::kAllDTypes) {
    TinyModel spec;
    spec.dtype = dtype;
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

TEST(Forward, ACopiedPrefixGivesTheSameLogits) {
  TinyModel spec;
  spec.dtype = DType::kQ4_1;
  Fixture model(spec);
  const auto tokens = random_tokens(60, spec.vocab);
  const auto expected = model.logits(tokens, 60);
  KvCache first(model.config, 128);
  model.transformer.forward(first, std::span(tokens).first(50), {});
  KvCache second(model.config, 128);
  second.copy_prefix(first, 37);
  std::vector<float> logits(23 * spec.vocab);
  model.transformer.forward(second, std::span(tokens).subspan(37), logits);
  EXPECT_TRUE(
      std::equal(logits.begin(), logits.end(), expected.begin() + static_cast<ptrdiff_t>(37 * spec.vocab)));
  EXPECT_EQ(second.common_prefix(tokens), 60u);
}

}  // namespace
}  // namespace fathom::infer
