// The gated dense feed-forward of a layer, alone or beside experts.
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include "train/linear.h"

namespace fathom::train {

tensor::GateActivation gate_activation(const model::ModelConfig& config);

class FeedForward {
 public:
  /// `suffix` as in "ffn_up_shexp".
  FeedForward(const Binder& bind, const model::ModelConfig& config, size_t layer, const std::string& suffix);

  /// m.gate_up and m.act of rows h [tokens, d_model].
  void expand(const Pass& pass, const float* h, const LayerMemory& m) const;
  /// product [tokens, d_model] = Wd m.act, this rank's part of it.
  void contract(const Pass& pass, const LayerMemory& m, float* product) const;
  /// d_h [tokens, d_model] = (or with `add` +=) the gradient of h. m.gate_up becomes its own gradient.
  void backward(const Pass& pass, const float* h, const LayerMemory& m, const float* d_product, float* d_h,
                bool add) const;

 private:
  Linear gate_up_, down_;
};

}  // namespace fathom::train
