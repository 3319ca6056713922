// Rounding to the sixteen values of IQ4_NL and IQ4_XS.
#pragma once

#include "tensor/quant/fit.h"

namespace fathom::tensor::quant {

/// Blocks without a number above this are stored as zeros: no f16 scale comes near it.
inline constexpr float kVanishing = 1e-15f;

/// The index of the value nearest to `v`.
inline int iq4_code(float v) {
  int code = 0;
  for (int i = 1; i < 16; ++i) {
    const auto middle = static_cast<float>(kIq4Values[i - 1] + kIq4Values[i]) / 2;
    code += v > middle ? 1 : 0;
  }
  return code;
}

inline float iq4_nearest(float v) { return static_cast<float>(kIq4Values[iq4_code(v)]); }

/// The scale for 32 normalised numbers.
inline float fit_iq4(const float* x) {
  return fit_scale<32>(x, nullptr, static_cast<float>(kIq4Values[0]), {-8, 1, 17}, iq4_nearest);
}

}  // namespace fathom::tensor::quant
