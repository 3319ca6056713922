#include "cluster/serving_cost.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace fathom::cluster {
namespace {

constexpr double kLowMemory = 1e9;  // bytes below which no server starts
/// Scales beside weights: a byte for 16 elements (NVFP4), a number for 128 or for a row (FP8).
double stored_bytes(Precision precision) {
  switch (precision) {
    case Precision::kFp4: return 0.5 + 1.0 / 16;
    case Precision::kFp8: return 1.0 + 1.0 / 64;
    default: return bytes_of(precision);
  }
}

Accelerator chip_that_serves(const Accelerator& chip, const ServingConstants& constants) {
  Accelerator out;
  out.peak_flops = chip.peak_flops;
  out.memory_bytes = chip.memory_bytes;
  out.memory_bytes_per_s = chip.memory_bytes_per_s;
  ChipEfficiency& efficiency = out.efficiency;
  efficiency.units = chip.efficiency.units;
  efficiency.gemm_peak_fraction = constants.gemm_fraction;
  efficiency.gemm_k_half = constants.gemm_k_half;
  efficiency.memory_fraction = constants.memory_fraction;
  efficiency.attention_forward_fraction = constants.attention_fraction;
  efficiency.kernel_launch_s = constants.launch_s;
  // gemm_fraction is that of 8 bits already.
  efficiency.more = {{"gemm_low_precision", 1}, {"gemm_lowest_precision", constants.gemm_lowest}};
  return out;
}

}  // namespace

ServingConstants ServingConstants::of(const ChipEfficiency& efficiency) {
  ServingConstants out;
  const std::array<std::pair<const char*, double*>, 14> named{{
      {"serving_gemm_fraction", &out.gemm_fraction},
      {"serving_gemm_lowest", &out.gemm_lowest},
      {"serving_gemm_k_half", &out.gemm_k_half},
      {"serving_memory_fraction", &out.memory_fraction},
      {"serving_attention_fraction", &out.attention_fraction},
      {"serving_step_s", &out.step_s},
      {"serving_sequence_s", &out.sequence_s},
      {"serving_launch_s", &out.launch_s},
      {"serving_kernels_a_layer", &out.kernels_a_layer},
      {"serving_kv_fraction", &out.kv_fraction},
      {"serving_grouped_fraction", &out.grouped_fraction},
      {"serving_imbalance", &out.imbalance},
      {"serving_reserve_gb", &out.reserve_gb},
      {"serving_max_batch", &out.max_batch},
  }};
  for (const auto& [name, value] : named)
    if (const auto found = efficiency.more.find(name); found != efficiency.more.end()) *value = found->second;
  return out;
}

bool serving_layout_fits(const model::ModelConfig& model, const ServingLayout& layout) {
  if (layout.tensor == 0 || layout.pipeline == 0 || layout.expert == 0) return false;
  if (model.heads % layout.tensor != 0) return false;
  // Fewer heads of keys and values than chips: they are copied.
  if (model.latent.kv_rank == 0 && model.kv_heads % layout.tensor != 0 && layout.tensor % model.kv_heads != 0)
    return false;
  if (layout.pipeline > model.layers) return false;
  if (layout.expert > 1 && (model.dense() || model.experts.count % layout.expert != 0)) return false;
  return layout.expert <= layout.tensor ? layout.tensor % layout.expert == 0
                                        : layout.expert % layout.tensor == 0;
}

ServingCost::ServingCost(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                         const ServingLayout& layout)
    : model_(model),
      machine_(machine),
      spec_(spec),
      layout_(layout),
      constants_(ServingConstants::of(machine.chip.efficiency)),
      chip_(chip_that_serves(machine.chip, constants_)),
      kernels_(chip_, true),
      groups_(layout.expert > layout.tensor ? layout.expert / layout.tensor : 1) {
  count_bytes();
}

