#include "train/feed_forward.h"

#include <fmt/format.h>

namespace fathom::train {

tensor::GateActivation gate_activation(const model::ModelConfig& config) {
  return config.activation == model::Activation::kGelu ? tensor::GateActivation::kGelu
                                                       : tensor::GateActivation::kSilu;
}

FeedForward::FeedForward(const Binder& bind, const model::ModelConfig& config, size_t layer,
                         const std::string& suffix) {
  const std::string block = fmt::format("blk.{}.ffn_", layer);
  gate_up_ = Linear(bind, {block + "gate" + suffix, block + "up" + suffix}, config.ffn_bias);
  down_ = Linear(bind, {block + "down" + suffix}, false);
}

void FeedForward::expand(const Pass& pass, const float* h, const LayerMemory& m) const {
  const Shape& s = pass.shape;
  gate_up_.forward(pass, h, s.tokens, m.gate_up);
  pass.ops.gate(gate_activation(pass.config), m.gate_up, m.gate_up + s.ffn, 2 * s.ffn, m.act, s.tokens,
                s.ffn);
}

void FeedForward::contract(const Pass& pass, const LayerMemory& m, float* product) const {
  down_.forward(pass, m.act, pass.shape.tokens, product);
}

void FeedForward::backward(const Pass& pass, const float* h, const LayerMemory& m, const float* d_product,
                           float* d_h, bool add) const {
  const Shape& s = pass.shape;
  float* d_act = pass.scratch.workspace.take(s.tokens * s.ffn);
  float* act_again = pass.recompute == Recompute::kSelective ? m.act : nullptr;
  // The gradient with respect to act first: act itself may have to be made again from gate and up, which become gradients.
  down_.input_gradient(pass, d_product, s.tokens, d_act, false);
  pass.ops.gate_backward(gate_activation(pass.config), m.gate_up, m.gate_up + s.ffn, 2 * s.ffn, d_act,
                         m.gate_up, m.gate_up + s.ffn, act_again, s.tokens, s.ffn);
  down_.weight_gradient(pass, m.act, d_product, s.tokens);
  gate_up_.backward(pass, h, m.gate_up, s.tokens, d_h, add);
}

}  // namespace fathom::train
