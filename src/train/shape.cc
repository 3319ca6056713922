#include "train/shape.h"

#include <algorithm>
#include <cmath>

#include "train/parameter_layout.h"

namespace fathom::train {
namespace {

/// Tokens of a sequence that one expert takes.
size_t capacity_of(const model::ExpertsConfig& e, const DecoderOptions& options) {
  if (options.capacity_factor == 0) return 0;
  const double fair = static_cast<double>(e.used * options.length) / static_cast<double>(e.count);
  const double places = static_cast<double>(options.capacity_factor) * fair;
  return static_cast<size_t>(std::ceil(places - 1e-6 * places));  // 0.8f is a little more than 0.8
}

void set_experts(Shape& s, const model::ExpertsConfig& e, const Layout& layout,
                 const DecoderOptions& options) {
  s.experts = e.count;
  s.own_experts = e.count / layout.expert;
  s.used = e.used;
  s.expert_ffn = e.ffn / layout.tensor;
  s.expert_ranks = layout.expert;
  s.capacity = capacity_of(e, options);
  s.choices = s.tokens * e.used;
  // Of every rank's tokens all choices, where each is of an expert here; with a capacity no more than that.
  const size_t most = s.tokens * std::min(e.used, s.own_experts);
  const size_t taken = s.capacity == 0 ? most : s.sequences * s.own_experts * s.capacity;
  s.expert_rows = layout.expert * std::min(most, taken);
  s.beside = e.beside != model::BesideExperts::kNothing;
  s.gated_beside = e.beside == model::BesideExperts::kGatedDense;
}

}  // namespace

Shape Shape::of(const model::ModelConfig& c, const Layout& layout, const Place& place,
                const DecoderOptions& options) {
  Shape s;
  s.sequences = options.sequences;
  s.length = options.length;
  s.tokens = s.sequences * s.length;
  s.rows = s.tokens / layout.tensor;
  s.d_model = c.d_model;
  s.heads = c.heads / layout.tensor;
  s.kv_heads = c.kv_heads / layout.tensor;
  s.head_dim = c.head_dim;
  s.q_dim = s.heads * c.head_dim;
  s.kv_dim = s.kv_heads * c.head_dim;
  if (c.has_dense_ffn()) s.ffn = c.ffn / layout.tensor;
  const Part vocab = part_of(c.vocab, layout.tensor, place.tensor);
  s.vocab = vocab.size;
  s.vocab_begin = vocab.begin;
  if (!c.dense()) set_experts(s, c.experts, layout, options);
  s.low_rank = options.lora.rank;
  s.widest = c.attention_bias || c.ffn_bias ? std::max(s.qkv_dim(), 2 * s.ffn) : 0;
  s.loss_rows = std::min(options.loss_rows, s.tokens);
  s.split = layout.tensor > 1;
  s.qk_norm = c.qk_norm;
  s.post_norms = c.post_norms;
  s.sharpened = c.attention_temperature_length != 0;
  s.rope_dims = c.rope.dims;
  s.window_rope_dims = c.window_rope.dims;
  return s;
}

}  // namespace fathom::train
