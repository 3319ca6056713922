// The registry of kernels, products of matrices: every format, on every instruction set that this processor has, against the
// plain form in tensor/reference.h.
#include "tensor/matmul.h"

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "tensor/block_format.h"
#include "tensor/buffer.h"
#include "tensor/kernels.h"
#include "tensor/matmul_k.h"
#include "tensor/packed.h"
#include "tensor/reference.h"

namespace fathom::tensor {
namespace {

using MatmulKernels = Kernels;

/// A matrix in a format, as stored and packed.
struct Matrix {
  Matrix(DType dtype, size_t rows, size_t cols, std::vector<std::byte> bytes)
      : stored(std::move(bytes)), memory(packed_bytes(dtype, rows, cols)) {
    packed = {dtype, rows, cols, packed_group_bytes(dtype, cols), memory.as<std::byte>()};
    pack_groups(dtype, stored.data(), rows, cols, 0, packed.groups(), memory.as<std::byte>());
  }
  std::vector<std::byte> stored;
  Buffer memory;
  PackedMatrix packed;
};

void put_half(std::byte* at, float value) {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

/// Blocks of any bits, their scales finite: ordinary ones, zeros and the smallest.
std::vector<std::byte> random_blocks(Random& random, DType dtype, size_t rows, size_t cols) {
  const BlockFormat format = block_format(dtype);
  std::vector<std::byte> out(rows * row_bytes(dtype, cols));
  for (std::byte& b : out) b = static_cast<std::byte>(random.below(256));
  for (size_t at = 0; at < out.size(); at += format.bytes) {
    const uint64_t kind = random.below(16);
    const auto scale = static_cast<float>(kind == 0 ? 0 : kind == 1 ? 6e-8 : random.normal() * 0.1);
    put_half(&out[at + format.half_at[0]], scale);
    if (format.halves == 2 && dtype != DType::kIQ4_XS)
      put_half(&out[at + format.half_at[1]], static_cast<float>(random.normal() * 0.1));
  }
  return out;
}

Matrix make_matrix(Random& random, DType dtype, size_t rows, size_t cols) {
  if (block_size(dtype) > 1) return {dtype, rows, cols, random_blocks(random, dtype, rows, cols)};
  const auto values = random_floats(random, rows * cols, 0.1);
  std::vector<std::byte> stored(rows * row_bytes(dtype, cols));
  for (size_t r = 0; r < rows; ++r)
    quantize_row(dtype, values.data() + r * cols, stored.data() + r * row_bytes(dtype, cols), cols);
  return {dtype, rows, cols, std::move(stored)};
}

/// Widths that are whole blocks.
std::vector<size_t> widths(DType dtype) {
  if (block_size(dtype) == kSuperBlock) return {256, 768};
  return {32, 96, 576};
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

/// Memory of Q8KRows.
struct Q8KMemory {
  Q8KMemory(size_t tokens, size_t cols)
      : q(tokens * cols), scale(tokens * cols / 256), sums(scale.size() * Q8KRows::kSums) {
    rows = {tokens, cols, q.data(), scale.data(), sums.data()};
  }
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int16_t> sums;
  Q8KRows rows;
};

/// y[tokens, rows] of the fast kernels, groups computed in two calls as two threads would.
std::vector<float> fast_matmul(const PackedMatrix& w, std::span<const float> x, size_t tokens,
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
  } else if (form == ActivationForm::kQ8K) {
    Q8KMemory memory(tokens, w.cols);
    for (size_t t = 0; t < tokens; ++t) quantise_row_q8k(x.data() + t * w.cols, memory.rows, t);
    matmul_q8k(w, memory.rows, 0, half, out);
    matmul_q8k(w, memory.rows, half, w.groups(), out);
  } else {
    std::vector<float> rounded(tokens * w.cols);
    round_row(form, x.data(), rounded.data(), rounded.size());
    matmul_float(w, rounded.data(), w.cols, tokens, 0, half, out);
    matmul_float(w, rounded.data(), w.cols, tokens, half, w.groups(), out);
  }
  return y;
}

TEST_P(MatmulKernels, EqualReferenceInEveryFormat) {
  constexpr size_t kTokens = 47;
  for (const DType dtype : kAllDTypes) {
    for (const size_t rows : {1u, 16u, 17u, 40u}) {
      for (const size_t cols : widths(dtype)) {
        const Matrix m = make_matrix(random_, dtype, rows, cols);
        const auto x = random_floats(random_, kTokens * cols);
        const auto expected = reference::matmul(dtype, m.stored, rows, cols, x, kTokens);
        for (const size_t tokens : {1u, 2u, 3u, 5u, 11u, 16u, 23u, 47u}) {
          const std::vector<float> first(expected.begin(),
                                         expected.begin() + static_cast<ptrdiff_t>(tokens * rows));
          EXPECT_LT(distance(fast_matmul(m.packed, x, tokens), first), 1e-5)
              << name(dtype) << " [" << rows << ", " << cols << "] x " << tokens;
        }
      }
    }
  }
}

TEST_P(MatmulKernels, PlainFormatsTakeAnyWidth) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const size_t cols : {1u, 7u, 33u}) {
      const Matrix m = make_matrix(random_, dtype, 19, cols);
      const auto x = random_floats(random_, 9 * cols);
      EXPECT_LT(distance(fast_matmul(m.packed, x, 9), reference::matmul(dtype, m.stored, 19, cols, x, 9)),
                2e-6);
    }
  }
}

