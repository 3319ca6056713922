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
struct Task {
  std::string id, name;
  std::vector<std::string> after;       // ids that must be finished
  std::optional<Range> days;            // of work; or
  double units = 0;                     // so many pieces (racks, chips, turbines)
  std::optional<Range> units_per_week;  // at this rate; lead_days until the first
  std::optional<Range> lead_days;
  std::string crew;      // id of a [[crew]]; tasks of one crew wait for each other when it is too small
  double crew_size = 0;  // of its people that the task takes
  std::optional<std::chrono::sys_days> not_before;
  std::string
      energises;        // "racks": its progress is the ramp of the machine; "grid", "generators", ...: power
  double power_mw = 0;  // that a power task makes available when finished
  std::vector<std::string> risks;  // ids of [[risk]]
  double usd_per_week_sooner = 0;  // what crashing costs; 0: cannot be bought
  double weeks_sooner_max = 0;
  std::string place;  // "FILE:LINE", for errors
};
struct Crew {
  std::string id, name;
  double people = 0;
};
struct Risk {  // happens or not, once for all tasks that name it
  std::string id, name;
  double chance = 0;
  Range delay_days;
};
/// Something that was observed: for `fathom plan track`.
struct Actual {
  std::string task;
  std::optional<std::chrono::sys_days> started, finished;
  double progress = 0;  // 0..1, or units done over units
};

struct ScheduleSpec {
  std::chrono::sys_days start;   // of the project
  std::chrono::sys_days target;  // the date promised
  std::vector<Task> tasks;
  std::vector<Crew> crews;
  std::vector<Risk> risks;
  uint32_t samples = 10'000;
  uint64_t seed = 1;
  /// From the scenario's root: [schedule], [[task]], [[crew]], [[risk]]. Errors: kInvalidArgument with the line: an
  /// unknown id, a cycle (named), a range out of order, a target before the start.
  static ScheduleSpec read(const TomlTable& root);
};

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
  /// Share of the machine energised and power available, by week from the start, p10/p50/p90.
  struct Week {
    std::chrono::sys_days day;
    double energised_p10 = 0, energised_p50 = 0, energised_p90 = 0;
    double power_mw_p50 = 0;
  };
  std::vector<Week> ramp;
};
ScheduleResult plan_schedule(const ScheduleSpec& spec, ThreadPool& pool);

/// The plan against what has happened up to `today`: finished and running tasks are taken as they are, the rest is drawn
/// anew from what remains. Errors: kInvalidArgument (an unknown task, a finish before a start, a day after `today`).
struct TrackResult {
  ScheduleResult before, now;
  struct Row {
    std::string id, name, state;  // "done", "running", "waiting"
    std::chrono::sys_days planned_finish, forecast_finish;
    double days_late = 0;
  };
  std::vector<Row> rows;
  std::string summary;  // one sentence
};
std::vector<Actual> read_actuals(const TomlTable& root);  // [[actual]] of a tracking file
TrackResult track(const ScheduleSpec& spec, const std::vector<Actual>& actuals, std::chrono::sys_days today,
                  ThreadPool& pool);

}  // namespace fathom::cluster
