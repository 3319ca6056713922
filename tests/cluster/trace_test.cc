#include "cluster/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cluster/simulate_trace.h"

namespace fathom::cluster {
namespace {

using nlohmann::json;

/// Parses it and checks what Perfetto asks for: known phases, times, and slices of a track within each other or apart.
json checked(const std::string& text) {
  const json trace = json::parse(text);
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> slices;
  for (const json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    EXPECT_THAT(phase, testing::AnyOf("X", "M", "i", "C"));
    EXPECT_TRUE(event.at("name").is_string());
    EXPECT_TRUE(event.at("pid").is_number_integer());
    EXPECT_TRUE(event.at("tid").is_number_integer());
    if (phase == "M") {  // what a process or track is called, or where it stands
      EXPECT_THAT(event.at("name"),
                  testing::AnyOf("process_name", "thread_name", "thread_sort_index", "process_sort_index"));
      EXPECT_EQ(event.at("args").size(), 1u);
      continue;
    }
    if (phase == "i") {
      EXPECT_THAT(event.at("s"), testing::AnyOf("g", "p", "t"));
    }
    if (phase == "C") {
      for (const auto& [key, value] : event.at("args").items()) EXPECT_TRUE(value.is_number()) << key;
    }
    EXPECT_GE(event.at("ts").get<double>(), 0);
    if (phase != "X") continue;
    EXPECT_GE(event.at("dur").get<double>(), 0);
    const double begin = event.at("ts");
    slices[{event.at("pid"), event.at("tid")}].emplace_back(begin, begin + event.at("dur").get<double>());
  }
  for (auto& [track, list] : slices) {
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
      return a.first < b.first || (a.first == b.first && a.second > b.second);
    });
    std::vector<double> open;
    for (const auto& [begin, end] : list) {
      const double slack = 1e-4 + 1e-12 * end;  // microseconds: sums of rounded numbers
      while (!open.empty() && open.back() <= begin + slack) open.pop_back();
      if (!open.empty()) {
        EXPECT_LE(end, open.back() + slack) << "process " << track.first << " track " << track.second;
      }
      open.push_back(end);
    }
  }
  return trace;
}

size_t count(const json& trace, const std::string& name, int process) {
  size_t n = 0;
  for (const json& event : trace.at("traceEvents"))
    n += event.at("ph") != "M" && event.at("name") == name && event.at("pid") == process;
  return n;
}

TEST(Trace, AnyNameIsWrittenAsJson) {
  std::ostringstream out;
  {
    TraceWriter writer(out);
    writer.name_process(1, "a \"quoted\" \\ name\n\x01\xff");
    writer.slice({1, 2}, "</script>", 0.5, 0.75,
                 {{"x", 1.5}, {"nothing", std::numeric_limits<double>::infinity()}});
    writer.instant({1, 2}, "now", 0.6);
    writer.counter(1, "goodput %", 0.6, 97.25);
    EXPECT_EQ(writer.events(), 4u);
  }
  const json trace = checked(out.str());
  const json& slice = trace.at("traceEvents").at(1);
  EXPECT_EQ(slice.at("ts"), 500000);
  EXPECT_EQ(slice.at("dur"), 250000);
  EXPECT_EQ(slice.at("args").at("x"), 1.5);
  EXPECT_TRUE(slice.at("args").at("nothing").is_null());
  EXPECT_EQ(trace.at("traceEvents").at(3).at("args").at("goodput %"), 97.25);
}

TEST(Trace, NothingIsADocumentToo) {
  std::ostringstream out;
  { TraceWriter writer(out); }
  EXPECT_TRUE(checked(out.str()).at("traceEvents").empty());
}

StepShape shape_of(uint32_t stages, uint32_t micro_batches, uint32_t chunks) {
  StepShape shape;
  shape.pipeline.stages.assign(stages, {.forward = 0.1, .backward = 0.2, .send = 0.004, .weight = 0.08});
  shape.pipeline.micro_batches = micro_batches;
  shape.pipeline.chunks = chunks;
  shape.replicas = 4;
  shape.chips_per_replica_stage = 8;
  shape.data_comm_s = 0.1;
  shape.data_comm_total_s = 0.4;
  shape.tail_s = 0.05;
  shape.analytic_s = 0.3 * (micro_batches + stages);
  shape.tensor_share = 0.2;
  shape.expert_share = 0.1;
  return shape;
}

