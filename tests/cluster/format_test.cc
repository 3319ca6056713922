#include "cluster/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace fathom::cluster {
namespace {

TEST(Format, ThreeFiguresAndAUnit) {
  EXPECT_EQ(format_usd(4.6123e9), "$4.61 B");
  EXPECT_EQ(format_usd(-3.21e6), "-$3.21 M");
  EXPECT_EQ(format_usd(0.4234), "$0.42");
  EXPECT_EQ(format_usd(2.5e12), "$2.50 T");
  EXPECT_EQ(format_watts(154.2e6), "154 MW");
  EXPECT_EQ(format_watts(999.9e6), "1.00 GW");
  EXPECT_EQ(format_bytes(72.09e9), "72.1 GB");
  EXPECT_EQ(format_rate(1.624e6, "tokens"), "1.62 M tokens/s");
  EXPECT_EQ(format_rate(12.5, "tokens"), "12.5 tokens/s");
}

TEST(Format, TimeInTheUnitThatFits) {
  EXPECT_EQ(format_seconds(2.5e-9), "2.50 ns");
  EXPECT_EQ(format_seconds(0.01234), "12.3 ms");
  EXPECT_EQ(format_seconds(3.4168), "3.42 s");
  EXPECT_EQ(format_seconds(720), "12.0 min");
  EXPECT_EQ(format_seconds(54 * 86'400.0), "54.0 days");
}

TEST(Format, SharesAndCounts) {
  EXPECT_EQ(format_share(0.9724), "97.2 %");
  EXPECT_EQ(format_share(1), "100 %");
  EXPECT_EQ(format_share(0), "0 %");
  EXPECT_EQ(format_count(15.6e12), "15.6 T");
  EXPECT_EQ(format_count(269'515'497'472.0), "270 B");
  EXPECT_EQ(format_count(512), "512");
  EXPECT_EQ(format_number(100'000), "100,000");
  EXPECT_EQ(format_number(-1'234'567), "-1,234,567");
  EXPECT_EQ(format_number(12), "12");
  EXPECT_EQ(format_number(3.14159), "3.14");
}

TEST(Format, WhatIsNoNumberIsSaid) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& text : {format_usd(nan), format_watts(nan), format_seconds(nan), format_bytes(nan),
                           format_share(nan), format_number(nan)})
    EXPECT_EQ(text, "unknown");
}

}  // namespace
}  // namespace fathom::cluster