TEST_P(MatmulKernels, AddToWhatIsThere) {
  for (const DType dtype : kAllDTypes) {
    const size_t cols = widths(dtype)[1];
    const Matrix m = make_matrix(random_, dtype, 24, cols);
    const auto x = random_floats(random_, 3 * cols);
    auto expected = fast_matmul(m.packed, x, 3);
    for (float& v : expected) v += 0.5f;
    EXPECT_EQ(fast_matmul(m.packed, x, 3, true, 0.5f), expected) << name(dtype);
  }
}

/// What makes chunked prefill, decode and a reused cache agree bit for bit.
TEST_P(MatmulKernels, ATokensResultDoesNotDependOnItsCompany) {
  for (const DType dtype : kAllDTypes) {
    const size_t cols = block_size(dtype) == kSuperBlock ? 768 : 288;
    const Matrix m = make_matrix(random_, dtype, 80, cols);
    const auto x = random_floats(random_, 37 * cols);
    const auto together = fast_matmul(m.packed, x, 37);
    for (size_t t = 0; t < 37; ++t) {
      const std::vector<float> expected(together.begin() + static_cast<ptrdiff_t>(t * 80),
                                        together.begin() + static_cast<ptrdiff_t>((t + 1) * 80));
      EXPECT_EQ(fast_matmul(m.packed, std::span(x).subspan(t * cols, cols), 1), expected)
          << name(dtype) << " token " << t;
    }
  }
}

/// Every bit of the weights alike and every activation at the end of its range, signs alike and opposed: the largest sums.
TEST_P(MatmulKernels, ExtremeIntegersDoNotOverflow) {
  constexpr size_t kRows = 16;
  for (const DType dtype : kAllDTypes) {
    if (block_size(dtype) == 1) continue;
    const BlockFormat format = block_format(dtype);
    const size_t cols = 2 * format.columns;
    for (const int fill : {0x00, 0xFF, 0x7F, 0x80, 0xF0, 0x88}) {
      std::vector<std::byte> stored(kRows * row_bytes(dtype, cols), static_cast<std::byte>(fill));
      for (size_t at = 0; at < stored.size(); at += format.bytes) {
        put_half(&stored[at + format.half_at[0]], 1.0f);
        if (format.halves == 2 && dtype != DType::kIQ4_XS) put_half(&stored[at + format.half_at[1]], -2.0f);
      }
      const Matrix m(dtype, kRows, cols, stored);
      for (const float a : {127.0f, -127.0f}) {
        const std::vector<float> x(cols, a);
        const auto expected = reference::matmul(dtype, stored, kRows, cols, x, 1);
        EXPECT_LT(distance(fast_matmul(m.packed, x, 1), expected), 2e-7) << name(dtype) << " " << fill;
      }
      // Signs that alternate: the activations of a block cannot all have the sign of their weights otherwise.
      std::vector<float> x(cols);
      for (size_t i = 0; i < cols; ++i) x[i] = i % 2 == 0 ? 127.0f : -127.0f;
      EXPECT_LT(distance(fast_matmul(m.packed, x, 1), reference::matmul(dtype, stored, kRows, cols, x, 1)),
                2e-7)
          << name(dtype) << " " << fill;
    }
  }
}

TEST_P(MatmulKernels, QuantisationInBlocks) {
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
    const size_t width = memory.rows.tile(tile).tokens;
    for (size_t b = 0; b < expected.size(); ++b) {
      const size_t at = tile * 16 * (cols / 32) + b * width + t % 16;
      EXPECT_EQ(memory.scale[at], expected[b].scale);
      EXPECT_EQ(memory.scaled_sum[at], expected[b].scaled_sum);
      EXPECT_EQ(memory.sum[at], expected[b].sum);
      EXPECT_TRUE(std::equal(expected[b].q, expected[b].q + 32, memory.q.data() + at * 32)) << t << " " << b;
    }
  }
}

/// Tokens whose super-blocks are all that needs care, then random ones.
std::vector<float> hard_super_blocks(Random& random, size_t tokens, size_t cols) {
  auto x = random_floats(random, tokens * cols, 3.0);
  std::fill(x.begin(), x.begin() + 256, 0.0f);
  for (size_t i = 0; i < 256; ++i) x[256 + i] = static_cast<float>(i % 128) - 63.5f;  // ties
  x[300] = -127.0f;
  x[256 + 512 + 9] = -50.0f;  // the same magnitude twice: the first one's sign counts
  x[256 + 512 + 200] = 50.0f;
  x[256 + 768 + 30] = 60.0f;
  x[256 + 768 + 31] = -60.0f;
  for (size_t i = 0; i < 256; ++i) x[512 + i] = static_cast<float>(random.normal() * 1e-38);  // vanish
  return x;
}

