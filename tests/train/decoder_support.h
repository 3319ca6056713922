// Small decoders for tests: models of a few thousand weights, batches of random tokens, and their loss with its gradients.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/thread_pool.h"
#include "model/config.h"
#include "tensor/cpu_ops.h"
#include "train/decoder.h"

namespace fathom::train {

/// Llama-shaped: two layers, two query heads a key head.
inline model::ModelConfig tiny_config() {
  model::ModelConfig c;
  c.architecture = "llama";
  c.layers = 2;
  c.d_model = 32;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn = 48;
  c.vocab = 50;
  c.context = 64;
  c.rope.dims = 8;
  c.tied_output = true;
  return c;
}

/// Rows of random tokens; every 7th target is without a loss.
struct TestBatch {
  std::vector<int32_t> tokens, targets, starts;
  MicroBatch batch;

  TestBatch(size_t sequences, size_t length, size_t vocab, uint64_t seed) {
    Random random(seed);
    for (size_t i = 0; i < sequences * length; ++i) {
      tokens.push_back(static_cast<int32_t>(random.below(vocab)));
      targets.push_back(i % 7 == 5 ? -1 : static_cast<int32_t>(random.below(vocab)));
      starts.push_back(0);
    }
    batch = {sequences, length, tokens, targets, starts};
  }
};

/// Parameters and decoder of one process.
struct TestDecoder {
  ThreadPool pool;
  std::unique_ptr<tensor::DeviceOps> ops;
  Groups groups;
  model::ModelConfig config;
  DecoderOptions options;
  Parameters parameters;
  std::unique_ptr<Decoder> decoder;
  LossScale scale{0.05f, 0.5f};

  TestDecoder(const model::ModelConfig& c, const DecoderOptions& o, size_t threads = 1)
      : pool(threads),
        ops(tensor::make_cpu_ops(pool)),
        groups(make_groups(Layout{}, make_self_comm())),
        config(c),
        options(o),
        parameters(c, Layout{}, Place{}, o.lora, *ops) {
    config.check();
    parameters.initialise(3, 0.15f);
    decoder = std::make_unique<Decoder>(config, groups, parameters, *ops, options);
  }

  std::span<float> values(const Parameter& p) const { return {parameters.value(p), p.elements()}; }
  std::span<float> gradients(const Parameter& p) const { return {parameters.gradient(p), p.elements()}; }

  /// The loss that the gradients are of.
  double loss(const MicroBatch& batch) {
    const LossSums sums = decoder->evaluate(0, batch, {}, {});
    return sums.loss * static_cast<double>(scale.token) + sums.balance * static_cast<double>(scale.sequence);
  }
  LossSums learn(const MicroBatch& batch) {
    const LossSums sums = decoder->forward(0, 0, batch, scale, {}, {});
    decoder->backward(0, 0, batch, scale, {}, {}, {});
    return sums;
  }
  /// All gradients, one parameter after another.
  std::vector<float> all_gradients() const {
    std::vector<float> out;
    for (const Parameter& p : parameters.all())
      if (p.arena != Arena::kFrozen) out.insert(out.end(), gradients(p).begin(), gradients(p).end());
    return out;
  }
};

/// Norms, biases and adapters away from where they begin, so that every gradient counts.
inline void disturb(TestDecoder& t, uint64_t seed) {
  Random random(seed);
  for (const Parameter& p : t.parameters.all())
    if (p.shape[1] == 1 || p.name.ends_with(".lora_b"))
      for (float& v : t.values(p)) v += static_cast<float>(random.normal()) * 0.2f;
}

/// Each parameter's gradient along the direction of its signs against the difference of losses at a few points within
/// twice `length` along it.
inline void expect_gradients(TestDecoder& t, const TestBatch& b, float length = 1e-2f) {
  t.learn(b.batch);
  Random random(11);
  for (const Parameter& p : t.parameters.all()) {
    if (p.arena == Arena::kFrozen) continue;
    std::vector<float> direction(p.elements());
    double along = 0;
    for (size_t i = 0; i < direction.size(); ++i) {
      direction[i] = t.gradients(p)[i] == 0 ? (random.chance(0.5) ? 1.0f : -1.0f)
                                            : std::copysign(1.0f, t.gradients(p)[i]);
      along += static_cast<double>(direction[i]) * static_cast<double>(t.gradients(p)[i]);
    }
    const std::vector<float> before(t.values(p).begin(), t.values(p).end());
    const auto loss_at = [&](float step) {
      for (size_t i = 0; i < direction.size(); ++i) t.values(p)[i] = before[i] + step * direction[i];
      return t.loss(b.batch);
    };
    const float step = length / std::sqrt(static_cast<float>(p.elements()));
    const double measured =
        (8 * (loss_at(step) - loss_at(-step)) - (loss_at(2 * step) - loss_at(-2 * step))) /
        (12 * static_cast<double>(step));
    std::copy(before.begin(), before.end(), t.values(p).begin());
    EXPECT_NEAR(along, measured, 2e-6 / static_cast<double>(length) + 2e-3 * std::abs(measured)) << p.name;
  }
}

}  // namespace fathom::train
