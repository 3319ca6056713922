#include "cluster/schedule.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <span>
#include <tuple>

#include "base/error.h"
#include "cluster/schedule_network.h"
#include "cluster/schedule_study.h"

namespace fathom::cluster {
namespace {

constexpr size_t kBlock = 64;         // samples that a thread takes at a time
constexpr double kRounding = 1e-6;    // days; sums of whole days stay whole
constexpr double kFarthest = 60'000;  // days, so that dates stay dates
constexpr double kLateBudget = 6e6;   // tasks placed to see what a day's delay does
constexpr double kBuyBudget = 6e6;    // and to see what each purchase brings
constexpr size_t kRampSamples = 2'000;
constexpr size_t kMostWeeks = 1'040;
constexpr size_t kDistributionPoints = 200;
constexpr size_t kLevels = 4;         // a purchase is tried at these parts of its most
constexpr double kLevelEnough = 0.9;  // of the most gain
constexpr double kBundleGain = 0.005;
constexpr size_t kMostBundle = 12;

double quantile(std::vector<float>& values, double share) {
  const auto rank = static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
  return values[rank];
}

/// What is bought: so many weeks less of a task.
struct Crash {
  size_t task = 0;
  double weeks = 0;
};

struct Worker {
  Draws draws;
  Placement base, varied;
  std::vector<float> column;
};

class Study {
 public:
  Study(const ScheduleSpec& spec, const TaskNetwork& network, ThreadPool& pool)
      : spec_(spec),
        network_(network),
        pool_(pool),
        workers_(pool.size()),
        samples_(spec.samples),
        target_(static_cast<double>((spec.target - spec.start).count()) + kRounding) {}

  ScheduleResult run() {
    place_all();
    summarise_end();
    describe_tasks();
    delays();
    trace_middle();
    purchases();
    bundle();
    ramp();
    std::stable_sort(result_.tasks.begin(), result_.tasks.end(),
                     [](const TaskOutlook& a, const TaskOutlook& b) { return a.start_p50 < b.start_p50; });
    return std::move(result_);
  }

 private:
  size_t tasks() const { return network_.size(); }
  std::chrono::sys_days day(double days) const { return day_after(spec_.start, days); }
  bool in_time(double end) const { return end <= target_; }

  /// body(worker, block, first, last) over blocks of samples; which thread takes which is of no matter to the result.
  template <class Body>
  void for_blocks(size_t samples, Body body) {
    std::atomic<size_t> next{0};
    const size_t blocks = (samples + kBlock - 1) / kBlock;
    pool_.run([&](size_t thread) {
      for (size_t block = next++; block < blocks; block = next++)
        body(workers_[thread], block, block * kBlock, std::min(samples, (block + 1) * kBlock));
    });
  }

  void place_all();
  void summarise_end();
  void describe_tasks();
  void delays();
  void trace_middle();
  void purchases();
  void bundle();
  void ramp();
  double late_end(Worker& worker, size_t task) const;
  double cheaper_end(Worker& worker, std::span<const Crash> bought) const;
  void crash(Draws& draws, const Crash& bought) const;
  std::vector<double> chances(std::span<const std::vector<Crash>> choices, size_t samples);
  double base_chance(size_t samples) const;
  size_t affordable(double budget, size_t placements, size_t least) const;
  double horizon() const;
  double pieces_there(size_t task, double time, const Worker& worker) const;

  const ScheduleSpec& spec_;
  const TaskNetwork& network_;
  ThreadPool& pool_;
  std::vector<Worker> workers_;
  const size_t samples_;
  const double target_;
  std::vector<double> ends_;              // by sample
  std::vector<float> starts_, finishes_;  // [task][sample]
  std::vector<size_t> critical_;          // samples, by task
  std::vector<double> finish_p90_;        // by task
  ScheduleResult result_;
};

void Study::place_all() {
  ends_.resize(samples_);
  starts_.resize(tasks() * samples_);
  finishes_.resize(tasks() * samples_);
  std::vector<std::vector<size_t>> critical(workers_.size(), std::vector<size_t>(tasks(), 0));
  for_blocks(samples_, [&](Worker& worker, size_t, size_t first, size_t last) {
    auto& counts = critical[static_cast<size_t>(&worker - workers_.data())];
    for (size_t s = first; s < last; ++s) {
      network_.draw(s, worker.draws);
      ends_[s] = network_.place<true>(worker.draws, worker.base);
      for (size_t i = 0; i < tasks(); ++i) {
        starts_[i * samples_ + s] = static_cast<float>(worker.base.start[i]);
        finishes_[i * samples_ + s] = static_cast<float>(worker.base.finish[i]);
      }
      network_.walk_critical(worker.base, [&](uint32_t task) { ++counts[task]; });
    }
  });
  critical_.assign(tasks(), 0);
  for (const auto& counts : critical)
    for (size_t i = 0; i < tasks(); ++i) critical_[i] += counts[i];
}

void Study::summarise_end() {
  std::vector<double> sorted = ends_;
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(samples_);
  const auto by = [&](double end) {
    return static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), end + kRounding) -
                               sorted.begin()) /
           n;
  };
  const auto at = [&](double share) {
    return day(sorted[static_cast<size_t>(std::lround(share * static_cast<double>(samples_ - 1)))]);
  };
  result_.probability = by(target_ - kRounding);
  result_.standard_error = std::sqrt(result_.probability * (1 - result_.probability) / n);
  result_.p10 = at(0.1);
  result_.p50 = at(0.5);
  result_.p80 = at(0.8);
  result_.p90 = at(0.9);
  const double from = std::floor(sorted.front()), to = std::ceil(sorted.back() - kRounding);
  const double step = std::max(1.0, std::ceil((to - from) / static_cast<double>(kDistributionPoints)));
  for (double x = from; x < to + step; x += step) result_.distribution.emplace_back(day(x), by(x));
}

