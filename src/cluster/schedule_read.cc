// The plan as it stands in a scenario, and what was reported of it; and whether it can be planned at all.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/schedule.h"

namespace fathom::cluster {
namespace {

constexpr size_t kNamesShown = 12;

[[noreturn]] void refuse(const std::string& place, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, place.empty() ? what : fmt::format("{}: {}", place, what));
}

/// [least, likely, most] or [value].
std::optional<Range> read_range(const TomlTable& table, std::string_view key, double low, double high) {
  if (!table.has(key)) return std::nullopt;
  const std::vector<double> values = table.numbers(key, low, high);
  if (values.size() == 1) return Range{values[0], values[0], values[0]};
  if (values.size() != 3) table.error(key, "must be [least, most likely, most], or one value in brackets");
  if (values[0] > values[1] || values[1] > values[2])
    table.error(key, "is out of order: write it as [least, most likely, most]");
  return Range{values[0], values[1], values[2]};
}

Task read_task(const TomlTable& table) {
  table.allow({"id", "name", "after", "follows", "days", "units", "units_per_week", "lead_days", "crew",
               "crew_size", "not_before", "energises", "power_mw", "risks", "usd_per_week_sooner",
               "weeks_sooner_max"});
  Task task;
  task.place = table.place();
  task.id = table.text("id");
  task.name = table.text_or("name", task.id);
  task.after = table.texts("after");
  task.follows = table.texts("follows");
  task.days = read_range(table, "days", 0, kMaxTaskDays);
  task.units = table.number_or("units", 0, 0, 1e9);
  task.units_per_week = read_range(table, "units_per_week", 1e-6, 1e9);
  task.lead_days = read_range(table, "lead_days", 0, kMaxTaskDays);
  task.crew = table.text_or("crew", "");
  task.crew_size = table.number_or("crew_size", task.crew.empty() ? 0 : 1, 0, 1e6);
  if (table.has("not_before")) task.not_before = table.date("not_before");
  task.energises = table.text_or("energises", "");
  task.power_mw = table.number_or("power_mw", 0, 0, 1e5);
  task.risks = table.texts("risks");
  task.usd_per_week_sooner = table.number_or("usd_per_week_sooner", 0, 0, 1e12);
  task.weeks_sooner_max = table.number_or("weeks_sooner_max", 0, 0, kMaxTaskDays / 7);
  return task;
}

Crew read_crew(const TomlTable& table) {
  table.allow({"id", "name", "people"});
  Crew crew;
  crew.place = table.place();
  crew.id = table.text("id");
  crew.name = table.text_or("name", crew.id);
  crew.people = table.number("people", 0, 1e6);
  return crew;
}

Risk read_risk(const TomlTable& table) {
  table.allow({"id", "name", "chance", "delay_days", "times"});
  Risk risk;
  risk.place = table.place();
  risk.id = table.text("id");
  risk.name = table.text_or("name", risk.id);
  risk.chance = table.number("chance", 0, 1);
  risk.delay_days = read_range(table, "delay_days", 0, kMaxTaskDays).value_or(Range{});
  risk.times = read_range(table, "times", 0.1, 10).value_or(Range{1, 1, 1});
  return risk;
}

void check_range(const Range& range, double low, double high, const Task& task, std::string_view key) {
  if (range.low >= low && range.low <= range.likely && range.likely <= range.high && range.high <= high)
    return;
  refuse(task.place, fmt::format("task '{}': '{}' must be [least, most likely, most], from {} to {}", task.id,
                                 key, low, high));
}

void check_durations(const Task& task) {
  if (task.days && (task.units > 0 || task.units_per_week))
    refuse(task.place,
           fmt::format("task '{}' has both 'days' and 'units'; say how long it takes in one way", task.id));
  if (!task.days && !(task.units > 0 && task.units_per_week))
    refuse(task.place,
           fmt::format("task '{}' has no duration: give 'days', or 'units' with 'units_per_week'", task.id));
  if (task.days) check_range(*task.days, 0, kMaxTaskDays, task, "days");
  if (task.lead_days) check_range(*task.lead_days, 0, kMaxTaskDays, task, "lead_days");
  if (!task.units_per_week) return;
  check_range(*task.units_per_week, 1e-6, 1e9, task, "units_per_week");
  if (const double days = task.units / task.units_per_week->low * 7; !(days <= kMaxTaskDays))
    refuse(task.place, fmt::format("task '{}' would last {:.0f} days at its lowest rate; raise "
                                   "'units_per_week' or lower 'units'",
                                   task.id, days));
}

void check_numbers(const Task& task) {
  const auto within = [](double value, double high) { return value >= 0 && value <= high; };
  if (!within(task.units, 1e9) || !within(task.crew_size, 1e6) || !within(task.power_mw, 1e5) ||
      !within(task.usd_per_week_sooner, 1e12) || !within(task.weeks_sooner_max, kMaxTaskDays / 7))
    refuse(task.place, fmt::format("task '{}' has a number that is negative or too large", task.id));
}

using Index = std::unordered_map<std::string, size_t>;

template <class Item>
Index index_of(const std::vector<Item>& items, std::string_view kind) {
  Index out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].id.empty()) refuse(items[i].place, fmt::format("a {} has no id", kind));
    if (!out.emplace(items[i].id, i).second)
      refuse(items[i].place, fmt::format("there are two {}s with the id '{}'", kind, items[i].id));
  }
  return out;
}

