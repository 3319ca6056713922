// The registry of kernels: every operation, in every format, on every instruction set that this processor has, against
// its plain form in tensor/reference.h.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "tensor/attention.h"
#include "tensor/buffer.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"
#include "tensor/packed.h"
#include "tensor/reference.h"

namespace fathom::tensor {
namespace {

std::vector<float> random_floats(Random& random, size_t n, double scale = 1.0) {
  std::vector<float> out(n);
  for (float& v : out) v = static_cast<float>(random.normal() * scale);
  return out;
}

/// A matrix in a format, as stored and packed.
struct Matrix {
  std::vector<std::byte> stored;
  Buffer memory;
  PackedMatrix packed;
};

Matrix make_matrix(Random& random, DType dtype, size_t rows, size_t cols) {
  Matrix m;
  const auto values = random_floats(random, rows * cols, 0.1);
  m.stored.resize(rows * row_bytes(dtype, cols));
  for (size_t r = 0; r < rows; ++r)
    quantize_row(dtype, values.data() + r * cols, m.stored.data() + r * row_bytes(dtype, cols), cols);
  m.memory = Buffer(packed_bytes(dtype, rows, cols));
  m.packed = {dtype, rows, cols, packed_group_bytes(dtype, cols), m.memory.as<std::byte>()};
  pack_groups(dtype, m.stored.data(), rows, cols, 0, m.packed.groups(), m.memory.as<std::byte>());
  return m;
}

/// Memory of Q8Rows.
struct Q8Memory {
  Q8Memory(size_t tokens, size_t cols)
      : q(tokens * cols), scale(tokens * cols / 32), scaled_sum(scale.size()), sum(scale.size()) {
    rows = {tokens, cols, q.data(), scale.data(), scaled_sum.data(), sum.data()};
  }
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> sum;
  Q8Rows rows;
};

/// y[tokens, rows] of the fast kernels, groups computed in two calls as two threads would.
std::vector<float> fast_matmul(const PackedMatrix& w, const std::vector<float>& x, size_t tokens,
                               bool add = false, float initial = 0.0f) {
  std::vector<float> y(tokens * w.rows, initial);
  const MatmulOut out{y.data(), w.rows, add};
  const size_t half = w.groups() / 2;
  const ActivationForm form = activation_form(w.dtype);
  if (form == ActivationForm::kQ8) {
    Q8Memory memory(tokens, w.cols);
    for (size_t t = 0; t < tokens; ++t) quantise_row_q8(x.data() + t * w.cols, memory.rows, t);
    matmul_q8(w, memory.rows, 0, half, out);
    matmul_q8(w, memory.rows, half, w.groups(), out);
  } else {
    std::vector<float> rounded(x.size());
    round_row(form, x.data(), rounded.data(), x.size());
    matmul_float(w, rounded.data(), w.cols, tokens, 0, half, out);
    matmul_float(w, rounded.data(), w.cols, tokens, half, w.groups(), out);
  }
  return y;
}

/// The largest difference, relative to the largest expected value.
double distance(const std::vector<float>& got, const std::vector<float>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double most = 0;
  double scale = 1e-30;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return most / scale;
}

/// Runs each test on one instruction set.
class Kernels : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
  Random random_{7};
};

TEST_P(Kernels, MatmulEqualsReferenceInEveryFormat) {
  for (const DType dtype : kAllDTypes) {
    for (const size_t rows : {1u, 16u, 17u, 40u, 96u}) {
      for (const size_t cols : {32u, 96u, 576u}) {
        const Matrix m = make_matrix(random_, dtype, rows, cols);
        for (const size_t tokens : {1u, 2u, 3u, 5u, 16u, 23u, 47u}) {
          const auto x = random_floats(random_, tokens * cols);
          const auto expected = reference::matmul(dtype, m.stored, rows, cols, x, tokens);
          EXPECT_LT(distance(fast_matmul(m.packed, x, tokens), expected), 1e-5)
              << name(dtype) << " [" << rows << ", " << cols << "] x " << tokens;
        }
      }
    }
  }
}

TEST_P(Kernels, PlainFormatsTakeAnyWidth) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const size_t cols : {1u, 7u, 33u}) {
      const Matrix m = make_matrix(random_, dtype, 19, cols);
      const auto x = random_floats(random_, 9 * cols);
      EXPECT_LT(distance(fast_matmul(m.packed, x, 9), reference::matmul(dtype, m.stored, 19, cols, x, 9)),
                2e-6);
    }
  }
}

TEST_P(Kernels, MatmulAddsToWhatIsThere) {
  for (const DType dtype : kAllDTypes) {
    const Matrix m = make_matrix(random_, dtype, 24, 64);
    const auto x = random_floats(random_, 3 * 64);
    auto expected = fast_matmul(m.packed, x, 3);
    for (float& v : expected) v += 0.5f;
    EXPECT_EQ(fast_matmul(m.packed, x, 3, true, 0.5f), expected) << name(dtype);
  }
}

