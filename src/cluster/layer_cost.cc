#include "cluster/layer_cost.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr double kMask = 1;  // of a dropout mask
constexpr double kDropouts =
    3;  // of a layer that has dropout everywhere: scores, attention's output, feed-forward's
// Of a collective that is cut into pieces behind a product, the first piece is always seen.
constexpr double kPieces = 4;

bool low_precision(Precision precision) {
  return precision == Precision::kFp8 || precision == Precision::kFp4;
}

}  // namespace

void LayerKernels::add(const LayerKernel& kernel) {
  FATHOM_CHECK(size_ < kMost);
  kernels_[size_++] = kernel;
}

size_t layer_kind(const model::ModelConfig& model, size_t layer) {
  return (model.expert_layer(layer) ? 1U : 0U) | (model.windowed(layer) ? 2U : 0U);
}

LayerCosts::LayerCosts(const model::ModelConfig& model, const Machine& machine, const TrainingJob& job,
                       const KernelModel& kernels, const ParallelPlan& plan)
    : model_(model), machine_(machine), job_(job), kernels_(kernels), plan_(plan) {
  tensor_ = plan.tensor;
  element_ = job.activation_bytes;
  tokens_ = static_cast<double>(plan.micro_batch) * static_cast<double>(job.sequence) / plan.context;
  norm_tokens_ = plan.sequence_parallel ? tokens_ / tensor_ : tokens_;
  heads_ = static_cast<double>(model.heads) / tensor_;
  kv_heads_ = std::max(1.0, static_cast<double>(model.kv_heads) / tensor_);
  const auto& latent = model.latent;
  head_dim_ = static_cast<double>(latent.kv_rank != 0 ? latent.nope_dim + latent.rope_dim : model.head_dim);
  value_dim_ = static_cast<double>(latent.kv_rank != 0 ? latent.value_dim : model.head_dim);
  if (!model.dense()) {
    expert_count_ = static_cast<double>(model.experts.count) / plan.expert;
    // Each of the `expert` ranks has tokens / tensor of its own, each token `used` choices, dealt to all ranks alike; the
    // ranks that cut an expert between them see each other's tokens.
    expert_rows_ = tokens_ / tensor_ * static_cast<double>(model.experts.used) * plan.expert_tensor *
                   job.expert_imbalance;
  }
}

double LayerCosts::boundary() const { return norm_tokens_ * static_cast<double>(model_.d_model) * element_; }

LayerKernel LayerCosts::linear(const char* name, double tokens, double in, double out, bool bias) const {
  LayerKernel kernel{.name = name};
  kernel.flops = 2 * tokens * in * out;
  kernel.backward_flops = 2 * kernel.flops;
  kernel.bytes = element_ * (tokens * (in + out) + in * out);
  kernel.forward = kernels_.gemm({tokens, out, in}, plan_.precision);
  kernel.backward_input = kernels_.gemm({tokens, in, out}, plan_.precision);
  kernel.backward_weight = weight_gradient({out, in, tokens}, plan_.precision);
  if (bias) kernel.backward_weight += kernels_.pass(element_ * tokens * out);
  if (low_precision(plan_.precision)) {
    // What is multiplied is cast first: read at two bytes, written in both layouts at the narrow format's.
    const double cast = element_ + 2 * bytes_of(plan_.precision);
    kernel.forward += kernels_.pass(cast * tokens * in);
    kernel.backward_input += kernels_.pass(cast * tokens * out);
    kernel.launches_forward += 1;
    kernel.launches_backward += 1;
  }
  return kernel;
}

double LayerCosts::weight_gradient(const GemmShape& shape, Precision precision) const {
  // Gradients of weights are added to what earlier micro-batches gave, in the precision in which they are kept: by the
  // product itself, or by a pass of its own over what it wrote.
  if (job_.fused_accumulation) return kernels_.gemm(shape, precision, job_.gradient_bytes, true);
  return kernels_.gemm(shape, precision) +
         kernels_.pass((element_ + 2 * job_.gradient_bytes) * shape.m * shape.n * shape.count);
}

LayerKernel LayerCosts::pass(const char* name, double bytes_forward, double bytes_backward) const {
  LayerKernel kernel{.name = name};
  kernel.bytes = bytes_forward;
  kernel.forward = kernels_.pass(bytes_forward);
  kernel.backward_input = kernels_.pass(bytes_backward);
  kernel.launches_forward = bytes_forward > 0 ? 1 : 0;
  kernel.launches_backward = bytes_backward > 0 ? 1 : 0;
  kernel.selective = job_.attention != Attention::kUnfused;
  return kernel;
}

