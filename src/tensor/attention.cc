#include "tensor/attention.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/matmul.h"
#include "tensor/ops.h"

namespace fathom::tensor {
namespace {

size_t groups_of(size_t n) { return (n + kGroupRows - 1) / kGroupRows; }

std::byte* key_head(const KvLayer& l, size_t kv_head) {
  return l.k + kv_head * l.capacity * l.head_dim * l.element_bytes();
}
std::byte* value_head(const KvLayer& l, size_t kv_head) {
  return l.v + kv_head * l.dim_groups() * kGroupRows * l.capacity * l.element_bytes();
}

void convert(const float* x, uint16_t* out, size_t n) { to_f16(x, out, n); }
void convert(const float* x, float* out, size_t n) { std::copy_n(x, n, out); }

template <class Element>
void append_head(const KvLayer& l, size_t kv_head, size_t position, const float* k, const float* v) {
  constexpr size_t kPiece = 64;
  Element bits[kPiece];
  auto* key = reinterpret_cast<Element*>(key_head(l, kv_head)) +
              position / kGroupRows * kGroupRows * l.head_dim + position % kGroupRows;
  auto* value = reinterpret_cast<Element*>(value_head(l, kv_head)) + position * kGroupRows;
  for (size_t begin = 0; begin < l.head_dim; begin += kPiece) {
    const size_t n = std::min(kPiece, l.head_dim - begin);
    convert(k + begin, bits, n);
    for (size_t i = 0; i < n; ++i) key[(begin + i) * kGroupRows] = bits[i];
    convert(v + begin, bits, n);
    for (size_t i = 0; i < n; i += kGroupRows)
      std::memcpy(value + (begin + i) * l.capacity, bits + i, std::min(kGroupRows, n - i) * sizeof(Element));
  }
}

}  // namespace

void append_kv(const KvLayer& layer, size_t position, const float* k, const float* v) {
  FATHOM_CHECK(position < layer.capacity && (layer.dtype == DType::kF16 || layer.dtype == DType::kF32));
  const auto append = layer.dtype == DType::kF16 ? append_head<uint16_t> : append_head<float>;
  for (size_t h = 0; h < layer.kv_heads; ++h)
    append(layer, h, position, k + h * layer.head_dim, v + h * layer.head_dim);
}

void copy_kv(const KvLayer& from, const KvLayer& to, size_t count) {
  FATHOM_CHECK(from.dtype == to.dtype && from.capacity == to.capacity && from.head_dim == to.head_dim &&
               count <= from.capacity);
  const size_t group_bytes = kGroupRows * from.element_bytes();
  const size_t k_bytes = groups_of(count) * group_bytes * from.head_dim;
  for (size_t h = 0; h < from.kv_heads; ++h) {
    std::memcpy(key_head(to, h), key_head(from, h), k_bytes);
    for (size_t g = 0; g < from.dim_groups(); ++g) {
      const size_t at = g * group_bytes * from.capacity;
      std::memcpy(value_head(to, h) + at, value_head(from, h) + at, count * group_bytes);
    }
  }
}

void attention_scores(const KvLayer& layer, size_t kv_head, const float* q, size_t rows, size_t group_begin,
                      size_t group_end, float* scores, size_t stride) {
  FATHOM_CHECK(group_end * kGroupRows <= layer.capacity && group_end * kGroupRows <= stride);
  const PackedMatrix keys{layer.dtype, group_end * kGroupRows, layer.head_dim,
                          kGroupRows * layer.head_dim * layer.element_bytes(), key_head(layer, kv_head)};
  matmul_float(keys, q, layer.head_dim, rows, group_begin, group_end, {scores, stride, false});
}

void attention_values(const KvLayer& layer, size_t kv_head, const float* weights, size_t stride, size_t rows,
                      size_t positions, size_t group_begin, size_t group_end, float* out, size_t out_stride) {
  FATHOM_CHECK(positions <= layer.capacity && positions <= stride);
  const PackedMatrix values{layer.dtype, layer.head_dim, positions,
                            kGroupRows * layer.capacity * layer.element_bytes(), value_head(layer, kv_head)};
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
    round_row(activation_form(layer.dtype), a.q + t * a.q_stride, q + t * a.group * dim, a.group * dim);
  attention_scores(layer, a.kv_head, q, rows, 0, groups_of(positions), scores, stride);
  for (size_t r = 0; r < rows; ++r)
    softmax(scores + r * stride, a.first + r / a.group + 1, stride, a.scale, layer.dtype);
  attention_values(layer, a.kv_head, scores, stride, rows, positions, 0, layer.dim_groups(), out, dim);
  for (size_t t = 0; t < a.tokens; ++t)
    std::copy_n(out + t * a.group * dim, a.group * dim, a.out + t * a.out_stride);
}

}  // namespace fathom::tensor
