// Super-blocks of 256: a scale (and a minimum) for each 16 or 32 numbers by search, then rounded to the few bits that the
// format has for it, then the numbers rounded against what will be read back.
#include <cstring>

#include "tensor/quant/blocks.h"
#include "tensor/quant/codebook.h"
#include "tensor/quant/fit.h"

namespace fathom::tensor::quant {
namespace {

/// The numbers of a super-block, none larger than 1, and what they were divided by.
struct Normalised {
  explicit Normalised(const float* values) {
    for (int i = 0; i < kSuperBlock; ++i) unit = std::max(unit, std::fabs(values[i]));
    if (unit <= kVanishing) unit = 0;
    for (size_t i = 0; i < kSuperBlock; ++i) x[i] = unit == 0 ? 0.0f : values[i] / unit;
  }
  float unit = 0;
  std::array<float, kSuperBlock> x;
};

/// Weights that favour large numbers without forgetting small ones: root mean square + |x|.
template <int kSize>
std::array<float, kSize> magnitude_weights(const float* x) {
  float squares = 0;
  for (int i = 0; i < kSize; ++i) squares += x[i] * x[i];
  const float mean = std::sqrt(squares / static_cast<float>(kSize));
  std::array<float, kSize> w;
  for (size_t i = 0; i < kSize; ++i) w[i] = mean + std::fabs(x[i]);
  return w;
}

float largest(const float* values, int n) {
  float out = 0;
  for (int i = 0; i < n; ++i) out = std::max(out, values[i]);
  return out;
}

/// value / unit, or nothing where there is no unit.
float ratio(float value, float unit) { return unit == 0 ? 0.0f : value / unit; }

// ------------------------------------------------------------------ scale and minimum: Q2_K, Q4_K, Q5_K

/// Integers x = d * scale[s] * q - dmin * min[s].
template <int kSize>
struct AffineBlock {
  static constexpr int kSubs = kSuperBlock / kSize;
  uint16_t d = 0;
  uint16_t dmin = 0;
  int scale[kSubs] = {};
  int min[kSubs] = {};
  int q[kSuperBlock] = {};
};

template <int kSize>
AffineBlock<kSize> choose_affine(const float* x, int top, int top_scale, const Trials& trials) {
  constexpr int kSubs = AffineBlock<kSize>::kSubs;
  const Normalised n(x);
  float scales[kSubs], mins[kSubs];
  for (int s = 0; s < kSubs; ++s) {
    const float* at = n.x.data() + s * kSize;
    const Affine fit = fit_affine<kSize>(at, magnitude_weights<kSize>(at).data(), top, trials);
    scales[s] = fit.scale * n.unit;
    mins[s] = fit.min * n.unit;
  }
  AffineBlock<kSize> out;
  out.d = storable(largest(scales, kSubs) / static_cast<float>(top_scale));
  out.dmin = storable(largest(mins, kSubs) / static_cast<float>(top_scale));
  const float d = f16_to_f32(out.d), dmin = f16_to_f32(out.dmin);
  for (int s = 0; s < kSubs; ++s) {
    out.scale[s] = rounded(ratio(scales[s], d), 0, top_scale);
    out.min[s] = rounded(ratio(mins[s], dmin), 0, top_scale);
    const float scale = d * static_cast<float>(out.scale[s]);
    const float min = dmin * static_cast<float>(out.min[s]);
    for (int i = s * kSize; i < (s + 1) * kSize; ++i) out.q[i] = rounded(ratio(x[i] + min, scale), 0, top);
  }
  return out;
}

template <class Block>
void store_scales(const AffineBlock<32>& from, Block& block) {
  block.d = from.d;
  block.dmin = from.dmin;
  for (int s = 0; s < 4; ++s) {
    block.scales[s] = static_cast<uint8_t>(from.scale[s] | from.scale[4 + s] >> 4 << 6);
    block.scales[4 + s] = static_cast<uint8_t>(from.min[s] | from.min[4 + s] >> 4 << 6);
    block.scales[8 + s] = static_cast<uint8_t>((from.scale[4 + s] & 15) | (from.min[4 + s] & 15) << 4);
  }
}

template <class Block>
void store_nibbles(const AffineBlock<32>& from, Block& block) {
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 32; ++l)
      block.qs[32 * c + l] =
          static_cast<uint8_t>((from.q[64 * c + l] & 15) | (from.q[64 * c + 32 + l] & 15) << 4);
}

/// The low two bits of `q` where BlockQ2_K and BlockQ3_K have them.
void store_two_bits(const int (&q)[kSuperBlock], uint8_t (&qs)[64]) {
  std::memset(qs, 0, sizeof qs);
  for (int i = 0; i < kSuperBlock; ++i)
    qs[i / 128 * 32 + i % 32] |= static_cast<uint8_t>((q[i] & 3) << (2 * (i / 32 % 4)));
}

// ------------------------------------------------------------------ signed scale: Q3_K, Q6_K, IQ4_XS

/// The integers that `scales` are stored as, from -reach to reach - 1, and what they are multiples of. The extreme scale
/// takes -reach.
template <int kSubs>
uint16_t store_signed_scales(const float (&scales)[kSubs], int reach, int (&out)[kSubs]) {
  float extreme = 0;
  for (const float s : scales)
    if (std::fabs(s) > std::fabs(extreme)) extreme = s;
  const uint16_t d = storable(extreme / static_cast<float>(-reach));
  for (int s = 0; s < kSubs; ++s) out[s] = rounded(ratio(scales[s], f16_to_f32(d)), -reach, reach - 1);
  return d;
}

/// Integers x = d * scale[s] * q, q from -zero to zero - 1, stored with `zero` added.
struct SignedBlock {
  uint16_t d = 0;
  int scale[16] = {};
  int q[kSuperBlock] = {};
};

SignedBlock choose_signed(const float* x, int zero, int reach, const Trials& trials) {
  const Normalised n(x);
  const auto nearest = [zero](float v) { return static_cast<float>(rounded(v, -zero, zero - 1)); };
  float scales[16];
  for (int s = 0; s < 16; ++s)
    scales[s] =
        n.unit * fit_scale<16>(n.x.data() + 16 * s, nullptr, static_cast<float>(-zero), trials, nearest);
  SignedBlock out;
  out.d = store_signed_scales(scales, reach, out.scale);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = f16_to_f32(out.d) * static_cast<float>(out.scale[i / 16]);
    out.q[i] = rounded(ratio(x[i], scale), -zero, zero - 1) + zero;
  }
  return out;
}

}  // namespace

