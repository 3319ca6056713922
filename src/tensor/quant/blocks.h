// The plain conversions of single blocks (tensor/blocks.h), which dtype.cc applies to rows.
//
// `dequantize` is exact: the same products and sums, in the same order, as ggml's reference, so the same bits. `quantize`
// searches for the scales that reproduce the block best, in least squares weighted towards large values; its blocks are
// as close to the input as ggml's without an importance matrix, not the same bits. Inputs are finite. Pure functions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace fathom::tensor::quant {

inline constexpr float kMaxHalf = 65504.0f;

/// A scale as it will be read back: what quantised values are rounded against.
inline uint16_t storable(float value) { return f32_to_f16(std::clamp(value, -kMaxHalf, kMaxHalf)); }

/// `value` to nearest, ties to even, kept in [low, high], which lies within 2^22 of zero. (Where a float has no places after
/// the point the addition rounds; it vectorises, and std::nearbyint is a call on the oldest processors.)
inline int rounded(float value, int low, int high) {
  constexpr float kNoPlaces = 0x1.8p23f;
  return static_cast<int>(std::clamp(value, static_cast<float>(low), static_cast<float>(high)) + kNoPlaces -
                          kNoPlaces);
}

void dequantize(const BlockQ8_0& block, float* out);  // out: the block's 32 or 256 elements
void dequantize(const BlockQ4_0& block, float* out);
void dequantize(const BlockQ4_1& block, float* out);
void dequantize(const BlockQ5_0& block, float* out);
void dequantize(const BlockQ5_1& block, float* out);
void dequantize(const BlockIQ4_NL& block, float* out);
void dequantize(const BlockQ2_K& block, float* out);
void dequantize(const BlockQ3_K& block, float* out);
void dequantize(const BlockQ4_K& block, float* out);
void dequantize(const BlockQ5_K& block, float* out);
void dequantize(const BlockQ6_K& block, float* out);
void dequantize(const BlockIQ4_XS& block, float* out);

void quantize(const float* x, BlockQ8_0& block);
void quantize(const float* x, BlockQ4_0& block);
void quantize(const float* x, BlockQ4_1& block);
void quantize(const float* x, BlockQ5_0& block);
void quantize(const float* x, BlockQ5_1& block);
void quantize(const float* x, BlockIQ4_NL& block);
void quantize(const float* x, BlockQ2_K& block);
void quantize(const float* x, BlockQ3_K& block);
void quantize(const float* x, BlockQ4_K& block);
void quantize(const float* x, BlockQ5_K& block);
void quantize(const float* x, BlockQ6_K& block);
void quantize(const float* x, BlockIQ4_XS& block);

/// Scale `s` (< 16) of the block, from 0 to 63.
inline int scale_of(const BlockQ3_K& block, int s) {
  const int low = s < 8 ? block.scales[s] & 15 : block.scales[s - 8] >> 4;
  return low | (block.scales[8 + s % 4] >> (2 * (s / 4)) & 3) << 4;
}

/// Scale `s` (< 8) of the block, from 0 to 63.
inline int scale_of(const BlockIQ4_XS& block, int s) {
  return (block.scales_l[s / 2] >> (4 * (s % 2)) & 15) | (block.scales_h >> (2 * s) & 3) << 4;
}

struct ScaleAndMin {
  int scale;  // 0 to 63
  int min;    // 0 to 63
};

/// Scale and minimum `s` (< 8) of the twelve bytes of BlockQ4_K and BlockQ5_K.
inline ScaleAndMin scale_and_min(const uint8_t (&scales)[12], int s) {
  if (s < 4) return {scales[s] & 63, scales[4 + s] & 63};
  return {(scales[4 + s] & 15) | scales[s - 4] >> 6 << 4, scales[4 + s] >> 4 | scales[s] >> 6 << 4};
}

}  // namespace fathom::tensor::quant