/// What makes chunked prefill, decode and a reused cache agree bit for bit.
TEST_P(Kernels, ATokensResultDoesNotDependOnItsCompany) {
  for (const DType dtype : kAllDTypes) {
    const size_t cols = 288;
    const Matrix m = make_matrix(random_, dtype, 80, cols);
    const auto x = random_floats(random_, 37 * cols);
    const auto together = fast_matmul(m.packed, x, 37);
    for (size_t t = 0; t < 37; ++t) {
      const std::vector<float> one(x.begin() + static_cast<ptrdiff_t>(t * cols),
                                   x.begin() + static_cast<ptrdiff_t>((t + 1) * cols));
      const std::vector<float> expected(together.begin() + static_cast<ptrdiff_t>(t * 80),
                                        together.begin() + static_cast<ptrdiff_t>((t + 1) * 80));
      EXPECT_EQ(fast_matmul(m.packed, one, 1), expected) << name(dtype) << " token " << t;
    }
  }
}

TEST_P(Kernels, ExtremeIntegersDoNotOverflow) {
  // Every weight and every activation at the end of its range, signs alike and opposed.
  for (const int sign : {1, -1}) {
    std::vector<std::byte> stored(16 * row_bytes(DType::kQ8_0, 64));
    BlockQ8_0 block{f32_to_f16(1.0f), {}};
    for (auto& q : block.qs) q = static_cast<int8_t>(sign > 0 ? 127 : -128);
    for (size_t i = 0; i < 32; ++i) std::memcpy(stored.data() + i * sizeof block, &block, sizeof block);
    Buffer memory(packed_bytes(DType::kQ8_0, 16, 64));
    pack_groups(DType::kQ8_0, stored.data(), 16, 64, 0, 1, memory.as<std::byte>());
    const PackedMatrix w{DType::kQ8_0, 16, 64, packed_group_bytes(DType::kQ8_0, 64), memory.as<std::byte>()};
    for (const float a : {127.0f, -127.0f}) {
      const std::vector<float> x(64, a);
      EXPECT_EQ(fast_matmul(w, x, 1), reference::matmul(DType::kQ8_0, stored, 16, 64, x, 1));
    }
  }
  std::vector<std::byte> stored(16 * row_bytes(DType::kQ4_1, 64), std::byte{0xFF});
  for (size_t i = 0; i < 32; ++i) {
    const uint16_t scales[2] = {f32_to_f16(1.0f), f32_to_f16(-2.0f)};
    std::memcpy(stored.data() + i * sizeof(BlockQ4_1), scales, 4);
  }
  Buffer memory(packed_bytes(DType::kQ4_1, 16, 64));
  pack_groups(DType::kQ4_1, stored.data(), 16, 64, 0, 1, memory.as<std::byte>());
  const PackedMatrix w{DType::kQ4_1, 16, 64, packed_group_bytes(DType::kQ4_1, 64), memory.as<std::byte>()};
  for (const float a : {127.0f, -127.0f}) {
    const std::vector<float> x(64, a);
    EXPECT_EQ(fast_matmul(w, x, 1), reference::matmul(DType::kQ4_1, stored, 16, 64, x, 1));
  }
}

TEST_P(Kernels, Quantisation) {
  const size_t cols = 160;
  const size_t tokens = 21;
  auto x = random_floats(random_, tokens * cols, 3.0);
  std::fill(x.begin() + 32, x.begin() + 64, 0.0f);                            // a block of zeros
  for (size_t i = 0; i < 32; ++i) x[64 + i] = static_cast<float>(i) - 15.5f;  // ties
  x[64] = 127.0f;
  Q8Memory memory(tokens, cols);
  for (size_t t = 0; t < tokens; ++t) quantise_row_q8(x.data() + t * cols, memory.rows, t);
  for (size_t t = 0; t < tokens; ++t) {
    const auto expected = reference::quantise_q8(std::span(x).subspan(t * cols, cols));
    const size_t tile = t / 16;
    const size_t width = memory.rows.tile_width(tile);
    for (size_t b = 0; b < expected.size(); ++b) {
      const size_t at = tile * 16 * (cols / 32) + b * width + t % 16;
      EXPECT_EQ(memory.scale[at], expected[b].scale);
      EXPECT_EQ(memory.scaled_sum[at], expected[b].scaled_sum);
      EXPECT_EQ(memory.sum[at], expected[b].sum);
      EXPECT_TRUE(std::equal(expected[b].q, expected[b].q + 32, memory.q.data() + at * 32)) << t << " " << b;
    }
  }
}

