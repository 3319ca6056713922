// One run of the whole machine as discrete events: what fails when, who notices, what replaces it, which steps are lost.
//
// A run alternates between training and standing still. While it trains, progress grows by 1 / step time a second, and the
// step time changes only when a node becomes slow or is replaced, a replica drops out or a checkpoint is written: so all
// steps between two events are one subtraction, exact to the fraction of a step. Failures come as a Poisson process in wall
// time (thinned where replicas are missing), each from its own stream of random numbers, so that two intervals between
// checkpoints meet the same failures.
//
// After a failure: detection, hands where needed, a spare (else waiting for a repair, else fewer replicas), restart,
// loading the last durable checkpoint; a failure meanwhile begins this anew. Slow nodes are replaced, replicas taken back and
// maintenance done after a checkpoint that is waited for, so that no step is lost. Deterministic; one thread a run.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "cluster/checkpoint.h"
#include "cluster/simulate.h"
#include "cluster/simulate_step.h"

namespace fathom::cluster {

/// What the wall time goes to; the first is useful.
enum class Spent : uint8_t {
  kUseful,
  kRecomputed,  // steps since the last durable checkpoint
  kCheckpoint,
  kCheckpointTraffic,  // steps that last longer while one is written
  kDetection,
  kHands,
  kRepair,  // waiting for a node where there is no spare
  kSwap,
  kRestart,
  kLoading,
  kStragglers,  // and degraded links: steps that last longer
  kFewerReplicas,
  kMaintenance
};
inline constexpr size_t kSpents = 13;
std::string_view to_string(Spent spent);

/// All that a run needs, prepared once for all of them.
struct RunInput {
  StepShape shape;
  RunSpec spec;
  std::vector<FailureKind> failures;
  CheckpointCost checkpoint;
  uint64_t steps_between_checkpoints = 0;  // 0: none
  double steps = 0;                        // after which the run is over; 0: by spec.days
  double repair_hours = 24;                // of a slow node
};

/// Hears of what happens, in the order of time; all calls come from the thread of the run.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void phase(Spent what, double begin, double end) = 0;  // training: kUseful
  virtual void failure(size_t kind, uint64_t node, double time) = 0;
  virtual void slow(uint64_t node, Slowness how, double begin, double end) = 0;
  virtual void written(double begin, double end, bool durable) = 0;
  /// `useful_s`: of the wall time until now, net of what was lost.
  virtual void progress(double time, double useful_s, double step_s) = 0;
};

struct RunOutcome {
  double wall_s = 0;
  double steps = 0;  // net, with the fraction of the last
  std::array<double, kSpents> spent{};
  std::vector<uint64_t> failures;  // by kind
  uint64_t interruptions = 0, stragglers = 0, checkpoints = 0, events = 0;
  double longest_outage_s = 0;
};

/// Errors: kInvalidArgument where the run does not get ahead, kCancelled. `progress` is called with the share that is done.
RunOutcome simulate_run(const RunInput& input, uint64_t seed, const std::stop_token& stop,
                        const std::function<void(double)>& progress, RunObserver* observer = nullptr);

}  // namespace fathom::cluster
