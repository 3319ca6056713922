// The tasks of a schedule compiled for many samples: drawing durations, and placing tasks in time.
//
// Immutable after construction; thread-safe; draw() and place() allocate nothing once their buffers have grown. Times are
// days since the start of the project. Of use to schedule.cc and schedule_track.cc alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/random.h"
#include "cluster/schedule.h"
#include "cluster/schedule_pert.h"

namespace fathom::cluster {

/// What is known of a task when the plan is drawn.
struct TaskState {
  enum Kind : uint8_t { kWaiting, kRunning, kDone } kind = kWaiting;
  double start = 0, finish = 0;  // as far as they are known
  double progress = 0;
};

/// Durations of one sample, by task. Of a running task `work` is what is left from today on.
struct Draws {
  std::vector<double> lead, work;
};

/// Where one sample's tasks lie, and why there.
struct Placement {
  static constexpr int32_t kNothing = -1;
  std::vector<double> start, finish;
  /// What held the start: 2 * task (its end), 2 * task + 1 (its first piece), or kNothing (a date, or today).
  std::vector<int32_t> start_cause;
  std::vector<int32_t> finish_cause;  // the followed task whose last piece came late, or kNothing
  struct Step {
    double time, free;
  };
  std::vector<std::vector<Step>> crews;  // people free from each moment on
};

class TaskNetwork {
 public:
  /// REQUIRES: spec.check() has passed; `states` is empty or one for each task; `today` is in days since the start.
  TaskNetwork(const ScheduleSpec& spec, std::vector<TaskState> states, double today);

  size_t size() const { return tasks_.size(); }
  void draw(uint64_t sample, Draws& out) const;
  /// Returns the moment at which the machine is operational. With kTrace the causes are filled in too.
  template <bool kTrace>
  double place(const Draws& draws, Placement& out) const;
  /// Calls visit(task) for each task of the longest path, from its end backwards. REQUIRES: a traced placement.
  template <class Visit>
  void walk_critical(const Placement& placed, Visit visit) const;
  /// Share done at `time`: a straight line from the first piece to the end.
  double progress(size_t task, double time, const Draws& draws, const Placement& placed) const;
  const TaskState& state(size_t task) const { return states_[task]; }
  /// Latest starts of the mean plan: the order in which tasks are placed.
  std::span<const uint32_t> order() const { return order_; }

 private:
  struct Sampler {  // low + width * quantile
    double low = 0, width = 0;
    const PertTable* table = nullptr;  // null: a point
    double operator()(double u) const { return table ? low + width * table->quantile(u) : low; }
    double above(double floor, double u) const;
  };
  struct Compiled {
    uint32_t after_begin = 0, follows_begin = 0, risks_begin = 0, risks_end = 0;  // in links_
    double earliest = 0;
    int32_t crew = -1;
    double crew_size = 0;
    double units = 0;  // 0: `work` is in days, else it is a rate a week
    Sampler work, lead;
    double days(double drawn) const { return units > 0 ? units / drawn * 7 : drawn; }
  };
  struct CompiledRisk {
    double chance = 0;
    Sampler delay, times;
  };

  Sampler sampler(const Range& range);
  Compiled compile(const ScheduleSpec& spec, const Task& task, const std::map<std::string, uint32_t>& tasks);
  void choose_order(const ScheduleSpec& spec);
  std::vector<uint32_t> topological() const;
  void mean_durations(const ScheduleSpec& spec, std::vector<double>& lead, std::vector<double>& total) const;
  void draw_running(const Compiled& task, const TaskState& state, std::span<const double> u, double& lead,
                    double& work) const;
  double first_start(const Compiled& task, double ready, double days, double bound,
                     const Placement& out) const;
  int32_t crew_mate(uint32_t task, const Placement& out) const;
  std::span<const uint32_t> after(const Compiled& t) const {
    return {links_.data() + t.after_begin, t.follows_begin - t.after_begin};
  }
  std::span<const uint32_t> follows(const Compiled& t) const {
    return {links_.data() + t.follows_begin, t.risks_begin - t.follows_begin};
  }
  std::span<const uint32_t> risks(const Compiled& t) const {
    return {links_.data() + t.risks_begin, t.risks_end - t.risks_begin};
  }
  uint32_t last_task(const Placement& placed) const;

  std::map<double, std::unique_ptr<PertTable>> tables_;  // by mode
  std::vector<Compiled> tasks_;
  std::vector<CompiledRisk> risks_;
  std::vector<uint32_t> links_;
  std::vector<double> crews_;  // people
  std::vector<std::vector<uint32_t>> crew_tasks_;
  std::vector<uint32_t> running_;  // with a crew, which they hold already
  std::vector<uint32_t> order_;
  std::vector<TaskState> states_;
  double today_ = 0;
  uint64_t seed_ = 0;
  int32_t ready_ = -1;  // task that makes the machine operational; -1: all
};

template <class Visit>
void TaskNetwork::walk_critical(const Placement& placed, Visit visit) const {
  uint32_t task = last_task(placed);
  bool at_finish = true;
  visit(task);
  for (;;) {
    int32_t next;
    if (at_finish && placed.finish_cause[task] != Placement::kNothing) {
      next = placed.finish_cause[task];
    } else {
      const int32_t cause = placed.start_cause[task];
      if (cause == Placement::kNothing) return;
      next = cause / 2;
      at_finish = cause % 2 == 0;
    }
    task = static_cast<uint32_t>(next);
    visit(task);
  }
}

}  // namespace fathom::cluster
