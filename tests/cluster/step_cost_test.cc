// Properties of the cost of a step, each over a thousand random plans of models and machines of many kinds.
#include "cluster/step_cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

constexpr int kPlans = 1000;

const Catalogue& catalogue() {
  static const Catalogue shared =
      Catalogue::read({std::filesystem::path(FATHOM_SOURCE_DIR) / "data/catalogue"});
  return shared;
}

model::ModelConfig gpt(size_t layers, size_t width, size_t heads) {
  model::ModelConfig model;
  model.layers = layers;
  model.d_model = width;
  model.heads = model.kv_heads = heads;
  model.head_dim = width / heads;
  model.ffn = 4 * width;
  model.vocab = 51200;
  model.layer_norm = model.attention_bias = model.attention_output_bias = model.ffn_bias = true;
  model.gated_ffn = false;
  model.tied_output = true;
  return model;
}

model::ModelConfig llama() {
  model::ModelConfig model;
  model.layers = 32;
  model.d_model = 4096;
  model.heads = 32;
  model.kv_heads = 8;
  model.head_dim = 128;
  model.ffn = 14336;
  model.vocab = 128256;
  model.rope.dims = 128;
  return model;
}

model::ModelConfig mixture() {
  model::ModelConfig model = llama();
  model.experts.count = 64;
  model.experts.used = 4;
  model.experts.ffn = 2048;
  model.experts.shared = 1;
  model.experts.leading_dense = 2;
  return model;
}

