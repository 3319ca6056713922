#include "tensor/cpu_ops.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/buffer.h"
#include "tensor/grad/attention.h"
#include "tensor/grad/cross_entropy.h"
#include "tensor/grad/flat.h"
#include "tensor/grad/gate.h"
#include "tensor/grad/norm.h"
#include "tensor/grad/rope.h"
#include "tensor/grad/rows.h"

namespace fathom::tensor {
namespace {

constexpr size_t kLeastWork = 8192;  // floats below which another thread costs more than it does
constexpr size_t kLine = 64;         // floats that threads which share a row's columns keep together
constexpr size_t kHugeBytes = size_t{4} << 20;

class CpuOps final : public DeviceOps {
 public:
  explicit CpuOps(ThreadPool& pool) : pool_(pool), gemm_scratch_(gemm_scratch_bytes(pool.size())) {}

  Device device() const override { return Device::kCpu; }

  DeviceBuffer allocate(size_t floats) override {
    const size_t bytes = floats * sizeof(float);
    Buffer memory(bytes, bytes >= kHugeBytes);
    return {Device::kCpu, memory.release(), bytes, &Buffer::free};
  }

  void to_device(std::span<const float> host, float* device) override {
    copy(host.data(), device, host.size());
  }

  void to_host(const float* device, std::span<float> host) override {
    copy(device, host.data(), host.size());
  }

  void gemm(const GemmArgs& args) override {
    tensor::gemm(args, pool_, {gemm_scratch_.as<std::byte>(), gemm_scratch_.bytes()});
  }

  void add_bias(float* y, const float* bias, size_t rows, size_t n) override {
    by_rows(rows, n, [&](size_t begin, size_t end) { grad::add_bias(y + begin * n, bias, end - begin, n); });
  }

  void bias_backward(const float* dy, float* d_bias, size_t rows, size_t n) override {
    sum_by_rows(rows, n, d_bias, [&](size_t begin, size_t end, float* sums) {
      grad::column_sums(dy + begin * n, sums, end - begin, n);
    });
  }

  void embed(const float* table, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
             float scale, float* out) override {
    by_rows(tokens.size(), n, [&](size_t begin, size_t end) {
      grad::embed(table, tokens.subspan(begin, end - begin), first, vocab, n, scale, out + begin * n);
    });
  }

  void embed_backward(const float* d_out, std::span<const int32_t> tokens, size_t first, size_t vocab,
                      size_t n, float scale, float* d_table) override {
    pool_.parallel_for(n, kLine, [&](size_t begin, size_t end) {
      grad::embed_backward(d_out, tokens, first, vocab, n, begin, end, scale, d_table);
    });
  }

  void rms_norm(const float* x, const float* weight, float eps, float* y, float* inverse_rms, size_t rows,
                size_t n) override {
    by_rows(rows, n, [&](size_t begin, size_t end) {
      grad::rms_norm(x + begin * n, weight, eps, y + begin * n, inverse_rms + begin, end - begin, n);
    });
  }

  void add_rms_norm(float* x, const float* branch, const float* weight, float eps, float* y,
                    float* inverse_rms, size_t rows, size_t n) override {
    by_rows(rows, n, [&](size_t begin, size_t end) {
      grad::add_rms_norm(x + begin * n, branch + begin * n, weight, eps, y + begin * n, inverse_rms + begin,
                         end - begin, n);
    });
  }

  void rms_norm_backward(const float* dy, const float* x, const float* weight, const float* inverse_rms,
                         float* dx, bool add, float* d_weight, size_t rows, size_t n) override {
    const auto body = [&](size_t begin, size_t end, float* sums) {
      grad::rms_norm_backward(dy + begin * n, x + begin * n, weight, inverse_rms + begin, dx + begin * n, add,
                              sums, end - begin, n);
    };
    if (d_weight != nullptr)
      sum_by_rows(rows, n, d_weight, body);
    else
      by_rows(rows, n, [&](size_t begin, size_t end) { body(begin, end, nullptr); });
  }

