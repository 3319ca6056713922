#include "train/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "base/checksum.h"
#include "base/error.h"
#include "train/parameter_layout.h"

namespace fathom::train {
namespace {

/// Floats that are made on the host at a time, on their way to the device.
constexpr size_t kPiece = size_t{1} << 16;

/// Normal numbers by their index alone: SplitMix64 of a counter (Steele et al., 2014), two numbers by each of its outputs
/// (Box and Muller, 1958).
class CountedNormal {
 public:
  CountedNormal(uint64_t seed, const std::string& name, float deviation)
      : key_(mix(seed) ^ checksum64(name)), deviation_(deviation) {}

  /// Numbers [first, first + out.size()).
  void fill(uint64_t first, std::span<float> out) const {
    float even = 0, odd = 0;
    for (uint64_t i = first; i < first + out.size(); ++i) {
      if (i == first || i % 2 == 0) pair(i / 2, even, odd);
      out[i - first] = i % 2 == 0 ? even : odd;
    }
  }

 private:
  static uint64_t mix(uint64_t z) {
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  void pair(uint64_t index, float& even, float& odd) const {
    const uint64_t bits = mix(key_ + index * 0x9E3779B97F4A7C15ull);
    const float radius =
        deviation_ * std::sqrt(-2.0f * std::log((static_cast<float>(bits >> 32) + 1.0f) * 0x1.0p-32f));
    const float angle = static_cast<float>(bits & 0xFFFFFFFF) * (0x1.0p-31f * std::numbers::pi_v<float>);
    even = radius * std::cos(angle);
    odd = radius * std::sin(angle);
  }

  uint64_t key_;
  float deviation_;
};

/// The rows of a box, in its flat order: body(first element of the row in the whole tensor, first within the box).
template <class Body>
void for_each_row(const Parameter& p, Body body) {
  size_t at = 0;
  for (size_t i = p.box.begin[0]; i < p.box.begin[0] + p.box.size[0]; ++i)
    for (size_t r = p.box.begin[1]; r < p.box.begin[1] + p.box.size[1]; ++r, at += p.box.size[2])
      body((i * p.shape[1] + r) * p.shape[2] + p.box.begin[2], at);
}

/// Whether the matrix adds to the residual stream.
bool joins_stream(std::string_view name) {
  return name.find("attn_output.weight") != std::string_view::npos ||
         name.find("ffn_down") != std::string_view::npos;
}

/// Norms, and divisors of rotary frequencies.
bool begins_at_one(std::string_view name) {
  return name.find("norm") != std::string_view::npos || name.starts_with("rope_");
}

bool is_adapter(std::string_view name) { return name.ends_with(".lora_a") || name.ends_with(".lora_b"); }

float deviation_of(const Parameter& p, float deviation, size_t layers) {
  if (p.name.ends_with(".lora_b")) return 0;
  if (p.name.ends_with(".lora_a")) return 1.0f / std::sqrt(static_cast<float>(p.shape[2]));
  return joins_stream(p.name) ? deviation / std::sqrt(2.0f * static_cast<float>(layers)) : deviation;
}

/// Where in a file a parameter's first element is.
struct Stored {
  const model::GgufTensor* tensor = nullptr;
  size_t row = 0;
  size_t column = 0;
};

class FileWeights {
 public:
  FileWeights(const model::ModelConfig& config, const model::GgufFile& file) : config_(config), file_(file) {}

  /// Rows of leading index `i` (an expert, else 0) of the parameter.
  Stored find(const Parameter& p, size_t i) const {
    if (const auto* tensor = file_.find_tensor(p.name); tensor != nullptr && !fused_up(p)) {
      require(*tensor, p.shape[2], p.shape[0] * p.shape[1], p);
      return {tensor, i * p.shape[1], 0};
    }
    return find_grouped(p, i);
  }

