// The forward and the backward pass of one rank's part of a model, written by hand over tensor::DeviceOps.
//
// The structure is model/config.h's, block by block; what `infer` runs, this trains (see Decoder's errors for what not).
// Under tensor parallelism the residual stream of a rank is tokens / tensor rows of each micro-batch: rows are gathered
// before the split products and reduce-scattered after them. The vocabulary is split too, and the loss never stores more
// than `loss_rows` rows of logits.
//
// Experts: the `used` best of each token, with at most ceil(capacity_factor * used * length / count) tokens of a sequence
// each; later tokens of the sequence beyond it are dropped (their other expert and the residual stream remain). Capacity
// and the load-balancing loss (Fedus et al., 2021: count * sum over experts of fraction chosen * mean probability) are
// taken for each sequence, so that neither depends on how a batch is divided. REQUIRES of the loss: it is added for each
// sequence and layer with `balance_weight` / sequences of the whole batch.
//
// Gradients are of the sum of losses over tokens times `loss_scale` (1 / loss tokens of the whole batch), and are added to
// Parameters' gradients.
//
// Owned by one rank; not thread-safe. Memory is allocated at construction only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "model/config.h"
#include "tensor/device_ops.h"
#include "train/batch.h"
#include "train/layout.h"
#include "train/parameters.h"

namespace fathom::train {

/// What of a layer's activations is kept for the backward pass: all; all but the gated product and norms, which are cheap to
/// make again; the layer's input alone.
enum class Recompute { kNone, kSelective, kFull };

struct DecoderOptions {
  size_t sequences = 1;  // of a micro-batch
  size_t length = 0;
  size_t slots = 1;  // micro-batches in flight between their forward and their backward pass, of each chunk
  Recompute recompute = Recompute::kSelective;
  tensor::Precision precision = tensor::Precision::kF32;
  size_t loss_rows = 256;  // rows of logits in memory
  float z_loss = 0;
  float balance_weight = 0.01f;
  float capacity_factor = 0;  // 0: nothing is dropped
  LoraSpec lora;
};

/// What gradients are multiplied by, known before the step.
struct LossScale {
  float token = 1.0f;     // 1 / loss tokens of the whole batch
  float sequence = 1.0f;  // 1 / sequences of the whole batch: of the load-balancing loss
};

class Decoder {
 public:
  /// Everything referred to outlives it. Errors: kUnsupported, naming what of the model has no backward pass;
  /// kResourceExhausted.
  Decoder(const model::ModelConfig& config, const Groups& groups, Parameters& parameters,
          tensor::DeviceOps& ops, const DecoderOptions& options);
  ~Decoder();

  /// Floats that pass between stages for one micro-batch: [tokens / tensor, d_model].
  size_t boundary_size() const;

  /// Runs chunk `chunk` of this rank on a micro-batch and keeps what `backward` needs in `slot`. `in` (boundary_size) is
  /// what the chunk before sent, ignored by the model's first; `out` is what goes to the next one, ignored by the last,
  /// which computes the loss and the gradient of its own output at once. Returns the loss on the last chunk, the balance
  /// of the chunk's experts on all; the same on every rank of a tensor group.
  LossSums forward(size_t chunk, size_t slot, const MicroBatch& batch, const LossScale& scale,
                   std::span<const float> in, std::span<float> out);

  /// The backward pass of what `slot` holds, with the same batch. `d_out` is the gradient of `out` (ignored by the last
  /// chunk), `d_in` receives that of `in` (ignored by the first). `layer_done(name)` is called with the first parameter,
  /// in arena order, whose gradient and those behind it are complete for this micro-batch of this chunk, for each arena in
  /// which a layer has any; not with what finish_gradients completes; empty: not called.
  void backward(size_t chunk, size_t slot, const MicroBatch& batch, const LossScale& scale,
                std::span<const float> d_out, std::span<float> d_in,
                const std::function<void(const Parameter&)>& layer_done);

  /// The forward pass alone: loss and nothing kept.
  LossSums evaluate(size_t chunk, const MicroBatch& batch, std::span<const float> in, std::span<float> out);

  /// Sums what two stages each have a part of (an embedding that is the output too): once a step, after the last backward
  /// pass and before that parameter is reduced over data ranks.
  void finish_gradients();

  /// Bytes of activations and scratch.
  size_t bytes() const;

 private:
  friend std::vector<float> logits(const model::ModelConfig& config, Parameters& parameters,
                                   tensor::DeviceOps& ops, std::span<const int32_t> tokens,
                                   tensor::Precision precision);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Logits [tokens, vocab] of one sequence by the forward pass, for tests and evaluation. REQUIRES: layout of one rank.
std::vector<float> logits(const model::ModelConfig& config, Parameters& parameters, tensor::DeviceOps& ops,
                          std::span<const int32_t> tokens, tensor::Precision precision);

}  // namespace fathom::train
