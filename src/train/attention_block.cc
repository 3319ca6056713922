#include "train/attention_block.h"

#include <fmt/format.h>

namespace fathom::train {

AttentionBlock::AttentionBlock(const Binder& bind, const model::ModelConfig& config, size_t layer)
    : layer_(layer) {
  const std::string block = fmt::format("blk.{}.attn_", layer);
  const bool biased = config.attention_bias;
  if (config.qk_norm) {
    q_ = Linear(bind, {block + "q"}, biased);
    k_ = Linear(bind, {block + "k"}, biased);
    v_ = Linear(bind, {block + "v"}, biased);
    q_norm_ = Norm(bind, block + "q_norm.weight");
    k_norm_ = Norm(bind, block + "k_norm.weight");
  } else {
    qkv_ = Linear(bind, {block + "q", block + "k", block + "v"}, biased);
  }
  output_ = Linear(bind, {block + "output"}, false);
}

AttentionBlock::Heads AttentionBlock::heads_of(const Pass& pass, float* qkv) const {
  const Shape& s = pass.shape;
  if (!s.qk_norm) return {qkv, qkv + s.q_dim, qkv + s.q_dim + s.kv_dim, s.qkv_dim(), s.qkv_dim()};
  float* k = qkv + s.tokens * s.q_dim;
  return {qkv, k, k + s.tokens * s.kv_dim, s.q_dim, s.kv_dim};
}

tensor::AttentionShape AttentionBlock::shape_of(const Pass& pass, const Positions& at) const {
  tensor::AttentionShape shape;
  shape.sequences = pass.shape.sequences;
  shape.length = pass.shape.length;
  shape.heads = pass.shape.heads;
  shape.kv_heads = pass.shape.kv_heads;
  shape.head_dim = pass.shape.head_dim;
  shape.scale = pass.config.score_scale();
  shape.cap = pass.config.attention_softcap;
  shape.window = pass.config.window(layer_);
  shape.starts = at.starts;
  shape.precision = pass.precision;
  return shape;
}

void AttentionBlock::project(const Pass& pass, const LayerMemory& m, const Heads& x) const {
  const Shape& s = pass.shape;
  if (!s.qk_norm) return qkv_.forward(pass, m.h1, s.tokens, x.q);
  const float eps = pass.config.rms_eps;
  q_.forward(pass, m.h1, s.tokens, m.raw_q);
  k_.forward(pass, m.h1, s.tokens, m.raw_k);
  v_.forward(pass, m.h1, s.tokens, x.v);
  pass.ops.rms_norm(m.raw_q, q_norm_.weight, eps, x.q, m.inverse_q, s.tokens * s.heads, s.head_dim);
  pass.ops.rms_norm(m.raw_k, k_norm_.weight, eps, x.k, m.inverse_k, s.tokens * s.kv_heads, s.head_dim);
}

void AttentionBlock::project_backward(const Pass& pass, const LayerMemory& m, const Heads& d,
                                      float* d_h) const {
  const Shape& s = pass.shape;
  if (!s.qk_norm) return qkv_.backward(pass, m.h1, d.q, s.tokens, d_h, false);
  pass.ops.rms_norm_backward(d.q, m.raw_q, q_norm_.weight, m.inverse_q, d.q, false, q_norm_.d_weight,
                             s.tokens * s.heads, s.head_dim);
  pass.ops.rms_norm_backward(d.k, m.raw_k, k_norm_.weight, m.inverse_k, d.k, false, k_norm_.d_weight,
                             s.tokens * s.kv_heads, s.head_dim);
  q_.backward(pass, m.h1, d.q, s.tokens, d_h, false);
  k_.backward(pass, m.h1, d.k, s.tokens, d_h, true);
  v_.backward(pass, m.h1, d.v, s.tokens, d_h, true);
}

void AttentionBlock::forward(const Pass& pass, const Rotary& rotary, const Positions& at,
                             const LayerMemory& m, float* product) const {
  const Heads x = heads_of(pass, m.qkv);
  project(pass, m, x);
  rotary.turn(pass, layer_, x.q, x.q_stride, x.k, x.kv_stride, at.position, false);
  pass.ops.attention(shape_of(pass, at), x.q, x.q_stride, x.k, x.v, x.kv_stride, m.attended, pass.shape.q_dim,
                     m.log_sum);
  output_.forward(pass, m.attended, pass.shape.tokens, product);
}

void AttentionBlock::backward(const Pass& pass, const Rotary& rotary, const Positions& at,
                              const LayerMemory& m, const float* d_product, float* d_h) const {
  const Shape& s = pass.shape;
  Workspace& memory = pass.scratch.workspace;
  memory.reset();
  float* d_attended = memory.take(s.tokens * s.q_dim);
  const Heads x = heads_of(pass, m.qkv);
  const Heads d = heads_of(pass, memory.take(s.tokens * s.qkv_dim()));
  output_.backward(pass, m.attended, d_product, s.tokens, d_attended, false);
  pass.ops.attention_backward(shape_of(pass, at), x.q, x.q_stride, x.k, x.v, x.kv_stride, m.attended,
                              d_attended, s.q_dim, m.log_sum, d.q, d.k, d.v);
  rotary.turn(pass, layer_, d.q, d.q_stride, d.k, d.kv_stride, at.position, true);
  project_backward(pass, m, d, d_h);
}

}  // namespace fathom::train