  /// Elements [begin, begin + out.size()) of a row.
  void read(const Stored& stored, size_t row, size_t begin, std::span<float> out) {
    const model::GgufTensor& t = *stored.tensor;
    const size_t width = t.shape[0];
    const size_t bytes = tensor::row_bytes(*t.dtype, width);
    const std::byte* data = t.data.data() + (stored.row + row) * bytes;
    if (!tensor::row_is_finite(*t.dtype, data, width))
      refuse(t.name, "holds a number that is not finite; the file is damaged, get it again");
    row_.resize(width);
    tensor::dequantize_row(*t.dtype, data, row_.data(), width);
    std::copy_n(row_.data() + stored.column + begin, out.size(), out.data());
  }

 private:
  /// "blk.0." and what follows.
  static std::pair<std::string, std::string> block_of(const std::string& name) {
    const size_t dot = name.find('.', 4);
    return {name.substr(0, dot + 1), name.substr(dot + 1)};
  }

  bool fused_up(const Parameter& p) const {
    const auto [block, rest] = block_of(p.name);
    return rest.starts_with("ffn_up.") && file_.find_tensor(block + "ffn_gate." + rest.substr(7)) == nullptr;
  }

  Stored find_grouped(const Parameter& p, size_t i) const {
    const auto [block, rest] = block_of(p.name);
    const size_t dot = rest.find('.');
    const std::string stem = rest.substr(0, dot), kind = dot == std::string::npos ? "" : rest.substr(dot);
    const size_t q = config_.q_dim(), kv = config_.kv_dim(), ffn = config_.ffn;
    const size_t rows = p.shape[1] == 1 ? p.shape[2] : p.shape[1];
    if (stem == "attn_q") return part(block + "attn_qkv" + kind, 0, q + 2 * kv, p);
    if (stem == "attn_k") return part(block + "attn_qkv" + kind, q, q + 2 * kv, p);
    if (stem == "attn_v") return part(block + "attn_qkv" + kind, q + kv, q + 2 * kv, p);
    if (stem == "ffn_gate") return part(block + "ffn_up" + kind, 0, 2 * ffn, p);
    if (stem == "ffn_up") return part(block + "ffn_up" + kind, ffn, 2 * ffn, p);
    if (stem.ends_with("_exps"))
      return part(fmt::format("{}{}.{}{}", block, stem.substr(0, stem.size() - 5), i, kind), 0, rows, p);
    refuse(p.name, "is not there; choose a file of this model");
  }

  /// Of a tensor that holds several parameters' rows; of biases, which are a single row, their elements.
  Stored part(const std::string& name, size_t first, size_t rows, const Parameter& p) const {
    const auto* tensor = file_.find_tensor(name);
    if (tensor == nullptr) refuse(p.name, "is not there; choose a file of this model");
    if (p.name.ends_with(".bias")) {
      require(*tensor, rows, 1, p);
      return {tensor, 0, first};
    }
    require(*tensor, p.shape[2], rows, p);
    return {tensor, first, 0};
  }

  void require(const model::GgufTensor& t, size_t width, size_t rows, const Parameter& p) const {
    if (!t.dtype) refuse(t.name, "is in a format that this build does not know");
    if (t.shape[0] != width || t.elements != width * rows)
      refuse(p.name, fmt::format("is not of {} rows of {}; choose a file of this model", rows, width));
  }

  [[noreturn]] void refuse(std::string_view name, const std::string& what) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("{}: the tensor '{}' {}", file_.name(), name, what));
  }

  const model::ModelConfig& config_;
  const model::GgufFile& file_;
  std::vector<float> row_;
};

}  // namespace

Parameters::Parameters(const model::ModelConfig& config, const Layout& layout, const Place& place,
                       const LoraSpec& lora, tensor::DeviceOps& ops)
    : config_(config), ops_(&ops) {
  ParameterLayout laid_out = lay_out_parameters(config, layout, place, lora);
  list_ = std::move(laid_out.list);
  for (size_t a = 0; a < kArenas; ++a) {
    values_[a] = ops.allocate(laid_out.sizes[a]);
    if (a != static_cast<size_t>(Arena::kFrozen)) gradients_[a] = ops.allocate(laid_out.sizes[a]);
  }
}

const Parameter* Parameters::find(std::string_view name) const {
  const auto at =
      std::find_if(list_.begin(), list_.end(), [&](const Parameter& p) { return p.name == name; });
  return at == list_.end() ? nullptr : &*at;
}

