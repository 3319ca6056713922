// Attention of a layer over its keys and values in F16 or F32, which are kept as packed matrices so that scores and weighted
// sums are the same products as those of weights (tensor/matmul.h).
//
// Keys of a kv head are a matrix [positions, head_dim], packed in groups of 16 positions; values are its transposed matrix
// [head_dim, positions], packed in groups of 16 dimensions. Queries and probabilities are rounded to the
// format of keys and values; products and sums are float. In F16 these are ggml's numbers without flash attention.
//
// A KvLayer is a view; memory is the caller's and starts zeroed. Nothing is allocated. Appending excludes reading.
#pragma once

#include <cstddef>

#include "tensor/packed.h"

namespace fathom::tensor {

struct KvLayer {
  DType dtype = DType::kF16;  // or F32
  std::byte* k = nullptr;     // k_elements, aligned for packed matrices
  std::byte* v = nullptr;     // v_elements, likewise
  size_t capacity = 0;        // positions, a multiple of 16
  size_t kv_heads = 0;
  size_t head_dim = 0;

  static size_t k_elements(size_t capacity, size_t kv_heads, size_t head_dim) {
    return kv_heads * capacity * head_dim;
  }
  static size_t v_elements(size_t capacity, size_t kv_heads, size_t head_dim) {
    return kv_heads * ((head_dim + kGroupRows - 1) / kGroupRows) * kGroupRows * capacity;
  }
  size_t element_bytes() const { return block_bytes(dtype); }
  size_t dim_groups() const { return (head_dim + kGroupRows - 1) / kGroupRows; }
};

/// Stores key and value rows [kv_heads, head_dim] of a position. REQUIRES: position < capacity.
void append_kv(const KvLayer& layer, size_t position, const float* k, const float* v);

/// Copies positions [0, count) from a layer of the same shape.
void copy_kv(const KvLayer& from, const KvLayer& to, size_t count);

/// scores[r * stride + p] = q[r] . k[p] for positions of groups [group_begin, group_end) (16 positions each).
/// q: [rows, head_dim], rounded to the layer's format.
void attention_scores(const KvLayer& layer, size_t kv_head, const float* q, size_t rows, size_t group_begin,
                      size_t group_end, float* scores, size_t stride);

/// out[r * out_stride + d] = sum over p < positions of weights[r * stride + p] * v[p][d], for dimensions of groups
/// [group_begin, group_end) (16 each).
void attention_values(const KvLayer& layer, size_t kv_head, const float* weights, size_t stride, size_t rows,
                      size_t positions, size_t group_begin, size_t group_end, float* out, size_t out_stride);

/// Causal attention of `tokens` consecutive tokens, the first at position `first`, for the `group` query heads that share
/// a kv head.
struct AttendArgs {
  size_t kv_head = 0;
  size_t group = 0;          // query heads of a kv head
  const float* q = nullptr;  // the first of the group's heads of the first token
  size_t q_stride = 0;       // from token to token; heads follow each other by head_dim
  size_t tokens = 0;
  size_t first = 0;
  float scale = 1.0f;
  float* out = nullptr;  // like q
  size_t out_stride = 0;
};

/// Floats of scratch that `attend` needs.
size_t attend_scratch(size_t tokens, size_t group, size_t head_dim, size_t capacity);
void attend(const KvLayer& layer, const AttendArgs& args, float* scratch);

}  // namespace fathom::tensor