void LayerCosts::add_norm(LayerKernels& list, const char* name, double elements) const {
  // One pass reads and writes; backward reads x and the gradient and writes one. Unfused, squares, means and products are
  // passes of their own.
  const double passes = job_.fused_elementwise ? 1 : 3;
  LayerKernel kernel = pass(name, passes * 2 * element_ * elements, passes * 3 * element_ * elements);
  kernel.launches_forward *= passes;
  kernel.launches_backward = 2 * passes;
  list.add(kernel);
}

double LayerCosts::attended_pairs(size_t kind) const {
  const auto s = static_cast<double>(job_.sequence);
  const double window = kind_is_windowed(kind) ? std::min(s, static_cast<double>(model_.sliding_window)) : s;
  // Position p attends to min(p, window) others and itself; balanced over the context ranks.
  return (window * (window + 1) / 2 + (s - window) * window) / plan_.context;
}

AttentionShape LayerCosts::attention_shape(size_t kind) const {
  AttentionShape shape;
  shape.batch = plan_.micro_batch;
  shape.heads = heads_;
  shape.kv_heads = kv_heads_;
  shape.queries = static_cast<double>(job_.sequence) / plan_.context;
  shape.keys = static_cast<double>(job_.sequence);
  shape.pairs = attended_pairs(kind);
  shape.head_dim = head_dim_;
  shape.value_dim = value_dim_;
  shape.skips = job_.causal_skips;
  const ChipConstants& constants = kernels_.constants();
  if (job_.attention == Attention::kFlash1) shape.generation = constants.attention_flash_1;
  if (job_.attention == Attention::kFlash2) shape.generation = constants.attention_flash_2;
  return shape;
}

void LayerCosts::add_fused_core(LayerKernels& list, const AttentionShape& shape) const {
  LayerKernel kernel{.name = "attention"};
  const double pairs = shape.skips ? shape.pairs : shape.queries * shape.keys;
  kernel.flops = 2 * shape.batch * shape.heads * pairs * (shape.head_dim + shape.value_dim);
  kernel.backward_flops = 2 * kernel.flops;
  kernel.bytes = element_ * shape.batch * shape.queries * (shape.heads + shape.kv_heads) *
                 (shape.head_dim + shape.value_dim);
  kernel.forward = kernels_.attention_forward(shape);
  kernel.backward_input = kernels_.attention_backward(shape);
  kernel.launches_backward = 3;
  list.add(kernel);
}

void LayerCosts::add_unfused_core(LayerKernels& list, const AttentionShape& shape) const {
  const double count = shape.batch * shape.heads;
  const double scores = count * shape.queries * shape.keys;
  const GemmShape product{shape.queries, shape.keys, shape.head_dim, count};
  const GemmShape back{shape.queries, shape.head_dim, shape.keys, count};
  const double one = kernels_.gemm(product, Precision::kBf16);
  const double other = kernels_.gemm(back, Precision::kBf16);
  LayerKernel kernel{.name = "scores"};
  kernel.flops = 2 * scores * shape.head_dim;
  kernel.backward_flops = 2 * kernel.flops;
  kernel.bytes = element_ * scores;
  kernel.forward = one;
  kernel.backward_input = 2 * other;
  kernel.selective = true;
  list.add(kernel);
  // The causal half of the scores is read, the whole square written. Megatron's kernel takes four squares at a time; for
  // other numbers scale, mask, conversion and softmax are passes of their own.
  const bool whole = std::fmod(count, 4) == 0;
  const double passes = whole ? 1 : 6;
  const double slow = 1 / kernels_.constants().score_pass_share;
  LayerKernel softmax = pass("softmax", slow * passes * 1.5 * element_ * scores,
                             slow * passes * 3 * element_ * scores / (whole ? 1 : 2));
  softmax.launches_forward = passes;
  softmax.launches_backward = passes;
  softmax.selective = true;
  list.add(softmax);
  if (job_.dropout_passes > 0) {
    LayerKernel dropout = pass("scores dropout", slow * (2 * element_ + kMask) * scores,
                               slow * (2 * element_ + kMask) * scores);
    dropout.selective = true;
    list.add(dropout);
  }
  kernel.name = "values";
  kernel.forward = other;
  kernel.backward_input = one + other;
  list.add(kernel);
  list.add(pass("heads together", 2 * element_ * count * shape.queries * shape.value_dim,
                2 * element_ * count * shape.queries * shape.value_dim));
}

