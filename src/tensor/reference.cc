#include "tensor/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace fathom::tensor::reference {
namespace {

constexpr size_t kBlock = 32;

float via_f16(float x) { return f16_to_f32(f32_to_f16(x)); }

float rounded_for(DType dtype, float x) {
  if (dtype == DType::kF16) return via_f16(x);
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(x));
  return x;
}

/// What a stored block adds to each of its products with integers: value = d * q + m.
float offset_of(DType dtype, const std::byte* block) {
  if (dtype != DType::kQ4_1 && dtype != DType::kQ5_1) return 0;
  uint16_t m;
  static_assert(offsetof(BlockQ4_1, m) == 2 && offsetof(BlockQ5_1, m) == 2);
  std::memcpy(&m, block + 2, sizeof m);
  return f16_to_f32(m);
}

/// `row` as dequantised from `stored`. The offsets of Q4_1 and Q5_1 meet the rounded sum of the activations, all else the
/// activations themselves.
float dot_blocks(DType dtype, const std::byte* stored, std::span<const float> row,
                 std::span<const Q8Block> x) {
  double sum = 0;
  for (size_t b = 0; b < x.size(); ++b) {
    const auto m = static_cast<double>(offset_of(dtype, stored + b * block_bytes(dtype)));
    double dot = 0;
    for (size_t i = 0; i < kBlock; ++i) dot += (static_cast<double>(row[b * kBlock + i]) - m) * x[b].q[i];
    sum += dot * static_cast<double>(x[b].scale) + m * static_cast<double>(x[b].scaled_sum);
  }
  return static_cast<float>(sum);
}

float dot_super_blocks(std::span<const float> row, std::span<const Q8KBlock> x) {
  double sum = 0;
  for (size_t b = 0; b < x.size(); ++b) {
    double dot = 0;
    for (size_t i = 0; i < kSuperBlock; ++i) dot += static_cast<double>(row[b * kSuperBlock + i]) * x[b].q[i];
    sum += dot * static_cast<double>(x[b].scale);
  }
  return static_cast<float>(sum);
}

float dot_plain(DType dtype, std::span<const float> row, std::span<const float> x) {
  double sum = 0;
  for (size_t c = 0; c < x.size(); ++c)
    sum += static_cast<double>(row[c]) * static_cast<double>(rounded_for(dtype, x[c]));
  return static_cast<float>(sum);
}

}  // namespace

std::vector<Q8Block> quantise_q8(std::span<const float> x) {
  std::vector<Q8Block> out(x.size() / kBlock);
  for (size_t b = 0; b < out.size(); ++b) {
    const auto block = x.subspan(b * kBlock, kBlock);
    float max = 0;
    for (const float v : block) max = std::max(max, std::abs(v));
    const float d = max / 127.0f;
    const float inverse = max != 0.0f ? 127.0f / max : 0.0f;
    for (size_t i = 0; i < kBlock; ++i) {
      out[b].q[i] = static_cast<int8_t>(std::nearbyint(block[i] * inverse));
      out[b].sum += out[b].q[i];
    }
    out[b].scale = via_f16(d);
    out[b].scaled_sum = via_f16(d * static_cast<float>(out[b].sum));
  }
  return out;
}

std::vector<Q8KBlock> quantise_q8k(std::span<const float> x) {
  std::vector<Q8KBlock> out(x.size() / kSuperBlock);
  for (size_t b = 0; b < out.size(); ++b) {
    const auto block = x.subspan(b * kSuperBlock, kSuperBlock);
    float extreme = 0;
    for (const float v : block)
      if (std::abs(v) > std::abs(extreme)) extreme = v;
    if (std::abs(extreme) < 1e-36f) continue;
    const float inverse = -127.0f / extreme;
    for (size_t i = 0; i < kSuperBlock; ++i)
      out[b].q[i] = static_cast<int8_t>(std::min(127.0f, std::nearbyint(block[i] * inverse)));
    out[b].scale = 1.0f / inverse;
  }
  return out;
}