double ServingCost::attention_parameters() const {
  const double d = static_cast<double>(model_.d_model), heads = static_cast<double>(model_.heads);
  const auto& latent = model_.latent;
  if (latent.kv_rank > 0) {
    const double rank = static_cast<double>(latent.kv_rank), rope = static_cast<double>(latent.rope_dim);
    const double key = static_cast<double>(latent.nope_dim), value = static_cast<double>(latent.value_dim);
    const double q_in = latent.q_rank > 0 ? static_cast<double>(latent.q_rank) : d;
    return (latent.q_rank > 0 ? d * q_in : 0) + q_in * heads * (key + rope) + d * (rank + rope) +
           rank * heads * (key + value) + heads * value * d;
  }
  return d * static_cast<double>(model_.q_dim() + 2 * model_.kv_dim()) +
         static_cast<double>(model_.q_dim()) * d;
}

double ServingCost::layer_kv_bytes() const {
  const double element = bytes_of(spec_.kv);
  if (model_.latent.kv_rank > 0)  // every chip keeps the whole of it
    return static_cast<double>(model_.latent.kv_rank + model_.latent.rope_dim) * element;
  const double heads = std::max(1.0, static_cast<double>(model_.kv_heads) / layout_.tensor);
  return 2 * heads * static_cast<double>(model_.head_dim) * element;
}

void ServingCost::count_bytes() {
  const double layers = static_cast<double>(model_.layers), t = layout_.tensor;
  const double d = static_cast<double>(model_.d_model);
  const double mats = model_.gated_ffn ? 3 : 2;
  const double with_experts = static_cast<double>(model_.expert_layers());
  double of_chip = layers * attention_parameters() / t;
  of_chip += (layers - with_experts) * mats * d * static_cast<double>(model_.ffn) / t;
  if (with_experts > 0) {
    if (model_.experts.beside != model::BesideExperts::kNothing)
      of_chip += with_experts * mats * d * static_cast<double>(model_.ffn) / t;
    const double width = static_cast<double>(model_.experts.ffn);
    of_chip += with_experts * mats * d * width * static_cast<double>(model_.experts.shared) / t;
    const double cut = std::max<double>(layout_.tensor, layout_.expert);
    of_chip += with_experts * mats * d * width * static_cast<double>(model_.experts.count) / cut;
  }
  const double tables = static_cast<double>(model_.vocab) * d * (model_.tied_output ? 1 : 2) / t;
  weight_bytes_ = (of_chip * stored_bytes(spec_.weights) + tables * 2) / layout_.pipeline;
  kv_bytes_per_token_ = layers * layer_kv_bytes() / layout_.pipeline;
}

double ServingCost::kv_bytes(double tokens) const {
  if (model_.sliding_window == 0) return tokens * kv_bytes_per_token_;
  double total = 0;
  for (size_t layer = 0; layer < model_.layers; ++layer) {
    const size_t window = model_.window(layer);
    total += window > 0 ? std::min(tokens, static_cast<double>(window)) : tokens;
  }
  return total * layer_kv_bytes() / layout_.pipeline;
}

double ServingCost::kv_capacity() const {
  const double free = chip_.memory_bytes - weight_bytes_ - constants_.reserve_gb * 1e9;
  return free > kLowMemory ? free * spec_.memory_share : 0;
}

uint64_t ServingCost::most_sequences() const {
  // A server admits a sequence when the whole of it has room.
  const double each = kv_bytes(static_cast<double>(spec_.input_tokens + spec_.output_tokens));
  const double shared = kv_bytes(static_cast<double>(spec_.input_tokens) * spec_.cached_share);
  const double room = kv_capacity() - shared;
  if (room < each) return 0;
  const double fits = std::floor(room / std::max(each - shared, each * 1e-3)) * groups_;
  return static_cast<uint64_t>(std::min(fits, constants_.max_batch * groups_));
}

double ServingCost::product(double rows, double in, double out, double count) const {
  if (rows <= 0 || in <= 0 || out <= 0) return 0;
  return kernels_.gemm({rows, out, in, count}, spec_.weights);
}

double ServingCost::grouped(double rows, double in, double out, double count) const {
  return product(rows, in, out, count) / constants_.grouped_fraction;
}

