// The plan and the job as people write and read them.
#include <string>

#include "base/toml.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

std::string_view to_string(Recompute recompute) {
  switch (recompute) {
    case Recompute::kNone: return "none";
    case Recompute::kSelective: return "selective";
    case Recompute::kFull: return "full";
  }
  return "?";
}

std::string_view to_string(PlanFault fault) {
  switch (fault) {
    case PlanFault::kNone: return "fits";
    case PlanFault::kChips: return "the product of data, tensor, pipeline and context is more than the chips";
    case PlanFault::kBatch: return "the global batch is not a multiple of data times micro-batch";
    case PlanFault::kHeads: return "tensor does not divide the attention heads";
    case PlanFault::kLayers: return "there are more pipeline chunks than layers";
    case PlanFault::kExperts: return "expert parallelism does not divide the experts or the ranks";
    case PlanFault::kSequence: return "context and sequence parallelism do not divide the sequence";
    case PlanFault::kInterleave: return "interleaving needs stages, and micro-batches in multiples of them";
    case PlanFault::kMemory: return "does not fit in memory";
  }
  return "?";
}

std::string describe(const ParallelPlan& plan) {
  std::string text;
  const auto add = [&](const char* name, uint64_t value) {
    if (!text.empty()) text += ' ';
    text += name;
    text += ' ';
    text += std::to_string(value);
  };
  add("dp", plan.data);
  if (plan.tensor > 1) add("tp", plan.tensor);
  if (plan.context > 1) add("cp", plan.context);
  if (plan.pipeline > 1) {
    add("pp", plan.pipeline);
    if (plan.interleave > 1) text += " x" + std::to_string(plan.interleave);
  }
  if (plan.expert > 1) add("ep", plan.expert);
  if (plan.expert_tensor > 1) add("etp", plan.expert_tensor);
  add("mbs", plan.micro_batch);
  if (plan.recompute != Recompute::kNone) text += ", " + std::string(to_string(plan.recompute));
  if (plan.recompute != Recompute::kNone) text += " recompute";
  text += ", zero-" + std::to_string(plan.zero);
  if (plan.schedule == Schedule::kZeroBubble && plan.pipeline > 1) text += ", zero bubble";
  text += ", " + std::string(to_string(plan.precision));
  if (plan.offload_optimizer) text += ", optimizer offloaded";
  if (plan.offload_activations) text += ", activations offloaded";
  return text;
}

TrainingJob TrainingJob::read(const TomlTable& table) {
  table.allow({"sequence", "global_batch", "tokens", "attention", "causal_skips", "fused_elementwise",
               "fused_loss", "dropout_passes", "gradient_bytes", "optimizer_bytes", "expert_imbalance",
               "weight_bytes", "activation_bytes", "captured_graphs", "dispatch_by_domain",
               "fused_accumulation", "recompute_stops_early"});
  TrainingJob job;
  job.sequence = static_cast<uint64_t>(
      table.integer_or("sequence", static_cast<int64_t>(job.sequence), 1, int64_t{1} << 30));
  job.global_batch = static_cast<uint64_t>(
      table.integer_or("global_batch", static_cast<int64_t>(job.global_batch), 1, int64_t{1} << 31));
  job.tokens = table.number_or("tokens", job.tokens, 0, 1e18);
  job.attention = static_cast<Attention>(table.choice_or("attention", static_cast<size_t>(job.attention),
                                                         {"fused", "unfused", "flash-1", "flash-2"}));
  job.causal_skips = table.flag_or("causal_skips", job.causal_skips);
  job.fused_elementwise = table.flag_or("fused_elementwise", job.fused_elementwise);
  job.fused_loss = table.flag_or("fused_loss", job.fused_loss);
  job.dropout_passes = table.number_or("dropout_passes", job.dropout_passes, 0, 16);
  job.gradient_bytes = table.number_or("gradient_bytes", job.gradient_bytes, 1, 8);
  job.optimizer_bytes = table.number_or("optimizer_bytes", job.optimizer_bytes, 0, 64);
  job.expert_imbalance = table.number_or("expert_imbalance", job.expert_imbalance, 1, 64);
  job.weight_bytes = table.number_or("weight_bytes", job.weight_bytes, 0.5, 8);
  job.activation_bytes = table.number_or("activation_bytes", job.activation_bytes, 1, 8);
  job.captured_graphs = table.flag_or("captured_graphs", job.captured_graphs);
  job.recompute_stops_early = table.flag_or("recompute_stops_early", job.recompute_stops_early);
  job.fused_accumulation = table.flag_or("fused_accumulation", job.fused_accumulation);
  job.dispatch_by_domain = table.flag_or("dispatch_by_domain", job.dispatch_by_domain);
  return job;
}

}  // namespace fathom::cluster
