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

using model::BesideExperts;

/// Bytes of a file that one thread packs at a time: enough to read ahead, few enough that they are still in the
/// second-level cache when they are looked at again, and that threads finish together.
constexpr size_t kPieceBytes = size_t{512} << 10;

size_t align(size_t bytes) {
  return (bytes + tensor::kPackedAlignment - 1) / tensor::kPackedAlignment * tensor::kPackedAlignment;
}

/// The pages that touch these bytes, or with `whole` those that lie within them.
std::span<std::byte> pages_of(std::span<const std::byte> bytes, bool whole) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t last = first + bytes.size();
  const uintptr_t begin = (whole ? first + page - 1 : first) / page * page;
  const uintptr_t end = (whole ? last : last + page - 1) / page * page;
  return {reinterpret_cast<std::byte*>(begin), end > begin ? end - begin : 0};
}

/// Has all pages of a mapped file mapped at once; one by one, faults take as long as the packing.
void read_ahead([[maybe_unused]] std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  const auto pages = pages_of(bytes, false);
  if (!pages.empty())
    madvise(pages.data(), pages.size(), MADV_POPULATE_READ);  // a hint; older systems have none
#endif
}

/// Tells the system that these bytes of a mapped file will not be read again.
void give_back(std::span<const std::byte> bytes) {
  const auto pages = pages_of(bytes, true);
  if (!pages.empty()) madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

}  // namespace

/// Lays out the memory of a Weights, and packs into it. The layout is asked for twice: first without memory, for its size,
/// then with it, for the pointers.
class Weights::Loader {
 public:
  Loader(const model::GgufFile& file, const AdaptedTensors& adapted, bool mapped, ThreadPool& pool)
      : file_(file), adapted_(adapted), mapped_(mapped), pool_(pool) {}

  size_t bytes() const { return bytes_; }
  /// Begins the layout anew, in this memory.
  void set_memory(std::byte* memory) {
    memory_ = memory;
    bytes_ = 0;
    matrices_.clear();
    vectors_.clear();
  }
  /// Whether all matrices are F32.
  bool exact() const {
    return std::all_of(matrices_.begin(), matrices_.end(),
                       [](const Matrix& m) { return *m.tensor->dtype == tensor::DType::kF32; });
  }

  /// Rows [first, first + rows) of a tensor of at least two dimensions, of which the later ones count as rows.
  tensor::PackedMatrix matrix(const std::string& name, size_t first, size_t rows) {
    const model::GgufTensor& t = source_of(name);
    const size_t cols = t.shape[0];
    std::byte* packed = take(tensor::packed_bytes(*t.dtype, rows, cols));
    matrices_.push_back({&t, first, rows, packed});
    return {*t.dtype, rows, cols, tensor::packed_group_bytes(*t.dtype, cols), packed};
  }

  tensor::PackedMatrix matrix(const std::string& name) {
    const model::GgufTensor& t = source_of(name);
    return matrix(name, 0, t.elements / t.shape[0]);
  }

  /// Elements [first, first + count) of a tensor.
  const float* vector(const std::string& name, size_t first, size_t count) {
    auto* out = reinterpret_cast<float*>(take(count * sizeof(float)));
    vectors_.push_back({&file_.tensor(name), first, count, out});
    return out;
  }

  const float* vector(const std::string& name) { return vector(name, 0, file_.tensor(name).elements); }

  Linear linear(const std::string& stem, bool bias, size_t first, size_t rows) {
    Linear out;
    out.matrix = matrix(stem + ".weight", first, rows);
    if (bias) out.bias = vector(stem + ".bias", first, rows);
    return out;
  }

  Linear linear(const std::string& stem, bool bias) {
    Linear out;
    out.matrix = matrix(stem + ".weight");
    if (bias) out.bias = vector(stem + ".bias");
    return out;
  }