template <class Item>
std::string ids_of(const std::vector<Item>& items) {
  std::string out;
  for (size_t i = 0; i < items.size() && i < kNamesShown; ++i) out += (i ? ", " : "") + items[i].id;
  if (items.size() > kNamesShown) out += ", ...";
  return out.empty() ? "none" : out;
}

template <class Item>
void must_know(const Index& index, const std::vector<Item>& items, const std::string& id, const Task& task,
               std::string_view key, std::string_view kind) {
  if (!index.contains(id))
    refuse(task.place, fmt::format("task '{}': '{}' names the {} '{}', which is not there; there are: {}",
                                   task.id, key, kind, id, ids_of(items)));
}

/// Depth first over what each task waits for, without recursion: files may nest as deep as they like.
class CycleFinder {
 public:
  CycleFinder(const std::vector<Task>& tasks, const Index& index) : tasks_(tasks) {
    before_.resize(tasks.size());
    for (size_t i = 0; i < tasks.size(); ++i)
      for (const auto* list : {&tasks[i].after, &tasks[i].follows})
        for (const std::string& id : *list) before_[i].push_back(index.at(id));
  }

  void check() {
    state_.assign(tasks_.size(), kNew);
    for (size_t i = 0; i < tasks_.size(); ++i)
      if (state_[i] == kNew) walk(i);
  }

 private:
  enum State : uint8_t { kNew, kOpen, kDone };
  struct Frame {
    size_t task, next;
  };

  void walk(size_t first) {
    std::vector<Frame> path{{first, 0}};
    state_[first] = kOpen;
    while (!path.empty()) {
      Frame& top = path.back();
      if (top.next == before_[top.task].size()) {
        state_[top.task] = kDone;
        path.pop_back();
        continue;
      }
      const size_t to = before_[top.task][top.next++];
      if (state_[to] == kOpen) report(path, to);
      if (state_[to] == kNew) {
        state_[to] = kOpen;
        path.push_back({to, 0});
      }
    }
  }

  [[noreturn]] void report(const std::vector<Frame>& path, size_t to) const {
    size_t from = 0;
    while (path[from].task != to) ++from;
    std::string chain;
    for (size_t i = from; i < path.size(); ++i)
      chain += fmt::format("'{}' waits for ", tasks_[path[i].task].id);
    refuse(tasks_[to].place, fmt::format("tasks wait for each other in a circle: {}'{}'; take one of these "
                                         "out of its 'after' or 'follows'",
                                         chain, tasks_[to].id));
  }

  const std::vector<Task>& tasks_;
  std::vector<std::vector<size_t>> before_;
  std::vector<State> state_;
};

void check_task(const Task& task, const ScheduleSpec& spec, const Index& tasks, const Index& crews,
                const Index& risks) {
  check_durations(task);
  check_numbers(task);
  for (const std::string& id : task.after) must_know(tasks, spec.tasks, id, task, "after", "task");
  for (const std::string& id : task.follows) must_know(tasks, spec.tasks, id, task, "follows", "task");
  for (const std::string& id : task.risks) must_know(risks, spec.risks, id, task, "risks", "risk");
  if (task.crew.empty()) return;
  must_know(crews, spec.crews, task.crew, task, "crew", "crew");
  if (const Crew& crew = spec.crews[crews.at(task.crew)]; task.crew_size > crew.people)
    refuse(task.place, fmt::format("task '{}' takes {:g} people of the crew '{}', which has {:g}; it could "
                                   "never begin",
                                   task.id, task.crew_size, crew.id, crew.people));
}

