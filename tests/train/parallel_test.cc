// The promise of the layouts: however a job is spread over its ranks, it learns the same.
//
// Curves of 20 steps are compared with those of one process. They differ by the order in which floats are summed, and each
// step hands its differences on to the next: with these models and rates a few millionths of the loss at most, where an
// error of any kind gives more than the bound of 1e-5. A choice of experts is the one thing that is not continuous: two that
// are equally good to within rounding would be chosen either way, and the curves would part by a small step that is nobody's
// mistake. The seed is one without such a tie: learning rates that differ by 3e-5 make all the same choices.

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <limits>
#include <mutex>
#include <ostream>

#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/cpu_ops.h"
#include "train/step.h"
#include "train/thread_comm.h"
#include "train/tiny_models.h"

namespace fathom::train {
namespace {

constexpr size_t kSteps = 20;
constexpr size_t kSequences = 8;  // of a step, over all ranks
constexpr size_t kLength = 8;
constexpr float kRate = 3e-3f;
constexpr uint64_t kSeed = 29;
constexpr double kBound = 1e-5;

/// Rows of a step that can be learnt: each token follows from the one before, with a little noise; some rows hold two
/// documents, and some tokens have no loss.
class Batch {
 public:
  Batch(size_t step, size_t vocab)
      : tokens_(kSequences * kLength), targets_(tokens_), starts_(tokens_.size(), 0) {
    Random random(step + 17);
    for (size_t row = 0; row < kSequences; ++row) {
      size_t token = random.below(vocab);
      const size_t cut = row % 3 == 1 ? 3 : 0;  // where the second document begins
      for (size_t i = 0; i < kLength; ++i) {
        const size_t at = row * kLength + i;
        tokens_[at] = static_cast<int32_t>(token);
        token = random.chance(0.1) ? random.below(vocab) : (token * 3 + 1) % 13;
        targets_[at] = row % 2 == 0 && i < 2 ? -1 : static_cast<int32_t>(token);
        starts_[at] = static_cast<int32_t>(i >= cut ? cut : 0);
        if (targets_[at] >= 0) ++loss_tokens_;
      }
    }
  }

  LossScale scale() const { return {1.0f / static_cast<float>(loss_tokens_), 1.0f / kSequences}; }

  MicroBatch rows(size_t first, size_t count) const {
    const auto part = [&](const std::vector<int32_t>& all) {
      return std::span(all).subspan(first * kLength, count * kLength);
    };
    return {count, kLength, part(tokens_), part(targets_), part(starts_)};
  }

 private:
  std::vector<int32_t> tokens_, targets_, starts_;
  size_t loss_tokens_ = 0;
};

struct Case {
  const char* model = "dense";  // dense, untied, mixture
  const char* line = "data=1";
  size_t micro = 1;  // sequences of a micro-batch
  Recompute recompute = Recompute::kSelective;
  bool lora = false;
};

std::string name_of(const Case& c) {
  std::string name = c.model + std::string("_") + c.line + "_micro" + std::to_string(c.micro) +
                     (c.lora ? "_lora" : "") + (c.recompute == Recompute::kFull ? "_full" : "");
  for (char& letter : name)
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0) letter = '_';
  return name;
}
void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c); }

model::ModelConfig model_of(const Case& c) {
  if (std::string_view(c.model) == "mixture") return tiny_mixture();
  return tiny_dense(std::string_view(c.model) == "untied" ? "" : "tied_output = true\n");
}

/// One rank's training of a case.
class Rank {
 public:
  Rank(const Case& c, std::unique_ptr<Communicator> world)
      : layout_(Layout::parse(c.line)),
        config_(model_of(c)),
        groups_(make_groups(layout_, std::move(world))),
        micro_(c.micro),
        micro_batches_(kSequences / (layout_.data * c.micro)),
        parameters_(config_, layout_, groups_.place, lora(c), *ops_),
        decoder_(config_, groups_, parameters_, *ops_, decoder_options(c)),
        optimiser_(parameters_, groups_, *ops_, optimiser_options()),
        step_(decoder_, optimiser_, groups_) {
    layout_.check(config_, micro_, kLength, micro_batches_);
    parameters_.initialise(kSeed, 0.3f);
  }

