// The registry of DeviceOps: every operation of the table, on every device, instruction set and number of threads, against
// its plain form. A new operation is a new case.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "tensor/grad/attention.h"
#include "tensor/grad_support.h"

namespace fathom::tensor {
namespace {

namespace plain = grad::reference;

/// What an operation gave, and what it should have.
struct Output {
  std::string what;
  std::vector<float> got;
  Doubles expected;
  double tolerance = 3e-6;  // of distance()
};
using Outputs = std::vector<Output>;

struct Shape {
  size_t rows;
  size_t n;
  size_t size() const { return rows * n; }
};
/// Odd ones, and one that threads share.
const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 16}, {5, 100}, {41, 643}};

/// What an operation that adds should leave where `before` was.
Doubles plus(Doubles gradient, const std::vector<float>& before) {
  EXPECT_EQ(gradient.size(), before.size());
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += static_cast<double>(before[i]);
  return gradient;
}

Outputs bias(OnDevice& device, Random& random, const Shape& s) {
  const auto y = random_floats(random, s.size());
  const auto bias = random_floats(random, s.n);
  float* sum = device.put(y);
  float* d_bias = device.put(bias);
  device.ops().add_bias(sum, device.put(bias), s.rows, s.n);
  device.ops().bias_backward(device.put(y), d_bias, s.rows, s.n);
  Doubles repeated;
  for (size_t r = 0; r < s.rows; ++r) repeated.insert(repeated.end(), bias.begin(), bias.end());
  return {{"sum", device.get(sum, s.size()), plus(repeated, y)},
          {"gradient", device.get(d_bias, s.n), plus(plain::column_sums(doubles(y), s.n), bias)}};
}

Outputs embedding(OnDevice& device, Random& random, const Shape& s) {
  constexpr size_t kVocab = 9;
  constexpr size_t kFirst = 4;
  constexpr float kScale = 1.75f;
  const auto table = random_floats(random, kVocab * s.n);
  const auto tokens = random_indices(random, s.rows, kVocab + 2 * kFirst);
  const auto d_out = random_floats(random, s.size());
  const std::span<const int32_t> on_device(device.put(tokens), tokens.size());
  float* rows = device.put(d_out);
  float* d_table = device.put(table);
  device.ops().embed(device.put(table), on_device, kFirst, kVocab, s.n, kScale, rows);
  device.ops().embed_backward(device.put(d_out), on_device, kFirst, kVocab, s.n, kScale, d_table);
  return {{"rows", device.get(rows, s.size()), plain::embed(doubles(table), tokens, kFirst, s.n, kScale)},
          {"gradient", device.get(d_table, table.size()),
           plus(plain::embed_backward(doubles(d_out), tokens, kFirst, kVocab, s.n, kScale), table)}};
}

constexpr float kEps = 0x1p-10f;

Outputs norm(OnDevice& device, Random& random, const Shape& s) {
  const auto x = random_floats(random, s.size(), 0.3);
  const auto branch = random_floats(random, s.size(), 0.1);
  const auto weight = random_floats(random, s.n);
  float* y = device.floats(s.size());
  float* inverse = device.floats(s.rows);
  device.ops().rms_norm(device.put(x), device.put(weight), kEps, y, inverse, s.rows, s.n);
  float* sum = device.put(x);
  float* y_of_sum = device.floats(s.size());
  float* inverse_of_sum = device.floats(s.rows);
  device.ops().add_rms_norm(sum, device.put(branch), device.put(weight), kEps, y_of_sum, inverse_of_sum,
                            s.rows, s.n);
  const Doubles total = plus(doubles(x), branch);
  return {
      {"y", device.get(y, s.size()), plain::rms_norm(doubles(x), doubles(weight), kEps)},
      {"inverse", device.get(inverse, s.rows), plain::inverse_rms(doubles(x), s.n, kEps)},
      {"x + branch", device.get(sum, s.size()), total},
      {"y of x + branch", device.get(y_of_sum, s.size()), plain::rms_norm(total, doubles(weight), kEps)},
      {"inverse of x + branch", device.get(inverse_of_sum, s.rows), plain::inverse_rms(total, s.n, kEps)}};
}

