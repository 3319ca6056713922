// From a model's description of its rotary positions to the angles that kernels turn by: shared by inference and training.
//
// Pure functions; thread-safe.
#pragma once

#include "model/config.h"
#include "tensor/ops.h"

namespace fathom::model {

/// Without factors: those of kLlama3 are llama3_rope_factors, all others come from tensors of the file.
tensor::RopeSpec rope_spec(const RopeConfig& rope);

}  // namespace fathom::model
