#include "live/vectors/quantise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "live/vectors/vectors_support.h"

namespace fathom::live {
namespace {

std::vector<int8_t> random_codes(size_t size, Random& random) {
  std::vector<int8_t> codes(size);
  for (auto& code : codes) code = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
  return codes;
}

TEST(Quantise, EveryKernelGivesTheReferencesNumber) {
  Random random(1);
  const auto kernels = dot_kernels();
  ASSERT_STREQ(kernels.front().name, "reference");
  for (size_t size = kCodeBlock; size <= 20 * kCodeBlock; size += kCodeBlock) {
    const auto a = random_codes(size, random), b = random_codes(size, random);
    const int32_t expected = kernels.front().dot(a.data(), b.data(), size);
    for (const auto& kernel : kernels)
      EXPECT_EQ(kernel.dot(a.data(), b.data(), size), expected) << kernel.name << " " << size;
  }
}

TEST(Quantise, KernelsBearTheLargestCodes) {
  constexpr size_t kSize = size_t{1} << 16;
  for (const int8_t x : {int8_t{127}, int8_t{-127}}) {
    for (const int8_t y : {int8_t{127}, int8_t{-127}}) {
      const std::vector<int8_t> a(kSize, x), b(kSize, y);
      for (const auto& kernel : dot_kernels())
        EXPECT_EQ(kernel.dot(a.data(), b.data(), kSize), int32_t{x} * y * int32_t{kSize}) << kernel.name;
    }
  }
}

TEST(Quantise, CosineIsKept) {
  const size_t dimensions = 100, size = padded(dimensions);
  const auto vectors = testing::clustered(200, dimensions, 7);
  const Dot dot = dot_kernels().back().dot;
  for (size_t i = 0; i + 1 < vectors.size(); ++i) {
    std::vector<int8_t> a(size, 1), b(size, 1);
    const float a_scale = quantise(vectors[i], a), b_scale = quantise(vectors[i + 1], b);
    double exact = 0;
    for (size_t k = 0; k < dimensions; ++k) exact += static_cast<double>(vectors[i][k]) * vectors[i + 1][k];
    EXPECT_NEAR(static_cast<float>(dot(a.data(), b.data(), size)) * a_scale * b_scale, exact, 0.01);
  }
}

TEST(Quantise, NothingAndWhatIsNotFiniteBecomeZero) {
  std::vector<int8_t> codes(kCodeBlock, 1);
  EXPECT_EQ(quantise(std::vector<float>(10, 0.0f), codes), 0.0f);
  EXPECT_EQ(codes, std::vector<int8_t>(kCodeBlock, 0));
  EXPECT_EQ(quantise(std::vector<float>(10, 1e-42f), codes), 0.0f);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_GT(quantise(std::vector<float>{nan, 0.5f, inf, -0.5f, -inf}, codes), 0.0f);
  EXPECT_EQ(codes[0], 0);
  EXPECT_EQ(codes[1], 127);
  EXPECT_EQ(codes[2], 0);
  EXPECT_EQ(codes[3], -127);
  EXPECT_EQ(codes[4], 0);
}

}  // namespace
}  // namespace fathom::live