Outputs norm_backward(OnDevice& device, Random& random, const Shape& s) {
  const auto x = random_floats(random, s.size(), 0.3);
  const auto dy = random_floats(random, s.size());
  const auto before = random_floats(random, s.size());
  const auto weight = random_floats(random, s.n);
  const auto expected = plain::rms_norm_backward(doubles(dy), doubles(x), doubles(weight), kEps);
  const float* d_x = device.put(x);
  const float* d_w = device.put(weight);
  float* inverse = device.floats(s.rows);
  device.ops().rms_norm(d_x, d_w, kEps, device.floats(s.size()), inverse, s.rows, s.n);
  float* set = device.put(before);
  float* added = device.put(before);
  float* in_place = device.put(dy);
  float* d_weight = device.put(weight);
  device.ops().rms_norm_backward(device.put(dy), d_x, d_w, inverse, set, false, nullptr, s.rows, s.n);
  device.ops().rms_norm_backward(device.put(dy), d_x, d_w, inverse, added, true, d_weight, s.rows, s.n);
  const std::vector<float> once = device.get(d_weight, s.n);
  device.ops().rms_norm_backward(in_place, d_x, d_w, inverse, in_place, false, d_weight, s.rows, s.n);
  constexpr double kTolerance = 1e-5;  // a row of one element has next to no gradient
  return {{"dx", device.get(set, s.size()), expected.dx, kTolerance},
          {"dx added", device.get(added, s.size()), plus(expected.dx, before)},
          {"dx in place", device.get(in_place, s.size()), expected.dx, kTolerance},
          {"d_weight", once, plus(expected.d_weight, weight)},
          {"d_weight again", device.get(d_weight, s.n), plus(expected.d_weight, once)}};
}

/// Heads of 3, 24 and 80 elements, fewer than all of which are turned, in tokens with other things between them.
Outputs rope(OnDevice& device, Random& random, const Shape& s) {
  constexpr size_t kPositions = 5;
  constexpr size_t kHeads = 3;
  constexpr size_t kGap = 5;
  Outputs out;
  for (const size_t dims : {size_t{2}, size_t{24}, size_t{70}}) {
    const size_t head_dim = dims + dims / 8 + 1;
    const size_t stride = kHeads * head_dim + kGap;
    const auto x = random_floats(random, s.rows * stride);
    const auto cos_sin = random_floats(random, kPositions * dims);
    std::vector<int32_t> position(s.rows);
    for (int32_t& p : position) p = static_cast<int32_t>(random.below(kPositions));
    for (const bool halves : {false, true}) {
      for (const bool inverse : {false, true}) {
        float* turned = device.put(x);
        device.ops().rope(turned, stride, s.rows, kHeads, head_dim, dims, halves, device.put(cos_sin),
                          device.put(position), inverse);
        Doubles expected = doubles(x);
        for (size_t t = 0; t < s.rows; ++t) {
          const auto begin = expected.begin() + static_cast<ptrdiff_t>(t * stride);
          const Doubles token(begin, begin + kHeads * head_dim);
          std::ranges::copy(
              plain::rope(token, head_dim, dims, halves, doubles(cos_sin), {&position[t], 1}, inverse),
              begin);
        }
        out.push_back({"x", device.get(turned, x.size()), expected});
      }
    }
  }
  return out;
}

