#include "cluster/schedule_network.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr size_t kDrawsPerTask = 3;
constexpr size_t kDrawsPerRisk = 3;

double days_between(std::chrono::sys_days from, std::chrono::sys_days to) {
  return static_cast<double>((to - from).count());
}

double mean(const Range& range) { return (range.low + 4 * range.likely + range.high) / 6; }

/// Takes `size` people out from `from` to `to`.
void reserve(std::vector<Placement::Step>& steps, double from, double to, double size) {
  if (!(to > from)) return;
  const auto split = [&](double time) {
    const auto at = std::upper_bound(steps.begin(), steps.end(), time,
                                     [](double t, const Placement::Step& step) { return t < step.time; });
    const auto place = static_cast<size_t>(at - steps.begin());
    if (steps[place - 1].time == time) return place - 1;
    steps.insert(at, {time, steps[place - 1].free});
    return place;
  };
  const size_t first = split(from);
  const size_t last = split(to);
  for (size_t i = first; i < last; ++i) steps[i].free -= size;
}

}  // namespace

double TaskNetwork::Sampler::above(double floor, double u) const {
  if (!table) return std::max(low, floor);
  const double passed = table->cumulative((floor - low) / width);
  return std::max(floor, low + width * table->quantile(passed + u * (1 - passed)));
}

TaskNetwork::Sampler TaskNetwork::sampler(const Range& range) {
  Sampler out{range.low, range.high - range.low, nullptr};
  if (!(out.width > 0)) return out;
  const double mode = (range.likely - range.low) / out.width;
  auto& table = tables_[mode];
  if (!table) table = std::make_unique<PertTable>(mode);
  out.table = table.get();
  return out;
}

TaskNetwork::TaskNetwork(const ScheduleSpec& spec, std::vector<TaskState> states, double today)
    : states_(std::move(states)), today_(today), seed_(spec.seed) {
  if (states_.empty()) states_.resize(spec.tasks.size());
  FATHOM_CHECK(states_.size() == spec.tasks.size());
  std::map<std::string, uint32_t> ids;
  for (uint32_t i = 0; i < spec.tasks.size(); ++i) ids[spec.tasks[i].id] = i;
  for (const Risk& risk : spec.risks)
    risks_.push_back({risk.chance, sampler(risk.delay_days), sampler(risk.times)});
  for (const Crew& crew : spec.crews) crews_.push_back(crew.people);
  crew_tasks_.resize(crews_.size());
  for (const Task& task : spec.tasks) {
    tasks_.push_back(compile(spec, task, ids));
    if (tasks_.back().crew < 0) continue;
    const auto index = static_cast<uint32_t>(tasks_.size() - 1);
    crew_tasks_[static_cast<size_t>(tasks_.back().crew)].push_back(index);
    if (states_[index].kind == TaskState::kRunning) running_.push_back(index);
  }
  if (!spec.ready.empty()) ready_ = static_cast<int32_t>(ids.at(spec.ready));
  choose_order(spec);
}

TaskNetwork::Compiled TaskNetwork::compile(const ScheduleSpec& spec, const Task& task,
                                           const std::map<std::string, uint32_t>& tasks) {
  Compiled out;
  out.after_begin = static_cast<uint32_t>(links_.size());
  for (const std::string& id : task.after) links_.push_back(tasks.at(id));
  out.follows_begin = static_cast<uint32_t>(links_.size());
  for (const std::string& id : task.follows) links_.push_back(tasks.at(id));
  out.risks_begin = static_cast<uint32_t>(links_.size());
  for (const std::string& id : task.risks)
    links_.push_back(static_cast<uint32_t>(
        std::find_if(spec.risks.begin(), spec.risks.end(), [&](const Risk& r) { return r.id == id; }) -
        spec.risks.begin()));
  out.risks_end = static_cast<uint32_t>(links_.size());
  out.earliest = today_;
  if (task.not_before) out.earliest = std::max(out.earliest, days_between(spec.start, *task.not_before));
  if (!task.crew.empty() && task.crew_size > 0) {
    out.crew = static_cast<int32_t>(
        std::find_if(spec.crews.begin(), spec.crews.end(), [&](const Crew& c) { return c.id == task.crew; }) -
        spec.crews.begin());
    out.crew_size = task.crew_size;
  }
  out.units = task.days ? 0 : task.units;
  out.work = sampler(task.days ? *task.days : *task.units_per_week);
  out.lead = sampler(task.lead_days.value_or(Range{}));
  return out;
}

