#include "model/quantize.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/progress.h"
#include "base/text.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

using tensor::DType;

constexpr size_t kRowsPerThread = 16;
constexpr size_t kFewBytes = size_t{1} << 20;  // of a thread's share of rows at least
constexpr uint64_t kManyExperts = 8;

struct Format {
  DType dtype;
  uint32_t file_type;  // general.file_type, by llama.cpp's list (LLAMA_FTYPE_MOSTLY_*)
  std::string_view mixed_name;
};

constexpr Format kFormats[] = {
    {DType::kF32, 0, "F32"},        {DType::kF16, 1, "F16"},        {DType::kBF16, 32, "BF16"},
    {DType::kQ8_0, 7, "Q8_0"},      {DType::kQ6_K, 18, "Q6_K"},     {DType::kQ5_K, 17, "Q5_K_M"},
    {DType::kQ5_0, 8, "Q5_0"},      {DType::kQ5_1, 9, "Q5_1"},      {DType::kQ4_K, 15, "Q4_K_M"},
    {DType::kIQ4_NL, 25, "IQ4_NL"}, {DType::kIQ4_XS, 30, "IQ4_XS"}, {DType::kQ4_0, 2, "Q4_0"},
    {DType::kQ4_1, 3, "Q4_1"},      {DType::kQ3_K, 12, "Q3_K_M"},   {DType::kQ2_K, 10, "Q2_K"}};

const Format& format_of(DType dtype) {
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const Format& format) { return format.dtype == dtype; });
  FATHOM_CHECK(found != std::end(kFormats), "every number format can be written");
  return *found;
}

/// The layer of "blk.7.attn_v.weight".
std::optional<size_t> layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  size_t layer = 0;
  const auto parsed = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  if (parsed.ec != std::errc()) return std::nullopt;
  return layer;
}

/// "ffn_gate.3" of "blk.0.ffn_gate.3.weight": a matrix of one expert, in pieces. Empty where it is none.
struct ExpertName {
  std::string stacked;  // "blk.0.ffn_gate_exps.weight"
  size_t expert = 0;
};

std::optional<ExpertName> expert_name(std::string_view name) {
  const auto pieces = split(name, '.');
  if (pieces.size() != 5 || pieces[0] != "blk" || pieces[4] != "weight" || !pieces[2].starts_with("ffn_"))
    return std::nullopt;
  ExpertName out;
  const auto parsed = std::from_chars(pieces[3].data(), pieces[3].data() + pieces[3].size(), out.expert);
  if (parsed.ec != std::errc() || parsed.ptr != pieces[3].data() + pieces[3].size()) return std::nullopt;
  out.stacked = fmt::format("blk.{}.{}_exps.weight", pieces[1], pieces[2]);
  return out;
}

bool stays_f32(std::string_view name, const std::vector<uint64_t>& shape) {
  return shape.size() < 2 || !name.ends_with(".weight") ||
         name.find("ffn_gate_inp") != std::string_view::npos || name.starts_with("rope_") ||
         name.starts_with("position_embd") || name.starts_with("token_types");
}

/// Chooses formats; knows the model as a whole.
class Chooser {
 public:
  Chooser(const GgufFile& file, const QuantizeOptions& options) : options_(options) {
    for (const GgufTensor& tensor : file.tensors())
      if (const auto layer = layer_of(tensor.name)) layers_ = std::max(layers_, *layer + 1);
    tied_ = file.find_tensor("output.weight") == nullptr;
    const auto architecture = file.find_string("general.architecture").value_or("");
    experts_ = file.find_uint(fmt::format("{}.expert_count", architecture)).value_or(0);
  }

  DType wanted(std::string_view name) const {
    const DType format = options_.format;
    if (options_.pure || tensor::block_size(format) == 1 || format == DType::kQ8_0 || format == DType::kQ6_K)
      return format;
    if (name == "output.weight" || (tied_ && name == "token_embd.weight")) return DType::kQ6_K;
    const bool value = name.find(".attn_v.") != std::string_view::npos;
    const bool key = name.find(".attn_k.") != std::string_view::npos;
    if (experts_ >= kManyExperts && (value || key)) return DType::kQ8_0;
    const bool mixed = format == DType::kQ4_K || format == DType::kQ5_K;
    const bool sensitive = value || name.find(".attn_qkv.") != std::string_view::npos ||
                           name.find(".ffn_down") != std::string_view::npos;
    return mixed && sensitive && has_more(layer_of(name).value_or(0)) ? DType::kQ6_K : format;
  }