const Parameter& Parameters::at(std::string_view name) const {
  const Parameter* found = find(name);
  if (found == nullptr)
    throw Error(ErrorCode::kInternal, fmt::format("the parameter '{}' is not on this rank", name));
  return *found;
}

size_t Parameters::arena_size(Arena arena) const { return values_[static_cast<size_t>(arena)].size(); }
float* Parameters::values(Arena arena) const { return values_[static_cast<size_t>(arena)].floats(); }
float* Parameters::gradients(Arena arena) const { return gradients_[static_cast<size_t>(arena)].floats(); }

float* Parameters::gradient(const Parameter& p) const {
  return p.arena == Arena::kFrozen ? nullptr : gradients(p.arena) + p.offset;
}

void Parameters::initialise(uint64_t seed, float deviation) {
  std::vector<float> host(kPiece);
  for (const Parameter& p : list_) {
    const CountedNormal normal(seed, p.name, deviation_of(p, deviation, config_.layers));
    const bool is_bias = p.name.ends_with(".bias");
    for_each_row(p, [&](uint64_t first, size_t at) {
      for (size_t done = 0; done < p.box.size[2]; done += kPiece) {
        const std::span out(host.data(), std::min(kPiece, p.box.size[2] - done));
        if (is_bias || begins_at_one(p.name))
          std::fill(out.begin(), out.end(), is_bias ? 0.0f : 1.0f);
        else
          normal.fill(first + done, out);
        ops_->to_device(out, value(p) + at + done);
      }
    });
  }
}

void Parameters::load(const model::GgufFile& file) {
  FileWeights weights(config_, file);
  std::vector<float> host;
  for (const Parameter& p : list_) {
    if (is_adapter(p.name)) continue;
    host.resize(p.box.size[2]);
    float* out = value(p);
    for (size_t i = p.box.begin[0]; i < p.box.begin[0] + p.box.size[0]; ++i) {
      const Stored stored = weights.find(p, i);
      for (size_t r = p.box.begin[1]; r < p.box.begin[1] + p.box.size[1]; ++r, out += host.size()) {
        weights.read(stored, r, p.box.begin[2], host);
        ops_->to_device(host, out);
      }
    }
  }
}

void copy_overlap(const Box& source_box, size_t source_begin, std::span<const float> source,
                  const Box& target_box, size_t target_begin, std::span<float> target) {
  const auto end = [](const Box& b, size_t d) { return b.begin[d] + b.size[d]; };
  const size_t width = source_box.size[2];
  const size_t first = std::max(source_box.begin[2], target_box.begin[2]);
  const size_t last = std::min(end(source_box, 2), end(target_box, 2));
  if (source.empty() || target.empty() || first >= last) return;
  const size_t source_end = source_begin + source.size(), target_end = target_begin + target.size();
  // Rows of the source box that it has any element of.
  for (size_t row = source_begin / width; row <= (source_end - 1) / width; ++row) {
    const size_t i = source_box.begin[0] + row / source_box.size[1];
    const size_t r = source_box.begin[1] + row % source_box.size[1];
    if (i < target_box.begin[0] || i >= end(target_box, 0)) continue;
    if (r < target_box.begin[1] || r >= end(target_box, 1)) continue;
    // Flat places of column `first` in both boxes; what is kept of [first, last) lies within both ranges.
    const size_t s = row * width + first - source_box.begin[2];
    const size_t t =
        ((i - target_box.begin[0]) * target_box.size[1] + r - target_box.begin[1]) * target_box.size[2] +
        first - target_box.begin[2];
    const size_t skip =
        std::max(source_begin > s ? source_begin - s : 0, target_begin > t ? target_begin - t : 0);
    const size_t stop =
        std::min({last - first, source_end > s ? source_end - s : 0, target_end > t ? target_end - t : 0});
    if (skip < stop)
      std::copy_n(source.data() + (s + skip - source_begin), stop - skip,
                  target.data() + (t + skip - target_begin));
  }
}

}  // namespace fathom::train
