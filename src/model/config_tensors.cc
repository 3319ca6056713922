// The tensors that a ModelConfig calls for, and what can be counted from them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <unordered_set>

#include "base/error.h"
#include "model/config.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

using Visit = std::function<void(TensorSpec)>;

/// A matrix or vector by its name, with its bias where there is one.
void add(const Visit& visit, const std::string& stem, std::vector<uint64_t> shape, bool bias) {
  const uint64_t out = shape.back();
  visit({stem + ".weight", std::move(shape)});
  if (bias) visit({stem + ".bias", {out}});
}

void norm(const ModelConfig& c, const std::string& stem, const Visit& visit) {
  add(visit, stem, {c.d_model}, c.layer_norm);
}

void visit_latent_attention(const ModelConfig& c, const std::string& block, const Visit& visit) {
  const LatentAttention& a = c.latent;
  if (a.q_rank != 0) {
    add(visit, block + "attn_q_a", {c.d_model, a.q_rank}, c.attention_bias);
    add(visit, block + "attn_q_a_norm", {a.q_rank}, false);
    add(visit, block + "attn_q_b", {a.q_rank, c.q_dim()}, false);
  } else {
    add(visit, block + "attn_q", {c.d_model, c.q_dim()}, c.attention_bias);
  }
  add(visit, block + "attn_kv_a_mqa", {c.d_model, a.kv_rank + a.rope_dim}, c.attention_bias);
  add(visit, block + "attn_kv_a_norm", {a.kv_rank}, false);
  add(visit, block + "attn_kv_b", {a.kv_rank, c.heads * (a.nope_dim + a.value_dim)}, false);
}

void visit_projections(const ModelConfig& c, const std::string& block, const Visit& visit) {
  if (c.latent.kv_rank != 0) return visit_latent_attention(c, block, visit);
  if (c.layout.fused_qkv) {
    add(visit, block + "attn_qkv", {c.d_model, c.q_dim() + 2 * c.kv_dim()}, c.attention_bias);
  } else {
    add(visit, block + "attn_q", {c.d_model, c.q_dim()}, c.attention_bias);
    add(visit, block + "attn_k", {c.d_model, c.kv_dim()}, c.attention_bias);
    add(visit, block + "attn_v", {c.d_model, c.kv_dim()}, c.attention_bias);
  }
}

void visit_attention(const ModelConfig& c, const std::string& block, const Visit& visit) {
  norm(c, block + "attn_norm", visit);
  visit_projections(c, block, visit);
  if (c.qk_norm) {
    add(visit, block + "attn_q_norm", {c.head_dim}, false);
    add(visit, block + "attn_k_norm", {c.head_dim}, false);
  }
  if (c.attention_sinks) visit({block + "attn_sinks.weight", {c.heads}});
  const size_t values = c.latent.kv_rank != 0 ? c.heads * c.latent.value_dim : c.q_dim();
  add(visit, block + "attn_output", {values, c.d_model}, c.attention_output_bias);
  if (c.post_norms) norm(c, block + c.layout.attention_post_norm, visit);
}

/// One feed-forward that every token meets; `suffix` as in "ffn_up_shexp".
void visit_dense_ffn(const ModelConfig& c, const std::string& block, const std::string& suffix, size_t width,
                     const Visit& visit) {
  if (c.layout.fused_gate_up) {
    add(visit, block + "ffn_up" + suffix, {c.d_model, 2 * width}, c.ffn_bias);
  } else {
    if (c.gated_ffn) add(visit, block + "ffn_gate" + suffix, {c.d_model, width}, c.ffn_bias);
    add(visit, block + "ffn_up" + suffix, {c.d_model, width}, c.ffn_bias);
  }
  add(visit, block + "ffn_down" + suffix, {width, c.d_model}, c.ffn_bias);
}

void visit_beside_experts(const ModelConfig& c, const std::string& block, const Visit& visit) {
  if (c.experts.shared != 0) visit_dense_ffn(c, block, "_shexp", c.experts.shared * c.experts.ffn, visit);
  if (c.experts.beside == BesideExperts::kDense) visit_dense_ffn(c, block, "", c.ffn, visit);
  if (c.experts.beside == BesideExperts::kGatedDense) {
    add(visit, block + "ffn_gate_inp_shexp", {c.d_model}, false);
    visit_dense_ffn(c, block, "_shexp", c.ffn, visit);
  }
}

void visit_expert_matrices(const ModelConfig& c, const std::string& stem, uint64_t in, uint64_t out,
                           const Visit& visit) {
  if (c.layout.single_experts) {
    for (size_t i = 0; i < c.experts.count; ++i)
      visit({fmt::format("{}.{}.weight", stem, i), {in, out}, true});
    return;
  }
  visit({stem + "_exps.weight", {in, out, c.experts.count}, true});
  if (c.ffn_bias) visit({stem + "_exps.bias", {out, c.experts.count}, true});
}

void visit_experts(const ModelConfig& c, const std::string& block, const Visit& visit) {
  const ExpertsConfig& e = c.experts;
  add(visit, block + "ffn_gate_inp", {c.d_model, e.count}, e.router_bias);
  if (e.selection_bias) visit({block + "exp_probs_b.bias", {e.count}});
  if (c.gated_ffn) visit_expert_matrices(c, block + "ffn_gate", c.d_model, e.ffn, visit);
  visit_expert_matrices(c, block + "ffn_up", c.d_model, e.ffn, visit);
  visit_expert_matrices(c, block + "ffn_down", e.ffn, c.d_model, visit);
  visit_beside_experts(c, block, visit);
}

