// The search against brute force, against itself in smaller spaces, and on any number of threads.
#include "cluster/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "base/toml.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Catalogue& catalogue() {
  static const Catalogue read = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue"});
  return read;
}

/// A model on so many H100, and a job, with a StepModel over all of it.
struct Bench {
  model::ModelConfig config;
  Machine machine;
  TrainingJob job;

  Bench(const std::string& preset, uint64_t chips, uint64_t batch, uint64_t sequence = 4096) {
    config = model::read_description(FATHOM_SOURCE_DIR "/data/models/" + preset + ".toml");
    machine.chip = catalogue().accelerator("h100-sxm");
    machine.host = catalogue().host("dgx-h100");
    machine.chips = chips;
    machine.network = Network::build(catalogue(), NetworkSpec{}, machine.chip, machine.host, chips);
    job.global_batch = batch;
    job.sequence = sequence;
  }

  SearchResult search(const SearchSpace& space, size_t threads = 2, size_t keep = 20) const {
    const StepModel model(config, machine, job);
    ThreadPool pool(threads);
    SearchOptions options;
    options.keep = keep;
    return fathom::cluster::search(model, space, pool, options);
  }
};

/// Every combination of values up to 64, whether it makes sense or not: evaluate() alone decides.
class BruteForce {
 public:
  BruteForce(const Bench& bench, const SearchSpace& space) : model_(bench.config, bench.machine, bench.job) {
    for (uint32_t tensor = 1; tensor <= bench.machine.chips; ++tensor)
      for (uint32_t context = 1; tensor * context <= bench.machine.chips; ++context)
        for (uint32_t pipeline = 1; tensor * context * pipeline <= bench.machine.chips; ++pipeline)
          for (uint32_t data = 1; tensor * context * pipeline * data <= bench.machine.chips; ++data)
            if (allowed(space, tensor * context * pipeline * data))
              degrees({.data = data, .tensor = tensor, .pipeline = pipeline, .context = context}, space);
  }

  std::vector<RankedPlan> feasible;
  double best() const {
    double out = 0;
    for (const RankedPlan& ranked : feasible)
      if (out == 0 || ranked.cost.time.step_time < out) out = ranked.cost.time.step_time;
    return out;
  }

 private:
  bool allowed(const SearchSpace& space, uint64_t chips) const {
    if (!space.fewer_chips) return chips == model_.machine().chips;
    return chips >= space.min_chips;
  }

  void degrees(ParallelPlan plan, const SearchSpace& space) {
    const uint64_t experts = model_.model().experts.count;
    for (plan.expert = 1; plan.expert <= std::max<uint64_t>(1, experts); ++plan.expert)
      for (plan.expert_tensor = 1; plan.expert_tensor <= plan.tensor; ++plan.expert_tensor)
        for (plan.interleave = 1; plan.interleave <= (plan.pipeline == 1 ? 1 : model_.model().layers + 2);
             ++plan.interleave)
          for (plan.micro_batch = 1; plan.micro_batch <= model_.job().global_batch; ++plan.micro_batch)
            switches(plan, space);
  }

  void switches(ParallelPlan plan, const SearchSpace& space) {
    if (model_.job().global_batch % (uint64_t{plan.data} * plan.micro_batch) != 0) return;
    const LayerTable probe = model_.layers(plan);
    if (probe.fault != PlanFault::kNone && !plan.sequence_parallel) return;
    for (const Recompute recompute : space.recompute)
      for (const uint8_t zero : space.zero)
        for (const Schedule schedule : space.schedule)
          for (unsigned bits = 0; bits < 64; ++bits) {
            plan.recompute = recompute;
            plan.zero = zero;
            plan.schedule = schedule;
            plan.sequence_parallel = bits & 1;
            plan.overlap_data = bits & 2;
            plan.overlap_tensor = bits & 4;
            plan.overlap_expert = bits & 8;
            plan.offload_optimizer = bits & 16;
            plan.offload_activations = bits & 32;
            if (!space.offload && (plan.offload_optimizer || plan.offload_activations)) continue;
            const StepCost cost = model_.evaluate(plan);
            if (cost.feasible()) feasible.push_back({plan, cost});
          }
  }

  StepModel model_;
};

SearchSpace small_space() {
  SearchSpace space;
  space.zero = {0, 1, 3};
  space.recompute = {Recompute::kNone, Recompute::kSelective};
  space.offload = false;
  return space;
}

