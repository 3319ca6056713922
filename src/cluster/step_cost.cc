#include "cluster/step_cost.h"

#include <algorithm>
#include <cmath>

#include "cluster/layer_cost.h"

namespace fathom::cluster {
namespace {

// What kernels and the optimiser move for one parameter beside its state, in gradients: cleared, measured, read.
constexpr double kGradientReads = 3;

bool divides(uint64_t part, uint64_t whole) { return part != 0 && whole % part == 0; }

}  // namespace

double ParallelPlan::whole_gradients() const {
  if (zero < 2) return 1;
  return zero == 2 && pipeline > 1 ? 1.0 / interleave : 0;
}

double ParallelPlan::scatters(double micro_batches) const {
  if (zero < 2 || (zero == 2 && pipeline > 1 && interleave == 1)) return 1;
  return zero == 2 && pipeline > 1 ? std::max(1.0, micro_batches / pipeline) : micro_batches;
}

// One micro-batch on one stage.
struct StepModel::Slot {
  double forward = 0, backward_input = 0, backward_weight = 0, recompute = 0;
  double tensor = 0, context = 0, expert = 0;
  double gap_forward = 0, gap_backward = 0;  // in which the chip waits for the host program
  double comm_forward = 0, comm_backward = 0;
  double behind_forward = 0, behind_backward = 0;

  double backward() const { return backward_input + backward_weight + recompute; }
  double all() const { return forward + backward() + tensor + context + expert + gap_forward + gap_backward; }
};

// What the stages of a pipeline wait for each other.
struct StepModel::Waits {
  double through = 0;  // one micro-batch through all stages, forward and backward
  double filled = 0;   // of the waiting, by gradients of weights
  double chunks = 1;
  bool pipeline = false;

