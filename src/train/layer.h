// One layer of a decoder: attention and feed-forward with their norms, joined to the residual stream.
//
// The norm of what a layer reads is made in one pass with the sum before it, so it is the caller's: m.h1 (this rank's rows)
// and m.inverse1 are there when `forward` begins, and `forward` leaves its last branch in m.x_out for the caller to add
// m.x_mid to, with the next norm.
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include <optional>

#include "train/attention_block.h"
#include "train/batch.h"
#include "train/mixture.h"
#include "train/residual.h"

namespace fathom::train {

class Layer {
 public:
  Layer(const Binder& bind, const model::ModelConfig& config, const Shape& shape, Communicator& experts,
        size_t layer);

  const Norm& input_norm() const { return attention_norm_; }
  /// See above. Returns what the layer's experts add to the sums.
  LossSums forward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m);
  /// d_x [rows, d_model]: the gradient of the layer's output, which becomes that of its input.
  void backward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m,
                const LossScale& scale, float* d_x);

 private:
  void attend(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m);
  LossSums feed_forward(const Pass& pass, const LayerMemory& m, bool whole);
  void feed_forward_backward(const Pass& pass, const LayerMemory& m, const LossScale& scale, float* d_x);
  void make_again(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m);
  void norm(const Pass& pass, const Norm& weights, const float* x, float* h, float* inverse) const;
  void norm_backward(const Pass& pass, const Norm& weights, const float* d_h, const float* x,
                     const float* inverse, float* d_x) const;

  Norm attention_norm_;
  AttentionBlock attention_;
  BranchEnd attention_end_;
  Norm ffn_norm_;
  std::optional<FeedForward> dense_;  // or
  std::optional<Mixture> mixture_;
  BranchEnd ffn_end_;
};

}  // namespace fathom::train
