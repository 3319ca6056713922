#include "train/activations.h"

#include <algorithm>

namespace fathom::train {
namespace {

size_t attention_workspace(const Shape& s) {
  return aligned(s.tokens * s.q_dim) + aligned(s.tokens * s.qkv_dim());
}

size_t feed_forward_workspace(const Shape& s) { return aligned(s.tokens * s.ffn); }

/// What a mixture takes beside the feed-forward that stands beside its experts.
size_t mixture_workspace(const Shape& s) {
  if (s.experts == 0) return 0;
  const size_t rows = aligned(s.expert_rows * s.d_model);
  const size_t exchanged = s.expert_ranks > 1 ? rows : 0;
  const size_t beside = s.beside ? aligned(s.tokens * s.d_model) + aligned(s.tokens) : 0;
  return aligned(s.choices * s.d_model) + rows + exchanged + beside + aligned(s.expert_rows * s.expert_ffn) +
         aligned(s.choices) + aligned(s.tokens * s.experts);
}

size_t head_workspace(const Shape& s) { return aligned(s.loss_rows * s.vocab) + aligned(s.loss_rows * 3); }

}  // namespace

ActivationSizes activation_sizes(const Shape& s, Recompute recompute) {
  ActivationSizes sizes;
  LayerMemory layer;
  layer.each(s, [&](float*&, size_t floats, Recompute most) {
    (recompute <= most ? sizes.layer : sizes.shared) += aligned(floats);
  });
  const size_t stream = aligned(s.rows * s.d_model), wide = aligned(s.tokens * s.d_model);
  sizes.slot = 2 * stream;  // the input, and the gradient of the output
  sizes.workspace =
      std::max({attention_workspace(s), feed_forward_workspace(s) + mixture_workspace(s), head_workspace(s)});
  const size_t tables = aligned(s.length * s.rope_dims) + aligned(s.length * s.window_rope_dims);
  // Scratch, the output norm's sums, positions, beginnings of documents and targets, tables of angles.
  sizes.fixed = 2 * wide + aligned(2 * aligned(s.tokens * s.low_rank)) + aligned(s.widest) + aligned(s.rows) +
                (s.gated_beside ? 4 : 3) * aligned(s.tokens) + (s.sharpened ? 2 : 1) * tables;
  return sizes;
}

}  // namespace fathom::train