void visit_tensors(const ModelConfig& c, const Visit& visit) {
  visit({"token_embd.weight", {c.d_model, c.vocab}});
  if (c.learned_positions != 0) visit({"position_embd.weight", {c.d_model, c.learned_positions}});
  if (c.rope.frequency_factors) visit({"rope_freqs.weight", {c.rope.dims / 2}});
  if (c.rope.scaling == RopeScaling::kLongRope) {
    visit({"rope_factors_long.weight", {c.rope.dims / 2}});
    visit({"rope_factors_short.weight", {c.rope.dims / 2}});
  }
  for (size_t layer = 0; layer < c.layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    visit_attention(c, block, visit);
    norm(c, block + "ffn_norm", visit);
    if (c.expert_layer(layer))
      visit_experts(c, block, visit);
    else
      visit_dense_ffn(c, block, "", c.ffn, visit);
    if (c.post_norms) norm(c, block + c.layout.ffn_post_norm, visit);
  }
  norm(c, "output_norm", visit);
  if (!c.tied_output) visit({"output.weight", {c.d_model, c.vocab}});
}

uint64_t elements(const TensorSpec& spec) {
  uint64_t product = 1;
  for (const uint64_t extent : spec.shape) product *= extent;
  return product;
}

/// Of a whole, the part that a token uses.
uint64_t used(const ModelConfig& c, const TensorSpec& spec, uint64_t whole) {
  return spec.routed ? whole / c.experts.count * c.experts.used : whole;
}

bool is_rope_table(std::string_view name) { return name.starts_with("rope_"); }

/// Whether a tensor beside those that the configuration calls for can be passed over: a block's can not, nor what would
/// change the embedding or the output; but for tables of positions that are computed here.
bool ignorable(std::string_view name, size_t layers) {
  if (name.find("rope_freqs") != std::string_view::npos || name.find("rot") != std::string_view::npos)
    return true;
  if (!name.starts_with("blk."))
    return !name.starts_with("output") && !name.starts_with("token_") && !name.starts_with("position_") &&
           !name.starts_with("per_layer");
  size_t layer = 0;
  const char* begin = name.data() + 4;
  const auto parsed = std::from_chars(begin, name.data() + name.size(), layer);
  return parsed.ec == std::errc() && layer >= layers;
}

}  // namespace

std::vector<TensorSpec> required_tensors(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  visit_tensors(config, [&](TensorSpec spec) { specs.push_back(std::move(spec)); });
  return specs;
}

void check_tensors(const ModelConfig& config, const GgufFile& file) {
  std::unordered_set<const GgufTensor*> required;
  visit_tensors(config, [&](const TensorSpec& spec) {
    const GgufTensor& tensor = file.tensor(spec.name);
    if (tensor.shape != spec.shape)
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("in '{}', the tensor '{}' has the shape [{}] where [{}] is needed; download or "
                      "convert it again",
                      file.name(), spec.name, fmt::join(tensor.shape, ", "), fmt::join(spec.shape, ", ")));
    required.insert(&tensor);
  });
  for (const GgufTensor& tensor : file.tensors())
    if (!required.contains(&tensor) && !ignorable(tensor.name, config.layers))
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("'{}' has the tensor '{}', for which the architecture '{}' has no place in this "
                      "build; its answers would be wrong without it",
                      file.name(), shown(tensor.name), config.architecture));
}

uint64_t ModelConfig::parameters() const {
  uint64_t total = 0;
  visit_tensors(*this, [&](const TensorSpec& spec) {
    if (!is_rope_table(spec.name)) total += elements(spec);
  });
  return total;
}

uint64_t ModelConfig::active_parameters() const {
  uint64_t total = 0;
  visit_tensors(*this, [&](const TensorSpec& spec) {
    if (!is_rope_table(spec.name)) total += used(*this, spec, elements(spec));
  });
  return total;
}

uint64_t ModelConfig::flops_per_token(size_t attended) const {
  uint64_t weights = 0;
  visit_tensors(*this, [&](const TensorSpec& spec) {
    const bool matrix = (spec.shape.size() > 1 && !spec.name.ends_with(".bias")) ||
                        spec.name.ends_with("ffn_gate_inp_shexp.weight");
    const bool looked_up =
        (spec.name == "token_embd.weight" && !tied_output) || spec.name == "position_embd.weight";
    if (matrix && !looked_up) weights += used(*this, spec, elements(spec));
  });
  uint64_t scores = 0;
  for (size_t l = 0; l < layers; ++l) scores += window(l) != 0 ? std::min(window(l), attended) : attended;
  const uint64_t value_dim = latent.kv_rank != 0 ? heads * latent.value_dim : q_dim();
  return 2 * weights + 2 * (q_dim() + value_dim) * scores;
}

uint64_t ModelConfig::kv_bytes_per_token(tensor::DType dtype) const {
  if (latent.kv_rank != 0)
    return uint64_t{layers} * tensor::row_bytes(dtype, latent.kv_rank + latent.rope_dim);
  return uint64_t{2} * layers * tensor::row_bytes(dtype, kv_dim());
}

uint64_t bytes_read_per_token(const ModelConfig& config, const GgufFile& file) {
  uint64_t total = 0;
  visit_tensors(config, [&](const TensorSpec& spec) {
    const GgufTensor& tensor = file.tensor(spec.name);
    const bool one_row = spec.name == "token_embd.weight" && !config.tied_output;
    total +=
        one_row ? tensor::row_bytes(*tensor.dtype, config.d_model) : used(config, spec, tensor.data.size());
  });
  return total;
}

std::string dominant_format(const GgufFile& file) {
  std::map<uint32_t, uint64_t> weights;
  for (const GgufTensor& tensor : file.tensors()) weights[tensor.type_id] += tensor.elements;
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == weights.end() ? "" : gguf_tensor_type_name(most->first);
}

}  // namespace fathom::model
