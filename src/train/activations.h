// What a layer's forward pass leaves for its backward pass, and the scratch memory of both.
//
// Each array of a layer is either kept (memory of its own for each layer and slot) or made again in the backward pass, and
// then all layers share one: which, DecoderOptions::recompute says. [tokens, ...] arrays are whole micro-batches, [rows, ...]
// arrays this rank's part of the residual stream (all of it but under tensor parallelism).
//
// Views and sizes; the decoder owns the memory. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "train/decoder.h"
#include "train/shape.h"

namespace fathom::train {

struct LayerMemory {
  const float* x_in = nullptr;  // [rows, d_model]: the layer's input, which is the output of the one before

  float* h1 = nullptr;         // [tokens, d_model]: what attention reads
  float* inverse1 = nullptr;   // [rows]: of the norm that made it
  float* raw_q = nullptr;      // [tokens, q_dim] before the norms of heads, where there are such
  float* raw_k = nullptr;      // [tokens, kv_dim]
  float* inverse_q = nullptr;  // [tokens, heads]
  float* inverse_k = nullptr;  // [tokens, kv_heads]
  float* qkv =
      nullptr;  // [tokens, q_dim + 2 kv_dim], turned; with norms of heads q, k and v one after another
  float* attended = nullptr;      // [tokens, q_dim]
  float* log_sum = nullptr;       // [heads, tokens]
  float* y1 = nullptr;            // [rows, d_model]: attention's branch before its post norm
  float* inverse_y1 = nullptr;    // [rows]
  float* x_mid = nullptr;         // [rows, d_model]
  float* h2 = nullptr;            // [tokens, d_model]: what the feed-forward reads
  float* inverse2 = nullptr;      // [rows]
  float* gate_up = nullptr;       // [tokens, 2 ffn]
  float* act = nullptr;           // [tokens, ffn]
  float* beside = nullptr;        // [tokens, d_model]: the gated dense feed-forward beside experts
  float* beside_share = nullptr;  // [tokens]: its sigmoid
  float* y2 = nullptr;            // [rows, d_model]: the feed-forward's branch before its post norm
  float* inverse_y2 = nullptr;    // [rows]
  float* x_out = nullptr;         // [rows, d_model]

  // Of a mixture. A choice is a token's k-th expert; choices are sorted by expert into rows (train/mixture.h).
  float* router = nullptr;          // [tokens, experts]: logits, capped
  float* choice_expert = nullptr;   // [tokens, used] int32
  float* choice_weight = nullptr;   // [tokens, used]
  float* choice_row = nullptr;      // [tokens, used] int32: -1 where the expert had no place left
  float* row_token = nullptr;       // [choices] int32
  float* row_weight = nullptr;      // [choices]
  float* expert_in = nullptr;       // [expert_rows, d_model]
  float* expert_gate_up = nullptr;  // [expert_rows, 2 expert_ffn]
  float* expert_act = nullptr;      // [expert_rows, expert_ffn]
  float* expert_out = nullptr;      // [choices, d_model]

  /// visit(pointer, floats, the most that may be recomputed with the array still kept).
  template <class Visit>
  void each(const Shape& s, Visit visit) {
    constexpr Recompute kNone = Recompute::kNone, kSelective = Recompute::kSelective,
                        kFull = Recompute::kFull;
    const size_t stream = s.rows * s.d_model, wide = s.tokens * s.d_model;
    visit(h1, wide, kNone);
    visit(inverse1, s.rows, kNone);
    if (s.qk_norm) {
      visit(raw_q, s.tokens * s.q_dim, kSelective);
      visit(raw_k, s.tokens * s.kv_dim, kSelective);
      visit(inverse_q, s.tokens * s.heads, kSelective);
      visit(inverse_k, s.tokens * s.kv_heads, kSelective);
    }
    visit(qkv, s.tokens * s.qkv_dim(), kSelective);
    visit(attended, s.tokens * s.q_dim, kSelective);
    visit(log_sum, s.heads * s.tokens, kSelective);
    if (s.post_norms) {
      visit(y1, stream, kSelective);
      visit(inverse_y1, s.rows, kSelective);
      visit(y2, stream, kSelective);
      visit(inverse_y2, s.rows, kSelective);
    }
    visit(x_mid, stream, kSelective);
    visit(h2, wide, kNone);
    visit(inverse2, s.rows, kNone);
    if (s.ffn != 0) {
      visit(gate_up, s.tokens * 2 * s.ffn, kSelective);
      visit(act, s.tokens * s.ffn, kNone);
    }
    if (s.experts != 0) each_of_mixture(s, visit);
    visit(x_out, stream, kFull);
  }

 private:
  template <class Visit>
  void each_of_mixture(const Shape& s, Visit visit) {
    constexpr Recompute kNone = Recompute::kNone, kSelective = Recompute::kSelective;
    visit(router, s.tokens * s.experts, kSelective);
    for (float** part : {&choice_expert, &choice_weight, &choice_row, &row_token, &row_weight})
      visit(*part, s.choices, kSelective);
    visit(expert_in, s.expert_rows * s.d_model, kNone);
    visit(expert_gate_up, s.expert_rows * 2 * s.expert_ffn, kSelective);
    visit(expert_act, s.expert_rows * s.expert_ffn, kNone);
    visit(expert_out, s.choices * s.d_model, kSelective);
    if (s.gated_beside) {
      visit(beside, s.tokens * s.d_model, kSelective);
      visit(beside_share, s.tokens, kSelective);
    }
  }
};

/// Rounded up so that the next array begins at a cache line.
constexpr size_t aligned(size_t floats) { return (floats + 15) / 16 * 16; }

/// Memory that is handed out in order and given back all at once.
class Workspace {
 public:
  Workspace() = default;
  Workspace(float* memory, size_t floats) : memory_(memory), size_(floats) {}

  float* take(size_t floats) {
    FATHOM_CHECK(used_ + aligned(floats) <= size_);
    float* out = memory_ + used_;
    used_ += aligned(floats);
    return out;
  }
  /// Forgets all that was taken since `mark`.
  void reset(size_t mark = 0) { used_ = mark; }
  size_t mark() const { return used_; }

 private:
  float* memory_ = nullptr;
  size_t size_ = 0;
  size_t used_ = 0;
};

/// Floats that the decoder allocates.
struct ActivationSizes {
  size_t layer = 0;      // kept for each layer and slot
  size_t shared = 0;     // what is made again: once
  size_t slot = 0;       // kept for each chunk and slot beside its layers
  size_t workspace = 0;  // of the passes: the most that a part of a layer takes
  size_t fixed = 0;      // scratch that lasts over parts of a layer
  size_t total(size_t layers, size_t chunks, size_t slots) const {
    return shared + workspace + fixed + slots * (layers * layer + chunks * slot);
  }
};

ActivationSizes activation_sizes(const Shape& shape, Recompute recompute);

}  // namespace fathom::train