  StepResult run(size_t number) {
    const Batch batch(number, config_.vocab);
    return step_.run(number, micro_batches_, rows_of(batch), batch.scale(), kRate);
  }
  StepResult evaluate() { return step_.evaluate(micro_batches_, rows_of(Batch(1000, config_.vocab))); }

  const Groups& groups() const { return groups_; }
  Parameters& parameters() { return parameters_; }

 private:
  static LoraSpec lora(const Case& c) {
    LoraSpec spec;
    if (c.lora) spec.rank = 2, spec.matrices = {"attn_q", "attn_v", "attn_output", "ffn_down"};
    return spec;
  }
  DecoderOptions decoder_options(const Case& c) const {
    DecoderOptions o;
    o.sequences = micro_;
    o.length = kLength;
    o.slots = Step::slots(layout_, micro_batches_);
    o.recompute = c.recompute;
    o.loss_rows = 3;
    o.z_loss = 1e-3f;
    o.balance_weight = 0.1f;
    o.capacity_factor = 1.5f;
    o.lora = lora(c);
    return o;
  }
  static OptimiserOptions optimiser_options() {
    OptimiserOptions o;
    o.bucket_floats = 4096;
    o.epsilon = 1e-6f;  // of gradients that are mere rounding AdamW's quotient shall not make whole steps
    return o;
  }
  MicroBatches rows_of(const Batch& batch) const {
    return [this, &batch](size_t index) {
      return batch.rows((groups_.place.data * micro_batches_ + index) * micro_, micro_);
    };
  }

  Layout layout_;
  model::ModelConfig config_;
  ThreadPool pool_{1};
  std::unique_ptr<tensor::DeviceOps> ops_ = tensor::make_cpu_ops(pool_);
  Groups groups_;
  size_t micro_, micro_batches_;
  Parameters parameters_;
  Decoder decoder_;
  Optimiser optimiser_;
  Step step_;
};

bool same(const StepResult& a, const StepResult& b) {
  return a.loss == b.loss && a.balance == b.balance && a.dropped == b.dropped && a.norm == b.norm &&
         a.tokens == b.tokens && a.loss_tokens == b.loss_tokens && a.finite == b.finite;
}

/// What every rank of a case is told, step by step, and of held-out rows at the end.
std::vector<StepResult> curve(const Case& c) {
  std::mutex mutex;
  std::vector<StepResult> first;
  run_ranks(Layout::parse(c.line).ranks(), [&](std::unique_ptr<Communicator> world) {
    Rank rank(c, std::move(world));
    std::vector<StepResult> results;
    for (size_t number = 1; number <= kSteps; ++number) results.push_back(rank.run(number));
    results.push_back(rank.evaluate());
    const std::lock_guard lock(mutex);
    if (first.empty()) first = results;
    for (size_t i = 0; i < results.size(); ++i)
      EXPECT_TRUE(same(results[i], first[i])) << "ranks differ, step " << i + 1;
  });
  return first;
}

void expect_near(double a, double b, double bound, const char* what, size_t step) {
  EXPECT_LE(std::abs(a - b), bound * std::abs(b)) << what << " of step " << step << ": " << a << ", " << b;
}

/// The largest relative difference of the loss.
double compare(const std::vector<StepResult>& curve, const std::vector<StepResult>& expected) {
  double most = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const StepResult &a = curve.at(i), &b = expected[i];
    expect_near(a.loss, b.loss, kBound, "loss", i + 1);
    expect_near(a.balance, b.balance, kBound, "balance", i + 1);
    expect_near(a.norm, b.norm, 10 * kBound, "norm", i + 1);
    EXPECT_EQ(a.dropped, b.dropped) << "step " << i + 1;
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.loss_tokens, b.loss_tokens);
    EXPECT_TRUE(a.finite);
    most = std::max(most, std::abs(a.loss - b.loss) / b.loss);
  }
  return most;
}

class Parallel : public testing::TestWithParam<Case> {};

TEST_P(Parallel, LearnsWhatOneProcessLearns) {
  Case alone = GetParam();
  alone.line = "data=1";
  alone.micro = kSequences;
  alone.recompute = Recompute::kNone;
  const auto expected = curve(alone);
  EXPECT_LT(expected[kSteps - 1].loss, expected[0].loss);
  EXPECT_NEAR(expected[0].tokens, kSequences * kLength, 0);
  const double most = compare(curve(GetParam()), expected);
  RecordProperty("largest_difference", std::to_string(most));
  if (GetParam().model == std::string_view("mixture")) {
    EXPECT_GT(expected[0].balance, 0);
    EXPECT_GT(expected[0].dropped, 0);
  }
}

