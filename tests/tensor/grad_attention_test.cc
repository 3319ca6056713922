#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/buffer.h"
#include "tensor/grad/attention.h"
#include "tensor/kernels.h"

namespace fathom::tensor {
namespace {

/// One call of both passes, with gaps between tokens.
struct Case {
  Case(Random& random, const AttentionShape& of, const std::vector<int32_t>& document_starts = {})
      : shape(of), starts(document_starts) {
    if (!starts.empty()) shape.starts = starts.data();
    q = random_floats(random, shape.tokens() * q_stride());
    k = random_floats(random, shape.tokens() * kv_stride());
    v = random_floats(random, k.size());
    d_out = random_floats(random, shape.tokens() * out_stride());
  }

  size_t q_stride() const { return shape.heads * shape.head_dim + 3; }
  size_t kv_stride() const { return shape.kv_heads * shape.head_dim + 5; }
  size_t out_stride() const { return shape.heads * shape.head_dim + 1; }

  AttentionShape shape;
  std::vector<int32_t> starts;
  std::vector<float> q, k, v, d_out;
};

struct Results {
  explicit Results(const Case& x)
      : out(x.d_out.size()),
        log_sum(x.shape.heads * x.shape.tokens()),
        dq(x.q.size()),
        dk(x.k.size()),
        dv(x.v.size()) {}

  AttentionForward forward(const Case& x) {
    return {x.q.data(),    x.q_stride(), x.k.data(),     x.v.data(),
            x.kv_stride(), out.data(),   x.out_stride(), log_sum.data()};
  }
  AttentionBackward backward(const Case& x) {
    return {x.q.data(),     x.q_stride(),   x.k.data(),     x.v.data(), x.kv_stride(), out.data(),
            x.d_out.data(), x.out_stride(), log_sum.data(), dq.data(),  dk.data(),     dv.data()};
  }

