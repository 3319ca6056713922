#include "cluster/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fathom::cluster {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

TEST(Checkpoint, IntervalsOfTheirPapers) {
  // Young: sqrt(2 * 60 * 86400).
  EXPECT_NEAR(young_interval_s(60, 86400), 3219.94, 0.01);
  // Daly, equation 37, by hand: sqrt(2 d M) (1 + (1/3) sqrt(d / 2M) + (1/9) d / 2M) - d.
  EXPECT_NEAR(daly_interval_s(60, 86400), 3219.938 * (1 + 0.0186339 / 3 + 3.47222e-4 / 9) - 60, 0.01);
  EXPECT_EQ(daly_interval_s(500, 200), 200);  // beyond twice the time between failures: that itself
  // arXiv 2410.18124's example: 6000 s between failures, recovery 600 s, checkpoint 10 s, steps of 15 s: 24 steps.
  EXPECT_EQ(std::floor(availability_interval_s(10, 6000, 600) / 15), 24);
}

TEST(Checkpoint, WithoutFailuresThereIsNoInterval) {
  EXPECT_EQ(young_interval_s(60, kForever), kForever);
  EXPECT_EQ(daly_interval_s(60, kForever), kForever);
  EXPECT_EQ(availability_interval_s(60, kForever, 1), kForever);
}

/// The share of time lost to first order: checkpoints, and half an interval a failure.
double lost(double interval, double checkpoint, double between) {
  return checkpoint / (interval + checkpoint) + (interval / 2 + checkpoint) / between;
}

TEST(Checkpoint, DalysIntervalLosesLeast) {
  for (const double checkpoint : {1.0, 30.0, 300.0}) {
    const double between = 1800 * 8;
    const double best = daly_interval_s(checkpoint, between);
    EXPECT_LT(lost(best, checkpoint, between), lost(best / 2, checkpoint, between));
    EXPECT_LT(lost(best, checkpoint, between), lost(best * 2, checkpoint, between));
  }
}

TEST(Checkpoint, TheNarrowestPartDecides) {
  CheckpointPath path;
  path.bytes = 5.7e12;
  path.chips = 16384;
  path.copy_bytes_per_s_per_chip = 50e9;
  path.network_bytes_per_s_per_chip = 50e9;
  path.storage_write_bytes_per_s = 2e12;
  path.storage_read_bytes_per_s = 4e12;
  path.pause_s = 1;
  const CheckpointCost storage = checkpoint_cost(path);
  EXPECT_NEAR(storage.write_s, 2.85, 1e-9);
  EXPECT_NEAR(storage.read_s, 1.425, 1e-9);
  EXPECT_NEAR(storage.blocks_s, 1 + 5.7e12 / 16384 / 50e9, 1e-9);
  EXPECT_NEAR(storage.network_share, 2e12 / (16384 * 50e9), 1e-12);

  path.network_bytes_per_s_per_chip = 1e6;  // 16 GB/s together
  const CheckpointCost network = checkpoint_cost(path);
  EXPECT_NEAR(network.write_s, 5.7e12 / 16384e6, 1e-6);
  EXPECT_EQ(network.network_share, 1);

  path.asynchronous = false;
  EXPECT_NEAR(checkpoint_cost(path).blocks_s, 1 + network.write_s, 1e-6);
}

TEST(Checkpoint, ReplicasThatReadItToo) {
  CheckpointPath path;
  path.bytes = 1e12;
  path.chips = 1000;
  path.network_bytes_per_s_per_chip = 10e9;
  path.storage_read_bytes_per_s = 1e12;
  const double alone = checkpoint_cost(path).read_s;
  path.readers = 10;
  // 100 chips a replica: 10 GB each, over 10 GB/s.
  EXPECT_NEAR(checkpoint_cost(path).read_s, alone + 1, 1e-9);
}

TEST(Checkpoint, NoLimitTakesNoTime) {
  CheckpointPath path;
  path.bytes = 1e15;
  const CheckpointCost cost = checkpoint_cost(path);
  EXPECT_EQ(cost.write_s, 0);
  EXPECT_EQ(cost.blocks_s, 0);
  EXPECT_EQ(cost.network_share, 0);
}

}  // namespace
}  // namespace fathom::cluster
