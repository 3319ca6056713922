#include "cluster/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/simulate_run.h"
#include "cluster/simulate_trace.h"

namespace fathom::cluster {
namespace {

constexpr double kHour = 3600;
constexpr double kForever = std::numeric_limits<double>::infinity();
constexpr uint32_t kSweepRuns = 12;    // of each interval: all meet the same failures, so few tell them apart
constexpr double kSweepHalfSteps = 5;  // of sqrt(2) on either side of Daly's
constexpr uint32_t kMaxRuns = 100'000;

/// Standard error of a percentile: half the distance between the values whose ranks are one standard deviation of the
/// binomial apart to either side.
double rank_error(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const double spread = std::sqrt(n * share * (1 - share));
  const auto at = [&](double rank) {
    return sorted[static_cast<size_t>(std::clamp(std::round(rank), 0.0, n - 1))];
  };
  return (at((n - 1) * share + spread) - at((n - 1) * share - spread)) / 2;
}

double percentile(const std::vector<double>& sorted, double share) {
  const double rank = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

template <class Value>
Interval interval_of(const std::vector<RunOutcome>& runs, Value value) {
  std::vector<double> sorted;
  double sum = 0;
  for (const RunOutcome& run : runs) {
    sorted.push_back(value(run));
    sum += sorted.back();
  }
  std::sort(sorted.begin(), sorted.end());
  Interval interval;
  interval.low = percentile(sorted, 0.05);
  interval.middle = percentile(sorted, 0.5);
  interval.high = percentile(sorted, 0.95);
  interval.low_error = rank_error(sorted, 0.05);
  interval.middle_error = rank_error(sorted, 0.5);
  interval.high_error = rank_error(sorted, 0.95);
  interval.mean = sum / static_cast<double>(sorted.size());
  return interval;
}

double goodput_of(const RunOutcome& run) { return run.wall_s > 0 ? run.spent[0] / run.wall_s : 1; }

/// Scale-out bandwidth of a chip: the narrowest tier that traffic to the storage crosses; 0 where there is no network.
double network_rate(const Network& network) {
  double rate = 0;
  const auto& tiers = network.tiers();
  for (size_t t = tiers.size() > 1 ? 1 : 0; t < tiers.size(); ++t)
    if (tiers[t].bytes_per_s > 0)
      rate = rate > 0 ? std::min(rate, tiers[t].bytes_per_s) : tiers[t].bytes_per_s;
  return rate;
}

CheckpointCost checkpoint_of(const StepModel& model, const ParallelPlan& plan, const RunSpec& spec,
                             const Catalogue& catalogue) {
  CheckpointPath path;
  path.bytes = static_cast<double>(model.model().parameters()) * spec.checkpoint_bytes_per_parameter;
  path.chips = static_cast<double>(plan.chips());
  path.writers = path.chips / (plan.zero == 0 ? plan.data : 1);
  path.copy_bytes_per_s_per_chip = model.machine().host.host_link_bytes_per_s;
  path.network_bytes_per_s_per_chip = network_rate(model.machine().network);
  if (!spec.storage.empty() && spec.storage_units > 0) {
    const Storage& storage = catalogue.storage(spec.storage);
    path.storage_write_bytes_per_s = storage.write_bytes_per_s * spec.storage_units;
    path.storage_read_bytes_per_s = storage.read_bytes_per_s * spec.storage_units;
  }
  path.readers = plan.data;
  path.pause_s = spec.checkpoint_pause_s;
  path.asynchronous = spec.checkpoint_async;
  return checkpoint_cost(path);
}

/// Runs of one or several inputs, spread over the pool; the first error is thrown once all have stopped.
class Batch {
 public:
  Batch(ThreadPool& pool, const SimulateOptions& options) : pool_(pool), options_(options) {}

  /// `share` of the whole that this batch is, from `done` on, for the progress.
  std::vector<std::vector<RunOutcome>> run(const std::vector<RunInput>& inputs, uint32_t runs, uint64_t seed,
                                           double done, double share, RunObserver* observer) {
    const size_t total = inputs.size() * runs;
    std::vector<std::vector<RunOutcome>> outcomes(inputs.size(), std::vector<RunOutcome>(runs));
    std::atomic<size_t> next{0}, finished{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;
    std::mutex mutex;
    pool_.run([&](size_t thread) {
      // Only the caller's thread tells of progress.
      const std::function<void(double)> tell = [&](double part) {
        const auto n = static_cast<double>(finished.load(std::memory_order_relaxed));
        options_.progress(done + share * std::min(1.0, (n + part) / static_cast<double>(total)));
      };
      const std::function<void(double)> silent;
      for (size_t i = next++; i < total && !failed; i = next++) {
        try {
          outcomes[i / runs][i % runs] =
              simulate_run(inputs[i / runs], seed + i % runs, options_.stop,
                           thread == 0 && options_.progress ? tell : silent, i == 0 ? observer : nullptr);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!error) error = std::current_exception();
          failed = true;
        }
        ++finished;
      }
    });
    if (error) std::rethrow_exception(error);
    if (options_.progress) options_.progress(done + share);
    return outcomes;
  }

 private:
  ThreadPool& pool_;
  const SimulateOptions& options_;
};

uint64_t steps_between(double interval_s, const CheckpointCost& checkpoint, double step_s,
                       bool asynchronous) {
  if (interval_s >= kForever) return 0;
  const double least = asynchronous ? std::max(interval_s, checkpoint.write_s) : interval_s;
  return static_cast<uint64_t>(std::clamp(std::round(least / step_s), 1.0, 1e15));
}

/// The top of the parabola through the best of the sweep and its neighbours, over the logarithm of the interval.
double best_interval(const std::vector<std::pair<double, double>>& sweep) {
  size_t best = 0;
  for (size_t i = 1; i < sweep.size(); ++i)
    if (sweep[i].second > sweep[best].second) best = i;
  if (best == 0 || best + 1 == sweep.size()) return sweep[best].first;
  const double x0 = std::log(sweep[best - 1].first), x1 = std::log(sweep[best].first),
               x2 = std::log(sweep[best + 1].first);
  const double left = (sweep[best].second - sweep[best - 1].second) / (x1 - x0);
  const double right = (sweep[best + 1].second - sweep[best].second) / (x2 - x1);
  if (left - right <= 0) return sweep[best].first;
  const double top = (x0 + x1) / 2 + left * (x2 - x0) / 2 / (left - right);
  return std::exp(std::clamp(top, x0, x2));
}

void sweep(Batch& batch, const RunInput& input, double daly, RunResult& result) {
  std::vector<RunInput> inputs;
  const double step = result.analytic_step_s;
  for (double half = -kSweepHalfSteps; half <= kSweepHalfSteps; ++half) {
    RunInput other = input;
    other.steps_between_checkpoints =
        steps_between(daly * std::pow(2.0, half / 2), input.checkpoint, step, input.spec.checkpoint_async);
    if (!inputs.empty() && inputs.back().steps_between_checkpoints == other.steps_between_checkpoints)
      continue;
    inputs.push_back(std::move(other));
  }
  const auto outcomes =
      batch.run(inputs, std::min(input.spec.runs, kSweepRuns), input.spec.seed, 0.2, 0.8, nullptr);
  for (size_t i = 0; i < inputs.size(); ++i) {
    double sum = 0;
    for (const RunOutcome& run : outcomes[i]) {
      sum += goodput_of(run);
      result.events += run.events;
    }
    result.interval_sweep.emplace_back(static_cast<double>(inputs[i].steps_between_checkpoints) * step,
                                       sum / static_cast<double>(outcomes[i].size()));
  }
  result.interval_simulated_s = best_interval(result.interval_sweep);
}

void summarise(const RunInput& input, const std::vector<RunOutcome>& runs, RunResult& result) {
  const auto n = static_cast<double>(runs.size());
  result.goodput = interval_of(runs, goodput_of);
  result.tokens =
      interval_of(runs, [&](const RunOutcome& r) { return std::floor(r.steps + 1e-6) * input.shape.tokens; });
  if (input.steps > 0)
    result.wall_days = interval_of(runs, [](const RunOutcome& r) { return r.wall_s / (24 * kHour); });
  result.interruptions =
      interval_of(runs, [](const RunOutcome& r) { return static_cast<double>(r.interruptions); });
  result.longest_outage_s = interval_of(runs, [](const RunOutcome& r) { return r.longest_outage_s; });
  double wall = 0, interruptions = 0;
  for (const RunOutcome& run : runs) {
    wall += run.wall_s;
    interruptions += static_cast<double>(run.interruptions);
    result.stragglers += static_cast<double>(run.stragglers) / n;
    result.checkpoints += static_cast<double>(run.checkpoints) / n;
    result.events += run.events;
  }
  result.mean_hours_between_interruptions = interruptions > 0 ? wall / kHour / interruptions : 0;
  for (size_t cause = 1; cause < kSpents; ++cause) {
    double share = 0;
    for (const RunOutcome& run : runs) share += run.wall_s > 0 ? run.spent[cause] / run.wall_s / n : 0;
    result.lost.push_back({std::string(to_string(static_cast<Spent>(cause))), std::max(0.0, share)});
  }
  std::stable_sort(result.lost.begin(), result.lost.end(),
                   [](const LostTime& a, const LostTime& b) { return a.share > b.share; });
  std::erase_if(result.lost, [](const LostTime& lost) { return lost.share < 1e-9; });
  for (size_t kind = 0; kind < input.failures.size(); ++kind) {
    const FailureKind& failure = input.failures[kind];
    FailureCount count{failure.id, failure.name, 0, 0};
    count.expected = failure.per_chip_hour * input.spec.failure_scale *
                     static_cast<double>(input.shape.chips()) * wall / n / kHour;
    for (const RunOutcome& run : runs) count.mean += static_cast<double>(run.failures[kind]) / n;
    result.failures.push_back(count);
  }
}

}  // namespace

RunSpec RunSpec::read(const TomlTable& table) {
  table.allow({"days",
               "failures",
               "failure_scale",
               "detection_s",
               "hang_share",
               "hang_detection_s",
               "restart_s",
               "spare_nodes",
               "swap_s",
               "manual_share",
               "manual_hours",
               "storage",
               "storage_units",
               "checkpoint_interval_s",
               "checkpoint_bytes_per_parameter",
               "checkpoint_async",
               "checkpoint_pause_s",
               "straggler_share",
               "straggler_slowdown",
               "straggler_hours",
               "degraded_share",
               "degraded_links",
               "degraded_hours",
               "planned_hours_between",
               "planned_s",
               "elastic",
               "repair_slots",
               "infant_shape",
               "age_hours",
               "runs",
               "seed"});
  RunSpec spec;
  const auto read = [&](double& value, std::string_view key, double low, double high) {
    value = table.number_or(key, value, low, high);
  };
  constexpr double kLong = 1e8;  // seconds: three years
  read(spec.days, "days", 0, 36500);
  spec.failures = table.text_or("failures", spec.failures);
  read(spec.failure_scale, "failure_scale", 0, 1e4);
  read(spec.detection_s, "detection_s", 0, kLong);
  read(spec.hang_share, "hang_share", 0, 1);
  read(spec.hang_detection_s, "hang_detection_s", 0, kLong);
  read(spec.restart_s, "restart_s", 0, kLong);
  read(spec.spare_nodes, "spare_nodes", 0, 1e7);
  read(spec.swap_s, "swap_s", 0, kLong);
  read(spec.manual_share, "manual_share", 0, 1);
  read(spec.manual_hours, "manual_hours", 0, 1e5);
  spec.storage = table.text_or("storage", spec.storage);
  spec.storage_units =
      static_cast<uint32_t>(table.integer_or("storage_units", spec.storage_units, 0, 10'000'000));
  if (!spec.storage.empty() && spec.storage_units == 0)
    table.error("storage", "a storage without units writes nothing: give run.storage_units as well");
  read(spec.checkpoint_interval_s, "checkpoint_interval_s", 0, kLong);
  read(spec.checkpoint_bytes_per_parameter, "checkpoint_bytes_per_parameter", 0, 1e3);
  spec.checkpoint_async = table.flag_or("checkpoint_async", spec.checkpoint_async);
  read(spec.checkpoint_pause_s, "checkpoint_pause_s", 0, kLong);
  read(spec.straggler_share, "straggler_share", 0, 0.5);
  read(spec.straggler_slowdown, "straggler_slowdown", 1, 100);
  read(spec.straggler_hours, "straggler_hours", 0.01, 1e5);
  read(spec.degraded_share, "degraded_share", 0, 0.5);
  read(spec.degraded_links, "degraded_links", 0.01, 1);
  read(spec.degraded_hours, "degraded_hours", 0.01, 1e5);
  read(spec.planned_hours_between, "planned_hours_between", 0, 1e5);
  read(spec.planned_s, "planned_s", 0, kLong);
  spec.elastic = table.flag_or("elastic", spec.elastic);
  spec.repair_slots =
      static_cast<uint32_t>(table.integer_or("repair_slots", spec.repair_slots, 0, 1'000'000));
  read(spec.infant_shape, "infant_shape", 0.2, 5);
  read(spec.age_hours, "age_hours", 0, 1e6);
  spec.runs = static_cast<uint32_t>(table.integer_or("runs", spec.runs, 1, kMaxRuns));
  spec.seed = static_cast<uint64_t>(
      table.integer_or("seed", static_cast<int64_t>(spec.seed), 0, std::numeric_limits<int64_t>::max()));
  return spec;
}

RunResult simulate(const StepModel& model, const ParallelPlan& plan, const RunSpec& spec,
                   const Catalogue& catalogue, ThreadPool& pool, const SimulateOptions& options) {
  RunInput input;
  input.shape = step_shape(model, plan);
  input.spec = spec;
  input.spec.runs = std::clamp(spec.runs, 1u, kMaxRuns);
  if (!spec.failures.empty()) input.failures = catalogue.failures(spec.failures);
  input.checkpoint = checkpoint_of(model, plan, spec, catalogue);
  if (spec.days <= 0) {
    if (model.job().tokens <= 0)
      throw Error(
          ErrorCode::kInvalidArgument,
          "run.days = 0 simulates until job.tokens are trained, but the job has none: give one of them");
    input.steps = std::ceil(model.job().tokens / input.shape.tokens);
  }

  RunResult result;
  double per_chip_hour = 0, repair = 0, repairs = 0;
  for (const FailureKind& kind : input.failures) {
    per_chip_hour += kind.per_chip_hour;
    if (!kind.needs_spare) continue;
    repair += kind.per_chip_hour * kind.repair_hours;
    repairs += kind.per_chip_hour;
  }
  if (repairs > 0) input.repair_hours = repair / repairs;
  const double per_hour = per_chip_hour * spec.failure_scale * static_cast<double>(input.shape.chips());
  const double between = per_hour > 0 ? kHour / per_hour : kForever;
  const StepTimes times(input.shape,
                        {spec.straggler_slowdown, spec.degraded_links, input.checkpoint.network_share});
  result.step_s = times.simulated();
  result.analytic_step_s = input.shape.analytic_s;
  result.checkpoint_s = input.checkpoint.blocks_s;
  result.checkpoint_write_s = input.checkpoint.write_s;
  result.checkpoint_read_s = input.checkpoint.read_s;
  result.interval_young_s = young_interval_s(input.checkpoint.blocks_s, between);
  result.interval_daly_s = daly_interval_s(input.checkpoint.blocks_s, between);
  result.interval_available_s = availability_interval_s(
      input.checkpoint.blocks_s, between, spec.detection_s + spec.restart_s + input.checkpoint.read_s);
  const double wanted = spec.checkpoint_interval_s > 0 ? spec.checkpoint_interval_s : result.interval_daly_s;
  input.steps_between_checkpoints =
      steps_between(wanted, input.checkpoint, times.healthy(), spec.checkpoint_async);
  result.interval_used_s = static_cast<double>(input.steps_between_checkpoints) * times.healthy();
  result.steps_between_checkpoints =
      static_cast<uint32_t>(std::min<uint64_t>(input.steps_between_checkpoints, 0xFFFFFFFF));

  Batch batch(pool, options);
  const bool sweeps = options.sweep_interval && between < kForever;
  std::vector<std::vector<RunOutcome>> outcomes;
  if (options.trace != nullptr) {
    TraceWriter writer(*options.trace);
    trace_step(writer, input.shape);
    RunTrace trace(writer, input);
    outcomes = batch.run({input}, input.spec.runs, spec.seed, 0, sweeps ? 0.2 : 1, &trace);
  } else {
    outcomes = batch.run({input}, input.spec.runs, spec.seed, 0, sweeps ? 0.2 : 1, nullptr);
  }
  summarise(input, outcomes[0], result);
  if (sweeps) sweep(batch, input, result.interval_daly_s, result);
  for (double* value : {&result.interval_young_s, &result.interval_daly_s, &result.interval_available_s})
    if (std::isinf(*value)) *value = 0;  // no failures: none is best
  return result;
}

}  // namespace fathom::cluster
