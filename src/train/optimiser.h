// AdamW over the flat arenas, sharded over data ranks where the layout says so, and the reduction of gradients that comes
// before it.
//
// An arena is cut into buckets of about `bucket_floats`, each a multiple of the group's size. Gradients are reduced bucket
// by bucket, from the end of the arena to its beginning, as the backward pass completes them, by a thread of its own on a
// duplicate of the group's communicator (train/reducer.h): communication and computation overlap.
//   zero 0   all ranks sum all gradients and update all weights
//   zero 1   each rank receives the sum of its part of every bucket after the last micro-batch, updates that part of the
//            weights, and the parts are gathered
//   zero 2   the same, but a rank's sums are gathered over micro-batches in memory of its part alone: buckets are reduced
//            after every micro-batch and emptied, and their memory goes back to the system
// Moments (and the average of the weights, where wanted) are kept for the rank's own part alone where zero > 0.
//
// Owned by one rank; not thread-safe. Memory is allocated at construction only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tensor/device_ops.h"
#include "train/layout.h"
#include "train/parameters.h"

namespace fathom::train {

struct OptimiserOptions {
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;
  float weight_decay = 0.1f;
  float clip = 1.0f;    // of the global norm of the gradient; 0: none
  float ema_decay = 0;  // of an average of the weights; 0: none is kept
  size_t bucket_floats = size_t{1} << 20;
};

/// A run of consecutive floats of an arena that this rank updates, and where its moments lie.
struct OwnedRange {
  Arena arena = Arena::kDense;
  size_t begin = 0;  // in the arena
  size_t end = 0;
  size_t state = 0;  // of element `begin` in moments()
};

/// What is kept beside the weights.
enum class OptimiserState { kFirstMoment, kSecondMoment, kAverage };

class Optimiser {
 public:
  /// Everything referred to outlives it. Errors: kResourceExhausted.
  Optimiser(Parameters& parameters, const Groups& groups, tensor::DeviceOps& ops,
            const OptimiserOptions& options);
  ~Optimiser();

  // A step: begin; for each micro-batch before_gradients and the passes, which tell `ready`; `reduce`; `update` or
  // `discard`. Errors of all that waits: the communicator's.
  /// Empties the gradients.
  void begin();
  /// Gradients are about to be added to: by a backward pass, or by the forward pass of the model's last chunk, which adds
  /// those of the output. With zero 2 returns when those of the pass before have been reduced.
  void before_gradients();
  /// Gradients of `first` and of all behind it in its arena are complete for the current micro-batch; `last_micro_batch`
  /// says that no other will add to them.
  void ready(const Parameter& first, bool last_micro_batch);
  /// All gradients are complete; returns when they have been reduced.
  void reduce();
  /// The global norm of the reduced gradients, the same on every rank. Not finite where any is not.
  double norm();
  /// One AdamW step with clipping; `step` counts from 1. Weights are whole on every rank when it returns.
  void update(float learning_rate, uint64_t step);
  /// Forgets the gradients of this step.
  void discard();

  /// What this rank updates, in the order of the arenas.
  const std::vector<OwnedRange>& owned() const;
  /// Of all owned ranges, one after another; empty for an average that is not kept.
  std::span<float> state(OptimiserState which);
  /// The average of the weights in place of the weights, and back: for evaluation and export. All ranks together.
  void swap_average();

  /// Seconds of the last step that waited for communication which nothing hid.
  double exposed_seconds() const;
  /// Buckets reduced since `begin`, so far; and how many there are. What was reduced before `reduce` was hidden.
  size_t reduced_buckets() const;
  size_t buckets() const;
  /// Of moments, averages and sums.
  size_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::train