/// Gate and up as a product of both gives them, side by side.
Outputs gate(OnDevice& device, Random& random, const Shape& s) {
  Outputs out;
  for (const auto act : {GateActivation::kSilu, GateActivation::kGelu}) {
    const size_t stride = 2 * s.n + 3;
    auto in = random_floats(random, s.rows * stride, 3);
    in[0] = -100;
    if (s.n > 2) in[1] = 100;
    const auto d_out = random_floats(random, s.size());
    Doubles gate;
    Doubles up;
    for (size_t r = 0; r < s.rows; ++r) {
      for (size_t i = 0; i < s.n; ++i) gate.push_back(in[r * stride + i]);
      for (size_t i = 0; i < s.n; ++i) up.push_back(in[r * stride + s.n + i]);
    }
    float* d_in = device.put(in);
    float* product = device.floats(s.size());
    float* again = device.floats(s.size());
    device.ops().gate(act, d_in, d_in + s.n, stride, product, s.rows, s.n);
    device.ops().gate_backward(act, d_in, d_in + s.n, stride, device.put(d_out), d_in, d_in + s.n, again,
                               s.rows, s.n);
    const auto expected = plain::gate_backward(act, gate, up, doubles(d_out));
    Doubles d_expected = doubles(in);
    for (size_t i = 0; i < s.size(); ++i) {
      d_expected[i / s.n * stride + i % s.n] = expected.d_gate[i];
      d_expected[i / s.n * stride + s.n + i % s.n] = expected.d_up[i];
    }
    out.push_back({"product", device.get(product, s.size()), plain::gate(act, gate, up)});
    out.push_back({"product again", device.get(again, s.size()), plain::gate(act, gate, up)});
    out.push_back({"gradients", device.get(d_in, in.size()), d_expected});
  }
  return out;
}

Outputs cross_entropy(OnDevice& device, Random& random, const Shape& s) {
  Outputs out;
  for (const float softcap : {0.0f, 5.0f}) {
    const CrossEntropyShape shape{
        .rows = s.rows, .vocab = s.n, .logit_scale = 0.75f, .softcap = softcap, .z_loss = 0.01f};
    const auto logits = random_floats(random, s.size(), 6);
    const auto targets = random_indices(random, s.rows, s.n);
    float* d_logits = device.put(logits);
    const int32_t* d_targets = device.put(targets);
    auto* parts = reinterpret_cast<SoftmaxPart*>(device.floats(3 * s.rows));
    device.ops().cross_entropy_part(shape, d_logits, d_targets, parts);
    const double loss = device.ops().cross_entropy_gradient(shape, d_logits, d_targets, parts);
    out.push_back(
        {"loss", {static_cast<float>(loss)}, {plain::cross_entropy(shape, doubles(logits), targets)}});
    out.push_back({"gradient", device.get(d_logits, s.size()),
                   plain::cross_entropy_gradient(shape, doubles(logits), targets)});
  }
  return out;
}

Outputs rows_by_index(OnDevice& device, Random& random, const Shape& s) {
  constexpr size_t kFan = 3;
  Outputs out;
  const size_t count = 2 * s.rows;
  const auto x = random_floats(random, s.size());
  const auto index = random_indices(random, count * kFan, s.rows);
  const auto weight = random_floats(random, count * kFan);
  const auto before = random_floats(random, count * s.n);
  const float* d_x = device.put(x);
  const int32_t* d_index = device.put(index);
  const std::span<const int32_t> first(index.data(), count);
  for (const bool weighted : {false, true}) {
    const float* w = weighted ? device.put(weight) : nullptr;
    const Doubles weights = weighted ? doubles(weight) : Doubles();
    float* gathered = device.put(before);
    float* combined = device.put(before);
    device.ops().gather_rows(d_x, d_index, w, count, s.n, gathered);
    device.ops().combine_rows(d_x, d_index, w, count, kFan, s.n, combined);
    out.push_back({"gathered", device.get(gathered, before.size()),
                   plain::gather_rows(doubles(x), first, weights, s.n)});
    out.push_back({"combined", device.get(combined, before.size()),
                   plus(plain::combine_rows(doubles(x), index, weights, kFan, s.n), before)});
  }
  float* d_weight = device.put(weight);
  device.ops().combine_rows_weights(d_x, d_index, device.put(before), count, kFan, s.n, d_weight);
  out.push_back({"d_weight", device.get(d_weight, weight.size()),
                 plain::combine_rows_weights(doubles(x), index, doubles(before), kFan, s.n)});
  return out;
}

