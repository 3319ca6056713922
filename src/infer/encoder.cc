#include "infer/encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "tensor/encoder_ops.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

constexpr size_t kMostLayers = 512;
constexpr size_t kMostDims = size_t{1} << 16;
constexpr size_t kMostContext = size_t{1} << 20;
// A piece of a product: so many rows of activations by so many groups of the matrix, which stay in the second-level cache.
constexpr size_t kPieceRows = 64;
constexpr size_t kPieceGroups = 4;
constexpr size_t kQueries = 64;  // rows of scores at a time
constexpr size_t kGrain = 8;     // rows that are worth a thread's while

[[noreturn]] void corrupt(const model::GgufFile& file, const std::string& what) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("in '{}', {}; download or convert it again", file.name(), what));
}

size_t aligned(size_t bytes) {
  return (bytes + tensor::kPackedAlignment - 1) / tensor::kPackedAlignment * tensor::kPackedAlignment;
}

size_t whole_groups(size_t n) {
  return (n + tensor::kGroupRows - 1) / tensor::kGroupRows * tensor::kGroupRows;
}

size_t get_size(const model::GgufFile& file, std::string_view key, size_t most) {
  const uint64_t value = file.get_uint(key);
  if (value == 0 || value > most)
    corrupt(file, fmt::format("'{}' is {}, not between 1 and {}", key, value, most));
  return value;
}

void require_shape(const model::GgufFile& file, const std::string& name, std::vector<uint64_t> shape) {
  const model::GgufTensor& t = file.tensor(name);
  std::vector<uint64_t> given = t.shape;
  while (given.size() > shape.size() && given.back() == 1) given.pop_back();
  if (given != shape)
    corrupt(file, fmt::format("tensor {} has the shape [{}], not [{}]", name, fmt::join(t.shape, ", "),
                              fmt::join(shape, ", ")));
}

Pooling read_pooling(const model::GgufFile& file) {
  const auto type = file.find_uint("bert.pooling_type").value_or(1);
  switch (type) {
    case 0:  // none: whoever asks for an embedding wants one
    case 1: return Pooling::kMean;
    case 2: return Pooling::kFirst;
    case 3: return Pooling::kLast;
    default:
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("'{}' pools its tokens in the way {}, which this build does not know",
                              file.name(), type));
  }
}

void check_block(const model::GgufFile& file, const EncoderConfig& c, size_t layer) {
  const std::string block = fmt::format("blk.{}.", layer);
  const auto linear = [&](const char* name, uint64_t in, uint64_t out) {
    require_shape(file, block + name + ".weight", {in, out});
    require_shape(file, block + name + ".bias", {out});
  };
  if (c.fused_qkv) {
    linear("attn_qkv", c.d_model, 3 * c.d_model);
  } else {
    for (const char* name : {"attn_q", "attn_k", "attn_v"}) linear(name, c.d_model, c.d_model);
  }
  linear("attn_output", c.d_model, c.d_model);
  linear("ffn_up", c.d_model, c.ffn);
  linear("ffn_down", c.ffn, c.d_model);
  for (const char* name : {"attn_output_norm", "layer_output_norm"})
    for (const char* part : {".weight", ".bias"}) require_shape(file, block + name + part, {c.d_model});
}

}  // namespace

EncoderConfig EncoderConfig::from_gguf(const model::GgufFile& file) {
  const auto architecture = file.get_string("general.architecture");
  if (architecture != "bert")
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' has the architecture '{}'; embeddings come from models of the architecture 'bert'",
                    file.name(), sanitize_utf8(architecture.substr(0, 40))));
  EncoderConfig c;
  c.layers = get_size(file, "bert.block_count", kMostLayers);
  c.d_model = get_size(file, "bert.embedding_length", kMostDims);
  c.heads = get_size(file, "bert.attention.head_count", kMostDims);
  c.ffn = get_size(file, "bert.feed_forward_length", 4 * kMostDims);
  c.context = get_size(file, "bert.context_length", kMostContext);
  c.epsilon = static_cast<float>(file.get_float("bert.attention.layer_norm_epsilon"));
  if (!(c.epsilon >= 0.0f && c.epsilon < 1.0f))
    corrupt(file, "'bert.attention.layer_norm_epsilon' makes no sense");
  if (c.d_model % c.heads != 0)
    corrupt(file, fmt::format("{} dimensions cannot be shared among {} heads", c.d_model, c.heads));
  c.pooling = read_pooling(file);
  const model::GgufTensor& words = file.tensor("token_embd.weight");
  const model::GgufTensor& positions = file.tensor("position_embd.weight");
  if (words.shape.size() != 2 || words.shape[0] != c.d_model || words.shape[1] > (uint64_t{1} << 24))
    corrupt(file, "tensor token_embd.weight is not [dimensions, tokens]");
  if (positions.shape.size() != 2 || positions.shape[0] != c.d_model)
    corrupt(file, "tensor position_embd.weight is not [dimensions, positions]");
  c.vocabulary = words.shape[1];
  c.context = std::min<size_t>(c.context, positions.shape[1]);
  if (const model::GgufTensor* types = file.find_tensor("token_types.weight"))
    if (types->shape[0] != c.d_model) corrupt(file, "tensor token_types.weight is not [dimensions, types]");
  for (const char* part : {".weight", ".bias"})
    require_shape(file, std::string("token_embd_norm") + part, {c.d_model});
  c.fused_qkv = file.find_tensor("blk.0.attn_qkv.weight") != nullptr;
  for (size_t l = 0; l < c.layers; ++l) check_block(file, c, l);
  return c;
}

