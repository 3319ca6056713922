// The operations of training, one table for each kind of device: what `train` calls, so that a GPU is another table and not
// another engine. `CpuOps` (tensor/cpu_ops.h) is the one that there is.
//
// Every pointer is into memory of the table's device, from its `allocate`; shapes stand in brackets, the contiguous
// dimension last. Forward passes keep what backward passes need where the signature says so. "+=" marks outputs that are
// added to: gradients of weights gather over micro-batches, gradients of activations where several paths meet.
//
// Formulas are those of tensor/ops.h; each operation has a plain reference in tensor/grad/reference.h, and tests hold one
// against the other and gradients against finite differences.
//
// Determinism: results depend on the inputs and on the number of threads alone. Thread safety: one caller at a time.
// Nothing is allocated but by `allocate` (scratch of the table's own grows in the first step).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "tensor/gemm.h"

namespace fathom::tensor {

enum class Device { kCpu, kCuda };

/// Memory of a device, zeroed; owned by value, and it outlives every span of it.
class DeviceBuffer {
 public:
  using Release = void (*)(void*, size_t);

  DeviceBuffer() = default;
  DeviceBuffer(Device device, void* data, size_t bytes, Release release);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  Device device() const { return device_; }
  size_t bytes() const { return bytes_; }
  float* floats() const { return static_cast<float*>(data_); }
  size_t size() const { return bytes_ / sizeof(float); }
  std::span<float> span() const { return {floats(), size()}; }

 private:
  Device device_ = Device::kCpu;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Release release_ = nullptr;
};

/// How tokens of one micro-batch see each other: `sequences` rows of `length` tokens; a token sees itself and those before
/// it in its sequence, from the first of its document on, and no further back than `window`.
struct AttentionShape {
  size_t sequences = 0;
  size_t length = 0;
  size_t heads = 0;
  size_t kv_heads = 0;  // divides heads
  size_t head_dim = 0;
  float scale = 1.0f;  // of the products of queries and keys
  float cap = 0.0f;    // scaled scores become cap * tanh(score / cap); 0: as they are
  size_t window = 0;   // the last so many positions, its own included; 0: all
  const int32_t* starts =
      nullptr;  // [sequences, length]: where in its sequence a token's document begins; null: at 0
  Precision precision = Precision::kF32;
  size_t tokens() const { return sequences * length; }
};

enum class GateActivation { kSilu, kGelu };

/// The logits of some rows and what a loss makes of them.
struct CrossEntropyShape {
  size_t rows = 0;
  size_t vocab = 0;          // columns that this device holds
  size_t first = 0;          // the token that column 0 stands for
  float logit_scale = 1.0f;  // logits are multiplied by it,
  float softcap = 0.0f;      // then become cap * tanh(logit / cap); 0: as they are
  float z_loss = 0.0f;       // weight of log(sum of exp)^2, added to the loss (Chowdhery et al., 2022)
};

/// Of one row over the columns that a device holds, to be merged with the other devices' of a tensor-parallel group.
struct SoftmaxPart {
  float max = 0;
  float sum = 0;     // of exp(logit - max)
  float target = 0;  // the target's logit, 0 where another device holds it
};

/// Of the columns of both.
SoftmaxPart merge(const SoftmaxPart& a, const SoftmaxPart& b);

/// AdamW (Loshchilov and Hutter, 2019) for one step; the first step is 1.
struct AdamWArgs {
  float learning_rate = 0;
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;
  float weight_decay = 0;    // 0 for norms and biases
  float gradient_scale = 1;  // of every gradient: 1 / loss tokens, and clipping
  uint64_t step = 1;
};

class DeviceOps {
 public:
  virtual ~DeviceOps() = default;
  virtual Device device() const = 0;

  // Memory. Errors: kResourceExhausted.
  virtual DeviceBuffer allocate(size_t floats) = 0;
  virtual void to_device(std::span<const float> host, float* device) = 0;
  virtual void to_host(const float* device, std::span<float> host) = 0;

  // Products.
  virtual void gemm(const GemmArgs& args) = 0;
  /// y[rows][n] += bias[n].
  virtual void add_bias(float* y, const float* bias, size_t rows, size_t n) = 0;
  /// d_bias[n] += the sum over rows of dy.
  virtual void bias_backward(const float* dy, float* d_bias, size_t rows, size_t n) = 0;

  // Embedding: out[i] = table[tokens[i]] * scale; rows of tokens outside [first, first + vocab) become 0.
  virtual void embed(const float* table, std::span<const int32_t> tokens, size_t first, size_t vocab,
                     size_t n, float scale, float* out) = 0;
  /// d_table[tokens[i]] += d_out[i] * scale.
  virtual void embed_backward(const float* d_out, std::span<const int32_t> tokens, size_t first, size_t vocab,
                              size_t n, float scale, float* d_table) = 0;

