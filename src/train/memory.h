// The memory that a rank of a training job takes, counted before it is taken: from the same lists and sizes by which
// Parameters, Decoder and Optimiser allocate.
//
// Pure functions; thread-safe.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "train/decoder.h"
#include "train/layout.h"
#include "train/optimiser.h"

namespace fathom::train {

/// Bytes.
struct MemoryNeed {
  uint64_t weights = 0;
  uint64_t gradients = 0;
  uint64_t optimiser = 0;    // moments, averages, and sums of gradients where they are sharded
  uint64_t activations = 0;  // kept for the backward pass
  uint64_t scratch = 0;      // of the passes, the kernels, and what passes between ranks
  uint64_t total() const { return weights + gradients + optimiser + activations + scratch; }
};

/// For rank `place` on `threads` threads. Experts are taken to have equal shares of the tokens. What a program takes
/// before it trains is not counted. Errors: as lay_out_parameters.
MemoryNeed memory_need(const model::ModelConfig& config, const Layout& layout, const Place& place,
                       const DecoderOptions& decoder, const OptimiserOptions& optimiser, size_t threads);

}  // namespace fathom::train
