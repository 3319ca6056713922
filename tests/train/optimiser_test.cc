#include "train/optimiser.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/cpu_ops.h"
#include "train/thread_comm.h"
#include "train/tiny_models.h"

namespace fathom::train {
namespace {

constexpr float kRate = 0.01f;

/// All that one rank has.
struct Rank {
  ThreadPool pool{1};
  std::unique_ptr<tensor::DeviceOps> ops = tensor::make_cpu_ops(pool);
  Groups groups;
  Parameters parameters;
  Optimiser optimiser;

  Rank(const model::ModelConfig& config, const Layout& layout, std::unique_ptr<Communicator> world,
       const OptimiserOptions& options, const LoraSpec& lora = {})
      : groups(make_groups(layout, std::move(world))),
        parameters(config, layout, groups.place, lora, *ops),
        optimiser(parameters, groups, *ops, options) {
    parameters.initialise(7, 0.5f);
  }
};

/// Small buckets, so that there are many.
OptimiserOptions options(float clip = 0) {
  OptimiserOptions o;
  o.clip = clip;
  o.bucket_floats = 2048;
  return o;
}

/// The gradient of an element of a whole tensor that data rank `rank` finds in a micro-batch: sums of a few are exact.
float gradient_of(const std::string& name, size_t element, size_t rank, size_t micro_batch, uint64_t step) {
  Random random(std::hash<std::string>{}(name) + element * 1'000'003 + rank * 101 + micro_batch * 11 + step);
  return static_cast<float>(static_cast<int>(random.below(129)) - 64) / 64.0f;
}

/// Calls body(element of the whole tensor, index in the box).
template <class Body>
void for_each_element(const Parameter& p, Body body) {
  size_t at = 0;
  for (size_t i = 0; i < p.box.size[0]; ++i)
    for (size_t j = 0; j < p.box.size[1]; ++j)
      for (size_t k = 0; k < p.box.size[2]; ++k)
        body(((p.box.begin[0] + i) * p.shape[1] + p.box.begin[1] + j) * p.shape[2] + p.box.begin[2] + k,
             at++);
}

/// A backward pass: adds to the gradients as two data ranks' worth of batches would, whatever the layout, and tells
/// `ready` for one parameter after the other, the last first: from then on a gradient is the reducer's. One of parameter
/// `damaged` is made no number before.
void backward(Rank& rank, size_t micro_batch, size_t micro_batches, uint64_t step,
              std::string_view damaged = "") {
  constexpr size_t kParts = 4;  // of the batch, spread over data ranks and micro-batches
  const size_t expert_ranks = rank.groups.layout.expert;
  const auto& all = rank.parameters.all();
  rank.optimiser.before_gradients();
  for (size_t i = all.size(); i-- > 0;) {
    const Parameter& p = all[i];
    if (p.arena == Arena::kFrozen) continue;
    // A rank's experts meet the tokens of the ranks that it shares the others with.
    const bool expert = p.arena == Arena::kExpert;
    const size_t ranks = rank.groups.layout.data / (expert ? expert_ranks : 1);
    const size_t mine = rank.groups.place.data / (expert ? expert_ranks : 1);
    for (size_t part = 0; part < kParts; ++part)
      if (part % ranks == mine && part / ranks % micro_batches == micro_batch)
        for_each_element(p, [&](size_t element, size_t at) {
          rank.parameters.gradient(p)[at] += gradient_of(p.name, element, part, 0, step);
        });
    if (p.name == damaged) rank.parameters.gradient(p)[3] = std::numeric_limits<float>::quiet_NaN();
    rank.optimiser.ready(p, micro_batch + 1 == micro_batches);
  }
}

void take_step(Rank& rank, size_t micro_batches, uint64_t step) {
  rank.optimiser.begin();
  for (size_t m = 0; m < micro_batches; ++m) backward(rank, m, micro_batches, step);
  rank.optimiser.reduce();
  rank.optimiser.update(kRate, step);
}

/// Whole tensors by name, put together from all ranks; every rank that has an element must have the same bits.
class Weights {
 public:
  void add(const Rank& rank) {
    const std::lock_guard lock(mutex_);
    for (const Parameter& p : rank.parameters.all()) {
      auto& whole = tensors_[p.name];
      whole.resize(p.shape[0] * p.shape[1] * p.shape[2], std::numeric_limits<float>::quiet_NaN());
      for_each_element(p, [&](size_t element, size_t at) {
        const float value = rank.parameters.value(p)[at];
        if (!std::isnan(whole[element])) {
          EXPECT_EQ(whole[element], value) << p.name;
        }
        whole[element] = value;
      });
    }
  }
  const std::map<std::string, std::vector<float>>& tensors() const { return tensors_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<float>> tensors_;
};

std::map<std::string, std::vector<float>> train(const std::string& line, size_t micro_batches,
                                                const OptimiserOptions& o, size_t steps = 3) {
  const Layout layout = Layout::parse(line);
  Weights weights;
  run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
    Rank rank(tiny_mixture(), layout, std::move(world), o);
    for (uint64_t step = 1; step <= steps; ++step) take_step(rank, micro_batches, step);
    weights.add(rank);
  });
  return weights.tensors();
}

/// AdamW as its paper has it, in double precision, of one element.
double adamw(double w, const std::vector<double>& gradients, const OptimiserOptions& o, bool decay) {
  double m = 0, v = 0;
  for (size_t t = 1; t <= gradients.size(); ++t) {
    const double g = gradients[t - 1];
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, t)), v_hat = v / (1 - std::pow(o.beta2, t));
    w -= kRate * (m_hat / (std::sqrt(v_hat) + o.epsilon) + (decay ? o.weight_decay : 0) * w);
  }
  return w;
}