model::ModelConfig latent() {
  model::ModelConfig model = mixture();
  model.kv_heads = 32;
  model.latent = {.kv_rank = 512, .q_rank = 1536, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  return model;
}

model::ModelConfig windowed() {
  model::ModelConfig model = llama();
  model.sliding_window = 512;
  model.set_window_period(4);
  return model;
}

const std::vector<model::ModelConfig>& models() {
  static const std::vector<model::ModelConfig> all{gpt(24, 2048, 16), llama(), mixture(), latent(),
                                                   windowed()};
  return all;
}

struct Case {
  model::ModelConfig model;
  TrainingJob job;
  ParallelPlan plan;
  std::string chip, host;
};

/// What changes about a machine.
struct Better {
  double memory = 1, flops = 1, scale_up = 1, scale_out = 1;
};

Machine machine(const Case& c, const Better& better = {}) {
  Machine out;
  out.chip = catalogue().accelerator(c.chip);
  out.chip.memory_bytes_per_s *= better.memory;
  for (double& peak : out.chip.peak_flops) peak *= better.flops;
  out.chip.scale_up_bytes_per_s *= better.scale_up;
  out.host = catalogue().host(c.host);
  out.chips = c.plan.chips();
  NetworkSpec spec;
  spec.bytes_per_s_per_chip = 25e9 * better.scale_out;
  out.network = Network::build(catalogue(), spec, out.chip, out.host, out.chips);
  return out;
}

StepCost cost_of(const Case& c, const Better& better = {}) {
  const Machine built = machine(c, better);
  return StepModel(c.model, built, c.job).evaluate(c.plan);
}

/// A plan that the planner holds to be possible, whether it fits in memory or not.
class Plans {
 public:
  explicit Plans(uint64_t seed) : random_(seed) {}

  Case next() {
    for (;;) {
      Case c = draw();
      const StepCost cost = cost_of(c);
      if (cost.fault == PlanFault::kNone || cost.fault == PlanFault::kMemory) return c;
    }
  }

 private:
  uint32_t power(uint32_t most) { return 1U << std::uniform_int_distribution<uint32_t>(0, most)(random_); }
  bool coin() { return std::uniform_int_distribution<int>(0, 1)(random_) == 1; }
  size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  Case draw() {
    Case c;
    c.model = models()[below(models().size())];
    const bool h100 = coin();
    c.chip = h100 ? "h100-sxm" : "a100-sxm-80";
    c.host = h100 ? "dgx-h100" : "hgx-a100";
    ParallelPlan& p = c.plan;
    p.tensor = power(3);
    p.pipeline = power(3);
    p.context = coin() ? 1 : power(2);
    p.data = power(4);
    p.micro_batch = power(2);
    p.interleave = coin() ? 1 : power(2);
    if (!c.model.dense()) {
      p.expert = power(4);
      p.expert_tensor = coin() ? 1 : 2;
    }
    p.zero = static_cast<uint8_t>(below(4));
    p.sequence_parallel = coin();
    p.recompute = static_cast<Recompute>(below(3));
    p.schedule = static_cast<Schedule>(below(2));
    p.precision = h100 && coin() ? Precision::kFp8 : Precision::kBf16;
    p.overlap_data = coin();
    p.overlap_tensor = coin();
    p.overlap_expert = coin();
    p.overlap_pipeline = coin();
    p.offload_optimizer = below(4) == 0;
    p.offload_activations = below(4) == 0;
    c.job.sequence = 1024ULL << below(4);
    c.job.global_batch = uint64_t{p.data} * p.micro_batch * p.pipeline * power(3);
    c.job.attention = static_cast<Attention>(below(4));
    c.job.causal_skips = coin();
    c.job.fused_elementwise = coin();
    c.job.fused_loss = coin();
    c.job.fused_accumulation = coin();
    c.job.captured_graphs = coin();
    c.job.dispatch_by_domain = coin();
    c.job.dropout_passes = coin() ? 0 : 3;
    return c;
  }

  std::mt19937_64 random_;
};

std::string parts(const StepCost& cost) {
  const StepTime& t = cost.time;
  std::string text =
      "\nforward, backward, recompute, optimizer, tensor, context, expert, pipeline, data, bubble, offload, "
      "overhead:";
  for (const double part : {t.forward, t.backward, t.recompute, t.optimizer, t.tensor_comm, t.context_comm,
                            t.expert_comm, t.pipeline_comm, t.data_comm, t.bubble, t.offload, t.overhead})
    text += " " + std::to_string(part);
  return text;
}

double sum(const StepTime& t) {
  return t.forward + t.backward + t.recompute + t.optimizer + t.tensor_comm + t.context_comm + t.expert_comm +
         t.pipeline_comm + t.data_comm + t.bubble + t.offload + t.overhead;
}

TEST(StepCost, PartsAddUpAndNoneIsNegative) {
  Plans plans(1);
  for (int i = 0; i < kPlans; ++i) {
    const Case c = plans.next();
    const StepTime t = cost_of(c).time;
    ASSERT_NEAR(sum(t), t.step_time, 1e-9 * t.step_time) << describe(c.plan);
    for (const double part : {t.forward, t.backward, t.recompute, t.optimizer, t.tensor_comm, t.context_comm,
                              t.expert_comm, t.pipeline_comm, t.data_comm, t.bubble, t.offload, t.overhead})
      ASSERT_TRUE(std::isfinite(part) && part >= 0) << describe(c.plan);
    ASSERT_GT(t.forward, 0);
    ASSERT_GT(t.backward, t.forward * 0.9) << describe(c.plan);
  }
}

TEST(StepCost, UtilisationIsNeverAboveOne) {
  Plans plans(2);
  for (int i = 0; i < kPlans; ++i) {
    const Case c = plans.next();
    const StepCost cost = cost_of(c);
    ASSERT_GT(cost.mfu, 0);
    ASSERT_LE(cost.mfu, cost.hfu * (1 + 1e-9)) << describe(c.plan);
    ASSERT_LE(cost.hfu, 1) << describe(c.plan);
  }
}

TEST(StepCost, BetterHardwareIsNeverSlower) {
  Plans plans(3);
  for (int i = 0; i < kPlans; ++i) {
    const Case c = plans.next();
    const double before = cost_of(c).time.step_time;
    for (const Better& better : {Better{.memory = 1.5}, Better{.flops = 1.5}, Better{.scale_up = 1.5},
                                 Better{.scale_out = 1.5}, Better{2, 2, 2, 2}})
      ASSERT_LE(cost_of(c, better).time.step_time, before * (1 + 1e-9))
          << describe(c.plan) << " memory " << better.memory << " flops " << better.flops << " scale-up "
          << better.scale_up << " scale-out " << better.scale_out << parts(cost_of(c))
          << parts(cost_of(c, better));
  }
}

TEST(StepCost, ShardsOfAllRanksAreTheWhole) {
  Plans plans(4);
  for (int i = 0; i < kPlans; ++i) {
    Case c = plans.next();
    if (!c.model.dense()) continue;
    c.plan.offload_optimizer = false;
    c.plan.zero = 0;
    const StepMemory whole = cost_of(c).memory;
    c.plan.zero = 3;
    const StepMemory shard = cost_of(c).memory;
    const double ranks = c.plan.data * c.plan.context;
    // The fullest stage may be another one; equal stages only.
    if (c.plan.pipeline > 1) continue;
    ASSERT_NEAR(shard.weights * ranks, whole.weights, 1e-6 * whole.weights);
    ASSERT_NEAR(shard.gradients * ranks, whole.gradients, 1e-6 * whole.gradients);
    ASSERT_NEAR(shard.optimizer * ranks, whole.optimizer, 1e-6 * whole.optimizer);
  }
}

TEST(StepCost, ShardsOfGradientsAreScatteredForEveryMicroBatch) {
  Case c{llama(), {}, {}, "h100-sxm", "dgx-h100"};
  c.plan.data = 64;
  c.plan.overlap_data = false;
  const auto comm = [&](uint8_t zero, uint64_t micro_batches) {
    c.plan.zero = zero;
    c.job.global_batch = c.plan.data * micro_batches;
    return cost_of(c).time.data_comm;
  };
  // Once a step with whole gradients; with shards each micro-batch scatters its own, and weights are gathered once.
  EXPECT_DOUBLE_EQ(comm(1, 1), comm(1, 8));
  EXPECT_GT(comm(2, 8), 3 * comm(1, 8));
  // A stage of a pipeline keeps them whole until its last micro-batch.
  c.plan.pipeline = 2;
  c.plan.zero = 1;
  c.job.global_batch = c.plan.data * 8;
  const StepCost once = cost_of(c);
  c.plan.zero = 2;
  EXPECT_EQ(cost_of(c).memory.gradients, once.memory.gradients);
  // Interleaved stages a chunk at a time.
  c.plan.interleave = 4;
  EXPECT_LT(cost_of(c).memory.gradients, 0.3 * once.memory.gradients);
  EXPECT_EQ(c.plan.scatters(8), 4);
  c.plan.interleave = 1;
  c.plan.pipeline = 1;
  EXPECT_LT(cost_of(c).memory.gradients, once.memory.gradients);
}

TEST(KernelModel, ProductsOfTokensDealtByChanceHaveHalfATileMore) {
  const Accelerator& chip = catalogue().accelerator("h100-sxm");
  const KernelModel kernels(chip, false);
  const auto ratio = [&](double rows) {
    const GemmShape even{rows, 4096, 4096, 64};
    GemmShape ragged = even;
    ragged.ragged = true;
    return kernels.gemm(ragged, Precision::kBf16) / kernels.gemm(even, Precision::kBf16);
  };
  EXPECT_GT(ratio(512), 1.02);
  EXPECT_LT(ratio(512), 1.5);
  EXPECT_LT(ratio(8192), 1.03);
}

TEST(StepCost, WeightsOfAllRanksAreTheModelsParameters) {
  for (const model::ModelConfig& config : models()) {
    Case c{config, {}, {}, "h100-sxm", "dgx-h100"};
    c.plan.zero = 0;
    const double parameters = static_cast<double>(config.parameters());
    EXPECT_NEAR(cost_of(c).memory.weights / c.job.weight_bytes, parameters, 0.002 * parameters)
        << config.heads;
  }
}

TEST(StepCost, OneChipHasNoCommunicationAndNoBubble) {
  for (const model::ModelConfig& config : models()) {
    Case c{config, {}, {}, "h100-sxm", "dgx-h100"};
    c.job.global_batch = 4;
    const StepTime t = cost_of(c).time;
    EXPECT_EQ(t.tensor_comm + t.context_comm + t.expert_comm + t.pipeline_comm + t.data_comm + t.bubble, 0);
    EXPECT_GT(t.step_time, 0);
  }
}

TEST(StepCost, MoreMicroBatchesLowerTheShareOfTheBubble) {
  Plans plans(5);
  for (int i = 0; i < kPlans; ++i) {
    Case c = plans.next();
    if (c.plan.pipeline == 1) continue;
    const StepTime few = cost_of(c).time;
    c.job.global_batch *= 2;
    const StepTime many = cost_of(c).time;
    ASSERT_LE(many.bubble / many.step_time, few.bubble / few.step_time * (1 + 1e-9)) << describe(c.plan);
  }
}

TEST(StepCost, RecomputationSavesMemoryAndTakesTime) {
  Plans plans(6);
  for (int i = 0; i < kPlans; ++i) {
    Case c = plans.next();
    c.plan.offload_activations = false;
    c.job.captured_graphs = true;  // else the host's program may be what takes the time
    StepCost last;
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
      c.plan.recompute = recompute;
      const StepCost now = cost_of(c);
      if (recompute != Recompute::kNone) {
        ASSERT_LE(now.memory.activations, last.memory.activations * (1 + 1e-9)) << describe(c.plan);
        ASSERT_GT(now.time.recompute, last.time.recompute) << describe(c.plan);
        ASSERT_GE(now.time.step_time, last.time.step_time * 0.999) << describe(c.plan);
      }
      last = now;
    }
  }
}