double ServingCost::projections(double rows) const {
  const double d = static_cast<double>(model_.d_model), t = layout_.tensor;
  const auto& latent = model_.latent;
  if (latent.kv_rank > 0) {
    const double rank = static_cast<double>(latent.kv_rank), rope = static_cast<double>(latent.rope_dim);
    const double key = static_cast<double>(latent.nope_dim), value = static_cast<double>(latent.value_dim);
    const double heads = static_cast<double>(model_.heads) / t;
    const double q_rank = static_cast<double>(latent.q_rank);
    double total = product(rows, d, q_rank + rank + rope);
    total += product(rows, q_rank > 0 ? q_rank : d, heads * (key + rope));
    // The key's and the value's matrices are taken into the query and the output (DeepSeek-V2, section 2.1.2).
    total += product(rows, key, rank, heads) + product(rows, rank, value, heads);
    return total + product(rows, heads * value, d);
  }
  const double q = static_cast<double>(model_.q_dim()) / t;
  const double kv =
      std::max<double>(static_cast<double>(model_.head_dim), static_cast<double>(model_.kv_dim()) / t);
  return product(rows, d, q + 2 * kv) + product(rows, q, d);
}

double ServingCost::attention(bool windowed, const Iteration& at, double groups) const {
  const double window = windowed ? static_cast<double>(model_.sliding_window) : HUGE_VAL;
  const double heads = static_cast<double>(model_.heads) / layout_.tensor;
  const bool latent = model_.latent.kv_rank > 0;
  const double key = latent ? static_cast<double>(model_.latent.kv_rank + model_.latent.rope_dim)
                            : static_cast<double>(model_.head_dim);
  const double value =
      latent ? static_cast<double>(model_.latent.kv_rank) : static_cast<double>(model_.head_dim);
  double total = 0;
  if (at.sequences > 0) {
    const double positions = at.sequences / groups * std::min(at.context, window);
    const double bytes = positions * layer_kv_bytes();
    const double flops = 2 * positions * heads * (key + value);
    const double rate = chip_.memory_bytes_per_s * constants_.kv_fraction;
    const double arithmetic = chip_.peak(Precision::kBf16) * constants_.attention_fraction;
    total += std::max(bytes / rate, flops / arithmetic) + constants_.launch_s;
  }
  if (at.prompt_tokens > 0) {
    const double attended = std::min(at.prompt_context, window);
    const double length = std::max(1.0, std::min(at.prompt_length, at.prompt_tokens / groups));
    AttentionShape shape;
    shape.batch = at.prompt_tokens / groups / length;
    shape.heads = heads;
    shape.kv_heads = std::max(1.0, static_cast<double>(model_.kv_heads) / layout_.tensor);
    shape.queries = length;
    shape.keys = std::max(length, std::min(at.prompt_length, attended * 2));
    shape.pairs = length * attended;
    shape.head_dim = latent ? static_cast<double>(model_.latent.nope_dim + model_.latent.rope_dim) : key;
    shape.value_dim = latent ? static_cast<double>(model_.latent.value_dim) : value;
    total += kernels_.attention_forward(shape);
  }
  return total;
}

double ServingCost::dense_ffn(double rows, double width) const {
  const double d = static_cast<double>(model_.d_model), cut = width / layout_.tensor;
  return product(rows, d, (model_.gated_ffn ? 2 : 1) * cut) + product(rows, cut, d) +
         kernels_.pass(rows * cut * (model_.gated_ffn ? 6 : 4));
}

/// `rows`: tokens of the chip's group; `replica_rows`: of all groups, whose tokens meet at the experts.
double ServingCost::experts(double rows, double replica_rows) const {
  const auto& config = model_.experts;
  const double d = static_cast<double>(model_.d_model), width = static_cast<double>(config.ffn);
  const double count = static_cast<double>(config.count), used = static_cast<double>(config.used);
  // Experts that at least one of the tokens chose, as if it chose at random.
  const double active = count * (1 - std::pow(1 - used / count, replica_rows));
  const double each = replica_rows * used / std::max(active, 1e-9);
  const double spread = layout_.expert;
  const double cut = width * std::min(1.0, spread / layout_.tensor);
  const double mine = std::max(1.0, active / spread);
  const double most = each * (spread > 1 ? constants_.imbalance : 1);
  double total = grouped(most, d, (model_.gated_ffn ? 2 : 1) * cut, mine) + grouped(most, cut, d, mine);
  total += kernels_.pass(mine * most * (cut * 6 + d * 6));  // activation; tokens gathered, scaled and summed
  total += kernels_.gemm({rows, count, d}, Precision::kBf16);
  if (config.shared > 0) total += dense_ffn(rows, width * static_cast<double>(config.shared));
  if (config.beside != model::BesideExperts::kNothing)
    total += dense_ffn(rows, static_cast<double>(model_.ffn));
  return total;
}