  // Norms over rows of n: y = x * inverse_rms * weight. x: [rows, n]; inverse_rms: [rows], kept for the backward pass.
  virtual void rms_norm(const float* x, const float* weight, float eps, float* y, float* inverse_rms,
                        size_t rows, size_t n) = 0;
  /// x += branch, then the same of x: the residual stream and the norm that follows it in one pass.
  virtual void add_rms_norm(float* x, const float* branch, const float* weight, float eps, float* y,
                            float* inverse_rms, size_t rows, size_t n) = 0;
  /// dx (+= with `add`, else =); d_weight += (null: not wanted). dx may be dy.
  virtual void rms_norm_backward(const float* dy, const float* x, const float* weight,
                                 const float* inverse_rms, float* dx, bool add, float* d_weight, size_t rows,
                                 size_t n) = 0;

  // Rotary positions of `heads` vectors a token, in place; `stride` floats from token to token. cos_sin: [positions, dims]
  // as rope_angles makes them; position[t] chooses the row. `inverse` turns back, which is the backward pass.
  virtual void rope(float* x, size_t stride, size_t tokens, size_t heads, size_t head_dim, size_t dims,
                    bool halves, const float* cos_sin, const int32_t* position, bool inverse) = 0;

  // Attention without ever storing the scores (FlashAttention: Dao, 2023). q, out: [tokens, heads, head_dim] with
  // `q_stride` from token to token; k, v: [tokens, kv_heads, head_dim] with `kv_stride`; log_sum: [heads, tokens], kept.
  virtual void attention(const AttentionShape& shape, const float* q, size_t q_stride, const float* k,
                         const float* v, size_t kv_stride, float* out, size_t out_stride, float* log_sum) = 0;
  /// dq, dk, dv are overwritten, with the strides of q, k and v. `out` and `log_sum` are the forward pass's.
  virtual void attention_backward(const AttentionShape& shape, const float* q, size_t q_stride,
                                  const float* k, const float* v, size_t kv_stride, const float* out,
                                  const float* d_out, size_t out_stride, const float* log_sum, float* dq,
                                  float* dk, float* dv) = 0;

  // Gated feed-forward: out = act(gate) * up, for rows of n with strides of their own.
  virtual void gate(GateActivation act, const float* gate, const float* up, size_t in_stride, float* out,
                    size_t rows, size_t n) = 0;
  /// d_gate, d_up (stride in_stride) from d_out [rows, n]; they may lie where gate and up do. `out`, where not null,
  /// receives act(gate) * up again, so that it need not be kept.
  virtual void gate_backward(GateActivation act, const float* gate, const float* up, size_t in_stride,
                             const float* d_out, float* d_gate, float* d_up, float* out, size_t rows,
                             size_t n) = 0;

  // Cross-entropy over rows of logits, in two halves so that the columns may be spread over devices.
  /// parts[rows] of targets[rows]; a target below 0 has no loss, and its row is passed over.
  virtual void cross_entropy_part(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                                  SoftmaxPart* parts) = 0;
  /// logits become d loss / d logits (of the products, before logit_scale and softcap) for the merged parts; returns the
  /// sum of the rows' losses, z-loss included. Rows without a target become 0.
  virtual double cross_entropy_gradient(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                                        const SoftmaxPart* merged) = 0;

  // Rows by index: out[i] = x[index[i]] * (weight ? weight[i] : 1); index -1 gives 0.
  virtual void gather_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t n,
                           float* out) = 0;
  /// out[i] += the sum over j < fan of weight[i * fan + j] * x[index[i * fan + j]]; index -1 adds nothing; weight null: 1.
  virtual void combine_rows(const float* x, const int32_t* index, const float* weight, size_t count,
                            size_t fan, size_t n, float* out) = 0;
  /// d_weight[i * fan + j] = d_out[i] . x[index[i * fan + j]], 0 where the index is -1.
  virtual void combine_rows_weights(const float* x, const int32_t* index, const float* d_out, size_t count,
                                    size_t fan, size_t n, float* d_weight) = 0;

  // Flat vectors.
  virtual void fill(float* x, float value, size_t n) = 0;
  virtual void copy(const float* x, float* y, size_t n) = 0;
  virtual void add(const float* x, float* y, size_t n) = 0;  // y += x
  virtual void scale(float* x, float factor, size_t n) = 0;
  virtual double sum_of_squares(const float* x, size_t n) = 0;  // of infinite or NaN elements: not finite
  /// One pass over weights, gradient and both moments.
  virtual void adamw(const AdamWArgs& args, float* w, const float* g, float* m, float* v, size_t n) = 0;
  virtual void ema(const float* w, float decay, float* average,
                   size_t n) = 0;  // average += (1 - decay) (w - average)
};

}  // namespace fathom::tensor
