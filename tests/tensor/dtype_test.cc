#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tensor/block_format.h"

namespace fathom::tensor {
namespace {

/// The value of a half by its definition, in double.
double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, EveryValueWidensExactlyAndComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = f16_to_f32(half);
    if (((half >> 10) & 31) == 31 && (half & 1023) != 0) {
      EXPECT_TRUE(std::isnan(wide));
      EXPECT_EQ(f32_to_f16(wide), half | 0x200);  // quiet
    } else if (((half >> 10) & 31) == 31) {
      EXPECT_TRUE(std::isinf(wide));
      EXPECT_EQ(f32_to_f16(wide), half);
    } else {
      EXPECT_EQ(wide, half_value(half));
      EXPECT_EQ(std::signbit(wide), (half & 0x8000) != 0);
      EXPECT_EQ(f32_to_f16(wide), half);
    }
  }
}

TEST(Half, RoundsToNearestAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7BFF; ++half) {
    const double low = half_value(half), high = half_value(static_cast<uint16_t>(half + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact in f32
    const auto even = static_cast<uint16_t>(half % 2 == 0 ? half : half + 1);
    EXPECT_EQ(f32_to_f16(middle), even);
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, 0.0f)), half);
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, 1e9f)), half + 1);
    EXPECT_EQ(f32_to_f16(-middle), even | 0x8000);
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
}

TEST(Bfloat, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(bf16_to_f32(0x3F80), 1.0f);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(f32_to_bf16(-INFINITY), 0xFF80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001u)))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float wide = bf16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(wide)) continue;
    EXPECT_EQ(f32_to_bf16(wide), bits);
  }
}

TEST(DType, NamesAndSizes) {
  for (const DType dtype : kAllDTypes) EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
  EXPECT_FALSE(dtype_from_name("IQ2_XS"));
  EXPECT_FALSE(dtype_from_name(""));
  EXPECT_EQ(row_bytes(DType::kF32, 7), 28u);
  EXPECT_EQ(row_bytes(DType::kBF16, 7), 14u);
  EXPECT_EQ(row_bytes(DType::kQ8_0, 64), 68u);
  EXPECT_EQ(row_bytes(DType::kQ4_0, 64), 36u);
  EXPECT_EQ(row_bytes(DType::kQ4_1, 64), 40u);
  EXPECT_EQ(row_bytes(DType::kQ5_0, 64), 44u);
  EXPECT_EQ(row_bytes(DType::kQ5_1, 64), 48u);
  EXPECT_EQ(row_bytes(DType::kIQ4_NL, 64), 36u);
  EXPECT_EQ(row_bytes(DType::kQ2_K, 512), 168u);
  EXPECT_EQ(row_bytes(DType::kQ3_K, 512), 220u);
  EXPECT_EQ(row_bytes(DType::kQ4_K, 512), 288u);
  EXPECT_EQ(row_bytes(DType::kQ5_K, 512), 352u);
  EXPECT_EQ(row_bytes(DType::kQ6_K, 512), 420u);
  EXPECT_EQ(row_bytes(DType::kIQ4_XS, 512), 272u);
}

TEST(Blocks, LayoutIsGgufs) {
  // d = 0.5 (0x3800), m = -1 (0xBC00); nibbles: element 0 is 3, element 16 is 12, the rest 0.
  std::vector<std::byte> q4_0(18), q4_1(20), q8_0(34);
  const auto put = [](std::vector<std::byte>& row, size_t at, int value) {
    row[at] = static_cast<std::byte>(value);
  };
  put(q4_0, 1, 0x38), put(q4_0, 2, 0xC3);
  put(q4_1, 1, 0x38), put(q4_1, 3, 0xBC), put(q4_1, 4, 0xC3);
  put(q8_0, 1, 0x38), put(q8_0, 2, 0x80), put(q8_0, 33, 0x7F);
  float out[32];
  dequantize_row(DType::kQ4_0, q4_0.data(), out, 32);
  EXPECT_EQ(out[0], 0.5f * (3 - 8));
  EXPECT_EQ(out[16], 0.5f * (12 - 8));
  EXPECT_EQ(out[1], 0.5f * (0 - 8));
  dequantize_row(DType::kQ4_1, q4_1.data(), out, 32);
  EXPECT_EQ(out[0], 0.5f * 3 - 1);
  EXPECT_EQ(out[16], 0.5f * 12 - 1);
  EXPECT_EQ(out[31], -1.0f);
  dequantize_row(DType::kQ8_0, q8_0.data(), out, 32);
  EXPECT_EQ(out[0], -64.0f);
  EXPECT_EQ(out[31], 63.5f);
  EXPECT_EQ(out[5], 0.0f);
}

