#include "train/mixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fathom::train {

using model::BesideExperts;
using tensor::GemmArgs;

Mixture::Matrices::Matrices(const Binder& bind, const std::string& name)
    : w(bind.value(name)), dw(bind.gradient(name)) {
  const Box& box = bind.parameters.at(name).box;
  out = box.size[1];
  in = box.size[2];
}

Mixture::Mixture(const Binder& bind, const model::ModelConfig& config, const Shape& shape,
                 Communicator& experts, size_t layer)
    : kind_(config.experts.beside), group_(&experts), width_(config.d_model) {
  const std::string block = fmt::format("blk.{}.ffn_", layer);
  const auto scores = [&](const std::string& name, size_t width) {
    return Scores{bind.value(name), bind.gradient(name), width};
  };
  router_ = scores(block + "gate_inp.weight", shape.experts);
  gate_ = Matrices(bind, block + "gate_exps.weight");
  up_ = Matrices(bind, block + "up_exps.weight");
  down_ = Matrices(bind, block + "down_exps.weight");
  if (kind_ == BesideExperts::kGatedDense) beside_scores_ = scores(block + "gate_inp_shexp.weight", 1);
  if (kind_ != BesideExperts::kNothing)
    beside_ = FeedForward(bind, config, layer, kind_ == BesideExperts::kGatedDense ? "_shexp" : "");
  counts_.resize(shape.experts * (1 + group_->size()));
  send_.resize(group_->size());
  receive_.resize(group_->size());
  runs_.reserve(group_->size() * shape.own_experts);
}

/// out [tokens, width], of which this rank's rows are computed: in F32, since choices hang on small differences.
void Mixture::score(const Pass& pass, const Scores& w, const float* h, float* out) const {
  GemmArgs args;
  args.m = pass.shape.rows, args.n = w.width, args.k = width_;
  args.a = pass.rows.own(h), args.a_stride = width_;
  args.b = w.w, args.b_stride = width_, args.b_transposed = true;
  args.c = out + pass.rows.first() * w.width, args.c_stride = w.width;
  pass.ops.gemm(args);
  pass.rows.gather(out, w.width);
}

/// d_h [rows, d_model] += this rank's rows of d_out [tokens, width].
void Mixture::score_backward(const Pass& pass, const Scores& w, const float* h, const float* d_out,
                             float* d_h) const {
  GemmArgs args;
  args.n = width_, args.add = true;
  args.a = d_out + pass.rows.first() * w.width, args.a_stride = w.width;
  args.b_stride = args.c_stride = width_;
  args.m = pass.shape.rows, args.k = w.width, args.b = w.w, args.c = d_h;
  pass.ops.gemm(args);
  if (w.dw == nullptr) return;
  args.a_transposed = true;
  args.m = w.width, args.k = pass.shape.rows, args.b = pass.rows.own(h), args.c = w.dw;
  pass.ops.gemm(args);
}

LossSums Mixture::route(const Pass& pass, const LayerMemory& m) {
  Router& router = *pass.router;
  score(pass, router_, m.h2, m.router);
  pass.ops.to_host(m.router, router.logits());
  const LossSums sums = router.choose();
  pass.ops.to_device(router.logits(), m.router);
  pass.ops.to_device(router.choice_weight(), m.choice_weight);
  pass.ops.to_device(router.row_weight(), m.row_weight);
  to_device(pass.ops, router.choice_expert(), m.choice_expert);
  to_device(pass.ops, router.choice_row(), m.choice_row);
  to_device(pass.ops, router.row_token(), m.row_token);
  return sums;
}