/// Lays the weights out in memory, or, without memory, counts its bytes.
class Encoder::Loader {
 public:
  Loader(const model::GgufFile& file, ThreadPool& pool, std::byte* memory)
      : file_(file), pool_(pool), memory_(memory) {}

  size_t bytes() const { return bytes_; }

  /// Rows [first, first + rows) of a tensor.
  tensor::PackedMatrix matrix(const std::string& name, size_t first, size_t rows) {
    const model::GgufTensor& t = file_.tensor(name);
    const tensor::DType dtype = *t.dtype;
    const size_t cols = t.shape[0];
    std::byte* packed = take(tensor::packed_bytes(dtype, rows, cols));
    const tensor::PackedMatrix out{dtype, rows, cols, tensor::packed_group_bytes(dtype, cols), packed};
    if (packed == nullptr) return out;
    const size_t row_bytes = tensor::row_bytes(dtype, cols);
    const std::byte* source = t.data.data() + first * row_bytes;
    std::atomic<bool> finite{true};
    pool_.parallel_for(out.groups(), 1, [&](size_t begin, size_t end) {
      const size_t from = begin * tensor::kGroupRows;
      const size_t count = std::min(end * tensor::kGroupRows, rows) - from;
      if (!tensor::row_is_finite(dtype, source + from * row_bytes, count * cols))
        finite.store(false, std::memory_order_relaxed);
      tensor::pack_groups(dtype, source, rows, cols, begin, end, packed);
    });
    require_finite(t, finite);
    return out;
  }

  /// Elements [first, first + count) of a tensor.
  const float* vector(const std::string& name, size_t first, size_t count) {
    const model::GgufTensor& t = file_.tensor(name);
    auto* out = reinterpret_cast<float*>(take(count * sizeof(float)));
    if (out == nullptr) return out;
    require_finite(t, tensor::row_is_finite(*t.dtype, t.data.data(), t.elements));
    std::vector<float> all(t.elements);
    tensor::dequantize_row(*t.dtype, t.data.data(), all.data(), all.size());
    std::copy_n(all.data() + first, count, out);
    return out;
  }

  Linear linear(const std::string& stem, size_t first, size_t rows) {
    return {matrix(stem + ".weight", first, rows), vector(stem + ".bias", first, rows)};
  }

 private:
  std::byte* take(size_t bytes) {
    std::byte* at = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += aligned(bytes);
    return at;
  }

  void require_finite(const model::GgufTensor& t, bool finite) const {
    if (!finite) corrupt(file_, fmt::format("tensor {} holds a number that is not finite", t.name));
  }

  const model::GgufFile& file_;
  ThreadPool& pool_;
  std::byte* memory_;
  size_t bytes_ = 0;
};

Encoder::Encoder(const EncoderConfig& config, const model::GgufFile& file, ThreadPool& pool)
    : config_(config),
      pool_(pool),
      capacity_(std::max(kBatchTokens, config.context)),
      activations_(capacity_, std::max(config.d_model, config.ffn)),
      work_(capacity_ * (5 * config.d_model + config.ffn) * sizeof(float)),
      scratch_(pool.size() * scratch_floats() * sizeof(float)) {
  Loader counted(file, pool, nullptr);
  lay_out(counted);
  const bool has_types = file.find_tensor("token_types.weight") != nullptr;
  memory_ = tensor::Buffer(counted.bytes() + (has_types ? aligned(config.d_model * sizeof(float)) : 0), true);
  Loader loader(file, pool, memory_.as<std::byte>());
  lay_out(loader);
  if (has_types) type_ = loader.vector("token_types.weight", 0, config.d_model);
  x_ = work_.as<float>();
  y_ = x_ + capacity_ * config.d_model;
  q_ = y_ + capacity_ * config.d_model;
  k_ = q_ + capacity_ * config.d_model;
  v_ = k_ + capacity_ * config.d_model;
  h_ = v_ + capacity_ * config.d_model;
}

