// How a branch joins the residual stream: the sum over tensor ranks, its bias, its post norm.
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include <string>

#include "train/pass.h"

namespace fathom::train {

class BranchEnd {
 public:
  /// `bias` and `post_norm` are names of parameters; empty: there is none.
  BranchEnd(const Binder& bind, const std::string& bias, const std::string& post_norm);

  /// Where the branch's last product is to go ([tokens, d_model]), whose result is to be `branch` [rows, d_model]; `y`
  /// keeps what the post norm reads.
  float* product(const Pass& pass, float* y, float* branch) const;
  void finish(const Pass& pass, float* y, float* inverse, float* branch) const;
  /// The gradient [tokens, d_model] of the last product, from that of the branch [rows, d_model].
  const float* backward(const Pass& pass, const float* d_branch, const float* y, const float* inverse) const;

 private:
  const float* bias_ = nullptr;
  float* d_bias_ = nullptr;
  Norm post_norm_;
};

/// The gradient of this rank's rows from every rank's part of that of all rows, which is scratch.d_h.
float* own_gradient(const Pass& pass);

}  // namespace fathom::train
