#include "train/parameter_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace fathom::train {
namespace {

/// Parameters begin at multiples of it: of a cache line's floats.
constexpr size_t kAlignment = 16;

/// How the ranks of a tensor-parallel group share a tensor.
enum class Split { kNone, kRows, kColumns };

bool any_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Of "blk.3.attn_q.weight": 3, "attn_q", "weight".
struct Name {
  std::optional<size_t> layer;
  std::string_view stem;
  std::string_view kind;

  explicit Name(std::string_view name) {
    if (name.starts_with("blk.")) {
      size_t index = 0;
      const auto end = std::from_chars(name.data() + 4, name.data() + name.size(), index).ptr;
      layer = index;
      name = name.substr(static_cast<size_t>(end - name.data()) + 1);
    }
    const size_t dot = name.find('.');
    stem = name.substr(0, dot);
    kind = name.substr(dot + 1);
  }
};

Split split_of(const Name& name) {
  if (any_of(name.stem, {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_gate_shexp", "ffn_up_shexp",
                         "ffn_gate_exps", "ffn_up_exps", "token_embd", "output"}))
    return Split::kRows;
  if (any_of(name.stem, {"attn_output", "ffn_down", "ffn_down_shexp", "ffn_down_exps"}) &&
      name.kind == "weight")
    return Split::kColumns;
  return Split::kNone;
}

bool is_table(std::string_view name) { return name.starts_with("rope_"); }

/// A layer's order is the forward pass's, but for weights before biases, so that those that meet the same vector lie next to
/// each other.
int order_of(const Name& name) {
  const std::pair<std::string_view, int> orders[] = {
      {"attn_q", 1}, {"attn_k", 1}, {"attn_v", 1}, {"ffn_gate", 2}, {"ffn_up", 2}};
  for (const auto& [stem, order] : orders)
    if (stem == name.stem) return order;
  return 0;
}

std::vector<model::TensorSpec> ordered_tensors(const model::ModelConfig& config) {
  auto specs = model::required_tensors(config);
  const auto order = [](const model::TensorSpec& s) { return order_of(Name(s.name)); };
  for (auto first = specs.begin(); first != specs.end();) {
    const int group = order(*first);
    auto last = std::next(first);
    while (last != specs.end() && group != 0 && order(*last) == group) ++last;
    std::stable_partition(first, last, [](const auto& s) { return s.name.ends_with(".weight"); });
    first = last;
  }
  return specs;
}

class Builder {
 public:
  Builder(const model::ModelConfig& config, const Layout& layout, const Place& place, const LoraSpec& lora)
      : config_(config), layout_(layout), place_(place), lora_(lora) {
    first_part_ = place.stage == 0;
    last_part_ = place.stage + 1 == layout.pipeline;
    for (size_t c = 0; c < layout.chunks; ++c)
      chunks_.push_back(layers_of(layout, config.layers, place.stage, c));
    tied_copy_ = config.tied_output && last_part_ && !first_part_;
  }

  ParameterLayout build() {
    const auto specs = ordered_tensors(config_);
    if (tied_copy_) add(specs.front());
    for (const auto& spec : specs)
      if (here(spec.name)) add(spec);
    for (const std::string& matrix : lora_.matrices)
      if (lora_.rank != 0 && !adapted_any(matrix))
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("an adapter is asked for '{}', which this model has not", matrix));
    return std::move(out_);
  }

 private:
  bool here(std::string_view full) const {
    const Name name(full);
    if (is_table(full)) return true;
    if (any_of(name.stem, {"token_embd", "position_embd"})) return first_part_;
    if (any_of(name.stem, {"output_norm", "output"})) return last_part_;
    return std::any_of(chunks_.begin(), chunks_.end(),
                       [&](LayerRange r) { return *name.layer >= r.begin && *name.layer < r.end; });
  }

  /// Whether any layer of the model, on whatever stage, has the matrix.
  bool adapted_any(std::string_view stem) const {
    const bool known = any_of(stem, {"attn_q", "attn_k", "attn_v", "attn_output"});
    return known || (any_of(stem, {"ffn_gate", "ffn_up", "ffn_down"}) && config_.has_dense_ffn() &&
                     config_.experts.beside != model::BesideExperts::kGatedDense);
  }

