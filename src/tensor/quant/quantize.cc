// Blocks of 32: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 by the range of the block, IQ4_NL by search.
#include <cstring>

#include "tensor/quant/blocks.h"
#include "tensor/quant/codebook.h"
#include "tensor/quant/fit.h"

namespace fathom::tensor::quant {
namespace {

constexpr int kSize = 32;

/// The number of the largest magnitude, with its sign.
float extreme_of(const float* x) {
  float extreme = 0;
  for (int i = 0; i < kSize; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  return extreme;
}

/// Integers of a block with the scale `block.d`, offset so that zero is `zero`; the extreme number takes the code 0.
template <class Block>
void choose_signed(const float* x, int zero, Block& block, int (&q)[kSize]) {
  block.d = storable(extreme_of(x) / static_cast<float>(-zero));
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kSize; ++i)
    q[i] = d == 0 ? zero : rounded(x[i] / d + static_cast<float>(zero), 0, 2 * zero - 1);
}

/// Integers from 0 to `top` between the least and the largest number.
template <class Block>
void choose_affine(const float* x, int top, Block& block, int (&q)[kSize]) {
  const auto [low, high] = std::minmax_element(x, x + kSize);
  block.m = storable(*low);
  const float m = f16_to_f32(block.m);
  block.d = storable((*high - m) / static_cast<float>(top));
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kSize; ++i) q[i] = d == 0 ? 0 : rounded((x[i] - m) / d, 0, top);
}

void store_nibbles(const int (&q)[kSize], uint8_t (&qs)[16]) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4);
}

void store_fifth_bits(const int (&q)[kSize], uint8_t (&qh)[4]) {
  uint32_t bits = 0;
  for (int i = 0; i < kSize; ++i) bits |= static_cast<uint32_t>(q[i] >> 4) << i;
  std::memcpy(qh, &bits, sizeof bits);
}

}  // namespace

void quantize(const float* x, BlockQ8_0& block) {
  block.d = storable(std::fabs(extreme_of(x)) / 127.0f);
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kSize; ++i)
    block.qs[i] = static_cast<int8_t>(d == 0 ? 0 : rounded(x[i] / d, -127, 127));
}

void quantize(const float* x, BlockQ4_0& block) {
  int q[kSize];
  choose_signed(x, 8, block, q);
  store_nibbles(q, block.qs);
}

void quantize(const float* x, BlockQ5_0& block) {
  int q[kSize];
  choose_signed(x, 16, block, q);
  store_nibbles(q, block.qs);
  store_fifth_bits(q, block.qh);
}

void quantize(const float* x, BlockQ4_1& block) {
  int q[kSize];
  choose_affine(x, 15, block, q);
  store_nibbles(q, block.qs);
}

void quantize(const float* x, BlockQ5_1& block) {
  int q[kSize];
  choose_affine(x, 31, block, q);
  store_nibbles(q, block.qs);
  store_fifth_bits(q, block.qh);
}

void quantize(const float* x, BlockIQ4_NL& block) {
  const float extreme = std::fabs(extreme_of(x));
  float normal[kSize] = {};
  if (extreme > kVanishing)
    for (int i = 0; i < kSize; ++i) normal[i] = x[i] / extreme;
  block.d = storable(fit_iq4(normal) * extreme);
  const float d = f16_to_f32(block.d);
  int q[kSize];
  for (int i = 0; i < kSize; ++i) q[i] = iq4_code(d == 0 ? 0.0f : x[i] / d);
  store_nibbles(q, block.qs);
}

}  // namespace fathom::tensor::quant