TEST(Search, FindsTheBestThatBruteForceFinds) {
  for (const char* preset : {"llama3.2-1b", "qwen2.5-0.5b"}) {
    const Bench bench(preset, 4, 4, 2048);
    const SearchSpace space = small_space();
    const BruteForce all(bench, space);
    const SearchResult result = bench.search(space);
    ASSERT_FALSE(all.feasible.empty());
    ASSERT_FALSE(result.best.empty());
    EXPECT_DOUBLE_EQ(result.best.front().cost.time.step_time, all.best()) << preset;
    // No plan of all can be better than the front in every respect.
    for (const RankedPlan& other : all.feasible) {
      const bool covered =
          std::any_of(result.pareto.begin(), result.pareto.end(), [&](const RankedPlan& front) {
            return front.cost.time.step_time <= other.cost.time.step_time &&
                   front.cost.memory.total <= other.cost.memory.total &&
                   front.plan.chips() <= other.plan.chips();
          });
      ASSERT_TRUE(covered) << describe(other.plan);
    }
  }
}

TEST(Search, FindsTheBestOnFewerChips) {
  const Bench bench("llama3.2-1b", 6, 4, 2048);  // 6 leaves 5 or 4 that divide the batch
  SearchSpace space = small_space();
  space.recompute = {Recompute::kNone};
  space.zero = {1};
  space.fewer_chips = true;
  space.min_chips = 4;
  const BruteForce all(bench, space);
  const SearchResult result = bench.search(space);
  ASSERT_FALSE(result.best.empty());
  EXPECT_DOUBLE_EQ(result.best.front().cost.time.step_time, all.best());
  for (const RankedPlan& ranked : result.best) {
    EXPECT_GE(ranked.plan.chips(), 4U);
    EXPECT_LE(ranked.plan.chips(), 6U);
  }
}

TEST(Search, EveryResultIsWhatEvaluateSays) {
  const Bench bench("mixtral-8x7b", 64, 64);
  const StepModel model(bench.config, bench.machine, bench.job);
  SearchSpace space;
  space.zero = {1, 3};
  space.context = {1, 2};
  space.micro_batch = {1, 2};
  space.offload = false;
  const SearchResult result = bench.search(space);
  ASSERT_FALSE(result.best.empty());
  EXPECT_EQ(result.evaluated, result.feasible + result.out_of_memory);
  EXPECT_LE(result.evaluated, result.considered);
  EXPECT_GT(result.out_of_memory, 0U) << "a space where memory decides nothing tests little";
  for (const auto* list : {&result.best, &result.pareto})
    for (const RankedPlan& ranked : *list) {
      const StepCost cost = model.evaluate(ranked.plan);
      EXPECT_TRUE(cost.feasible()) << describe(ranked.plan);
      EXPECT_EQ(cost.time.step_time, ranked.cost.time.step_time);
      EXPECT_EQ(cost.memory.total, ranked.cost.memory.total);
      EXPECT_LE(cost.mfu, 1.0);
    }
  for (size_t i = 1; i < result.best.size(); ++i)
    EXPECT_LE(result.best[i - 1].cost.time.step_time, result.best[i].cost.time.step_time);
}

TEST(Search, RestrictingTheSpaceNeverImproves) {
  const Bench bench("llama3-8b", 32, 64);
  SearchSpace whole;
  whole.offload = false;
  whole.micro_batch = {1, 2, 4};
  const SearchResult best = bench.search(whole);
  ASSERT_FALSE(best.best.empty());
  Random random(7);
  for (int round = 0; round < 12; ++round) {
    SearchSpace part = whole;
    if (random.below(2)) part.tensor = {1, static_cast<uint32_t>(2 << random.below(3))};
    if (random.below(2)) part.pipeline = {static_cast<uint32_t>(1 << random.below(4))};
    if (random.below(2)) part.zero = {static_cast<uint8_t>(random.below(4))};
    if (random.below(2)) part.recompute = {static_cast<Recompute>(random.below(3))};
    if (random.below(2)) part.sequence_parallel = Either::kYes;
    if (random.below(2)) part.overlap_data = Either::kNo;
    const SearchResult result = bench.search(part);
    EXPECT_LE(result.considered, best.considered);
    EXPECT_LE(result.feasible, best.feasible);
    if (result.best.empty()) continue;
    EXPECT_GE(result.best.front().cost.time.step_time, best.best.front().cost.time.step_time);
  }
}

