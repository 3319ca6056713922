#include "cluster/simulate_step.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr size_t kMaxKnown = 1 << 16;  // pipelines kept

/// Seconds that the replicas' exchange takes in full, from the bytes of the fullest chip's gradients.
constexpr double kLongestStep = 1e12;  // seconds

double data_comm_total(const StepModel& model, const ParallelPlan& plan, const StepCost& cost) {
  if (plan.data == 1 || model.machine().network.tiers().empty()) return cost.time.data_comm;
  const double whole = plan.whole_gradients();
  const double kept = whole + (1 - whole) / (static_cast<double>(plan.data) * plan.context);
  const double gradients = cost.memory.gradients / kept;
  const Group group{uint64_t{plan.data} * plan.context, plan.tensor, 1};
  const Network& network = model.machine().network;
  const double reduce =
      plan.zero == 0 ? network.all_reduce_s(gradients, group) : network.reduce_scatter_s(gradients, group);
  const double gather =
      plan.zero == 0 ? 0
                     : network.all_gather_s(gradients * 2 / std::max(1.0, model.job().gradient_bytes), group);
  // Shards of weights are gathered for both passes of every micro-batch.
  const double micro_batches = static_cast<double>(model.job().global_batch) / plan.data / plan.micro_batch;
  const double reduced = plan.scatters(micro_batches);
  const double gathered = plan.zero >= 3 ? 2 * micro_batches : 1;
  return std::max(cost.time.data_comm, reduced * reduce + gathered * gather);
}

}  // namespace

StepShape::Place StepShape::place(uint64_t node) const {
  const uint64_t first = node * chips_per_node;
  const uint64_t stage_chips = uint64_t{replicas} * chips_per_replica_stage;
  const uint64_t stage = first / stage_chips;
  const uint64_t last = std::min({first + chips_per_node, chips(), (stage + 1) * stage_chips}) - 1;
  return {static_cast<uint32_t>(first % stage_chips / chips_per_replica_stage),
          static_cast<uint32_t>(last % stage_chips / chips_per_replica_stage), static_cast<uint32_t>(stage)};
}

StepShape step_shape(const StepModel& model, const ParallelPlan& plan, bool any_memory) {
  const StepCost cost = model.evaluate(plan);
  if (!cost.feasible() && !(any_memory && cost.fault == PlanFault::kMemory))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the plan {} cannot be simulated: {}; 'fathom plan search' finds "
                            "plans that fit",
                            describe(plan), to_string(cost.fault)));
  if (!(cost.time.step_time < kLongestStep))  // not a number, neither
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("a step of the plan {} would take longer than 30,000 years; give the network more",
                    describe(plan)));
  StepShape shape;
  for (uint32_t s = 0; s < plan.pipeline; ++s) shape.pipeline.stages.push_back(model.stage(plan, s));
  shape.pipeline.chunks = plan.interleave;
  shape.pipeline.micro_batches =
      static_cast<uint32_t>(model.job().global_batch / (uint64_t{plan.data} * plan.micro_batch));
  shape.pipeline.schedule = plan.schedule;
  shape.pipeline.overlap_sends = plan.overlap_pipeline;
  shape.replicas = plan.data;
  shape.chips_per_replica_stage = plan.tensor * plan.context;
  shape.chips_per_node = std::max(1u, model.machine().host.chips);
  const StepTime& time = cost.time;
  shape.data_comm_s = time.data_comm;
  shape.data_comm_total_s = data_comm_total(model, plan, cost);
  // All that is neither a pass of the busiest stage, nor waiting for others, nor sending to them.
  double busiest = 0;
  for (const auto& stage : shape.pipeline.stages) busiest = std::max(busiest, stage.forward + stage.backward);
  shape.tail_s = std::max(0.0, time.step_time - time.bubble - time.pipeline_comm - time.data_comm -
                                   busiest * shape.pipeline.micro_batches);
  shape.tokens = static_cast<double>(model.job().global_batch) * static_cast<double>(model.job().sequence);
  shape.analytic_s = time.step_time;
  const double passes =
      time.forward + time.backward + time.recompute + time.tensor_comm + time.context_comm + time.expert_comm;
  if (passes > 0) {
    shape.tensor_share = time.tensor_comm / passes;
    shape.context_share = time.context_comm / passes;
    shape.expert_share = time.expert_comm / passes;
  }
  return shape;
}

