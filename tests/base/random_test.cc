#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fathom {
namespace {

TEST(Random, IsTheSameOnEveryMachine) {
  // SplitMix64 of seed 0 gives e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f, f88bb8a8724c81ec as the state
  // (its reference outputs); the first value of xoshiro256** is rotl(s1 * 5, 7) * 9.
  const uint64_t s1 = 0x6e789e6aa1b965f4u * 5;
  Random random(0);
  EXPECT_EQ(random.next(), ((s1 << 7) | (s1 >> 57)) * 9);
  Random a(42), b(42), c(43);
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.next();
    EXPECT_EQ(value, b.next());
    EXPECT_NE(value, c.next());
  }
}

TEST(Random, BelowStaysBelowAndIsEven) {
  Random random(7);
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; ++i) ++counts[random.below(10)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.below(1), 0u);
  const uint64_t large = (uint64_t{1} << 63) + 1;  // half of all values have to be drawn again
  int upper = 0;
  for (int i = 0; i < 2000; ++i) {
    const uint64_t value = random.below(large);
    ASSERT_LT(value, large);
    upper += value >= large / 2 ? 1 : 0;
  }
  EXPECT_NEAR(upper, 1000, 150);
}

TEST(Random, UniformFillsTheUnitInterval) {
  Random random(8);
  double sum = 0, low = 1, high = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = random.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.01);
  EXPECT_LT(low, 0.001);
  EXPECT_GT(high, 0.999);
}

TEST(Random, NormalHasItsMoments) {
  Random random(9);
  double sum = 0, squares = 0, fourth = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.02);
  EXPECT_NEAR(squares / kCount, 1.0, 0.02);
  EXPECT_NEAR(fourth / kCount, 3.0, 0.15);
}

TEST(Random, ChanceKeepsItsProbability) {
  Random random(10);
  int hits = 0;
  for (int i = 0; i < 100000; ++i) hits += random.chance(0.2) ? 1 : 0;
  EXPECT_NEAR(hits, 20000, 800);
  EXPECT_FALSE(random.chance(0.0));
  EXPECT_TRUE(random.chance(1.0));
}

}  // namespace
}  // namespace fathom
