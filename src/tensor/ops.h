// The steps of a transformer that are not matrix products: norms, rotary positions, softmax, activations.
//
// Each works on one row; the caller splits rows among threads. All memory is the caller's, outputs may be their inputs
// where said, nothing is allocated, results do not depend on the number of threads. The best instruction set of the
// processor is chosen at run time (Highway).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace fathom::tensor {

/// out[i] = x[i] / sqrt(mean of x^2 + eps) * weight[i] (Zhang and Sennrich, 2019). In place allowed.
void rms_norm(const float* x, const float* weight, float eps, float* out, size_t n);

/// x[i] += y[i] / sqrt(mean of y^2 + eps) * weight[i]: a branch that is normalised before it joins the residual stream.
void add_rms_norm(float* x, const float* y, const float* weight, float eps, size_t n);

/// How positions turn pairs of elements: pair i of position p by the angle
///   t = p / factors[i] * base^(-2i / dims),  blended as t / scale * (1 - m) + t * m,
/// where m = extrapolation for fast pairs (i below ramp_low), 0 for slow ones (above ramp_high) and falls linearly between
/// (Su et al., 2021; YaRN: Peng et al., 2023). Cosines and sines are multiplied by `magnitude`.
struct RopeSpec {
  size_t dims = 0;  // even
  float base = 10000.0f;
  float scale = 1.0f;
  float extrapolation = 0.0f;
  float ramp_low = 0.0f;
  float ramp_high = 0.0f;
  float magnitude = 1.0f;
  std::span<const float> factors;  // [dims / 2], or empty for ones

  /// Sets extrapolation and ramp: pairs that turn more than `beta_fast` times within the original context are fast, those
  /// below `beta_slow` slow.
  void set_yarn(float extrapolate, size_t original_context, float beta_fast, float beta_slow);
};

/// cos_sin[2i], cos_sin[2i + 1], i < dims / 2. Angles come from repeated multiplication in float, as in ggml.
void rope_angles(size_t position, const RopeSpec& spec, float* cos_sin);

/// cos_sin[2i], cos_sin[2i + 1]: cosine and sine of position / scale * base^(-2i / dims) / factors[i], i < dims / 2 (Su et
/// al., 2021). Angles come from repeated multiplication in float, as in ggml. `factors` is empty or has dims / 2.
void rope_angles(size_t position, size_t dims, float base, float scale, std::span<const float> factors,
                 float* cos_sin);

/// Turns the first `dims` elements of each of `heads` vectors [heads, head_dim] in place. Pairs are neighbours (2i, 2i + 1),
/// or with `halves` (i, i + dims / 2).
void rope(float* x, size_t heads, size_t head_dim, size_t dims, bool halves, const float* cos_sin);

/// scores[0..visible) = softmax(scores * scale), rounded to `precision`; scores[visible..total) = 0. In place.
/// REQUIRES: 0 < visible <= total; precision is F32 or F16.
void softmax(float* scores, size_t visible, size_t total, float scale, DType precision);

/// out[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)) (Shazeer, 2020). In place allowed.
void silu_mul(const float* gate, const float* up, float* out, size_t n);

/// out[i] = gelu(gate[i]) * up[i], gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) (Hendrycks and Gimpel,
/// 2016; Shazeer, 2020). In place allowed.
void gelu_mul(const float* gate, const float* up, float* out, size_t n);

/// x[i] = cap * tanh(x[i] / cap). REQUIRES: cap > 0.
void softcap(float* x, float cap, size_t n);

/// x[i] *= factor.
void scale(float* x, float factor, size_t n);

/// x[i] += y[i].
void add(float* x, const float* y, size_t n);

/// x[i] += factor * y[i].
void add_scaled(float* x, const float* y, float factor, size_t n);

/// The index of the greatest element, the lowest on a tie. REQUIRES: n > 0, no NaN.
size_t argmax(const float* x, size_t n);

/// Whether no element is infinite or not a number.
bool all_finite(const float* x, size_t n);

/// To IEEE binary16, round to nearest even.
void to_f16(const float* x, uint16_t* out, size_t n);

}  // namespace fathom::tensor
