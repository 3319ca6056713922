// Time and memory of one training step, layer by layer, from the ModelConfig, the machine and the parallel plan alone.
//
// The names are those of the counters of real runs (step_time, exposed_comm, bubble, mfu). A StepModel is built once for
// a model and a machine; evaluate() is const, thread-safe and deterministic, allocates nothing and takes well under a
// microsecond once the layer costs of its (tensor, context, expert, micro-batch, ...) are in the LayerTable.
//
// Sources: Narayanan et al. 2021 (pipeline, interleaving, FLOP formula), Korthikanti et al. 2022 (sequence parallelism,
// selective recomputation, activation bytes), Rajbhandari et al. 2020 (ZeRO), Isaev et al. 2023 (Calculon),
// Qi et al. 2024 (zero bubble), Dao 2023 (attention). docs/planning.md has the outline.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/layer_cost_kernels.h"
#include "cluster/network.h"
#include "model/config.h"

namespace fathom::cluster {

enum class Recompute : uint8_t { kNone, kSelective, kFull };
enum class Schedule : uint8_t {
  kOneForwardOneBackward,
  kZeroBubble
};  // interleave > 1: the interleaved form
/// How attention is computed: by a fused kernel written for the chip (cuDNN, FlashAttention 3, on A100 FlashAttention 2), by
/// one of an earlier generation that runs on any chip (FlashAttention 1 and its Triton forms; FlashAttention 2, as in
/// PyTorch), or unfused, which stores and reads the score matrix.
enum class Attention : uint8_t { kFused, kUnfused, kFlash1, kFlash2 };
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
  bool overlap_data = true;       // gradients' reduction and weights' gathering behind computation
  bool overlap_tensor = false;    // tensor collectives behind products (split by chunks)
  bool overlap_expert = false;    // all-to-all behind computation (DualPipe and the like)
  bool overlap_pipeline = false;  // sends between stages behind computation (interleaved schedules of today)

  uint64_t chips() const { return uint64_t{data} * tensor * pipeline * context; }
  /// Share of the gradients that a chip keeps whole between micro-batches, the rest being shards, and how often a step
  /// scatters them. ZeRO-2 scatters what each micro-batch adds (Rajbhandari et al., section 5.2). Stages of a pipeline keep
  /// all until the last one (DeepSpeed refuses the two together for this); interleaved ones a chunk at a time, through which
  /// as many micro-batches go in a row as there are stages (Lamy-Poirier 2022, section 4).
  double whole_gradients() const;
  double scatters(double micro_batches) const;
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
  bool fused_loss = true;         // cross-entropy in one kernel, on logits as they are
  double dropout_passes = 0;    // extra passes over activations a layer for dropout masks (2021's recipes: 3)
  double gradient_bytes = 4;    // of one gradient as it is kept and reduced (2: bf16)
  double optimizer_bytes = 12;  // of one parameter: master copy and two moments
  double expert_imbalance = 1.0;  // the most loaded rank over the mean
  double weight_bytes = 2;        // of one weight as it is gathered and multiplied
  double activation_bytes = 2;    // of one activation as it is kept and passed on
  bool recompute_stops_early =
      false;  // full recomputation ends where nothing more is needed (PyTorch from 2.1)
  bool fused_accumulation =
      true;  // products add to the gradients; else a pass of its own for each micro-batch
  bool dispatch_by_domain =
      true;  // tokens cross to each domain of their experts once (DeepEP); else to each expert
  bool captured_graphs = false;  // kernels launched from a captured graph: no gaps, no work for the host
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
  kChips,       // product is more than the machine's count (fewer leave some idle)
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

/// Layers of one model differ in two ways: dense or with experts, full or windowed attention.
inline constexpr size_t kLayerKinds = 4;

/// One layer, the embedding or the logits: one micro-batch on one chip. Seconds and bytes.
struct LayerCost {
  double forward = 0;          // kernels
  double backward_input = 0;   // gradients of activations; all that is not of weights
  double backward_weight = 0;  // gradients of weights (a zero-bubble schedule may do these later)
  double recompute = 0;        // forward kernels that run once more in the backward pass
  double tensor_comm_forward = 0,
         tensor_comm_backward = 0;  // exposed; that of recomputation counts as backward
  double context_comm_forward = 0, context_comm_backward = 0;
  double expert_comm_forward = 0, expert_comm_backward = 0;
  double behind_forward = 0, behind_backward = 0;  // kernels that nothing hides behind yet
  double host_forward = 0, host_backward = 0;      // of the host program that launches all this
  double weights = 0;         // parameters on the chip that data-parallel ranks replicate or shard
  double expert_weights = 0;  // parameters of experts on the chip
  double activations = 0;     // bytes kept for the backward pass
  double peak = 0;            // bytes of the largest moment within the layer, beyond what is kept
  double model_flops = 0;     // of the forward pass on this chip
  double hardware_flops = 0;  // of forward, backward and recomputation on this chip
};

/// What the layers of a plan cost: a function of `tensor, context, expert, expert_tensor, micro_batch, sequence_parallel,
/// recompute, precision, overlap_tensor, overlap_expert` and `offload_activations` alone. A search computes it once for
/// each combination of these (some microseconds) and hands it to evaluate() for every data, pipeline, interleave, zero,
/// schedule and the rest.
struct LayerTable {
  std::array<LayerCost, kLayerKinds> kind{};
  LayerCost embedding, head;           // on the first and on the last stage
  double boundary = 0;                 // bytes that a stage sends the next for one micro-batch
  PlanFault fault = PlanFault::kNone;  // of these fields alone (heads, experts, sequence)
};

/// One kernel of a layer, for reports: what it is and how long its passes take.
struct KernelTime {
  std::string name;  // "qkv", "attention", "ffn down"
  double flops = 0;  // forward
  double bytes = 0;  // forward
  double forward = 0, backward = 0;
  double efficiency = 0;  // share of the chip's peak, forward
};

/// Layers of one pipeline stage, by kind, and whether the ends are on it.
struct StageLayers {
  std::array<uint32_t, kLayerKinds> count{};
  bool embedding = false, head = false;
};

class StepModel {
 public:
  /// Keeps references: all must outlive it.
  StepModel(const model::ModelConfig& model, const Machine& machine, const TrainingJob& job);

