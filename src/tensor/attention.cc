#include "tensor/attention.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"

namespace fathom::tensor {
namespace {

size_t groups_of(size_t n) { return (n + kGroupRows - 1) / kGroupRows; }

uint16_t* key_head(const KvLayer& l, size_t kv_head) { return l.k + kv_head * l.capacity * l.head_dim; }
uint16_t* value_head(const KvLayer& l, size_t kv_head) {
  return l.v + kv_head * l.dim_groups() * kGroupRows * l.capacity;
}

void append_head(const KvLayer& l, size_t kv_head, size_t position, const float* k, const float* v) {
  constexpr size_t kPiece = 64;
  uint16_t bits[kPiece];
  uint16_t* key =
      key_head(l, kv_head) + position / kGroupRows * kGroupRows * l.head_dim + position % kGroupRows;
  uint16_t* value = value_head(l, kv_head) + position * kGroupRows;
  for (size_t begin = 0; begin < l.head_dim; begin += kPiece) {
    const size_t n = std::min(kPiece, l.head_dim - begin);
    to_f16(k + begin, bits, n);
    for (size_t i = 0; i < n; ++i) key[(begin + i) * kGroupRows] = bits[i];
    to_f16(v + begin, bits, n);
    for (size_t i = 0; i < n; i += kGroupRows)
      std::memcpy(value + (begin + i) * l.capacity, bits + i, std::min(kGroupRows, n - i) * sizeof(uint16_t));
  }
}

}  // namespace

void append_kv(const KvLayer& layer, size_t position, const float* k, const float* v) {
  FATHOM_CHECK(position < layer.capacity);
  for (size_t h = 0; h < layer.kv_heads; ++h)
    append_head(layer, h, position, k + h * layer.head_dim, v + h * layer.head_dim);
}

void copy_kv(const KvLayer& from, const KvLayer& to, size_t count) {
  FATHOM_CHECK(from.capacity == to.capacity && from.head_dim == to.head_dim && count <= from.capacity);
  const size_t k_count = groups_of(count) * kGroupRows * from.head_dim;
  for (size_t h = 0; h < from.kv_heads; ++h) {
    std::memcpy(key_head(to, h), key_head(from, h), k_count * sizeof(uint16_t));
    for (size_t g = 0; g < from.dim_groups(); ++g) {
      const size_t at = g * kGroupRows * from.capacity;
      std::memcpy(value_head(to, h) + at, value_head(from, h) + at, count * kGroupRows * sizeof(uint16_t));
    }
  }
}

void attention_scores(const KvLayer& layer, size_t kv_head, const float* q, size_t rows, size_t group_begin,
                      size_t group_end, float* scores, size_t stride) {
  FATHOM_CHECK(group_end * kGroupRows <= layer.capacity && group_end * kGroupRows <= stride);
  const PackedMatrix keys{DType::kF16, group_end * kGroupRows, layer.head_dim,
                          kGroupRows * layer.head_dim * sizeof(uint16_t),
                          reinterpret_cast<const std::byte*>(key_head(layer, kv_head))};
  matmul_float(keys, q, layer.head_dim, rows, group_begin, group_end, {scores, stride, false});
}

void attention_values(const KvLayer& layer, size_t kv_head, const float* weights, size_t stride, size_t rows,
                      size_t positions, size_t group_begin, size_t group_end, float* out, size_t out_stride) {
  FATHOM_CHECK(positions <= layer.capacity && positions <= stride);
  const PackedMatrix values{DType::kF16, layer.head_dim, positions,
                            kGroupRows * layer.capacity * sizeof(uint16_t),
                            reinterpret_cast<const std::byte*>(value_head(layer, kv_head))};
  matmul_float(values, weights, stride, rows, group_begin, group_end, {out, out_stride, false});
}

size_t attend_scratch(size_t tokens, size_t group, size_t head_dim, size_t capacity) {
  return tokens * group * (capacity + 2 * head_dim);
}

void attend(const KvLayer& layer, const AttendArgs& a, float* scratch) {
  const size_t dim = layer.head_dim;
  const size_t rows = a.tokens * a.group;
  const size_t positions = a.first + a.tokens;
  const size_t stride = groups_of(positions) * kGroupRows;
  float* q = scratch;
  float* out = q + rows * dim;
  float* scores = out + rows * dim;
  for (size_t t = 0; t < a.tokens; ++t)
    round_row(ActivationForm::kF16, a.q + t * a.q_stride, q + t * a.group * dim, a.group * dim);
  attention_scores(layer, a.kv_head, q, rows, 0, groups_of(positions), scores, stride);
  for (size_t r = 0; r < rows; ++r)
    softmax_f16(scores + r * stride, a.first + r / a.group + 1, stride, a.scale);
  attention_values(layer, a.kv_head, scores, stride, rows, positions, 0, layer.dim_groups(), out, dim);
  for (size_t t = 0; t < a.tokens; ++t)
    std::copy_n(out + t * a.group * dim, a.group * dim, a.out + t * a.out_stride);
}

}  // namespace fathom::tensor
