// One step of training on one rank: the micro-batches of the step through the pipeline, gradients reduced, weights updated.
//
// Schedules: with one stage, one micro-batch after another; with more, 1F1B (Narayanan et al., 2019), and interleaved 1F1B
// where a rank has several chunks (Narayanan et al., 2021), for which the number of micro-batches is a multiple of the
// number of stages.
//
// Owned by one rank; all ranks call `run` together. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "train/batch.h"
#include "train/decoder.h"
#include "train/optimiser.h"

namespace fathom::train {

/// The same on every rank but for the two times, which are the rank's own.
struct StepResult {
  double loss = 0;     // mean over the loss tokens of the whole batch, of all ranks
  double balance = 0;  // mean over sequences
  double dropped = 0;  // share of choices beyond capacity
  double norm = 0;     // of the gradient, before clipping
  double tokens = 0;   // of the whole batch, with or without loss
  double loss_tokens = 0;
  bool finite = true;  // loss and norm; if not, nothing was updated
  double seconds = 0;
  double exposed_seconds = 0;  // of them waiting for gradients to be reduced
};

/// Gives micro-batch `index` of this rank's step; the views stay valid until the next call with the same index % slots.
using MicroBatches = std::function<MicroBatch(size_t index)>;

class Step {
 public:
  /// Slots that the decoder needs for the layout's schedule.
  static size_t slots(const Layout& layout, size_t micro_batches);

  Step(Decoder& decoder, Optimiser& optimiser, const Groups& groups);
  ~Step();

  /// `number` counts from 1. `scale`: of the whole batch (see decoder.h). A batch whose loss or gradient is not finite on
  /// any rank updates nothing anywhere.
  StepResult run(uint64_t number, size_t micro_batches, const MicroBatches& batch, const LossScale& scale,
                 float learning_rate);
  /// Mean loss over micro-batches, forward only; the same on all ranks.
  StepResult evaluate(size_t micro_batches, const MicroBatches& batch);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The order in which a stage does its work, as the schedules above give it; for the step and for tests of it.
struct PipelineWork {
  bool forward = true;
  size_t chunk = 0;
  size_t micro_batch = 0;
};
std::vector<PipelineWork> pipeline_order(const Layout& layout, size_t stage, size_t micro_batches);
/// Of forward passes alone, for any number of micro-batches.
std::vector<PipelineWork> forward_order(const Layout& layout, size_t micro_batches);

}  // namespace fathom::train
