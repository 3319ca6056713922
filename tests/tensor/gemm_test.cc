#include "tensor/gemm.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/buffer.h"
#include "tensor/kernels.h"

namespace fathom::tensor {
namespace {

/// Operands of one product, with gaps between rows.
struct Case {
  Case(Random& random, size_t m, size_t n, size_t k, bool a_transposed, bool b_transposed)
      : a((a_transposed ? k : m) * ((a_transposed ? m : k) + 3)),
        b((b_transposed ? n : k) * ((b_transposed ? k : n) + 5)),
        c(m * (n + 2)) {
    a = random_floats(random, a.size());
    b = random_floats(random, b.size());
    c = random_floats(random, c.size());
    args.m = m;
    args.n = n;
    args.k = k;
    args.a = a.data();
    args.a_stride = (a_transposed ? m : k) + 3;
    args.a_transposed = a_transposed;
    args.b = b.data();
    args.b_stride = (b_transposed ? k : n) + 5;
    args.b_transposed = b_transposed;
    args.c_stride = n + 2;
  }

  std::vector<float> fast(ThreadPool& pool) const {
    const Buffer scratch(gemm_scratch_bytes(pool.size()));
    std::vector<float> out = c;
    GemmArgs to = args;
    to.c = out.data();
    gemm(to, pool, {scratch.as<std::byte>(), scratch.bytes()});
    return out;
  }

  std::vector<float> reference() const {
    std::vector<float> out = c;
    GemmArgs to = args;
    to.c = out.data();
    gemm_reference(to);
    return out;
  }

  std::vector<float> a, b, c;
  GemmArgs args;
};

class Gemm : public Kernels {
 protected:
  ThreadPool one_{1};
  ThreadPool two_{2};
};

TEST_P(Gemm, EqualsTheReferenceInEverySizeAndLayout) {
  const size_t sizes[][3] = {{1, 1, 1},   {1, 40, 7},   {5, 3, 2},      {14, 32, 16}, {15, 33, 17},
                             {29, 64, 1}, {50, 31, 33}, {113, 130, 64}, {90, 97, 50}, {3, 60, 600}};
  for (const auto& [m, n, k] : sizes)
    for (const bool a_transposed : {false, true})
      for (const bool b_transposed : {false, true})
        for (const auto precision : {Precision::kF32, Precision::kBF16}) {
          Case x(random_, m, n, k, a_transposed, b_transposed);
          x.args.precision = precision;
          x.args.alpha = 0.5f;
          x.args.add = (m + n) % 2 == 0;
          EXPECT_LT(distance(x.fast(two_), x.reference()), 2e-6)
              << m << " x " << n << " x " << k << " " << a_transposed << b_transposed;
        }
}

TEST_P(Gemm, LongSumsAndManyRoundsAddUp) {
  const size_t sizes[][3] = {{20, 35, 2500}, {1100, 33, 40}, {5, 2100, 60}};
  for (const auto& [m, n, k] : sizes)
    for (const bool transposed : {false, true})
      for (const auto precision : {Precision::kF32, Precision::kBF16}) {
        Case x(random_, m, n, k, transposed, !transposed);
        x.args.precision = precision;
        x.args.add = transposed;
        EXPECT_LT(distance(x.fast(two_), x.reference()), 4e-6) << m << " x " << n << " x " << k;
      }
}

TEST_P(Gemm, ARowIsTheSameInAnyBatchAndOnAnyThreads) {
  for (const auto precision : {Precision::kF32, Precision::kBF16}) {
    Case all(random_, 150, 70, 1200, false, true);
    all.args.precision = precision;
    const auto expected = all.fast(one_);
    EXPECT_EQ(all.fast(two_), expected);
    Case row = all;
    row.args.a += 37 * row.args.a_stride;
    row.args.m = 1;
    const auto got = row.fast(one_);
    const auto begin = expected.begin() + static_cast<ptrdiff_t>(37 * all.args.c_stride);
    EXPECT_EQ(std::vector<float>(got.begin(), got.begin() + 70), std::vector<float>(begin, begin + 70));
  }
}

TEST_P(Gemm, WritesNothingBesideItsOwn) {
  Case x(random_, 31, 45, 20, true, false);
  const auto out = x.fast(two_);
  for (size_t row = 0; row < 31; ++row)
    for (size_t gap = 45; gap < 47; ++gap) EXPECT_EQ(out[row * 47 + gap], x.c[row * 47 + gap]);
}

TEST_P(Gemm, WhatIsNotFiniteStaysSo) {
  for (const auto precision : {Precision::kF32, Precision::kBF16}) {
    Case x(random_, 20, 40, 30, false, true);
    x.args.precision = precision;
    x.a[7 * x.args.a_stride + 29] = std::numeric_limits<float>::quiet_NaN();
    x.a[9 * x.args.a_stride] = std::numeric_limits<float>::infinity();
    const auto out = x.fast(two_);
    for (size_t col = 0; col < 40; ++col) {
      EXPECT_TRUE(std::isnan(out[7 * 42 + col]));
      EXPECT_FALSE(std::isfinite(out[9 * 42 + col]));
      EXPECT_TRUE(std::isfinite(out[8 * 42 + col]));
    }
  }
}

TEST_P(Gemm, NoDepthGivesZeroOrWhatWasThere) {
  Case x(random_, 3, 4, 0, false, false);
  x.args.add = true;
  EXPECT_EQ(x.fast(two_), x.c);
  x.args.add = false;
  EXPECT_EQ(x.fast(two_)[0], 0.0f);
}

INSTANTIATE_TEST_SUITE_P(All, Gemm, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

}  // namespace
}  // namespace fathom::tensor