TEST(Optimiser, IsAdamWAndDecaysMatricesAlone) {
  Rank rank(tiny_mixture(), Layout{}, make_self_comm(), options());
  Rank untouched(tiny_mixture(), Layout{}, make_self_comm(), options());
  for (uint64_t step = 1; step <= 3; ++step) take_step(rank, 1, step);
  size_t matrices = 0, vectors = 0;
  for (const Parameter& p : rank.parameters.all()) {
    (p.decay ? matrices : vectors) += 1;
    for (size_t i = 0; i < p.elements(); i += 7) {
      std::vector<double> gradients;
      for (uint64_t step = 1; step <= 3; ++step) {
        gradients.push_back(0);
        for (size_t part = 0; part < 4; ++part) gradients.back() += gradient_of(p.name, i, part, 0, step);
      }
      const double expected = adamw(untouched.parameters.value(p)[i], gradients, options(), p.decay);
      ASSERT_NEAR(rank.parameters.value(p)[i], expected, 2e-6) << p.name;
    }
  }
  EXPECT_GT(matrices, 0u);
  EXPECT_GT(vectors, 0u);
}

TEST(Optimiser, GivesTheSameBitsHoweverItIsSharded) {
  const auto expected = train("data=1", 1, options());
  EXPECT_EQ(train("data=1", 4, options()), expected);
  for (const char* line :
       {"data=2", "data=4", "data=2 zero=1", "data=4 zero=1", "data=2 zero=2", "data=4 zero=2",
        "data=4 expert=2", "data=4 expert=2 zero=1", "data=4 expert=4 zero=2", "tensor=2", "pipeline=2",
        "data=2 pipeline=2 zero=2 tensor=2"}) {
    SCOPED_TRACE(line);
    EXPECT_EQ(train(line, 1, options()), expected);
    if (Layout::parse(line).data <= 2) {
      EXPECT_EQ(train(line, 2, options()), expected);
    }
  }
}

