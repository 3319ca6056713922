// The plan against what has happened so far.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/schedule.h"
#include "cluster/schedule_network.h"
#include "cluster/schedule_study.h"

namespace fathom::cluster {
namespace {

using std::chrono::sys_days;

[[noreturn]] void refuse(const Actual& actual, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}{}task '{}' {}", actual.place,
                                                       actual.place.empty() ? "" : ": ", actual.task, what));
}

double offset(sys_days start, sys_days day) { return static_cast<double>((day - start).count()); }

void check(const Actual& actual, sys_days today) {
  if (actual.started && actual.finished && *actual.finished < *actual.started)
    refuse(actual, fmt::format("is finished on {}, before it started on {}", format_date(*actual.finished),
                               format_date(*actual.started)));
  for (const auto& day : {actual.started, actual.finished})
    if (day && *day > today)
      refuse(actual, fmt::format("has a date in the future, {}, as of {}; write what has happened, or give a "
                                 "later --today",
                                 format_date(*day), format_date(today)));
  if (!(actual.progress >= 0 && actual.progress <= 1)) refuse(actual, "must have a progress from 0 to 1");
  if (!actual.started && !actual.finished)
    refuse(actual, "has neither 'started' nor 'finished'; leave out what has not begun");
}

double mean_days(const Task& task) {
  const auto mean = [](const Range& r) { return (r.low + 4 * r.likely + r.high) / 6; };
  const double lead = task.lead_days ? mean(*task.lead_days) : 0;
  return lead + (task.days ? mean(*task.days) : task.units / mean(*task.units_per_week) * 7);
}

/// A task of which all is done but which has not been called finished ends tomorrow at the soonest.
constexpr double kNearlyAll = 0.999;

TaskState state_of(const ScheduleSpec& spec, const Task& task, const Actual& actual) {
  TaskState out;
  if (actual.finished) {
    out.kind = TaskState::kDone;
    out.finish = offset(spec.start, *actual.finished);
    out.start = actual.started ? offset(spec.start, *actual.started) : out.finish - mean_days(task);
    out.progress = 1;
  } else {
    out.kind = TaskState::kRunning;
    out.start = offset(spec.start, *actual.started);
    out.progress = std::min(actual.progress, kNearlyAll);
  }
  return out;
}

std::vector<TaskState> states_of(const ScheduleSpec& spec, const std::vector<Actual>& actuals,
                                 sys_days today) {
  std::unordered_map<std::string, size_t> index;
  for (size_t i = 0; i < spec.tasks.size(); ++i) index[spec.tasks[i].id] = i;
  std::vector<TaskState> states(spec.tasks.size());
  for (const Actual& actual : actuals) {
    const auto found = index.find(actual.task);
    if (found == index.end()) refuse(actual, "is not in the scenario; write its id as it stands there");
    check(actual, today);
    states[found->second] = state_of(spec, spec.tasks[found->second], actual);
  }
  return states;
}

std::string_view to_string(TaskState::Kind kind) {
  if (kind == TaskState::kDone) return "done";
  return kind == TaskState::kRunning ? "running" : "waiting";
}

std::vector<TrackResult::Row> compare(const ScheduleSpec& spec, const std::vector<TaskState>& states,
                                      const TrackResult& result) {
  std::unordered_map<std::string, const TaskOutlook*> planned, forecast;
  for (const TaskOutlook& task : result.before.tasks) planned[task.id] = &task;
  for (const TaskOutlook& task : result.now.tasks) forecast[task.id] = &task;
  std::vector<TrackResult::Row> rows;
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const Task& task = spec.tasks[i];
    const TaskOutlook &then = *planned.at(task.id), &now = *forecast.at(task.id);
    TrackResult::Row row;
    row.id = task.id;
    row.name = task.name;
    row.state = to_string(states[i].kind);
    row.progress = states[i].progress;
    row.planned_finish = then.finish_p50;
    row.forecast_finish = now.finish_p50;
    row.forecast_p10 = now.finish_p10;
    row.forecast_p90 = now.finish_p90;
    row.days_late = offset(then.finish_p50, now.finish_p50);
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Of the tasks that have begun, the one whose lateness weighs most on the end.
const TrackResult::Row* worst(const TrackResult& result) {
  const TrackResult::Row* out = nullptr;
  double weight = 0.5;
  for (const auto& row : result.rows) {
    if (row.state == "waiting" || row.days_late <= weight) continue;
    weight = row.days_late;
    out = &row;
  }
  return out;
}

std::string days_between(double days) {
  if (days == 0) return "as planned";
  const double size = days < 0 ? -days : days;
  return fmt::format("{:.0f} day{} {}", size, size == 1 ? "" : "s", days > 0 ? "later" : "sooner");
}

std::string summarise(const ScheduleSpec& spec, sys_days today, const TrackResult& result) {
  const auto count = [&](std::string_view state) {
    return std::count_if(result.rows.begin(), result.rows.end(),
                         [&](const TrackResult::Row& row) { return row.state == state; });
  };
  std::string out = fmt::format(
      "On {} {} of {} tasks are done and {} run: operational by {} with a chance of {:.0f} % (plan: {:.0f} "
      "%), in the "
      "middle of the range on {} ({}), on {} with a chance of 90 %",
      format_date(today), count("done"), result.rows.size(), count("running"), format_date(spec.target),
      100 * result.now.probability, 100 * result.before.probability, format_date(result.now.p50),
      days_between(offset(result.before.p50, result.now.p50)), format_date(result.now.p90));
  if (const auto* row = worst(result))
    out += fmt::format("; what has slipped most is '{}' ({:.0f} days)", row->name, row->days_late);
  return out + ".";
}

}  // namespace

TrackResult track(const ScheduleSpec& spec, const std::vector<Actual>& actuals, sys_days today,
                  ThreadPool& pool) {
  spec.check();
  if (today < spec.start)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} lies before the project's start {}; there is nothing to track yet",
                            format_date(today), format_date(spec.start)));
  const std::vector<TaskState> states = states_of(spec, actuals, today);
  TrackResult result;
  result.before = plan_schedule(spec, pool);
  result.now = study_schedule(spec, TaskNetwork(spec, states, offset(spec.start, today)), pool);
  result.rows = compare(spec, states, result);
  result.summary = summarise(spec, today, result);
  return result;
}

}  // namespace fathom::cluster