 private:
  /// Where errors cost most: the first and the last eighth, and every third between.
  bool has_more(size_t layer) const {
    return layer < layers_ / 8 || layer >= 7 * layers_ / 8 || (layer - layers_ / 8) % 3 == 2;
  }

  QuantizeOptions options_;
  size_t layers_ = 0;
  bool tied_ = false;
  uint64_t experts_ = 0;
};

DType fitting(DType wanted, uint64_t columns) {
  if (columns % tensor::block_size(wanted) == 0) return wanted;
  if (columns % 32 != 0) return DType::kF16;
  switch (wanted) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kIQ4_XS: return DType::kIQ4_NL;
    case DType::kQ4_K: return DType::kQ5_0;
    case DType::kQ5_K: return DType::kQ5_1;
    default: return DType::kQ8_0;
  }
}

void choose(const Chooser& chooser, QuantizedTensor& tensor) {
  if (!stays_f32(tensor.name, tensor.shape)) {
    const DType wanted = chooser.wanted(tensor.name);
    tensor.dtype = fitting(wanted, tensor.shape[0]);
    tensor.fell_back = tensor.dtype != wanted;
  }
  const DType from = *tensor.sources[0]->dtype;
  tensor.requantized =
      from != tensor.dtype && tensor::block_size(from) > 1 && tensor::block_size(tensor.dtype) > 1;
  uint64_t rows = 1;
  for (size_t d = 1; d < tensor.shape.size(); ++d) rows *= tensor.shape[d];
  tensor.bytes = rows * tensor::row_bytes(tensor.dtype, static_cast<size_t>(tensor.shape[0]));
}

/// Rows of one source, a stretch at a time on all threads, into blocks of the wanted format.
class RowWriter {
 public:
  RowWriter(const GgufFile& file, ThreadPool& pool, const std::stop_token& stop,
            const std::function<void(uint64_t)>& progress)
      : file_(file), pool_(pool), stop_(stop), progress_(progress) {}

  void write(const QuantizedTensor& tensor, const GgufSink& sink) {
    for (const GgufTensor* source : tensor.sources) write_source(tensor, *source, sink);
  }

 private:
  void write_source(const QuantizedTensor& tensor, const GgufTensor& source, const GgufSink& sink) {
    const auto columns = static_cast<size_t>(tensor.shape[0]);
    const auto rows = static_cast<size_t>(source.elements / columns);
    const size_t from_bytes = tensor::row_bytes(*source.dtype, columns);
    const size_t to_bytes = tensor::row_bytes(tensor.dtype, columns);
    const size_t stretch = pool_.size() * std::max(kRowsPerThread, (kFewBytes + from_bytes - 1) / from_bytes);
    const size_t most = std::min(rows, stretch) * to_bytes;
    if (buffer_.size() < most) buffer_.resize(most);
    for (size_t first = 0; first < rows; first += stretch) {
      if (stop_.stop_requested()) throw Error(ErrorCode::kCancelled, "the conversion was stopped");
      const size_t count = std::min(stretch, rows - first);
      convert(tensor, source, first, count);
      sink({buffer_.data(), count * to_bytes});
      written_ += count * to_bytes;
      if (progress_) progress_(written_);
    }
  }

  void convert(const QuantizedTensor& tensor, const GgufTensor& source, size_t first, size_t count) {
    const auto columns = static_cast<size_t>(tensor.shape[0]);
    const DType from = *source.dtype;
    const DType to = tensor.dtype;
    const size_t from_bytes = tensor::row_bytes(from, columns);
    const size_t to_bytes = tensor::row_bytes(to, columns);
    std::atomic<bool> finite{true}, fits{true};
    pool_.parallel_for(count, 1, [&](size_t begin, size_t end) {
      std::vector<float> values(from == to ? 0 : columns);
      for (size_t r = begin; r < end; ++r) {
        const std::byte* in = source.data.data() + (first + r) * from_bytes;
        std::byte* out = buffer_.data() + r * to_bytes;
        if (!tensor::row_is_finite(from, in, columns)) {
          finite.store(false, std::memory_order_relaxed);
          return;
        }
        if (from == to) {
          std::copy(in, in + from_bytes, out);
          continue;
        }
        tensor::dequantize_row(from, in, values.data(), columns);
        tensor::quantize_row(to, values.data(), out, columns);
        if (!tensor::row_is_finite(to, out, columns)) fits.store(false, std::memory_order_relaxed);
      }
    });
    if (!finite.load())
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("'{}': the tensor '{}' holds a number that is not finite; the file is damaged, get it "
                      "again",
                      file_.name(), source.name));
    if (!fits.load())
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("'{}': the tensor '{}' holds numbers too large for {}; choose another format",
                              file_.name(), shown(source.name), tensor::name(to)));
  }

  const GgufFile& file_;
  ThreadPool& pool_;
  const std::stop_token& stop_;
  const std::function<void(uint64_t)>& progress_;
  std::vector<std::byte> buffer_;
  uint64_t written_ = 0;
};