  /// Packs all that was laid out.
  void pack() {
    for (const Vector& v : vectors_) unpack(v);
    const auto pieces = split();
    std::atomic<size_t> next{0};
    std::atomic<size_t> damaged{pieces.size()};
    pool_.run([&](size_t) {
      for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces.size();) {
        if (pack_piece(pieces[i])) continue;
        size_t first = damaged.load(std::memory_order_relaxed);
        while (i < first && !damaged.compare_exchange_weak(first, i, std::memory_order_relaxed)) {
        }
      }
    });
    if (damaged.load() < pieces.size()) refuse(*pieces[damaged.load()].matrix->tensor);
  }

 private:
  struct Matrix {
    const model::GgufTensor* tensor;
    size_t first;  // row
    size_t rows;
    std::byte* packed;

    size_t row_bytes() const { return tensor::row_bytes(*tensor->dtype, tensor->shape[0]); }
  };
  struct Vector {
    const model::GgufTensor* tensor;
    size_t first, count;
    float* out;
  };
  struct Piece {
    const Matrix* matrix;
    size_t group_begin, group_end;
  };

  std::byte* take(size_t bytes) {
    std::byte* at = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += align(bytes);
    return at;
  }

  std::vector<Piece> split() const {
    std::vector<Piece> pieces;
    for (const Matrix& m : matrices_) {
      const size_t groups = (m.rows + tensor::kGroupRows - 1) / tensor::kGroupRows;
      const size_t step = std::max<size_t>(1, kPieceBytes / (m.row_bytes() * tensor::kGroupRows));
      for (size_t g = 0; g < groups; g += step) pieces.push_back({&m, g, std::min(g + step, groups)});
    }
    return pieces;
  }

  const model::GgufTensor& source_of(const std::string& name) const {
    const model::GgufTensor* adapted = adapted_.find(name);
    return adapted != nullptr ? *adapted : file_.tensor(name);
  }

  void unpack(const Vector& v) const {
    std::vector<float> all(v.tensor->elements);
    if (!tensor::row_is_finite(*v.tensor->dtype, v.tensor->data.data(), all.size())) refuse(*v.tensor);
    tensor::dequantize_row(*v.tensor->dtype, v.tensor->data.data(), all.data(), all.size());
    std::copy_n(all.data() + v.first, v.count, v.out);
  }

  /// False where a number is not finite: it would spread, or hide in the rounding of activations and change what is said.
  bool pack_piece(const Piece& piece) const {
    const Matrix& m = *piece.matrix;
    const tensor::DType dtype = *m.tensor->dtype;
    const size_t cols = m.tensor->shape[0];
    const size_t first = piece.group_begin * tensor::kGroupRows;
    const size_t count = std::min(piece.group_end * tensor::kGroupRows, m.rows) - first;
    const std::byte* rows = m.tensor->data.data() + m.first * m.row_bytes();
    const std::span source(rows + first * m.row_bytes(), count * m.row_bytes());
    const bool mapped = mapped_ && adapted_.find(m.tensor->name) == nullptr;
    if (mapped) read_ahead(source);
    const bool finite = tensor::row_is_finite(dtype, source.data(), count * cols);
    tensor::pack_groups(dtype, rows, m.rows, cols, piece.group_begin, piece.group_end, m.packed);
    if (mapped) give_back(source);
    return finite;
  }

  [[noreturn]] void refuse(const model::GgufTensor& t) const {
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("{}: tensor {} holds a number that is not finite; the file is damaged, get it again",
                    file_.name(), t.name));
  }

  const model::GgufFile& file_;
  const AdaptedTensors& adapted_;
  bool mapped_;
  ThreadPool& pool_;
  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
  std::vector<Matrix> matrices_;
  std::vector<Vector> vectors_;
};

