// Rounding to the sixteen values of IQ4_NL and IQ4_XS.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/quant/fit.h"

namespace fathom::tensor::quant {

/// Blocks without a number above this are stored as zeros: no f16 scale comes near it.
inline constexpr float kVanishing = 1e-15f;

/// For 2 v, rounded up and at most 256 either way, plus 256: the index of the value nearest to v. Exact, since the middles
/// between neighbours are multiples of a half.
inline constexpr auto kIq4Codes = [] {
  std::array<uint8_t, 513> codes{};
  for (int doubled = -256; doubled <= 256; ++doubled)
    for (size_t i = 1; i < 16; ++i)
      codes[static_cast<size_t>(doubled + 256)] += doubled > kIq4Values[i - 1] + kIq4Values[i] ? 1 : 0;
  return codes;
}();

/// The index of the value nearest to `v`, of two equally near the lower. REQUIRES: v is a number.
inline int iq4_code(float v) {
  const float doubled = std::clamp(2 * v, -256.0f, 256.0f);
  const int whole = static_cast<int>(doubled);
  const int up = static_cast<float>(whole) < doubled ? whole + 1 : whole;
  return kIq4Codes[static_cast<size_t>(up + 256)];
}

inline float iq4_nearest(float v) { return static_cast<float>(kIq4Values[iq4_code(v)]); }

/// The scale for 32 normalised numbers.
inline float fit_iq4(const float* x) {
  return fit_scale<32>(x, nullptr, static_cast<float>(kIq4Values[0]), {-8, 1, 17}, iq4_nearest);
}

}  // namespace fathom::tensor::quant