  void rope(float* x, size_t stride, size_t tokens, size_t heads, size_t head_dim, size_t dims, bool halves,
            const float* cos_sin, const int32_t* position, bool inverse) override {
    by_rows(tokens, heads * head_dim, [&](size_t begin, size_t end) {
      grad::rope(x + begin * stride, stride, end - begin, heads, head_dim, dims, halves, cos_sin,
                 position + begin, inverse);
    });
  }

  void attention(const AttentionShape& shape, const float* q, size_t q_stride, const float* k, const float* v,
                 size_t kv_stride, float* out, size_t out_stride, float* log_sum) override {
    attention_forward(shape,
                      {.q = q,
                       .q_stride = q_stride,
                       .k = k,
                       .v = v,
                       .kv_stride = kv_stride,
                       .out = out,
                       .out_stride = out_stride,
                       .log_sum = log_sum},
                      pool_, attention_scratch(shape));
  }

  void attention_backward(const AttentionShape& shape, const float* q, size_t q_stride, const float* k,
                          const float* v, size_t kv_stride, const float* out, const float* d_out,
                          size_t out_stride, const float* log_sum, float* dq, float* dk, float* dv) override {
    tensor::attention_backward(shape,
                               {.q = q,
                                .q_stride = q_stride,
                                .k = k,
                                .v = v,
                                .kv_stride = kv_stride,
                                .out = out,
                                .d_out = d_out,
                                .out_stride = out_stride,
                                .log_sum = log_sum,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv},
                               pool_, attention_scratch(shape));
  }

  void gate(GateActivation act, const float* gate, const float* up, size_t in_stride, float* out, size_t rows,
            size_t n) override {
    by_rows(rows, n, [&](size_t begin, size_t end) {
      const size_t in = begin * in_stride;
      grad::gate(act, gate + in, up + in, in_stride, out + begin * n, end - begin, n);
    });
  }

  void gate_backward(GateActivation act, const float* gate, const float* up, size_t in_stride,
                     const float* d_out, float* d_gate, float* d_up, float* out, size_t rows,
                     size_t n) override {
    by_rows(rows, n, [&](size_t begin, size_t end) {
      const size_t in = begin * in_stride;
      grad::gate_backward(act, gate + in, up + in, in_stride, d_out + begin * n, d_gate + in, d_up + in,
                          out == nullptr ? nullptr : out + begin * n, end - begin, n);
    });
  }

  void cross_entropy_part(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                          SoftmaxPart* parts) override {
    by_rows(shape.rows, shape.vocab, [&](size_t begin, size_t end) {
      grad::cross_entropy_part(of_rows(shape, begin, end), logits + begin * shape.vocab, targets + begin,
                               parts + begin);
    });
  }

  double cross_entropy_gradient(const CrossEntropyShape& shape, float* logits, const int32_t* targets,
                                const SoftmaxPart* merged) override {
    by_rows(shape.rows, shape.vocab, [&](size_t begin, size_t end) {
      grad::cross_entropy_gradient(of_rows(shape, begin, end), logits + begin * shape.vocab, targets + begin,
                                   merged + begin);
    });
    return grad::cross_entropy_loss(shape, targets, merged);
  }

  void gather_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t n,
                   float* out) override {
    by_rows(count, n, [&](size_t begin, size_t end) {
      grad::gather_rows(x, index + begin, weight == nullptr ? nullptr : weight + begin, end - begin, n,
                        out + begin * n);
    });
  }

  void combine_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t fan,
                    size_t n, float* out) override {
    by_rows(count, fan * n, [&](size_t begin, size_t end) {
      grad::combine_rows(x, index + begin * fan, weight == nullptr ? nullptr : weight + begin * fan,
                         end - begin, fan, n, out + begin * n);
    });
  }

  void combine_rows_weights(const float* x, const int32_t* index, const float* d_out, size_t count,
                            size_t fan, size_t n, float* d_weight) override {
    by_rows(count, fan * n, [&](size_t begin, size_t end) {
      grad::combine_rows_weights(x, index + begin * fan, d_out + begin * n, end - begin, fan, n,
                                 d_weight + begin * fan);
    });
  }

  void fill(float* x, float value, size_t n) override {
    flat(n, [&](size_t begin, size_t end) { grad::fill(x + begin, value, end - begin); });
  }