/// Which rows go where, from the router's counts.
void Mixture::plan(const Pass& pass) {
  const Shape& s = pass.shape;
  const auto& counts = pass.router->counts();
  const size_t ranks = group_->size();
  const std::span own(counts_.data(), s.experts), all(counts_.data() + s.experts, ranks * s.experts);
  std::copy(counts.begin(), counts.end(), own.begin());  // far fewer than a float counts exactly
  group_->all_gather(own, all);
  runs_.clear();
  sent_ = std::accumulate(counts.begin(), counts.end(), size_t{0});
  received_ = 0;
  for (size_t r = 0; r < ranks; ++r) {
    const size_t before = received_;
    for (size_t e = 0; e < s.own_experts; ++e) {
      const auto rows = static_cast<size_t>(all[r * s.experts + group_->rank() * s.own_experts + e]);
      if (rows != 0) runs_.push_back({e, received_, rows});
      received_ += rows;
    }
    receive_[r] = received_ - before;
    send_[r] = std::accumulate(counts.begin() + static_cast<ptrdiff_t>(r * s.own_experts),
                               counts.begin() + static_cast<ptrdiff_t>((r + 1) * s.own_experts), size_t{0});
  }
  for (size_t r = 0; r < ranks; ++r) {
    send_[r] *= width_;
    receive_[r] *= width_;
  }
  FATHOM_CHECK(received_ <= s.expert_rows);
}

/// Rows to the ranks that hold their experts, or with `back` results to the ranks that hold their tokens.
void Mixture::exchange(const float* from, bool back, float* to) const {
  const size_t out = sent_ * width_, in = received_ * width_;
  if (back)
    group_->all_to_all({from, in}, receive_, {to, out}, send_);
  else
    group_->all_to_all({from, out}, send_, {to, in}, receive_);
}

/// m.expert_in: the rows of h2 that this rank's experts meet.
void Mixture::dispatch(const Pass& pass, const LayerMemory& m) {
  Workspace& memory = pass.scratch.workspace;
  const size_t mark = memory.mark();
  float* rows = alone() ? m.expert_in : memory.take(pass.shape.choices * width_);
  pass.ops.gather_rows(m.h2, as_ints(m.row_token), nullptr, sent_, width_, rows);
  if (!alone()) exchange(rows, false, m.expert_in);
  memory.reset(mark);
}

/// y = x W^T, run by run.
void Mixture::product(const Pass& pass, const Matrices& w, const float* x, float* y, size_t y_stride) const {
  GemmArgs args;
  args.n = w.out, args.k = w.in;
  args.a_stride = args.b_stride = w.in, args.b_transposed = true;
  args.c_stride = y_stride, args.precision = pass.precision;
  for (const Run& run : runs_) {
    args.m = run.rows, args.a = x + run.begin * w.in, args.b = w.w + run.expert * w.out * w.in;
    args.c = y + run.begin * y_stride;
    pass.ops.gemm(args);
  }
}

void Mixture::input_gradient(const Pass& pass, const Matrices& w, const float* dy, size_t dy_stride,
                             float* dx, bool add) const {
  GemmArgs args;
  args.n = w.in, args.k = w.out;
  args.a_stride = dy_stride, args.b_stride = args.c_stride = w.in;
  args.add = add, args.precision = pass.precision;
  for (const Run& run : runs_) {
    args.m = run.rows, args.a = dy + run.begin * dy_stride, args.b = w.w + run.expert * w.out * w.in;
    args.c = dx + run.begin * w.in;
    pass.ops.gemm(args);
  }
}

void Mixture::weight_gradient(const Pass& pass, const Matrices& w, const float* dy, size_t dy_stride,
                              const float* x) const {
  if (w.dw == nullptr) return;
  GemmArgs args;
  args.m = w.out, args.n = w.in;
  args.a_stride = dy_stride, args.a_transposed = true;
  args.b_stride = args.c_stride = w.in;
  args.add = true, args.precision = pass.precision;
  for (const Run& run : runs_) {
    args.k = run.rows, args.a = dy + run.begin * dy_stride, args.b = x + run.begin * w.in;
    args.c = w.dw + run.expert * w.out * w.in;
    pass.ops.gemm(args);
  }
}