void Encoder::lay_out(Loader& load) {
  const size_t d = config_.d_model;
  tokens_embedding_ = load.matrix("token_embd.weight", 0, config_.vocabulary);
  positions_ = load.vector("position_embd.weight", 0, config_.context * d);
  const auto norm = [&](const std::string& stem) -> Norm {
    return {load.vector(stem + ".weight", 0, d), load.vector(stem + ".bias", 0, d)};
  };
  embedding_norm_ = norm("token_embd_norm");
  layers_.clear();
  for (size_t l = 0; l < config_.layers; ++l) {
    const std::string block = fmt::format("blk.{}.", l);
    Layer layer;
    size_t part = 0;
    for (auto [linear, name] : {std::pair{&layer.q, "attn_q"}, {&layer.k, "attn_k"}, {&layer.v, "attn_v"}})
      *linear = config_.fused_qkv ? load.linear(block + "attn_qkv", d * part++, d)
                                  : load.linear(block + name, 0, d);
    layer.o = load.linear(block + "attn_output", 0, d);
    layer.up = load.linear(block + "ffn_up", 0, config_.ffn);
    layer.down = load.linear(block + "ffn_down", 0, d);
    layer.attention_norm = norm(block + "attn_output_norm");
    layer.output_norm = norm(block + "layer_output_norm");
    layers_.push_back(layer);
  }
}

template <class Body>
void Encoder::each_row(Body body) {
  pool_.parallel_for(rows_, kGrain, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) body(row);
  });
}

void Encoder::embed(std::span<const std::vector<int32_t>> texts) {
  const size_t d = config_.d_model;
  starts_.assign(1, 0);
  for (const auto& text : texts) starts_.push_back(starts_.back() + text.size());
  rows_ = starts_.back();
  FATHOM_CHECK(rows_ <= capacity_);
  each_row([&](size_t row) {
    const auto text =
        static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), row) - starts_.begin()) - 1;
    const size_t position = row - starts_[text];
    const auto id = static_cast<size_t>(texts[text][position]);
    FATHOM_CHECK(id < config_.vocabulary && position < config_.context);
    float* x = x_ + row * d;
    tensor::unpack_row(tokens_embedding_, id, x);
    if (type_ != nullptr) tensor::add(x, type_, d);
    tensor::add(x, positions_ + position * d, d);
    tensor::layer_norm(x, embedding_norm_.weight, embedding_norm_.bias, config_.epsilon, x, d);
  });
}

/// Hands rows [rows_, cols] to the activations in pieces of kPieceRows, each a matrix of its own.
void Encoder::set_rows(Forms forms, size_t cols, const float* rows) {
  activations_.begin(cols, forms);
  each_row([&](size_t row) {
    const size_t first = row / kPieceRows * kPieceRows;
    activations_.set_row({first, std::min(kPieceRows, rows_ - first)}, row - first, rows + row * cols);
  });
}

void Encoder::multiply(std::span<const Product> products) {
  struct Piece {
    const Product* product;
    size_t row, group;
  };
  std::vector<Piece> pieces;  // those of the same groups together
  for (const Product& product : products)
    for (size_t g = 0; g < product.linear->matrix.groups(); g += kPieceGroups)
      for (size_t row = 0; row < rows_; row += kPieceRows) pieces.push_back({&product, row, g});
  std::atomic<size_t> next{0};
  pool_.run([&](size_t) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces.size();) {
      const auto [product, row, group] = pieces[i];
      const tensor::PackedMatrix& w = product->linear->matrix;
      activations_.multiply({row, std::min(kPieceRows, rows_ - row)}, w, group,
                            std::min(group + kPieceGroups, w.groups()),
                            {product->y + row * w.rows, w.rows, true});
    }
  });
}

