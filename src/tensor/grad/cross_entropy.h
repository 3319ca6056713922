// Cross-entropy of training over rows of logits, in two halves so that a row's columns may be spread over devices: see
// DeviceOps::cross_entropy_part. Nothing but the logits is ever as long as the vocabulary.
//
// Single-threaded; the caller splits rows among threads. All memory is the caller's; nothing is allocated.
#pragma once

#include <cstdint>

#include "tensor/device_ops.h"

namespace fathom::tensor::grad {

/// logits: [shape.rows, shape.vocab]; targets, parts: [shape.rows]. A row without a target gets a part of zeros.
/// Infinite and NaN logits make the sum not finite.
void cross_entropy_part(const CrossEntropyShape& shape, const float* logits, const int32_t* targets,
                        SoftmaxPart* parts);

/// Logits become d loss / d logits, those of rows without a target 0.
void cross_entropy_gradient(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                            const SoftmaxPart* merged);

/// The sum over rows of log Z - target + z_loss (log Z)^2, Z the sum of exp.
double cross_entropy_loss(const CrossEntropyShape& shape, const int32_t* targets, const SoftmaxPart* merged);

}  // namespace fathom::tensor::grad