/// The most that a number of a block may move, the range of the block being known.
double half_step(DType dtype, double low, double high) {
  const double extreme = std::max(std::fabs(low), std::fabs(high));
  switch (dtype) {
    case DType::kF32: return 0;
    case DType::kF16: return extreme / 2048;
    case DType::kBF16: return extreme / 256;
    case DType::kQ8_0: return extreme / 127 / 2;
    case DType::kQ4_0: return extreme / 8;  // the far end of the range is cut by one step
    case DType::kQ5_0: return extreme / 16;
    case DType::kQ4_1: return (high - low) / 15.0 / 2;
    case DType::kQ5_1: return (high - low) / 31.0 / 2;
    default: return INFINITY;  // found by search: the mean error counts
  }
}

TEST(Blocks, QuantisingErrsByAtMostHalfAStep) {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> values(96);
    const double scale = std::pow(10.0, -3.0 + 0.12 * round);
    for (float& v : values) v = static_cast<float>(random.normal() * scale + (round % 3 == 0 ? scale : 0));
    for (const DType dtype : kAllDTypes) {
      if (block_size(dtype) == kSuperBlock) continue;
      std::vector<std::byte> row(row_bytes(dtype, values.size()) + 1);
      std::vector<float> back(values.size());
      quantize_row(dtype, values.data(), row.data() + 1, values.size());  // unaligned on purpose
      dequantize_row(dtype, row.data() + 1, back.data(), values.size());
      for (size_t block = 0; block < values.size(); block += 32) {
        const auto [low, high] =
            std::minmax_element(values.begin() + static_cast<std::ptrdiff_t>(block),
                                values.begin() + static_cast<std::ptrdiff_t>(block + 32));
        const double extreme = std::max(std::fabs(*low), std::fabs(*high));
        const double step = half_step(dtype, *low, *high);
        for (size_t i = block; i < block + 32; ++i)
          EXPECT_LE(std::fabs(values[i] - back[i]), step * 1.01 + extreme * 2e-3 * (dtype != DType::kF32))
              << name(dtype);
      }
    }
  }
}

/// Root of the mean squared error, relative to the root mean square of the values.
double relative_error(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> row(row_bytes(dtype, values.size()) + 1);
  std::vector<float> back(values.size());
  quantize_row(dtype, values.data(), row.data() + 1, values.size());
  dequantize_row(dtype, row.data() + 1, back.data(), values.size());
  double error = 0, total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double difference = static_cast<double>(values[i]) - static_cast<double>(back[i]);
    error += difference * difference;
    total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return std::sqrt(error / total);
}

TEST(Blocks, SearchedScalesErrAsLittleAsTheBitsAllow) {
  // ggml's reference quantisers (ggml_quantize_chunk without an importance matrix) on normal numbers, and a hundredth more.
  const std::pair<DType, double> kBounds[] = {
      {DType::kIQ4_NL, 0.07630}, {DType::kQ2_K, 0.29823}, {DType::kQ3_K, 0.15133},  {DType::kQ4_K, 0.07186},
      {DType::kQ5_K, 0.03625},   {DType::kQ6_K, 0.01783}, {DType::kIQ4_XS, 0.07690}};
  Random random(5);
  std::vector<float> values(256 * 256);
  for (float& v : values) v = static_cast<float>(random.normal() * 0.02);
  for (const auto& [dtype, bound] : kBounds)
    EXPECT_LT(relative_error(dtype, values), bound * 1.01) << name(dtype);
}

