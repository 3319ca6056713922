// A whole training run on the whole machine as discrete events: steps, stragglers, failures by component, detection,
// spares, restarts and checkpoints; goodput with its band.
//
// Deterministic for a seed, whatever the number of threads. Thread-safe; runs are spread over the pool. Without failures,
// stragglers and checkpoints the run takes exactly steps * step_time of StepModel; what stragglers, degraded links, missing
// replicas and the writing of checkpoints add to a step comes from the step as events (simulate_step.h).
// Sources: Llama 3 (Dubey et al. 2024, table 5) for rates, Young 1974 and Daly 2006 for the interval. No source gives the
// share of stragglers on a machine that replaces them (MegaScale found 0.5 % of its nodes slow before it looked for them): the
// defaults of straggler_* and degraded_* are assumptions.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <stop_token>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Section [run] of a scenario.
struct RunSpec {
  double days = 54;                      // simulated; 0: until `job.tokens` are trained
  std::string failures = "llama3-h100";  // set of the catalogue
  double failure_scale = 1;              // of its rates
  double detection_s =
      60;  // until a failure is known (hangs take longer: hang_share of them hang_detection_s)
  double hang_share = 0.1, hang_detection_s = 600;
  double restart_s = 300;                        // scheduling, start of processes, collectives' set-up
  double spare_nodes = 0;                        // kept warm
  double swap_s = 120;                           // to bring a spare in
  double manual_share = 0.01, manual_hours = 4;  // failures that need hands
  std::string storage;                           // id of the catalogue
  uint32_t storage_units = 0;
  double checkpoint_interval_s = 0;  // 0: the optimum by Daly
  double checkpoint_bytes_per_parameter = 14;
  bool checkpoint_async = true;                     // a copy to host memory blocks, the writing does not
  double straggler_share = 2e-5;                    // of nodes at any time
  double straggler_slowdown = 1.15;                 // of the time of a slow node
  double straggler_hours = 6;                       // until it is found and replaced
  double planned_hours_between = 0, planned_s = 0;  // maintenance; 0: none
  /// Nodes with degraded links (a flapping cable, a lost lane): the bandwidth that is left, and how long until mended.
  double degraded_share = 1e-5, degraded_links = 0.5, degraded_hours = 6;
  bool elastic = false;           // without a spare, goes on with fewer data-parallel replicas; else waits
  uint32_t repair_slots = 0;      // nodes mended at the same time, the others queue; 0: no limit
  double checkpoint_pause_s = 1;  // until all have stopped at the same step, and until all go on
  /// Young machines fail more: the rate goes with the age to the power of (infant_shape - 1) (Weibull; Crow 1974 for what is
  /// mended), and is the catalogue's on average over the first 54 days. 1: the same at all ages. `age_hours`: burnt in.
  double infant_shape = 1, age_hours = 0;
  uint32_t runs = 32;  // for the band
  uint64_t seed = 1;
  static RunSpec read(const TomlTable& table);
};

struct Interval {
  double low = 0, middle = 0, high = 0;  // 5th, 50th and 95th percentile over the runs
  /// Standard errors of the three, from the binomial spread of their ranks among so many runs.
  double low_error = 0, middle_error = 0, high_error = 0;
  double mean = 0;
};

struct LostTime {
  std::string
      cause;  // "checkpoint", "recomputed steps", "detection", "restart", "waiting for repair", "stragglers", ...
  double share = 0;  // of wall time, mean over runs
};
struct FailureCount {
  std::string id, name;
  double expected = 0;  // a run
  double mean = 0;      // simulated
};

struct RunResult {
  Interval goodput;    // useful step time over wall time
  Interval tokens;     // trained within the days
  Interval wall_days;  // to train job.tokens; 0 where not said
  Interval interruptions;
  double mean_hours_between_interruptions = 0;
  std::vector<LostTime> lost;
  std::vector<FailureCount> failures;
  double checkpoint_s = 0;        // that one blocks the run
  double checkpoint_write_s = 0;  // until it is durable
  double interval_young_s = 0, interval_daly_s = 0, interval_used_s = 0;
  double interval_simulated_s = 0;  // the best of a sweep by simulation (only where asked)
  std::vector<std::pair<double, double>> interval_sweep;  // interval, goodput
  uint64_t events = 0;                                    // of all runs
  /// Of the healthy machine: by events alone, and StepModel's, which the run takes.
  double step_s = 0, analytic_step_s = 0;
  Interval longest_outage_s;        // of a run, from the failure until steps go on
  double stragglers = 0;            // slow nodes that were found, mean over runs
  double checkpoints = 0;           // that became durable, mean over runs
  double checkpoint_read_s = 0;     // to load one
  double interval_available_s = 0;  // of the greatest availability, recovery included (arXiv 2410.18124)
  uint32_t steps_between_checkpoints = 0;  // 0: none are written
};

struct SimulateOptions {
  bool sweep_interval = false;
  std::function<void(double done)> progress;  // 0..1
  std::stop_token stop;
  std::ostream* trace =
      nullptr;  // of the first run: Chrome trace events that Perfetto opens (one step of every stage in
                // full, then phases, failures, checkpoints)
};

/// Errors: kInvalidArgument (a plan that is not feasible; a run that does not get ahead, with what would help), kNotFound
/// (failure set or storage of the catalogue), kCancelled.
RunResult simulate(const StepModel& model, const ParallelPlan& plan, const RunSpec& spec,
                   const Catalogue& catalogue, ThreadPool& pool, const SimulateOptions& options);

}  // namespace fathom::cluster
