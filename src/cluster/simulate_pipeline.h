// One step of a pipeline as events: every forward and backward pass of every micro-batch in its stage's order, waiting
// for what its neighbours send.
//
// Schedules: 1F1B (Narayanan et al. 2019), interleaved 1F1B (Narayanan et al. 2021, section 2.2), ZB-H1 with the backward
// pass in two halves (Qi et al. 2024). Deterministic; functions are pure and thread-safe. Seconds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cluster/step_cost.h"

namespace fathom::cluster {

struct PipelineShape {
  /// Of one micro-batch through all layers of a stage, all its chunks together; `send`: of one chunk's result. Of the
  /// backward pass `weight` may be done later (zero bubble).
  std::vector<StepModel::StageTime> stages;
  uint32_t chunks = 1;  // of layers a stage (interleave)
  uint32_t micro_batches = 1;
  Schedule schedule = Schedule::kOneForwardOneBackward;
  /// Whether a stage goes on while it sends, or waits for each message to be received.
  bool overlap_sends = false;
};

enum class PipelineWork : uint8_t { kForward, kBackward, kWeightGradient, kSendForward, kSendBackward };

/// One slice of the step: `stage` computes, or sends to its neighbour.
struct PipelineSlice {
  PipelineWork work = PipelineWork::kForward;
  uint32_t stage = 0, chunk = 0, micro_batch = 0;
  double begin = 0, end = 0;
};

/// Seconds until the last stage has finished its last backward pass. Beyond kMaxPipelineSlices micro-batches are not all
/// walked through: the steady state repeats itself, so the time goes on as a straight line. With `slices` every one is
/// told, in the order of its stage. REQUIRES: at least one stage, chunk and micro-batch, and times that are not negative.
double simulate_pipeline(const PipelineShape& shape,
                         const std::function<void(const PipelineSlice&)>& slices = {});

inline constexpr uint64_t kMaxPipelineSlices = 400'000;

}  // namespace fathom::cluster
