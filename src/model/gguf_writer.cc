#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/file.h"
#include "model/gguf.h"

namespace fathom::model {
namespace {

constexpr size_t kMaxTensorName = 64;

/// The order of GgufValue's scalars is the order of these.
template <class T>
constexpr GgufType type_of() {
  if constexpr (std::is_same_v<T, uint8_t>) return GgufType::kUint8;
  if constexpr (std::is_same_v<T, int8_t>) return GgufType::kInt8;
  if constexpr (std::is_same_v<T, uint16_t>) return GgufType::kUint16;
  if constexpr (std::is_same_v<T, int16_t>) return GgufType::kInt16;
  if constexpr (std::is_same_v<T, uint32_t>) return GgufType::kUint32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufType::kInt32;
  if constexpr (std::is_same_v<T, float>) return GgufType::kFloat32;
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::kString;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufType::kUint64;
  if constexpr (std::is_same_v<T, int64_t>) return GgufType::kInt64;
  if constexpr (std::is_same_v<T, double>) return GgufType::kFloat64;
}

uint32_t tensor_type_id(tensor::DType dtype) {
  for (uint32_t id = 0; id < 64; ++id)
    if (gguf_tensor_type_name(id) == tensor::name(dtype)) return id;
  FATHOM_CHECK(false, "every number format has a number in GGUF");
}

template <class T>
void append(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    append(out, static_cast<uint64_t>(value.size()));
    out += value;
  } else if constexpr (std::is_same_v<T, bool>) {
    out += value ? '\1' : '\0';
  } else {
    static_assert(std::is_arithmetic_v<T>);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
}

struct AppendValue {
  std::string& out;

  template <class T>
  void operator()(const T& value) const {
    append(out, static_cast<uint32_t>(type_of<T>()));
    append(out, value);
  }

  template <class T>
  void operator()(const std::vector<T>& values) const {
    append(out, static_cast<uint32_t>(GgufType::kArray));
    append(out, static_cast<uint32_t>(type_of<T>()));
    append(out, static_cast<uint64_t>(values.size()));
    for (const T value : values) append(out, value);
  }

  void operator()(const std::vector<std::string>& values) const {
    append(out, static_cast<uint32_t>(GgufType::kArray));
    append(out, static_cast<uint32_t>(GgufType::kString));
    append(out, static_cast<uint64_t>(values.size()));
    for (const std::string& value : values) append(out, value);
  }
};

void pad(std::string& out, size_t alignment) {
  out.resize((out.size() + alignment - 1) / alignment * alignment);
}

[[noreturn]] void invalid(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

}  // namespace

GgufWriter::GgufWriter(uint32_t alignment) : alignment_(alignment) {
  if (alignment < 8 || !std::has_single_bit(alignment))
    invalid(fmt::format("the alignment of a GGUF file is a power of two of at least 8, not {}", alignment));
}

void GgufWriter::add_key(std::string_view key) {
  if (key.empty() || key == "general.alignment")
    invalid(fmt::format("the metadata key '{}' cannot be set", key));
  if (!keys_.emplace(key).second) invalid(fmt::format("the metadata key '{}' is set twice", key));
  append(metadata_, std::string(key));
}

void GgufWriter::set(std::string_view key, const GgufValue& value) {
  add_key(key);
  std::visit(AppendValue{metadata_}, value);
}

void GgufWriter::set(std::string_view key, const GgufEntry& entry) {
  add_key(key);
  append(metadata_, static_cast<uint32_t>(entry.type));
  if (entry.type == GgufType::kArray) {
    append(metadata_, static_cast<uint32_t>(entry.element));
    append(metadata_, entry.count);
  }
  metadata_.append(reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size());
}

void GgufWriter::add_tensor(std::string_view name, tensor::DType dtype, std::span<const uint64_t> shape,
                            std::span<const std::byte> data) {
  add_tensor(name, dtype, shape, [data](const GgufSink& sink) { sink(data); });
  if (tensors_.back().bytes != data.size()) {
    tensor_names_.erase(tensors_.back().name);
    tensors_.pop_back();
    invalid(fmt::format("the tensor '{}' has {} bytes of data, which is not what its shape and format give",
                        name, data.size()));
  }
}

void GgufWriter::add_tensor(std::string_view name, tensor::DType dtype, std::span<const uint64_t> shape,
                            GgufSource source) {
  if (name.empty() || name.size() > kMaxTensorName)
    invalid(fmt::format("a tensor's name has 1 to {} bytes, which '{}' has not", kMaxTensorName, name));
  if (shape.empty() || shape.size() > 4 || shape[0] % tensor::block_size(dtype) != 0)
    invalid(fmt::format("the shape of the tensor '{}' is not 1 to 4 dimensions, the first a multiple of {}",
                        name, tensor::block_size(dtype)));
  uint64_t bytes = tensor::block_bytes(dtype);
  bool sound = !__builtin_mul_overflow(bytes, shape[0] / tensor::block_size(dtype), &bytes);
  for (const uint64_t extent : shape.subspan(1))
    sound = sound && !__builtin_mul_overflow(bytes, extent, &bytes);
  if (!sound || bytes == 0)
    invalid(fmt::format("the shape of the tensor '{}' has no size that could be stored", name));
  if (!tensor_names_.emplace(name).second) invalid(fmt::format("the tensor '{}' is added twice", name));
  tensors_.push_back({std::string(name), dtype, {shape.begin(), shape.end()}, bytes, std::move(source)});
}

std::string GgufWriter::header() const {
  const bool own_alignment = alignment_ != 32;
  std::string out = "GGUF";
  append(out, uint32_t{3});
  append(out, static_cast<uint64_t>(tensors_.size()));
  append(out, static_cast<uint64_t>(keys_.size() + (own_alignment ? 1 : 0)));
  if (own_alignment) {
    append(out, std::string("general.alignment"));
    AppendValue{out}(alignment_);
  }
  out += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const uint64_t extent : tensor.shape) append(out, extent);
    append(out, tensor_type_id(tensor.dtype));
    append(out, offset);
    offset += (tensor.bytes + alignment_ - 1) / alignment_ * alignment_;
  }
  if (!tensors_.empty()) pad(out, alignment_);
  return out;
}

void GgufWriter::emit(const std::function<void(std::string_view)>& out) const {
  out(header());
  for (const Tensor& tensor : tensors_) {
    uint64_t written = 0;
    tensor.source([&](std::span<const std::byte> piece) {
      written += piece.size();
      out({reinterpret_cast<const char*>(piece.data()), piece.size()});
    });
    FATHOM_CHECK(written == tensor.bytes, "a source gives what its tensor's shape and format call for");
    out(std::string((alignment_ - written % alignment_) % alignment_, '\0'));
  }
}

std::string GgufWriter::serialise() const {
  std::string file;
  emit([&](std::string_view bytes) { file += bytes; });
  return file;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  emit([&](std::string_view bytes) { file.write(bytes); });
  file.commit();
}

}  // namespace fathom::model