  double bubble(double slot) const {
    return pipeline ? std::max(0.0, std::max(0.0, through - slot) / chunks - filled) : 0;
  }
};

// Collectives over data-parallel ranks, in seconds where nothing hides them.
struct StepModel::Exchange {
  double forward = 0, backward = 0;  // beside one forward and one backward pass
  double gathers = 1, scatters = 1;  // passes of a step that have the one and the other
  double pieces = 1;                 // the first has nothing to hide behind
  double jitter = 0;                 // of a pass
  double micro_batches = 1;
  double always = 0;  // seconds that nothing can hide
  bool overlap = true;
};

StepModel::StepModel(const model::ModelConfig& model, const Machine& machine, const TrainingJob& job)
    : model_(model), machine_(machine), job_(job), kernels_(machine.chip, job.captured_graphs) {
  before_.resize(model.layers + 1);
  for (size_t layer = 0; layer < model.layers; ++layer) {
    before_[layer + 1] = before_[layer];
    ++before_[layer + 1][layer_kind(model, layer)];
    uniform_ = uniform_ && layer_kind(model, layer) == layer_kind(model, 0);
  }
}

bool StepModel::same_layers(const ParallelPlan& a, const ParallelPlan& b) {
  return a.tensor == b.tensor && a.context == b.context && a.expert == b.expert &&
         a.expert_tensor == b.expert_tensor && a.micro_batch == b.micro_batch &&
         a.sequence_parallel == b.sequence_parallel && a.recompute == b.recompute &&
         a.precision == b.precision && a.overlap_tensor == b.overlap_tensor &&
         a.overlap_expert == b.overlap_expert && a.offload_activations == b.offload_activations;
}

LayerTable StepModel::layers(const ParallelPlan& plan) const {
  LayerTable table;
  const uint64_t shared_kv = model_.latent.kv_rank != 0 ? model_.heads : model_.kv_heads;
  if (!divides(plan.tensor, model_.heads) ||
      (!divides(plan.tensor, shared_kv) && !divides(shared_kv, plan.tensor)))
    table.fault = PlanFault::kHeads;
  else if (!divides(plan.context, job_.sequence) || plan.micro_batch == 0 ||
           (plan.sequence_parallel && !divides(plan.tensor, job_.sequence / plan.context)))
    table.fault = PlanFault::kSequence;
  else if (model_.dense() ? plan.expert != 1 || plan.expert_tensor != 1
                          : !divides(plan.expert, model_.experts.count) ||
                                !divides(plan.expert_tensor, model_.experts.ffn))
    table.fault = PlanFault::kExperts;
  if (table.fault != PlanFault::kNone) return table;
  const LayerCosts costs(model_, machine_, job_, kernels_, plan);
  for (size_t kind = 0; kind < kLayerKinds; ++kind)
    if (before_.back()[kind] != 0) table.kind[kind] = costs.layer(kind);
  table.embedding = costs.embedding();
  table.head = costs.head();
  table.boundary = costs.boundary();
  return table;
}

// Chunks get as equal shares as may be, the first and the last of them the smaller ones: the embedding and the logits are
// there.
uint32_t StepModel::chunk_start(uint32_t chunk, uint32_t chunks) const {
  const auto layers = static_cast<uint32_t>(model_.layers);
  const uint32_t each = layers / chunks;
  const uint32_t more = layers % chunks;
  return chunk * each + (chunk == 0 ? 0 : std::min(chunk - 1, more));
}

StageLayers StepModel::stage_layers(const ParallelPlan& plan, uint32_t index) const {
  StageLayers stage;
  stage.embedding = index == 0;
  stage.head = index + 1 == plan.pipeline;
  const uint32_t chunks = plan.pipeline * plan.interleave;
  if (uniform_) {
    const auto layers = static_cast<uint32_t>(model_.layers);
    const uint32_t more = layers % chunks;
    // Chunks index, index + pipeline, ...: those from 1 to `more` have one layer more.
    uint32_t extra = more >= index ? (more - index) / plan.pipeline + 1 : 0;
    if (index == 0) --extra;
    stage.count[layer_kind(model_, 0)] = plan.interleave * (layers / chunks) + extra;
    return stage;
  }
  for (uint32_t chunk = index; chunk < chunks; chunk += plan.pipeline) {
    const auto& from = before_[chunk_start(chunk, chunks)];
    const auto& to = before_[chunk_start(chunk + 1, chunks)];
    for (size_t kind = 0; kind < kLayerKinds; ++kind) stage.count[kind] += to[kind] - from[kind];
  }
  return stage;
}

StepModel::Slot StepModel::slot(const LayerTable& layers, const StageLayers& stage) const {
  Slot slot;
  double host_forward = 0;
  double host_backward = 0;
  const auto add = [&](const LayerCost& cost, double times) {
    slot.forward += times * cost.forward;
    slot.backward_input += times * cost.backward_input;
    slot.backward_weight += times * cost.backward_weight;
    slot.recompute += times * cost.recompute;
    slot.tensor += times * (cost.tensor_comm_forward + cost.tensor_comm_backward);
    slot.context += times * (cost.context_comm_forward + cost.context_comm_backward);
    slot.expert += times * (cost.expert_comm_forward + cost.expert_comm_backward);
    slot.comm_forward +=
        times * (cost.tensor_comm_forward + cost.context_comm_forward + cost.expert_comm_forward);
    slot.comm_backward +=
        times * (cost.tensor_comm_backward + cost.context_comm_backward + cost.expert_comm_backward);
    slot.behind_forward += times * cost.behind_forward;
    slot.behind_backward += times * cost.behind_backward;
    host_forward += times * cost.host_forward;
    host_backward += times * cost.host_backward;
  };
  for (size_t kind = 0; kind < kLayerKinds; ++kind)
    if (stage.count[kind] != 0) add(layers.kind[kind], stage.count[kind]);
  if (stage.embedding) add(layers.embedding, 1);
  if (stage.head) add(layers.head, 1);
  if (!job_.captured_graphs) {
    const double each = kernels_.constants().host_micro_batch_s / 2;
    slot.gap_forward = std::max(0.0, host_forward + each - slot.forward - slot.comm_forward);
    slot.gap_backward = std::max(0.0, host_backward + each - slot.backward() - slot.comm_backward);
  }
  return slot;
}

template <class Consider>
void StepModel::for_stages(const ParallelPlan& plan, const Consider& consider) const {
  consider(0);
  if (uniform_) {
    // The second stage has as many layers as any other between the ends.
    if (plan.pipeline > 2) consider(1);
    if (plan.pipeline > 1) consider(plan.pipeline - 1);
  } else {
    for (uint32_t index = 1; index < plan.pipeline; ++index) consider(index);
  }
}

// The stage that the step waits for, with all that hangs on it.
StepModel::Slot StepModel::busiest(const ParallelPlan& plan, const LayerTable& layers, const Waits& waits,
                                   const Exchange& exchange) const {
  const double micro_batches = static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch;
  Slot most;
  double longest = -1;
  const auto consider = [&](uint32_t index) {
    const Slot candidate = slot(layers, stage_layers(plan, index));
    const double seconds =
        micro_batches * candidate.all() + waits.bubble(candidate.all()) + exposed(exchange, candidate);
    if (seconds <= longest) return;
    longest = seconds;
    most = candidate;
  };
  for_stages(plan, consider);
  return most;
}

PlanFault StepModel::fault(const ParallelPlan& plan, const LayerTable& layers) const {
  if (plan.data == 0 || plan.pipeline == 0 || plan.interleave == 0 || plan.chips() > machine_.chips)
    return PlanFault::kChips;
  if (layers.fault != PlanFault::kNone) return layers.fault;
  if (!divides(uint64_t{plan.data} * plan.micro_batch, job_.global_batch)) return PlanFault::kBatch;
  const uint64_t chunks = uint64_t{plan.pipeline} * plan.interleave;
  // The first and the last chunk may be the embedding and the logits alone.
  if (plan.pipeline > model_.layers || chunks > model_.layers + 2) return PlanFault::kLayers;
  const uint64_t experts = uint64_t{plan.expert} * plan.expert_tensor;
  if (!divides(experts, uint64_t{plan.data} * plan.context * plan.tensor)) return PlanFault::kExperts;
  if (plan.interleave > 1) {
    const uint64_t micro_batches = job_.global_batch / (uint64_t{plan.data} * plan.micro_batch);
    if (plan.pipeline == 1 || !divides(plan.pipeline, micro_batches)) return PlanFault::kInterleave;
  }
  return PlanFault::kNone;
}

double StepModel::send_s(const ParallelPlan& plan, const LayerTable& layers) const {
  if (plan.pipeline == 1) return 0;
  const uint64_t stride = uint64_t{plan.tensor} * plan.context * plan.data;
  const Group stages{plan.pipeline, stride, 1};
  if (plan.sequence_parallel || plan.tensor == 1) return machine_.network.send_s(layers.boundary, stages);
  // Each tensor rank sends its share; the receivers put the shares together (Narayanan et al., section 4.1).
  return machine_.network.send_s(layers.boundary / plan.tensor, stages) +
         machine_.network.all_gather_s(layers.boundary, {plan.tensor, 1, 1});
}

StepModel::Waits StepModel::waits(const ParallelPlan& plan, const LayerTable& layers) const {
  Waits waits;
  if (plan.pipeline == 1) return waits;
  const double micro_batches = static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch;
  // All stages' work on one micro-batch, which the first waits for to fill and then to drain: of the chips, or of the host
  // programs where those take longer.
  double forward = 0;
  double backward = 0;
  double weight_work = 0;
  const double each = job_.captured_graphs ? 0 : plan.pipeline * kernels_.constants().host_micro_batch_s / 2;
  double host_forward = each;
  double host_backward = each;
  const auto add = [&](const LayerCost& cost, double count) {
    forward += count * (cost.forward + cost.tensor_comm_forward + cost.context_comm_forward +
                        cost.expert_comm_forward);
    backward += count * (cost.backward_input + cost.backward_weight + cost.recompute +
                         cost.tensor_comm_backward + cost.context_comm_backward + cost.expert_comm_backward);
    host_forward += count * cost.host_forward;
    host_backward += count * cost.host_backward;
    weight_work += count * cost.backward_weight;
  };
  for (size_t kind = 0; kind < kLayerKinds; ++kind)
    if (before_.back()[kind] != 0) add(layers.kind[kind], before_.back()[kind]);
  add(layers.embedding, 1);
  add(layers.head, 1);
  const double drained = std::max(backward, host_backward);
  waits.pipeline = true;
  waits.chunks = plan.interleave;
  waits.through = std::max(forward, host_forward) + drained;
  if (plan.schedule == Schedule::kZeroBubble) {
    // Gradients of weights fill the waits: (p - 1)(F + B - W) in place of (p - 1)(F + B + W); with fewer micro-batches than
    // stages there are too few of them to fill all. What waits for the host program may wait then as well.
    const double others = plan.pipeline - 1.0;
    const double filling = std::min(weight_work + drained - backward, drained / 2);
    waits.filled = (others + std::min(micro_batches - 1, others)) / plan.pipeline * filling / plan.interleave;
  }
  return waits;
}

void StepModel::add_sends(const ParallelPlan& plan, const LayerTable& layers, StepTime& time) const {
  if (plan.pipeline == 1) return;
  const double micro_batches = static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch;
  const double send = send_s(plan, layers);
  time.bubble += 2 * (plan.pipeline - 1.0) * send;
  if (plan.overlap_pipeline)
    time.pipeline_comm = 2 * send;
  else
    time.pipeline_comm = 2 * micro_batches * plan.interleave * send;
}

// Of the stage that has most of them.
StepModel::Held StepModel::fullest(const ParallelPlan& plan, const LayerTable& layers) const {
  Held most;
  const auto consider = [&](uint32_t index) {
    const StageLayers stage = stage_layers(plan, index);
    Held held;
    for (size_t kind = 0; kind < kLayerKinds; ++kind) {
      held.weights += stage.count[kind] * layers.kind[kind].weights;
      held.expert_weights += stage.count[kind] * layers.kind[kind].expert_weights;
      held.activations += stage.count[kind] * layers.kind[kind].activations;
      held.layers += stage.count[kind];
    }
    if (stage.embedding) held.weights += layers.embedding.weights;
    if (stage.head && !(model_.tied_output && stage.embedding)) held.weights += layers.head.weights;
    if (held.weights + held.expert_weights > most.weights + most.expert_weights) most = held;
  };
  for_stages(plan, consider);
  return most;
}

StepModel::Exchange StepModel::exchange(const ParallelPlan& plan, const LayerTable& layers,
                                        const Held& held) const {
  const Network& network = machine_.network;
  const double weights = held.weights;
  const double expert_weights = held.expert_weights;
  const Group group{uint64_t{plan.data} * plan.context, plan.tensor, 1};
  const uint64_t expert_ranks = uint64_t{plan.expert} * plan.expert_tensor;
  const Group expert_group{uint64_t{plan.data} * plan.context * plan.tensor / expert_ranks, expert_ranks, 1};
  const auto gather = [&](double part) {
    return network.all_gather_s(part * weights * job_.weight_bytes, group) +
           network.all_gather_s(part * expert_weights * job_.weight_bytes, expert_group);
  };
  const auto scatter = [&](double part) {
    return network.reduce_scatter_s(part * weights * job_.gradient_bytes, group) +
           network.reduce_scatter_s(part * expert_weights * job_.gradient_bytes, expert_group);
  };
  Exchange out;
  out.pieces = std::max(1.0, held.layers);
  out.overlap = plan.overlap_data;
  out.micro_batches = static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch;
  if (plan.zero >= 3) {
    // Layer by layer, in each of them the latencies of two collectives.
    out.gathers = out.micro_batches;
    out.scatters = plan.scatters(out.micro_batches);
    out.forward = out.pieces * gather(1 / out.pieces);
    out.backward = out.forward + out.pieces * scatter(1 / out.pieces);
  } else if (plan.zero == 0) {
    out.backward = network.all_reduce_s(weights * job_.gradient_bytes, group) +
                   network.all_reduce_s(expert_weights * job_.gradient_bytes, expert_group);
  } else {
    out.forward = gather(1);
    out.backward = scatter(1);
    out.scatters = plan.scatters(out.micro_batches);
    if (plan.whole_gradients() == 0)  // their memory is given back each time
      out.always = out.scatters * (weights + expert_weights) * job_.gradient_bytes *
                   kernels_.constants().fresh_memory_s_per_byte;
  }
  // Collectives at every layer make all wait for the slowest at every layer.
  const double domains = static_cast<double>(group.size * group.stride) / network.domain();
  if (plan.zero >= 2 && domains > 1) out.jitter = kernels_.constants().layer_jitter * std::log10(domains);
  if (model_.tied_output && plan.pipeline > 1)
    out.always += 2 * network.send_s(layers.embedding.weights * job_.gradient_bytes,
                                     uint64_t{plan.tensor} * plan.context * plan.data);
  return out;
}

// What is left of the collectives beside the kernels of a stage, which they slow.
double StepModel::exposed(const Exchange& exchange, const Slot& slot) const {
  const ChipConstants& constants = kernels_.constants();
  const auto left = [&](double seconds, double behind) {
    if (!exchange.overlap) return seconds;
    const double hidden = std::min(seconds * (1 - 1 / exchange.pieces), behind);
    return seconds - hidden + hidden * constants.overlap_slowdown;
  };
  // The links between domains are free while those within them are busy, and while the chip waits for the host program.
  const double share = constants.overlap_share;
  const double forward = slot.behind_forward + share * (slot.comm_forward + slot.gap_forward);
  const double backward =
      slot.behind_backward + share * (slot.comm_backward + slot.recompute + slot.gap_backward);
  return exchange.gathers * left(exchange.forward, forward) +
         exchange.scatters * left(exchange.backward, backward) +
         exchange.micro_batches * exchange.jitter * slot.all() + exchange.always;
}

void StepModel::add_optimizer(const ParallelPlan& plan, double weights, double expert_weights,
                              StepTime& time) const {
  const double ranks = plan.zero >= 1 ? static_cast<double>(plan.data) * plan.context : 1;
  const double expert_ranks =
      plan.zero >= 1 ? std::max(1.0, ranks * plan.tensor / plan.expert / plan.expert_tensor) : 1;
  const double local = weights / ranks + expert_weights / expert_ranks;
  const double whole = plan.whole_gradients();
  const double kept = whole * (weights + expert_weights) + (1 - whole) * local;
  const double clearing = kGradientReads - 1;
  time.optimizer = (local * (2 * job_.optimizer_bytes + job_.gradient_bytes + job_.weight_bytes) +
                    kept * clearing * job_.gradient_bytes) /
                   kernels_.memory_rate();
  if (plan.offload_optimizer)
    time.offload += local * (job_.gradient_bytes + job_.weight_bytes) /
                    std::max(machine_.host.host_link_bytes_per_s, 1e9);
}

StepMemory StepModel::stage_memory(const ParallelPlan& plan, const LayerTable& layers, uint32_t index) const {
  const StageLayers stage = stage_layers(plan, index);
  const double micro_batches =
      std::ceil(static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch);
  double weights = 0;
  double expert_weights = 0;
  double activations = 0;
  double peak = 0;
  double largest = 0;
  for (size_t kind = 0; kind < kLayerKinds; ++kind) {
    if (stage.count[kind] == 0) continue;
    const LayerCost& cost = layers.kind[kind];
    weights += stage.count[kind] * cost.weights;
    expert_weights += stage.count[kind] * cost.expert_weights;
    activations += stage.count[kind] * cost.activations;
    peak = std::max(peak, cost.peak);
    largest = std::max(largest, cost.weights + cost.expert_weights);
  }
  // Micro-batches whose activations wait for their backward pass, in chunks of the stage (Korthikanti et al., section 4).
  const double chunks = plan.interleave;
  const double behind = plan.pipeline - 1.0 - index;
  const double in_flight =
      plan.pipeline == 1
          ? 1
          : std::min(micro_batches, plan.interleave == 1
                                        ? behind + 1
                                        : (2 * behind + (chunks - 1) * plan.pipeline + 1) / chunks);
  StepMemory memory;
  memory.activations = activations * in_flight;
  if (plan.offload_activations)
    memory.activations =
        std::min(memory.activations,
                 2 * activations / std::max(1.0, static_cast<double>(model_.layers) / plan.pipeline));
  if (stage.embedding) {
    weights += layers.embedding.weights;
    memory.activations += layers.embedding.activations * in_flight;
  }
  if (stage.head) {
    if (!(model_.tied_output && stage.embedding)) weights += layers.head.weights;
    memory.activations += layers.head.activations;
    peak = std::max(peak, layers.head.peak);
  }
  const double ranks = static_cast<double>(plan.data) * plan.context;
  const double expert_ranks = std::max(1.0, ranks * plan.tensor / plan.expert / plan.expert_tensor);
  const auto held = [&](bool sharded, double bytes) {
    return bytes * (sharded ? weights / ranks + expert_weights / expert_ranks : weights + expert_weights);
  };
  memory.weights = held(plan.zero >= 3, job_.weight_bytes);
  const double whole = plan.whole_gradients();
  memory.gradients = whole * held(false, job_.gradient_bytes) + (1 - whole) * held(true, job_.gradient_bytes);
  memory.optimizer = plan.offload_optimizer ? 0 : held(plan.zero >= 1, job_.optimizer_bytes);
  memory.buffers = peak;
  // Two layers gathered (one in use, one on its way) and one layer's gradients before they are scattered.
  if (plan.zero >= 3) memory.buffers += largest * (2 * job_.weight_bytes + job_.gradient_bytes);
  if (plan.zero == 2 && whole == 0) memory.buffers += largest * job_.gradient_bytes;
  memory.total = memory.weights + memory.gradients + memory.optimizer + memory.activations + memory.buffers;
  return memory;
}

StepMemory StepModel::memory(const ParallelPlan& plan, const LayerTable& layers) const {
  constexpr double kRuntimeShare = 0.03;   // fragments of the allocator
  constexpr double kRuntimeBytes = 1.5e9;  // context, libraries' workspaces, collectives' buffers
  StepMemory most = stage_memory(plan, layers, 0);
  const auto consider = [&](uint32_t index) {
    const StepMemory other = stage_memory(plan, layers, index);
    if (other.total > most.total) most = other;
  };
  for_stages(plan, consider);
  most.capacity = machine_.chip.memory_bytes * (1 - kRuntimeShare) - kRuntimeBytes;
  return most;
}

StepCost StepModel::evaluate(const ParallelPlan& plan) const { return evaluate(plan, layers(plan)); }

StepCost StepModel::evaluate(const ParallelPlan& plan, const LayerTable& layers) const {
  StepCost cost;
  cost.fault = fault(plan, layers);
  if (cost.fault != PlanFault::kNone) return cost;
  const double micro_batches = static_cast<double>(job_.global_batch) / plan.data / plan.micro_batch;
  const Held held = fullest(plan, layers);
  const Waits waiting = waits(plan, layers);
  const Exchange collectives = exchange(plan, layers, held);
  const Slot slot = busiest(plan, layers, waiting, collectives);
  StepTime& time = cost.time;
  time.forward = micro_batches * slot.forward;
  time.backward = micro_batches * (slot.backward_input + slot.backward_weight);
  time.recompute = micro_batches * slot.recompute;
  time.tensor_comm = micro_batches * slot.tensor;
  time.context_comm = micro_batches * slot.context;
  time.expert_comm = micro_batches * slot.expert;
  time.overhead = micro_batches * (slot.gap_forward + slot.gap_backward) + kernels_.constants().host_step_s;
  time.bubble = waiting.bubble(slot.all());
  time.data_comm = exposed(collectives, slot);
  add_sends(plan, layers, time);
  add_optimizer(plan, held.weights, held.expert_weights, time);
  cost.memory = memory(plan, layers);
  if (plan.offload_activations) {
    const double moved = held.activations / std::max(machine_.host.host_link_bytes_per_s, 1e9);
    // Out in the forward pass and back in the backward pass, behind everything else.
    time.offload += std::max(0.0, micro_batches * (2 * moved - slot.all()) - time.data_comm - time.bubble);
  }
  const double sum = time.forward + time.backward + time.recompute + time.optimizer + time.tensor_comm +
                     time.context_comm + time.expert_comm + time.pipeline_comm + time.data_comm +
                     time.bubble + time.offload + time.overhead;
  // The slowest of many: each of them waits for all.
  const double jitter = kernels_.constants().jitter * std::log10(static_cast<double>(plan.chips())) * sum;
  time.overhead += jitter;
  time.step_time = sum + jitter;

  double model_flops = 0;
  double hardware_flops = 0;
  for (size_t kind = 0; kind < kLayerKinds; ++kind) {
    model_flops += before_.back()[kind] * layers.kind[kind].model_flops;
    hardware_flops += before_.back()[kind] * layers.kind[kind].hardware_flops;
  }
  const double ranks = micro_batches * plan.data * plan.tensor * plan.context;
  cost.model_flops = 3 * ranks * (model_flops + layers.head.model_flops);
  cost.hardware_flops = ranks * (hardware_flops + layers.head.hardware_flops);
  const double peak = machine_.chip.peak(plan.precision) * static_cast<double>(plan.chips());
  cost.mfu = cost.model_flops / (time.step_time * peak);
  cost.hfu = cost.hardware_flops / (time.step_time * peak);
  cost.tokens_per_s =
      static_cast<double>(job_.global_batch) * static_cast<double>(job_.sequence) / time.step_time;
  if (cost.memory.total > cost.memory.capacity) cost.fault = PlanFault::kMemory;
  return cost;
}

StepModel::StageTime StepModel::stage(const ParallelPlan& plan, uint32_t index) const {
  const LayerTable table = layers(plan);
  StageTime time;
  if (fault(plan, table) != PlanFault::kNone || index >= plan.pipeline) return time;
  const Slot one = slot(table, stage_layers(plan, index));
  time.forward = one.forward + one.comm_forward + one.gap_forward;
  time.backward = one.all() - time.forward;
  time.send = send_s(plan, table);
  time.weight = one.backward_weight;
  return time;
}

std::vector<KernelTime> StepModel::kernels(const ParallelPlan& plan, size_t layer) const {
  std::vector<KernelTime> times;
  if (layers(plan).fault != PlanFault::kNone) return times;
  const LayerCosts costs(model_, machine_, job_, kernels_, plan);
  const LayerKernels list =
      layer >= model_.layers ? costs.head_kernels() : costs.layer_kernels(layer_kind(model_, layer));
  for (const LayerKernel& kernel : list) {
    KernelTime time{.name = kernel.name, .flops = kernel.flops, .bytes = kernel.bytes};
    time.forward = kernel.forward;
    time.backward = kernel.backward_input + kernel.backward_weight;
    if (kernel.forward > 0) time.efficiency = kernel.flops / kernel.forward / kernels_.peak(plan.precision);
    times.push_back(time);
  }
  return times;
}

double training_flops(const model::ModelConfig& model, const TrainingJob& job) {
  const auto s = static_cast<double>(job.sequence);
  const double batch = static_cast<double>(job.global_batch);
  // Of the projections: all that a token's last position costs, less its attention; of attention: pairs that count.
  const auto& latent = model.latent;
  const double widths = latent.kv_rank != 0
                            ? static_cast<double>(latent.nope_dim + latent.rope_dim + latent.value_dim)
                            : 2.0 * static_cast<double>(model.head_dim);
  double pairs = 0;
  for (size_t layer = 0; layer < model.layers; ++layer) {
    const double window = model.windowed(layer) ? std::min(s, static_cast<double>(model.sliding_window)) : s;
    pairs += window * (window + 1) / 2 + (s - window) * window;
  }
  Machine one;
  one.chip.peak_flops.fill(1);
  one.chip.memory_bytes_per_s = 1;
  one.chips = 1;
  TrainingJob single = job;
  single.expert_imbalance = 1;
  single.sequence = 1;
  const KernelModel kernels(one.chip, false);
  const ParallelPlan whole;
  const LayerCosts costs(model, one, single, kernels, whole);
  double token = costs.head().model_flops;
  for (size_t layer = 0; layer < model.layers; ++layer) {
    const size_t kind = layer_kind(model, layer);
    token += costs.layer(kind).model_flops - 2 * static_cast<double>(model.heads) * widths;
  }
  return 3 * batch * (s * token + 2 * static_cast<double>(model.heads) * widths * pairs);
}

}  // namespace fathom::cluster
