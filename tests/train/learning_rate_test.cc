#include "train/learning_rate.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"

namespace fathom::train {
namespace {

LearningRate rate(Schedule schedule) { return {schedule, 2.0f, 0.25f, 100, 10, 20}; }

TEST(LearningRate, WarmsUpEvenlyToThePeak) {
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kCosine, Schedule::kWsd}) {
    const LearningRate r = rate(schedule);
    EXPECT_FLOAT_EQ(r.at(0), 0.0f);
    EXPECT_FLOAT_EQ(r.at(1), 0.2f);
    EXPECT_FLOAT_EQ(r.at(5), 1.0f);
    EXPECT_FLOAT_EQ(r.at(10), 2.0f);
    LearningRate cold = r;
    cold.warmup = 0;
    EXPECT_NEAR(cold.at(1), 2.0f, 1e-3);
  }
}

TEST(LearningRate, ConstantStays) {
  for (const uint64_t step : {11, 50, 100, 1000}) EXPECT_EQ(rate(Schedule::kConstant).at(step), 2.0f);
}

TEST(LearningRate, CosineFallsToTheFloor) {
  const LearningRate r = rate(Schedule::kCosine);
  EXPECT_FLOAT_EQ(r.at(55), 0.5f * (2.0f + 0.5f));  // half way
  EXPECT_FLOAT_EQ(r.at(100), 0.5f);
  EXPECT_FLOAT_EQ(r.at(101), 0.5f);
  for (uint64_t step = 11; step <= 100; ++step) EXPECT_LT(r.at(step), r.at(step - 1));
}

TEST(LearningRate, WsdIsStableAndThenFallsAsASquareRoot) {
  const LearningRate r = rate(Schedule::kWsd);
  for (uint64_t step = 10; step <= 80; ++step) EXPECT_EQ(r.at(step), 2.0f);
  EXPECT_FLOAT_EQ(r.at(85), 0.5f + 1.5f * 0.5f);  // sqrt(5 / 20) of the way
  EXPECT_FLOAT_EQ(r.at(100), 0.5f);
  LearningRate endless = r;
  endless.decay = 0;
  EXPECT_EQ(endless.at(100), 2.0f);
}

TEST(LearningRate, NeedsFieldsThatGoTogether) {
  EXPECT_NO_THROW(rate(Schedule::kWsd).check());
  const auto refused = [](auto change) {
    LearningRate r = rate(Schedule::kWsd);
    change(r);
    EXPECT_THROW(r.check(), Error);
  };
  refused([](LearningRate& r) { r.peak = 0; });
  refused([](LearningRate& r) { r.peak = std::numeric_limits<float>::infinity(); });
  refused([](LearningRate& r) { r.floor = -0.1f; });
  refused([](LearningRate& r) { r.floor = std::numeric_limits<float>::quiet_NaN(); });
  refused([](LearningRate& r) { r.steps = 0; });
  refused([](LearningRate& r) { r.warmup = 101; });
  refused([](LearningRate& r) { r.decay = 91; });
  LearningRate all = rate(Schedule::kCosine);
  all.warmup = 100;
  EXPECT_NO_THROW(all.check());
  EXPECT_EQ(all.at(100), 2.0f);
}

TEST(LearningRate, NamesAreReadBack) {
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kCosine, Schedule::kWsd})
    EXPECT_EQ(parse_schedule(to_string(schedule)), schedule);
  EXPECT_THROW(parse_schedule("linear"), Error);
}

}  // namespace
}  // namespace fathom::train
