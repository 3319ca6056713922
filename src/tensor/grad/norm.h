// RMS norms of training, forward and backward, over rows of n contiguous floats: y = x * inverse_rms * weight with
// inverse_rms = 1 / sqrt(mean of x^2 + eps) (Zhang and Sennrich, 2019).
//
// Single-threaded; the caller splits rows among threads. All memory is the caller's; nothing is allocated.
#pragma once

#include <cstddef>

namespace fathom::tensor::grad {

/// x: [rows, n]; weight: [n]; y: [rows, n], may be x; inverse_rms: [rows].
void rms_norm(const float* x, const float* weight, float eps, float* y, float* inverse_rms, size_t rows,
              size_t n);

/// x += branch first.
void add_rms_norm(float* x, const float* branch, const float* weight, float eps, float* y, float* inverse_rms,
                  size_t rows, size_t n);

/// dx (+= with `add`, else =; may be dy); d_weight [n] += the rows' part, null: not wanted.
void rms_norm_backward(const float* dy, const float* x, const float* weight, const float* inverse_rms,
                       float* dx, bool add, float* d_weight, size_t rows, size_t n);

}  // namespace fathom::tensor::grad
