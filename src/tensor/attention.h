// Attention of a layer over keys and values that are kept in pages.
//
// A page holds kPagePositions consecutive positions of one sequence for every layer; position p of a sequence is at row
// p % kPagePositions of its page p / kPagePositions. Within a page, a layer's part is: the keys of each kv head as a matrix
// [positions, head_dim], packed in groups of 16 positions; then the values of each kv head as the transposed matrix
// [head_dim, positions], packed in groups of 16 dimensions, so that neither scores nor weighted sums add across a vector. In
// Q8_0 each position has a scale for 32 dimensions; a head's scales, F16 [blocks][positions], follow its elements.
//
// In F16 queries and probabilities are rounded to F16 too: these are ggml's numbers without flash attention. Products and
// sums are float.
//
// What a token sees depends on its position alone: pages are walked in the order of positions, so that its result is the
// same, bit for bit, however many tokens are computed together. Positions that were never stored are never used.
//
// PagedKv is a view; memory is the caller's. Nothing is allocated. Appending excludes reading.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/packed.h"

namespace fathom::tensor {

inline constexpr size_t kPagePositions = 32;

/// The form of one layer's part of a page.
struct KvShape {
  static constexpr size_t kBlock = 32;  // dimensions of a scale

  DType dtype = DType::kF16;  // or F32, Q8_0
  size_t kv_heads = 0;
  size_t head_dim = 0;

  size_t dim_groups() const { return (head_dim + kGroupRows - 1) / kGroupRows; }
  size_t element_bytes() const { return dtype == DType::kF32 ? 4 : dtype == DType::kF16 ? 2 : 1; }
  size_t scale_bytes() const {
    return dtype == DType::kQ8_0 ? (head_dim + kBlock - 1) / kBlock * kPagePositions * sizeof(uint16_t) : 0;
  }
  size_t key_head_bytes() const { return kPagePositions * head_dim * element_bytes() + scale_bytes(); }
  size_t value_head_bytes() const {
    return kPagePositions * dim_groups() * kGroupRows * element_bytes() + scale_bytes();
  }
  /// Of one layer in a page; a multiple of 64.
  size_t bytes() const { return (kv_heads * (key_head_bytes() + value_head_bytes()) + 63) / 64 * 64; }
};

/// One layer of one sequence.
struct PagedKv {
  KvShape shape;
  std::byte* const* pages = nullptr;  // 64-byte aligned
  size_t page_count = 0;
  size_t offset = 0;  // of this layer's part in each page; a multiple of 64

  size_t capacity() const { return page_count * kPagePositions; }
  std::byte* key_head(size_t page, size_t kv_head) const {
    return pages[page] + offset + kv_head * shape.key_head_bytes();
  }
  std::byte* value_head(size_t page, size_t kv_head) const {
    return pages[page] + offset + shape.kv_heads * shape.key_head_bytes() +
           kv_head * shape.value_head_bytes();
  }
};

/// Stores key and value rows [kv_heads, head_dim] of a position. REQUIRES: position < kv.capacity().
void append_kv(const PagedKv& kv, size_t position, const float* k, const float* v);

/// What a token sees and how much of it.
struct AttentionRule {
  float scale = 1.0f;  // of the products of queries and keys
  float cap = 0.0f;    // scaled scores become cap * tanh(score / cap); 0: as they are
  size_t window = 0;   // the last so many positions, its own included; 0: all
};

/// The first position that a token at `position` sees.
inline size_t first_visible(const AttentionRule& rule, size_t position) {
  return rule.window == 0 || position < rule.window ? 0 : position + 1 - rule.window;
}

/// Causal attention of `tokens` consecutive tokens, the first at position `first`, for the `group` query heads that share
/// a kv head.
struct AttendArgs {
  size_t kv_head = 0;
  size_t group = 0;          // query heads of a kv head
  const float* q = nullptr;  // the first of the group's heads of the first token
  size_t q_stride = 0;       // from token to token; heads follow each other by head_dim
  size_t tokens = 0;
  size_t first = 0;
  AttentionRule rule;
  float* out = nullptr;  // like q
  size_t out_stride = 0;
};

/// Floats of scratch that `attend` needs, for at most so many tokens in a context of `context` positions.
size_t attend_scratch(size_t tokens, size_t group, size_t head_dim, size_t context);
void attend(const PagedKv& kv, const AttendArgs& args, float* scratch);

/// The two halves of `attend` for a single token, for callers that share one token's work out among threads.
///
/// attend_scores fills scores[r * stride + p - base] for the pages [page_begin, page_end), base being the first position of
/// the first page that the token sees; `stride` is at least the positions of all pages that it sees. attend_values turns
/// those scores into probabilities, in place, and writes the dimensions of groups [group_begin, group_end), 16 each.
/// q: [group, head_dim], rounded with `round_queries`.
void round_queries(const KvShape& shape, const float* q, float* out, size_t n);
void attend_scores(const PagedKv& kv, const AttendArgs& args, size_t page_begin, size_t page_end,
                   float* scores, size_t stride);
void attend_values(const PagedKv& kv, const AttendArgs& args, size_t group_begin, size_t group_end,
                   float* scores, size_t stride);

}  // namespace fathom::tensor
