// Number formats of stored tensors: their names, sizes and block layouts (tensor/blocks.h), and the plain conversions
// that every fast kernel is held against.
//
// A row of n elements in a block format is n / block_size blocks, one after another, each `block_bytes` long; n is a
// multiple of block_size. Layouts are GGUF's, little-endian, without padding. All functions are pure and thread-safe;
// none needs its bytes to be aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/blocks.h"

namespace fathom::tensor {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kIQ4_NL,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_XS,
};

inline constexpr DType kAllDTypes[] = {DType::kF32,    DType::kF16,  DType::kBF16,  DType::kQ8_0,
                                       DType::kQ4_0,   DType::kQ4_1, DType::kQ5_0,  DType::kQ5_1,
                                       DType::kIQ4_NL, DType::kQ2_K, DType::kQ3_K,  DType::kQ4_K,
                                       DType::kQ5_K,   DType::kQ6_K, DType::kIQ4_XS};

/// "F32", "Q4_1": the format's name in GGUF.
std::string_view name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);

size_t block_size(DType dtype);   // elements in a block: 1 for plain formats, 32, or 256 for *_K and IQ4_XS
size_t block_bytes(DType dtype);  // bytes of a block
/// Bytes of a row of `n` elements. REQUIRES: n is a multiple of block_size(dtype).
size_t row_bytes(DType dtype, size_t n);

/// IEEE 754 binary16. To half: round to nearest, ties to even; too large becomes infinity; a NaN stays a (quiet) NaN.
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);

/// bfloat16, the upper half of an f32. Same rounding rules.
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);

/// The reference conversions. REQUIRES: n is a multiple of block_size(dtype), row_bytes(dtype, n) bytes at `row`.
void dequantize_row(DType dtype, const std::byte* row, float* out, size_t n);
/// Whether none of the row's numbers is infinite or not a number (what dequantize_row gives then is finite).
bool row_is_finite(DType dtype, const std::byte* row, size_t n);
/// Values rounded to nearest, with the scale that covers each block's range (Q8_0, Q4_*, Q5_0, Q5_1) or the one that a search
/// finds best in weighted least squares (*_K, IQ4_*). Inputs are finite.
void quantize_row(DType dtype, const float* values, std::byte* row, size_t n);

}  // namespace fathom::tensor