void LayerCosts::add_projections(LayerKernels& list) const {
  const auto h = static_cast<double>(model_.d_model);
  const double q = heads_ * head_dim_;
  const double kv = kv_heads_ * head_dim_;
  list.add(linear("qkv", tokens_, h, q + 2 * kv, model_.attention_bias));
  if (model_.qk_norm) add_norm(list, "qk norm", tokens_ * (q + kv));
  if (model_.rope.dims > 0) {
    const double turned = 2 * element_ * tokens_ * (q + kv) * (job_.fused_elementwise ? 1 : 3);
    list.add(pass("rope", turned, turned));
  }
}

void LayerCosts::add_latent_projections(LayerKernels& list) const {
  const auto h = static_cast<double>(model_.d_model);
  const auto& latent = model_.latent;
  const auto q_rank = static_cast<double>(latent.q_rank);
  const auto kv_rank = static_cast<double>(latent.kv_rank);
  const auto rope = static_cast<double>(latent.rope_dim);
  const auto nope = static_cast<double>(latent.nope_dim);
  // The projections down are whole on every tensor rank, each for its share of the tokens where sequence parallel.
  if (latent.q_rank != 0) {
    list.add(linear("q down", norm_tokens_, h, q_rank, false));
    add_norm(list, "q norm", norm_tokens_ * q_rank);
    list.add(linear("q up", tokens_, q_rank, heads_ * head_dim_, false));
  } else {
    list.add(linear("q", tokens_, h, heads_ * head_dim_, false));
  }
  list.add(linear("kv down", norm_tokens_, h, kv_rank + rope, false));
  add_norm(list, "kv norm", norm_tokens_ * kv_rank);
  list.add(linear("kv up", tokens_, kv_rank, heads_ * (nope + value_dim_), false));
  // Positions turn a part of each head, and keys are put together from two parts.
  const double moved = 2 * element_ * tokens_ * heads_ * 2 * head_dim_;
  list.add(pass("rope", moved, moved));
}

void LayerCosts::add_attention(LayerKernels& list, size_t kind) const {
  const auto h = static_cast<double>(model_.d_model);
  add_norm(list, "attention norm", norm_tokens_ * h);
  if (model_.latent.kv_rank != 0)
    add_latent_projections(list);
  else
    add_projections(list);
  const AttentionShape shape = attention_shape(kind);
  if (job_.attention != Attention::kUnfused)
    add_fused_core(list, shape);
  else
    add_unfused_core(list, shape);
  list.add(linear("attention output", tokens_, heads_ * value_dim_, h, model_.attention_output_bias));
  if (model_.post_norms) add_norm(list, "attention post norm", norm_tokens_ * h);
  list.add(residual());
}

LayerKernel LayerCosts::residual() const {
  const double elements = norm_tokens_ * static_cast<double>(model_.d_model);
  const double mask = job_.dropout_passes / kDropouts * kMask;
  const double passes = job_.fused_elementwise ? 1 : 1.7;  // bias, dropout and sum apart
  // Backward: the gradients of the two branches are added; the mask is applied.
  const double masked = mask > 0 ? 2 * element_ + mask : 0;
  return pass("residual", passes * (3 * element_ + mask) * elements,
              passes * (3 * element_ + masked) * elements);
}

void LayerCosts::add_feed_forward(LayerKernels& list, double width, bool shared) const {
  const auto h = static_cast<double>(model_.d_model);
  const double local = width / tensor_;
  const double parts = model_.gated_ffn ? 2 : 1;
  list.add(linear(shared ? "shared up" : "ffn up", tokens_, h, parts * local, model_.ffn_bias));
  const double passes = job_.fused_elementwise ? 1 : 1.7;
  const double elements = tokens_ * local;
  list.add(pass(shared ? "shared activation" : "activation", passes * element_ * (parts + 1) * elements,
                passes * element_ * (2 * parts + 1) * elements));
  LayerKernel down = linear(shared ? "shared down" : "ffn down", tokens_, local, h, model_.ffn_bias);
  down.last = !shared;
  list.add(down);
}

