// The benchmark itself: that it measures what it says, not how fast this machine is.
#include "infer/benchmark.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "model/random_model.h"

namespace fathom::infer {
namespace {

std::filesystem::path small_model() {
  const model::ModelShape shape{"small", 2, 64, 4, 2, 16, 96, 300, 0, 0, 128};
  const auto path = std::filesystem::path(testing::TempDir()) / "benchmark_small.gguf";
  model::write_random_model(shape, tensor::DType::kQ4_0, 1, path);
  return path;
}

BenchmarkOptions small_options() {
  BenchmarkOptions options;
  options.prompt = 40;
  options.tokens = 8;
  options.sequences = {1, 3};
  options.sequence_prompt = 5;
  options.sequence_tokens = 6;
  options.copy_tokens = 30;
  options.runs = 2;
  options.limit_seconds = 0.002;
  return options;
}

TEST(Benchmark, MeasuresEverythingItReports) {
  ThreadPool pool(2);
  double last = 0;
  const auto report = run_benchmark(small_model(), small_options(), pool, [&](double share) {
    EXPECT_GE(share, last);
    EXPECT_LE(share, 1.0);
    last = share;
  });
  EXPECT_EQ(last, 1.0);
  EXPECT_EQ(report.model.quantisation, "Q4_0");
  EXPECT_EQ(report.threads, 2u);
  EXPECT_FALSE(report.instruction_set.empty());
  ASSERT_EQ(report.batches.size(), 2u);
  EXPECT_EQ(report.batches[1].sequences, 3u);
  for (const Spread& s :
       {report.prefill, report.first_token, report.decode, report.batches[0].tokens_per_second,
        report.batches[1].tokens_per_second, report.copy.plain, report.copy.guessing, report.copy.gain}) {
    EXPECT_GT(s.least, 0);
    EXPECT_LE(s.least, s.median);
    EXPECT_LE(s.median, s.most);
  }
  EXPECT_TRUE(report.integer_products);
  EXPECT_GT(report.decode_limit(), 0);
  EXPECT_GT(report.prefill_limit(), 0);
  EXPECT_GT(report.read_bandwidth, 0);
  EXPECT_GT(report.integer_peak, 0);
  EXPECT_GT(report.float_peak, 0);
}

TEST(Benchmark, GuessingIsHeldAgainstTheSameAnswerWithout) {
  ThreadPool pool(2);
  auto options = small_options();
  options.sequences = {1};
  auto report = run_benchmark(small_model(), options, pool, nullptr);
  EXPECT_EQ(report.copy.tokens, 30u);
  EXPECT_GE(report.copy.guessed, 0.0);
  EXPECT_LE(report.copy.guessed, 1.0);
  options.copy_tokens = 120;  // leaves no room in a context of 128 for a prompt
  report = run_benchmark(small_model(), options, pool, nullptr);
  EXPECT_EQ(report.copy.tokens, 0u);
}

TEST(Benchmark, RefusesWhatTheContextCannotHold) {
  ThreadPool pool(1);
  auto options = small_options();
  options.prompt = 1000;
  EXPECT_THROW(run_benchmark(small_model(), options, pool, nullptr), Error);
  options = small_options();
  options.tokens = 1;
  EXPECT_THROW(run_benchmark(small_model(), options, pool, nullptr), Error);
}

TEST(Benchmark, SpreadOfAnyNumberOfRuns) {
  const Spread odd = spread({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.most, 3);
  EXPECT_EQ(spread({4, 1}).median, 2.5);
}

}  // namespace
}  // namespace fathom::infer