TEST(StepCost, ZeroBubbleIsNeverSlower) {
  Plans plans(7);
  for (int i = 0; i < kPlans; ++i) {
    Case c = plans.next();
    c.plan.schedule = Schedule::kOneForwardOneBackward;
    const double plain = cost_of(c).time.step_time;
    c.plan.schedule = Schedule::kZeroBubble;
    ASSERT_LE(cost_of(c).time.step_time, plain * (1 + 1e-12)) << describe(c.plan);
  }
}

TEST(StepCost, ATableOfLayersServesAllPlansThatShareIt) {
  Plans plans(8);
  for (int i = 0; i < kPlans; ++i) {
    const Case c = plans.next();
    const Machine built = machine(c);
    const StepModel model(c.model, built, c.job);
    ParallelPlan other = c.plan;
    other.zero = static_cast<uint8_t>((other.zero + 1) % 4);
    other.overlap_data = !other.overlap_data;
    ASSERT_TRUE(StepModel::same_layers(c.plan, other));
    const LayerTable layers = model.layers(c.plan);
    ASSERT_EQ(model.evaluate(other, layers).time.step_time, model.evaluate(other).time.step_time);
    ASSERT_EQ(model.evaluate(c.plan, layers).memory.total, model.evaluate(c.plan).memory.total);
    ASSERT_EQ(model.evaluate(c.plan).time.step_time, model.evaluate(c.plan).time.step_time);
  }
}