LayerKernel LayerCosts::grouped(const char* name, double rows, double in, double out) const {
  LayerKernel kernel{.name = name};
  const double each = rows / expert_count_;
  kernel.flops = 2 * rows * in * out;
  kernel.backward_flops = 2 * kernel.flops;
  kernel.bytes = element_ * (rows * (in + out) + expert_count_ * in * out);
  kernel.forward = kernels_.gemm({each, out, in, expert_count_, true}, plan_.precision);
  kernel.backward_input = kernels_.gemm({each, in, out, expert_count_, true}, plan_.precision);
  kernel.backward_weight = weight_gradient({out, in, each, expert_count_}, plan_.precision);
  // One product for each expert, launched one by one.
  kernel.launches_forward = expert_count_;
  kernel.launches_backward = 2 * expert_count_;
  if (low_precision(plan_.precision)) {
    const double cast = element_ + 2 * bytes_of(plan_.precision);
    kernel.forward += kernels_.pass(cast * rows * in);
    kernel.backward_input += kernels_.pass(cast * rows * out);
    kernel.launches_forward += expert_count_;
    kernel.launches_backward += expert_count_;
  }
  return kernel;
}

void LayerCosts::add_experts(LayerKernels& list) const {
  const auto h = static_cast<double>(model_.d_model);
  const auto& experts = model_.experts;
  const double own = tokens_ / tensor_;  // tokens that this chip routes
  const double chosen = own * static_cast<double>(experts.used);
  LayerKernel router{.name = "router"};
  const auto count = static_cast<double>(experts.count);
  router.flops = 2 * own * h * count;
  router.backward_flops = 2 * router.flops;
  router.bytes = 2 * element_ * own * h;
  router.forward = kernels_.gemm({own, count, h}, Precision::kTf32, 4) + 3 * kernels_.pass(8 * own * count);
  router.backward_input =
      kernels_.gemm({own, h, count}, Precision::kTf32, 4) + 3 * kernels_.pass(8 * own * count);
  router.backward_weight = kernels_.gemm({count, h, own}, Precision::kTf32, 4);
  router.launches_forward = 8;
  router.launches_backward = 8;
  list.add(router);
  // Each chosen token is copied to its place, and copied again where it arrives, so that an expert's lie together.
  const double move = 2 * element_ * chosen * h;
  const double arrive = plan_.expert > 1 ? 2 * element_ * expert_rows_ * h : 0;
  LayerKernel permute = pass("permute", move + arrive, move + arrive);
  permute.launches_forward = permute.launches_backward = plan_.expert > 1 ? 6 : 3;
  list.add(permute);
  const double width = static_cast<double>(experts.ffn) / plan_.expert_tensor;
  const double parts = model_.gated_ffn ? 2 : 1;
  list.add(grouped("experts up", expert_rows_, h, parts * width));
  // Unfused, each step of the gate is a pass: the halves apart, their product, bounds and biases.
  const double passes = job_.fused_elementwise ? 1 : 3;
  list.add(pass("experts activation", passes * element_ * (parts + 1) * expert_rows_ * width,
                passes * element_ * (2 * parts + 1) * expert_rows_ * width));
  list.add(grouped("experts down", expert_rows_, width, h));
  LayerKernel unpermute = pass("unpermute", move + arrive, move + arrive);
  unpermute.launches_forward = unpermute.launches_backward = permute.launches_forward;
  list.add(unpermute);
}

LayerKernels LayerCosts::layer_kernels(size_t kind) const {
  const auto h = static_cast<double>(model_.d_model);
  LayerKernels list;
  add_attention(list, kind);
  add_norm(list, "ffn norm", norm_tokens_ * h);
  if (kind_has_experts(kind)) {
    add_experts(list);
    if (model_.experts.shared > 0)
      add_feed_forward(list, static_cast<double>(model_.experts.shared * model_.experts.ffn), true);
    if (model_.experts.beside != model::BesideExperts::kNothing)
      add_feed_forward(list, static_cast<double>(model_.ffn), true);
  } else {
    add_feed_forward(list, static_cast<double>(model_.ffn), false);
  }
  if (model_.post_norms) add_norm(list, "ffn post norm", norm_tokens_ * h);
  LayerKernel last = residual();
  last.last = true;
  list.add(last);
  return list;
}

LayerKernels LayerCosts::embedding_kernels() const {
  const auto h = static_cast<double>(model_.d_model);
  LayerKernels list;
  const double rows = 2 * element_ * tokens_ * h * (model_.learned_positions > 0 ? 2 : 1);
  list.add(pass("embedding", rows, rows + 2 * element_ * tokens_ * h));
  if (job_.dropout_passes > 0)
    list.add(pass("embedding dropout", (2 * element_ + kMask) * norm_tokens_ * h,
                  (2 * element_ + kMask) * norm_tokens_ * h));
  return list;
}

