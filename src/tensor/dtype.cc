#include "tensor/dtype.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "tensor/quant/blocks.h"

namespace fathom::tensor {
namespace {

static_assert(std::endian::native == std::endian::little, "stored tensors are little-endian");

struct Traits {
  std::string_view name;
  size_t block_size;
  size_t block_bytes;
};

constexpr Traits kTraits[] = {
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"Q8_0", 32, sizeof(BlockQ8_0)},
    {"Q4_0", 32, sizeof(BlockQ4_0)},
    {"Q4_1", 32, sizeof(BlockQ4_1)},
    {"Q5_0", 32, sizeof(BlockQ5_0)},
    {"Q5_1", 32, sizeof(BlockQ5_1)},
    {"IQ4_NL", 32, sizeof(BlockIQ4_NL)},
    {"Q2_K", kSuperBlock, sizeof(BlockQ2_K)},
    {"Q3_K", kSuperBlock, sizeof(BlockQ3_K)},
    {"Q4_K", kSuperBlock, sizeof(BlockQ4_K)},
    {"Q5_K", kSuperBlock, sizeof(BlockQ5_K)},
    {"Q6_K", kSuperBlock, sizeof(BlockQ6_K)},
    {"IQ4_XS", kSuperBlock, sizeof(BlockIQ4_XS)},
};
static_assert(std::size(kTraits) == std::size(kAllDTypes));

const Traits& traits(DType dtype) { return kTraits[static_cast<size_t>(dtype)]; }

/// Blocks go through a local copy: rows in a file need not be aligned.
template <class Block, size_t kSize>
void dequantize_blocks(const std::byte* row, float* out, size_t n) {
  Block block;
  for (size_t i = 0; i < n; i += kSize, row += sizeof block, out += kSize) {
    std::memcpy(&block, row, sizeof block);
    quant::dequantize(block, out);
  }
}

template <class Block, size_t kSize>
void quantize_blocks(const float* values, std::byte* row, size_t n) {
  Block block;
  for (size_t i = 0; i < n; i += kSize, row += sizeof block, values += kSize) {
    quant::quantize(values, block);
    std::memcpy(row, &block, sizeof block);
  }
}

template <float (*kConvert)(uint16_t)>
void widen(const std::byte* row, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + 2 * i, 2);
    out[i] = kConvert(bits);
  }
}

template <uint16_t (*kConvert)(float)>
void narrow(const float* values, std::byte* row, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t bits = kConvert(values[i]);
    std::memcpy(row + 2 * i, &bits, 2);
  }
}

/// Whether none of `count` numbers, each `step` bytes after the last, has all bits of its exponent set.
template <class Bits, Bits kExponent>
bool no_exponent_is(const std::byte* at, size_t count, size_t step) {
  bool any = false;
  for (size_t i = 0; i < count; ++i, at += step) {
    Bits bits;
    std::memcpy(&bits, at, sizeof bits);
    any |= (bits & kExponent) == kExponent;
  }
  return !any;
}

/// Where the f16 numbers of a block stand, the same twice if it has one.
std::pair<size_t, size_t> scale_offsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1: return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m)};
    case DType::kQ5_1: return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m)};
    case DType::kQ2_K: return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)};
    case DType::kQ4_K: return {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)};
    case DType::kQ5_K: return {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)};
    case DType::kQ3_K: return {offsetof(BlockQ3_K, d), offsetof(BlockQ3_K, d)};
    case DType::kQ6_K: return {offsetof(BlockQ6_K, d), offsetof(BlockQ6_K, d)};
    default: return {0, 0};  // first, or the number itself
  }
}

}  // namespace