Outputs flat(OnDevice& device, Random& random, const Shape& s) {
  const size_t n = s.size();
  const auto x = random_floats(random, n);
  const auto y = random_floats(random, n);
  const float* d_x = device.put(x);
  float* filled = device.put(x);
  float* copied = device.floats(n);
  float* sum = device.put(y);
  float* scaled = device.put(x);
  float* average = device.put(y);
  device.ops().fill(filled, -2.5f, n);
  device.ops().copy(d_x, copied, n);
  device.ops().add(d_x, sum, n);
  device.ops().scale(scaled, 1.5f, n);
  device.ops().ema(d_x, 0.75f, average, n);
  Doubles larger = doubles(x);
  Doubles moved = doubles(y);
  double squares = 0;
  for (size_t i = 0; i < n; ++i) {
    squares += larger[i] * larger[i];
    moved[i] += 0.25 * (larger[i] - moved[i]);
    larger[i] *= 1.5;
  }
  return {{"fill", device.get(filled, n), Doubles(n, -2.5), 0},
          {"copy", device.get(copied, n), doubles(x), 0},
          {"add", device.get(sum, n), plus(doubles(x), y)},
          {"scale", device.get(scaled, n), larger},
          {"ema", device.get(average, n), moved},
          {"sum_of_squares", {static_cast<float>(device.ops().sum_of_squares(d_x, n))}, {squares}, 1e-7}};
}

Outputs adamw(OnDevice& device, Random& random, const Shape& s) {
  const size_t n = s.size();
  Outputs out;
  for (const uint64_t step : {1, 1000}) {
    const AdamWArgs args{.learning_rate = 0.01f, .weight_decay = 0.1f, .gradient_scale = 0.3f, .step = step};
    const auto w = random_floats(random, n);
    const auto g = random_floats(random, n);
    const auto m = random_floats(random, n, 0.1);
    auto v = random_floats(random, n, 0.1);
    for (float& moment : v) moment = std::abs(moment);
    float* d_w = device.put(w);
    float* d_m = device.put(m);
    float* d_v = device.put(v);
    device.ops().adamw(args, d_w, device.put(g), d_m, d_v, n);
    Doubles weights = doubles(w);
    Doubles first = doubles(m);
    Doubles second = doubles(v);
    plain::adamw(args, weights, doubles(g), first, second);
    out.push_back({"weights", device.get(d_w, n), weights});
    out.push_back({"first moment", device.get(d_m, n), first});
    out.push_back({"second moment", device.get(d_v, n), second});
  }
  return out;
}

Outputs gemm(OnDevice& device, Random& random, const Shape& s) {
  constexpr size_t kDepth = 33;
  const auto a = random_floats(random, s.rows * kDepth);
  const auto b = random_floats(random, s.n * kDepth);
  std::vector<float> c = random_floats(random, s.size());
  GemmArgs args{.m = s.rows,
                .n = s.n,
                .k = kDepth,
                .a = a.data(),
                .a_stride = kDepth,
                .b = b.data(),
                .b_stride = kDepth,
                .b_transposed = true,
                .c = c.data(),
                .c_stride = s.n,
                .alpha = 0.5f,
                .add = true};
  GemmArgs on_device = args;
  on_device.a = device.put(a);
  on_device.b = device.put(b);
  on_device.c = device.put(c);
  device.ops().gemm(on_device);
  gemm_reference(args);
  return {{"c", device.get(on_device.c, s.size()), doubles(c)}};
}