StepTimes::StepTimes(const StepShape& shape, const Factors& factors) : shape_(shape), factors_(factors) {
  simulated_ = step(shape_.pipeline.micro_batches, {}, {}, false);
  if (shape_.analytic_s > 0) beside_ = shape_.analytic_s - simulated_;
  healthy_ = simulated_ + beside_;
}

std::set<uint32_t> StepTimes::replicas_out(const std::set<uint64_t>& missing) const {
  std::set<uint32_t> out;
  for (const uint64_t node : missing) {
    const auto place = shape_.place(node);
    for (uint32_t r = place.first_replica; r <= place.last_replica; ++r) out.insert(r);
  }
  return out;
}

uint32_t StepTimes::replicas(const std::set<uint64_t>& missing) const {
  return shape_.replicas - static_cast<uint32_t>(replicas_out(missing).size());
}

StepTimes::Parts StepTimes::at(const StepCondition& condition) {
  const std::set<uint32_t> out = replicas_out(condition.missing);
  FATHOM_CHECK(out.size() < shape_.replicas);
  const uint64_t left = shape_.replicas - out.size();
  const uint64_t all = uint64_t{shape_.pipeline.micro_batches} * shape_.replicas;
  uint64_t micro_batches = (all + left - 1) / left;
  const uint64_t stages = shape_.pipeline.stages.size();
  if (shape_.pipeline.chunks > 1 && !out.empty())  // interleaving wants whole rounds
    micro_batches = (micro_batches + stages - 1) / stages * stages;
  const auto m = static_cast<uint32_t>(micro_batches);
  Parts parts;
  parts.fewer = out.empty() ? healthy_ : step(m, {}, out, false);
  parts.slow = condition.slow.empty() ? parts.fewer : step(m, condition.slow, out, false);
  parts.all = condition.writing && factors_.write_share > 0 ? step(m, condition.slow, out, true) : parts.slow;
  return parts;
}

double StepTimes::step(uint32_t micro_batches, const std::map<uint64_t, Slowness>& slow,
                       const std::set<uint32_t>& out, bool writing) {
  std::map<uint32_t, std::vector<uint64_t>> by_replica;
  bool slow_links = false;
  for (const auto& [node, how] : slow) {
    const auto place = shape_.place(node);
    for (uint32_t r = place.first_replica; r <= place.last_replica; ++r) {
      if (out.contains(r)) continue;
      by_replica[r].push_back(uint64_t{place.stage} * 2 + (how == Slowness::kSends ? 1 : 0));
      slow_links |= how == Slowness::kSends;
    }
  }
  double slowest =
      by_replica.size() + out.size() < shape_.replicas ? pipeline({micro_batches, writing, {}}) : 0;
  for (auto& [replica, where] : by_replica) {
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    slowest = std::max(slowest, pipeline({micro_batches, writing, where}));
  }
  // A ring goes as fast as its slowest link; what the backward pass hid before, it hides still.
  double stretch = slow_links ? 1 / factors_.slow_links : 1;
  if (writing) stretch /= 1 - std::min(0.9, factors_.write_share);
  const double total = std::max(shape_.data_comm_total_s, shape_.data_comm_s);
  const double hidden = total - shape_.data_comm_s;
  const double data_comm = shape_.replicas > 1 ? total * stretch - hidden : shape_.data_comm_s;
  return slowest + data_comm + shape_.tail_s + beside_;
}

double StepTimes::pipeline(const Key& key) {
  if (const auto it = known_.find(key); it != known_.end()) return it->second;
  PipelineShape shape = shape_.pipeline;
  shape.micro_batches = key.micro_batches;
  for (const uint64_t slow : key.slow) {
    auto& stage = shape.stages[slow / 2];
    if (slow % 2 != 0) {
      stage.send /= factors_.slow_links;
    } else {
      stage.forward *= factors_.slow_compute;
      stage.backward *= factors_.slow_compute;
    }
  }
  if (key.writing)
    for (auto& stage : shape.stages) stage.send /= 1 - std::min(0.9, factors_.write_share);
  const double seconds = simulate_pipeline(shape);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_.emplace(key, seconds);
  return seconds;
}

}  // namespace fathom::cluster
