#include "train/residual.h"

namespace fathom::train {

BranchEnd::BranchEnd(const Binder& bind, const std::string& bias, const std::string& post_norm) {
  if (!bias.empty()) {
    bias_ = bind.value(bias);
    d_bias_ = bind.gradient(bias);
  }
  if (!post_norm.empty()) post_norm_ = Norm(bind, post_norm);
}

float* BranchEnd::product(const Pass& pass, float* y, float* branch) const {
  if (pass.shape.split) return pass.scratch.full;
  return post_norm_ ? y : branch;
}

void BranchEnd::finish(const Pass& pass, float* y, float* inverse, float* branch) const {
  const Shape& s = pass.shape;
  float* sum = post_norm_ ? y : branch;
  if (s.split) pass.rows.scatter_sum(pass.scratch.full, sum);
  if (bias_ != nullptr) pass.ops.add_bias(sum, bias_, s.rows, s.d_model);
  if (post_norm_)
    pass.ops.rms_norm(y, post_norm_.weight, pass.config.rms_eps, branch, inverse, s.rows, s.d_model);
}

const float* BranchEnd::backward(const Pass& pass, const float* d_branch, const float* y,
                                 const float* inverse) const {
  const Shape& s = pass.shape;
  float* own = pass.rows.own(pass.scratch.full);
  const float* d_sum = d_branch;
  if (post_norm_) {
    pass.ops.rms_norm_backward(d_branch, y, post_norm_.weight, inverse, own, false, post_norm_.d_weight,
                               s.rows, s.d_model);
    d_sum = own;
  } else if (s.split) {
    pass.ops.copy(d_branch, own, s.rows * s.d_model);
    d_sum = own;
  }
  if (d_bias_ != nullptr) pass.ops.bias_backward(d_sum, d_bias_, s.rows, s.d_model);
  if (!s.split) return d_sum;
  pass.rows.gather(pass.scratch.full);
  return pass.scratch.full;
}

float* own_gradient(const Pass& pass) {
  if (!pass.shape.split) return pass.scratch.d_h;
  pass.rows.scatter_sum(pass.scratch.d_h, pass.scratch.full);
  return pass.scratch.full;
}

}  // namespace fathom::train