/// Tokens of one sequence, one more than rows, for one alone has no gradient of queries and keys.
Outputs attention(OnDevice& device, Random& random, const Shape& s) {
  const size_t tokens = s.rows + 1;
  const AttentionShape shape{.sequences = 1,
                             .length = tokens,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 24,
                             .scale = 0.2f,
                             .cap = 8.0f,
                             .window = 40};
  const size_t q_stride = shape.heads * shape.head_dim;
  const size_t kv_stride = shape.kv_heads * shape.head_dim;
  const auto q = random_floats(random, tokens * q_stride);
  const auto k = random_floats(random, tokens * kv_stride);
  const auto v = random_floats(random, tokens * kv_stride);
  const auto d_out = random_floats(random, q.size());
  const float* d_q = device.put(q);
  const float* d_k = device.put(k);
  const float* d_v = device.put(v);
  float* out = device.floats(q.size());
  float* log_sum = device.floats(shape.heads * tokens);
  float* dq = device.floats(q.size());
  float* dk = device.floats(k.size());
  float* dv = device.floats(v.size());
  device.ops().attention(shape, d_q, q_stride, d_k, d_v, kv_stride, out, q_stride, log_sum);
  device.ops().attention_backward(shape, d_q, q_stride, d_k, d_v, kv_stride, out, device.put(d_out), q_stride,
                                  log_sum, dq, dk, dv);
  std::vector<float> p_out(q.size()), p_sum(shape.heads * tokens), p_q(q.size()), p_k(k.size()),
      p_v(v.size());
  attention_forward_reference(
      shape, {q.data(), q_stride, k.data(), v.data(), kv_stride, p_out.data(), q_stride, p_sum.data()});
  attention_backward_reference(
      shape, {q.data(), q_stride, k.data(), v.data(), kv_stride, p_out.data(), d_out.data(), q_stride,
              p_sum.data(), p_q.data(), p_k.data(), p_v.data()});
  constexpr double kTolerance = 1e-5;
  return {{"out", device.get(out, q.size()), doubles(p_out), kTolerance},
          {"log_sum", device.get(log_sum, p_sum.size()), doubles(p_sum), kTolerance},
          {"dq", device.get(dq, q.size()), doubles(p_q), kTolerance},
          {"dk", device.get(dk, k.size()), doubles(p_k), kTolerance},
          {"dv", device.get(dv, v.size()), doubles(p_v), kTolerance}};
}

struct Case {
  const char* name;
  Outputs (*run)(OnDevice&, Random&, const Shape&);
};

const Case kCases[] = {{"gemm", gemm},
                       {"bias", bias},
                       {"embedding", embedding},
                       {"norm", norm},
                       {"norm_backward", norm_backward},
                       {"rope", rope},
                       {"attention", attention},
                       {"gate", gate},
                       {"cross_entropy", cross_entropy},
                       {"rows_by_index", rows_by_index},
                       {"flat", flat},
                       {"adamw", adamw}};

/// All outputs of a case at all shapes, on the processor with so many threads.
Outputs run(const Case& c, size_t threads) {
  ThreadPool pool(threads);
  const auto ops = make_cpu_ops(pool);
  Outputs all;
  for (const Shape& s : kShapes) {
    OnDevice device(*ops);
    Random random(s.n);
    for (Output& output : c.run(device, random, s)) {
      output.what = fmt::format("{}: {}, {} x {}, {} threads", c.name, output.what, s.rows, s.n, threads);
      all.push_back(std::move(output));
    }
  }
  return all;
}

constexpr size_t kThreads[] = {1, 2, 3};

class TrainingKernels : public Kernels {};

TEST_P(TrainingKernels, GiveWhatTheirPlainFormsGive) {
  for (const Case& c : kCases) {
    for (const size_t threads : kThreads) {
      for (const Output& output : run(c, threads))
        EXPECT_LE(distance(doubles(output.got), output.expected), output.tolerance) << output.what;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, TrainingKernels, testing::ValuesIn(targets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST(TrainingOps, GiveTheSameBitsOnTheSameNumberOfThreads) {
  for (const Case& c : kCases) {
    for (const size_t threads : kThreads) {
      const Outputs once = run(c, threads);
      const Outputs again = run(c, threads);
      ASSERT_EQ(once.size(), again.size());
      for (size_t i = 0; i < once.size(); ++i) EXPECT_EQ(once[i].got, again[i].got) << once[i].what;
    }
  }
}

}  // namespace
}  // namespace fathom::tensor