LayerKernels LayerCosts::head_kernels() const {
  const auto h = static_cast<double>(model_.d_model);
  const double logits = tokens_ * static_cast<double>(model_.vocab) / tensor_;
  LayerKernels list;
  add_norm(list, "output norm", norm_tokens_ * h);
  LayerKernel product = linear("logits", tokens_, h, static_cast<double>(model_.vocab) / tensor_, false);
  if (low_precision(plan_.precision)) {  // logits stay wide
    const double v = static_cast<double>(model_.vocab) / tensor_;
    product.forward = kernels_.gemm({tokens_, v, h}, Precision::kBf16);
    product.backward_input = kernels_.gemm({tokens_, h, v}, Precision::kBf16);
    product.backward_weight = weight_gradient({v, h, tokens_}, Precision::kBf16);
  }
  list.add(product);
  // Unfused: to fp32, the maximum, the difference, exponentials, their sum and the quotient are passes of their own.
  LayerKernel loss = job_.fused_loss ? pass("cross entropy", 3 * element_ * logits, 2 * element_ * logits)
                                     : pass("cross entropy", 34 * logits, 14 * logits);
  loss.launches_forward = job_.fused_loss ? 3 : 10;
  loss.launches_backward = job_.fused_loss ? 2 : 6;
  list.add(loss);
  return list;
}

bool LayerCosts::runs_again(const LayerKernel& kernel) const {
  if (plan_.recompute == Recompute::kFull) return !(job_.recompute_stops_early && kernel.last);
  return plan_.recompute == Recompute::kSelective && kernel.selective;
}

LayerCost LayerCosts::sum(const LayerKernels& list) const {
  LayerCost cost;
  for (const LayerKernel& kernel : list) {
    cost.forward += kernel.forward;
    cost.backward_input += kernel.backward_input;
    cost.backward_weight += kernel.backward_weight;
    const bool again = runs_again(kernel);
    if (again) cost.recompute += kernel.forward;
    cost.hardware_flops += kernel.flops * (again ? 2 : 1) + kernel.backward_flops;
  }
  return cost;
}

LayerCosts::Comm LayerCosts::tensor_comm(size_t kind) const {
  Comm comm;
  if (plan_.tensor == 1) return comm;
  const double bytes = tokens_ * static_cast<double>(model_.d_model) * element_;
  const Group group{plan_.tensor, 1, 1};
  // Two joints a layer (the output of attention and of the feed-forward), each a sum over the ranks: one all-reduce, or a
  // reduce-scatter with an all-gather before the next product. Experts on the same ranks have no second joint.
  const double joints =
      kind_has_experts(kind) && model_.experts.shared == 0 && !model_.has_dense_ffn() ? 1 : 2;
  const double one = plan_.sequence_parallel ? machine_.network.reduce_scatter_s(bytes, group) +
                                                   machine_.network.all_gather_s(bytes, group)
                                             : machine_.network.all_reduce_s(bytes, group);
  comm.forward = joints * one;
  comm.calls_forward = joints * (plan_.sequence_parallel ? 2 : 1);
  // With sequence parallelism the inputs are gathered once more for the gradients of weights, behind other products.
  comm.backward = comm.forward;
  comm.calls_backward = comm.calls_forward;
  return comm;
}

LayerCosts::Comm LayerCosts::context_comm(double attention_forward, double attention_backward) const {
  Comm comm;
  if (plan_.context == 1) return comm;
  // Keys and values travel around the ring, each part behind the attention to the one before.
  const double bytes = tokens_ * kv_heads_ * (head_dim_ + value_dim_) * element_;
  const uint32_t domain = machine_.network.domain();
  const uint64_t reach = uint64_t{plan_.tensor} * plan_.context;
  const uint64_t stride = reach > domain && plan_.tensor < domain ? domain : plan_.tensor;
  const double steps = plan_.context - 1;
  const double hop = machine_.network.send_s(bytes, stride);
  const double back_hop = machine_.network.send_s(2 * bytes, stride);
  const double share = kernels_.constants().overlap_share;
  const auto hidden = [&](double seconds, double attention) {
    return steps * std::min(seconds, share * attention / plan_.context);
  };
  comm.hidden_forward = hidden(hop, attention_forward);
  comm.hidden_backward = hidden(back_hop, attention_backward);
  comm.forward = steps * hop - comm.hidden_forward;
  comm.backward = steps * back_hop - comm.hidden_backward;
  comm.calls_forward = steps;
  comm.calls_backward = 2 * steps;
  return comm;
}

