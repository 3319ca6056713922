#include "tensor/quant/blocks.h"

namespace fathom::tensor::quant {
namespace {

float as_float(int value) { return static_cast<float>(value); }

/// Bit `i` of the fifth bits of BlockQ5_0 and BlockQ5_1, in its place.
int fifth_bit(const uint8_t (&qh)[4], int i) { return (qh[i / 8] >> (i % 8) & 1) << 4; }

/// The integer of element `128 h + 32 j + l`, two bits wide.
int two_bits(const uint8_t (&qs)[64], int h, int j, int l) { return qs[32 * h + l] >> (2 * j) & 3; }

}  // namespace

void dequantize(const BlockQ8_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 32; ++i) out[i] = d * as_float(block.qs[i]);
}

void dequantize(const BlockQ4_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * as_float((block.qs[i] & 15) - 8);
    out[i + 16] = d * as_float((block.qs[i] >> 4) - 8);
  }
}

void dequantize(const BlockQ4_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * as_float(block.qs[i] & 15) + m;
    out[i + 16] = d * as_float(block.qs[i] >> 4) + m;
  }
}

void dequantize(const BlockQ5_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * as_float(((block.qs[i] & 15) | fifth_bit(block.qh, i)) - 16);
    out[i + 16] = d * as_float((block.qs[i] >> 4 | fifth_bit(block.qh, i + 16)) - 16);
  }
}

void dequantize(const BlockQ5_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * as_float((block.qs[i] & 15) | fifth_bit(block.qh, i)) + m;
    out[i + 16] = d * as_float(block.qs[i] >> 4 | fifth_bit(block.qh, i + 16)) + m;
  }
}

void dequantize(const BlockIQ4_NL& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * as_float(kIq4Values[block.qs[i] & 15]);
    out[i + 16] = d * as_float(kIq4Values[block.qs[i] >> 4]);
  }
}

void dequantize(const BlockQ2_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int sixteen = block.scales[i / 16];
    const float scale = d * as_float(sixteen & 15);
    const float min = dmin * as_float(sixteen >> 4);
    out[i] = scale * as_float(two_bits(block.qs, i / 128, i / 32 % 4, i % 32)) - min;
  }
}

void dequantize(const BlockQ3_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int high = block.hmask[i % 32] >> (i / 32) & 1;
    const int q = two_bits(block.qs, i / 128, i / 32 % 4, i % 32) | high << 2;
    out[i] = d * as_float(scale_of(block, i / 16) - 32) * as_float(q - 4);
  }
}

void dequantize(const BlockQ4_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int s = 0; s < 8; ++s, out += 32) {
    const ScaleAndMin k = scale_and_min(block.scales, s);
    const float scale = d * as_float(k.scale);
    const float min = dmin * as_float(k.min);
    for (int l = 0; l < 32; ++l)
      out[l] = scale * as_float(block.qs[s / 2 * 32 + l] >> (4 * (s % 2)) & 15) - min;
  }
}

void dequantize(const BlockQ5_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int s = 0; s < 8; ++s, out += 32) {
    const ScaleAndMin k = scale_and_min(block.scales, s);
    const float scale = d * as_float(k.scale);
    const float min = dmin * as_float(k.min);
    for (int l = 0; l < 32; ++l) {
      const int low = block.qs[s / 2 * 32 + l] >> (4 * (s % 2)) & 15;
      out[l] = scale * as_float(low | (block.qh[l] >> s & 1) << 4) - min;
    }
  }
}

void dequantize(const BlockQ6_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int h = i / 128, j = i / 32 % 4, l = i % 32;
    const int low = block.ql[64 * h + 32 * (j % 2) + l] >> (4 * (j / 2)) & 15;
    const int high = block.qh[32 * h + l] >> (2 * j) & 3;
    out[i] = d * as_float(block.scales[i / 16]) * as_float((low | high << 4) - 32);
  }
}

void dequantize(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int s = 0; s < 8; ++s, out += 32) {
    const float scale = d * as_float(scale_of(block, s) - 32);
    for (int i = 0; i < 16; ++i) {
      const int pair = block.qs[16 * s + i];
      out[i] = scale * as_float(kIq4Values[pair & 15]);
      out[i + 16] = scale * as_float(kIq4Values[pair >> 4]);
    }
  }
}

}  // namespace fathom::tensor::quant
