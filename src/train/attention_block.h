// The attention of one layer: from the normed rows of a micro-batch to its branch, and back.
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include "train/linear.h"
#include "train/rotary.h"

namespace fathom::train {

/// Where the tokens of a micro-batch stand, on the device.
struct Positions {
  const int32_t* position = nullptr;  // [tokens]: within their documents
  const int32_t* starts = nullptr;    // [tokens]: where in its row a token's document begins
};

class AttentionBlock {
 public:
  AttentionBlock(const Binder& bind, const model::ModelConfig& config, size_t layer);

  /// product [tokens, d_model] = Wo attention(m.h1), this rank's heads' part of it. Fills what m has of attention.
  void forward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m,
               float* product) const;
  /// d_h [tokens, d_model] from d_product.
  void backward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m,
                const float* d_product, float* d_h) const;

 private:
  /// Queries, keys and values within one array: side by side in each row, or with norms of heads one after another.
  struct Heads {
    float *q, *k, *v;
    size_t q_stride, kv_stride;
  };
  Heads heads_of(const Pass& pass, float* qkv) const;
  tensor::AttentionShape shape_of(const Pass& pass, const Positions& at) const;
  void project(const Pass& pass, const LayerMemory& m, const Heads& x) const;
  void project_backward(const Pass& pass, const LayerMemory& m, const Heads& d, float* d_h) const;

  size_t layer_;
  Linear qkv_;  // all three, without norms of heads; else
  Linear q_, k_, v_;
  Norm q_norm_, k_norm_;
  Linear output_;
};

}  // namespace fathom::train