std::vector<uint32_t> TaskNetwork::topological() const {
  std::vector<uint32_t> waits(size(), 0), out;
  std::vector<std::vector<uint32_t>> next(size());
  for (uint32_t i = 0; i < size(); ++i)
    for (uint32_t link = tasks_[i].after_begin; link < tasks_[i].risks_begin; ++link) {
      next[links_[link]].push_back(i);
      ++waits[i];
    }
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free;
  for (uint32_t i = 0; i < size(); ++i)
    if (waits[i] == 0) free.push(i);
  while (!free.empty()) {
    const uint32_t task = free.top();
    free.pop();
    out.push_back(task);
    for (const uint32_t after_it : next[task])
      if (--waits[after_it] == 0) free.push(after_it);
  }
  FATHOM_CHECK(out.size() == size(), "a cycle passed ScheduleSpec::check");
  return out;
}

void TaskNetwork::mean_durations(const ScheduleSpec& spec, std::vector<double>& lead,
                                 std::vector<double>& total) const {
  for (size_t i = 0; i < size(); ++i) {
    const Task& task = spec.tasks[i];
    lead[i] = task.lead_days ? mean(*task.lead_days) : 0;
    double times = 1;
    for (const uint32_t risk : risks(tasks_[i])) {
      lead[i] += spec.risks[risk].chance * mean(spec.risks[risk].delay_days);
      times *= 1 + spec.risks[risk].chance * (mean(spec.risks[risk].times) - 1);
    }
    total[i] = lead[i] + times * tasks_[i].days(mean(task.days ? *task.days : *task.units_per_week));
  }
}

void TaskNetwork::choose_order(const ScheduleSpec& spec) {
  const std::vector<uint32_t> forward = topological();
  std::vector<double> lead(size()), total(size()), start(size(), 0), finish(size(), 0);
  mean_durations(spec, lead, total);
  double end = 0;
  for (const uint32_t i : forward) {
    start[i] = tasks_[i].earliest;
    double bound = 0;
    for (const uint32_t p : after(tasks_[i])) start[i] = std::max(start[i], finish[p]);
    for (const uint32_t p : follows(tasks_[i])) {
      start[i] = std::max(start[i], start[p] + lead[p]);
      bound = std::max(bound, finish[p] + lead[i]);
    }
    finish[i] = std::max(start[i] + total[i], bound);
    end = std::max(end, finish[i]);
  }
  std::vector<double> latest_finish(size(), end), latest_start(size(), kNever);
  std::vector<uint32_t> rank(size());
  for (size_t k = size(); k-- > 0;) {
    const uint32_t i = forward[k];
    rank[i] = static_cast<uint32_t>(k);
    latest_start[i] = std::min(latest_start[i], latest_finish[i] - total[i]);
    for (const uint32_t p : after(tasks_[i])) latest_finish[p] = std::min(latest_finish[p], latest_start[i]);
    for (const uint32_t p : follows(tasks_[i])) {
      latest_finish[p] = std::min(latest_finish[p], latest_finish[i] - lead[i]);
      latest_start[p] = std::min(latest_start[p], latest_start[i] - lead[p]);
    }
  }
  order_ = forward;
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return latest_start[a] != latest_start[b] ? latest_start[a] < latest_start[b] : rank[a] < rank[b];
  });
}