double LayerCosts::dispatch_s(double bytes) const {
  const Network& network = machine_.network;
  const Group group{plan_.expert, plan_.expert_tensor, 1};
  const double direct = network.all_to_all_s(bytes, group);
  const double ranks = plan_.expert;
  const double near =
      std::min(ranks, std::max(1.0, std::floor(static_cast<double>(network.domain()) / plan_.expert_tensor)));
  const double domains = std::ceil(ranks / near);
  if (!job_.dispatch_by_domain || domains <= 1) return direct;
  // A token crosses to each domain once, however many of its experts are there, and is handed on within (DeepSeek-AI 2024,
  // section 3.2.2): to (d - 1)(1 - (1 - 1/d)^k) others in place of k (1 - 1/d).
  const auto used = static_cast<double>(model_.experts.used);
  const double once = (domains - 1) * (1 - std::pow(1 - 1 / domains, used));
  const double each = used * (1 - 1 / domains);
  const Group within{static_cast<uint64_t>(near), plan_.expert_tensor, 1};
  return std::min(direct, std::max(network.all_to_all_s(bytes * once / each, group),
                                   network.all_to_all_s(bytes, within)));
}

LayerCosts::Comm LayerCosts::expert_comm() const {
  Comm comm;
  const auto h = static_cast<double>(model_.d_model);
  const double own = tokens_ / tensor_ * static_cast<double>(model_.experts.used) * h * element_;
  if (plan_.expert > 1) {
    const double one = dispatch_s(own * job_.expert_imbalance);
    comm.forward = comm.backward = 2 * one;
    comm.calls_forward = comm.calls_backward = 2;
  }
  if (plan_.expert_tensor > 1) {
    const Group group{plan_.expert_tensor, 1, 1};
    const double bytes = expert_rows_ * h * element_;
    const double both =
        machine_.network.all_gather_s(bytes, group) + machine_.network.reduce_scatter_s(bytes, group);
    comm.forward += both;
    comm.backward += both;
    comm.calls_forward += 2;
    comm.calls_backward += 2;
  }
  return comm;
}

void LayerCosts::add_comm(LayerCost& cost, size_t kind, const LayerKernels& list) const {
  Comm tensor = tensor_comm(kind);
  double attention_forward = 0;
  double attention_backward = 0;
  for (const LayerKernel& kernel : list) {
    const std::string_view name = kernel.name;
    if (name != "attention" && name != "scores" && name != "values") continue;
    attention_forward += kernel.forward;
    attention_backward += kernel.backward_input;
  }
  Comm context = context_comm(attention_forward, attention_backward);
  Comm expert = kind_has_experts(kind) ? expert_comm() : Comm{};
  const double share = kernels_.constants().overlap_share;
  // Collectives hide behind the same kernels, one after the other; some of each is always seen.
  double behind_forward = share * cost.forward - context.hidden_forward;
  double behind_backward = share * (cost.backward_input + cost.backward_weight) - context.hidden_backward;
  const auto hide = [](double& seconds, double& behind, double seen) {
    const double hidden = std::min(seconds * (1 - seen), std::max(0.0, behind));
    seconds -= hidden;
    behind -= hidden;
  };
  if (plan_.overlap_tensor) {
    hide(tensor.forward, behind_forward, 1 / kPieces);
    hide(tensor.backward, behind_backward, 1 / kPieces);
  }
  if (plan_.overlap_expert) {  // behind the computation of another micro-batch
    const double slowed = kernels_.constants().overlap_slowdown;
    hide(expert.forward, behind_forward, slowed);
    hide(expert.backward, behind_backward, slowed);
  }
  cost.behind_forward = std::max(0.0, behind_forward);
  cost.behind_backward = std::max(0.0, behind_backward);
  if (plan_.recompute == Recompute::kFull) {
    tensor.backward += tensor.forward;
    context.backward += context.forward;
    expert.backward += expert.forward;
    tensor.calls_backward += tensor.calls_forward;
    context.calls_backward += context.calls_forward;
    expert.calls_backward += expert.calls_forward;
  }
  cost.tensor_comm_forward = tensor.forward;
  cost.tensor_comm_backward = tensor.backward;
  cost.context_comm_forward = context.forward;
  cost.context_comm_backward = context.backward;
  cost.expert_comm_forward = expert.forward;
  cost.expert_comm_backward = expert.backward;
  add_host(cost, list, tensor.calls_forward + context.calls_forward + expert.calls_forward,
           tensor.calls_backward + context.calls_backward + expert.calls_backward);
}