  Part share(const std::string& name, size_t n, size_t parts, size_t index, size_t unit) const {
    if (n % (parts * unit) != 0 && !name.starts_with("token_embd") && !name.starts_with("output."))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{} of '{}' cannot be shared by {} ranks; choose a layout that divides them",
                              n / unit, name, parts));
    return part_of(n, parts, index);
  }

  /// What cannot be cut in two within the split dimension: a head.
  size_t unit(std::string_view stem) const {
    return any_of(stem, {"attn_q", "attn_k", "attn_v", "attn_output"}) ? config_.head_dim : 1;
  }

  void cut(Parameter& p, size_t dimension, size_t unit) const {
    const Part part = share(p.name, p.shape[dimension], layout_.tensor, place_.tensor, unit);
    p.box.begin[dimension] = part.begin;
    p.box.size[dimension] = part.size;
  }

  void add(const model::TensorSpec& spec) {
    const Name name(spec.name);
    Parameter p;
    p.name = spec.name;
    for (size_t d = 0; d < spec.shape.size(); ++d) p.shape[2 - d] = spec.shape[d];
    p.box.size = p.shape;
    const Split split = split_of(name);
    const size_t rows = spec.shape.size() == 1 ? 2 : 1;  // a bias has as many elements as its matrix has rows
    if (split == Split::kRows) cut(p, rows, unit(name.stem));
    if (split == Split::kColumns) cut(p, 2, unit(name.stem));
    if (spec.routed) {
      const Part part = share(p.name, p.shape[0], layout_.expert, place_.expert, 1);
      p.box.begin[0] = part.begin;
      p.box.size[0] = part.size;
    }
    p.decay = spec.shape.size() > 1;
    p.tensor_shared = layout_.tensor > 1 && split == Split::kNone;
    p.tied_copy = tied_copy_ && name.stem == "token_embd";
    p.arena = spec.routed ? Arena::kExpert : Arena::kDense;
    if (lora_.rank != 0 || is_table(spec.name)) p.arena = Arena::kFrozen;
    place_in_arena(p);
    if (lora_.rank != 0 && name.layer && name.kind == "weight" &&
        std::find(lora_.matrices.begin(), lora_.matrices.end(), name.stem) != lora_.matrices.end())
      add_adapter(p, split);
  }

  void add_adapter(const Parameter& matrix, Split split) {
    const size_t rank = lora_.rank;
    Parameter a;
    a.name = matrix.name + ".lora_a";
    a.shape = {1, rank, matrix.shape[2]};
    a.box.begin[2] = matrix.box.begin[2];
    a.box.size = {1, rank, matrix.box.size[2]};
    a.decay = true;
    a.tensor_shared = layout_.tensor > 1 && split == Split::kRows;
    Parameter b;
    b.name = matrix.name + ".lora_b";
    b.shape = {1, matrix.shape[1], rank};
    b.decay = true;
    b.box.begin[1] = matrix.box.begin[1];
    b.box.size = {1, matrix.box.size[1], rank};
    b.tensor_shared = layout_.tensor > 1 && split == Split::kColumns;
    place_in_arena(a);
    place_in_arena(b);
  }

  void place_in_arena(Parameter& p) {
    size_t& size = out_.sizes[static_cast<size_t>(p.arena)];
    p.offset = size;
    size += (p.elements() + kAlignment - 1) / kAlignment * kAlignment;
    out_.list.push_back(p);
  }

  const model::ModelConfig& config_;
  const Layout& layout_;
  const Place& place_;
  const LoraSpec& lora_;
  bool first_part_ = true, last_part_ = true, tied_copy_ = false;
  std::vector<LayerRange> chunks_;
  ParameterLayout out_;
};

void require_trainable(const model::ModelConfig& config) {
  const auto refuse = [](const std::string& what) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} has no backward pass in this build; train a model without it", what));
  };
  if (!config.runs()) refuse(config.runs_not());
  for (const model::RopeConfig* rope : {&config.rope, &config.window_rope})
    if (config.attention_temperature_length != 0 && rope->dims != 0 && rope->dims != config.head_dim)
      refuse("an attention temperature with heads that turn in part");
}

}  // namespace

Part part_of(size_t n, size_t parts, size_t index) {
  const size_t begin = n * index / parts;
  return {begin, n * (index + 1) / parts - begin};
}

model::ModelConfig unfused(const model::ModelConfig& config) {
  model::ModelConfig out = config;
  out.layout.fused_qkv = out.layout.fused_gate_up = out.layout.single_experts = false;
  return out;
}

ParameterLayout lay_out_parameters(const model::ModelConfig& config, const Layout& layout, const Place& place,
                                   const LoraSpec& lora) {
  require_trainable(config);
  const model::ModelConfig plain = unfused(config);
  ParameterLayout out = Builder(plain, layout, place, lora).build();
  const auto round_up = [&](Arena arena, size_t ranks) {
    size_t& size = out.sizes[static_cast<size_t>(arena)];
    size = (size + kAlignment * ranks - 1) / (kAlignment * ranks) * (kAlignment * ranks);
  };
  round_up(Arena::kDense, layout.data);  // so that the ranks that share an arena have equal parts of it
  round_up(Arena::kExpert, layout.data / layout.expert);
  return out;
}

}  // namespace fathom::train