void TaskNetwork::draw(uint64_t sample, Draws& out) const {
  // Not the step of SplitMix64, so that neighbouring samples share no words of state.
  Random random(seed_ + (sample + 1) * 0xD1342543DE82EF95ull);
  constexpr size_t kRisksOnStack = 64;
  struct Happened {
    double delay = 0, times = 1;
  };
  Happened few[kRisksOnStack];
  std::vector<Happened> many(risks_.size() > kRisksOnStack ? risks_.size() : 0);
  Happened* happened = many.empty() ? few : many.data();
  for (size_t r = 0; r < risks_.size(); ++r) {
    double u[kDrawsPerRisk];
    for (double& value : u) value = random.uniform();
    if (u[0] < risks_[r].chance) happened[r] = {risks_[r].delay(u[1]), risks_[r].times(u[2])};
  }
  out.lead.resize(size());
  out.work.resize(size());
  for (size_t i = 0; i < size(); ++i) {
    const Compiled& task = tasks_[i];
    double u[kDrawsPerTask];  // always as many, so that a changed task leaves the others' numbers alone
    for (double& value : u) value = random.uniform();
    double delay = 0, times = 1;
    for (const uint32_t r : risks(task)) {
      delay += happened[r].delay;
      times *= happened[r].times;
    }
    const TaskState& known = states_[i];
    if (known.kind == TaskState::kDone) {
      out.lead[i] = out.work[i] = 0;
    } else if (known.kind == TaskState::kRunning) {
      draw_running(task, known, u, out.lead[i], out.work[i]);
      out.work[i] = out.work[i] * times + delay * (1 - known.progress);
    } else {
      out.work[i] = times * task.days(task.work(u[0]));
      out.lead[i] = times * task.lead(u[1]) + delay;
    }
  }
}

/// `lead`: from the start to the first piece; `work`: from today to the end. See track() in schedule.h for the rule.
void TaskNetwork::draw_running(const Compiled& task, const TaskState& state, std::span<const double> u,
                               double& lead, double& work) const {
  const double elapsed = std::max(0.0, today_ - state.start);
  const double whole = task.days(task.work(u[0]));
  lead = task.lead(u[1]);
  if (state.progress > 0) {
    lead = std::min(lead, elapsed / 2);  // pieces are there, so the first came before today
    const double left = 1 - state.progress;
    work = left * (left * whole + (elapsed - lead));  // the pace so far is (elapsed - lead) / progress
    return;
  }
  if (const double longest = task.lead.low + task.lead.width;
      elapsed < longest) {  // may wait for its first piece
    lead = task.lead.above(elapsed, u[1]);
    work = lead - elapsed + whole;
    return;
  }
  const double worked = elapsed - lead;
  const double longest = task.units > 0 ? task.days(task.work.low) : task.work.low + task.work.width;
  if (worked >= longest) {
    work = u[2] * whole;
  } else if (task.units > 0) {  // a slower rate is a longer task
    Sampler slower = task.work;
    const double fastest = worked > 0 ? task.units / worked * 7 : kNever;
    const double share = slower.table && fastest < slower.low + slower.width
                             ? slower.table->cumulative((fastest - slower.low) / slower.width)
                             : 1;
    work = std::max(0.0, task.days(slower(u[0] * share)) - worked);
  } else {
    work = task.work.above(worked, u[0]) - worked;
  }
}

double TaskNetwork::first_start(const Compiled& task, double ready, double days, double bound,
                                const Placement& out) const {
  const auto& steps = out.crews[static_cast<size_t>(task.crew)];
  auto step = std::upper_bound(steps.begin(), steps.end(), ready,
                               [](double time, const Placement::Step& s) { return time < s.time; }) -
              1;
  double start = ready;
  for (; step != steps.end(); ++step) {
    if (step->time > start && step->time >= std::max(start + days, bound)) return start;
    if (step->free + 1e-9 < task.crew_size) start = step + 1 != steps.end() ? (step + 1)->time : kNever;
  }
  return start;
}

int32_t TaskNetwork::crew_mate(uint32_t task, const Placement& out) const {
  for (const uint32_t mate : crew_tasks_[static_cast<size_t>(tasks_[task].crew)])
    if (mate != task && out.finish[mate] == out.start[task]) return static_cast<int32_t>(mate) * 2;
  return Placement::kNothing;
}