TEST(StepCost, OperationsDoNotDependOnTheLayout) {
  Plans plans(9);
  for (int i = 0; i < kPlans; ++i) {
    const Case c = plans.next();
    const double expected = training_flops(c.model, c.job);
    // Key and value heads that tensor ranks share are computed by each of them.
    const bool shared = c.model.latent.kv_rank == 0 && c.plan.tensor > c.model.kv_heads;
    if (shared || (c.model.latent.kv_rank != 0 && !c.plan.sequence_parallel && c.plan.tensor > 1)) continue;
    ASSERT_NEAR(cost_of(c).model_flops, expected, 1e-3 * expected)
        << describe(c.plan) << " sequence " << c.job.sequence << " batch " << c.job.global_batch << " latent "
        << c.model.latent.kv_rank << " experts " << c.model.experts.count << " sp "
        << c.plan.sequence_parallel;
  }
}

TEST(StepCost, OperationsAreThoseOfTheModelsForwardPass) {
  for (const model::ModelConfig& config : {gpt(24, 2048, 16), llama()}) {
    TrainingJob job;
    job.sequence = 512;
    job.global_batch = 3;
    double forward = 0;
    for (size_t position = 1; position <= job.sequence; ++position)
      forward += static_cast<double>(config.flops_per_token(position));
    const double expected = 3.0 * static_cast<double>(job.global_batch) * forward;
    EXPECT_NEAR(training_flops(config, job), expected, 0.002 * expected);
  }
}