/// out [received rows, d_model] of m.expert_in.
void Mixture::forward_experts(const Pass& pass, const LayerMemory& m, float* out) const {
  const size_t ffn = pass.shape.expert_ffn;
  product(pass, gate_, m.expert_in, m.expert_gate_up, 2 * ffn);
  product(pass, up_, m.expert_in, m.expert_gate_up + ffn, 2 * ffn);
  pass.ops.gate(gate_activation(pass.config), m.expert_gate_up, m.expert_gate_up + ffn, 2 * ffn, m.expert_act,
                received_, ffn);
  product(pass, down_, m.expert_act, out, width_);
}

/// d_in [received rows, d_model]; d_act is scratch. m.expert_gate_up becomes its own gradient.
void Mixture::backward_experts(const Pass& pass, const LayerMemory& m, const float* d_out, float* d_act,
                               float* d_in) const {
  const size_t ffn = pass.shape.expert_ffn;
  float *gate = m.expert_gate_up, *up = gate + ffn;
  input_gradient(pass, down_, d_out, width_, d_act, false);
  float* act_again = pass.recompute == Recompute::kSelective ? m.expert_act : nullptr;
  pass.ops.gate_backward(gate_activation(pass.config), gate, up, 2 * ffn, d_act, gate, up, act_again,
                         received_, ffn);
  weight_gradient(pass, down_, d_out, width_, m.expert_act);
  weight_gradient(pass, gate_, gate, 2 * ffn, m.expert_in);
  weight_gradient(pass, up_, up, 2 * ffn, m.expert_in);
  input_gradient(pass, gate_, gate, 2 * ffn, d_in, false);
  input_gradient(pass, up_, up, 2 * ffn, d_in, true);
}

/// The dense feed-forward beside the experts, into the product; or zeros.
void Mixture::forward_beside(const Pass& pass, const LayerMemory& m, float* product) const {
  const size_t tokens = pass.shape.tokens;
  if (beside_) beside_->expand(pass, m.h2, m);
  if (kind_ == BesideExperts::kDense) return beside_->contract(pass, m, product);
  pass.ops.fill(product, 0, tokens * width_);
  if (kind_ != BesideExperts::kGatedDense) return;
  beside_->contract(pass, m, m.beside);
  score(pass, beside_scores_, m.h2, m.beside_share);
  const std::span share = pass.router->token_scores();
  pass.ops.to_host(m.beside_share, share);
  for (float& x : share) x = 1.0f / (1.0f + std::exp(-x));
  pass.ops.to_device(share, m.beside_share);
  pass.ops.combine_rows(m.beside, as_ints(pass.scratch.every_token), m.beside_share, tokens, 1, width_,
                        product);
}

LossSums Mixture::forward(const Pass& pass, const LayerMemory& m, float* product) {
  const Shape& s = pass.shape;
  Workspace& memory = pass.scratch.workspace;
  memory.reset();
  const LossSums sums = route(pass, m);
  plan(pass);
  dispatch(pass, m);
  float* out = alone() ? m.expert_out : memory.take(s.expert_rows * width_);
  forward_experts(pass, m, out);
  if (!alone()) exchange(out, true, m.expert_out);
  forward_beside(pass, m, product);
  pass.ops.combine_rows(m.expert_out, as_ints(m.choice_row), m.choice_weight, s.tokens, s.used, width_,
                        product);
  if (kind_ == BesideExperts::kDense && pass.config.experts.beside_scale != 1.0f)
    pass.ops.scale(product, pass.config.experts.beside_scale, s.tokens * width_);
  return sums;
}

/// The gradient of what the experts and the feed-forward beside them give, before beside_scale.
const float* Mixture::unscaled(const Pass& pass, const float* d_product) const {
  const float scale = pass.config.experts.beside_scale;
  if (kind_ != BesideExperts::kDense || scale == 1.0f) return d_product;
  float* out = pass.scratch.workspace.take(pass.shape.tokens * width_);
  pass.ops.copy(d_product, out, pass.shape.tokens * width_);
  pass.ops.scale(out, scale, pass.shape.tokens * width_);
  return out;
}