void quantize(const float* x, BlockQ2_K& block) {
  const auto chosen = choose_affine<16>(x, 3, 15, {-0.5f, 0.1f, 16});
  block.d = chosen.d;
  block.dmin = chosen.dmin;
  for (int s = 0; s < 16; ++s) block.scales[s] = static_cast<uint8_t>(chosen.scale[s] | chosen.min[s] << 4);
  store_two_bits(chosen.q, block.qs);
}

void quantize(const float* x, BlockQ4_K& block) {
  const auto chosen = choose_affine<32>(x, 15, 63, {-1.0f, 0.1f, 21});
  store_scales(chosen, block);
  store_nibbles(chosen, block);
}

void quantize(const float* x, BlockQ5_K& block) {
  const auto chosen = choose_affine<32>(x, 31, 63, {-0.5f, 0.1f, 16});
  store_scales(chosen, block);
  store_nibbles(chosen, block);
  std::memset(block.qh, 0, sizeof block.qh);
  for (int i = 0; i < kSuperBlock; ++i)
    block.qh[i % 32] |= static_cast<uint8_t>((chosen.q[i] >> 4) << (i / 32));
}

void quantize(const float* x, BlockQ3_K& block) {
  const SignedBlock chosen = choose_signed(x, 4, 32, {-1.0f, 0.1f, 21});
  block.d = chosen.d;
  store_two_bits(chosen.q, block.qs);
  std::memset(block.hmask, 0, sizeof block.hmask);
  for (int i = 0; i < kSuperBlock; ++i)
    block.hmask[i % 32] |= static_cast<uint8_t>((chosen.q[i] >> 2) << (i / 32));
  std::memset(block.scales, 0, sizeof block.scales);
  for (int s = 0; s < 16; ++s) {
    const int scale = chosen.scale[s] + 32;
    block.scales[s % 8] |= static_cast<uint8_t>((scale & 15) << (4 * (s / 8)));
    block.scales[8 + s % 4] |= static_cast<uint8_t>((scale >> 4) << (2 * (s / 4)));
  }
}

void quantize(const float* x, BlockQ6_K& block) {
  const SignedBlock chosen = choose_signed(x, 32, 128, {-0.9f, 0.1f, 19});
  block.d = chosen.d;
  for (int s = 0; s < 16; ++s) block.scales[s] = static_cast<int8_t>(chosen.scale[s]);
  std::memset(block.ql, 0, sizeof block.ql);
  std::memset(block.qh, 0, sizeof block.qh);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int h = i / 128, j = i / 32 % 4, l = i % 32;
    block.ql[64 * h + 32 * (j % 2) + l] |= static_cast<uint8_t>((chosen.q[i] & 15) << (4 * (j / 2)));
    block.qh[32 * h + l] |= static_cast<uint8_t>((chosen.q[i] >> 4) << (2 * j));
  }
}

void quantize(const float* x, BlockIQ4_XS& block) {
  const Normalised n(x);
  float scales[8];
  for (int s = 0; s < 8; ++s) scales[s] = n.unit * fit_iq4(n.x.data() + 32 * s);
  int chosen[8];
  block.d = store_signed_scales(scales, 32, chosen);
  block.scales_h = 0;
  std::memset(block.scales_l, 0, sizeof block.scales_l);
  for (int s = 0; s < 8; ++s) {
    const float scale = f16_to_f32(block.d) * static_cast<float>(chosen[s]);
    const int stored = chosen[s] + 32;
    block.scales_l[s / 2] |= static_cast<uint8_t>((stored & 15) << (4 * (s % 2)));
    block.scales_h = static_cast<uint16_t>(block.scales_h | (stored >> 4) << (2 * s));
    for (int i = 0; i < 16; ++i) {
      const float* at = x + 32 * s + i;
      block.qs[16 * s + i] =
          static_cast<uint8_t>(iq4_code(ratio(at[0], scale)) | iq4_code(ratio(at[16], scale)) << 4);
    }
  }
}

}  // namespace fathom::tensor::quant
