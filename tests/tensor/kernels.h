// Test support: what tests of kernels share. A `Kernels` test runs on each instruction set that this processor has.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/random.h"

namespace fathom::tensor {

inline std::vector<float> random_floats(Random& random, size_t n, double scale = 1.0) {
  std::vector<float> out(n);
  for (float& v : out) v = static_cast<float>(random.normal() * scale);
  return out;
}

/// The largest difference, relative to the largest expected value.
inline double distance(const std::vector<float>& got, const std::vector<float>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double most = 0;
  double scale = 1e-30;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return most / scale;
}

/// Runs each test on one instruction set.
class Kernels : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
  Random random_{7};
};

/// Those that the kernels are built for (tensor/simd.h).
inline std::vector<int64_t> targets() {
  std::vector<int64_t> out;
  const int64_t supported = hwy::SupportedTargets();
  for (const int64_t target : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON})
    if ((supported & target) != 0) out.push_back(target);
  return out;
}

}  // namespace fathom::tensor