  StepCost evaluate(const ParallelPlan& plan) const;
  /// The same with the layers' costs at hand. REQUIRES: `layers` is of a plan with same_layers().
  StepCost evaluate(const ParallelPlan& plan, const LayerTable& layers) const;
  LayerTable layers(const ParallelPlan& plan) const;
  static bool same_layers(const ParallelPlan& a, const ParallelPlan& b);

  /// One stage's forward and backward of one micro-batch (index 0 is the first stage), for the simulator.
  struct StageTime {
    double forward = 0, backward = 0, send = 0;
    double weight = 0;  // of backward: gradients of weights, for which no other stage waits
  };
  StageTime stage(const ParallelPlan& plan, uint32_t index) const;
  /// Kernels of one layer (`layer` of the model; model().layers: the logits), one micro-batch.
  std::vector<KernelTime> kernels(const ParallelPlan& plan, size_t layer) const;

  const model::ModelConfig& model() const { return model_; }
  const Machine& machine() const { return machine_; }
  const TrainingJob& job() const { return job_; }

 private:
  struct Slot;
  struct Waits;
  struct Exchange;
  uint32_t chunk_start(uint32_t chunk, uint32_t chunks) const;
  StageLayers stage_layers(const ParallelPlan& plan, uint32_t index) const;
  Slot slot(const LayerTable& layers, const StageLayers& stage) const;
  Slot busiest(const ParallelPlan& plan, const LayerTable& layers, const Waits& waits,
               const Exchange& exchange) const;
  /// Calls consider(index) for stages among which the busiest and the fullest are.
  template <class Consider>
  void for_stages(const ParallelPlan& plan, const Consider& consider) const;
  PlanFault fault(const ParallelPlan& plan, const LayerTable& layers) const;
  /// Parameters and layers of a stage.
  struct Held {
    double weights = 0, expert_weights = 0, activations = 0, layers = 0;
  };
  Held fullest(const ParallelPlan& plan, const LayerTable& layers) const;
  Waits waits(const ParallelPlan& plan, const LayerTable& layers) const;
  Exchange exchange(const ParallelPlan& plan, const LayerTable& layers, const Held& held) const;
  double exposed(const Exchange& exchange, const Slot& slot) const;
  void add_optimizer(const ParallelPlan& plan, double weights, double expert_weights, StepTime& time) const;
  void add_sends(const ParallelPlan& plan, const LayerTable& layers, StepTime& time) const;
  double send_s(const ParallelPlan& plan, const LayerTable& layers) const;
  StepMemory stage_memory(const ParallelPlan& plan, const LayerTable& layers, uint32_t index) const;
  StepMemory memory(const ParallelPlan& plan, const LayerTable& layers) const;

  const model::ModelConfig& model_;
  const Machine& machine_;
  const TrainingJob& job_;
  KernelModel kernels_;
  std::vector<std::array<uint32_t, kLayerKinds>> before_;  // [layers + 1]: layers of each kind before one
  bool uniform_ = true;                                    // all layers are of one kind
};

/// Operations of one step over `global_batch` sequences: forward and backward (twice forward), from the shapes.
double training_flops(const model::ModelConfig& model, const TrainingJob& job);

}  // namespace fathom::cluster