void LayerCosts::add_host(LayerCost& cost, const LayerKernels& list, double calls_forward,
                          double calls_backward) const {
  if (job_.captured_graphs) return;
  const ChipConstants& constants = kernels_.constants();
  // Backward passes are launched by the engine, not by the program's own lines.
  double forward = 0;
  double backward = 0;
  for (const LayerKernel& kernel : list) {
    forward += kernel.launches_forward;
    const bool again = runs_again(kernel);
    backward +=
        kernel.launches_backward * constants.host_backward_share + (again ? kernel.launches_forward : 0);
  }
  cost.host_forward = forward * constants.host_kernel_s + calls_forward * constants.host_collective_s;
  cost.host_backward = backward * constants.host_kernel_s + calls_backward * constants.host_collective_s;
}

double LayerCosts::attention_weights() const {
  const auto h = static_cast<double>(model_.d_model);
  const auto& latent = model_.latent;
  if (latent.kv_rank == 0) return h * head_dim_ * (2 * heads_ + 2 * kv_heads_);
  const auto q_rank = static_cast<double>(latent.q_rank);
  const auto kv_rank = static_cast<double>(latent.kv_rank);
  const double queries = latent.q_rank != 0 ? q_rank * (h + heads_ * head_dim_) : h * heads_ * head_dim_;
  return queries + h * (kv_rank + static_cast<double>(latent.rope_dim)) +
         kv_rank * heads_ * (static_cast<double>(latent.nope_dim) + value_dim_) + heads_ * value_dim_ * h;
}

double LayerCosts::norm_weights() const {
  return 2.0 * static_cast<double>(model_.d_model) * (model_.layer_norm ? 2 : 1) *
         (model_.post_norms ? 2 : 1);
}

double LayerCosts::feed_forward_weights(double width) const {
  return static_cast<double>(model_.d_model) * width * (model_.gated_ffn ? 3 : 2);
}

void LayerCosts::add_weights(LayerCost& cost, size_t kind) const {
  const auto h = static_cast<double>(model_.d_model);
  const auto& experts = model_.experts;
  cost.weights = attention_weights() + norm_weights();
  if (!kind_has_experts(kind)) {
    cost.weights += feed_forward_weights(static_cast<double>(model_.ffn) / tensor_);
    return;
  }
  cost.weights += h * static_cast<double>(experts.count);
  if (experts.shared > 0)
    cost.weights += feed_forward_weights(static_cast<double>(experts.shared * experts.ffn) / tensor_);
  if (experts.beside != model::BesideExperts::kNothing)
    cost.weights += feed_forward_weights(static_cast<double>(model_.ffn) / tensor_);
  cost.expert_weights =
      expert_count_ * feed_forward_weights(static_cast<double>(experts.ffn) / plan_.expert_tensor);
}

void LayerCosts::add_activations(LayerCost& cost, size_t kind) const {
  const auto h = static_cast<double>(model_.d_model);
  const double mask = job_.dropout_passes / kDropouts * kMask;
  const bool fused = job_.attention != Attention::kUnfused;
  const AttentionShape shape = attention_shape(kind);
  const double q = heads_ * head_dim_;
  const double kv = kv_heads_ * head_dim_;
  // Inputs of the two norms, of the two products that follow them, and masks: whole on each rank, or a share of the tokens.
  // What low-precision products take is kept as it was multiplied.
  const double taken = low_precision(plan_.precision) ? bytes_of(Precision::kFp8) : element_;
  const double norm_outputs = 2 * taken * norm_tokens_ * h;
  const double streams = 2 * element_ * norm_tokens_ * h + norm_outputs + 2 * mask * norm_tokens_ * h;
  const double attention = element_ * tokens_ * (q + kv + kv_heads_ * value_dim_ + heads_ * value_dim_) +
                           (fused ? 4 * shape.batch * shape.heads * shape.queries : 0);
  const double scores = fused ? 0
                              : shape.batch * shape.heads * shape.queries * shape.keys *
                                    (element_ + (mask > 0 ? mask + element_ : 0));
  const double parts = model_.gated_ffn ? 2 : 1;
  double inner = 0;   // inputs of the activation function
  double result = 0;  // its outputs
  double moved = 0;   // tokens as the experts receive them
  const auto wide = [&](double width) {
    inner += element_ * parts * tokens_ * width / tensor_;
    result += taken * tokens_ * width / tensor_;
  };
  if (kind_has_experts(kind)) {
    const double width = static_cast<double>(model_.experts.ffn) / plan_.expert_tensor;
    inner += element_ * parts * expert_rows_ * width;
    result += taken * expert_rows_ * width;
    moved = (element_ + taken) * expert_rows_ * h;
    if (model_.experts.shared > 0) wide(static_cast<double>(model_.experts.shared * model_.experts.ffn));
    if (model_.experts.beside != model::BesideExperts::kNothing) wide(static_cast<double>(model_.ffn));
  } else {
    wide(static_cast<double>(model_.ffn));
  }
  const double all = streams + attention + scores + inner + result + moved;
  switch (plan_.recompute) {
    case Recompute::kNone: cost.activations = all; break;
    case Recompute::kSelective:
      // Unfused: what grows with the square of the sequence. Fused: what one pass over memory gives back.
      cost.activations = fused ? all - norm_outputs - result : all - scores;
      break;
    case Recompute::kFull: cost.activations = element_ * norm_tokens_ * h; break;
  }
  // While a layer's backward pass runs, all that it keeps is there again, and the gradient of its widest vector.
  cost.peak = all - cost.activations + std::max(inner, element_ * tokens_ * h) + scores / 2;
}

