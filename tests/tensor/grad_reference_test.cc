// The gradients of tensor/grad/reference.h against finite differences of its forward passes, all in double.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tensor/grad/reference.h"
#include "tensor/grad_support.h"

namespace fathom::tensor {
namespace {

namespace plain = grad::reference;

/// d f / d x by central differences.
Doubles differences(const std::function<double(const Doubles&)>& f, Doubles x) {
  constexpr double kStep = 1e-5;
  Doubles out;
  for (double& v : x) {
    const double at = v;
    v = at + kStep;
    const double above = f(x);
    v = at - kStep;
    out.push_back((above - f(x)) / (2 * kStep));
    v = at;
  }
  return out;
}

/// What a loss is whose gradient at y is dy.
double along(const Doubles& y, const Doubles& dy) {
  EXPECT_EQ(y.size(), dy.size());
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
  return sum;
}

class GradientReference : public testing::Test {
 protected:
  Doubles random(size_t n, double scale = 1.0) { return random_doubles(random_, n, scale); }
  void expect_gradient(const Doubles& gradient, const std::function<double(const Doubles&)>& f,
                       const Doubles& x) {
    EXPECT_LT(distance(gradient, differences(f, x)), 1e-7);
  }

  Random random_{5};
};

constexpr size_t kRows = 4;
constexpr size_t kN = 6;

TEST_F(GradientReference, OfBiases) {
  const Doubles y = random(kRows * kN);
  const Doubles dy = random(kRows * kN);
  const auto loss = [&](const Doubles& bias) {
    Doubles sum = y;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += bias[i % kN];
    return along(sum, dy);
  };
  expect_gradient(plain::column_sums(dy, kN), loss, random(kN));
}

TEST_F(GradientReference, OfEmbeddings) {
  const std::vector<int32_t> tokens = {3, 5, 3, -1, 2, 7};
  const Doubles d_out = random(tokens.size() * kN);
  const auto loss = [&](const Doubles& table) {
    return along(plain::embed(table, tokens, 3, kN, 1.5), d_out);
  };
  expect_gradient(plain::embed_backward(d_out, tokens, 3, 4, kN, 1.5), loss, random(4 * kN));
}

TEST_F(GradientReference, OfNorms) {
  const Doubles x = random(kRows * kN);
  const Doubles weight = random(kN);
  const Doubles dy = random(kRows * kN);
  const auto gradient = plain::rms_norm_backward(dy, x, weight, 1e-2);
  expect_gradient(
      gradient.dx, [&](const Doubles& at) { return along(plain::rms_norm(at, weight, 1e-2), dy); }, x);
  expect_gradient(
      gradient.d_weight, [&](const Doubles& at) { return along(plain::rms_norm(x, at, 1e-2), dy); }, weight);
}

TEST_F(GradientReference, OfRotaryPositions) {
  const std::vector<int32_t> position = {2, 0};
  const Doubles cos_sin = random(3 * 4);
  const Doubles x = random(position.size() * 2 * 5);
  const Doubles dy = random(x.size());
  for (const bool halves : {false, true}) {
    const auto loss = [&](const Doubles& at) {
      return along(plain::rope(at, 5, 4, halves, cos_sin, position, false), dy);
    };
    expect_gradient(plain::rope(dy, 5, 4, halves, cos_sin, position, true), loss, x);
  }
}

TEST_F(GradientReference, OfGates) {
  const Doubles gate = random(kN, 2);
  const Doubles up = random(kN);
  const Doubles d_out = random(kN);
  for (const auto act : {GateActivation::kSilu, GateActivation::kGelu}) {
    const auto gradient = plain::gate_backward(act, gate, up, d_out);
    expect_gradient(
        gradient.d_gate, [&](const Doubles& at) { return along(plain::gate(act, at, up), d_out); }, gate);
    expect_gradient(
        gradient.d_up, [&](const Doubles& at) { return along(plain::gate(act, gate, at), d_out); }, up);
  }
}

TEST_F(GradientReference, OfCrossEntropy) {
  const std::vector<int32_t> targets = {2, -1, 0, 5};
  const Doubles logits = random(kRows * kN, 3);
  for (const float softcap : {0.0f, 4.0f}) {
    for (const float z_loss : {0.0f, 0.1f}) {
      const CrossEntropyShape shape{
          .rows = kRows, .vocab = kN, .logit_scale = 0.5f, .softcap = softcap, .z_loss = z_loss};
      const auto loss = [&](const Doubles& at) { return plain::cross_entropy(shape, at, targets); };
      expect_gradient(plain::cross_entropy_gradient(shape, logits, targets), loss, logits);
    }
  }
}

TEST_F(GradientReference, OfCombinedRows) {
  const std::vector<int32_t> index = {1, 0, -1, 2, 2, 1};
  const Doubles x = random(3 * kN);
  const Doubles weight = random(index.size());
  const Doubles d_out = random(3 * kN);
  const auto loss = [&](const Doubles& at) { return along(plain::combine_rows(x, index, at, 2, kN), d_out); };
  expect_gradient(plain::combine_rows_weights(x, index, d_out, 2, kN), loss, weight);
}

}  // namespace
}  // namespace fathom::tensor
