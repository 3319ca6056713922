#include "infer/adapter.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "model/hf/names.h"
#include "model/safetensors.h"
#include "model/shown.h"
#include "tensor/dtype.h"

namespace fathom::infer {
namespace {

using model::shown;
using nlohmann::json;

constexpr size_t kMostConfig = size_t{1} << 20;
constexpr size_t kMostRank = 4096;
constexpr double kMostAlpha = 1e6;
constexpr std::string_view kPrefix = "base_model.model.";

[[noreturn]] void corrupt(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("the adapter '{}' {}; train it again or take another", name, what));
}

[[noreturn]] void unsupported(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the adapter '{}' {}, which this build does not apply", name, what));
}

/// Set to something: not null, false, "none", 0 or empty.
bool is_used(const json& config, const char* key) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return false;
  if (at->is_boolean()) return at->get<bool>();
  if (at->is_string()) return !at->get<std::string>().empty() && at->get<std::string>() != "none";
  if (at->is_number()) return at->get<double>() != 0;
  return !at->empty();
}

tensor::DType sum_format(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF32:
    case tensor::DType::kF16:
    case tensor::DType::kBF16: return dtype;
    default: return tensor::DType::kQ8_0;
  }
}

/// One matrix's pair.
struct Pair {
  const model::SafetensorsTensor* a = nullptr;  // [r, in]
  const model::SafetensorsTensor* b = nullptr;  // [out, r]
  model::HfChange change = model::HfChange::kNone;
};

/// Puts the tensors of the file into pairs by the name of the matrix in GGUF.
std::map<std::string, Pair> find_pairs(const model::SafetensorsFile& file, const std::string& architecture,
                                       const std::string& name) {
  std::map<std::string, Pair> pairs;
  for (const model::SafetensorsTensor& tensor : file.tensors()) {
    std::string_view stem = tensor.name;
    const bool is_a = stem.ends_with(".lora_A.weight");
    const bool is_b = stem.ends_with(".lora_B.weight");
    if (!stem.starts_with(kPrefix) || !(is_a || is_b))
      unsupported(name, fmt::format("holds the tensor '{}'", shown(stem)));
    stem.remove_prefix(kPrefix.size());
    stem.remove_suffix(std::string_view(".lora_A.weight").size());
    const model::HfName to = model::gguf_name(architecture, std::string(stem) + ".weight");
    if (to.place != model::HfPlace::kMapped)
      unsupported(name, fmt::format("changes '{}', which a model of the architecture '{}' has not",
                                    shown(stem), architecture));
    Pair& pair = pairs[to.gguf];
    if ((is_a ? pair.a : pair.b) != nullptr) corrupt(name, fmt::format("changes '{}' twice", to.gguf));
    (is_a ? pair.a : pair.b) = &tensor;
    pair.change = to.change;
  }
  if (pairs.empty()) corrupt(name, "changes nothing");
  return pairs;
}

/// Row `row` of GGUF's order is this row of Hugging Face's (model/hugging_face.cc): 2i + j of a head is i of its half j.
size_t hugging_face_row(size_t row, size_t rows, size_t heads) {
  if (heads == 0) return row;
  const size_t half = rows / heads / 2;
  const size_t head = row / (2 * half);
  const size_t within = row % (2 * half);
  return head * 2 * half + within % 2 * half + within / 2;
}

/// Adds one pair to one matrix.
class Sum {
 public:
  Sum(const model::ModelConfig& config, const model::GgufTensor& base, const Pair& pair,
      const AdapterConfig& adapter, const model::SafetensorsFile& file, const std::string& name)
      : base_(base), name_(name), scale_(adapter.scale()), rank_(adapter.rank) {
    if (pair.a == nullptr || pair.b == nullptr)
      corrupt(name, fmt::format("has one half of the pair for '{}' only", base.name));
    if (base.shape.size() != 2) unsupported(name, fmt::format("changes '{}', no matrix", base.name));
    if (!base.dtype) unsupported(name, fmt::format("changes '{}' in a format of its own", base.name));
    cols_ = static_cast<size_t>(base.shape[0]);
    rows_ = static_cast<size_t>(base.shape[1]);
    check_shape(*pair.a, rank_, cols_);
    check_shape(*pair.b, rows_, rank_);
    a_ = file.floats(pair.a->name);
    b_ = file.floats(pair.b->name);
    check_finite(*pair.a, a_);
    check_finite(*pair.b, b_);
    const bool permuted = config.rope.pairing == model::RopePairing::kNeighbours;
    if (permuted && pair.change == model::HfChange::kQueryRows) heads_ = config.heads;
    if (permuted && pair.change == model::HfChange::kKeyRows) heads_ = config.kv_heads;
    if (heads_ != 0 && rows_ / heads_ % 2 != 0)
      unsupported(name, fmt::format("changes '{}', whose heads have an odd width", base.name));
    format_ = sum_format(*base.dtype);
  }

  tensor::DType format() const { return format_; }

  std::vector<std::byte> make(ThreadPool& pool) const {
    const size_t row_bytes = tensor::row_bytes(format_, cols_);
    std::vector<std::byte> out(rows_ * row_bytes);
    std::atomic<size_t> next{0};
    std::atomic<bool> finite{true};
    pool.run([&](size_t) {
      std::vector<float> row(cols_);
      for (size_t r; (r = next.fetch_add(1, std::memory_order_relaxed)) < rows_;)
        if (!make_row(r, row, out.data() + r * row_bytes)) finite.store(false, std::memory_order_relaxed);
    });
    if (!finite.load())
      corrupt(name_, fmt::format("added to '{}' gives numbers that are not finite", base_.name));
    return out;
  }