// Korthikanti et al. 2022, equations 1 to 4 and section 4.2: bytes of one layer's activations.
TEST(StepCost, ActivationsAreKorthikantis) {
  const double s = 2048, h = 6144, a = 64, b = 4, t = 8;
  Case c{gpt(48, 6144, 64), {}, {}, "a100-sxm-80", "hgx-a100"};
  c.job.sequence = 2048;
  c.job.global_batch = 4;
  c.job.attention = Attention::kUnfused;
  c.job.dropout_passes = 3;
  c.plan.micro_batch = 4;
  c.plan.tensor = 8;
  const Machine built = machine(c);
  const StepModel model(c.model, built, c.job);
  const auto layer = [&](bool sequence_parallel, Recompute recompute) {
    ParallelPlan plan = c.plan;
    plan.sequence_parallel = sequence_parallel;
    plan.recompute = recompute;
    return model.layers(plan).kind[0].activations;
  };
  const double sbh = s * b * h;
  EXPECT_DOUBLE_EQ(layer(false, Recompute::kNone), sbh * (10 + 24 / t + 5 * a * s / (h * t)));
  EXPECT_DOUBLE_EQ(layer(true, Recompute::kNone), sbh / t * (34 + 5 * a * s / h));
  EXPECT_DOUBLE_EQ(layer(true, Recompute::kSelective), sbh * 34 / t);
  EXPECT_DOUBLE_EQ(layer(false, Recompute::kFull), sbh * 2);
  EXPECT_DOUBLE_EQ(layer(true, Recompute::kFull), sbh * 2 / t);
}

TEST(StepCost, InterleavingKeepsMoreMicroBatches) {
  Case c{gpt(48, 4096, 32), {}, {}, "a100-sxm-80", "hgx-a100"};
  c.job.global_batch = 64;
  c.plan.pipeline = 8;
  const double plain = cost_of(c).memory.activations;
  c.plan.interleave = 3;
  EXPECT_NEAR(cost_of(c).memory.activations / plain, 1 + 7.0 / (8 * 3), 1e-9);
}

// 1F1B with m micro-batches on p equal stages waits for (p - 1) / m of its work, interleaved for a v-th of it.
TEST(StepCost, TheBubbleIsThatOfTheSchedule) {
  Case c{gpt(96, 8192, 64), {}, {}, "a100-sxm-80", "hgx-a100"};
  c.model.vocab = 512;  // next to nothing at the ends
  c.job.global_batch = 64;
  c.job.captured_graphs = true;
  c.plan.pipeline = 8;
  c.plan.tensor = 8;
  c.plan.overlap_pipeline = true;
  StepTime t = cost_of(c).time;
  const double work = t.forward + t.backward + t.recompute + t.tensor_comm;
  EXPECT_NEAR(t.bubble / work, 7.0 / 64, 0.006);
  c.plan.interleave = 3;
  t = cost_of(c).time;
  EXPECT_NEAR(t.bubble / work, 7.0 / 64 / 3, 0.006);
}