void Study::describe_tasks() {
  result_.tasks.resize(tasks());
  finish_p90_.resize(tasks());
  std::atomic<size_t> next{0};
  pool_.run([&](size_t thread) {
    std::vector<float>& column = workers_[thread].column;
    for (size_t i = next++; i < tasks(); i = next++) {
      TaskOutlook& outlook = result_.tasks[i];
      const auto begin = static_cast<std::ptrdiff_t>(i * samples_);
      const auto end = begin + static_cast<std::ptrdiff_t>(samples_);
      column.assign(starts_.begin() + begin, starts_.begin() + end);
      outlook.start_p50 = day(quantile(column, 0.5));
      column.assign(finishes_.begin() + begin, finishes_.begin() + end);
      outlook.finish_p10 = day(quantile(column, 0.1));
      outlook.finish_p50 = day(quantile(column, 0.5));
      finish_p90_[i] = quantile(column, 0.9);
      outlook.finish_p90 = day(finish_p90_[i]);
    }
  });
  for (size_t i = 0; i < tasks(); ++i) {
    result_.tasks[i].id = spec_.tasks[i].id;
    result_.tasks[i].name = spec_.tasks[i].name;
    result_.tasks[i].criticality = static_cast<double>(critical_[i]) / static_cast<double>(samples_);
  }
}

/// So many samples that `placements` of the whole network a sample stay within the budget.
size_t Study::affordable(double budget, size_t placements, size_t least) const {
  const double samples = budget / (static_cast<double>(placements) * static_cast<double>(tasks()));
  return std::min(samples_, std::max(least, static_cast<size_t>(std::min(samples, 1e9))));
}

/// The end when one task takes a day more; the worker holds the sample's draws.
double Study::late_end(Worker& worker, size_t task) const {
  double& days =
      network_.state(task).kind == TaskState::kRunning ? worker.draws.work[task] : worker.draws.lead[task];
  const double drawn = days;
  days += 1;
  const double end = network_.place<false>(worker.draws, worker.varied);
  days = drawn;
  return end;
}

void Study::delays() {
  const size_t samples = affordable(kLateBudget, tasks(), 100);
  const size_t blocks = (samples + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks * tasks(), 0);  // by block, so that the order of adding is fixed
  for_blocks(samples, [&](Worker& worker, size_t block, size_t first, size_t last) {
    for (size_t s = first; s < last; ++s) {
      network_.draw(s, worker.draws);
      for (size_t i = 0; i < tasks(); ++i)
        if (network_.state(i).kind != TaskState::kDone)
          sums[block * tasks() + i] += late_end(worker, i) - ends_[s];
    }
  });
  for (size_t i = 0; i < tasks(); ++i) {
    double sum = 0;
    for (size_t block = 0; block < blocks; ++block) sum += sums[block * tasks() + i];
    result_.tasks[i].days_per_day = sum / static_cast<double>(samples);
  }
}

void Study::trace_middle() {
  std::vector<size_t> order(samples_);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>((samples_ - 1) / 2);
  std::nth_element(order.begin(), middle, order.end(),
                   [&](size_t a, size_t b) { return ends_[a] != ends_[b] ? ends_[a] < ends_[b] : a < b; });
  Worker& worker = workers_.front();
  network_.draw(*middle, worker.draws);
  network_.place<true>(worker.draws, worker.base);
  network_.walk_critical(worker.base,
                         [&](uint32_t task) { result_.critical_path.push_back(spec_.tasks[task].id); });
  std::reverse(result_.critical_path.begin(), result_.critical_path.end());
}