void check_stack(const GgufFile& file, const QuantizedTensor& tensor) {
  for (const GgufTensor* source : tensor.sources)
    if (source == nullptr || source->shape != tensor.sources[0]->shape ||
        source->dtype != tensor.sources[0]->dtype)
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("in '{}', the experts of '{}' are not all there in one shape and format; download it "
                      "again",
                      file.name(), tensor.name));
}

void require_room(const std::filesystem::path& out, uint64_t bytes) {
  const auto folder = out.has_parent_path() ? out.parent_path() : std::filesystem::path(".");
  std::error_code unknown;
  const auto space = std::filesystem::space(folder, unknown);
  if (!unknown && space.available < bytes)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("'{}' needs {}B and the disk of '{}' has {}B left; make room or choose another folder",
                    out.string(), human_count(static_cast<double>(bytes)), folder.string(),
                    human_count(static_cast<double>(space.available))));
}

}  // namespace

DType parse_format(std::string_view text) {
  const auto found = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& format) {
    return equals_ignore_case(text, tensor::name(format.dtype)) ||
           equals_ignore_case(text, format.mixed_name);
  });
  if (found != std::end(kFormats)) return found->dtype;
  std::vector<std::string_view> names;
  for (const Format& format : kFormats) names.push_back(tensor::name(format.dtype));
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is no number format; there are {}", sanitize_utf8(text.substr(0, 40)),
                          fmt::join(names, ", ")));
}

std::vector<QuantizedTensor> plan_quantization(const GgufFile& file, const QuantizeOptions& options) {
  const Chooser chooser(file, options);
  std::vector<QuantizedTensor> plan;
  std::map<std::string, size_t> experts;  // how many matrices each stack has
  for (const GgufTensor& tensor : file.tensors())
    if (const auto expert = expert_name(tensor.name)) ++experts[expert->stacked];
  std::map<std::string, size_t> stacks;
  for (const GgufTensor& tensor : file.tensors()) {
    (void)file.tensor(tensor.name);  // refuses formats that cannot be read
    const auto expert = expert_name(tensor.name);
    if (!expert) {
      plan.push_back({.name = std::string(tensor.name), .shape = tensor.shape, .sources = {&tensor}});
      continue;
    }
    const auto [at, fresh] = stacks.emplace(expert->stacked, plan.size());
    const size_t count = experts.at(expert->stacked);
    if (fresh)
      plan.push_back(
          {.name = expert->stacked, .shape = {}, .sources = std::vector<const GgufTensor*>(count, nullptr)});
    if (expert->expert >= count)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("in '{}', the tensor '{}' is of expert {} of {}; download it again",
                              file.name(), shown(tensor.name), expert->expert, count));
    plan[at->second].sources[expert->expert] = &tensor;
  }
  for (QuantizedTensor& tensor : plan) {
    if (tensor.shape.empty()) {
      check_stack(file, tensor);
      tensor.shape = tensor.sources[0]->shape;
      tensor.shape.push_back(tensor.sources.size());
    }
    choose(chooser, tensor);
  }
  return plan;
}

void write_quantized(const GgufFile& file, const std::vector<QuantizedTensor>& plan,
                     const QuantizeOptions& options, const std::filesystem::path& out, ThreadPool& pool,
                     const std::function<void(uint64_t)>& progress, const std::stop_token& stop) {
  GgufWriter writer;
  for (const auto& [key, entry] : file.metadata()) {
    const bool own = key == "general.file_type" || key == "general.quantization_version" ||
                     key == "general.alignment" || key.starts_with("split.");
    if (!own) writer.set(key, entry);
  }
  writer.set("general.file_type", format_of(options.format).file_type);
  writer.set("general.quantization_version", uint32_t{2});
  RowWriter rows(file, pool, stop, progress);
  uint64_t total = 0;
  for (const QuantizedTensor& tensor : plan) {
    writer.add_tensor(tensor.name, tensor.dtype, tensor.shape,
                      [&rows, &tensor](const GgufSink& sink) { rows.write(tensor, sink); });
    total += tensor.bytes;
  }
  require_room(out, total);
  writer.write(out);
}

}  // namespace fathom::model