  void copy(const float* x, float* y, size_t n) override {
    flat(n, [&](size_t begin, size_t end) { grad::copy(x + begin, y + begin, end - begin); });
  }

  void add(const float* x, float* y, size_t n) override {
    flat(n, [&](size_t begin, size_t end) { grad::add(x + begin, y + begin, end - begin); });
  }

  void scale(float* x, float factor, size_t n) override {
    flat(n, [&](size_t begin, size_t end) { grad::scale(x + begin, factor, end - begin); });
  }

  double sum_of_squares(const float* x, size_t n) override {
    const size_t blocks = blocks_of(n, 1);
    auto* sums = partial_sums(blocks * sizeof(double)).template as<double>();
    pool_.parallel_for(blocks, 1, [&](size_t first, size_t last) {
      for (size_t b = first; b < last; ++b) {
        const size_t begin = n * b / blocks;
        sums[b] = grad::sum_of_squares(x + begin, n * (b + 1) / blocks - begin);
      }
    });
    double total = 0;
    for (size_t b = 0; b < blocks; ++b) total += sums[b];
    return total;
  }

  void adamw(const AdamWArgs& args, float* w, const float* g, float* m, float* v, size_t n) override {
    flat(n, [&](size_t begin, size_t end) {
      grad::adamw(args, w + begin, g + begin, m + begin, v + begin, end - begin);
    });
  }

  void ema(const float* w, float decay, float* average, size_t n) override {
    flat(n, [&](size_t begin, size_t end) { grad::ema(w + begin, decay, average + begin, end - begin); });
  }

 private:
  /// body(begin, end) for parts of [0, n), whole cache lines each.
  template <class Body>
  void flat(size_t n, const Body& body) {
    pool_.parallel_for(n, kLeastWork, body);
  }

  /// body(begin, end) for parts of [0, rows), rows of n floats.
  template <class Body>
  void by_rows(size_t rows, size_t n, const Body& body) {
    pool_.parallel_for(rows, std::max<size_t>(1, kLeastWork / std::max<size_t>(1, n)), body);
  }

  /// Parts into which sums over rows of n floats fall: as many as threads have enough to do for.
  size_t blocks_of(size_t rows, size_t n) const {
    return std::clamp<size_t>(rows * n / kLeastWork, 1, pool_.size());
  }

  /// body(begin, end, sums[n]) adds up each block of rows for itself; total[n] += the blocks' sums in their order.
  template <class Body>
  void sum_by_rows(size_t rows, size_t n, float* total, const Body& body) {
    const size_t blocks = blocks_of(rows, n);
    float* sums = partial_sums(blocks * n * sizeof(float)).template as<float>();
    pool_.parallel_for(blocks, 1, [&](size_t first, size_t last) {
      for (size_t b = first; b < last; ++b) {
        grad::fill(sums + b * n, 0.0f, n);
        body(rows * b / blocks, rows * (b + 1) / blocks, sums + b * n);
      }
    });
    grad::column_sums(sums, total, blocks, n);
  }

  /// Grows with the longest rows seen: in the first step, and never after it.
  Buffer& partial_sums(size_t bytes) { return grown(sums_, bytes); }

  std::span<std::byte> attention_scratch(const AttentionShape& shape) {
    const Buffer& scratch = grown(attention_scratch_, attention_scratch_bytes(shape, pool_.size()));
    return {scratch.as<std::byte>(), scratch.bytes()};
  }

  static Buffer& grown(Buffer& buffer, size_t bytes) {
    if (buffer.bytes() < bytes) buffer = Buffer(bytes);
    return buffer;
  }

  static CrossEntropyShape of_rows(CrossEntropyShape shape, size_t begin, size_t end) {
    shape.rows = end - begin;
    return shape;
  }

  ThreadPool& pool_;
  Buffer gemm_scratch_;
  Buffer attention_scratch_;
  Buffer sums_;  // of blocks of rows
};

}  // namespace

std::unique_ptr<DeviceOps> make_cpu_ops(ThreadPool& pool) { return std::make_unique<CpuOps>(pool); }

}  // namespace fathom::tensor