/// scratch.d_h = what comes through the feed-forward beside the experts.
void Mixture::backward_beside(const Pass& pass, const LayerMemory& m, const float* d_product) {
  const Shape& s = pass.shape;
  Workspace& memory = pass.scratch.workspace;
  float* d_h = pass.scratch.d_h;
  if (!beside_) return pass.ops.fill(d_h, 0, s.tokens * width_);
  if (kind_ == BesideExperts::kDense) return beside_->backward(pass, m.h2, m, d_product, d_h, false);
  const int32_t* every = as_ints(pass.scratch.every_token);
  d_beside_scores_ = memory.take(s.tokens);
  pass.ops.combine_rows_weights(m.beside, every, d_product, s.tokens, 1, width_, d_beside_scores_);
  const std::span share = pass.router->token_scores(), d_share = pass.router->token_gradients();
  pass.ops.to_host(m.beside_share, share);
  pass.ops.to_host(d_beside_scores_, d_share);
  pass.rows.sum(d_share);  // each tensor rank has seen its part of the width
  for (size_t t = 0; t < s.tokens; ++t) d_share[t] *= share[t] * (1.0f - share[t]);
  pass.ops.to_device(d_share, d_beside_scores_);
  float* d_beside = memory.take(s.tokens * width_);
  pass.ops.gather_rows(d_product, every, m.beside_share, s.tokens, width_, d_beside);
  beside_->backward(pass, m.h2, m, d_beside, d_h, false);
}

/// The gradient of the router's products, on the device, from those of the choices' weights.
void Mixture::backward_route(const Pass& pass, const LayerMemory& m, const float* d_product,
                             const LossScale& scale) {
  const Shape& s = pass.shape;
  Router& router = *pass.router;
  Workspace& memory = pass.scratch.workspace;
  d_router_ = memory.take(s.tokens * s.experts);
  const size_t mark = memory.mark();
  float* d_weight = memory.take(s.choices);
  pass.ops.combine_rows_weights(m.expert_out, as_ints(m.choice_row), d_product, s.tokens, s.used, width_,
                                d_weight);
  const std::span host = router.weight_gradients();
  pass.ops.to_host(d_weight, host);
  pass.rows.sum(host);  // each tensor rank has seen its part of the experts' width
  pass.ops.to_device(router.gradient(scale.sequence), d_router_);
  memory.reset(mark);
}

void Mixture::backward(const Pass& pass, const LayerMemory& m, const float* d_product,
                       const LossScale& scale) {
  const Shape& s = pass.shape;
  Router& router = *pass.router;
  Workspace& memory = pass.scratch.workspace;
  pass.ops.to_host(m.router, router.logits());
  to_host(pass.ops, m.choice_expert, router.choice_expert());
  to_host(pass.ops, m.choice_row, router.choice_row());
  router.recount();
  plan(pass);
  if (pass.recompute == Recompute::kSelective) dispatch(pass, m);
  d_product = unscaled(pass, d_product);
  backward_beside(pass, m, d_product);
  backward_route(pass, m, d_product, scale);
  float* d_rows = memory.take(s.choices * width_);  // by row, at the tokens' rank
  float* d_in = memory.take(s.expert_rows * width_);
  float* d_act = memory.take(s.expert_rows * s.expert_ffn);
  pass.ops.gather_rows(d_product, as_ints(m.row_token), m.row_weight, sent_, width_, d_rows);
  if (alone()) {
    backward_experts(pass, m, d_rows, d_act, d_in);
    d_rows = d_in;
  } else {
    float* d_out = memory.take(s.expert_rows * width_);
    exchange(d_rows, false, d_out);
    backward_experts(pass, m, d_out, d_act, d_in);
    exchange(d_in, true, d_rows);
  }
  pass.ops.combine_rows(d_rows, as_ints(m.choice_row), nullptr, s.tokens, s.used, width_, pass.scratch.d_h);
}

void Mixture::router_backward(const Pass& pass, const LayerMemory& m, float* d_h) const {
  score_backward(pass, router_, m.h2, d_router_, d_h);
  if (kind_ == BesideExperts::kGatedDense) score_backward(pass, beside_scores_, m.h2, d_beside_scores_, d_h);
}

}  // namespace fathom::train