std::string test_name(const testing::TestParamInfo<Case>& instance) { return name_of(instance.param); }

INSTANTIATE_TEST_SUITE_P(
    Dense, Parallel,
    testing::Values(Case{"dense", "data=1", 1}, Case{"dense", "data=1", 2, Recompute::kFull},
                    Case{"dense", "data=2"}, Case{"dense", "data=4"}, Case{"dense", "data=8"},
                    Case{"dense", "data=2 zero=1"}, Case{"dense", "data=4 zero=2"},
                    Case{"dense", "data=8 zero=2"}, Case{"dense", "tensor=2"}, Case{"dense", "tensor=4", 2},
                    Case{"dense", "pipeline=2"}, Case{"dense", "pipeline=4"},
                    Case{"dense", "pipeline=2 chunks=2"}, Case{"untied", "pipeline=2 chunks=2", 2},
                    Case{"untied", "tensor=2 pipeline=2"}, Case{"dense", "data=2 tensor=2 pipeline=2"},
                    Case{"dense", "zero=2 data=2 tensor=2 pipeline=2", 2},
                    Case{"dense", "zero=1 data=2 pipeline=2 chunks=2 tensor=2", 2},
                    Case{"dense", "zero=2 data=2 pipeline=2 chunks=2"},
                    Case{"dense", "data=2 tensor=2 zero=1", 1, Recompute::kSelective, true}),
    test_name);

INSTANTIATE_TEST_SUITE_P(
    Mixture, Parallel,
    testing::Values(Case{"mixture", "data=1", 1}, Case{"mixture", "data=2"}, Case{"mixture", "data=4 zero=1"},
                    Case{"mixture", "data=8 zero=2"}, Case{"mixture", "tensor=2"},
                    Case{"mixture", "tensor=4", 2, Recompute::kFull}, Case{"mixture", "pipeline=2"},
                    Case{"mixture", "pipeline=4", 2}, Case{"mixture", "pipeline=2 chunks=2"},
                    Case{"mixture", "data=2 expert=2"},
                    Case{"mixture", "data=4 expert=4", 2, Recompute::kFull},
                    Case{"mixture", "data=4 expert=2 zero=1"}, Case{"mixture", "data=8 expert=4 zero=2"},
                    Case{"mixture", "data=2 expert=2 tensor=2", 2},
                    Case{"mixture", "data=4 expert=2 tensor=2 zero=2"},
                    Case{"mixture", "data=2 tensor=2 pipeline=2"},
                    Case{"mixture", "data=2 expert=2 tensor=2 pipeline=2 chunks=2 zero=1"},
                    Case{"mixture", "data=2 expert=2 tensor=2 pipeline=2 zero=2", 2}),
    test_name);

/// One weight of one rank is broken: all ranks are told, and none updates anything.
TEST(ParallelStep, NotFiniteOnOneRankUpdatesNothingAnywhere) {
  for (const char* line : {"data=2 zero=1", "tensor=2 pipeline=2", "data=2 zero=2 pipeline=2"}) {
    SCOPED_TRACE(line);
    const size_t ranks = Layout::parse(line).ranks();
    run_ranks(ranks, [&](std::unique_ptr<Communicator> world) {
      const bool breaks = world->rank() + 1 == ranks;
      Rank rank({"dense", line}, std::move(world));
      EXPECT_TRUE(rank.run(1).finite);
      Parameters& p = rank.parameters();
      const std::span<float> weights(p.values(Arena::kDense), p.arena_size(Arena::kDense));
      const std::vector<float> before(weights.begin(), weights.end());
      float* victim = p.value(p.all().back());
      if (breaks) *victim = std::numeric_limits<float>::infinity();
      EXPECT_FALSE(rank.run(2).finite);
      if (breaks) *victim = before[static_cast<size_t>(victim - weights.data())];
      EXPECT_TRUE(std::equal(weights.begin(), weights.end(), before.begin()));
      EXPECT_TRUE(rank.run(3).finite);
      EXPECT_FALSE(std::equal(weights.begin(), weights.end(), before.begin()));
    });
  }
}

}  // namespace
}  // namespace fathom::train
