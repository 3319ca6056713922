// What the registry of DeviceOps (grad_ops_test.cc) cannot say of the operations of training: how exact exp and tanh are,
// what becomes of infinite numbers, parts of a vocabulary that are put together, memory of a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tensor/grad/cross_entropy.h"
#include "tensor/grad/flat.h"
#include "tensor/grad/gate.h"
#include "tensor/grad/norm.h"
#include "tensor/grad_support.h"

namespace fathom::tensor {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using TrainingMath = Kernels;

/// The largest relative error.
double relative_error(const std::vector<float>& got, const Doubles& expected) {
  double most = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(got[i]) / expected[i] - 1));
  return most;
}

/// A softmax of one column more than x, which is 0, gives e^x / (1 + e^x) in each row.
TEST_P(TrainingMath, ExpIsExactToAMillionth) {
  std::vector<float> logits;
  Doubles expected;
  for (float x = -80; x < 0; x += 0.37f) {
    logits.insert(logits.end(), {x, 0.0f});
    expected.push_back(1 / (1 + std::exp(-static_cast<double>(x))));
  }
  const CrossEntropyShape shape{.rows = expected.size(), .vocab = 2};
  const std::vector<int32_t> targets(shape.rows, 1);
  std::vector<SoftmaxPart> parts(shape.rows);
  grad::cross_entropy_part(shape, logits.data(), targets.data(), parts.data());
  grad::cross_entropy_gradient(shape, logits.data(), targets.data(), parts.data());
  std::vector<float> got;
  for (size_t r = 0; r < shape.rows; ++r) got.push_back(logits[2 * r]);
  EXPECT_LT(relative_error(got, expected), 1e-6);
}

/// The target's logit, capped at 1, is tanh.
TEST_P(TrainingMath, TanhIsExactToAMillionth) {
  std::vector<float> x;
  for (float at = 1e-6f; at < 20; at *= 1.07f) x.insert(x.end(), {at, -at});
  Doubles expected;
  for (const float at : x) expected.push_back(std::tanh(static_cast<double>(at)));
  const CrossEntropyShape shape{.rows = x.size(), .vocab = 1, .softcap = 1.0f};
  const std::vector<int32_t> targets(x.size(), 0);
  std::vector<SoftmaxPart> parts(x.size());
  grad::cross_entropy_part(shape, x.data(), targets.data(), parts.data());
  std::vector<float> got;
  for (const SoftmaxPart& part : parts) got.push_back(part.target);
  EXPECT_LT(relative_error(got, expected), 1e-6);
}

TEST_P(TrainingMath, GatesOfHugeNumbersAreFinite) {
  const std::vector<float> x = {-1e30f, -200, -88.5f, 0, 88.5f, 200, 1e18f};
  const std::vector<float> ones(x.size(), 1.0f);
  for (const auto act : {GateActivation::kSilu, GateActivation::kGelu}) {
    std::vector<float> out(x.size());
    std::vector<float> d_gate(x.size());
    std::vector<float> d_up(x.size());
    grad::gate(act, x.data(), ones.data(), 1, out.data(), x.size(), 1);
    grad::gate_backward(act, x.data(), ones.data(), 1, ones.data(), d_gate.data(), d_up.data(), nullptr,
                        x.size(), 1);
    for (size_t i = 0; i < x.size(); ++i) {
      const float expected = std::max(x[i], 0.0f);
      EXPECT_NEAR(out[i], expected, 1e-6f * expected + 1e-6f) << x[i];
      EXPECT_NEAR(d_up[i], expected, 1e-6f * expected + 1e-6f) << x[i];
      EXPECT_NEAR(d_gate[i], x[i] > 0 ? 1.0f : x[i] < 0 ? 0.0f : 0.5f, 1e-6f) << x[i];
    }
  }
}

TEST_P(TrainingMath, SumsOfSquaresShowWhatIsNotFinite) {
  std::vector<float> x(1000, 1e20f);
  EXPECT_NEAR(grad::sum_of_squares(x.data(), x.size()) / 1e43, 1, 1e-6) << "more than a float holds";
  for (const float bad : {kInfinity, -kInfinity, kNaN}) {
    for (const size_t place : {size_t{0}, size_t{517}, size_t{999}}) {
      x[place] = bad;
      EXPECT_FALSE(std::isfinite(grad::sum_of_squares(x.data(), x.size()))) << bad << " at " << place;
      x[place] = 1;
    }
  }
}

