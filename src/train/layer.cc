#include "train/layer.h"

#include <fmt/format.h>

namespace fathom::train {
namespace {

std::string block_name(size_t layer, std::string_view stem) { return fmt::format("blk.{}.{}", layer, stem); }

/// The name of a parameter that is there under a condition, else nothing.
std::string name_if(bool there, size_t layer, const std::string& name) {
  return there ? block_name(layer, name) : "";
}

}  // namespace

Layer::Layer(const Binder& bind, const model::ModelConfig& c, const Shape& shape, Communicator& experts,
             size_t layer)
    : attention_norm_(bind, block_name(layer, "attn_norm.weight")),
      attention_(bind, c, layer),
      attention_end_(bind, name_if(c.attention_output_bias, layer, "attn_output.bias"),
                     name_if(c.post_norms, layer, c.layout.attention_post_norm + ".weight")),
      ffn_norm_(bind, block_name(layer, "ffn_norm.weight")),
      ffn_end_(bind, name_if(c.ffn_bias, layer, "ffn_down.bias"),
               name_if(c.post_norms, layer, c.layout.ffn_post_norm + ".weight")) {
  if (c.dense())
    dense_.emplace(bind, c, layer, "");
  else
    mixture_.emplace(bind, c, shape, experts, layer);
}

void Layer::norm(const Pass& pass, const Norm& weights, const float* x, float* h, float* inverse) const {
  pass.ops.rms_norm(x, weights.weight, pass.config.rms_eps, pass.rows.own(h), inverse, pass.shape.rows,
                    pass.shape.d_model);
}

void Layer::norm_backward(const Pass& pass, const Norm& weights, const float* d_h, const float* x,
                          const float* inverse, float* d_x) const {
  pass.ops.rms_norm_backward(d_h, x, weights.weight, inverse, d_x, true, weights.d_weight, pass.shape.rows,
                             pass.shape.d_model);
}

void Layer::attend(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m) {
  pass.rows.gather(m.h1);
  attention_.forward(pass, rotary, at, m, attention_end_.product(pass, m.y1, m.x_mid));
  attention_end_.finish(pass, m.y1, m.inverse_y1, m.x_mid);
  pass.ops.add_rms_norm(m.x_mid, m.x_in, ffn_norm_.weight, pass.config.rms_eps, pass.rows.own(m.h2),
                        m.inverse2, pass.shape.rows, pass.shape.d_model);
  pass.rows.gather(m.h2);
}

/// The feed-forward's branch of m.h2 into m.x_out; without `whole` no more than its own backward pass reads.
LossSums Layer::feed_forward(const Pass& pass, const LayerMemory& m, bool whole) {
  LossSums sums;
  float* product = ffn_end_.product(pass, m.y2, m.x_out);
  if (mixture_) {
    sums = mixture_->forward(pass, m, product);
  } else {
    dense_->expand(pass, m.h2, m);
    if (!whole) return sums;
    dense_->contract(pass, m, product);
  }
  ffn_end_.finish(pass, m.y2, m.inverse_y2, m.x_out);
  return sums;
}

LossSums Layer::forward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m) {
  attend(pass, rotary, at, m);
  return feed_forward(pass, m, true);
}

void Layer::make_again(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m) {
  if (pass.recompute == Recompute::kNone) return;
  norm(pass, attention_norm_, m.x_in, m.h1, m.inverse1);
  if (pass.recompute == Recompute::kFull) {
    attend(pass, rotary, at, m);
    feed_forward(pass, m, pass.shape.post_norms);  // a post norm's backward pass reads what it read
    return;
  }
  pass.rows.gather(m.h1);
  norm(pass, ffn_norm_, m.x_mid, m.h2, m.inverse2);
  pass.rows.gather(m.h2);
}

void Layer::feed_forward_backward(const Pass& pass, const LayerMemory& m, const LossScale& scale,
                                  float* d_x) {
  pass.scratch.workspace.reset();
  const float* d_product = ffn_end_.backward(pass, d_x, m.y2, m.inverse_y2);
  if (mixture_)
    mixture_->backward(pass, m, d_product, scale);
  else
    dense_->backward(pass, m.h2, m, d_product, pass.scratch.d_h, false);
  float* d_h = own_gradient(pass);
  if (mixture_) mixture_->router_backward(pass, m, d_h);
  norm_backward(pass, ffn_norm_, d_h, m.x_mid, m.inverse2, d_x);
}

void Layer::backward(const Pass& pass, const Rotary& rotary, const Positions& at, const LayerMemory& m,
                     const LossScale& scale, float* d_x) {
  make_again(pass, rotary, at, m);
  feed_forward_backward(pass, m, scale, d_x);
  const float* d_product = attention_end_.backward(pass, d_x, m.y1, m.inverse_y1);
  attention_.backward(pass, rotary, at, m, d_product, pass.scratch.d_h);
  norm_backward(pass, attention_norm_, own_gradient(pass), m.x_in, m.inverse1, d_x);
}

}  // namespace fathom::train
