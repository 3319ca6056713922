#include "model/random_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "model/gguf.h"

namespace fathom::model {
namespace {

constexpr size_t kControlTokens = 3;
constexpr size_t kByteTokens = 256;
// Rows of each matrix that are drawn; the others repeat them, which no kernel notices.
constexpr size_t kDrawnRows = 32;

uint32_t number(size_t n) { return static_cast<uint32_t>(n); }

/// Draws the tensors of a shape.
class RandomWriter {
 public:
  RandomWriter(const ModelShape& shape, tensor::DType dtype, uint64_t seed)
      : shape_(shape), dtype_(dtype), random_(seed), moe_(shape.experts > 0) {}

  void write(const std::filesystem::path& out) {
    add_metadata();
    add_vocabulary();
    matrix("token_embd.weight", {shape_.d_model, shape_.vocab}, embedding_format());
    for (size_t l = 0; l < shape_.layers; ++l) add_layer(fmt::format("blk.{}.", l));
    vector("output_norm.weight", shape_.d_model);
    writer_.write(out);
  }

 private:
  void add_metadata() {
    const auto& s = shape_;
    const std::string arch = moe_ ? "grok" : "llama";
    const auto key = [&](const char* name) { return arch + "." + name; };
    writer_.set("general.architecture", arch);
    writer_.set("general.name", fmt::format("{} {} (random weights)", s.name, tensor::name(dtype_)));
    writer_.set(key("block_count"), number(s.layers));
    writer_.set(key("context_length"), number(s.context));
    writer_.set(key("embedding_length"), number(s.d_model));
    writer_.set(key("feed_forward_length"), number(s.ffn));
    writer_.set(key("attention.head_count"), number(s.heads));
    writer_.set(key("attention.head_count_kv"), number(s.kv_heads));
    writer_.set(key("attention.key_length"), number(s.head_dim));
    writer_.set(key("attention.value_length"), number(s.head_dim));
    writer_.set(key("attention.layer_norm_rms_epsilon"), 1e-5f);
    writer_.set(key("rope.dimension_count"), number(s.head_dim));
    writer_.set(key("rope.freq_base"), 10000.0f);
    writer_.set(key("vocab_size"), number(s.vocab));
    if (!moe_) return;
    writer_.set(key("expert_count"), number(s.experts));
    writer_.set(key("expert_used_count"), number(s.experts_used));
  }