TEST(Search, TheFrontIsAFront) {
  const Bench bench("llama3-70b", 128, 128);
  SearchSpace space;
  space.fewer_chips = true;
  space.min_chips = 64;
  space.context = {1};
  space.micro_batch = {1, 2};
  space.interleave = {1, 2, 5};
  const SearchResult result = bench.search(space);
  ASSERT_GT(result.pareto.size(), 3U);
  EXPECT_EQ(result.pareto.front().cost.time.step_time, result.best.front().cost.time.step_time);
  for (size_t i = 0; i < result.pareto.size(); ++i)
    for (size_t j = 0; j < result.pareto.size(); ++j) {
      if (i == j) continue;
      const RankedPlan &a = result.pareto[i], &b = result.pareto[j];
      EXPECT_FALSE(a.cost.time.step_time <= b.cost.time.step_time &&
                   a.cost.memory.total <= b.cost.memory.total && a.plan.chips() <= b.plan.chips())
          << describe(a.plan) << " makes " << describe(b.plan) << " needless";
    }
  EXPECT_GT(result.pareto.front().plan.chips(), 64U);
  EXPECT_TRUE(std::any_of(result.pareto.begin(), result.pareto.end(),
                          [](const RankedPlan& ranked) { return ranked.plan.chips() == 64; }));
}

TEST(Search, TheHeatMapHoldsTheBestOfEachPair) {
  const Bench bench("llama3-8b", 32, 64);
  SearchSpace space;
  space.offload = false;
  space.micro_batch = {1};
  const SearchResult result = bench.search(space);
  double fastest = 0;
  for (const auto& cell : result.heat) {
    if (cell.step_time > 0 && (fastest == 0 || cell.step_time < fastest)) fastest = cell.step_time;
    SearchSpace one = space;
    one.tensor = {cell.tensor};
    one.pipeline = {cell.pipeline};
    const SearchResult alone = bench.search(one);
    EXPECT_EQ(cell.step_time, alone.best.empty() ? 0 : alone.best.front().cost.time.step_time);
  }
  EXPECT_EQ(fastest, result.best.front().cost.time.step_time);
}

TEST(Search, IsTheSameOnAnyNumberOfThreads) {
  const Bench bench("mixtral-8x7b", 64, 64);
  SearchSpace space;
  space.context = {1};
  space.micro_batch = {1, 2};
  space.zero = {1};
  const SearchResult one = bench.search(space, 1, 50);
  ASSERT_EQ(one.best.size(), 50U);
  for (const size_t threads : {2, 5}) {
    const SearchResult many = bench.search(space, threads, 50);
    EXPECT_EQ(many.considered, one.considered);
    EXPECT_EQ(many.feasible, one.feasible);
    EXPECT_EQ(many.out_of_memory, one.out_of_memory);
    const auto same = [](const RankedPlan& a, const RankedPlan& b) {
      return a.plan == b.plan && a.cost.time.step_time == b.cost.time.step_time;
    };
    EXPECT_TRUE(std::equal(many.best.begin(), many.best.end(), one.best.begin(), one.best.end(), same));
    EXPECT_TRUE(
        std::equal(many.pareto.begin(), many.pareto.end(), one.pareto.begin(), one.pareto.end(), same));
    ASSERT_EQ(many.heat.size(), one.heat.size());
    for (size_t i = 0; i < one.heat.size(); ++i) EXPECT_EQ(many.heat[i].step_time, one.heat[i].step_time);
  }
}

TEST(Search, TellsHowFarItIsAndStops) {
  const Bench bench("llama3-8b", 64, 64);
  const StepModel model(bench.config, bench.machine, bench.job);
  ThreadPool pool(2);
  SearchOptions options;
  uint64_t last = 0, total = 0;
  options.progress = [&](uint64_t done, uint64_t of) {
    EXPECT_GE(done, last);
    last = done;
    total = of;
  };
  SearchSpace space;
  space.context = {1};
  const SearchResult whole = search(model, space, pool, options);
  EXPECT_EQ(last, total);
  EXPECT_EQ(whole.considered, total);
  EXPECT_FALSE(whole.stopped);

  std::stop_source stop;
  options.stop = stop.get_token();
  options.progress = [&](uint64_t, uint64_t) { stop.request_stop(); };
  const SearchResult part = search(model, space, pool, options);
  EXPECT_TRUE(part.stopped);
  EXPECT_LT(part.considered, whole.considered);

  options.stop = {};
  options.progress = [](uint64_t, uint64_t) { throw Error(ErrorCode::kCancelled, "enough"); };
  EXPECT_THROW(search(model, space, pool, options), Error);
}