void Study::crash(Draws& draws, const Crash& bought) const {
  const double days = bought.weeks * 7;
  double& work = draws.work[bought.task];
  double& lead = draws.lead[bought.task];
  const double rest = std::max(0.0, days - work);
  work = std::max(0.0, work - days);
  if (network_.state(bought.task).kind == TaskState::kWaiting) lead = std::max(0.0, lead - rest);
}

double Study::cheaper_end(Worker& worker, std::span<const Crash> bought) const {
  constexpr size_t kMost = kMostBundle + 1;
  FATHOM_CHECK(bought.size() <= kMost);
  std::pair<double, double> kept[kMost];
  for (size_t i = 0; i < bought.size(); ++i) {
    kept[i] = {worker.draws.lead[bought[i].task], worker.draws.work[bought[i].task]};
    crash(worker.draws, bought[i]);
  }
  const double end = network_.place<false>(worker.draws, worker.varied);
  for (size_t i = bought.size(); i-- > 0;)
    std::tie(worker.draws.lead[bought[i].task], worker.draws.work[bought[i].task]) = kept[i];
  return end;
}

/// The chance of being in time with each of the choices, on the same samples.
std::vector<double> Study::chances(std::span<const std::vector<Crash>> choices, size_t samples) {
  const size_t count = choices.size();
  std::vector<std::vector<size_t>> met(workers_.size(), std::vector<size_t>(count, 0));
  for_blocks(samples, [&](Worker& worker, size_t, size_t first, size_t last) {
    auto& counts = met[static_cast<size_t>(&worker - workers_.data())];
    for (size_t s = first; s < last; ++s) {
      network_.draw(s, worker.draws);
      for (size_t c = 0; c < count; ++c) counts[c] += in_time(cheaper_end(worker, choices[c]));
    }
  });
  std::vector<double> out(count, 0);
  for (const auto& counts : met)
    for (size_t c = 0; c < count; ++c) out[c] += static_cast<double>(counts[c]);
  for (double& chance : out) chance /= static_cast<double>(samples);
  return out;
}

double Study::base_chance(size_t samples) const {
  const auto end = ends_.begin() + static_cast<std::ptrdiff_t>(samples);
  return static_cast<double>(std::count_if(ends_.begin(), end, [&](double e) { return in_time(e); })) /
         static_cast<double>(samples);
}

/// Of each task the least weeks that bring nearly all that its most would bring.
void Study::purchases() {
  std::vector<std::vector<Crash>> choices;
  for (size_t i = 0; i < tasks(); ++i) {
    const Task& task = spec_.tasks[i];
    if (task.usd_per_week_sooner <= 0 || task.weeks_sooner_max <= 0 ||
        network_.state(i).kind == TaskState::kDone)
      continue;
    for (size_t level = 1; level <= kLevels; ++level)
      choices.push_back({{i, task.weeks_sooner_max * static_cast<double>(level) / kLevels}});
  }
  if (choices.empty()) return;
  const size_t samples = affordable(kBuyBudget, choices.size(), 200);
  const std::vector<double> chance = chances(choices, samples);
  const double base = base_chance(samples);
  for (size_t c = 0; c < choices.size(); c += kLevels) {
    size_t level = 0;
    while (level + 1 < kLevels && chance[c + level] - base < kLevelEnough * (chance[c + kLevels - 1] - base))
      ++level;
    const Crash& best = choices[c + level].front();
    result_.purchases.push_back({spec_.tasks[best.task].id, best.weeks,
                                 best.weeks * spec_.tasks[best.task].usd_per_week_sooner,
                                 chance[c + level] - base});
  }
  std::stable_sort(result_.purchases.begin(), result_.purchases.end(),
                   [](const Purchase& a, const Purchase& b) {
                     return a.probability_gain * b.usd > b.probability_gain * a.usd;
                   });
}

void Study::bundle() {
  result_.bundle_probability = result_.probability;
  std::vector<Crash> bought;
  std::vector<size_t> open;  // of result_.purchases
  std::vector<Crash> crash_of;
  for (size_t p = 0; p < result_.purchases.size(); ++p) {
    const Purchase& purchase = result_.purchases[p];
    const auto task = std::find_if(spec_.tasks.begin(), spec_.tasks.end(),
                                   [&](const Task& t) { return t.id == purchase.task; });
    crash_of.push_back({static_cast<size_t>(task - spec_.tasks.begin()), purchase.weeks});
    open.push_back(p);
  }
  if (open.empty()) return;
  const size_t samples = affordable(kBuyBudget, open.size() * std::min(open.size(), kMostBundle), 200);
  double chance = base_chance(samples);
  while (!open.empty() && bought.size() < kMostBundle) {
    std::vector<std::vector<Crash>> choices;
    for (const size_t p : open) {
      choices.push_back(bought);
      choices.back().push_back(crash_of[p]);
    }
    const std::vector<double> with = chances(choices, samples);
    size_t best = open.size();
    const auto value = [&](size_t k) { return (with[k] - chance) / result_.purchases[open[k]].usd; };
    for (size_t k = 0; k < open.size(); ++k)
      if (with[k] - chance >= kBundleGain && (best == open.size() || value(k) > value(best))) best = k;
    if (best == open.size()) break;
    result_.bundle.push_back(result_.purchases[open[best]]);
    result_.bundle.back().probability_gain = with[best] - chance;
    result_.bundle_probability += with[best] - chance;
    chance = with[best];
    bought.push_back(crash_of[open[best]]);
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(best));
  }
  result_.bundle_probability = std::min(result_.bundle_probability, 1.0);
}