TEST(Optimiser, NormIsThatOfTheWholeModelOnEveryRank) {
  double expected = 0;
  {
    Rank rank(tiny_mixture(), Layout{}, make_self_comm(), options());
    rank.optimiser.begin();
    backward(rank, 0, 1, 1);
    for (const Parameter& p : rank.parameters.all())
      for (size_t i = 0; i < p.elements(); ++i)
        expected += static_cast<double>(rank.parameters.gradient(p)[i]) * rank.parameters.gradient(p)[i];
    expected = std::sqrt(expected);
    rank.optimiser.reduce();
    EXPECT_NEAR(rank.optimiser.norm(), expected, 1e-6 * expected);
  }
  for (const char* line : {"data=4 zero=1 expert=2", "data=2", "data=2 zero=2", "tensor=4", "pipeline=4",
                           "data=2 tensor=2 pipeline=2 zero=1"}) {
    const Layout layout = Layout::parse(line);
    run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_mixture(), layout, std::move(world), options());
      take_step(rank, 1, 1);
      EXPECT_NEAR(rank.optimiser.norm(), expected, 1e-6 * expected) << line;
      std::vector<double> sum{rank.optimiser.norm()};
      rank.groups.world->all_reduce_sum(std::span<double>(sum));
      EXPECT_EQ(sum[0], rank.optimiser.norm() * static_cast<double>(layout.ranks())) << line;
    });
  }
}

TEST(Optimiser, ClipsToTheNorm) {
  OptimiserOptions o = options(0.5f);
  o.weight_decay = 0;
  o.beta1 = o.beta2 = 0;  // a step of sign(gradient), but where epsilon is large: then of the gradient
  o.epsilon = 1e6f;
  Rank rank(tiny_mixture(), Layout{}, make_self_comm(), o),
      before(tiny_mixture(), Layout{}, make_self_comm(), o);
  rank.optimiser.begin();
  backward(rank, 0, 1, 1);
  rank.optimiser.reduce();
  ASSERT_GT(rank.optimiser.norm(), 0.5);
  rank.optimiser.update(1e6f, 1);
  double moved = 0;
  for (const Parameter& p : rank.parameters.all())
    for (size_t i = 0; i < p.elements(); ++i)
      moved += std::pow(rank.parameters.value(p)[i] - before.parameters.value(p)[i], 2);
  EXPECT_NEAR(std::sqrt(moved), 0.5, 1e-4);
}

TEST(Optimiser, RanksOwnEveryElementOnce) {
  for (const char* line : {"data=3 zero=1", "data=4 expert=2 zero=2"}) {
    const Layout layout = Layout::parse(line);
    std::mutex mutex;
    std::map<std::pair<Arena, size_t>, std::vector<size_t>>
        owners;  // arena and expert rank; counts by element
    run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_mixture(), layout, std::move(world), options());
      size_t state = 0;
      const std::lock_guard lock(mutex);
      for (const OwnedRange& range : rank.optimiser.owned()) {
        EXPECT_EQ(range.state, state);
        state += range.end - range.begin;
        const bool expert = range.arena == Arena::kExpert;
        auto& counts = owners[{range.arena, expert ? rank.groups.place.expert : 0}];
        counts.resize(rank.parameters.arena_size(range.arena));
        for (size_t i = range.begin; i < range.end; ++i) ++counts[i];
      }
      EXPECT_EQ(rank.optimiser.state(OptimiserState::kFirstMoment).size(), state);
      EXPECT_EQ(rank.optimiser.state(OptimiserState::kSecondMoment).size(), state);
      EXPECT_TRUE(rank.optimiser.state(OptimiserState::kAverage).empty());
    });
    EXPECT_EQ(owners.size(), 1 + layout.expert);
    for (const auto& [arena, counts] : owners) EXPECT_EQ(counts, std::vector<size_t>(counts.size(), 1));
  }
}