TEST_P(TrainingMath, LossesOfLogitsThatAreNotFiniteAreNot) {
  for (const float softcap : {0.0f, 30.0f}) {
    for (const float bad : {kInfinity, kNaN}) {
      for (const size_t place : {size_t{3}, size_t{2500}, size_t{4998}}) {
        std::vector<float> logits(4999, 0.5f);
        logits[place] = bad;
        const CrossEntropyShape shape{.rows = 1, .vocab = logits.size(), .softcap = softcap};
        const int32_t target = 7;
        SoftmaxPart part;
        grad::cross_entropy_part(shape, logits.data(), &target, &part);
        const bool capped = softcap != 0 && bad == kInfinity;  // an infinite logit is a large one then
        EXPECT_EQ(std::isfinite(grad::cross_entropy_loss(shape, &target, &part)), capped) << bad << place;
      }
    }
  }
}

TEST_P(TrainingMath, ColumnsOfAVocabularyPutTogetherGiveItsLoss) {
  constexpr size_t kRows = 5;
  constexpr size_t kVocab = 4100;  // more than the kernel takes at a time
  const std::vector<int32_t> targets = {0, 4099, -1, 2050, 1025};
  const auto logits = random_floats(random_, kRows * kVocab, 4);
  CrossEntropyShape whole{
      .rows = kRows, .vocab = kVocab, .logit_scale = 1.5f, .softcap = 20, .z_loss = 1e-3f};
  const Doubles expected = grad::reference::cross_entropy_gradient(whole, doubles(logits), targets);
  const double loss = grad::reference::cross_entropy(whole, doubles(logits), targets);
  for (const size_t count : {size_t{1}, size_t{2}, size_t{4}}) {
    std::vector<SoftmaxPart> merged(kRows);
    const size_t columns = kVocab / count;
    std::vector<std::vector<float>> of_device(count);
    CrossEntropyShape shape = whole;
    shape.vocab = columns;
    for (size_t d = 0; d < count; ++d) {
      for (size_t r = 0; r < kRows; ++r) {
        const auto begin = logits.begin() + static_cast<ptrdiff_t>(r * kVocab + d * columns);
        of_device[d].insert(of_device[d].end(), begin, begin + static_cast<ptrdiff_t>(columns));
      }
      shape.first = d * columns;
      std::vector<SoftmaxPart> parts(kRows);
      grad::cross_entropy_part(shape, of_device[d].data(), targets.data(), parts.data());
      for (size_t r = 0; r < kRows; ++r) merged[r] = d == 0 ? parts[r] : merge(merged[r], parts[r]);
    }
    EXPECT_NEAR(grad::cross_entropy_loss(shape, targets.data(), merged.data()) / loss, 1, 1e-6);
    for (size_t d = 0; d < count; ++d) {
      shape.first = d * columns;
      grad::cross_entropy_gradient(shape, of_device[d].data(), targets.data(), merged.data());
      Doubles part;
      for (size_t r = 0; r < kRows; ++r) {
        const auto begin = expected.begin() + static_cast<ptrdiff_t>(r * kVocab + d * columns);
        part.insert(part.end(), begin, begin + static_cast<ptrdiff_t>(columns));
      }
      EXPECT_LT(distance(doubles(of_device[d]), part), 5e-6) << d << " of " << count;
    }
  }
}

/// Recomputing a layer takes the sum for granted.
TEST_P(TrainingMath, AddingAndNormalisingAtOnceGivesTheSameBits) {
  for (const size_t n : {size_t{1}, size_t{37}, size_t{768}}) {
    auto x = random_floats(random_, 3 * n);
    auto both = x;
    const auto branch = random_floats(random_, 3 * n);
    const auto weight = random_floats(random_, n);
    std::vector<float> y(3 * n);
    std::vector<float> y_both(3 * n);
    std::vector<float> inverse(3);
    std::vector<float> inverse_both(3);
    grad::add_rms_norm(both.data(), branch.data(), weight.data(), 1e-5f, y_both.data(), inverse_both.data(),
                       3, n);
    grad::add(branch.data(), x.data(), x.size());
    grad::rms_norm(x.data(), weight.data(), 1e-5f, y.data(), inverse.data(), 3, n);
    EXPECT_EQ(x, both);
    EXPECT_EQ(y, y_both);
    EXPECT_EQ(inverse, inverse_both);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, TrainingMath, testing::ValuesIn(targets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST(DeviceBuffer, IsZeroedAndMoves) {
  ThreadPool pool(1);
  const auto ops = make_cpu_ops(pool);
  DeviceBuffer first = ops->allocate(1000);
  EXPECT_EQ(first.size(), 1000u);
  EXPECT_EQ(ops->sum_of_squares(first.floats(), first.size()), 0.0);
  ops->fill(first.floats(), 2.0f, first.size());
  DeviceBuffer second = std::move(first);
  EXPECT_EQ(second.span()[999], 2.0f);
  first = ops->allocate(0);
  EXPECT_EQ(first.size(), 0u);
  second = std::move(first);
  EXPECT_EQ(second.size(), 0u);
}

}  // namespace
}  // namespace fathom::tensor
