// The steps of an encoder (BERT) that are not matrix products; see ops.h, whose rules hold here too: one row at a time, the
// caller's memory, nothing allocated, results that do not depend on the number of threads.
#pragma once

#include <cstddef>

namespace fathom::tensor {

/// out[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i] (Ba et al., 2016). In place allowed. n > 0.
void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* out, size_t n);

/// x[i] = x[i] / 2 * (1 + erf(x[i] / sqrt(2))) (Hendrycks and Gimpel, 2016). erf is within 2e-7 (Abramowitz and Stegun,
/// 7.1.26).
void gelu_erf(float* x, size_t n);

/// out[i] = a[i] + b[i]. In place allowed.
void sum(const float* a, const float* b, float* out, size_t n);

}  // namespace fathom::tensor