TEST_P(MatmulKernels, QuantisationInSuperBlocks) {
  constexpr size_t kOrder[4] = {0, 2, 1, 3};
  constexpr size_t kFarOrder[8] = {0, 4, 2, 6, 1, 5, 3, 7};
  const size_t cols = 512, tokens = 21;
  const auto x = hard_super_blocks(random_, tokens, cols);
  Q8KMemory memory(tokens, cols);
  for (size_t t = 0; t < tokens; ++t) quantise_row_q8k(x.data() + t * cols, memory.rows, t);
  for (size_t t = 0; t < tokens; ++t) {
    const auto expected = reference::quantise_q8k(std::span(x).subspan(t * cols, cols));
    const size_t tile = t / 16, width = memory.rows.tile(tile).tokens;
    for (size_t b = 0; b < expected.size(); ++b) {
      const size_t at = tile * 16 * (cols / 256) + b * width + t % 16;
      EXPECT_NEAR(memory.scale[at], expected[b].scale, 1e-36f) << t << " " << b;
      int sums[16] = {};
      for (size_t s = 0; s < 16; ++s) {
        const size_t block = tile * 16 * (cols / 32) + (b * 8 + s / 2) * width + t % 16;
        const int8_t* q = memory.q.data() + block * 32 + s % 2 * 16;
        EXPECT_TRUE(std::equal(q, q + 16, expected[b].q + s * 16)) << t << " " << b << " " << s;
        for (size_t i = 0; i < 16; ++i) sums[s] += q[i];
      }
      const int16_t* got = memory.sums.data() + at * Q8KRows::kSums;
      for (size_t s = 0; s < 8; ++s) {
        const size_t near = s / 4 * 4 + kOrder[s % 4], far = kFarOrder[s];
        EXPECT_EQ(got[s], sums[2 * near] + sums[2 * near + 1]);
        EXPECT_EQ(got[24 + s], sums[2 * far] + sums[2 * far + 1]);
      }
      for (size_t s = 0; s < 16; ++s) EXPECT_EQ(got[8 + s], sums[s / 4 * 4 + kOrder[s % 4]]);
    }
  }
}

/// A number that is not finite must not vanish in the quantisation into super-blocks.
TEST_P(MatmulKernels, AnInfiniteActivationShowsInTheResult) {
  for (const DType dtype : kAllDTypes) {
    if (activation_form(dtype) != ActivationForm::kQ8K) continue;
    const Matrix m = make_matrix(random_, dtype, 16, 256);
    for (const float bad : {INFINITY, -INFINITY}) {
      auto x = random_floats(random_, 256);
      x[77] = bad;
      bool finite = true;
      for (const float v : fast_matmul(m.packed, x, 1)) finite = finite && std::isfinite(v);
      EXPECT_FALSE(finite) << name(dtype);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatmulKernels, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

using PackingKernels = Kernels;

TEST_P(PackingKernels, UnpacksWhatWasPacked) {
  for (const DType dtype : kAllDTypes) {
    for (const size_t rows : {1u, 16u, 21u, 48u}) {
      const size_t cols = block_size(dtype) == 1 ? 109 : 3 * block_size(dtype);
      const Matrix m = make_matrix(random_, dtype, rows, cols);
      EXPECT_LE(m.packed.group_bytes, 16 * row_bytes(dtype, cols) + 2 * kPackedAlignment) << name(dtype);
      std::vector<float> got(cols), expected(cols);
      for (size_t r = 0; r < rows; ++r) {
        unpack_row(m.packed, r, got.data());
        dequantize_row(dtype, m.stored.data() + r * row_bytes(dtype, cols), expected.data(), cols);
        EXPECT_EQ(got, expected) << name(dtype) << " row " << r;
      }
    }
  }
}

TEST_P(PackingKernels, GroupsArePackedApart) {
  for (const DType dtype : kAllDTypes) {
    const size_t rows = 70, cols = 512;
    const Matrix m = make_matrix(random_, dtype, rows, cols);
    std::vector<std::byte> odd(m.stored.size() + 1);  // at an odd address
    std::copy(m.stored.begin(), m.stored.end(), odd.begin() + 1);
    Buffer memory(packed_bytes(dtype, rows, cols));
    for (const auto& [begin, end] : {std::pair<size_t, size_t>{3, 5}, {0, 1}, {1, 3}})
      pack_groups(dtype, odd.data() + 1, rows, cols, begin, end, memory.as<std::byte>());
    EXPECT_EQ(std::memcmp(memory.as<std::byte>(), m.memory.as<std::byte>(), memory.bytes()), 0)
        << name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PackingKernels, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

}  // namespace
}  // namespace fathom::tensor
