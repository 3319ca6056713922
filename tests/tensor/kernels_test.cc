// The registry of kernels: every operation, in every format, on every instruction set that this processor has, against
// its plain form in tensor/reference.h. Products of matrices: matmul_test.cc.
#include "tensor/kernels.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "tensor/attention.h"
#include "tensor/buffer.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"
#include "tensor/packed.h"
#include "tensor/reference.h"

namespace fathom::tensor {
namespace {

TEST_P(Kernels, RoundingToHalfPrecision) {
  std::vector<float> x = random_floats(random_, 1001, 100.0);
  x[0] = 1e-7f;
  x[1] = 1e-30f;
  x[2] = 65519.0f;
  for (const auto& [form, dtype] : {std::pair{ActivationForm::kF16, DType::kF16},
                                    {ActivationForm::kBF16, DType::kBF16},
                                    {ActivationForm::kF32, DType::kF32}}) {
    std::vector<float> out(x.size());
    round_row(form, x.data(), out.data(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      float expected = x[i];
      if (dtype == DType::kF16) expected = f16_to_f32(f32_to_f16(x[i]));
      if (dtype == DType::kBF16) expected = bf16_to_f32(f32_to_bf16(x[i]));
      EXPECT_EQ(out[i], expected) << x[i];
    }
  }
  std::vector<uint16_t> bits(x.size());
  to_f16(x.data(), bits.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(bits[i], f32_to_f16(x[i])) << x[i];
}

TEST_P(Kernels, RmsNorm) {
  for (const size_t n : {1u, 7u, 16u, 100u, 576u}) {
    const auto x = random_floats(random_, n, 5.0);
    const auto weight = random_floats(random_, n);
    std::vector<float> got(n), expected(n);
    rms_norm(x.data(), weight.data(), 1e-5f, got.data(), n);
    reference::rms_norm(x.data(), weight.data(), 1e-5f, expected.data(), n);
    EXPECT_LT(distance(got, expected), 1e-6);
  }
}

TEST_P(Kernels, Rope) {
  const size_t heads = 3, head_dim = 20, dims = 16;
  std::vector<float> factors(dims / 2);
  for (size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0f + static_cast<float>(i);
  for (const size_t position : {0u, 1u, 17u, 1000u}) {
    for (const bool halves : {false, true}) {
      for (const bool with_factors : {false, true}) {
        const auto used = with_factors ? std::span<const float>(factors) : std::span<const float>();
        auto got = random_floats(random_, heads * head_dim);
        auto expected = got;
        std::vector<float> angles(dims);
        rope_angles(position, dims, 10000.0f, 2.0f, used, angles.data());
        rope(got.data(), heads, head_dim, dims, halves, angles.data());
        reference::rope(expected.data(), heads, head_dim, dims, halves, position, 10000.0f, 2.0f, used);
        EXPECT_LT(distance(got, expected), 2e-4) << position;
      }
    }
  }
}

/// How far two roundings of about the same number may lie apart, relative to it.
double step(DType precision) { return precision == DType::kF16 ? 1.0 / 1024 : 1e-6; }

TEST_P(Kernels, Softmax) {
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    for (const size_t visible : {1u, 5u, 16u, 31u, 500u}) {
      auto got = random_floats(random_, visible + 9, 10.0);
      auto expected = got;
      softmax(got.data(), visible, got.size(), 0.7f, dtype);
      reference::softmax(expected.data(), visible, expected.size(), 0.7f, dtype);
      EXPECT_LT(distance(got, expected), step(dtype)) << visible;
      double sum = 0;
      for (const float v : got) sum += static_cast<double>(v);
      EXPECT_NEAR(sum, 1.0, 2 * step(dtype));
      for (size_t i = visible; i < got.size(); ++i) EXPECT_EQ(got[i], 0.0f);
    }
  }
}

TEST_P(Kernels, SiluMul) {
  auto gate = random_floats(random_, 333, 8.0);
  gate[0] = -1000.0f;
  gate[1] = 1000.0f;
  gate[2] = -95.0f;
  const auto up = random_floats(random_, gate.size());
  std::vector<float> got(gate.size()), expected(gate.size());
  silu_mul(gate.data(), up.data(), got.data(), gate.size());
  reference::silu_mul(gate.data(), up.data(), expected.data(), gate.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-6f + 1e-6f * std::abs(expected[i])) << gate[i];
}

TEST_P(Kernels, AddArgmaxAndFinite) {
  auto x = random_floats(random_, 101);
  const auto y = random_floats(random_, 101);
  auto sum = x;
  add(sum.data(), y.data(), sum.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(sum[i], x[i] + y[i]);
  x[40] = x[77] = 99.0f;
  EXPECT_EQ(argmax(x.data(), x.size()), 40u);
  x[100] = 100.0f;
  EXPECT_EQ(argmax(x.data(), x.size()), 100u);
  EXPECT_EQ(argmax(x.data(), 1), 0u);
  EXPECT_TRUE(all_finite(x.data(), x.size()));
  for (const size_t at : {0u, 50u, 100u}) {
    auto bad = x;
    bad[at] = NAN;
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
    bad[at] = -INFINITY;
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
  }
}

/// Pages of one layer of one sequence, in no order in memory, before each something else.
struct KvMemory {
  KvMemory(DType dtype, size_t positions, size_t kv_heads, size_t head_dim)
      : shape{dtype, kv_heads, head_dim},
        memory((positions + kPagePositions - 1) / kPagePositions * (kSkip + shape.bytes())) {
    const size_t count = memory.bytes() / (kSkip + shape.bytes());
    for (size_t i = 0; i < count; ++i)
      pages.push_back(memory.as<std::byte>() + (count - 1 - i) * (kSkip + shape.bytes()));
    // What was never stored is never used.
    std::memset(memory.as<std::byte>(), 0xFF, memory.bytes());
  }
  static constexpr size_t kSkip = 128;
  KvShape shape;
  Buffer memory;
  std::vector<std::byte*> pages;
  PagedKv view() const { return {shape, pages.data(), pages.size(), kSkip}; }
};

/// Random queries, keys and values, [positions, heads or kv_heads, head_dim].
struct AttentionCase {
  static constexpr size_t kKvHeads = 2, kGroup = 3, kHeads = 6, kPositions = 81;

  AttentionCase(Random& random, size_t dim)
      : head_dim(dim),
        rule{1.0f / std::sqrt(static_cast<float>(dim)), 0.0f, 0},
        q(random_floats(random, kPositions * kHeads * dim)),
        k(random_floats(random, kPositions * kKvHeads * dim)),
        v(random_floats(random, kPositions * kKvHeads * dim)) {}

  AttendArgs args(size_t h, size_t first, size_t tokens, float* out) const {
    const size_t stride = kHeads * head_dim;
    const size_t at = first * stride + h * kGroup * head_dim;
    return {h, kGroup, q.data() + at, stride, tokens, first, rule, out + at, stride};
  }

  /// So many tokens at a time, stored as they come.
  std::vector<float> fast(const PagedKv& kv, size_t chunk) const {
    std::vector<float> out(q.size());
    std::vector<float> scratch(attend_scratch(chunk, kGroup, head_dim, kPositions));
    for (size_t first = 0; first < kPositions; first += chunk) {
      const size_t tokens = std::min(chunk, kPositions - first);
      for (size_t p = first; p < first + tokens; ++p)
        append_kv(kv, p, k.data() + p * kKvHeads * head_dim, v.data() + p * kKvHeads * head_dim);
      for (size_t h = 0; h < kKvHeads; ++h) attend(kv, args(h, first, tokens, out.data()), scratch.data());
    }
    return out;
  }

  /// One token at a time, in two halves, each in parts.
  std::vector<float> split(const PagedKv& kv) const {
    std::vector<float> out(q.size());
    std::vector<float> rounded(kGroup * head_dim), scores(kGroup * kv.capacity()), weights;
    for (size_t p = 0; p < kPositions; ++p) {
      const size_t from = first_visible(rule, p) / kPagePositions, pages = p / kPagePositions + 1;
      for (size_t h = 0; h < kKvHeads; ++h) {
        AttendArgs a = args(h, p, 1, out.data());
        round_queries(kv.shape, a.q, rounded.data(), rounded.size());
        a.q = rounded.data();
        for (size_t page = from; page < pages; ++page)
          attend_scores(kv, a, page, page + 1, scores.data(), kv.capacity());
        for (size_t group = 0; group < kv.shape.dim_groups(); ++group) {
          weights = scores;
          attend_values(kv, a, group, group + 1, weights.data(), kv.capacity());
        }
      }
    }
    return out;
  }

  std::vector<float> plain(DType precision) const {
    std::vector<float> out(q.size());
    for (size_t h = 0; h < kHeads; ++h) {
      std::vector<float> kh, vh;
      for (size_t p = 0; p < kPositions; ++p) {
        const auto at = static_cast<ptrdiff_t>((p * kKvHeads + h / kGroup) * head_dim);
        kh.insert(kh.end(), k.begin() + at, k.begin() + at + static_cast<ptrdiff_t>(head_dim));
        vh.insert(vh.end(), v.begin() + at, v.begin() + at + static_cast<ptrdiff_t>(head_dim));
        const size_t qat = (p * kHeads + h) * head_dim;
        const size_t from = rule.window == 0 || p < rule.window ? 0 : p + 1 - rule.window;
        reference::attend(std::span(q).subspan(qat, head_dim), std::span(kh).subspan(from * head_dim),
                          std::span(vh).subspan(from * head_dim), p + 1 - from, rule.scale, rule.cap,
                          precision, out.data() + qat);
      }
    }
    return out;
  }

  size_t head_dim;
  AttentionRule rule;
  std::vector<float> q, k, v;
};

TEST_P(Kernels, AttentionInEveryFormatOfTheCache) {
  for (const DType dtype : {DType::kF16, DType::kF32, DType::kQ8_0}) {
    for (const size_t head_dim : {6u, 8u, 24u, 64u, 80u}) {
      AttentionCase c(random_, head_dim);
      for (const size_t window : {0u, 1u, 20u, 32u, 50u}) {
        c.rule.window = window;
        c.rule.cap = window == 20 ? 3.0f : 0.0f;
        const auto what =
            std::string(name(dtype)) + " " + std::to_string(head_dim) + " " + std::to_string(window);
        const KvMemory memory(dtype, c.kPositions, c.kKvHeads, head_dim);
        const auto together = c.fast(memory.view(), c.kPositions);
        // A scale for 32 values of 7 bits leaves errors of half a step in each key and value.
        const bool q8 = dtype == DType::kQ8_0;
        EXPECT_LT(distance(together, c.plain(q8 ? DType::kF32 : dtype)), q8 ? 0.02 : step(dtype)) << what;
        EXPECT_EQ(c.split(memory.view()), together) << what;
        for (const size_t chunk : {1u, 5u, 40u}) {
          const KvMemory other(dtype, c.kPositions, c.kKvHeads, head_dim);
          EXPECT_EQ(c.fast(other.view(), chunk), together) << what;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Kernels, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

TEST(BufferTest, IsZeroedAndAligned) {
  const Buffer buffer(100000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.as<char>()) % 64, 0u);
  EXPECT_TRUE(
      std::all_of(buffer.as<char>(), buffer.as<char>() + buffer.bytes(), [](char c) { return c == 0; }));
}

}  // namespace
}  // namespace fathom::tensor
