// The kernels of one layer, of the embedding and of the logits, on one chip for one micro-batch, as a ParallelPlan cuts
// them: from ModelConfig's shapes alone.
//
// T tokens (micro_batch * sequence / context), h = d_model, t = tensor. A product of T x k by k x n takes part three times: forward,
// gradient of its input, gradient of its weights. Passes are counted in bytes read and written (2 an element). Where
// attention is not fused the s x s scores are written and read by every step of it. Values; thread-safe; no allocation.
// Sources: as step_cost.h.
#pragma once

#include <array>
#include <cstddef>

#include "cluster/layer_cost_kernels.h"
#include "cluster/step_cost.h"
#include "model/config.h"

namespace fathom::cluster {

struct LayerKernel {
  const char* name = "";
  double flops = 0;                                             // forward, executed
  double bytes = 0;                                             // forward, of memory
  double forward = 0, backward_input = 0, backward_weight = 0;  // seconds
  double backward_flops = 0;
  double launches_forward = 1, launches_backward = 2;
  bool last = false;       // nothing after it in the layer needs its result for the backward pass
  bool selective = false;  // once more in the backward pass under Recompute::kSelective
};

/// Kernels of one layer, in the order of the forward pass.
class LayerKernels {
 public:
  void add(const LayerKernel& kernel);
  const LayerKernel* begin() const { return kernels_.data(); }
  const LayerKernel* end() const { return kernels_.data() + size_; }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kMost = 48;
  std::array<LayerKernel, kMost> kernels_{};
  size_t size_ = 0;
};

/// Which of the kinds of LayerTable a layer is.
size_t layer_kind(const model::ModelConfig& model, size_t layer);
constexpr bool kind_has_experts(size_t kind) { return (kind & 1U) != 0; }
constexpr bool kind_is_windowed(size_t kind) { return (kind & 2U) != 0; }

/// Builds the costs of one plan's layers. Keeps references.
class LayerCosts {
 public:
  LayerCosts(const model::ModelConfig& model, const Machine& machine, const TrainingJob& job,
             const KernelModel& kernels, const ParallelPlan& plan);

  LayerCost layer(size_t kind) const;
  LayerCost embedding() const;
  LayerCost head() const;
  double boundary() const;  // bytes that a stage sends the next

  LayerKernels layer_kernels(size_t kind) const;
  LayerKernels embedding_kernels() const;
  LayerKernels head_kernels() const;

 private:
  struct Comm {
    double forward = 0, backward = 0;
    double calls_forward = 0, calls_backward = 0;
    double hidden_forward = 0, hidden_backward = 0;
  };
  LayerKernel linear(const char* name, double tokens, double in, double out, bool bias) const;
  double weight_gradient(const GemmShape& shape, Precision precision) const;
  LayerKernel pass(const char* name, double bytes_forward, double bytes_backward) const;
  void add_norm(LayerKernels& list, const char* name, double elements) const;
  void add_attention(LayerKernels& list, size_t kind) const;
  void add_latent_projections(LayerKernels& list) const;
  void add_projections(LayerKernels& list) const;
  void add_fused_core(LayerKernels& list, const AttentionShape& shape) const;
  void add_unfused_core(LayerKernels& list, const AttentionShape& shape) const;
  void add_feed_forward(LayerKernels& list, double width, bool shared) const;
  void add_experts(LayerKernels& list) const;
  LayerKernel grouped(const char* name, double rows, double in, double out) const;
  AttentionShape attention_shape(size_t kind) const;
  double attended_pairs(size_t kind) const;

  LayerKernel residual() const;
  bool runs_again(const LayerKernel& kernel) const;
  LayerCost sum(const LayerKernels& list) const;
  Comm tensor_comm(size_t kind) const;
  Comm context_comm(double attention_forward, double attention_backward) const;
  double dispatch_s(double bytes) const;
  Comm expert_comm() const;
  void add_comm(LayerCost& cost, size_t kind, const LayerKernels& list) const;
  void add_host(LayerCost& cost, const LayerKernels& list, double calls_forward, double calls_backward) const;
  double attention_weights() const;
  double norm_weights() const;
  double feed_forward_weights(double width) const;
  void add_weights(LayerCost& cost, size_t kind) const;
  void add_activations(LayerCost& cost, size_t kind) const;
  double model_flops(size_t kind) const;

  const model::ModelConfig& model_;
  const Machine& machine_;
  const TrainingJob& job_;
  const KernelModel& kernels_;
  const ParallelPlan& plan_;
  double element_ = 2;      // bytes of an activation
  double tokens_ = 0;       // T
  double norm_tokens_ = 0;  // T, or T / t where sequence parallel
  double tensor_ = 1;
  double heads_ = 1, kv_heads_ = 1;  // on the chip
  double head_dim_ = 0, value_dim_ = 0;
  double expert_rows_ = 0;   // tokens that reach the chip's experts, of all of them
  double expert_count_ = 0;  // on the chip
};

}  // namespace fathom::cluster
