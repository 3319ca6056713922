// How long a step lasts while some nodes are slow, some links are degraded, replicas are missing or a checkpoint is being
// written: the pipeline of the slowest replica, then what all replicas do together.
//
// StepShape is all that the simulation knows of the model and of the machine. StepModel's closed form, which is held to
// measured runs, is the time of the healthy step; the pipeline as events gives what trouble adds to it (and agrees with the
// closed form within 1 % but for uneven interleaved stages: `simulated` tells). A StepTimes belongs to one thread; it keeps
// the pipelines that it has walked through, and gives the same times whatever was asked before.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "cluster/simulate_pipeline.h"

namespace fathom::cluster {

/// One step of the whole machine, healthy. Ranks are numbered tensor first, then context, data, pipeline.
struct StepShape {
  PipelineShape pipeline;
  uint32_t replicas = 1;                 // data-parallel
  uint32_t chips_per_replica_stage = 1;  // tensor * context
  uint32_t chips_per_node = 8;
  double data_comm_s = 0;        // exposed, after the pipeline
  double data_comm_total_s = 0;  // with what is hidden behind the backward pass
  double tail_s = 0;             // optimiser, offload, host program: all replicas alike
  double tokens = 0;             // of a step
  double analytic_s = 0;         // StepTime::step_time; 0: not known
  /// Shares of the time of a pass that collectives take within it (tensor, context, expert), for the trace.
  double tensor_share = 0, context_share = 0, expert_share = 0;

  uint64_t chips() const { return uint64_t{replicas} * chips_per_replica_stage * pipeline.stages.size(); }
  uint64_t nodes() const { return (chips() + chips_per_node - 1) / chips_per_node; }
  /// The replicas and the stage that a node's chips belong to.
  struct Place {
    uint32_t first_replica = 0, last_replica = 0, stage = 0;
  };
  /// A node that reaches over two stages counts for the one of its first chip. REQUIRES: node < nodes().
  Place place(uint64_t node) const;
};

/// Errors: kInvalidArgument where the plan is not feasible; `any_memory`: one that does not fit into the memory is.
StepShape step_shape(const StepModel& model, const ParallelPlan& plan, bool any_memory = false);

enum class Slowness : uint8_t { kComputes, kSends };  // a straggler; a node with degraded links

/// What is not as it should be.
struct StepCondition {
  std::map<uint64_t, Slowness> slow;  // by node
  std::set<uint64_t> missing;         // nodes whose replicas sit the step out
  bool writing = false;               // a checkpoint goes over the same network
};

class StepTimes {
 public:
  struct Factors {
    double slow_compute = 1.15;  // of the time of a straggler's passes
    double slow_links = 0.5;     // of the bandwidth that is left of degraded links
    double write_share = 0;      // of the bandwidth that a checkpoint takes
  };
  StepTimes(const StepShape& shape, const Factors& factors);

  double healthy() const { return healthy_; }      // StepShape::analytic_s, or else as simulated
  double simulated() const { return simulated_; }  // the healthy step by events alone
  /// Replicas that work when these nodes are missing; may be 0.
  uint32_t replicas(const std::set<uint64_t>& missing) const;

  /// The step, and what it would be with one kind of trouble after the other left out, so that
  /// healthy <= fewer <= slow <= all.
  struct Parts {
    double fewer = 0;  // replicas alone: more micro-batches for each of the rest
    double slow = 0;   // with stragglers and degraded links too
    double all = 0;    // with the checkpoint's traffic too
  };
  /// REQUIRES: replicas(condition.missing) > 0.
  Parts at(const StepCondition& condition);

 private:
  struct Key {
    uint32_t micro_batches = 0;
    bool writing = false;
    std::vector<uint64_t> slow;  // stage * 2 + slowness, in order
    auto operator<=>(const Key&) const = default;
  };
  double pipeline(const Key& key);
  double step(uint32_t micro_batches, const std::map<uint64_t, Slowness>& slow, const std::set<uint32_t>& out,
              bool writing);
  std::set<uint32_t> replicas_out(const std::set<uint64_t>& missing) const;

  const StepShape shape_;
  const Factors factors_;
  std::map<Key, double> known_;
  double healthy_ = 0, simulated_ = 0;
  double beside_ = 0;  // closed form less simulation
};

}  // namespace fathom::cluster
