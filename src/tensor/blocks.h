// Layouts of the blocks that quantised rows are made of: GGUF's, little-endian, without padding. Which number stands where
// is said beside each; `tensor::dequantize_row` (dtype.h) is the executable form.
//
// In K blocks of 256 (super-blocks) a scale belongs to 16 or 32 elements and is itself an integer, to be multiplied by the
// block's f16 `d` (and a minimum by `dmin`). All f16 are kept as bits.
#pragma once

#include <cstdint>

namespace fathom::tensor {

inline constexpr int kSuperBlock = 256;

/// 32 elements: x[i] = d * qs[i].
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

/// 32 elements: x[i] = d * ((qs[i] & 15) - 8) and x[i + 16] = d * ((qs[i] >> 4) - 8), i in [0, 16).
struct BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

/// 32 elements: x[i] = d * (qs[i] & 15) + m and x[i + 16] = d * (qs[i] >> 4) + m, i in [0, 16).
struct BlockQ4_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

/// As BlockQ4_0 with a fifth bit, bit i of the 32-bit `qh` for element i: x = d * (q - 16).
struct BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

/// As BlockQ4_1 with a fifth bit, as in BlockQ5_0: x = d * q + m.
struct BlockQ5_1 {
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

/// As BlockQ4_0, the nibbles being indices into kIq4Values: x = d * kIq4Values[q].
struct BlockIQ4_NL {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

/// 256 elements in sixteens s: x = d * (scales[s] & 15) * q - dmin * (scales[s] >> 4). Element 128 h + 32 j + l has the bits
/// 2 j, 2 j + 1 of qs[32 h + l] (h < 2, j < 4, l < 32).
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

/// 256 elements in sixteens s: x = d * (scale[s] - 32) * (q - 4). The low two bits of q are as in BlockQ2_K; the third of
/// element 128 h + 32 j + l is bit 4 h + j of hmask[l]. Scale s: low nibble (s < 8) or high nibble of scales[s % 8], and
/// above it the bits 2 (s / 4), 2 (s / 4) + 1 of scales[8 + s % 4].
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

/// 256 elements in thirty-twos s: x = d * scale[s] * q - dmin * min[s]. Element 64 c + 32 h + l is the low (h = 0) or high
/// nibble of qs[32 c + l]. Scale and minimum s < 4: the low six bits of scales[s], scales[4 + s]; s >= 4: the nibbles of
/// scales[4 + s], and above them the top two bits of scales[s - 4] and scales[s].
struct BlockQ4_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

/// As BlockQ4_K with a fifth bit: bit 2 c + h of qh[l].
struct BlockQ5_K {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

/// 256 elements in sixteens s: x = d * scales[s] * (q - 32). Of element 128 h + 32 j + l the low four bits are the low (j < 2)
/// or high nibble of ql[64 h + 32 (j % 2) + l], the high two the bits 2 j, 2 j + 1 of qh[32 h + l].
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

/// 256 elements in thirty-twos s: x = d * (scale[s] - 32) * kIq4Values[q], nibbles of each thirty-two as in BlockIQ4_NL.
/// Scale s: nibble s of scales_l, and above it the bits 2 s, 2 s + 1 of scales_h.
struct BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

}  // namespace fathom::tensor