  std::vector<float> out, log_sum, dq, dk, dv;
};

Results kernels(const Case& x, ThreadPool& pool) {
  Results r(x);
  const Buffer scratch(attention_scratch_bytes(x.shape, pool.size()));
  const std::span<std::byte> bytes{scratch.as<std::byte>(), scratch.bytes()};
  attention_forward(x.shape, r.forward(x), pool, bytes);
  attention_backward(x.shape, r.backward(x), pool, bytes);
  return r;
}

Results reference(const Case& x) {
  Results r(x);
  attention_forward_reference(x.shape, r.forward(x));
  attention_backward_reference(x.shape, r.backward(x));
  return r;
}

/// The largest difference, relative to the largest expected value, or to 1 where all are less: gradients of a query that
/// sees one key are 0.
double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double most = 0;
  double scale = 1;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return most / scale;
}

void expect_near(const Results& got, const Results& expected, const std::string& what) {
  EXPECT_LT(difference(got.out, expected.out), 3e-6) << what;
  EXPECT_LT(difference(got.log_sum, expected.log_sum), 2e-6) << what;
  EXPECT_LT(difference(got.dq, expected.dq), 6e-6) << what;
  EXPECT_LT(difference(got.dk, expected.dk), 6e-6) << what;
  EXPECT_LT(difference(got.dv, expected.dv), 6e-6) << what;
}

AttentionShape shape_of(size_t sequences, size_t length, size_t heads, size_t kv_heads, size_t head_dim) {
  AttentionShape shape;
  shape.sequences = sequences;
  shape.length = length;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = head_dim;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  return shape;
}

class GradAttention : public Kernels {
 protected:
  ThreadPool one_{1};
  ThreadPool two_{2};
};

TEST_P(GradAttention, EqualsTheReferenceForEverySizeOfHeads) {
  for (const size_t dim : {1, 8, 20, 32, 48, 64, 128}) {
    const Case x(random_, shape_of(2, 37, 4, 2, dim));
    expect_near(kernels(x, two_), reference(x), "head_dim " + std::to_string(dim));
  }
}

TEST_P(GradAttention, EqualsTheReferenceForEveryLength) {
  for (const size_t length : {1, 2, 14, 31, 32, 33, 128, 129, 200, 300}) {
    const Case x(random_, shape_of(1, length, 2, 1, 16));
    expect_near(kernels(x, two_), reference(x), "length " + std::to_string(length));
  }
}

TEST_P(GradAttention, SeesNoFurtherThanItsWindow) {
  for (const size_t window : {1, 5, 64, 150, 1000}) {
    AttentionShape shape = shape_of(1, 280, 1, 1, 8);
    shape.window = window;
    const Case x(random_, shape);
    expect_near(kernels(x, two_), reference(x), "window " + std::to_string(window));
  }
}

TEST_P(GradAttention, SeesItsOwnDocumentAlone) {
  const AttentionShape shape = shape_of(2, 290, 2, 1, 16);
  std::vector<int32_t> starts;
  for (const int32_t documents : {3, 40})  // long ones, and many short ones
    for (int32_t t = 0; t < 290; ++t) starts.push_back(t / (290 / documents) * (290 / documents));
  const Case x(random_, shape, starts);
  expect_near(kernels(x, two_), reference(x), "documents");
}

TEST_P(GradAttention, StartsMayGoBack) {
  std::vector<int32_t> starts(270);
  for (size_t t = 0; t < starts.size(); ++t) starts[t] = static_cast<int32_t>(t % 3 == 0 ? t : t / 2);
  const Case x(random_, shape_of(1, 270, 1, 1, 8), starts);
  expect_near(kernels(x, two_), reference(x), "starts");
}

TEST_P(GradAttention, CapsScores) {
  AttentionShape shape = shape_of(1, 150, 2, 2, 24);
  shape.cap = 3.0f;
  shape.scale = 0.9f;
  const Case x(random_, shape);
  expect_near(kernels(x, two_), reference(x), "cap");
}

TEST_P(GradAttention, LargeScoresDoNotOverflow) {
  AttentionShape shape = shape_of(1, 140, 1, 1, 16);
  shape.scale = 60.0f;
  const Case x(random_, shape);
  const Results got = kernels(x, two_);
  const Results expected = reference(x);
  EXPECT_LT(distance(got.out, expected.out), 1e-3);
  EXPECT_LT(distance(got.dv, expected.dv), 1e-3);
}

TEST_P(GradAttention, AMuchGreaterScoreLaterForgetsWhatCameBefore) {
  AttentionShape shape = shape_of(1, 300, 1, 1, 16);  // more than a block of keys
  shape.scale = 1.0f;
  Case x(random_, shape);
  std::fill(x.q.begin(), x.q.end(), 1.0f);
  for (size_t t = 0; t < 300; ++t)
    for (size_t i = 0; i < 16; ++i) x.k[t * x.kv_stride() + i] = t < 256 ? -10.0f : 4.0f;
  const Results got = kernels(x, two_), expected = reference(x);
  EXPECT_LT(difference(got.out, expected.out), 3e-6);
  EXPECT_LT(difference(got.dq, expected.dq), 2e-5);  // keys ten times as large as elsewhere here
}

TEST_P(GradAttention, GradientsAreFiniteDifferences) {
  AttentionShape shape = shape_of(1, 9, 2, 1, 4);
  shape.cap = 2.0f;
  shape.window = 6;
  Case x(random_, shape);
  const Results r = kernels(x, one_);
  const auto loss = [&] {
    Results now(x);
    attention_forward_reference(x.shape, now.forward(x));
    double sum = 0;
    for (size_t t = 0; t < shape.tokens(); ++t)
      for (size_t i = 0; i < shape.heads * shape.head_dim; ++i)
        sum += static_cast<double>(now.out[t * x.out_stride() + i]) *
               static_cast<double>(x.d_out[t * x.out_stride() + i]);
    return sum;
  };
  const auto check = [&](std::vector<float>& values, const std::vector<float>& gradient, size_t stride,
                         size_t width) {
    for (size_t t = 0; t < shape.tokens(); ++t)
      for (size_t i = 0; i < width; ++i) {
        float& value = values[t * stride + i];
        const float kept = value;
        constexpr float kStep = 4e-3f;
        value = kept + kStep;
        const double up = loss();
        value = kept - kStep;
        const double down = loss();
        value = kept;
        EXPECT_NEAR(gradient[t * stride + i], (up - down) / (2 * static_cast<double>(kStep)), 2e-3);
      }
  };
  check(x.q, r.dq, x.q_stride(), shape.heads * shape.head_dim);
  check(x.k, r.dk, x.kv_stride(), shape.kv_heads * shape.head_dim);
  check(x.v, r.dv, x.kv_stride(), shape.kv_heads * shape.head_dim);
}

TEST_P(GradAttention, TheSameBitsEveryTime) {
  const Case x(random_, shape_of(1, 260, 3, 1, 16));  // one pair, shared by two threads
  const Results first = kernels(x, two_);
  for (int i = 0; i < 3; ++i) {
    const Results again = kernels(x, two_);
    EXPECT_EQ(again.out, first.out);
    EXPECT_EQ(again.dq, first.dq);
    EXPECT_EQ(again.dk, first.dk);
    EXPECT_EQ(again.dv, first.dv);
  }
}

TEST_P(GradAttention, WritesNothingBetweenTokens) {
  const Case x(random_, shape_of(1, 50, 2, 1, 8));
  const Results r = kernels(x, two_);
  for (size_t t = 0; t < 50; ++t) {
    EXPECT_EQ(r.out[t * x.out_stride() + 16], 0.0f);
    EXPECT_EQ(r.dq[t * x.q_stride() + 17], 0.0f);
    EXPECT_EQ(r.dk[t * x.kv_stride() + 10], 0.0f);
    EXPECT_EQ(r.dv[t * x.kv_stride() + 12], 0.0f);
  }
}

TEST_P(GradAttention, WhatIsNotANumberStaysSo) {
  Case x(random_, shape_of(1, 40, 1, 1, 8));
  x.k[20 * x.kv_stride() + 3] = std::numeric_limits<float>::quiet_NaN();
  const Results r = kernels(x, two_);
  EXPECT_TRUE(std::isfinite(r.out[19 * x.out_stride()]));
  EXPECT_TRUE(std::isnan(r.out[20 * x.out_stride()]));
  EXPECT_TRUE(std::isnan(r.out[39 * x.out_stride()]));
}

INSTANTIATE_TEST_SUITE_P(All, GradAttention, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

}  // namespace
}  // namespace fathom::tensor