void Encoder::run_layer(const Layer& layer) {
  const size_t d = config_.d_model, ffn = config_.ffn;
  const auto begin_with = [](float* y, const float* bias, size_t n) { std::copy_n(bias, n, y); };
  each_row([&](size_t row) {
    begin_with(q_ + row * d, layer.q.bias, d);
    begin_with(k_ + row * d, layer.k.bias, d);
    begin_with(v_ + row * d, layer.v.bias, d);
  });
  set_rows(Forms{&layer.q, &layer.k, &layer.v}, d, x_);
  const Product qkv[] = {{&layer.q, q_}, {&layer.k, k_}, {&layer.v, v_}};
  multiply(qkv);
  attend();  // into y_
  set_rows(Forms{&layer.o}, d, y_);
  each_row([&](size_t row) { tensor::sum(x_ + row * d, layer.o.bias, y_ + row * d, d); });
  const Product o[] = {{&layer.o, y_}};
  multiply(o);
  each_row([&](size_t row) {
    const Norm& norm = layer.attention_norm;
    tensor::layer_norm(y_ + row * d, norm.weight, norm.bias, config_.epsilon, x_ + row * d, d);
    begin_with(h_ + row * ffn, layer.up.bias, ffn);
  });
  set_rows(Forms{&layer.up}, d, x_);
  const Product up[] = {{&layer.up, h_}};
  multiply(up);
  each_row([&](size_t row) {
    tensor::gelu_erf(h_ + row * ffn, ffn);
    tensor::sum(x_ + row * d, layer.down.bias, y_ + row * d, d);
  });
  set_rows(Forms{&layer.down}, ffn, h_);
  const Product down[] = {{&layer.down, y_}};
  multiply(down);
  each_row([&](size_t row) {
    const Norm& norm = layer.output_norm;
    tensor::layer_norm(y_ + row * d, norm.weight, norm.bias, config_.epsilon, x_ + row * d, d);
  });
}

/// Keys in groups of 16 positions, values in groups of 16 dimensions, and the scores of some queries.
size_t Encoder::scratch_floats() const {
  const size_t head = config_.d_model / config_.heads;
  const size_t context = whole_groups(config_.context);
  return context * head + whole_groups(head) * context + kQueries * context;
}

void Encoder::attend() {
  const size_t tasks = (starts_.size() - 1) * config_.heads;
  std::atomic<size_t> next{0};
  pool_.run([&](size_t thread) {
    float* scratch = scratch_.as<float>() + thread * scratch_floats();
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;)
      attend_head(i / config_.heads, i % config_.heads, scratch);
  });
}

/// softmax(q k' / sqrt(head)) v of one head of one text, as two products of packed matrices.
void Encoder::attend_head(size_t text, size_t head, float* scratch) const {
  constexpr size_t kG = tensor::kGroupRows;
  const size_t d = config_.d_model, dims = d / config_.heads, first = starts_[text];
  const size_t n = starts_[text + 1] - first;
  const size_t offset = first * d + head * dims;
  const size_t groups = (n + kG - 1) / kG, dim_groups = (dims + kG - 1) / kG;
  float* keys = scratch;
  float* values = keys + groups * kG * dims;
  float* scores = values + dim_groups * kG * n;
  std::fill(keys + (groups - 1) * kG * dims, values, 0.0f);
  for (size_t p = 0; p < n; ++p)
    for (size_t i = 0; i < dims; ++i) keys[(p / kG * dims + i) * kG + p % kG] = k_[offset + p * d + i];
  for (size_t g = 0; g < dim_groups; ++g) {
    const size_t count = std::min(kG, dims - g * kG);
    for (size_t p = 0; p < n; ++p) {
      float* to = values + (g * n + p) * kG;
      std::copy_n(v_ + offset + p * d + g * kG, count, to);
      std::fill(to + count, to + kG, 0.0f);
    }
  }
  const auto packed = [](const float* data, size_t rows, size_t cols) -> tensor::PackedMatrix {
    return {tensor::DType::kF32, rows, cols, cols * kG * sizeof(float),
            reinterpret_cast<const std::byte*>(data)};
  };
  const auto key_matrix = packed(keys, n, dims), value_matrix = packed(values, dims, n);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dims));
  for (size_t query = 0; query < n; query += kQueries) {
    const size_t count = std::min(kQueries, n - query);
    const size_t at = offset + query * d;
    tensor::matmul_float(key_matrix, q_ + at, d, count, 0, groups, {scores, n, false});
    for (size_t i = 0; i < count; ++i) tensor::softmax(scores + i * n, n, n, scale, tensor::DType::kF32);
    tensor::matmul_float(value_matrix, scores, n, count, 0, dim_groups, {y_ + at, d, false});
  }
}

void Encoder::pool_text(size_t text, float* out) const {
  const size_t d = config_.d_model, first = starts_[text], last = starts_[text + 1];
  if (config_.pooling != Pooling::kMean) {
    std::copy_n(x_ + (config_.pooling == Pooling::kFirst ? first : last - 1) * d, d, out);
    return;
  }
  std::fill_n(out, d, 0.0f);
  for (size_t row = first; row < last; ++row) tensor::add(out, x_ + row * d, d);
  for (size_t i = 0; i < d; ++i) out[i] /= static_cast<float>(last - first);
}

void Encoder::run(std::span<const std::vector<int32_t>> texts, float* out) {
  if (texts.empty()) return;
  embed(texts);
  for (const Layer& layer : layers_) run_layer(layer);
  for (size_t text = 0; text < texts.size(); ++text) pool_text(text, out + text * config_.d_model);
}

}  // namespace fathom::infer
