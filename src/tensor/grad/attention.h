// Attention of training, forward and backward, without ever storing the scores (FlashAttention: Dao, 2023): blocks of
// queries meet blocks of keys in a cache, and the backward pass computes their probabilities again from the kept log_sum.
//
// Shapes, masks and what is written are those of tensor/device_ops.h; blocks that no query of theirs sees are passed over.
// Sums are F32 in blocks of a fixed size: results depend on the inputs and on the number of threads alone. With
// Precision::kBF16 the products are F32 all the same, which is the more exact of the two.
//
// Thread safety: reentrant; pool, scratch and tensors are the caller's. Nothing is allocated.
#pragma once

#include <cstddef>
#include <span>

#include "base/thread_pool.h"
#include "tensor/device_ops.h"

namespace fathom::tensor {

/// Queries, and what attention makes of them. Strides are in floats, from token to token.
struct AttentionForward {
  const float* q = nullptr;  // [tokens, heads, head_dim]
  size_t q_stride = 0;
  const float* k = nullptr;  // [tokens, kv_heads, head_dim]
  const float* v = nullptr;
  size_t kv_stride = 0;
  float* out = nullptr;  // [tokens, heads, head_dim]
  size_t out_stride = 0;
  float* log_sum = nullptr;  // [heads, tokens]: log of the sum of exp(score), kept for the backward pass
};

struct AttentionBackward {
  const float* q = nullptr;  // as in the forward pass
  size_t q_stride = 0;
  const float* k = nullptr;
  const float* v = nullptr;
  size_t kv_stride = 0;
  const float* out = nullptr;    // of the forward pass
  const float* d_out = nullptr;  // [tokens, heads, head_dim]
  size_t out_stride = 0;
  const float* log_sum = nullptr;
  float* dq = nullptr;  // overwritten, with the strides of q, k and v
  float* dk = nullptr;
  float* dv = nullptr;
};

/// Bytes of scratch, enough for either pass.
size_t attention_scratch_bytes(const AttentionShape& shape, size_t threads);

/// REQUIRES: kv_heads divides heads; starts[t] <= t's place in its sequence; `scratch` is 64-byte aligned and has
/// attention_scratch_bytes(shape, pool.size()); outputs overlap no inputs.
void attention_forward(const AttentionShape& shape, const AttentionForward& args, ThreadPool& pool,
                       std::span<std::byte> scratch);
void attention_backward(const AttentionShape& shape, const AttentionBackward& args, ThreadPool& pool,
                        std::span<std::byte> scratch);

/// The same with the scores stored and sums in double, one after another: what the kernels are tested against.
void attention_forward_reference(const AttentionShape& shape, const AttentionForward& args);
void attention_backward_reference(const AttentionShape& shape, const AttentionBackward& args);

}  // namespace fathom::tensor