template <bool kTrace>
double TaskNetwork::place(const Draws& draws, Placement& out) const {
  out.start.resize(size());
  out.finish.assign(size(), -1);
  out.start_cause.assign(kTrace ? size() : 0, Placement::kNothing);
  out.finish_cause.assign(kTrace ? size() : 0, Placement::kNothing);
  out.crews.resize(crews_.size());
  for (size_t c = 0; c < crews_.size(); ++c) {
    out.crews[c].clear();
    out.crews[c].push_back({-kNever, crews_[c]});
  }
  for (const uint32_t i : running_)
    reserve(out.crews[static_cast<size_t>(tasks_[i].crew)], today_, today_ + draws.work[i],
            tasks_[i].crew_size);
  double end = 0;
  for (const uint32_t i : order_) {
    const Compiled& task = tasks_[i];
    const TaskState& known = states_[i];
    if (known.kind == TaskState::kDone) {
      out.start[i] = known.start;
      out.finish[i] = known.finish;
      end = std::max(end, known.finish);
      continue;
    }
    double ready = task.earliest, bound = -kNever;
    [[maybe_unused]] int32_t cause = Placement::kNothing, late = Placement::kNothing;
    for (const uint32_t p : after(task))
      if (out.finish[p] > ready) {
        ready = out.finish[p];
        cause = static_cast<int32_t>(p) * 2;
      }
    for (const uint32_t p : follows(task)) {
      if (const double first = out.start[p] + draws.lead[p]; first > ready) {
        ready = first;
        cause = static_cast<int32_t>(p) * 2 + 1;
      }
      if (const double last = out.finish[p] + draws.lead[i]; last > bound) {
        bound = last;
        late = static_cast<int32_t>(p);
      }
    }
    double finish;
    if (known.kind == TaskState::kRunning) {
      out.start[i] = known.start;
      cause = Placement::kNothing;
      finish = today_ + draws.work[i];
    } else {
      const double days = draws.lead[i] + draws.work[i];
      out.start[i] = task.crew < 0 ? ready : first_start(task, ready, days, bound, out);
      finish = out.start[i] + days;
    }
    out.finish[i] = std::max(finish, bound);
    if (task.crew >= 0 && known.kind == TaskState::kWaiting)
      reserve(out.crews[static_cast<size_t>(task.crew)], out.start[i], out.finish[i], task.crew_size);
    if constexpr (kTrace) {
      if (known.kind == TaskState::kWaiting && out.start[i] > ready) cause = crew_mate(i, out);
      out.start_cause[i] = cause;
      out.finish_cause[i] = bound > finish ? late : Placement::kNothing;
    }
    end = std::max(end, out.finish[i]);
  }
  return ready_ >= 0 ? out.finish[static_cast<size_t>(ready_)] : end;
}

template double TaskNetwork::place<true>(const Draws& draws, Placement& out) const;
template double TaskNetwork::place<false>(const Draws& draws, Placement& out) const;

uint32_t TaskNetwork::last_task(const Placement& placed) const {
  if (ready_ >= 0) return static_cast<uint32_t>(ready_);
  return static_cast<uint32_t>(std::max_element(placed.finish.begin(), placed.finish.end()) -
                               placed.finish.begin());
}

double TaskNetwork::progress(size_t task, double time, const Draws& draws, const Placement& placed) const {
  if (time >= placed.finish[task]) return 1;
  const TaskState& known = states_[task];
  double from = placed.start[task] + draws.lead[task], done = 0;
  if (known.kind == TaskState::kRunning && known.progress > 0) {
    if (time < today_)
      return known.progress *
             std::clamp((time - known.start) / std::max(today_ - known.start, 1.0), 0.0, 1.0);
    from = today_;
    done = known.progress;
  }
  if (time <= from) return done;
  return done + (1 - done) * (time - from) / (placed.finish[task] - from);
}

}  // namespace fathom::cluster