double LayerCosts::model_flops(size_t kind) const {
  LayerCost weights;
  add_weights(weights, kind);
  const auto h = static_cast<double>(model_.d_model);
  double products = weights.weights - norm_weights();
  if (model_.latent.kv_rank != 0 && plan_.sequence_parallel) {
    // Projections down are whole on every rank, for a share of the tokens.
    const auto whole =
        h * static_cast<double>(model_.latent.q_rank + model_.latent.kv_rank + model_.latent.rope_dim);
    products -= whole * (1 - 1 / tensor_);
  }
  double flops = 2 * tokens_ * products;
  if (kind_has_experts(kind)) {
    flops -= 2 * tokens_ * h * static_cast<double>(model_.experts.count) * (1 - 1 / tensor_);
    flops += 2 * expert_rows_ / job_.expert_imbalance *
             feed_forward_weights(static_cast<double>(model_.experts.ffn) / plan_.expert_tensor);
  }
  const AttentionShape shape = attention_shape(kind);
  return flops + 2 * shape.batch * shape.heads * shape.pairs * (shape.head_dim + shape.value_dim);
}

LayerCost LayerCosts::layer(size_t kind) const {
  const LayerKernels list = layer_kernels(kind);
  LayerCost cost = sum(list);
  add_comm(cost, kind, list);
  add_weights(cost, kind);
  add_activations(cost, kind);
  cost.model_flops = model_flops(kind);
  return cost;
}

LayerCost LayerCosts::embedding() const {
  const LayerKernels list = embedding_kernels();
  LayerCost cost = sum(list);
  const auto h = static_cast<double>(model_.d_model);
  if (plan_.tensor > 1) {
    const double bytes = tokens_ * h * element_;
    const Group group{plan_.tensor, 1, 1};
    cost.tensor_comm_forward = plan_.sequence_parallel ? machine_.network.reduce_scatter_s(bytes, group)
                                                       : machine_.network.all_reduce_s(bytes, group);
    if (plan_.sequence_parallel) cost.tensor_comm_backward = machine_.network.all_gather_s(bytes, group);
  }
  cost.recompute = 0;
  cost.weights =
      static_cast<double>(model_.vocab) * h / tensor_ + static_cast<double>(model_.learned_positions) * h;
  cost.activations = job_.dropout_passes > 0 ? kMask * norm_tokens_ * h : 0;
  return cost;
}

LayerCost LayerCosts::head() const {
  const LayerKernels list = head_kernels();
  LayerCost cost = sum(list);
  cost.recompute = 0;
  const auto h = static_cast<double>(model_.d_model);
  const double v = static_cast<double>(model_.vocab) / tensor_;
  cost.hardware_flops = 6 * tokens_ * h * v;
  cost.model_flops = 2 * tokens_ * h * v;
  if (plan_.tensor > 1) {
    const double bytes = tokens_ * h * element_;
    const Group group{plan_.tensor, 1, 1};
    if (plan_.sequence_parallel) {
      cost.tensor_comm_forward = machine_.network.all_gather_s(bytes, group);
      cost.tensor_comm_backward = machine_.network.reduce_scatter_s(bytes, group);
    } else {
      cost.tensor_comm_backward = machine_.network.all_reduce_s(bytes, group);
    }
  }
  cost.weights = v * h;
  // The input of the norm and of the product, and the logits at two bytes (fused) or four.
  cost.activations = 2 * element_ * norm_tokens_ * h + (job_.fused_loss ? element_ : 4) * tokens_ * v;
  cost.peak = (job_.fused_loss ? element_ : 6) * tokens_ * v;
  return cost;
}

}  // namespace fathom::cluster
