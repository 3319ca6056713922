// Time and memory of one training step, layer by layer, from the ModelConfig, the machine and the parallel plan alone.
//
// The names are those of the counters of real runs (step_time, exposed_comm, bubble, mfu). A StepModel is built once for
// a model and a machine; evaluate() is const, thread-safe and deterministic, allocates nothing and takes well under a
// microsecond once the layer costs of its (tensor, context, expert, micro-batch, ...) are in the LayerTable.
//
// Sources: Narayanan et al. 2021 (pipeline, interleaving, FLOP formula), Korthikanti et al. 2022 (sequence parallelism,
// selective recomputation, activation bytes), Rajbhandari et al. 2020 (ZeRO), Isaev et al. 2023 (Calculon),
// Qi et al. 2024 (zero bubble), Dao 2023 (attention). docs/planning.md has every formula.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/catalogue.h"
#include "cluster/network.h"
#include "model/config.h"

namespace fathom::cluster {

enum class Recompute : uint8_t { kNone, kSelective, kFull };
enum class Schedule : uint8_t {
  kOneForwardOneBackward,
  kZeroBubble
};                                                    // interleave > 1: the interleaved form
enum class Attention : uint8_t { kFused, kUnfused };  // unfused stores and reads the score matrix
std::string_view to_string(Recompute recompute);

/// How the work of a step is spread over the chips. data * tensor * pipeline * context = chips. Ranks are numbered tensor
/// first, then context, data, pipeline.
struct ParallelPlan {
  uint32_t data = 1;
  uint32_t tensor = 1;
  uint32_t pipeline = 1;
  uint32_t context = 1;
  uint32_t expert =
      1;  // divides data * context * tensor (experts lie across those ranks) and the experts' count
  uint32_t expert_tensor = 1;  // tensor parallelism within an expert
  uint32_t interleave = 1;     // chunks of layers a pipeline stage (virtual stages)
  uint32_t micro_batch = 1;    // sequences
  uint8_t zero = 1;  // 0: replicated; 1: optimiser; 2: and gradients; 3: and weights (FSDP) sharded over data
  bool sequence_parallel = true;  // norms and residuals split over `tensor`
  Recompute recompute = Recompute::kNone;
  Schedule schedule = Schedule::kOneForwardOneBackward;
  Precision precision = Precision::kBf16;  // of matrix products
  bool offload_optimizer = false;          // to host memory
  bool offload_activations = false;
  bool overlap_data = true;     // gradients' reduction and weights' gathering behind computation
  bool overlap_tensor = false;  // tensor collectives behind products (split by chunks)
  bool overlap_expert = false;  // all-to-all behind computation (DualPipe and the like)

  uint64_t chips() const { return uint64_t{data} * tensor * pipeline * context; }
  friend bool operator==(const ParallelPlan&, const ParallelPlan&) = default;
};
std::string describe(const ParallelPlan& plan);  // "dp 128 tp 8 pp 16 x2 ep 8 mbs 1, selective, zero-1, bf16"

/// What is trained.
struct TrainingJob {
  uint64_t sequence = 4096;      // tokens
  uint64_t global_batch = 1024;  // sequences
  double tokens = 0;             // of the whole run; 0: not said
  Attention attention = Attention::kFused;
  bool causal_skips = true;       // fused kernels skip the masked half
  bool fused_elementwise = true;  // norms, activations, dropout-adds in single passes
  double dropout_passes = 0;    // extra passes over activations a layer for dropout masks (2021's recipes: 3)
  double gradient_bytes = 4;    // of one gradient as it is kept and reduced (2: bf16)
  double optimizer_bytes = 12;  // of one parameter: master copy and two moments
  double expert_imbalance = 1.0;  // the most loaded rank over the mean
  static TrainingJob read(const TomlTable& table);
};

/// Chips in hosts on a network.
struct Machine {
  Accelerator chip;
  Host host;
  Network network;
  uint64_t chips = 0;
};

/// Of the busiest chip, in seconds of one step. The parts add up to step_time.
struct StepTime {
  double forward = 0, backward = 0, recompute = 0;  // kernels
  double optimizer = 0;
  double tensor_comm = 0, context_comm = 0, expert_comm = 0, pipeline_comm = 0,
         data_comm = 0;  // exposed parts
  double bubble = 0;
  double offload = 0;   // exposed
  double overhead = 0;  // per step and per micro-batch, of the host program
  double step_time = 0;
};

/// Of the fullest chip, bytes.
struct StepMemory {
  double weights = 0, gradients = 0, optimizer = 0, activations = 0, buffers = 0, total = 0;
  double capacity = 0;  // of the chip, less what the runtime keeps
};

enum class PlanFault : uint8_t {  // why a plan cannot be
  kNone,
  kChips,       // product is not the machine's count
  kBatch,       // global batch not divisible by data * micro_batch
  kHeads,       // tensor does not divide heads (or kv heads times a replication)
  kLayers,      // pipeline * interleave does not divide the layers and cannot be padded
  kExperts,     // expert does not divide the experts, or does not fit the ranks
  kSequence,    // context (and sequence parallel) does not divide the sequence
  kInterleave,  // interleaving needs micro-batches in multiples of the stages
  kMemory       // does not fit; the costs are filled in all the same
};
std::string_view to_string(PlanFault fault);

struct StepCost {
  PlanFault fault = PlanFault::kNone;
  StepTime time;
  StepMemory memory;
  double model_flops = 0;     // of the step, all chips, without recomputation
  double hardware_flops = 0;  // with it
  double mfu = 0, hfu = 0;    // of the chips' peak at plan.precision; at most 1
  double tokens_per_s = 0;
  bool feasible() const { return fault == PlanFault::kNone; }
};

class StepModel {
 public:
  /// Keeps references: all must outlive it.
  StepModel(const model::ModelConfig& model, const Machine& machine, const TrainingJob& job);

  StepCost evaluate(const ParallelPlan& plan) const;
  /// One stage's forward and backward of one micro-batch (index 0 is the first stage), for the simulator.
  struct StageTime {
    double forward = 0, backward = 0, send = 0;
  };
  StageTime stage(const ParallelPlan& plan, uint32_t index) const;

  const model::ModelConfig& model() const { return model_; }
  const Machine& machine() const { return machine_; }
  const TrainingJob& job() const { return job_; }

 private:
  const model::ModelConfig& model_;
  const Machine& machine_;
  const TrainingJob& job_;
};

/// Operations of one step over `global_batch` sequences: forward and backward (twice forward), from the shapes.
double training_flops(const model::ModelConfig& model, const TrainingJob& job);

}  // namespace fathom::cluster