TEST(Optimiser, ShardingSavesMemory) {
  std::map<std::string, size_t> bytes;
  for (const char* line : {"data=4", "data=4 zero=1"})
    run_ranks(4, [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_mixture(), Layout::parse(line), std::move(world), options());
      if (rank.groups.world->rank() == 0) bytes[line] = rank.optimiser.bytes();
    });
  EXPECT_LT(bytes["data=4 zero=1"], bytes["data=4"] * 3 / 10);
}

TEST(Optimiser, AverageFollowsTheWeightsAndIsSwappedIn) {
  OptimiserOptions o = options();
  o.ema_decay = 0.5f;
  for (const char* line : {"data=1", "data=2", "data=2 zero=1", "data=2 zero=2"}) {
    SCOPED_TRACE(line);
    const Layout layout = Layout::parse(line);
    run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_dense(), layout, std::move(world), o);
      const Parameter& p = rank.parameters.at("blk.1.ffn_up.weight");
      const auto weight = [&] { return rank.parameters.value(p)[p.elements() - 1]; };
      float expected = weight();
      for (uint64_t step = 1; step <= 3; ++step) {
        take_step(rank, 1, step);
        expected += 0.5f * (weight() - expected);
      }
      const float before = weight();
      rank.optimiser.swap_average();
      EXPECT_NEAR(weight(), expected, 1e-6);
      EXPECT_NE(weight(), before);
      rank.optimiser.swap_average();
      EXPECT_EQ(weight(), before);
    });
  }
}

TEST(Optimiser, DiscardedStepChangesNothing) {
  for (const char* line : {"data=1", "data=2", "data=2 zero=1", "data=2 zero=2"}) {
    SCOPED_TRACE(line);
    const Layout layout = Layout::parse(line);
    Weights weights;
    run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_mixture(), layout, std::move(world), options());
      take_step(rank, 1, 1);
      rank.optimiser.begin();
      backward(rank, 0, 2, 99, rank.groups.place.data == 0 ? "output_norm.weight" : "");
      rank.optimiser.reduce();
      EXPECT_FALSE(std::isfinite(rank.optimiser.norm()));  // on every rank
      rank.optimiser.discard();
      take_step(rank, 1, 2);
      EXPECT_TRUE(std::isfinite(rank.optimiser.norm()));
      weights.add(rank);
    });
    EXPECT_EQ(weights.tensors(), train("data=1", 1, options(), 2));
  }
}

TEST(Optimiser, LeavesFrozenWeightsAlone) {
  LoraSpec lora;
  lora.rank = 2;
  lora.matrices = {"attn_q", "ffn_down"};
  const Layout layout = Layout::parse("data=2 zero=1");
  run_ranks(2, [&](std::unique_ptr<Communicator> world) {
    Rank rank(tiny_dense(), layout, std::move(world), options(), lora);
    const size_t n = rank.parameters.arena_size(Arena::kFrozen);
    const std::vector<float> before(rank.parameters.values(Arena::kFrozen),
                                    rank.parameters.values(Arena::kFrozen) + n);
    const Parameter& b = rank.parameters.at("blk.0.attn_q.weight.lora_b");
    EXPECT_EQ(rank.parameters.value(b)[0], 0.0f);
    take_step(rank, 1, 1);
    EXPECT_NE(rank.parameters.value(b)[0], 0.0f);
    EXPECT_EQ(std::vector<float>(rank.parameters.values(Arena::kFrozen),
                                 rank.parameters.values(Arena::kFrozen) + n),
              before);
    for (const OwnedRange& range : rank.optimiser.owned()) EXPECT_NE(range.arena, Arena::kFrozen);
  });
}