TEST(StepCost, KernelsAddUpToTheirLayer) {
  for (const model::ModelConfig& config : models()) {
    Case c{config, {}, {}, "h100-sxm", "dgx-h100"};
    c.plan.tensor = 4;
    const Machine built = machine(c);
    const StepModel model(c.model, built, c.job);
    const LayerTable table = model.layers(c.plan);
    const size_t last = config.layers - 1;
    double forward = 0;
    for (const KernelTime& kernel : model.kernels(c.plan, last)) {
      EXPECT_FALSE(kernel.name.empty());
      EXPECT_LE(kernel.efficiency, 1);
      forward += kernel.forward;
    }
    const size_t kind = (config.dense() ? 0U : 1U) | (config.windowed(last) ? 2U : 0U);
    EXPECT_NEAR(forward, table.kind[kind].forward, 1e-12);
    EXPECT_FALSE(model.kernels(c.plan, config.layers).empty());
  }
}

TEST(StepCost, StagesHoldAllLayersAndTheirTimes) {
  for (const uint32_t pipeline : {2U, 4U, 8U, 16U}) {
    Case c{mixture(), {}, {}, "h100-sxm", "dgx-h100"};
    c.model.layers = 61;  // not a multiple
    c.plan.pipeline = pipeline;
    c.job.captured_graphs = true;
    const Machine built = machine(c);
    const StepModel model(c.model, built, c.job);
    const LayerTable table = model.layers(c.plan);
    double all = 0;
    for (uint32_t index = 0; index < pipeline; ++index) all += model.stage(c.plan, index).forward;
    const double expected =
        2 * table.kind[0].forward + 59 * table.kind[1].forward + table.embedding.forward + table.head.forward;
    EXPECT_NEAR(all, expected, 1e-9 * expected);
  }
}

TEST(StepCost, FaultsSayWhatIsWrong) {
  const Case fine{llama(), {}, {}, "h100-sxm", "dgx-h100"};
  const auto fault = [&](const std::function<void(Case&)>& change) {
    Case c = fine;
    c.job.global_batch = 64;
    change(c);
    return cost_of(c).fault;
  };
  EXPECT_EQ(fault([](Case& c) { c.plan.tensor = 3; }), PlanFault::kHeads);
  EXPECT_EQ(fault([](Case& c) { c.plan.micro_batch = 5; }), PlanFault::kBatch);
  EXPECT_EQ(fault([](Case& c) { c.plan.pipeline = 64; }), PlanFault::kLayers);
  EXPECT_EQ(fault([](Case& c) { c.plan.expert = 2; }), PlanFault::kExperts);
  EXPECT_EQ(fault([](Case& c) { c.plan.interleave = 2; }), PlanFault::kInterleave);
  EXPECT_EQ(fault([](Case& c) { c.plan.context = 3; }), PlanFault::kSequence);
  EXPECT_EQ(fault([](Case& c) { c.plan.micro_batch = 64; }), PlanFault::kMemory);
  Case c = fine;
  const Machine built = machine(c);
  c.plan.data = 2;
  EXPECT_EQ(StepModel(c.model, built, c.job).evaluate(c.plan).fault, PlanFault::kChips);
}

TEST(StepCost, PlansHaveNames) {
  ParallelPlan plan;
  plan.data = 128;
  plan.tensor = 8;
  plan.pipeline = 16;
  plan.interleave = 2;
  plan.recompute = Recompute::kSelective;
  EXPECT_EQ(describe(plan), "dp 128 tp 8 pp 16 x2 mbs 1, selective recompute, zero-1, bf16");
  EXPECT_EQ(plan.chips(), 128U * 8 * 16);
}

TEST(StepCost, JobsAreReadFromAScenario) {
  const TrainingJob job = TrainingJob::read(
      TomlTable::parse("sequence = 8192\nglobal_batch = 2048\nattention = \"flash-2\"\n", "job.toml"));
  EXPECT_EQ(job.sequence, 8192U);
  EXPECT_EQ(job.global_batch, 2048U);
  EXPECT_EQ(job.attention, Attention::kFlash2);
  EXPECT_THROW(TrainingJob::read(TomlTable::parse("sequence = 0\n", "job.toml")), Error);
  EXPECT_THROW(TrainingJob::read(TomlTable::parse("sequnce = 1\n", "job.toml")), Error);
}

}  // namespace
}  // namespace fathom::cluster
