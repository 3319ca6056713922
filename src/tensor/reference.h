// Every operation of matmul.h, ops.h and attention.h in its plainest form: what the fast kernels are held against.
//
// One element at a time, over tensors as they are stored (not packed), sums in double where the fast form's order is its own.
// Slow on purpose; used by tests. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/dtype.h"

namespace fathom::tensor::reference {

struct Q8Block {
  float scale = 0;       // d, rounded to f16
  float scaled_sum = 0;  // d * sum, rounded to f16
  int32_t sum = 0;
  int8_t q[32] = {};
};

/// d = max|x| / 127, q = x * (127 / max|x|) to nearest, ties to even. REQUIRES: x.size() is a multiple of 32; finite.
std::vector<Q8Block> quantise_q8(std::span<const float> x);

struct Q8KBlock {
  float scale = 0;
  int8_t q[256] = {};
};

/// With m the first number of the largest magnitude: q = x * (-127 / m) to nearest, ties to even, scale = 1 / (-127 / m);
/// q is zero where |m| < 1e-36. REQUIRES: x.size() is a multiple of 256; finite.
std::vector<Q8KBlock> quantise_q8k(std::span<const float> x);

/// y[t * rows + r]: the products as matmul.h defines them, from activations that are not yet quantised or rounded.
std::vector<float> matmul(DType dtype, std::span<const std::byte> weights, size_t rows, size_t cols,
                          std::span<const float> x, size_t tokens);

void rms_norm(const float* x, const float* weight, float eps, float* out, size_t n);
void rope(float* x, size_t heads, size_t head_dim, size_t dims, bool halves, size_t position, float base,
          float scale, std::span<const float> factors);
void softmax(float* scores, size_t visible, size_t total, float scale, DType precision);
void silu_mul(const float* gate, const float* up, float* out, size_t n);

/// Attention of one query head over all of k, v [positions, head_dim], all rounded to `precision` as attention.h says, with
/// scores capped where `cap` is not 0; out [head_dim].
void attend(std::span<const float> q, std::span<const float> k, std::span<const float> v, size_t positions,
            float scale, float cap, DType precision, float* out);

}  // namespace fathom::tensor::reference
