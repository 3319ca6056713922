#include "train/memory.h"

#include <gtest/gtest.h>

#include "tensor/gemm.h"
#include "train/decoder_support.h"
#include "train/thread_comm.h"

namespace fathom::train {
namespace {

model::ModelConfig config_of(bool mixture) {
  model::ModelConfig c = tiny_config();
  c.attention_bias = true;
  if (!mixture) return c;
  c.experts.count = 4;
  c.experts.used = 2;
  c.experts.ffn = 16;
  c.experts.beside = model::BesideExperts::kGatedDense;
  return c;
}

/// Every rank's own allocations add up to what was counted.
void expect_counted(const char* line, bool mixture, Recompute recompute, float ema,
                    const LoraSpec& lora = {}) {
  const Layout layout = Layout::parse(line);
  const model::ModelConfig config = config_of(mixture);
  DecoderOptions options;
  options.sequences = 2;
  options.length = 16;
  options.slots = 2;
  options.recompute = recompute;
  options.lora = lora;
  OptimiserOptions optimiser_options;
  optimiser_options.ema_decay = ema;
  optimiser_options.bucket_floats = 2048;
  run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
    ThreadPool pool(1);
    const auto ops = tensor::make_cpu_ops(pool);
    const Groups groups = make_groups(layout, std::move(world));
    Parameters parameters(config, layout, groups.place, lora, *ops);
    const Decoder decoder(config, groups, parameters, *ops, options);
    const Optimiser optimiser(parameters, groups, *ops, optimiser_options);
    const MemoryNeed need = memory_need(config, layout, groups.place, options, optimiser_options, 1);
    const size_t trained = parameters.arena_size(Arena::kDense) + parameters.arena_size(Arena::kExpert);
    EXPECT_EQ(need.weights, (trained + parameters.arena_size(Arena::kFrozen)) * sizeof(float));
    EXPECT_EQ(need.gradients, trained * sizeof(float));
    // Buckets are rounded to the ranks that share them.
    EXPECT_NEAR(static_cast<double>(need.optimiser), static_cast<double>(optimiser.bytes()), 2e4) << line;
    // Beside activations and scratch of the passes, kernels and the stage's boundaries are counted.
    const size_t beside = 4 * decoder.boundary_size() * sizeof(float) + tensor::gemm_scratch_bytes(1);
    EXPECT_GE(need.activations + need.scratch, decoder.bytes() + beside) << line;
    EXPECT_LE(need.activations + need.scratch, (decoder.bytes() + beside) * 11 / 10) << line;
  });
}

TEST(Memory, OfOneRankIsWhatIsAllocated) {
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull})
    for (const bool mixture : {false, true}) expect_counted("data=1", mixture, recompute, 0.9f);
}

TEST(Memory, OfLayoutsIsWhatTheirRanksAllocate) {
  expect_counted("data=2 zero=2", false, Recompute::kNone, 0);
  expect_counted("data=2 zero=1", true, Recompute::kNone, 0.9f);
  expect_counted("tensor=2 pipeline=2", false, Recompute::kSelective, 0);
  expect_counted("pipeline=2 chunks=1", true, Recompute::kFull, 0);
}

TEST(Memory, OfAdaptersHasNoMomentsOfFrozenWeights) {
  LoraSpec lora;
  lora.rank = 2;
  lora.matrices = {"attn_q", "ffn_down"};
  expect_counted("data=1", false, Recompute::kSelective, 0, lora);
}

TEST(Memory, RecomputationKeepsLess) {
  const auto kept = [](Recompute recompute) {
    DecoderOptions options;
    options.length = 64;
    options.recompute = recompute;
    return memory_need(tiny_config(), {}, {}, options, {}, 1).activations;
  };
  EXPECT_GT(kept(Recompute::kNone), kept(Recompute::kSelective));
  EXPECT_GT(kept(Recompute::kSelective), 3 * kept(Recompute::kFull));
}

}  // namespace
}  // namespace fathom::train