TEST(Trace, AStepHasEveryPassOfEveryStage) {
  for (const Schedule schedule : {Schedule::kOneForwardOneBackward, Schedule::kZeroBubble}) {
    StepShape shape = shape_of(4, 8, 2);
    shape.pipeline.schedule = schedule;
    std::ostringstream out;
    {
      TraceWriter writer(out);
      trace_step(writer, shape);
    }
    const json trace = checked(out.str());
    EXPECT_EQ(count(trace, "forward", 1), 4u * 8 * 2);
    EXPECT_EQ(count(trace, "backward", 1), 4u * 8 * 2);
    EXPECT_EQ(count(trace, "weight gradient", 1), schedule == Schedule::kZeroBubble ? 4u * 8 * 2 : 0);
    EXPECT_EQ(count(trace, "send activations", 1), 7u * 8);
    EXPECT_EQ(count(trace, "send gradients", 1), 7u * 8);
    EXPECT_EQ(count(trace, "tensor collectives (all layers)", 1), 2u * 4 * 8 * 2);
    EXPECT_EQ(count(trace, "gradients and weights between replicas", 1), 4u);
  }
}

TEST(Trace, ALongStepIsBounded) {
  StepShape shape = shape_of(16, 4096, 1);
  std::ostringstream out;
  uint64_t events = 0;
  {
    TraceWriter writer(out);
    trace_step(writer, shape);
    events = writer.events();
  }
  EXPECT_LT(events, kMaxTraceSlices + 1000);
  EXPECT_GT(events, kMaxTraceSlices / 4);
  EXPECT_THAT(out.str().substr(0, 300), testing::HasSubstr("first and last"));
}

RunInput input_of(double days, double failures_per_day, uint64_t steps_between) {
  RunInput input;
  input.shape = shape_of(4, 16, 1);
  input.spec.days = days;
  input.spec.spare_nodes = 4;
  input.spec.straggler_share = 0.02;
  FailureKind kind;
  kind.id = "gpu";
  kind.name = "faulty GPU";
  kind.per_chip_hour = failures_per_day / 24 / static_cast<double>(input.shape.chips());
  kind.needs_spare = true;
  kind.repair_hours = 6;
  input.failures = {kind};
  input.steps_between_checkpoints = steps_between;
  input.checkpoint = {.blocks_s = 2, .write_s = 60, .read_s = 10, .network_share = 0.05};
  return input;
}

TEST(Trace, ARunHasItsPhasesAndFailures) {
  const RunInput input = input_of(3, 5, 200);
  std::ostringstream out;
  RunOutcome outcome;
  {
    TraceWriter writer(out);
    RunTrace trace(writer, input);
    outcome = simulate_run(input, 3, {}, {}, &trace);
  }
  const json trace = checked(out.str());
  EXPECT_GT(outcome.interruptions, 3u);
  EXPECT_EQ(count(trace, "faulty GPU", 2), outcome.interruptions);
  size_t written = 0;
  for (const json& event : trace.at("traceEvents"))
    written += event.at("ph") == "X" && event.at("name") == "checkpoint" && event.at("tid") == 2;
  EXPECT_EQ(written, outcome.checkpoints);
  EXPECT_GT(count(trace, "restart", 2), 0u);
  EXPECT_GT(count(trace, "detection", 2), 0u);
  EXPECT_GT(count(trace, "straggler", 2), 0u);
  EXPECT_GT(count(trace, "goodput %", 2), 10u);
  // The phases are the whole run, without gaps.
  double covered = 0;
  for (const json& event : trace.at("traceEvents"))
    if (event.at("ph") == "X" && event.at("pid") == 2 && event.at("tid") == 1)
      covered += event.at("dur").get<double>();
  EXPECT_NEAR(covered * 1e-6, outcome.wall_s, 1);
}

TEST(Trace, ALongRunIsBounded) {
  const RunInput input = input_of(400, 40, 1);
  std::ostringstream out;
  uint64_t events = 0;
  {
    TraceWriter writer(out);
    RunTrace trace(writer, input);
    const RunOutcome outcome = simulate_run(input, 3, {}, {}, &trace);
    EXPECT_GT(outcome.events, 200'000u);
    events = writer.events();
  }
  EXPECT_LT(events, 16 * kMaxTracePhases);
  EXPECT_GT(events, kMaxTracePhases);
}

}  // namespace
}  // namespace fathom::cluster
