// Serving: against published throughput, and properties that hold for every model and machine.
#include "cluster/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "base/toml.h"
#include "cluster/serving_cost.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

using ::testing::HasSubstr;

const Catalogue& catalogue() {
  static const Catalogue kCatalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue"});
  return kCatalogue;
}

model::ModelConfig model_of(const std::string& preset) {
  return model::read_description(FATHOM_SOURCE_DIR "/data/models/" + preset + ".toml");
}

Machine machine_of(const std::string& host_id, uint64_t chips) {
  const Host& host = catalogue().host(host_id);
  const Accelerator& chip = catalogue().accelerator(host.accelerator);
  return {chip, host, Network::build(catalogue(), NetworkSpec{}, chip, host, chips), chips};
}
Machine with_chip(const Machine& machine, const std::function<void(Accelerator&)>& change) {
  Machine out = machine;
  change(out.chip);
  return out;
}

ServingSpec spec_of(uint64_t input, uint64_t output, Precision weights = Precision::kFp8) {
  ServingSpec spec;
  spec.input_tokens = input;
  spec.output_tokens = output;
  spec.weights = weights;
  return spec;
}

TEST(ServingSpecTest, ReadsEveryKeyAndRefusesOthers) {
  const ServingSpec spec = ServingSpec::read(TomlTable::parse(
      "weights = \"fp4\"\nkv = \"bf16\"\ninput_tokens = 9\noutput_tokens = 8\ncached_share = 0.5\n"
      "max_time_per_token_s = 0.02\nmax_first_token_s = 3\nusers_online = 1e6\nseconds_between_requests = "
      "60\n"
      "memory_share = 0.8\nrequests = 7\nday = [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,0.5]\n",
      "s.toml"));
  EXPECT_EQ(spec.weights, Precision::kFp4);
  EXPECT_EQ(spec.kv, Precision::kBf16);
  EXPECT_EQ(spec.output_tokens, 8u);
  EXPECT_EQ(spec.requests, 7u);
  EXPECT_EQ(spec.day.back(), 0.5);
  const auto wrong = [](const char* text) {
    try {
      ServingSpec::read(TomlTable::parse(text, "s.toml"));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_THAT(wrong("day = [1, 1]\n"), HasSubstr("has 24 numbers"));
  EXPECT_THAT(wrong("input_tokens = 0\n"), HasSubstr("s.toml:1: 'input_tokens'"));
  EXPECT_THAT(wrong("cached_share = 1\n"), HasSubstr("must be from 0 to 0.99"));
  EXPECT_THAT(wrong("weights = \"int3\"\n"), HasSubstr("none of: fp32"));
  EXPECT_THAT(wrong("user = 1\n"), HasSubstr("unknown key 'user'"));
}

// TensorRT-LLM 1.0, docs/source/performance/perf-overview.md: total output tokens a second, 1,000 in and 1,000 out.
TEST(ServingTest, ThroughputIsThatOfPublishedCells) {
  struct Cell {
    const char *model, *host;
    uint32_t chips;
    Precision weights;
    double tokens_per_s;
  };
  double total = 0;
  const std::vector<Cell> cells = {{"llama3-8b", "dgx-h100", 1, Precision::kFp8, 15220},
                                   {"llama3-8b", "hgx-h200", 1, Precision::kFp8, 17744},
                                   {"llama3-70b", "dgx-h100", 2, Precision::kFp8, 4205},
                                   {"llama3-70b", "hgx-h200", 1, Precision::kFp8, 2909},
                                   {"llama3-70b", "dgx-b200", 1, Precision::kFp4, 7007},
                                   {"llama3-405b", "dgx-h100", 8, Precision::kFp8, 2919},
                                   {"llama3-405b", "hgx-h200", 8, Precision::kFp8, 3330},
                                   {"llama3-405b", "dgx-b200", 4, Precision::kFp4, 5209},
                                   {"qwen3-235b-a22b", "dgx-h100", 8, Precision::kFp8, 14898}};
  for (const Cell& cell : cells) {
    const Machine machine = machine_of(cell.host, 8);
    ServingSpec spec = spec_of(1000, 1000, cell.weights);
    spec.requests = 3000;
    const ServingPoint point = serve_on(model_of(cell.model), machine, spec, cell.chips, 0);
    ASSERT_TRUE(point.feasible) << cell.model;
    const double error = point.output_tokens_per_s / cell.tokens_per_s - 1;
    EXPECT_LT(std::abs(error), 0.4) << cell.model << " on " << cell.host << ": " << point.output_tokens_per_s;
    total += std::abs(error);
  }
  EXPECT_LT(total / static_cast<double>(cells.size()), 0.2);
}

// One stream alone reads all weights for each token: no faster than memory allows, and not much slower on one chip.
TEST(ServingTest, ASingleStreamIsBoundByMemory) {
  const model::ModelConfig model = model_of("llama3-8b");
  const Machine machine = machine_of("dgx-h100", 8);
  for (const uint32_t tensor : {1u, 2u, 4u, 8u}) {
    const ServingPoint point = serve_at(model, machine, spec_of(128, 128), {tensor, 1, 1}, 1);
    const double bound = machine.chip.memory_bytes_per_s / point.weight_bytes;
    EXPECT_LT(point.output_tokens_per_s, bound) << tensor;
    if (tensor == 1) {
      EXPECT_GT(point.output_tokens_per_s, 0.5 * bound);
    }
  }
}

TEST(ServingTest, BytesAreThoseOfTheShape) {
  const Machine machine = machine_of("dgx-h100", 8);
  const model::ModelConfig model = model_of("llama3-70b");
  ServingSpec spec = spec_of(1000, 1000, Precision::kBf16);
  spec.kv = Precision::kBf16;
  const ServingPoint point = serve_at(model, machine, spec, {8, 1, 1}, 1);
  EXPECT_NEAR(point.weight_bytes * 8, 2.0 * static_cast<double>(model.parameters()),
              1e-3 * point.weight_bytes * 8);
  EXPECT_DOUBLE_EQ(point.kv_bytes_per_token * 8, 2.0 * 80 * 8 * 128 * 2);
  // Eight heads of keys and values over sixteen chips: each is kept twice.
  const Machine wide = machine_of("gb200-tray", 72);
  EXPECT_DOUBLE_EQ(serve_at(model, wide, spec, {16, 1, 1}, 1).kv_bytes_per_token, 2.0 * 80 * 128 * 2);
  // Latent attention keeps 576 numbers a layer, whatever the heads.
  spec.kv = Precision::kFp8;
  EXPECT_DOUBLE_EQ(serve_at(model_of("deepseek-v3"), machine, spec, {1, 8, 1}, 1).kv_bytes_per_token,
                   61.0 * 576);
  const ServingPoint stages = serve_at(model, machine, spec, {2, 1, 4}, 1);
  EXPECT_NEAR(stages.weight_bytes * 8, 2.0 * static_cast<double>(model.parameters()),
              1e-3 * stages.weight_bytes * 8);
}

TEST(ServingTest, WhatDoesNotFitIsNotFeasible) {
  const Machine machine = machine_of("dgx-h100", 8);
  const model::ModelConfig large = model_of("llama3-405b");
  const ServingPoint one = serve_at(large, machine, spec_of(1000, 1000), {1, 1, 1}, 0);
  EXPECT_FALSE(one.feasible);
  EXPECT_EQ(one.batch, 0u);
  EXPECT_FALSE(serve_at(large, machine, spec_of(1000, 1000), {3, 1, 1}, 0).feasible);  // 128 heads over 3
  EXPECT_FALSE(serve_at(large, machine, spec_of(1000, 1000), {8, 2, 1}, 0).feasible);  // no experts
  const ServingPoint most = serve_at(large, machine, spec_of(1000, 1000), {8, 1, 1}, 0);
  EXPECT_TRUE(most.feasible);
  EXPECT_FALSE(serve_at(large, machine, spec_of(1000, 1000), {8, 1, 1}, most.batch + 1).feasible);
  const ServingResult none =
      plan_serving(large, machine_of("dgx-h100", 4), spec_of(1000, 1000, Precision::kBf16), 4, 2);
  EXPECT_FALSE(none.best.feasible);
  EXPECT_EQ(none.users_served, 0);
  EXPECT_TRUE(none.day.empty());
  EXPECT_THAT(none.remedy, HasSubstr("GB of weights"));
  EXPECT_THAT(none.remedy, HasSubstr("weights = \"fp8\" halves them"));
}

TEST(ServingTest, BoundsThatCannotBeKeptGiveNoPlan) {
  ServingSpec spec = spec_of(1000, 500);
  spec.max_time_per_token_s = 1e-6;
  const ServingResult result = plan_serving(model_of("llama3-70b"), machine_of("dgx-h100", 64), spec, 64, 2);
  EXPECT_FALSE(result.best.feasible);
  EXPECT_TRUE(result.fastest.feasible);  // tells how near it comes
  EXPECT_GT(result.fastest.time_per_token_s, spec.max_time_per_token_s);
  EXPECT_FALSE(result.curve.empty());
  EXPECT_THAT(result.remedy, HasSubstr("set max_first_token_s and max_time_per_token_s above"));
}

TEST(ServingTest, APlanKeepsItsBoundsAndItsSums) {
  ServingSpec spec = spec_of(1500, 400);
  spec.max_time_per_token_s = 0.03;
  spec.max_first_token_s = 0.8;
  const Machine machine = machine_of("dgx-h100", 1024);
  for (const char* preset : {"llama3-70b", "mixtral-8x7b", "deepseek-v3", "grok-2"}) {
    const ServingResult result = plan_serving(model_of(preset), machine, spec, 1024, 2.5);
    ASSERT_TRUE(result.best.feasible) << preset;
    EXPECT_EQ(result.remedy, "");
    EXPECT_LE(result.best.time_per_token_s, spec.max_time_per_token_s);
    EXPECT_LE(result.best.first_token_s, spec.max_first_token_s);
    EXPECT_LE(result.best.weight_bytes + result.best.kv_bytes, machine.chip.memory_bytes);
    EXPECT_LE(result.fastest.time_per_token_s, result.best.time_per_token_s);
    EXPECT_DOUBLE_EQ(
        result.best.output_tokens_per_s_per_chip * static_cast<double>(result.best.layout.chips()),
        result.best.output_tokens_per_s);
    EXPECT_NEAR(result.best.usd_per_million_output,
                2.5 / 3600 / result.best.output_tokens_per_s_per_chip * 1e6, 1e-9);
    EXPECT_LE(result.replicas * static_cast<double>(result.best.layout.chips()), 1024);
    // Users that are served ask for no more than is made.
    EXPECT_LT(result.users_served * 400 / 120, result.replicas * result.best.output_tokens_per_s);
    ASSERT_EQ(result.day.size(), 24u);
    for (const ServingResult::Hour& hour : result.day) {
      EXPECT_DOUBLE_EQ(hour.serving_chips + hour.training_chips, 1024);
      EXPECT_GE(hour.serving_chips * result.best.output_tokens_per_s_per_chip, hour.load * (1 - 1e-9));
    }
    for (size_t i = 1; i < result.curve.size(); ++i) {
      EXPECT_GT(result.curve[i].batch, result.curve[i - 1].batch);
      EXPECT_GE(result.curve[i].time_per_token_s, result.curve[i - 1].time_per_token_s * (1 - 1e-9))
          << preset << i;
    }
  }
}

TEST(ServingTest, FewerUsersLeaveMoreChipsToTraining) {
  ServingSpec spec = spec_of(1000, 500);
  const Machine machine = machine_of("dgx-h100", 1024);
  const model::ModelConfig model = model_of("llama3-70b");
  spec.users_online = 10000;
  const ServingResult few = plan_serving(model, machine, spec, 1024, 2);
  spec.users_online = 40000;
  const ServingResult many = plan_serving(model, machine, spec, 1024, 2);
  for (size_t hour = 0; hour < 24; ++hour) {
    EXPECT_GE(few.day[hour].training_chips, many.day[hour].training_chips);
    EXPECT_NEAR(many.day[hour].load, 4 * few.day[hour].load, 1e-6);
  }
  EXPECT_LT(many.day[4].serving_chips, many.day[20].serving_chips);  // night and evening
  EXPECT_DOUBLE_EQ(few.users_served, many.users_served);
}

TEST(ServingTest, RequestsThatAreFewerThanFitAreServedTogether) {
  const Machine machine = machine_of("dgx-h100", 8);
  const model::ModelConfig model = model_of("llama3-8b");
  ServingSpec spec = spec_of(200, 200);
  const ServingPoint endless = serve_at(model, machine, spec, {1, 1, 1}, 0);
  spec.requests = 16;
  const ServingPoint few = serve_at(model, machine, spec, {1, 1, 1}, 0);
  EXPECT_LT(few.output_tokens_per_s, endless.output_tokens_per_s);
  EXPECT_LT(few.time_per_token_s, endless.time_per_token_s);
  spec.requests = 1000000;
  EXPECT_NEAR(serve_at(model, machine, spec, {1, 1, 1}, 0).output_tokens_per_s, endless.output_tokens_per_s,
              0.01 * endless.output_tokens_per_s);
}

TEST(ServingTest, WindowsAndCachesSaveWhatTheySay) {
  const Machine machine = machine_of("dgx-h100", 8);
  model::ModelConfig model = model_of("llama3-8b");
  const ServingPoint full = serve_at(model, machine, spec_of(8000, 1000), {1, 1, 1}, 0);
  model.sliding_window = 512;
  model.set_window_period(0);
  const ServingPoint windowed = serve_at(model, machine, spec_of(8000, 1000), {1, 1, 1}, 0);
  EXPECT_GT(windowed.batch, 10 * full.batch);
  EXPECT_GT(windowed.output_tokens_per_s, full.output_tokens_per_s);
  model = model_of("llama3-8b");
  ServingSpec spec = spec_of(8000, 1000);
  spec.cached_share = 0.9;
  const ServingPoint cached = serve_at(model, machine, spec, {1, 1, 1}, full.batch);
  EXPECT_LT(cached.first_token_s, 0.5 * full.first_token_s);
  EXPECT_LT(cached.time_per_token_s, full.time_per_token_s);
}

TEST(ServingTest, ExpertsOverGroupsBeatOneLargeGroupForAWideMixture) {
  const Machine machine = machine_of("dgx-h100", 64);
  const model::ModelConfig model = model_of("deepseek-v3");
  const ServingPoint groups = serve_at(model, machine, spec_of(1000, 1000), {1, 32, 1}, 0);
  ASSERT_TRUE(groups.feasible);
  EXPECT_EQ(groups.layout.chips(), 32u);
  EXPECT_GT(groups.output_tokens_per_s_per_chip,
            serve_at(model, machine, spec_of(1000, 1000), {32, 1, 1}, 0).output_tokens_per_s_per_chip);
}

// More of anything is never worse.
TEST(ServingPropertyTest, BetterChipsAreNeverSlower) {
  Random random(5);
  const std::vector<std::function<void(Accelerator&)>> better = {
      [](Accelerator& chip) { chip.memory_bytes_per_s *= 1.5; },
      [](Accelerator& chip) {
        for (double& peak : chip.peak_flops) peak *= 1.5;
      },
      [](Accelerator& chip) { chip.efficiency.more["serving_sequence_s"] = 1e-6; },
      [](Accelerator& chip) { chip.efficiency.more["serving_kv_fraction"] = 0.99; }};
  for (const char* preset : {"llama3-8b", "llama3-70b", "mixtral-8x7b", "qwen3-235b-a22b", "deepseek-v3"}) {
    const model::ModelConfig model = model_of(preset);
    const Machine machine = machine_of("hgx-h200", 8);
    for (int round = 0; round < 40; ++round) {
      const ServingSpec spec = spec_of(16 + random.below(8000), 16 + random.below(4000));
      const ServingLayout layout{static_cast<uint32_t>(1) << random.below(4), model.dense() ? 1u : 8u, 1};
      if (!serving_layout_fits(model, layout)) continue;
      const uint64_t batch = 1 + random.below(256);
      const ServingPoint base = serve_at(model, machine, spec, layout, batch);
      for (size_t i = 0; i < better.size(); ++i) {
        const ServingPoint point = serve_at(model, with_chip(machine, better[i]), spec, layout, batch);
        EXPECT_LE(point.time_per_token_s, base.time_per_token_s * (1 + 1e-9)) << preset << i;
        EXPECT_LE(point.first_token_s, base.first_token_s * (1 + 1e-9)) << preset << i;
      }
      const Machine roomy = with_chip(machine, [](Accelerator& chip) { chip.memory_bytes *= 2; });
      EXPECT_GE(serve_at(model, roomy, spec, layout, 0).batch,
                serve_at(model, machine, spec, layout, 0).batch);
    }
  }
}

TEST(ServingPropertyTest, LatencyGrowsWithTheBatchAndNothingExceedsThePeaks) {
  Random random(6);
  for (const char* preset : {"llama3-8b", "llama3-405b", "mixtral-8x22b", "deepseek-v3"}) {
    const model::ModelConfig model = model_of(preset);
    const Machine machine = machine_of("dgx-b200", 8);
    for (int round = 0; round < 60; ++round) {
      const ServingSpec spec = spec_of(1 + random.below(8000), 1 + random.below(4000));
      const ServingLayout layout{8, 1, 1};
      const uint64_t batch = 1 + random.below(500);
      const ServingPoint point = serve_at(model, machine, spec, layout, batch);
      const ServingPoint more = serve_at(model, machine, spec, layout, batch + 1 + random.below(100));
      // Not to the letter: a few more rows may fill the tiles of a product better.
      EXPECT_GE(more.time_per_token_s, point.time_per_token_s * (1 - 0.05)) << preset << batch;
      // Arithmetic of all tokens, prompts included, within the peak.
      const double tokens = point.output_tokens_per_s * (1 + static_cast<double>(spec.input_tokens) /
                                                                 static_cast<double>(spec.output_tokens));
      const double active = static_cast<double>(model.active_parameters()) -
                            static_cast<double>(model.vocab * model.d_model) * 2;
      EXPECT_LT(tokens * 2 * active, 8 * machine.chip.peak(spec.weights)) << preset;
    }
  }
}

}  // namespace
}  // namespace fathom::cluster
