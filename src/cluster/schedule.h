// When the machine is ready: tasks, dependencies, deliveries, crews, and the chance of each date.
//
// Durations are honest ranges, not points: three values give a PERT beta distribution; common causes (a supplier, the
// weather, a permit office) move several tasks together. A Monte Carlo over the network of tasks gives the distribution of
// every date, how often each task is critical, and what a week less of it is worth. Deterministic for a seed; thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"

namespace fathom {
class TomlTable;
}

namespace fathom::cluster {

struct Range {
  double low = 0, likely = 0, high = 0;  // least, most likely, most
};

/// [[task]] of a scenario.
///
/// Its keys are the names below: id, name, after, follows, days | units with units_per_week, lead_days, crew, crew_size,
/// not_before, energises, power_mw, risks, usd_per_week_sooner, weeks_sooner_max. A range is written [least, likely, most],
/// or [value] where it is certain. Days are days of the calendar.
struct Task {
  std::string id, name;
  std::vector<std::string> after;  // ids that must be finished
  std::vector<std::string>
      follows;                // ids whose pieces it takes as they come: begins with their first piece, ends
                              // no earlier than lead_days after their last
  std::optional<Range> days;  // of work; or
  double units = 0;           // so many pieces (racks, chips, turbines)
  std::optional<Range> units_per_week;  // at this rate; lead_days until the first
  std::optional<Range> lead_days;  // before the first piece; for a task that follows: from piece to piece
  std::string crew;      // id of a [[crew]]; tasks of one crew wait for each other when it is too small
  double crew_size = 0;  // of its people that the task takes
  std::optional<std::chrono::sys_days> not_before;
  std::string
      energises;        // "racks": its progress is the ramp of the machine; "grid", "generators", ...: power
  double power_mw = 0;  // that a power task makes available when finished; one in units piece by piece
  std::vector<std::string> risks;  // ids of [[risk]]
  double usd_per_week_sooner = 0;  // what crashing costs; 0: cannot be bought
  double weeks_sooner_max = 0;
  std::string place;  // "FILE:LINE", for errors
};
/// [[crew]]: id, name, people.
struct Crew {
  std::string id, name;
  double people = 0;
  std::string place;
};
/// [[risk]]: id, name, chance, delay_days, times. Happens or not, once for all tasks that name it: a common cause. One draw
/// of the delay and of the factor holds for all of them.
struct Risk {
  std::string id, name;
  double chance = 0;
  Range delay_days;
  Range times{1, 1, 1};  // what the tasks' own durations are multiplied by
  std::string place;
};

struct ScheduleSpec {
  std::chrono::sys_days start{};   // of the project
  std::chrono::sys_days target{};  // the date promised
  std::string ready;               // id of the task whose end makes the machine operational; empty: all tasks
  std::vector<Task> tasks;
  std::vector<Crew> crews;
  std::vector<Risk> risks;
  uint32_t samples = 10'000;
  uint64_t seed = 1;
  std::string place;
  /// From the scenario's root: [schedule] (start, target, ready, samples, seed), [[task]], [[crew]], [[risk]]. Errors:
  /// kInvalidArgument with the line: see check().
  static ScheduleSpec read(const TomlTable& root);
  /// For a value made or changed by hand. Errors: kInvalidArgument: an unknown or repeated id, a cycle (named task by
  /// task), a range out of order, a crew too small for its task, a target before the start, more than can be drawn.
  void check() const;
};
/// Bounds of check(): samples times tasks is the work to do.
inline constexpr size_t kMaxScheduleTasks = 2'000;
inline constexpr uint32_t kMaxScheduleSamples = 1'000'000;
inline constexpr uint64_t kMaxScheduleDraws = 20'000'000;
inline constexpr double kMaxTaskDays = 36'500;

struct TaskOutlook {
  std::string id, name;
  std::chrono::sys_days start_p50, finish_p10, finish_p50, finish_p90;
  double criticality = 0;   // share of samples in which it lies on the longest path
  double days_per_day = 0;  // by how much the end moves for each day it is late
};
struct Purchase {  // what to buy to be sooner
  std::string task;
  double weeks = 0, usd = 0;
  double probability_gain = 0;  // of meeting the target
};
struct ScheduleResult {
  double probability = 0;     // of being operational on the target
  double standard_error = 0;  // of it
  std::chrono::sys_days p10, p50, p80, p90;
  std::vector<std::pair<std::chrono::sys_days, double>> distribution;  // day -> share finished by then
  std::vector<TaskOutlook> tasks;                                      // in order of their middle start
  std::vector<std::string> critical_path;                              // of the middle sample
  std::vector<Purchase> purchases;                                     // best value first
  /// The cheapest way up: each next one is the best value when those before it are bought too. `probability_gain` is of
  /// this step; ends where nothing adds half a percent.
  std::vector<Purchase> bundle;
  double bundle_probability = 0;  // with all of it
  /// Share of the machine energised and power available, by week from the start, p10/p50/p90.
  struct Week {
    std::chrono::sys_days day;
    double energised_p10 = 0, energised_p50 = 0, energised_p90 = 0;
    double power_mw_p50 = 0;      // of all tasks with power_mw
    double generator_mw_p50 = 0;  // of those among them that energise "generators"
  };
  std::vector<Week> ramp;
};
/// How: every sample draws all durations (inverse transform, so that the same numbers serve every question asked of it),
/// then places the tasks one by one, most urgent first (latest start of the mean plan), each at the first moment at which
/// what it waits for is done and its crew is free for as long as it lasts (serial schedule generation; Kolisch 1996). A
/// day's delay and a purchase are measured by placing the same samples again. A crew is held from start to finish.
/// Errors: as ScheduleSpec::check.
ScheduleResult plan_schedule(const ScheduleSpec& spec, ThreadPool& pool);

/// Something that was observed: [[actual]] of a tracking file: task, started, finished, progress.
struct Actual {
  std::string task;
  std::optional<std::chrono::sys_days> started, finished;
  double progress = 0;  // 0..1, or units done over units; 0: not said
  std::string place;
};
std::vector<Actual> read_actuals(const TomlTable& root);
/// A tracking file: day = 2024-09-01 (of the report; may be left out), about = "...", [[actual]].
struct Tracking {
  std::optional<std::chrono::sys_days> day;
  std::vector<Actual> actuals;
  static Tracking read(const TomlTable& root);
};
/// What is known after a later report: a task said anew replaces what was said of it before.
std::vector<Actual> merge_actuals(std::vector<Actual> known, const std::vector<Actual>& later);

struct TrackResult {
  ScheduleResult before, now;
  struct Row {
    std::string id, name, state;  // "done", "running", "waiting"
    double progress = 0;
    std::chrono::sys_days planned_finish, forecast_finish;
    std::chrono::sys_days forecast_p10, forecast_p90;
    double days_late = 0;
  };
  std::vector<Row> rows;  // in the order of the scenario
  std::string summary;    // one sentence
};
/// The plan against what has happened up to `today`: finished and running tasks are taken as they are, the rest is drawn
/// anew from what remains. A running task with progress p after e days: what is left is 1-p of a duration that lies
/// between a fresh draw and the pace so far, nearer to the pace the more is done. One without: a draw that is longer than
/// e; and where e is beyond its range, an unknown share of a fresh draw.
/// Errors: kInvalidArgument (an unknown task, a finish before a start, a day after `today`, a progress out of 0..1).
TrackResult track(const ScheduleSpec& spec, const std::vector<Actual>& actuals, std::chrono::sys_days today,
                  ThreadPool& pool);

}  // namespace fathom::cluster
