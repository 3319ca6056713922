#include "infer/weights.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace fathom::infer {
namespace {

size_t align(size_t bytes) {
  return (bytes + tensor::kPackedAlignment - 1) / tensor::kPackedAlignment * tensor::kPackedAlignment;
}

/// Tells the system that these bytes of a mapped file will not be read again; whole pages only.
void give_back(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

/// Lays out and fills the memory of a Weights: sizes first, then tensor by tensor in the same order.
class Weights::Loader {
 public:
  Loader(const model::GgufFile& file, bool mapped, ThreadPool& pool)
      : file_(file), mapped_(mapped), pool_(pool) {}

  static size_t stored_bytes(const model::GgufTensor& t) {
    if (t.shape.size() < 2) return align(t.elements * sizeof(float));
    return align(tensor::packed_bytes(*t.dtype, t.shape[1], t.shape[0]));
  }

  void set_memory(std::byte* memory) { next_ = memory; }

  tensor::PackedMatrix matrix(const std::string& name) {
    const model::GgufTensor& t = file_.tensor(name);
    const size_t cols = t.shape[0];
    const size_t rows = t.shape.size() > 1 ? t.shape[1] : 1;
    std::byte* packed = take(t);
    const tensor::DType dtype = *t.dtype;
    exact_ = exact_ && dtype == tensor::DType::kF32;
    std::atomic<bool> finite{true};
    pool_.parallel_for((rows + tensor::kGroupRows - 1) / tensor::kGroupRows, 1,
                       [&](size_t begin, size_t end) {
                         tensor::pack_groups(dtype, t.data.data(), rows, cols, begin, end, packed);
                         const size_t first = begin * tensor::kGroupRows;
                         const size_t count = std::min(end * tensor::kGroupRows, rows) - first;
                         const size_t bytes = tensor::row_bytes(dtype, cols);
                         if (!tensor::row_is_finite(dtype, t.data.data() + first * bytes, count * cols))
                           finite.store(false, std::memory_order_relaxed);
                       });
    require_finite(t, finite);
    if (mapped_) give_back(t.data);
    return {dtype, rows, cols, tensor::packed_group_bytes(dtype, cols), packed};
  }

  const float* vector(const std::string& name) {
    const model::GgufTensor& t = file_.tensor(name);
    require_finite(t, tensor::row_is_finite(*t.dtype, t.data.data(), t.elements));
    auto* out = reinterpret_cast<float*>(take(t));
    tensor::dequantize_row(*t.dtype, t.data.data(), out, t.elements);
    return out;
  }

  Linear linear(const std::string& prefix, bool bias) {
    Linear out;
    out.matrix = matrix(prefix + ".weight");
    if (bias) out.bias = vector(prefix + ".bias");
    return out;
  }

  /// Whether all matrices so far are F32.
  bool exact() const { return exact_; }

 private:
  /// One number that is not finite would spread, or hide in the rounding of activations and change what is said.
  void require_finite(const model::GgufTensor& t, bool finite) const {
    if (finite) return;
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("{}: tensor {} holds a number that is not finite; the file is damaged, get it again",
                    file_.name(), t.name));
  }

  std::byte* take(const model::GgufTensor& t) {
    std::byte* at = next_;
    next_ += stored_bytes(t);
    return at;
  }

  const model::GgufFile& file_;
  bool mapped_;
  ThreadPool& pool_;
  std::byte* next_ = nullptr;
  bool exact_ = true;
};

Weights::Weights(const model::ModelConfig& c, const model::GgufFile& file, bool mapped, ThreadPool& pool) {
  Loader loader(file, mapped, pool);
  size_t total = 0;
  for (const auto& spec : model::required_tensors(c)) total += Loader::stored_bytes(file.tensor(spec.name));
  memory_ = tensor::Buffer(total, true);
  loader.set_memory(memory_.as<std::byte>());

  embedding_ = loader.matrix("token_embd.weight");
  for (size_t l = 0; l < c.layers; ++l) {
    const std::string block = fmt::format("blk.{}.", l);
    LayerWeights w;
    w.attention_norm = loader.vector(block + "attn_norm.weight");
    w.q = loader.linear(block + "attn_q", c.attention_bias);
    w.k = loader.linear(block + "attn_k", c.attention_bias);
    w.v = loader.linear(block + "attn_v", c.attention_bias);
    w.o = loader.linear(block + "attn_output", c.attention_output_bias);
    w.ffn_norm = loader.vector(block + "ffn_norm.weight");
    w.gate = loader.linear(block + "ffn_gate", c.ffn_bias);
    w.up = loader.linear(block + "ffn_up", c.ffn_bias);
    w.down = loader.linear(block + "ffn_down", c.ffn_bias);
    layers_.push_back(w);
  }
  output_norm_ = loader.vector("output_norm.weight");
  output_ = c.tied_output ? embedding_ : loader.matrix("output.weight");
  if (c.rope.frequency_factors) rope_factors_ = {loader.vector("rope_freqs.weight"), c.rope.dims / 2};
  if (loader.exact()) cache_dtype_ = tensor::DType::kF32;
}

}  // namespace fathom::infer
