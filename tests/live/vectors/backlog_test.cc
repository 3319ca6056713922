#include "live/vectors/backlog.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace fathom::live {
namespace {

TEST(Backlog, NewestFirst) {
  Backlog backlog;
  EXPECT_FALSE(backlog.take(10));
  backlog.extend(25, 0);
  auto range = backlog.take(10);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->after, 15u);
  EXPECT_EQ(range->last, 25u);
  EXPECT_EQ(backlog.read_through(), 0u);
  backlog.extend(28, 0);
  range = backlog.take(10);
  EXPECT_EQ(range->after, 25u);
  EXPECT_EQ(range->last, 28u);
  EXPECT_EQ(backlog.waiting(), 15u);
  EXPECT_EQ(backlog.take(10)->after, 5u);
  EXPECT_EQ(backlog.take(10)->after, 0u);
  EXPECT_FALSE(backlog.take(10));
  EXPECT_EQ(backlog.read_through(), 28u);
}

TEST(Backlog, WhatIsGivenBackComesAgain) {
  Backlog backlog;
  backlog.extend(30, 0);
  const auto newest = backlog.take(10), middle = backlog.take(10);
  backlog.give_back(*newest);
  EXPECT_EQ(backlog.waiting(), 20u);
  EXPECT_EQ(backlog.take(10)->last, 30u);
  backlog.give_back(*middle);
  EXPECT_EQ(backlog.waiting(), 20u);
  EXPECT_EQ(backlog.take(100)->last, 20u);
}

TEST(Backlog, WhatIsBelowTheFloorIsForgotten) {
  Backlog backlog;
  backlog.extend(100, 0);
  backlog.take(10);
  backlog.extend(200, 50);
  EXPECT_EQ(backlog.waiting(), 140u);
  backlog.extend(200, 95);
  EXPECT_EQ(backlog.waiting(), 100u);
  backlog.extend(200, 200);
  EXPECT_EQ(backlog.waiting(), 0u);
  EXPECT_EQ(backlog.read_through(), 200u);
}

TEST(Backlog, RangesAreBounded) {
  Backlog backlog;
  for (uint64_t last = 10; last <= 10'000; last += 10) {
    backlog.extend(last, 0);
    backlog.take(1);
  }
  EXPECT_LE(backlog.ranges().size(), Backlog::kMostRanges + 1);
}

TEST(Backlog, EverySequenceComesOnceWhateverTheOrder) {
  Random random(1);
  Backlog backlog;
  std::multiset<uint64_t> read;
  uint64_t last = 0;
  const auto take = [&](bool keep) {
    const auto range = backlog.take(1 + random.below(20));
    if (!range) return false;
    if (!keep) {
      backlog.give_back(*range);
      return true;
    }
    for (uint64_t i = range->after + 1; i <= range->last; ++i) read.insert(i);
    return true;
  };
  for (int step = 0; step < 200; ++step) {
    last += random.below(30);
    backlog.extend(last, 0);
    take(!random.chance(0.2));
  }
  while (take(true)) {
  }
  ASSERT_EQ(read.size(), last);
  for (uint64_t i = 1; i <= last; ++i) EXPECT_EQ(read.count(i), 1u);
}

}  // namespace
}  // namespace fathom::live