TEST_P(Kernels, RoundingToHalfPrecision) {
  std::vector<float> x = random_floats(random_, 1001, 100.0);
  x[0] = 1e-7f;
  x[1] = 1e-30f;
  x[2] = 65519.0f;
  for (const auto& [form, dtype] : {std::pair{ActivationForm::kF16, DType::kF16},
                                    {ActivationForm::kBF16, DType::kBF16},
                                    {ActivationForm::kF32, DType::kF32}}) {
    std::vector<float> out(x.size());
    round_row(form, x.data(), out.data(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      float expected = x[i];
      if (dtype == DType::kF16) expected = f16_to_f32(f32_to_f16(x[i]));
      if (dtype == DType::kBF16) expected = bf16_to_f32(f32_to_bf16(x[i]));
      EXPECT_EQ(out[i], expected) << x[i];
    }
  }
  std::vector<uint16_t> bits(x.size());
  to_f16(x.data(), bits.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(bits[i], f32_to_f16(x[i])) << x[i];
}

TEST_P(Kernels, RmsNorm) {
  for (const size_t n : {1u, 7u, 16u, 100u, 576u}) {
    const auto x = random_floats(random_, n, 5.0);
    const auto weight = random_floats(random_, n);
    std::vector<float> got(n), expected(n);
    rms_norm(x.data(), weight.data(), 1e-5f, got.data(), n);
    reference::rms_norm(x.data(), weight.data(), 1e-5f, expected.data(), n);
    EXPECT_LT(distance(got, expected), 1e-6);
  }
}

TEST_P(Kernels, Rope) {
  const size_t heads = 3, head_dim = 20, dims = 16;
  std::vector<float> factors(dims / 2);
  for (size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0f + static_cast<float>(i);
  for (const size_t position : {0u, 1u, 17u, 1000u}) {
    for (const bool halves : {false, true}) {
      for (const bool with_factors : {false, true}) {
        const auto used = with_factors ? std::span<const float>(factors) : std::span<const float>();
        auto got = random_floats(random_, heads * head_dim);
        auto expected = got;
        std::vector<float> angles(dims);
        rope_angles(position, dims, 10000.0f, 2.0f, used, angles.data());
        rope(got.data(), heads, head_dim, dims, halves, angles.data());
        reference::rope(expected.data(), heads, head_dim, dims, halves, position, 10000.0f, 2.0f, used);
        EXPECT_LT(distance(got, expected), 2e-4) << position;
      }
    }
  }
}

/// How far two roundings of about the same number may lie apart, relative to it.
double step(DType precision) { return precision == DType::kF16 ? 1.0 / 1024 : 1e-6; }

TEST_P(Kernels, Softmax) {
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    for (const size_t visible : {1u, 5u, 16u, 31u, 500u}) {
      auto got = random_floats(random_, visible + 9, 10.0);
      auto expected = got;
      softmax(got.data(), visible, got.size(), 0.7f, dtype);
      reference::softmax(expected.data(), visible, expected.size(), 0.7f, dtype);
      EXPECT_LT(distance(got, expected), step(dtype)) << visible;
      double sum = 0;
      for (const float v : got) sum += static_cast<double>(v);
      EXPECT_NEAR(sum, 1.0, 2 * step(dtype));
      for (size_t i = visible; i < got.size(); ++i) EXPECT_EQ(got[i], 0.0f);
    }
  }
}

TEST_P(Kernels, SiluMul) {
  auto gate = random_floats(random_, 333, 8.0);
  gate[0] = -1000.0f;
  gate[1] = 1000.0f;
  gate[2] = -95.0f;
  const auto up = random_floats(random_, gate.size());
  std::vector<float> got(gate.size()), expected(gate.size());
  silu_mul(gate.data(), up.data(), got.data(), gate.size());
  reference::silu_mul(gate.data(), up.data(), expected.data(), gate.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-6f + 1e-6f * std::abs(expected[i])) << gate[i];
}

TEST_P(Kernels, AddArgmaxAndFinite) {
  auto x = random_floats(random_, 101);
  const auto y = random_floats(random_, 101);
  auto sum = x;
  add(sum.data(), y.data(), sum.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(sum[i], x[i] + y[i]);
  x[40] = x[77] = 99.0f;
  EXPECT_EQ(argmax(x.data(), x.size()), 40u);
  x[100] = 100.0f;
  EXPECT_EQ(argmax(x.data(), x.size()), 100u);
  EXPECT_EQ(argmax(x.data(), 1), 0u);
  EXPECT_TRUE(all_finite(x.data(), x.size()));
  for (const size_t at : {0u, 50u, 100u}) {
    auto bad = x;
    bad[at] = NAN;
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
    bad[at] = -INFINITY;
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
  }
}

/// Memory of a KvLayer.
struct KvMemory {
  KvMemory(DType dtype, size_t capacity, size_t kv_heads, size_t head_dim)
      : k(KvLayer::k_elements(capacity, kv_heads, head_dim) * block_bytes(dtype)),
        v(KvLayer::v_elements(capacity, kv_heads, head_dim) * block_bytes(dtype)),
        layer{dtype, k.data(), v.data(), capacity, kv_heads, head_dim} {}
  std::vector<std::byte> k, v;
  KvLayer layer;
};

/// Random queries, keys and values, [positions, heads or kv_heads, head_dim].
struct AttentionCase {
  static constexpr size_t kKvHeads = 2, kGroup = 3, kHeads = 6, kPositions = 41, kCapacity = 64;

  AttentionCase(Random& random, size_t dim)
      : head_dim(dim),
        scale(1.0f / std::sqrt(static_cast<float>(dim))),
        q(random_floats(random, kPositions * kHeads * dim)),
        k(random_floats(random, kPositions * kKvHeads * dim)),
        v(random_floats(random, kPositions * kKvHeads * dim)) {}

  /// Five tokens at a time.
  std::vector<float> fast(const KvLayer& layer) const {
    for (size_t p = 0; p < kPositions; ++p)
      append_kv(layer, p, k.data() + p * kKvHeads * head_dim, v.data() + p * kKvHeads * head_dim);
    std::vector<float> out(q.size());
    std::vector<float> scratch(attend_scratch(5, kGroup, head_dim, kCapacity));
    const size_t stride = kHeads * head_dim;
    for (size_t first = 0; first < kPositions; first += 5) {
      for (size_t h = 0; h < kKvHeads; ++h) {
        const size_t at = first * stride + h * kGroup * head_dim;
        attend(layer,
               {h, kGroup, q.data() + at, stride, std::min<size_t>(5, kPositions - first), first, scale,
                out.data() + at, stride},
               scratch.data());
      }
    }
    return out;
  }

  std::vector<float> plain(DType precision) const {
    std::vector<float> out(q.size());
    for (size_t h = 0; h < kHeads; ++h) {
      std::vector<float> kh, vh;
      for (size_t p = 0; p < kPositions; ++p) {
        const auto at = static_cast<ptrdiff_t>((p * kKvHeads + h / kGroup) * head_dim);
        kh.insert(kh.end(), k.begin() + at, k.begin() + at + static_cast<ptrdiff_t>(head_dim));
        vh.insert(vh.end(), v.begin() + at, v.begin() + at + static_cast<ptrdiff_t>(head_dim));
        const size_t qat = (p * kHeads + h) * head_dim;
        reference::attend(std::span(q).subspan(qat, head_dim), kh, vh, p + 1, scale, precision,
                          out.data() + qat);
      }
    }
    return out;
  }

  size_t head_dim;
  float scale;
  std::vector<float> q, k, v;
};

TEST_P(Kernels, AttentionInEveryFormatOfTheCache) {
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    for (const size_t head_dim : {6u, 8u, 24u, 64u, 80u}) {
      const AttentionCase c(random_, head_dim);
      const KvMemory memory(dtype, c.kCapacity, c.kKvHeads, head_dim);
      EXPECT_LT(distance(c.fast(memory.layer), c.plain(dtype)), step(dtype))
          << name(dtype) << " " << head_dim;

      const KvMemory copy(dtype, c.kCapacity, c.kKvHeads, head_dim);
      copy_kv(memory.layer, copy.layer, c.kPositions);
      EXPECT_EQ(copy.k, memory.k);
      EXPECT_EQ(copy.v, memory.v);
    }
  }
}

std::vector<int64_t> targets() {
  std::vector<int64_t> out;
  const int64_t supported = hwy::SupportedTargets();
  for (const int64_t target : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON})
    if ((supported & target) != 0) out.push_back(target);
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, Kernels, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

TEST(Packed, UnpacksWhatWasPacked) {
  Random random(3);
  for (const DType dtype : kAllDTypes) {
    const Matrix m = make_matrix(random, dtype, 21, 96);
    std::vector<float> got(96), expected(96);
    for (size_t r = 0; r < 21; ++r) {
      unpack_row(m.packed, r, got.data());
      dequantize_row(dtype, m.stored.data() + r * row_bytes(dtype, 96), expected.data(), 96);
      EXPECT_EQ(got, expected) << name(dtype) << " row " << r;
    }
  }
}

TEST(BufferTest, IsZeroedAndAligned) {
  const Buffer buffer(100000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.as<char>()) % 64, 0u);
  EXPECT_TRUE(
      std::all_of(buffer.as<char>(), buffer.as<char>() + buffer.bytes(), [](char c) { return c == 0; }));
}

}  // namespace
}  // namespace fathom::tensor