std::vector<float> matmul(DType dtype, std::span<const std::byte> weights, size_t rows, size_t cols,
                          std::span<const float> x, size_t tokens) {
  const size_t block = block_size(dtype);
  std::vector<std::vector<Q8Block>> blocks(tokens);
  std::vector<std::vector<Q8KBlock>> super_blocks(tokens);
  for (size_t t = 0; t < tokens; ++t) {
    if (block == kBlock) blocks[t] = quantise_q8(x.subspan(t * cols, cols));
    if (block == kSuperBlock) super_blocks[t] = quantise_q8k(x.subspan(t * cols, cols));
  }
  std::vector<float> y(tokens * rows);
  std::vector<float> row(cols);
  for (size_t r = 0; r < rows; ++r) {
    const std::byte* stored = weights.data() + r * row_bytes(dtype, cols);
    dequantize_row(dtype, stored, row.data(), cols);
    for (size_t t = 0; t < tokens; ++t) {
      float& out = y[t * rows + r];
      if (block == kSuperBlock)
        out = dot_super_blocks(row, super_blocks[t]);
      else if (block == kBlock)
        out = dot_blocks(dtype, stored, row, blocks[t]);
      else
        out = dot_plain(dtype, row, x.subspan(t * cols, cols));
    }
  }
  return y;
}

void rms_norm(const float* x, const float* weight, float eps, float* out, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
  for (size_t i = 0; i < n; ++i)
    out[i] = static_cast<float>(static_cast<double>(x[i]) * scale * static_cast<double>(weight[i]));
}

void rope(float* x, size_t heads, size_t head_dim, size_t dims, bool halves, size_t position, float base,
          float scale, std::span<const float> factors) {
  for (size_t h = 0; h < heads; ++h) {
    for (size_t i = 0; i < dims / 2; ++i) {
      const double frequency =
          std::pow(static_cast<double>(base), -2.0 * static_cast<double>(i) / static_cast<double>(dims));
      const double factor = factors.empty() ? 1.0 : static_cast<double>(factors[i]);
      const double angle = static_cast<double>(position) / static_cast<double>(scale) / factor * frequency;
      float& a = x[h * head_dim + (halves ? i : 2 * i)];
      float& b = x[h * head_dim + (halves ? i + dims / 2 : 2 * i + 1)];
      const double u = static_cast<double>(a);
      const double v = static_cast<double>(b);
      a = static_cast<float>(u * std::cos(angle) - v * std::sin(angle));
      b = static_cast<float>(u * std::sin(angle) + v * std::cos(angle));
    }
  }
}

void softmax(float* scores, size_t visible, size_t total, float scale, DType precision) {
  double max = -INFINITY;
  for (size_t i = 0; i < visible; ++i)
    max = std::max(max, static_cast<double>(scores[i]) * static_cast<double>(scale));
  double sum = 0;
  for (size_t i = 0; i < visible; ++i)
    sum += std::exp(static_cast<double>(scores[i]) * static_cast<double>(scale) - max);
  for (size_t i = 0; i < total; ++i) {
    const double e = std::exp(static_cast<double>(scores[i]) * static_cast<double>(scale) - max);
    scores[i] = i < visible ? rounded_for(precision, static_cast<float>(e / sum)) : 0.0f;
  }
}

void silu_mul(const float* gate, const float* up, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(gate[i]);
    out[i] = static_cast<float>(x / (1.0 + std::exp(-x)) * static_cast<double>(up[i]));
  }
}

void attend(std::span<const float> q, std::span<const float> k, std::span<const float> v, size_t positions,
            float scale, float cap, DType precision, float* out) {
  const size_t dim = q.size();
  std::vector<float> scores(positions);
  for (size_t p = 0; p < positions; ++p) {
    double sum = 0;
    for (size_t d = 0; d < dim; ++d)
      sum += static_cast<double>(rounded_for(precision, q[d])) *
             static_cast<double>(rounded_for(precision, k[p * dim + d]));
    sum *= static_cast<double>(scale);
    scores[p] = static_cast<float>(
        cap == 0.0f ? sum : static_cast<double>(cap) * std::tanh(sum / static_cast<double>(cap)));
  }
  softmax(scores.data(), positions, positions, 1.0f, precision);
  for (size_t d = 0; d < dim; ++d) {
    double sum = 0;
    for (size_t p = 0; p < positions; ++p)
      sum += static_cast<double>(scores[p]) * static_cast<double>(rounded_for(precision, v[p * dim + d]));
    out[d] = static_cast<float>(sum);
  }
}

}  // namespace fathom::tensor::reference
