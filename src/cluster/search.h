// The best parallel plans for a model, a machine and a batch: every plan of the space, with the Pareto front.
//
// Thread-safe; deterministic whatever the number of threads (ties go to the plan that comes first in the enumeration).
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Section [search] of a scenario; empty lists: every value that makes sense.
struct SearchSpace {
  std::vector<uint32_t> tensor, pipeline, context, expert, interleave, micro_batch;
  std::vector<uint8_t> zero;
  std::vector<Recompute> recompute;
  std::vector<Precision> precision{Precision::kBf16};
  std::vector<Schedule> schedule{Schedule::kOneForwardOneBackward, Schedule::kZeroBubble};
  bool offload = true;       // also with offloading
  bool fewer_chips = false;  // also plans that leave some chips idle, where the count has no good divisors
  static SearchSpace read(const TomlTable& table);
};

struct RankedPlan {
  ParallelPlan plan;
  StepCost cost;
};

struct SearchResult {
  std::vector<RankedPlan>
      best;  // by step time (at equal chips: tokens a second), at most SearchOptions::keep
  std::vector<RankedPlan> pareto;  // no other is better in time, memory and cost alike; by time
  uint64_t considered = 0;         // plans of the space, impossible ones included
  uint64_t feasible = 0;
  uint64_t out_of_memory = 0;
  double seconds = 0;  // set by the caller's clock, not here
  /// Best time for each (tensor, pipeline), over all else: the heat map. 0: none fits.
  struct HeatCell {
    uint32_t tensor, pipeline;
    double step_time;
    double mfu;
  };
  std::vector<HeatCell> heat;
  /// Where nothing fits: the plan that comes nearest, and what would make it fit, as a sentence.
  RankedPlan nearest;
  std::string remedy;
};

struct SearchOptions {
  size_t keep = 20;
  std::function<void(uint64_t done, uint64_t total)> progress;  // from the calling thread
  std::stop_token stop;                                         // leaves with what was found
};

SearchResult search(const StepModel& model, const SearchSpace& space, ThreadPool& pool,
                    const SearchOptions& options);

}  // namespace fathom::cluster
