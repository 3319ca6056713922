// The sizes of one rank's part of a model and of a micro-batch: what the decoder's layers work by and what the prediction
// of memory counts (train/memory.h). A plain value; thread-safe as such.
#pragma once

#include <cstddef>

#include "model/config.h"
#include "train/decoder.h"
#include "train/layout.h"

namespace fathom::train {

struct Shape {
  size_t sequences = 0, length = 0;
  size_t tokens = 0;  // of a micro-batch
  size_t rows = 0;    // of them, those of this rank's residual stream
  size_t d_model = 0;
  size_t heads = 0, kv_heads = 0, head_dim = 0;  // this rank's
  size_t q_dim = 0, kv_dim = 0;
  size_t ffn = 0;           // this rank's part of the dense feed-forward; 0: there is none
  size_t vocab = 0;         // this rank's part of the rows of embedding and output
  size_t vocab_begin = 0;   // and where it begins
  size_t experts = 0;       // of the whole model; 0: dense
  size_t own_experts = 0;   // this rank's
  size_t used = 0;          // of each token
  size_t expert_ffn = 0;    // this rank's part of an expert's width
  size_t expert_ranks = 1;  // that hold the experts together
  size_t capacity = 0;      // tokens of a sequence that an expert takes; 0: all
  size_t choices = 0;       // of experts, by the tokens of a micro-batch
  size_t expert_rows = 0;   // rows that this rank's experts may meet at most
  size_t low_rank = 0;      // of adapters; 0: none
  size_t widest = 0;        // of the products with a bias: columns
  size_t loss_rows = 0;
  bool split = false;  // among tensor ranks
  bool qk_norm = false;
  bool post_norms = false;
  bool beside = false;        // a dense feed-forward beside experts
  bool gated_beside = false;  // BesideExperts::kGatedDense
  bool sharpened = false;     // attention temperature
  size_t rope_dims = 0, window_rope_dims = 0;

  size_t qkv_dim() const { return q_dim + 2 * kv_dim; }

  static Shape of(const model::ModelConfig& config, const Layout& layout, const Place& place,
                  const DecoderOptions& options);
};

}  // namespace fathom::train