void check_risk(const Risk& risk) {
  const auto ordered = [](const Range& r, double low, double high) {
    return r.low >= low && r.low <= r.likely && r.likely <= r.high && r.high <= high;
  };
  if (!(risk.chance >= 0 && risk.chance <= 1) || !ordered(risk.delay_days, 0, kMaxTaskDays) ||
      !ordered(risk.times, 0.1, 10))
    refuse(risk.place, fmt::format("risk '{}': 'chance' is from 0 to 1, 'delay_days' and 'times' are [least, "
                                   "most likely, most]",
                                   risk.id));
}

}  // namespace

void ScheduleSpec::check() const {
  if (target < start)
    refuse(place, fmt::format("the target {} lies before the start {}: a date in the past; set a later "
                              "'target' or an earlier 'start'",
                              format_date(target), format_date(start)));
  if (tasks.empty()) refuse(place, "the schedule has no [[task]]");
  if (tasks.size() > kMaxScheduleTasks || crews.size() > kMaxScheduleTasks ||
      risks.size() > kMaxScheduleTasks)
    refuse(place, fmt::format("a schedule may have {} tasks, crews and risks of each", kMaxScheduleTasks));
  if (samples < 1 || samples > kMaxScheduleSamples || uint64_t{samples} * tasks.size() > kMaxScheduleDraws)
    refuse(place, fmt::format("'samples' must be from 1 to {} for {} tasks",
                              std::min<uint64_t>(kMaxScheduleSamples, kMaxScheduleDraws / tasks.size()),
                              tasks.size()));
  const Index task_index = index_of(tasks, "task"), crew_index = index_of(crews, "crew"),
              risk_index = index_of(risks, "risk");
  for (const Crew& crew : crews)
    if (!(crew.people >= 0 && crew.people <= 1e6))
      refuse(crew.place, fmt::format("crew '{}' cannot have {:g} people", crew.id, crew.people));
  for (const Risk& risk : risks) check_risk(risk);
  for (const Task& task : tasks) check_task(task, *this, task_index, crew_index, risk_index);
  if (!ready.empty() && !task_index.contains(ready))
    refuse(place, fmt::format("'ready' names the task '{}', which is not there; there are: {}", ready,
                              ids_of(tasks)));
  CycleFinder(tasks, task_index).check();
}

ScheduleSpec ScheduleSpec::read(const TomlTable& root) {
  const TomlTable table = root.table("schedule");
  table.allow({"start", "target", "ready", "samples", "seed"});
  ScheduleSpec spec;
  spec.start = table.date("start");
  spec.target = table.date("target");
  spec.place = table.place("target");
  spec.ready = table.text_or("ready", "");
  spec.samples = static_cast<uint32_t>(table.integer_or("samples", 10'000, 1, kMaxScheduleSamples));
  spec.seed = static_cast<uint64_t>(table.integer_or("seed", 1, 0, std::numeric_limits<int64_t>::max()));
  for (const TomlTable& task : root.tables("task")) spec.tasks.push_back(read_task(task));
  for (const TomlTable& crew : root.tables("crew")) spec.crews.push_back(read_crew(crew));
  for (const TomlTable& risk : root.tables("risk")) spec.risks.push_back(read_risk(risk));
  spec.check();
  return spec;
}

std::vector<Actual> read_actuals(const TomlTable& root) {
  std::vector<Actual> out;
  std::unordered_set<std::string> seen;
  for (const TomlTable& table : root.tables("actual")) {
    table.allow({"task", "started", "finished", "progress"});
    Actual actual;
    actual.place = table.place();
    actual.task = table.text("task");
    if (!seen.insert(actual.task).second)
      table.error("task", fmt::format("'{}' is reported twice in one file; keep the later", actual.task));
    if (table.has("started")) actual.started = table.date("started");
    if (table.has("finished")) actual.finished = table.date("finished");
    actual.progress = table.number_or("progress", actual.finished ? 1 : 0, 0, 1);
    if (actual.finished && actual.progress < 1)
      table.error("progress", "is below 1, but the task is finished; leave one of the two out");
    out.push_back(std::move(actual));
  }
  return out;
}

Tracking Tracking::read(const TomlTable& root) {
  root.allow({"day", "about", "actual"});
  Tracking out;
  if (root.has("day")) out.day = root.date("day");
  out.actuals = read_actuals(root);
  return out;
}

std::vector<Actual> merge_actuals(std::vector<Actual> known, const std::vector<Actual>& later) {
  for (const Actual& actual : later) {
    const auto same = std::find_if(known.begin(), known.end(),
                                   [&](const Actual& other) { return other.task == actual.task; });
    if (same == known.end()) {
      known.push_back(actual);
      continue;
    }
    const auto started = actual.started ? actual.started : same->started;
    *same = actual;
    same->started = started;
  }
  return known;
}

}  // namespace fathom::cluster