double ServingCost::tensor_sum(double rows) const {
  if (layout_.tensor <= 1) return 0;
  return machine_.network.all_reduce_s(rows * static_cast<double>(model_.d_model) * 2,
                                       {layout_.tensor, 1, 1});
}

/// To the experts in 8 bits, back in 16.
double ServingCost::expert_exchange(double rows) const {
  if (groups_ <= 1) return 0;
  const double bytes =
      rows * static_cast<double>(model_.experts.used) * static_cast<double>(model_.d_model) / layout_.tensor;
  const Group group{layout_.expert, 1, 1};
  return machine_.network.all_to_all_s(bytes, group) + machine_.network.all_to_all_s(2 * bytes, group);
}

double ServingCost::seconds(const Iteration& at) const {
  const double replica_rows = (at.sequences + at.prompt_tokens) / layout_.pipeline;
  const double rows = replica_rows / groups_;
  if (rows <= 0) return 0;
  Iteration part = at;
  part.sequences /= layout_.pipeline;
  part.prompt_tokens /= layout_.pipeline;
  const double d = static_cast<double>(model_.d_model);
  const double layers = static_cast<double>(model_.layers),
               with_experts = static_cast<double>(model_.expert_layers());
  double windowed = 0;
  for (size_t layer = 0; layer < model_.layers; ++layer) windowed += model_.windowed(layer) ? 1 : 0;
  const double around = projections(rows) + kernels_.pass(rows * d * 2 * 8) + 2 * tensor_sum(rows) +
                        constants_.kernels_a_layer * constants_.launch_s;
  double total = layers * around;
  if (layers > windowed) total += (layers - windowed) * attention(false, part, groups_);
  if (windowed > 0) total += windowed * attention(true, part, groups_);
  if (layers > with_experts)
    total += (layers - with_experts) * dense_ffn(rows, static_cast<double>(model_.ffn));
  if (with_experts > 0) total += with_experts * (experts(rows, replica_rows) + expert_exchange(rows));
  // All stages work at the same time on parts of the batch; a token passes all of them.
  const double vocabulary = static_cast<double>(model_.vocab) / layout_.tensor;
  const double last =
      part.sequences / groups_ + part.prompt_tokens / groups_ / std::max(1.0, at.prompt_length);
  double logits =
      kernels_.gemm({last, vocabulary, d}, Precision::kBf16) + kernels_.pass(last * vocabulary * 12);
  if (layout_.tensor > 1)
    logits +=
        machine_.network.all_gather_s(last * static_cast<double>(model_.vocab) * 2, {layout_.tensor, 1, 1});
  const double hand_over =
      layout_.pipeline > 1 ? layout_.pipeline * machine_.network.send_s(
                                                    rows * d * 2, Group{layout_.pipeline, layout_.tensor, 1})
                           : 0;
  // The host prepares the next iteration while the chips are at this one.
  const double host = constants_.step_s + constants_.sequence_s * at.sequences / groups_;
  return std::max(total + layout_.pipeline * logits + hand_over, host);
}

double ServingCost::steady_seconds(double sequences) const {
  const double in = static_cast<double>(spec_.input_tokens),
               out = static_cast<double>(std::max<uint64_t>(spec_.output_tokens, 1));
  Iteration at;
  at.sequences = sequences;
  at.context = in + out / 2;
  at.prompt_length = in;
  // Of a prompt whose beginning is in the cache, the rest attends to all of it.
  at.prompt_tokens = sequences / out * in * (1 - spec_.cached_share);
  at.prompt_context = in * (1 + spec_.cached_share) / 2;
  return seconds(at);
}

}  // namespace fathom::cluster
