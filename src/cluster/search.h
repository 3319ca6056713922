// The best parallel plans for a model, a machine and a batch: every plan of the space, with the Pareto front.
//
// The space: every tensor, context, expert and expert-tensor degree, micro-batch, recomputation, precision, sequence
// parallelism and overlap (these decide what a layer costs; StepModel::layers runs once for each combination), and for each
// of them every pipeline and data degree, interleaving, schedule, ZeRO stage and offloading. Nothing is sampled or skipped
// by a rule of thumb: a plan is left out only where it cannot be (a degree that divides nothing) or where it is another
// plan by another name (interleaving without a pipeline, ...).
//
// Thread-safe; deterministic whatever the number of threads (ties go to the plan that comes first in the enumeration).
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Of a switch of a plan: both ways, or one.
enum class Either : uint8_t { kBoth, kYes, kNo };

/// Section [search] of a scenario: keys as the names below; recompute = ["none", "selective", "full"], schedule = ["1f1b",
/// "zero-bubble"], switches = "both", "yes" or "no". Empty lists: every value that makes sense.
struct SearchSpace {
  std::vector<uint32_t> tensor, pipeline, context, expert, interleave, micro_batch;
  std::vector<uint32_t> expert_tensor;
  std::vector<uint8_t> zero;
  std::vector<Recompute> recompute;
  std::vector<Precision> precision{Precision::kBf16};
  std::vector<Schedule> schedule{Schedule::kOneForwardOneBackward, Schedule::kZeroBubble};
  Either sequence_parallel = Either::kBoth, overlap_data = Either::kBoth, overlap_tensor = Either::kBoth,
         overlap_expert = Either::kBoth;
  bool offload = true;       // also with offloading
  bool fewer_chips = false;  // also plans that leave some chips idle, where the count has no good divisors
  uint64_t min_chips = 0;    // where fewer are allowed; 0: three quarters
  uint64_t max_chips = 0;    // at most the machine's; 0: those
  /// Errors: kInvalidArgument with the line.
  static SearchSpace read(const TomlTable& table);
  friend bool operator==(const SearchSpace&, const SearchSpace&) = default;
};

struct RankedPlan {
  ParallelPlan plan;
  StepCost cost;
};

struct SearchResult {
  std::vector<RankedPlan> best;    // by step time, at most SearchOptions::keep
  std::vector<RankedPlan> pareto;  // no other is as good in time, memory and chips and better in one; by time
  uint64_t considered = 0;         // plans of the space, impossible ones included
  uint64_t evaluated = 0;          // those whose time and memory were computed: feasible + out_of_memory
  uint64_t feasible = 0;
  uint64_t out_of_memory = 0;
  double seconds = 0;  // set by the caller's clock, not here
  /// Best time for each (tensor, pipeline), over all else: the heat map. 0: none fits.
  struct HeatCell {
    uint32_t tensor = 1, pipeline = 1;
    double step_time = 0;
    double mfu = 0;
  };
  std::vector<HeatCell> heat;  // by tensor, then pipeline; degrees that no plan can have are left out
  /// Where nothing fits: the plan that comes nearest (least memory), and what would make it fit, as a sentence without a
  /// full stop that stands after a colon.
  RankedPlan nearest;
  std::string remedy;
  bool stopped = false;  // by the token, before all was seen
};

struct SearchOptions {
  size_t keep = 20;
  std::function<void(uint64_t done, uint64_t total)> progress;  // plans; from the calling thread
  std::stop_token stop;                                         // leaves with what was found
  bool remedy = true;  // where nothing fits, look for what would: some more searches
};

SearchResult search(const StepModel& model, const SearchSpace& space, ThreadPool& pool,
                    const SearchOptions& options);

}  // namespace fathom::cluster