TEST(Blocks, WhatIsNotFiniteIsFound) {
  for (const DType dtype : kAllDTypes) {
    const size_t n = 3 * std::max<size_t>(block_size(dtype), 32);
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i) * 100.0f - 20000.0f;
    std::vector<std::byte> row(row_bytes(dtype, n) + 1);
    quantize_row(dtype, values.data(), row.data() + 1, n);
    EXPECT_TRUE(row_is_finite(dtype, row.data() + 1, n)) << name(dtype);
    const uint32_t one = dtype == DType::kF32 ? 0x7F800000 : dtype == DType::kBF16 ? 0x7F80 : 0x7C00;
    const size_t bytes = dtype == DType::kF32 ? 4 : 2;
    std::vector<size_t> fields = {0};
    if (block_size(dtype) > 1) {
      const BlockFormat format = block_format(dtype);
      fields.assign(format.half_at, format.half_at + format.halves);
      if (dtype == DType::kIQ4_XS) fields.resize(1);  // the second is bits of scales
    }
    for (const uint32_t bits : {one, one | 1, one | (bytes == 4 ? 0x80000000 : 0x8000)}) {
      for (const size_t at : {size_t{0}, row_bytes(dtype, n) - block_bytes(dtype)}) {
        for (const size_t field : fields) {
          auto bad = row;
          std::memcpy(bad.data() + 1 + at + field, &bits, bytes);
          EXPECT_FALSE(row_is_finite(dtype, bad.data() + 1, n)) << name(dtype) << " at " << at + field;
        }
      }
    }
    if (dtype == DType::kIQ4_XS) {
      std::memset(row.data() + 3, 0xFF, 2);  // any scales are finite
      EXPECT_TRUE(row_is_finite(dtype, row.data() + 1, n));
    }
  }
}

TEST(Blocks, ExtremesStayFinite) {
  for (const DType dtype : kAllDTypes) {
    const size_t n = block_size(dtype);
    if (n == 1) continue;
    for (const float extreme : {0.0f, 1e-40f, 1e-8f, 3e38f, -3e38f}) {
      std::vector<float> values(n, extreme), back(n);
      values[7] = -extreme;
      std::vector<std::byte> row(row_bytes(dtype, n));
      quantize_row(dtype, values.data(), row.data(), n);
      EXPECT_TRUE(row_is_finite(dtype, row.data(), n)) << name(dtype) << " " << extreme;
      dequantize_row(dtype, row.data(), back.data(), n);
      for (const float v : back) EXPECT_TRUE(std::isfinite(v)) << name(dtype) << " " << extreme;
    }
  }
}

/// Integers that a format can hold come back as they are.
TEST(Blocks, WhatAFormatCanHoldItHolds) {
  Random random(9);
  for (const auto& [dtype, low, high] : {std::tuple{DType::kQ2_K, 0, 3},
                                         {DType::kQ3_K, -4, 3},
                                         {DType::kQ4_K, 0, 15},
                                         {DType::kQ5_K, 0, 31},
                                         {DType::kQ6_K, -32, 31},
                                         {DType::kQ5_0, -16, 15},
                                         {DType::kQ5_1, 0, 31}}) {
    std::vector<float> values(512), back(512);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto range = static_cast<uint64_t>(high - low + 1);
      const int v = i % 16 == 0 ? low : i % 16 == 1 ? high : low + static_cast<int>(random.below(range));
      values[i] = static_cast<float>(v);
    }
    std::vector<std::byte> row(row_bytes(dtype, values.size()));
    quantize_row(dtype, values.data(), row.data(), values.size());
    dequantize_row(dtype, row.data(), back.data(), values.size());
    // The scale itself is rounded to eleven bits.
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(values[i], back[i], 1e-4f + std::fabs(values[i]) * 1e-3f) << name(dtype) << " " << i;
  }
}

}  // namespace
}  // namespace fathom::tensor