/// Buckets are reduced while the backward pass still has to come to those before them.
TEST(Optimiser, ReducesWhileGradientsAreStillMade) {
  for (const char* line : {"data=2", "data=2 zero=1", "data=4 expert=2 zero=2"}) {
    SCOPED_TRACE(line);
    const Layout layout = Layout::parse(line);
    run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_mixture(), layout, std::move(world), options());
      Optimiser& optimiser = rank.optimiser;
      optimiser.begin();
      optimiser.before_gradients();
      EXPECT_GE(optimiser.buckets(), 8u);
      EXPECT_EQ(optimiser.reduced_buckets(), 0u);
      optimiser.ready(rank.parameters.at("blk.2.attn_norm.weight"), true);  // half of the model
      for (int i = 0; i < 60'000 && optimiser.reduced_buckets() < 2; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_GE(optimiser.reduced_buckets(), 2u);
      EXPECT_LT(optimiser.reduced_buckets(), optimiser.buckets());
      optimiser.reduce();
      EXPECT_EQ(optimiser.reduced_buckets(), optimiser.buckets());
    });
  }
}

/// What is not the last micro-batch waits, but with zero 2 is reduced and emptied.
TEST(Optimiser, KeepsGradientsOverMicroBatches) {
  for (const char* line : {"data=2", "data=2 zero=1", "data=2 zero=2"}) {
    SCOPED_TRACE(line);
    const Layout layout = Layout::parse(line);
    run_ranks(2, [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_dense(), layout, std::move(world), options());
      rank.optimiser.begin();
      backward(rank, 0, 2, 1);
      rank.optimiser.before_gradients();
      const Parameter& p = rank.parameters.at("blk.3.ffn_down.weight");
      float most = 0;
      for (size_t i = 0; i < p.elements(); ++i)
        most = std::max(most, std::abs(rank.parameters.gradient(p)[i]));
      EXPECT_EQ(most == 0, layout.zero == 2);
      EXPECT_EQ(rank.optimiser.reduced_buckets(), layout.zero == 2 ? rank.optimiser.buckets() : 0);
      rank.optimiser.reduce();
    });
  }
}

/// The share of an arena's gradients that takes memory.
double resident(const Parameters& p, Arena arena) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = p.arena_size(arena) * sizeof(float);
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  EXPECT_EQ(mincore(p.gradients(arena), bytes, pages.data()), 0);
  const auto there = std::count_if(pages.begin(), pages.end(), [](unsigned char c) { return (c & 1) != 0; });
  return static_cast<double>(there) / static_cast<double>(pages.size());
}

TEST(Optimiser, ShardedGradientsTakeNoMemoryBetweenPasses) {
  for (const char* line : {"data=2 zero=1", "data=2 zero=2"}) {
    const Layout layout = Layout::parse(line);
    run_ranks(2, [&](std::unique_ptr<Communicator> world) {
      OptimiserOptions o = options();
      o.bucket_floats = 32768;
      Rank rank(tiny_mixture(), layout, std::move(world), o);
      for (uint64_t step = 1; step <= 2; ++step) {
        rank.optimiser.begin();
        backward(rank, 0, 1, step);
        rank.optimiser.reduce();
        const double share = resident(rank.parameters, Arena::kExpert);
        EXPECT_TRUE(layout.zero == 2 ? share < 0.2 : share > 0.9) << line << ": " << share;
        rank.optimiser.update(kRate, step);
      }
    });
  }
}

TEST(Optimiser, EndsWhereAnotherRankFailsWhileItReduces) {
  for (const bool waits : {false, true}) {
    const auto body = [&](std::unique_ptr<Communicator> world) {
      Rank rank(tiny_dense(), Layout::parse("data=2 zero=1"), std::move(world), options());
      rank.optimiser.begin();
      if (rank.groups.place.data == 0 || !waits) rank.optimiser.ready(rank.parameters.all().front(), true);
      if (rank.groups.place.data == 1) throw Error(ErrorCode::kIo, "no more data");
      rank.optimiser.reduce();
    };
    try {
      run_ranks(2, body);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), "no more data");
    }
  }
}

}  // namespace
}  // namespace fathom::train