/// Share of a power task that works: whole turbines of a task in units, else all at its end.
double Study::pieces_there(size_t task, double time, const Worker& worker) const {
  if (time >= worker.base.finish[task]) return 1;
  const double units = spec_.tasks[task].days ? 0 : std::floor(spec_.tasks[task].units);
  if (units < 1) return 0;
  return std::floor(units * network_.progress(task, time, worker.draws, worker.base)) / units;
}

/// Until nearly every sample is ready, and whatever brings racks or power is there.
double Study::horizon() const {
  std::vector<double> ends = ends_;
  const auto late = ends.begin() + static_cast<std::ptrdiff_t>(static_cast<double>(samples_ - 1) * 0.99);
  std::nth_element(ends.begin(), late, ends.end());
  double out = *late;
  for (size_t i = 0; i < tasks(); ++i)
    if (!spec_.tasks[i].energises.empty() || spec_.tasks[i].power_mw > 0) out = std::max(out, finish_p90_[i]);
  return out;
}

void Study::ramp() {
  const size_t samples = std::min(samples_, kRampSamples);
  const size_t weeks = std::min(kMostWeeks, static_cast<size_t>(std::ceil(std::max(0.0, horizon()) / 7)) + 1);
  std::vector<std::pair<size_t, double>> racks, power;
  double all_racks = 0;
  for (size_t i = 0; i < tasks(); ++i) {
    const Task& task = spec_.tasks[i];
    if (task.energises == "racks") {
      racks.emplace_back(i, task.units > 0 ? task.units : 1);
      all_racks += racks.back().second;
    }
    if (task.power_mw > 0) power.emplace_back(i, task.power_mw);
  }
  std::vector<float> energised(weeks * samples), megawatts(weeks * samples), generated(weeks * samples);
  for_blocks(samples, [&](Worker& worker, size_t, size_t first, size_t last) {
    for (size_t s = first; s < last; ++s) {
      network_.draw(s, worker.draws);
      const double end = network_.place<false>(worker.draws, worker.base);
      for (size_t w = 0; w < weeks; ++w) {
        const double time = static_cast<double>(w) * 7;
        double share = racks.empty() ? (time >= end ? 1 : 0) : 0;
        for (const auto& [task, units] : racks)
          share += units / all_racks * network_.progress(task, time, worker.draws, worker.base);
        double mw = 0, generator = 0;
        for (const auto& [task, brings] : power) {
          const double there = brings * pieces_there(task, time, worker);
          mw += there;
          if (spec_.tasks[task].energises == "generators") generator += there;
        }
        energised[w * samples + s] = static_cast<float>(std::min(share, 1.0));
        megawatts[w * samples + s] = static_cast<float>(mw);
        generated[w * samples + s] = static_cast<float>(generator);
      }
    }
  });
  std::vector<float> column;
  const auto at = [&](const std::vector<float>& values, size_t week, double share) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(week * samples);
    column.assign(begin, begin + static_cast<std::ptrdiff_t>(samples));
    return quantile(column, share);
  };
  for (size_t w = 0; w < weeks; ++w) {
    ScheduleResult::Week week;
    week.day = day(static_cast<double>(w) * 7);
    week.energised_p10 = at(energised, w, 0.1);
    week.energised_p50 = at(energised, w, 0.5);
    week.energised_p90 = at(energised, w, 0.9);
    if (!power.empty()) {
      week.power_mw_p50 = at(megawatts, w, 0.5);
      week.generator_mw_p50 = at(generated, w, 0.5);
    }
    result_.ramp.push_back(week);
  }
}

}  // namespace

std::chrono::sys_days day_after(std::chrono::sys_days start, double days) {
  const double whole = std::clamp(std::ceil(days - kRounding), -kFarthest, kFarthest);
  return start + std::chrono::days(static_cast<int64_t>(whole));
}

ScheduleResult study_schedule(const ScheduleSpec& spec, const TaskNetwork& network, ThreadPool& pool) {
  return Study(spec, network, pool).run();
}

ScheduleResult plan_schedule(const ScheduleSpec& spec, ThreadPool& pool) {
  spec.check();
  return study_schedule(spec, TaskNetwork(spec, {}, 0), pool);
}

}  // namespace fathom::cluster