 private:
  bool make_row(size_t r, std::vector<float>& row, std::byte* out) const {
    const size_t from_bytes = tensor::row_bytes(*base_.dtype, cols_);
    tensor::dequantize_row(*base_.dtype, base_.data.data() + r * from_bytes, row.data(), cols_);
    const float* b = b_.data() + hugging_face_row(r, rows_, heads_) * rank_;
    for (size_t k = 0; k < rank_; ++k) {
      const float factor = scale_ * b[k];
      const float* a = a_.data() + k * cols_;
      for (size_t i = 0; i < cols_; ++i) row[i] += factor * a[i];
    }
    if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) return false;
    tensor::quantize_row(format_, row.data(), out, cols_);
    return tensor::row_is_finite(format_, out, cols_);
  }

  void check_shape(const model::SafetensorsTensor& tensor, uint64_t rows, uint64_t cols) const {
    if (tensor.shape.size() == 2 && tensor.shape[0] == rows && tensor.shape[1] == cols) return;
    const std::string has = fmt::format("[{}]", fmt::join(tensor.shape, ", "));
    corrupt(name_, fmt::format("is of another model: '{}' is {}, and '{}' of this one calls for [{}, {}]",
                               shown(tensor.name), has, base_.name, rows, cols));
  }

  void check_finite(const model::SafetensorsTensor& tensor, const std::vector<float>& values) const {
    for (const float value : values)
      if (!std::isfinite(value))
        corrupt(name_, fmt::format("holds a number in '{}' that is not finite", shown(tensor.name)));
  }

  const model::GgufTensor& base_;
  const std::string& name_;
  float scale_;
  size_t rank_;
  size_t cols_ = 0, rows_ = 0;
  size_t heads_ = 0;  // 0: rows stand in the same order
  std::vector<float> a_, b_;
  tensor::DType format_ = tensor::DType::kF32;
};

uint32_t type_id(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF32: return 0;
    case tensor::DType::kF16: return 1;
    case tensor::DType::kBF16: return 30;
    default: return 8;  // Q8_0
  }
}

}  // namespace

float AdapterConfig::scale() const {
  const auto r = static_cast<double>(rank);
  return static_cast<float>(alpha / (root_scale ? std::sqrt(r) : r));
}

AdapterConfig parse_adapter_config(std::string_view text, const std::string& name) {
  const json config = json::parse(text, nullptr, false);
  if (!config.is_object()) corrupt(name, "has an adapter_config.json that is no JSON object");
  const auto kind = config.find("peft_type");
  if (kind != config.end() && *kind != "LORA") unsupported(name, "is of another kind than LORA");
  for (const char* key : {"use_dora", "bias", "modules_to_save", "fan_in_fan_out", "rank_pattern",
                          "alpha_pattern", "layer_replication", "lora_bias", "alora_invocation_tokens"})
    if (is_used(config, key)) unsupported(name, fmt::format("uses {}", key));
  const auto start = config.find("init_lora_weights");
  for (const char* kind_of_start : {"pissa", "olora", "corda", "loftq"})  // the base was changed before
    if (start != config.end() && start->is_string() &&
        start->get_ref<const std::string&>().starts_with(kind_of_start))
      unsupported(name, fmt::format("begins from another base (init_lora_weights is {})", kind_of_start));
  const auto rank = config.find("r");
  const auto alpha = config.find("lora_alpha");
  if (rank == config.end() || !rank->is_number_unsigned() || *rank < 1u || *rank > kMostRank)
    corrupt(name, fmt::format("has no rank \"r\" from 1 to {}", kMostRank));
  if (alpha == config.end() || !alpha->is_number() || !(std::abs(alpha->get<double>()) <= kMostAlpha))
    corrupt(name, fmt::format("has no \"lora_alpha\" of at most {}", kMostAlpha));
  AdapterConfig out;
  out.rank = rank->get<size_t>();
  out.alpha = alpha->get<double>();
  out.root_scale = is_used(config, "use_rslora");
  const auto prompt = config.find("fathom_prompt");
  out.cites = prompt != config.end() && *prompt == "cited";
  return out;
}

AdaptedTensors::AdaptedTensors(const model::ModelConfig& config, const model::GgufFile& file,
                               const std::filesystem::path& folder, ThreadPool& pool) {
  const std::string path = folder.string();
  const auto plain = std::filesystem::weakly_canonical(folder);
  name_ = (plain.filename().empty() ? plain.parent_path() : plain).filename().string();
  config_ = parse_adapter_config(read_file(folder / "adapter_config.json", kMostConfig), path);
  const auto numbers = model::SafetensorsFile::open(folder / "adapter_model.safetensors");
  for (const auto& [target, pair] : find_pairs(numbers, config.architecture, path)) {
    const model::GgufTensor* base = file.find_tensor(target);
    if (base == nullptr)
      corrupt(path,
              fmt::format("is of another model: it changes '{}', which '{}' has not", target, file.name()));
    const Sum sum(config, *base, pair, config_, numbers, path);
    Tensor& tensor = tensors_[base->name];
    tensor.bytes = sum.make(pool);
    tensor.tensor = *base;
    tensor.tensor.dtype = sum.format();
    tensor.tensor.type_id = type_id(sum.format());
    tensor.tensor.data = tensor.bytes;
  }
}

const model::GgufTensor* AdaptedTensors::find(std::string_view name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second.tensor;
}

}  // namespace fathom::infer
