// The trace of a simulation: one step of every pipeline stage in full, then the phases of a whole run.
//
// The step stands at the run's beginning, where it would be. Its size is bounded by kMaxTraceSlices: of a pipeline with more
// passes, the first and the last micro-batches are drawn, and a slice in each stage says how many are left out between. The
// run is bounded by kMaxTracePhases of each kind: where more are to be expected, one in so many of the short phases (training
// between two checkpoints, checkpoints) is drawn, and the process's name says so; failures and recoveries are drawn up to that
// count.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/simulate_run.h"
#include "cluster/trace.h"

namespace fathom::cluster {

inline constexpr uint64_t kMaxTraceSlices = 200'000;
inline constexpr uint64_t kMaxTracePhases = 20'000;

void trace_step(TraceWriter& writer, const StepShape& shape);

class RunTrace final : public RunObserver {
 public:
  RunTrace(TraceWriter& writer, const RunInput& input);

  void phase(Spent what, double begin, double end) override;
  void failure(size_t kind, uint64_t node, double time) override;
  void slow(uint64_t node, Slowness how, double begin, double end) override;
  void written(double begin, double end, bool durable) override;
  void progress(double time, double useful_s, double step_s) override;

 private:
  TraceWriter& writer_;
  const RunInput& input_;
  uint64_t every_ = 1;  // one in so many short phases is drawn
  uint64_t phases_ = 0, pauses_ = 0, writes_ = 0, recoveries_ = 0, failures_ = 0, slow_ = 0;
  uint64_t samples_ = 0;
  std::vector<double> slow_until_;  // of the tracks of slow nodes
};

}  // namespace fathom::cluster