std::string_view name(DType dtype) { return traits(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view wanted) {
  for (const DType dtype : kAllDTypes)
    if (name(dtype) == wanted) return dtype;
  return std::nullopt;
}

size_t block_size(DType dtype) { return traits(dtype).block_size; }
size_t block_bytes(DType dtype) { return traits(dtype).block_bytes; }

size_t row_bytes(DType dtype, size_t n) {
  FATHOM_CHECK(n % block_size(dtype) == 0, "a row is whole blocks");
  return n / block_size(dtype) * block_bytes(dtype);
}

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);  // NaN, made quiet
  } else if (magnitude >= 0x477FF000u) {
    half = 0x7C00u;  // 65520 and above round to infinity
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 the last place of a half is 2^-24, as it is of an f32 in [0.5, 1): the addition rounds.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(shifted) - 0x3F000000u;
  } else {
    const uint32_t ties_to_even = 0xFFFu + ((magnitude >> 13) & 1u);
    half = (magnitude - (112u << 23) + ties_to_even) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // NaN, quiet
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

void dequantize_row(DType dtype, const std::byte* row, float* out, size_t n) {
  FATHOM_CHECK(n % block_size(dtype) == 0, "a row is whole blocks");
  switch (dtype) {
    case DType::kF32:
      if (n > 0) std::memcpy(out, row, 4 * n);
      return;
    case DType::kF16: return widen<f16_to_f32>(row, out, n);
    case DType::kBF16: return widen<bf16_to_f32>(row, out, n);
    case DType::kQ8_0: return dequantize_blocks<BlockQ8_0, 32>(row, out, n);
    case DType::kQ4_0: return dequantize_blocks<BlockQ4_0, 32>(row, out, n);
    case DType::kQ4_1: return dequantize_blocks<BlockQ4_1, 32>(row, out, n);
    case DType::kQ5_0: return dequantize_blocks<BlockQ5_0, 32>(row, out, n);
    case DType::kQ5_1: return dequantize_blocks<BlockQ5_1, 32>(row, out, n);
    case DType::kIQ4_NL: return dequantize_blocks<BlockIQ4_NL, 32>(row, out, n);
    case DType::kQ2_K: return dequantize_blocks<BlockQ2_K, 256>(row, out, n);
    case DType::kQ3_K: return dequantize_blocks<BlockQ3_K, 256>(row, out, n);
    case DType::kQ4_K: return dequantize_blocks<BlockQ4_K, 256>(row, out, n);
    case DType::kQ5_K: return dequantize_blocks<BlockQ5_K, 256>(row, out, n);
    case DType::kQ6_K: return dequantize_blocks<BlockQ6_K, 256>(row, out, n);
    case DType::kIQ4_XS: return dequantize_blocks<BlockIQ4_XS, 256>(row, out, n);
  }
}

bool row_is_finite(DType dtype, const std::byte* row, size_t n) {
  FATHOM_CHECK(n % block_size(dtype) == 0, "a row is whole blocks");
  const size_t count = n / block_size(dtype);
  const size_t step = block_bytes(dtype);
  switch (dtype) {
    case DType::kF32: return no_exponent_is<uint32_t, 0x7F800000>(row, count, step);
    case DType::kBF16: return no_exponent_is<uint16_t, 0x7F80>(row, count, step);
    default: break;
  }
  const auto [d, m] = scale_offsets(dtype);
  return no_exponent_is<uint16_t, 0x7C00>(row + d, count, step) &&
         (m == d || no_exponent_is<uint16_t, 0x7C00>(row + m, count, step));
}

void quantize_row(DType dtype, const float* values, std::byte* row, size_t n) {
  FATHOM_CHECK(n % block_size(dtype) == 0, "a row is whole blocks");
  switch (dtype) {
    case DType::kF32:
      if (n > 0) std::memcpy(row, values, 4 * n);
      return;
    case DType::kF16: return narrow<f32_to_f16>(values, row, n);
    case DType::kBF16: return narrow<f32_to_bf16>(values, row, n);
    case DType::kQ8_0: return quantize_blocks<BlockQ8_0, 32>(values, row, n);
    case DType::kQ4_0: return quantize_blocks<BlockQ4_0, 32>(values, row, n);
    case DType::kQ4_1: return quantize_blocks<BlockQ4_1, 32>(values, row, n);
    case DType::kQ5_0: return quantize_blocks<BlockQ5_0, 32>(values, row, n);
    case DType::kQ5_1: return quantize_blocks<BlockQ5_1, 32>(values, row, n);
    case DType::kIQ4_NL: return quantize_blocks<BlockIQ4_NL, 32>(values, row, n);
    case DType::kQ2_K: return quantize_blocks<BlockQ2_K, 256>(values, row, n);
    case DType::kQ3_K: return quantize_blocks<BlockQ3_K, 256>(values, row, n);
    case DType::kQ4_K: return quantize_blocks<BlockQ4_K, 256>(values, row, n);
    case DType::kQ5_K: return quantize_blocks<BlockQ5_K, 256>(values, row, n);
    case DType::kQ6_K: return quantize_blocks<BlockQ6_K, 256>(values, row, n);
    case DType::kIQ4_XS: return quantize_blocks<BlockIQ4_XS, 256>(values, row, n);
  }
}

}  // namespace fathom::tensor
