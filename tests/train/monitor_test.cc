#include "train/monitor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace fathom::train {
namespace {

StepMetrics metrics(uint64_t step) {
  StepMetrics m;
  m.step = step;
  m.loss = 4.0 / static_cast<double>(step);
  m.tokens = 100 * step;
  m.tokens_per_s = 31'234;
  m.share_of_peak = 0.714;
  return m;
}

TEST(Monitor, ALineAStepAndWhatIsMadeAgainIsCutOff) {
  const TempDir folder;
  {
    Monitor monitor(folder.path(), 10, false);
    for (uint64_t step = 1; step <= 6; ++step) monitor.step(metrics(step));
    monitor.event("slow_rank", 6, {{"rank", 3}});
  }
  std::ofstream(folder.path() / "metrics.jsonl", std::ios::app) << "{\"step\": 7, \"lo";  // a crash
  EXPECT_EQ(read_json_lines(folder.path() / "metrics.jsonl").size(), 6u);
  {
    Monitor monitor(folder.path(), 10, false);
    monitor.resume(4);
    for (uint64_t step = 5; step <= 8; ++step) monitor.step(metrics(step));
  }
  const auto lines = read_json_lines(folder.path() / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 8u);
  for (uint64_t step = 1; step <= 8; ++step) EXPECT_EQ(lines[step - 1]["step"], step);
  const auto events = read_json_lines(folder.path() / "events.jsonl");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["rank"], 3);
}

TEST(Monitor, NumbersThatJsonHasNotAreNull) {
  StepMetrics m = metrics(1);
  m.loss = std::numeric_limits<double>::infinity();
  m.held_out_loss = 2.5;
  const auto parsed = nlohmann::json::parse(to_json(m).dump());
  EXPECT_TRUE(parsed["loss"].is_null());
  EXPECT_EQ(parsed["held_out_loss"], 2.5);
  EXPECT_FALSE(parsed.contains("held_out_perplexity"));
  for (const char* name : {"step_time", "exposed_comm", "goodput", "share_of_peak", "checkpoint_s"})
    EXPECT_TRUE(parsed.contains(name)) << name;
}

TEST(Monitor, PrometheusText) {
  const std::string text = prometheus_text(metrics(4), "a \"run\"\n");
  EXPECT_NE(text.find("# TYPE fathom_train_loss gauge\nfathom_train_loss{run=\"a \\\"run\\\" \"} 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("fathom_train_tokens_total{run="), std::string::npos);
}

TEST(Monitor, ProgressLine) {
  EXPECT_EQ(progress_line(metrics(4), 1000, 250),
            "step 4/1000  loss 1.0000  31.2 k tokens/s  71 % of peak  4 min left");
  EXPECT_EQ(run_name("/runs/one/"), "one");
  EXPECT_EQ(run_name("/runs/one"), "one");
  EXPECT_EQ(format_duration(42), "42 s");
  EXPECT_EQ(format_duration(7'800), "2 h 10 min");
  EXPECT_EQ(format_duration(273'600), "3 d 4 h");
}

TEST(SlowRankWatch, NamesARankThatIsSlowForSeveralSteps) {
  SlowRankWatch watch(4);
  const std::vector<float> even = {1.0f, 1.1f, 0.9f, 1.2f}, slow = {1.0f, 1.1f, 1.8f, 1.0f};
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(watch.see(even));
  for (size_t i = 1; i < SlowRankWatch::kSteps; ++i) EXPECT_FALSE(watch.see(slow));
  EXPECT_EQ(watch.see(slow), 2u);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(watch.see(slow));  // told once
  EXPECT_FALSE(watch.see(even));
  for (size_t i = 1; i < SlowRankWatch::kSteps; ++i) EXPECT_FALSE(watch.see(slow));
  EXPECT_EQ(watch.see(slow), 2u);  // and again when it becomes slow again
}

TEST(SlowRankWatch, OfTwoTheOneThatTheOtherWaitsFor) {
  SlowRankWatch watch(2);
  const std::vector<float> slow = {1.0f, 1.6f};
  std::optional<size_t> named;
  for (size_t i = 0; i < SlowRankWatch::kSteps; ++i) named = watch.see(slow);
  EXPECT_EQ(named, 1u);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(watch.see(std::vector<float>{0.01f, 0.03f}));  // chance
  SlowRankWatch alone(1);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(alone.see(std::vector<float>{1.0f}));
}

}  // namespace
}  // namespace fathom::train
