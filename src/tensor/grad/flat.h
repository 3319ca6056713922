// Training's passes over flat vectors: sums, AdamW, averages.
//
// Single-threaded; the caller splits vectors among threads. All memory is the caller's; nothing is allocated.
#pragma once

#include <cstddef>

#include "tensor/device_ops.h"

namespace fathom::tensor::grad {

void fill(float* x, float value, size_t n);
void copy(const float* x, float* y, size_t n);
void add(const float* x, float* y, size_t n);  // y += x
void scale(float* x, float factor, size_t n);

/// In double throughout: no finite element overflows it, and infinite or NaN ones stay visible.
double sum_of_squares(const float* x, size_t n);

/// With g scaled by args.gradient_scale: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
/// w = (1 - lr decay) w - lr m' / (sqrt(v') + eps), m' and v' being m and v over 1 - beta^step.
void adamw(const AdamWArgs& args, float* w, const float* g, float* m, float* v, size_t n);

void ema(const float* w, float decay, float* average, size_t n);  // average += (1 - decay) (w - average)

}  // namespace fathom::tensor::grad