TEST(Search, SaysWhatWouldMakeAPlanFit) {
  const Bench bench("llama3-405b", 64, 64);
  SearchSpace space;
  space.offload = false;
  space.zero = {1};
  space.context = {1};
  const SearchResult result = bench.search(space);
  EXPECT_EQ(result.feasible, 0U);
  ASSERT_GT(result.out_of_memory, 0U);
  EXPECT_EQ(result.nearest.cost.fault, PlanFault::kMemory);
  EXPECT_GT(result.nearest.cost.memory.total, result.nearest.cost.memory.capacity);
  EXPECT_THAT(result.remedy, StartsWith("the nearest (" + describe(result.nearest.plan) + ") needs "));
  EXPECT_THAT(result.remedy, HasSubstr("offload = true"));
  EXPECT_THAT(result.remedy, HasSubstr(" chips"));
  space.offload = true;
  EXPECT_GT(bench.search(space).feasible, 0U) << "what is named as a remedy has to be one";
}

TEST(Search, SaysWhyNoDegreesGoTogether) {
  const Bench odd("llama3-8b", 72, 64);  // 8 x 9: what tensor parallelism leaves divides no batch of 64
  SearchSpace space;
  space.pipeline = {1};
  space.context = {1};
  const SearchResult result = odd.search(space);
  EXPECT_EQ(result.evaluated, 0U);
  EXPECT_EQ(result.nearest.cost.fault, PlanFault::kBatch);
  EXPECT_THAT(result.remedy, HasSubstr("global batch of 64 sequences cannot be divided"));
  EXPECT_THAT(result.remedy, HasSubstr("with a global batch of 63"));
  EXPECT_THAT(result.remedy, HasSubstr("fewer_chips = true"));

  space.tensor = {3};
  const SearchResult heads = odd.search(space);
  EXPECT_EQ(heads.evaluated, 0U);
  EXPECT_THAT(heads.remedy, HasSubstr("without the limits that [search] sets"));
}

TEST(SearchSpace, IsReadFromToml) {
  const auto read = [](const std::string& text) {
    return SearchSpace::read(TomlTable::parse(text, "s.toml"));
  };
  EXPECT_EQ(read(""), SearchSpace{});
  const SearchSpace space = read(
      "tensor = [8, 4]\nzero = [0, 3]\nrecompute = [\"full\"]\nprecision = [\"bf16\", \"fp8\"]\n"
      "schedule = [\"1f1b\"]\noverlap_tensor = \"yes\"\noffload = false\nfewer_chips = true\nmin_chips = "
      "100\n");
  EXPECT_EQ(space.tensor, (std::vector<uint32_t>{8, 4}));
  EXPECT_EQ(space.zero, (std::vector<uint8_t>{0, 3}));
  EXPECT_EQ(space.recompute, std::vector<Recompute>{Recompute::kFull});
  EXPECT_EQ(space.precision, (std::vector<Precision>{Precision::kBf16, Precision::kFp8}));
  EXPECT_EQ(space.schedule, std::vector<Schedule>{Schedule::kOneForwardOneBackward});
  EXPECT_EQ(space.overlap_tensor, Either::kYes);
  EXPECT_EQ(space.sequence_parallel, Either::kBoth);
  EXPECT_FALSE(space.offload);
  EXPECT_EQ(space.min_chips, 100U);

  const auto refused = [&](const std::string& text, const char* part) {
    try {
      read(text);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.what(), StartsWith("s.toml:1: "));
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  };
  refused("tensor = [0]\n", "from 1 to");
  refused("tensor = [1.5]\n", "whole numbers");
  refused("tensor = []\n", "empty list");
  refused("tensors = [1]\n", "unknown key 'tensors'");
  refused("zero = [4]\n", "from 0 to 3");
  refused("recompute = [\"some\"]\n", "none of: none, selective, full");
  refused("precision = [\"int8\"]\n", "none of: fp32");
  refused("overlap_data = \"maybe\"\n", "none of: both, yes, no");
  refused("min_chips = 16\nmax_chips = 8\n", "more than max_chips");
}

}  // namespace
}  // namespace fathom::cluster