  void add_vocabulary() {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> types = {2, 3, 3};  // unknown, control
    for (size_t byte = 0; byte < kByteTokens; ++byte) {
      tokens.push_back(fmt::format("<0x{:02X}>", byte));
      types.push_back(6);  // byte
    }
    while (tokens.size() < shape_.vocab) {
      tokens.push_back(fmt::format("{}{}", static_cast<char>('a' + tokens.size() % 26), tokens.size()));
      types.push_back(1);  // normal
    }
    writer_.set("tokenizer.ggml.model", "llama");
    writer_.set("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1.0f));
    writer_.set("tokenizer.ggml.tokens", std::move(tokens));
    writer_.set("tokenizer.ggml.token_type", std::move(types));
    writer_.set("tokenizer.ggml.bos_token_id", uint32_t{1});
    writer_.set("tokenizer.ggml.eos_token_id", uint32_t{2});
    writer_.set("tokenizer.ggml.unknown_token_id", uint32_t{0});
    writer_.set("tokenizer.ggml.add_bos_token", true);
    writer_.set("tokenizer.ggml.add_space_prefix", false);
  }

  void add_layer(const std::string& block) {
    const auto& s = shape_;
    const uint64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    const auto name = [&](const char* stem) { return block + stem + ".weight"; };
    vector(name("attn_norm"), s.d_model);
    matrix(name("attn_q"), {s.d_model, q}, dtype_);
    matrix(name("attn_k"), {s.d_model, kv}, dtype_);
    matrix(name("attn_v"), {s.d_model, kv}, dtype_);
    matrix(name("attn_output"), {q, s.d_model}, dtype_);
    vector(name("ffn_norm"), s.d_model);
    if (!moe_) {
      matrix(name("ffn_gate"), {s.d_model, s.ffn}, dtype_);
      matrix(name("ffn_up"), {s.d_model, s.ffn}, dtype_);
      matrix(name("ffn_down"), {s.ffn, s.d_model}, dtype_);
      return;
    }
    vector(name("attn_output_norm"), s.d_model);
    vector(name("layer_output_norm"), s.d_model);
    matrix(name("ffn_gate_inp"), {s.d_model, s.experts}, tensor::DType::kF32);
    matrix(name("ffn_gate_exps"), {s.d_model, s.ffn, s.experts}, dtype_);
    matrix(name("ffn_up_exps"), {s.d_model, s.ffn, s.experts}, dtype_);
    matrix(name("ffn_down_exps"), {s.ffn, s.d_model, s.experts}, dtype_);
  }

  tensor::DType embedding_format() const {
    const bool small = tensor::block_bytes(dtype_) < tensor::block_size(dtype_);
    return small ? tensor::DType::kQ8_0 : dtype_;
  }

  void matrix(const std::string& name, const std::vector<uint64_t>& shape, tensor::DType wanted) {
    const tensor::DType dtype = shape[0] % tensor::block_size(wanted) == 0 ? wanted : tensor::DType::kQ8_0;
    // As trained models have it: each matrix a little below keeping its input's size.
    add(name, dtype, shape, 0.8 / std::sqrt(static_cast<double>(shape[0])), 0.0);
  }

  void vector(const std::string& name, uint64_t n) { add(name, tensor::DType::kF32, {n}, 0.1, 1.0); }

  void add(const std::string& name, tensor::DType dtype, const std::vector<uint64_t>& shape, double scale,
           double mean) {
    const size_t cols = shape[0];
    size_t rows = 1;
    for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
    const size_t row_bytes = tensor::row_bytes(dtype, cols);
    const size_t drawn = std::min(rows, kDrawnRows);
    std::vector<float> values(cols);
    std::vector<std::byte> data(drawn * row_bytes);
    for (size_t r = 0; r < drawn; ++r) {
      for (float& v : values) v = static_cast<float>(mean + scale * random_.normal());
      tensor::quantize_row(dtype, values.data(), data.data() + r * row_bytes, cols);
    }
    writer_.add_tensor(name, dtype, shape, [data = std::move(data), rows, row_bytes](const GgufSink& sink) {
      for (size_t r = 0; r < rows; r += kDrawnRows)
        sink(std::span(data).first(std::min(kDrawnRows, rows - r) * row_bytes));
    });
  }

  const ModelShape& shape_;
  tensor::DType dtype_;
  Random random_;
  bool moe_;
  GgufWriter writer_;
};

}  // namespace

const std::vector<ModelShape>& known_shapes() {
  static const std::vector<ModelShape> shapes = {
      {"smol135", 30, 576, 9, 3, 64, 1536, 49152, 0, 0, 8192},
      {"llama1b", 16, 2048, 32, 8, 64, 8192, 128256, 0, 0, 8192},
      {"grokmoe", 8, 1024, 8, 2, 128, 2048, 32768, 8, 2, 8192},
  };
  return shapes;
}

void write_random_model(const ModelShape& shape, tensor::DType dtype, uint64_t seed,
                        const std::filesystem::path& out) {
  const auto& s = shape;
  const bool sound = s.layers > 0 && s.d_model > 0 && s.d_model % 32 == 0 && s.ffn > 0 && s.ffn % 32 == 0 &&
                     s.kv_heads > 0 && s.heads > 0 && s.heads % s.kv_heads == 0 && s.head_dim > 0 &&
                     s.head_dim % 2 == 0 && s.heads * s.head_dim % 32 == 0 && s.experts_used <= s.experts &&
                     (s.experts == 0) == (s.experts_used == 0) && s.vocab >= kControlTokens + kByteTokens;
  if (!sound)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the sizes of the shape '{}' do not go together", s.name));
  RandomWriter(shape, dtype, seed).write(out);
}

std::pair<ModelShape, tensor::DType> parse_random_model(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view wanted = text.substr(0, colon);
  const auto& shapes = known_shapes();
  const auto shape =
      std::find_if(shapes.begin(), shapes.end(), [&](const ModelShape& s) { return s.name == wanted; });
  const auto dtype =
      tensor::dtype_from_name(colon == std::string_view::npos ? "Q4_0" : text.substr(colon + 1));
  if (shape != shapes.end() && dtype) return {*shape, *dtype};
  std::vector<std::string_view> names;
  for (const ModelShape& s : shapes) names.push_back(s.name);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is not a shape and a format such as llama1b:Q4_0; shapes are {}", text,
                          fmt::join(names, ", ")));
}

}  // namespace fathom::model
