#include "cluster/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "cluster/catalogue.h"
#include "cluster/layer_cost_kernels.h"
#include "cluster/network.h"

namespace fathom::cluster {
namespace {

/// What a machine with these constants would measure.
Measurements made_up(double fraction, double k_half) {
  Measurements m;
  m.processor = "A \"quoted\" \\ processor\n";
  m.date = "2026-11-23";
  m.threads = 8;
  m.ranks = 4;
  m.float_peak = 4e11;
  m.read_bytes_per_s = 40e9;
  m.copy_bytes_per_s = 30e9;
  m.kernel_launch_s = 3e-6;
  m.memory_bytes = 64e9;
  m.write_bytes_per_s = 1.5e9;
  m.file_read_bytes_per_s = 5e9;
  Accelerator chip;
  chip.peak_flops[static_cast<size_t>(Precision::kFp32)] = m.float_peak;
  chip.memory_bytes_per_s = m.read_bytes_per_s;
  chip.efficiency.gemm_peak_fraction = fraction;
  chip.efficiency.gemm_k_half = k_half;
  chip.efficiency.gemm_tile_m = chip.efficiency.gemm_tile_n = 16;
  chip.efficiency.units = m.threads;
  chip.efficiency.memory_fraction = 1;
  chip.efficiency.kernel_launch_s = m.kernel_launch_s;
  chip.efficiency.more["gemm_tile_reuse"] = 0;
  const KernelModel kernels(chip, false);
  for (const uint32_t k : {64u, 256u, 1024u, 2048u}) {
    const double s = kernels.gemm({256, 512, static_cast<double>(k)}, Precision::kFp32, 4);
    m.gemm.push_back({.m = 256, .n = 512, .k = k, .seconds = s, .bf16_seconds = s / 1.5});
  }
  return m;
}

/// Rings of `ranks` with hops of 2 us and links of 3 GB/s.
void add_rings(Measurements& m, uint32_t ranks) {
  for (double bytes = 1 << 10; bytes <= 1 << 24; bytes *= 8) {
    const double ring = (ranks - 1.0) / ranks * bytes / 3e9 + (ranks - 1) * 2e-6;
    m.collectives.push_back({CollectiveKind::kAllReduce, ranks, bytes, 2 * ring});
    m.collectives.push_back({CollectiveKind::kAllGather, ranks, bytes, ring});
    m.collectives.push_back({CollectiveKind::kAllToAll, ranks, bytes, 5e-6 + bytes / 1e9});
  }
}

TEST(Calibrate, FindsTheConstantsThatMadeTheMeasurements) {
  Measurements m = made_up(0.6, 64);
  add_rings(m, 4);
  const CalibrationFit f = fit(m);
  EXPECT_NEAR(f.gemm_peak_fraction, 0.6, 0.01);
  EXPECT_NEAR(f.gemm_k_half, 64, 8);
  EXPECT_LT(f.gemm_error, 0.01);
  EXPECT_NEAR(f.hop_s, 2e-6, 1e-9);
  EXPECT_NEAR(f.link_bytes_per_s, 3e9, 1e6);
  EXPECT_LT(f.collective_error, 1e-6);
  ASSERT_EQ(f.kinds.size(), 3u);
  EXPECT_NEAR(f.kinds[2].alpha_s, 5e-6, 1e-9);
  EXPECT_NEAR(f.kinds[2].bytes_per_s, 1e9, 1e3);
}

TEST(Calibrate, FindsWhatAttentionTakes) {
  Measurements m = made_up(0.6, 64);
  const auto flops = [](double products, double batch, double heads, double length, double head_dim) {
    return products * 2 * batch * heads * (length * (length + 1) / 2 + length * 64) * head_dim;
  };
  for (const uint32_t length : {256u, 1024u, 2048u}) {
    const double rate = 1.5 * m.float_peak * length / (length + 256.0);
    m.attention.push_back({.batch = 8,
                           .heads = 4,
                           .head_dim = 64,
                           .length = length,
                           .forward_s = flops(2, 8, 4, length, 64) / (0.3 * rate),
                           .backward_s = flops(5, 8, 4, length, 64) / (0.2 * rate)});
  }
  const CalibrationFit f = fit(m);
  EXPECT_NEAR(f.bf16_speed, 1.5, 1e-9);
  EXPECT_NEAR(f.attention_forward, 0.3, 0.02);
  EXPECT_NEAR(f.attention_backward, 0.2, 0.02);
  EXPECT_NEAR(f.attention_sequence_half, 256, 60);
  EXPECT_LT(f.attention_error, 0.05);
  TempDir folder;
  write_file_atomic(folder.path() / "own.toml", to_toml(m, f, "my-lab"));
  const Catalogue catalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue", folder.path()});
  const Accelerator& chip = catalogue.accelerator("my-lab");
  EXPECT_NEAR(chip.peak(Precision::kBf16), 1.5 * m.float_peak / m.ranks, 1e6);
  EXPECT_NEAR(chip.efficiency.attention_backward_fraction, f.attention_backward, 1e-5);
  EXPECT_NEAR(chip.efficiency.more.at("attention_sequence_half"), f.attention_sequence_half, 1e-3);
}

TEST(Calibrate, LatencyOrBandwidthAloneIsNotNegative) {
  Measurements m = made_up(0.5, 0);
  for (const double bytes : {1e3, 1e4, 1e5})
    m.collectives.push_back({CollectiveKind::kAllReduce, 2, bytes, 1e-5});
  CalibrationFit f = fit(m);
  EXPECT_NEAR(f.kinds[0].alpha_s, 1e-5, 1e-7);
  EXPECT_GE(f.hop_s, 0);
  m.collectives = {{CollectiveKind::kAllReduce, 2, 1e3, 1e-6}, {CollectiveKind::kAllReduce, 2, 1e6, 2e-3}};
  f = fit(m);  // the line would begin below zero
  EXPECT_EQ(f.kinds[0].alpha_s, 0);
  EXPECT_GT(f.kinds[0].bytes_per_s, 0);
}

TEST(Calibrate, TheCatalogueReadsTheEntry) {
  for (const bool connected : {true, false}) {
    Measurements m = made_up(0.6, 64);
    if (connected) add_rings(m, 4);
    const CalibrationFit f = fit(m);
    TempDir folder;
    write_file_atomic(folder.path() / "own.toml", to_toml(m, f, "my-lab"));
    const Catalogue catalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue", folder.path()});
    const Accelerator& chip = catalogue.accelerator("my-lab");
    EXPECT_NEAR(chip.peak(Precision::kFp32), 1e11, 1e6);
    EXPECT_NEAR(chip.memory_bytes_per_s, 10e9, 1e4);
    EXPECT_NEAR(chip.efficiency.gemm_peak_fraction, f.gemm_peak_fraction, 1e-5);
    EXPECT_EQ(chip.efficiency.units, 2u);
    EXPECT_NEAR(chip.scale_up_bytes_per_s, connected ? 3e9 : 3.75e9, 1e6);
    EXPECT_THAT(chip.sources.at("fp32_tflops"),
                testing::HasSubstr("measured by fathom calibrate on 2026-11-23, A  quoted"));
    EXPECT_EQ(catalogue.host("my-lab").chips, 4u);
    EXPECT_NEAR(catalogue.storage("my-lab").write_bytes_per_s, 1.5e9, 1);
    NetworkSpec spec;
    const Network network = Network::build(catalogue, spec, chip, catalogue.host("my-lab"), 4);
    if (connected) {
      // The planner's all-reduce is the ring that was measured, but for its start.
      const double predicted = network.all_reduce_s(1 << 24, {4, 1, 1});
      EXPECT_NEAR(predicted, 2 * (0.75 * (1 << 24) / 3e9 + 3 * 2e-6), 0.1 * predicted);
    }
  }
}

TEST(Calibrate, ReadsWhatTheCollectivesPrint) {
  const auto samples =
      parse_collectives("# header\nall_reduce 4 1024 1.5e-05\n\n  all_to_all 2 16777216 0.01\n");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].kind, CollectiveKind::kAllReduce);
  EXPECT_EQ(samples[0].ranks, 4u);
  EXPECT_EQ(samples[0].bytes, 1024);
  EXPECT_EQ(samples[1].seconds, 0.01);
  for (const char* bad : {"all_reduce 4 1024", "broadcast 4 1 1", "all_reduce x 1 1", "all_reduce 4 -1 1",
                          "all_reduce 4 1 nan", "all_reduce 4 1 1e999", "all_reduce 4 1 1 1"}) {
    try {
      parse_collectives(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    }
  }
}

TEST(Calibrate, RanksAreMeasuredSideBySide) {
  TempDir folder;
  std::atomic<int64_t> looks = 0;
  const auto clock = [&] { return 1e-4 * static_cast<double>(++looks); };
  const Measurements m = measure_machine(
      {.seconds = 1e-3, .folder = folder.path(), .file_bytes = 4 << 20, .ranks = 2, .threads = 1}, clock, {});
  EXPECT_EQ(m.ranks, 2u);
  EXPECT_EQ(m.threads, 2u);
  // Each rank does a product of its own meanwhile: at least one look at the clock in half of the time.
  for (const GemmSample& sample : m.gemm) EXPECT_GE(sample.seconds, 0.5e-4 - 1e-9);
  const std::string toml = to_toml(m, fit(m), "two");
  EXPECT_NE(toml.find("2 ranks of 1 thread each"), std::string::npos) << toml.substr(0, 200);
}

TEST(Calibrate, MeasuresThisMachine) {
  TempDir folder;
  double now = 0;
  const auto clock = [&] { return now += 1e-4; };  // stands for a clock: each look is 100 us later
  std::vector<double> told;
  const Measurements m =
      measure_machine({.seconds = 1e-3, .folder = folder.path(), .file_bytes = 8 << 20, .ranks = 1}, clock,
                      [&](double done) { told.push_back(done); });
  EXPECT_GT(m.float_peak, 1e6);
  EXPECT_GT(m.read_bytes_per_s, 1e6);
  EXPECT_GT(m.memory_bytes, 1e6);
  EXPECT_FALSE(m.processor.empty());
  EXPECT_GE(m.gemm.size(), 10u);
  for (const GemmSample& sample : m.gemm) EXPECT_NEAR(sample.seconds, 1e-4, 1e-9);
  EXPECT_NEAR(m.write_bytes_per_s, (8 << 20) / 1e-4, 1);
  EXPECT_NEAR(told.back(), 1, 1e-9);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // nothing is left behind
}

}  // namespace
}  // namespace fathom::cluster
