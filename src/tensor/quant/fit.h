// Searches for the scale with which a few small integers reproduce numbers best, in weighted least squares.
//
// Each tries a row of scales around the one that covers the range, rounds, solves for the best scale of the rounded
// integers in closed form, and keeps the best. Numbers are normalised beforehand (none larger than 1), so that
// squares neither overflow nor vanish. Pure functions.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tensor/quant/blocks.h"

namespace fathom::tensor::quant {

/// x = scale * q - min, scale and min not negative.
struct Affine {
  float scale = 0;
  float min = 0;
};

/// Numbers tried around the plain scale: (top + from + i * step) / range, i < count.
struct Trials {
  float from;
  float step;
  int count;
};

/// Least squares of sum w (scale q - min - x)^2 for given integers; `error` without the constant sum w x^2.
template <int kSize>
Affine solve_affine(const float* x, const float* w, const std::array<float, kSize>& q, float& error) {
  float sw = 0, sx = 0, sq = 0, sqq = 0, sqx = 0;
  for (size_t i = 0; i < kSize; ++i) {
    const float wq = w[i] * q[i];
    sw += w[i];
    sx += w[i] * x[i];
    sq += wq;
    sqq += wq * q[i];
    sqx += wq * x[i];
  }
  const float determinant = sw * sqq - sq * sq;
  Affine out;
  if (determinant > 0) out = {(sw * sqx - sx * sq) / determinant, (sq * sqx - sqq * sx) / determinant};
  if (!(out.min > 0)) out = {sqq > 0 ? sqx / sqq : 0.0f, 0.0f};
  if (!(out.scale > 0)) out.scale = 0;
  const float s = out.scale, m = out.min;
  error = s * s * sqq + m * m * sw - 2 * (s * m * sq + s * sqx - m * sx);
  return out;
}

/// The best affine form of x[kSize] with integers from 0 to `top`.
template <int kSize>
Affine fit_affine(const float* x, const float* w, int top, const Trials& trials) {
  const auto [least, most] = std::minmax_element(x, x + kSize);
  const float low = std::min(*least, 0.0f);
  const float range = *most - low;
  if (!(range > 0)) return {0, -low};
  Affine best;
  float best_error = 0;
  for (int i = -1; i < trials.count; ++i) {
    const float levels =
        static_cast<float>(top) + (i < 0 ? 0.0f : trials.from + trials.step * static_cast<float>(i));
    const float inverse = levels / range;
    std::array<float, kSize> q;
    for (size_t k = 0; k < kSize; ++k) q[k] = static_cast<float>(rounded((x[k] - low) * inverse, 0, top));
    float error;
    const Affine found = solve_affine<kSize>(x, w, q, error);
    if (i >= 0 && error >= best_error) continue;
    best = found;
    best_error = error;
  }
  return best;
}

/// The best scale (of either sign) of x[kSize] with the values that `nearest(v)` rounds v to; `reach` is the value that the
/// number of the largest magnitude is laid on. Weights are x^2 when `w` is null.
template <int kSize, class Nearest>
float fit_scale(const float* x, const float* w, float reach, const Trials& trials, const Nearest& nearest) {
  float extreme = 0;
  for (int i = 0; i < kSize; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (extreme == 0) return 0;
  float best = extreme / reach;
  float best_gain = 0;
  for (int i = 0; i < trials.count; ++i) {
    const float inverse = (reach + trials.from + trials.step * static_cast<float>(i)) / extreme;
    float sqx = 0, sqq = 0;
    for (int k = 0; k < kSize; ++k) {
      const float q = nearest(x[k] * inverse);
      const float weight = w == nullptr ? x[k] * x[k] : w[k];
      sqx += weight * q * x[k];
      sqq += weight * q * q;
    }
    // The error is sum w x^2 - sqx^2 / sqq.
    if (!(sqq > 0) || sqx * sqx <= best_gain * sqq) continue;
    best = sqx / sqq;
    best_gain = sqx * sqx / sqq;
  }
  return best;
}

}  // namespace fathom::tensor::quant