namespace {

/// The parts of a block, by a Loader (a template because the loader is private to Weights).
template <class Loader>
void lay_out_attention(const model::ModelConfig& c, const std::string& block, Loader& load, LayerWeights& w) {
  w.attention_norm = load.vector(block + "attn_norm.weight");
  if (c.layout.fused_qkv) {
    w.q = load.linear(block + "attn_qkv", c.attention_bias, 0, c.q_dim());
    w.k = load.linear(block + "attn_qkv", c.attention_bias, c.q_dim(), c.kv_dim());
    w.v = load.linear(block + "attn_qkv", c.attention_bias, c.q_dim() + c.kv_dim(), c.kv_dim());
  } else {
    w.q = load.linear(block + "attn_q", c.attention_bias);
    w.k = load.linear(block + "attn_k", c.attention_bias);
    w.v = load.linear(block + "attn_v", c.attention_bias);
  }
  if (c.qk_norm) {
    w.q_norm = load.vector(block + "attn_q_norm.weight");
    w.k_norm = load.vector(block + "attn_k_norm.weight");
  }
  w.o = load.linear(block + "attn_output", c.attention_output_bias);
  if (c.post_norms) w.attention_post_norm = load.vector(block + c.layout.attention_post_norm + ".weight");
}

template <class Loader>
GatedWeights lay_out_dense(const model::ModelConfig& c, const std::string& block, Loader& load) {
  const std::string suffix = c.experts.beside == BesideExperts::kGatedDense ? "_shexp" : "";
  if (c.layout.fused_gate_up)
    return {load.linear(block + "ffn_up", c.ffn_bias, 0, c.ffn),
            load.linear(block + "ffn_up", c.ffn_bias, c.ffn, c.ffn),
            load.linear(block + "ffn_down", c.ffn_bias)};
  return {load.linear(block + "ffn_gate" + suffix, c.ffn_bias),
          load.linear(block + "ffn_up" + suffix, c.ffn_bias),
          load.linear(block + "ffn_down" + suffix, c.ffn_bias)};
}

template <class Loader>
GatedWeights lay_out_expert(const model::ModelConfig& c, const std::string& block, size_t e, Loader& load) {
  if (c.layout.single_experts)
    return {load.linear(fmt::format("{}ffn_gate.{}", block, e), false),
            load.linear(fmt::format("{}ffn_up.{}", block, e), false),
            load.linear(fmt::format("{}ffn_down.{}", block, e), false)};
  const size_t ffn = c.experts.ffn;
  return {load.linear(block + "ffn_gate_exps", false, e * ffn, ffn),
          load.linear(block + "ffn_up_exps", false, e * ffn, ffn),
          load.linear(block + "ffn_down_exps", false, e * c.d_model, c.d_model)};
}

template <class Loader>
LayerWeights lay_out_layer(const model::ModelConfig& c, size_t layer, Loader& load) {
  const std::string block = fmt::format("blk.{}.", layer);
  LayerWeights w;
  lay_out_attention(c, block, load, w);
  w.ffn_norm = load.vector(block + "ffn_norm.weight");
  if (!c.dense()) w.router = load.linear(block + "ffn_gate_inp", false);
  for (size_t e = 0; e < c.experts.count; ++e) w.experts.push_back(lay_out_expert(c, block, e, load));
  if (c.experts.beside == BesideExperts::kGatedDense)
    w.ffn_scale = load.vector(block + "ffn_gate_inp_shexp.weight");
  if (c.has_dense_ffn()) w.ffn = lay_out_dense(c, block, load);
  if (c.post_norms) w.ffn_post_norm = load.vector(block + c.layout.ffn_post_norm + ".weight");
  return w;
}

}  // namespace

void Weights::lay_out(const model::ModelConfig& c, Loader& load) {
  layers_.clear();
  embedding_ = load.matrix("token_embd.weight");
  for (size_t l = 0; l < c.layers; ++l) layers_.push_back(lay_out_layer(c, l, load));
  output_norm_ = load.vector("output_norm.weight");
  output_ = c.tied_output ? embedding_ : load.matrix("output.weight");
  const size_t pairs = c.rope.dims / 2;
  if (c.rope.frequency_factors) rope_factors_.always = {load.vector("rope_freqs.weight"), pairs};
  if (c.rope.scaling == model::RopeScaling::kLongRope) {
    rope_factors_.within = {load.vector("rope_factors_short.weight"), pairs};
    rope_factors_.beyond = {load.vector("rope_factors_long.weight"), pairs};
  }
}

Weights::Weights(const model::ModelConfig& c, const model::GgufFile& file, bool mapped, ThreadPool& pool,
                 const AdaptedTensors& adapted) {
  Loader loader(file, adapted, mapped, pool);
  lay_out(c, loader);
  memory_ = tensor::Buffer(loader.bytes(), true);
  loader.set_memory(memory_.as<std::byte>());
  lay_out(c, loader);
  loader.pack();
  for (const auto factors : {rope_factors_.always, rope_factors_.within, rope_factors_.beyond})
    if (!std::all_of(factors.begin(), factors.end(), [](float f) { return f > 0; }))
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: a factor of its rotary positions is not positive; get the file again",
                              file.name()));
  if (loader.exact()) cache_dtype_ = tensor::DType::kF32;
}

}  // namespace fathom::infer
