#include "cluster/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/schedule_pert.h"

namespace fathom::cluster {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr sys_days kStart = std::chrono::year(2024) / 5 / 1;

Task task(const std::string& id, Range range, std::vector<std::string> after = {}) {
  Task out;
  out.id = out.name = id;
  out.after = std::move(after);
  out.days = range;
  return out;
}

Task certain(const std::string& id, double length, std::vector<std::string> after = {}) {
  return task(id, {length, length, length}, std::move(after));
}

ScheduleSpec spec_of(std::vector<Task> tasks, double target) {
  ScheduleSpec spec;
  spec.start = kStart;
  spec.target = kStart + days(static_cast<int>(target));
  spec.tasks = std::move(tasks);
  return spec;
}

double since_start(sys_days day) { return static_cast<double>((day - kStart).count()); }

const TaskOutlook& find(const ScheduleResult& result, const std::string& id) {
  for (const TaskOutlook& outlook : result.tasks)
    if (outlook.id == id) return outlook;
  ADD_FAILURE() << id;
  return result.tasks.front();
}

ScheduleResult plan(const ScheduleSpec& spec, size_t threads = 2) {
  ThreadPool pool(threads);
  return plan_schedule(spec, pool);
}

/// What the error of reading the text says.
std::string refusal(const std::string& text) {
  try {
    ScheduleSpec::read(TomlTable::parse(text, "plan.toml"));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

/// Figures from record_schedule.py are of 8 million draws; ours of a few thousand are held to four standard errors.
void expect_chance(double found, double expected, uint32_t samples) {
  EXPECT_NEAR(found, expected, 4 * std::sqrt(expected * (1 - expected) / samples) + 2e-4);
}

TEST(PertTable, IsTheBetaDistribution) {
  for (const double mode : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    const PertTable table(mode);
    double sum = 0, squares = 0;
    constexpr int kDraws = 200'000;
    for (int i = 0; i < kDraws; ++i) {
      const double x = table.quantile((i + 0.5) / kDraws);
      sum += x;
      squares += x * x;
    }
    const double mean = (1 + 4 * mode) / 6;
    EXPECT_NEAR(sum / kDraws, mean, 1e-4) << mode;
    EXPECT_NEAR(squares / kDraws - std::pow(sum / kDraws, 2), mean * (1 - mean) / 7, 1e-4) << mode;
    EXPECT_EQ(table.quantile(0), 0);
    EXPECT_EQ(table.quantile(1), 1);
    for (const double u : {0.01, 0.2, 0.5, 0.8, 0.99})
      EXPECT_NEAR(table.cumulative(table.quantile(u)), u, 1e-4) << mode;
  }
  // Beta(1, 5): 1 - (1 - x)^5.
  EXPECT_NEAR(PertTable(0).quantile(0.5), 1 - std::pow(0.5, 0.2), 1e-5);
}

TEST(Schedule, OneTaskIsItsDistribution) {
  ScheduleSpec spec = spec_of({task("one", {10, 20, 60})}, 25);
  spec.samples = 20'000;
  const ScheduleResult result = plan(spec);
  expect_chance(result.probability, 0.54794, spec.samples);
  EXPECT_NEAR(result.standard_error, std::sqrt(0.548 * 0.452 / 20'000), 1e-4);
  EXPECT_NEAR(since_start(result.p10), 15, 1);  // 14.50, and a task is ready on the next whole day
  EXPECT_NEAR(since_start(result.p50), 24, 1);
  EXPECT_NEAR(since_start(result.p80), 33, 1);
  EXPECT_NEAR(since_start(result.p90), 38, 1);
  EXPECT_THAT(result.critical_path, ElementsAre("one"));
  EXPECT_EQ(result.tasks.at(0).criticality, 1);
  EXPECT_NEAR(result.tasks.at(0).days_per_day, 1, 1e-9);
  ASSERT_FALSE(result.distribution.empty());
  EXPECT_EQ(result.distribution.back().second, 1);
  for (size_t i = 1; i < result.distribution.size(); ++i)
    EXPECT_GE(result.distribution[i].second, result.distribution[i - 1].second);
}

TEST(Schedule, ParallelTasksMultiplyTheirChances) {
  ScheduleSpec spec = spec_of({task("a", {10, 20, 60}), task("b", {15, 25, 40})}, 30);
  spec.samples = 20'000;
  const ScheduleResult result = plan(spec);
  expect_chance(result.probability, 0.57951, spec.samples);
  const double a = find(result, "a").criticality, b = find(result, "b").criticality;
  expect_chance(a, 0.43560, spec.samples);
  EXPECT_NEAR(a + b, 1, 1e-12);
  EXPECT_NEAR(find(result, "a").days_per_day + find(result, "b").days_per_day, 1.02, 0.03);
}

TEST(Schedule, AChainAddsUp) {
  const std::vector<Task> tasks = {certain("a", 7), certain("b", 11, {"a"}), certain("c", 13.5, {"b"})};
  const ScheduleResult result = plan(spec_of(tasks, 40));
  EXPECT_EQ(result.probability, 1);
  EXPECT_EQ(result.standard_error, 0);
  EXPECT_EQ(since_start(result.p50), 32);  // 31.5
  EXPECT_EQ(since_start(find(result, "b").start_p50), 7);
  EXPECT_EQ(since_start(find(result, "b").finish_p90), 18);
  EXPECT_THAT(result.critical_path, ElementsAre("a", "b", "c"));
  EXPECT_EQ(plan(spec_of(tasks, 32)).probability, 1);
  EXPECT_EQ(plan(spec_of(tasks, 31)).probability, 0);
}

TEST(Schedule, AnIndependentComputationAgrees) {
  // The project of record_schedule.py.
  ScheduleSpec spec = ScheduleSpec::read(TomlTable::parse(R"(
[schedule]
start = 2024-05-01
target = 2025-03-07
samples = 20000
[[risk]]
id = "supplier"
chance = 0.3
delay_days = [14, 28, 90]
[[task]]
id = "permit"
days = [60, 90, 200]
[[task]]
id = "grid"
after = ["permit"]
days = [100, 150, 300]
energises = "grid"
power_mw = 150
[[task]]
id = "delivery"
units = 1000
units_per_week = [40, 60, 80]
lead_days = [60, 90, 150]
risks = ["supplier"]
[[task]]
id = "optics"
days = [120, 150, 200]
risks = ["supplier"]
[[task]]
id = "install"
after = ["permit"]
follows = ["delivery"]
units = 1000
units_per_week = [50, 70, 100]
lead_days = [3]
energises = "racks"
[[task]]
id = "cabling"
after = ["install", "optics"]
days = [10, 14, 30]
[[task]]
id = "burn-in"
after = ["cabling", "grid"]
not_before = 2025-01-16
days = [10, 15, 40]
)",
                                                          "plan.toml"));
  ASSERT_EQ(since_start(spec.target), 310);
  ASSERT_EQ(since_start(*spec.tasks.back().not_before), 260);
  const ScheduleResult result = plan(spec);
  expect_chance(result.probability, 0.65124, spec.samples);
  EXPECT_NEAR(since_start(result.p10), 275, 1.5);
  EXPECT_NEAR(since_start(result.p50), 296, 1.5);
  EXPECT_NEAR(since_start(result.p80), 329, 1.5);
  EXPECT_NEAR(since_start(result.p90), 349, 1.5);
  EXPECT_NEAR(find(result, "grid").days_per_day, 0.5100, 0.04);
  EXPECT_NEAR(find(result, "grid").criticality, 0.5056, 0.015);
  EXPECT_EQ(find(result, "burn-in").criticality, 1);
}

TEST(Schedule, AFollowerTakesPiecesAsTheyCome) {
  Task deliver, install;
  deliver.id = "deliver";
  deliver.units = 100;
  deliver.units_per_week = Range{10, 10, 10};
  deliver.lead_days = Range{20, 20, 20};
  install.id = "install";
  install.follows = {"deliver"};
  install.units = 100;
  install.units_per_week = Range{50, 50, 50};
  install.lead_days = Range{2, 2, 2};
  install.energises = "racks";
  const ScheduleResult result = plan(spec_of({deliver, install}, 92));
  EXPECT_EQ(since_start(find(result, "install").start_p50), 20);
  EXPECT_EQ(since_start(find(result, "install").finish_p50), 92);  // 20 + 70, and two days for the last piece
  EXPECT_EQ(result.probability, 1);
  EXPECT_THAT(result.critical_path, ElementsAre("deliver", "install"));
  // From the first piece (day 22) to the last (day 92).
  ASSERT_GE(result.ramp.size(), 14u);
  EXPECT_EQ(result.ramp[3].energised_p50, 0);
  EXPECT_NEAR(result.ramp[8].energised_p50, (56 - 22) / 70.0, 1e-6);
  EXPECT_EQ(result.ramp[14].energised_p10, 1);
  // Slow hands hold the end themselves.
  install.units_per_week = Range{5, 5, 5};
  EXPECT_EQ(since_start(plan(spec_of({deliver, install}, 92)).p50), 20 + 2 + 140);
}

TEST(Schedule, ACrewTooSmallMakesTasksWait) {
  std::vector<Task> tasks = {certain("a", 10), certain("b", 20), certain("c", 5)};
  for (Task& t : tasks) {
    t.crew = "fitters";
    t.crew_size = 6;
  }
  ScheduleSpec spec = spec_of(tasks, 35);
  spec.crews = {{"fitters", "Fitters", 11, ""}};
  const ScheduleResult alone = plan(spec);
  EXPECT_EQ(since_start(alone.p50), 35);
  for (const TaskOutlook& outlook : alone.tasks) EXPECT_EQ(outlook.criticality, 1) << outlook.id;
  EXPECT_EQ(find(alone, "b").start_p50, kStart);  // the longest has the earliest latest start
  spec.crews[0].people = 12;
  EXPECT_EQ(since_start(plan(spec).p50), 20);
}

TEST(Schedule, ASmallTaskFillsTheGapOfItsCrew) {
  // 'late' waits for 'gate' until day 10 and takes the whole crew; 'small' fits before it although it is less urgent.
  Task gate = certain("gate", 10), late = certain("late", 30, {"gate"}), small = certain("small", 8);
  for (Task* t : {&late, &small}) {
    t->crew = "crew";
    t->crew_size = 4;
  }
  ScheduleSpec spec = spec_of({gate, late, small}, 40);
  spec.crews = {{"crew", "", 4, ""}};
  ScheduleResult result = plan(spec);
  EXPECT_EQ(find(result, "small").start_p50, kStart);
  EXPECT_EQ(since_start(result.p50), 40);
  spec.tasks[2].days = Range{11, 11, 11};  // no longer fits
  result = plan(spec);
  EXPECT_EQ(since_start(find(result, "small").start_p50), 40);
  EXPECT_EQ(since_start(result.p50), 51);
  EXPECT_THAT(result.critical_path, ElementsAre("gate", "late", "small"));
}

TEST(Schedule, ARiskMovesAllItsTasksTogether) {
  Task a = certain("a", 10), b = certain("b", 10);
  a.risks = b.risks = {"strike"};
  ScheduleSpec spec = spec_of({a, b}, 15);
  spec.risks = {{"strike", "", 0.25, {30, 30, 30}, {1, 1, 1}, ""}};
  expect_chance(plan(spec).probability, 0.75, spec.samples);  // 0.5625 were they independent
  spec.risks[0].delay_days = {};
  spec.risks[0].times = {2, 2, 2};
  EXPECT_EQ(since_start(plan(spec).p90), 20);
  spec.risks[0].chance = 1;
  EXPECT_EQ(since_start(plan(spec).p10), 20);
}

TEST(Schedule, TheEndIsThatOfTheTaskThatMakesReady) {
  ScheduleSpec spec = spec_of({certain("machine", 30), certain("second hall", 90)}, 30);
  EXPECT_EQ(plan(spec).probability, 0);
  spec.ready = "machine";
  const ScheduleResult result = plan(spec);
  EXPECT_EQ(result.probability, 1);
  EXPECT_EQ(find(result, "second hall").criticality, 0);
  EXPECT_EQ(find(result, "second hall").days_per_day, 0);
}

TEST(Schedule, BuysWhatBringsMost) {
  Task slow = task("slow", {20, 40, 80}), quick = task("quick", {5, 10, 15}), last = certain("last", 10);
  last.after = {"slow", "quick"};
  for (Task* t : {&slow, &quick, &last}) t->usd_per_week_sooner = 1e6;
  slow.weeks_sooner_max = 4;
  quick.weeks_sooner_max = 1;
  last.weeks_sooner_max = 1;
  last.usd_per_week_sooner = 5e6;
  const ScheduleSpec spec = spec_of({slow, quick, last}, 45);
  const ScheduleResult result = plan(spec);
  ASSERT_EQ(result.purchases.size(), 3u);
  EXPECT_EQ(result.purchases[0].task, "slow");
  EXPECT_GT(result.purchases[0].probability_gain, 0.3);
  EXPECT_LE(result.purchases[0].weeks, 4);
  EXPECT_EQ(result.purchases[0].usd, result.purchases[0].weeks * 1e6);
  EXPECT_EQ(result.purchases.back().task, "quick");  // is never on the longest path
  EXPECT_EQ(result.purchases.back().probability_gain, 0);
  ASSERT_FALSE(result.bundle.empty());
  EXPECT_EQ(result.bundle[0].task, "slow");
  for (const Purchase& purchase : result.bundle) EXPECT_NE(purchase.task, "quick");
  EXPECT_GT(result.bundle_probability, result.probability + 0.3);
  // The gain is that of the plan with the purchase made: each draw is so many days shorter.
  const PertTable table(20.0 / 60);
  const double days_less = result.purchases[0].weeks * 7;
  expect_chance(result.probability + result.purchases[0].probability_gain,
                table.cumulative((35 + days_less - 20) / 60), spec.samples);
}

TEST(Schedule, PowerComesWhenItsTasksEnd) {
  Task grid = certain("grid", 30), turbines = certain("turbines", 14);
  grid.energises = "grid";
  grid.power_mw = 150;
  turbines.energises = "generators";
  turbines.power_mw = 35;
  const ScheduleResult result = plan(spec_of({grid, turbines}, 60));
  ASSERT_EQ(result.ramp.size(), 6u);
  EXPECT_EQ(result.ramp[1].power_mw_p50, 0);
  EXPECT_EQ(result.ramp[2].power_mw_p50, 35);
  EXPECT_EQ(result.ramp[2].generator_mw_p50, 35);
  EXPECT_EQ(result.ramp[5].power_mw_p50, 185);
  EXPECT_EQ(result.ramp[5].generator_mw_p50, 35);
  EXPECT_EQ(result.ramp[5].energised_p50, 1);  // no task energises racks: all are there at the end
  EXPECT_EQ(result.ramp[4].energised_p50, 0);
}

TEST(Schedule, TurbinesBringPowerOneByOne) {
  Task turbines;
  turbines.id = "turbines";
  turbines.units = 10;
  turbines.units_per_week = Range{2.5, 2.5, 2.5};
  turbines.lead_days = Range{7, 7, 7};
  turbines.energises = "generators";
  turbines.power_mw = 25;
  const ScheduleResult result = plan(spec_of({turbines}, 60));
  ASSERT_EQ(result.ramp.size(), 6u);
  EXPECT_EQ(result.ramp[1].generator_mw_p50, 0);
  EXPECT_EQ(result.ramp[2].generator_mw_p50, 5);  // two and a half have come
  EXPECT_EQ(result.ramp[3].generator_mw_p50, 12.5);
  EXPECT_EQ(result.ramp[5].generator_mw_p50, 25);
}

TEST(Schedule, IsTheSameForAnyNumberOfThreads) {
  std::vector<Task> tasks;
  for (int i = 0; i < 12; ++i) {
    Task t = task("t" + std::to_string(i), {5, 10.0 + i, 40});
    if (i >= 2) t.after = {"t" + std::to_string(i / 2)};
    t.crew = "crew";
    t.crew_size = 1 + i % 3;
    t.usd_per_week_sooner = 1e5 * (i + 1);
    t.weeks_sooner_max = 1;
    tasks.push_back(t);
  }
  ScheduleSpec spec = spec_of(tasks, 100);
  spec.crews = {{"crew", "", 4, ""}};
  spec.samples = 3'000;
  const ScheduleResult one = plan(spec, 1), four = plan(spec, 4);
  EXPECT_EQ(one.probability, four.probability);
  EXPECT_EQ(one.distribution, four.distribution);
  EXPECT_EQ(one.critical_path, four.critical_path);
  EXPECT_EQ(one.bundle_probability, four.bundle_probability);
  for (size_t i = 0; i < tasks.size(); ++i) {
    EXPECT_EQ(one.tasks[i].id, four.tasks[i].id);
    EXPECT_EQ(one.tasks[i].days_per_day, four.tasks[i].days_per_day);
    EXPECT_EQ(one.tasks[i].criticality, four.tasks[i].criticality);
    EXPECT_EQ(one.purchases[i].probability_gain, four.purchases[i].probability_gain);
  }
  spec.seed = 2;
  EXPECT_NE(plan(spec, 1).distribution, one.distribution);
}

constexpr std::string_view kHead = "[schedule]\nstart = 2024-05-01\ntarget = 2025-09-30\n";

TEST(ScheduleSpec, SaysWhatIsWrongAndWhere) {
  const std::string head(kHead);
  EXPECT_THAT(
      refusal("[schedule]\nstart = 2024-05-01\ntarget = 2024-04-30\n[[task]]\nid = \"a\"\ndays = [1]\n"),
      testing::AllOf(HasSubstr("plan.toml:3"), HasSubstr("2024-04-30 lies before the start"),
                     HasSubstr("a date in the past")));
  EXPECT_THAT(refusal(head), HasSubstr("no [[task]]"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\n"), HasSubstr("plan.toml:4: task 'a' has no duration"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [5, 3, 9]\n"),
              testing::AllOf(HasSubstr("plan.toml:6"), HasSubstr("out of order")));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [-1, 3, 9]\n"), HasSubstr("plan.toml:6"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\nafter = [\"b\"]\n"),
              testing::AllOf(HasSubstr("plan.toml:4"), HasSubstr("names the task 'b', which is not there")));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\n[[task]]\nid = \"a\"\ndays = [1]\n"),
              testing::AllOf(HasSubstr("plan.toml:7"), HasSubstr("two tasks with the id 'a'")));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\ncrew = \"x\"\n"),
              HasSubstr("names the crew 'x'"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\nrisks = [\"x\"]\n"),
              HasSubstr("names the risk 'x'"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\ncrew = \"x\"\ncrew_size = 9\n[[crew]]\nid = "
                             "\"x\"\npeople = 5\n"),
              HasSubstr("takes 9 people of the crew 'x', which has 5"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\nunits = 5\nunits_per_week = [1]\n"),
              HasSubstr("both 'days' and 'units'"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\nunits = 1000000\nunits_per_week = [0.01]\n"),
              HasSubstr("raise 'units_per_week'"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\npower_mw = -3\n"), HasSubstr("plan.toml:7"));
  EXPECT_THAT(refusal(head + "[[task]]\nid = \"a\"\ndays = [1]\ndayz = 2\n"),
              HasSubstr("unknown key 'dayz'"));
  EXPECT_THAT(refusal(head + "ready = \"b\"\n[[task]]\nid = \"a\"\ndays = [1]\n"),
              HasSubstr("'ready' names the task"));
}

TEST(ScheduleSpec, NamesACycleTaskByTask) {
  const std::string text = std::string(kHead) +
                           "[[task]]\nid = \"a\"\ndays = [1]\nafter = [\"c\"]\n"
                           "[[task]]\nid = \"b\"\ndays = [1]\nfollows = [\"a\"]\n"
                           "[[task]]\nid = \"c\"\ndays = [1]\nafter = [\"b\"]\n"
                           "[[task]]\nid = \"d\"\ndays = [1]\nafter = [\"a\"]\n";
  EXPECT_THAT(refusal(text), HasSubstr("'a' waits for 'c' waits for 'b' waits for 'a'"));
  EXPECT_THAT(refusal(text), HasSubstr("plan.toml:4"));
  EXPECT_THAT(refusal(std::string(kHead) + "[[task]]\nid = \"a\"\ndays = [1]\nafter = [\"a\"]\n"),
              HasSubstr("'a' waits for 'a'"));
}

TEST(ScheduleSpec, ALongChainIsNoTrouble) {
  std::vector<Task> tasks;
  for (size_t i = 0; i < kMaxScheduleTasks; ++i) {
    tasks.push_back(certain("t" + std::to_string(i), 0.25));
    if (i > 0) tasks.back().after = {"t" + std::to_string(i - 1)};
  }
  ScheduleSpec spec = spec_of(tasks, 500);
  spec.samples = 4;
  EXPECT_EQ(plan(spec).probability, 1);
  EXPECT_EQ(plan(spec).critical_path.size(), kMaxScheduleTasks);
  spec.samples = 20'000;
  EXPECT_THROW(plan(spec), Error);  // more than can be drawn
}

std::vector<Actual> actuals(const std::string& text) {
  return read_actuals(TomlTable::parse(text, "week.toml"));
}

TrackResult follow(const ScheduleSpec& spec, const std::string& text, int today) {
  ThreadPool pool(2);
  return track(spec, actuals(text), kStart + days(today), pool);
}

TEST(Track, TakesWhatHasHappened) {
  ScheduleSpec spec = spec_of({task("a", {10, 20, 60}), task("b", {20, 30, 50}, {"a"})}, 55);
  const TrackResult result =
      follow(spec, "[[actual]]\ntask = \"a\"\nstarted = 2024-05-02\nfinished = 2024-05-31\n", 35);
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(result.rows[0].state, "done");
  EXPECT_EQ(since_start(result.rows[0].forecast_finish), 30);
  EXPECT_EQ(result.rows[0].days_late, 30 - since_start(result.rows[0].planned_finish));
  EXPECT_EQ(result.rows[1].state, "waiting");
  EXPECT_EQ(since_start(find(result.now, "b").start_p50), 35);  // not before today
  const ScheduleResult alone = plan(spec_of({task("b", {20, 30, 50})}, 9));
  EXPECT_NEAR(since_start(result.now.p50), 35 + since_start(alone.p50), 1);
  EXPECT_NEAR(since_start(result.now.p90), 35 + since_start(alone.p90), 1);
  EXPECT_LT(result.now.probability, result.before.probability);
  EXPECT_THAT(result.summary, HasSubstr("On 2024-06-05 1 of 2 tasks are done and 0 run"));
  EXPECT_THAT(result.summary, HasSubstr("what has slipped most is 'a'"));
}

TEST(Track, ARunningTaskKeepsItsPace) {
  // 40 certain days; after 20 days, half of the work says as planned, a quarter says late, all but none early.
  ScheduleSpec spec = spec_of({certain("a", 40)}, 45);
  const auto end = [&](const std::string& progress) {
    return since_start(
        follow(spec, "[[actual]]\ntask = \"a\"\nstarted = 2024-05-01\nprogress = " + progress + "\n", 20)
            .now.p50);
  };
  EXPECT_EQ(end("0.5"), 40);
  EXPECT_EQ(end("0.25"), 20 + std::ceil(0.75 * (0.75 * 40 + 20)));
  EXPECT_LT(end("0.9"), 30);
  // Without a word on progress the range says what is left: longer than what has passed.
  EXPECT_EQ(since_start(follow(spec, "[[actual]]\ntask = \"a\"\nstarted = 2024-05-01\n", 20).now.p50), 40);
  spec.tasks[0].days = Range{10, 20, 60};
  const ScheduleResult now = follow(spec, "[[actual]]\ntask = \"a\"\nstarted = 2024-05-01\n", 30).now;
  EXPECT_GT(now.p10, kStart + days(30));
  EXPECT_LE(now.p90, kStart + days(60));
  // P(T <= 45 | T > 30): of the beta distribution.
  const PertTable table(0.2);
  const double passed = table.cumulative(0.4);
  expect_chance(now.probability, (table.cumulative(0.7) - passed) / (1 - passed), spec.samples);
  // Beyond its range there is still something left.
  const ScheduleResult beyond = follow(spec, "[[actual]]\ntask = \"a\"\nstarted = 2024-05-01\n", 80).now;
  EXPECT_GT(beyond.p90, kStart + days(90));
  EXPECT_EQ(beyond.probability, 0);
}

TEST(Track, ARateIsSeenInItsPieces) {
  Task t;
  t.id = "racks";
  t.units = 100;
  t.units_per_week = Range{10, 20, 30};
  t.lead_days = Range{14, 14, 14};
  t.energises = "racks";
  const ScheduleSpec spec = spec_of({t}, 60);
  const TrackResult result =
      follow(spec, "[[actual]]\ntask = \"racks\"\nstarted = 2024-05-01\nprogress = 0.6\n", 35);
  EXPECT_NEAR(since_start(result.now.p50), 35 + 0.4 * (0.4 * 36 + 21), 2);
  ASSERT_GE(result.now.ramp.size(), 6u);
  EXPECT_NEAR(result.now.ramp[5].energised_p50, 0.6, 1e-6);  // day 35
  EXPECT_EQ(result.now.ramp[0].energised_p50, 0);
  // Waiting for the first piece longer than it was to take: the rate decides alone.
  const ScheduleResult lead = follow(spec, "[[actual]]\ntask = \"racks\"\nstarted = 2024-05-01\n", 7).now;
  EXPECT_NEAR(since_start(lead.p50), since_start(result.before.p50), 1);
  const ScheduleResult late = follow(spec, "[[actual]]\ntask = \"racks\"\nstarted = 2024-05-01\n", 50).now;
  EXPECT_GT(late.p10, kStart + days(50));
  EXPECT_LE(late.p90, kStart + days(14 + 70));
}

TEST(Track, ReportsAreCheckedAndMerged) {
  const ScheduleSpec spec = spec_of({certain("a", 10), certain("b", 10)}, 30);
  const auto why = [&](const std::string& text, int today) -> std::string {
    try {
      follow(spec, text, today);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(why("[[actual]]\ntask = \"z\"\nstarted = 2024-05-02\n", 9),
              testing::AllOf(HasSubstr("week.toml:1"), HasSubstr("'z' is not in the scenario")));
  EXPECT_THAT(why("[[actual]]\ntask = \"a\"\nstarted = 2024-05-09\nfinished = 2024-05-03\n", 9),
              HasSubstr("before it started"));
  EXPECT_THAT(why("[[actual]]\ntask = \"a\"\nfinished = 2024-06-03\n", 9), HasSubstr("date in the future"));
  EXPECT_THAT(why("[[actual]]\ntask = \"a\"\n", 9), HasSubstr("neither 'started' nor 'finished'"));
  EXPECT_THAT(why("[[actual]]\ntask = \"a\"\nfinished = 2024-05-03\nprogress = 0.5\n", 9),
              HasSubstr("below 1"));
  EXPECT_THAT(why("[[actual]]\ntask = \"a\"\nstarted = 2024-05-03\nprogress = 1.5\n", 9),
              HasSubstr("week.toml:4"));
  EXPECT_THAT(why("", -1), HasSubstr("before the project's start"));

  const Tracking one = Tracking::read(TomlTable::parse(
      "day = 2024-05-08\n[[actual]]\ntask = \"a\"\nstarted = 2024-05-01\nprogress = 0.5\n", "w1.toml"));
  const Tracking two =
      Tracking::read(TomlTable::parse("day = 2024-05-15\n[[actual]]\ntask = \"a\"\nfinished = "
                                      "2024-05-12\n[[actual]]\ntask = \"b\"\nstarted = "
                                      "2024-05-13\n",
                                      "w2.toml"));
  EXPECT_EQ(since_start(*one.day), 7);
  const std::vector<Actual> both = merge_actuals(one.actuals, two.actuals);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].started, kStart);  // is still known
  EXPECT_EQ(both[0].finished, kStart + days(11));
  EXPECT_EQ(both[0].progress, 1);
}

TEST(Track, ARunningTaskHoldsItsCrew) {
  Task a = certain("a", 20), b = certain("b", 10);
  a.crew = b.crew = "crew";
  a.crew_size = b.crew_size = 2;
  ScheduleSpec spec = spec_of({a, b}, 60);
  spec.crews = {{"crew", "", 3, ""}};
  const TrackResult result = follow(spec, "[[actual]]\ntask = \"b\"\nstarted = 2024-05-01\n", 5);
  EXPECT_EQ(since_start(find(result.now, "a").start_p50), 10);
  EXPECT_EQ(since_start(result.now.p50), 30);
}

}  // namespace
}  // namespace fathom::cluster
