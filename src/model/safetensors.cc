#include "model/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors are read as they lie in memory");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxIndexBytes = size_t{256} << 20;
constexpr size_t kMaxDimensions = 16;
constexpr int kMaxDepth = 16;  // of the header's JSON
constexpr std::string_view kMetadataKey = "__metadata__";

struct Format {
  std::string_view name;
  unsigned bits;
};

constexpr Format kFormats[] = {
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

const Format* find_format(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& f) { return f.name == name; });
  return found == std::end(kFormats) ? nullptr : found;
}

/// Only the plain formats: the block formats of GGUF do not exist in safetensors.
std::optional<tensor::DType> dtype_of(std::string_view format) {
  if (format == "F32") return tensor::DType::kF32;
  if (format == "F16") return tensor::DType::kF16;
  if (format == "BF16") return tensor::DType::kBF16;
  return std::nullopt;
}

/// A JSON object whose keys at the first level are unique. Errors are told by `fail`.
template <class Fail>
json parse_object(std::string_view text, Fail fail) {
  std::set<std::string> seen;
  std::string twice;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) fail("is nested too deep");
    if (event == json::parse_event_t::key && depth == 1) {
      const auto& key = value.get_ref<const std::string&>();
      if (!seen.insert(key).second && twice.empty()) twice = key;
    }
    return true;
  };
  json object;
  try {
    object = json::parse(text, watch);
  } catch (const json::exception&) {
    fail("is not well-formed JSON");
  }
  if (!object.is_object()) fail("is not a JSON object");
  if (!twice.empty()) fail(fmt::format("names '{}' twice", shown(twice)));
  return object;
}

/// Reads one file's header; every step checks what it takes.
class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  [[noreturn]] void corrupt(const std::string& what) const {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' is not a sound safetensors file: {}; download it again", name_, what));
  }

  void read(std::vector<SafetensorsTensor>& tensors, std::map<std::string, std::string>& metadata) {
    const json header = read_header();
    const size_t first = tensors.size();
    for (const auto& [name, entry] : header.items()) {
      if (name == kMetadataKey)
        read_metadata(entry, metadata);
      else
        tensors.push_back(read_tensor(name, entry));
    }
    place(std::span(tensors).subspan(first));
    std::sort(tensors.begin() + static_cast<std::ptrdiff_t>(first), tensors.end(),
              [](const auto& a, const auto& b) { return a.data.data() < b.data.data(); });
  }

 private:
  json read_header() {
    if (bytes_.size() < 8) corrupt(fmt::format("it has only {} bytes", bytes_.size()));
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), sizeof length);
    if (length > kMaxHeaderBytes)
      corrupt(fmt::format("its header of {} bytes is longer than the {} allowed", length, kMaxHeaderBytes));
    if (length > bytes_.size() - 8)
      corrupt(fmt::format("its header needs {} bytes and the file has {}", length, bytes_.size() - 8));
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + 8,
                                static_cast<size_t>(length));
    data_ = bytes_.subspan(8 + static_cast<size_t>(length));
    if (!text.starts_with('{')) corrupt("its header does not begin with '{'");
    return parse_object(text, [this](const std::string& what) { corrupt("its header " + what); });
  }

  void read_metadata(const json& entry, std::map<std::string, std::string>& metadata) const {
    if (!entry.is_object()) corrupt("'__metadata__' is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) corrupt(fmt::format("the metadata '{}' is not a string", shown(key)));
      metadata.emplace(key, value.get<std::string>());
    }
  }

  uint64_t number(const json& value, std::string_view name, std::string_view what) const {
    if (!value.is_number_unsigned())
      corrupt(fmt::format("the {} of the tensor '{}' is not a whole number", what, shown(name)));
    return value.get<uint64_t>();
  }

  const json& field(const json& entry, const char* key, std::string_view name) const {
    const auto found = entry.find(key);
    if (found == entry.end()) corrupt(fmt::format("the tensor '{}' lacks its {}", shown(name), key));
    return *found;
  }

  SafetensorsTensor read_tensor(const std::string& name, const json& entry) {
    if (!entry.is_object())
      corrupt(fmt::format("the tensor '{}' is not described by an object", shown(name)));
    SafetensorsTensor tensor;
    tensor.name = name;
    const json& dtype = field(entry, "dtype", name);
    const Format* format = dtype.is_string() ? find_format(dtype.get_ref<const std::string&>()) : nullptr;
    if (format == nullptr) corrupt(fmt::format("the tensor '{}' is of an unknown format", shown(name)));
    tensor.format = format->name;
    tensor.dtype = dtype_of(format->name);
    const json& shape = field(entry, "shape", name);
    if (!shape.is_array() || shape.size() > kMaxDimensions)
      corrupt(fmt::format("the shape of the tensor '{}' is not a list of at most {}", shown(name),
                          kMaxDimensions));
    tensor.elements = 1;
    for (const json& extent : shape) {
      tensor.shape.push_back(number(extent, name, "shape"));
      if (__builtin_mul_overflow(tensor.elements, tensor.shape.back(), &tensor.elements))
        corrupt(fmt::format("the tensor '{}' has more elements than can be counted", shown(name)));
    }
    tensor.data = bytes_of(tensor, *format, field(entry, "data_offsets", name));
    return tensor;
  }

  std::span<const std::byte> bytes_of(const SafetensorsTensor& tensor, const Format& format,
                                      const json& offsets) const {
    const std::string name = shown(tensor.name);
    if (!offsets.is_array() || offsets.size() != 2)
      corrupt(fmt::format("the data_offsets of the tensor '{}' are not two numbers", name));
    const uint64_t begin = number(offsets[0], name, "place");
    const uint64_t end = number(offsets[1], name, "place");
    if (begin > end || end > data_.size())
      corrupt(fmt::format("the tensor '{}' lies at {} to {} of {} bytes of data; the file may be cut short",
                          name, begin, end, data_.size()));
    uint64_t bits = 0;
    if (__builtin_mul_overflow(tensor.elements, uint64_t{format.bits}, &bits) || bits % 8 != 0 ||
        bits / 8 != end - begin)
      corrupt(fmt::format("the tensor '{}' of {} {} elements has {} bytes of data", name, tensor.elements,
                          format.name, end - begin));
    return data_.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }

  /// End to end, as the reference demands: whoever wrote a hole may hide something in it.
  void place(std::span<const SafetensorsTensor> tensors) const {
    std::vector<std::pair<size_t, size_t>> ranges;
    ranges.reserve(tensors.size());
    for (const auto& tensor : tensors) {
      const auto begin = static_cast<size_t>(tensor.data.data() - data_.data());
      ranges.emplace_back(begin, begin + tensor.data.size());
    }
    std::sort(ranges.begin(), ranges.end());
    size_t at = 0;
    for (const auto& [begin, end] : ranges) {
      if (begin != at)
        corrupt(fmt::format("its tensors {} at byte {} of the data", begin > at ? "leave a hole" : "overlap",
                            std::min(begin, at)));
      at = end;
    }
    if (at != data_.size())
      corrupt(fmt::format("its tensors have {} bytes and the file holds {}", at, data_.size()));
  }

  std::span<const std::byte> bytes_;
  std::span<const std::byte> data_;
  const std::string& name_;
};

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, const std::string& name) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kCorrupt, fmt::format("the index '{}' {}; download the folder again", name, what));
  };
  const json index = parse_object(text, fail);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) fail("has no object 'weight_map'");
  std::map<std::string, std::string> parts;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>()))
      fail(fmt::format("names no file of its own folder for the tensor '{}'", shown(tensor)));
    parts.emplace(tensor, file.get<std::string>());
  }
  if (parts.empty()) fail("names no tensor");
  return parts;
}

void SafetensorsFile::add_part(std::span<const std::byte> bytes, const std::string& name) {
  HeaderReader(bytes, name).read(tensors_, metadata_);
  file_bytes_ += bytes.size();
  ++parts_;
}

void SafetensorsFile::index_tensors() {
  tensor_index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (!tensor_index_.emplace(tensors_[i].name, i).second)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("in '{}', two parts hold the tensor '{}'; download it again", name_,
                              shown(tensors_[i].name)));
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.name_ = path.string();
  file.maps_.emplace_back(path);
  file.add_part(file.maps_.back().bytes(), file.name_);
  file.index_tensors();
  return file;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  SafetensorsFile file;
  file.name_ = std::move(name);
  file.add_part(bytes, file.name_);
  file.index_tensors();
  return file;
}

SafetensorsFile SafetensorsFile::open_folder(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / "model.safetensors")) return open(folder / "model.safetensors");
  const auto index_path = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index_path))
    throw Error(ErrorCode::kNotFound,
                fmt::format("there is neither model.safetensors nor model.safetensors.index.json in '{}'",
                            folder.string()));
  const auto index = parse_safetensors_index(read_file(index_path, kMaxIndexBytes), index_path.string());
  std::set<std::string> names;
  for (const auto& item : index) names.insert(item.second);
  SafetensorsFile file;
  file.name_ = folder.string();
  file.maps_.reserve(names.size());
  for (const std::string& name : names) {
    const auto path = folder / name;
    if (!std::filesystem::exists(path))
      throw Error(ErrorCode::kNotFound,
                  fmt::format("'{}' is missing: '{}' names {} parts; download all of them", path.string(),
                              index_path.string(), names.size()));
    const size_t first = file.tensors_.size();
    file.maps_.emplace_back(path);
    file.add_part(file.maps_.back().bytes(), path.string());
    for (size_t i = first; i < file.tensors_.size(); ++i) {
      const auto listed = index.find(file.tensors_[i].name);
      if (listed != index.end() && listed->second != name)
        throw Error(ErrorCode::kCorrupt,
                    fmt::format("'{}' says that the tensor '{}' is in {}, but {} holds it; download it again",
                                index_path.string(), shown(listed->first), listed->second, name));
    }
  }
  file.index_tensors();
  for (const auto& [tensor, part] : index)
    if (file.find(tensor) == nullptr)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("'{}' lacks the tensor '{}' that the index says is in it; download it again",
                              (folder / part).string(), shown(tensor)));
  return file;
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const SafetensorsTensor& SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsTensor* found = find(name);
  if (found == nullptr)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' lacks the tensor '{}'; download it again", name_, shown(name)));
  if (!found->dtype)
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("in '{}', the tensor '{}' is stored as {}, which this build does not compute with; "
                    "use an edition in F32, F16 or BF16",
                    name_, shown(name), found->format));
  return *found;
}

std::vector<float> SafetensorsFile::floats(std::string_view name) const {
  const SafetensorsTensor& from = tensor(name);
  std::vector<float> values(static_cast<size_t>(from.elements));
  tensor::dequantize_row(*from.dtype, from.data.data(), values.data(), values.size());
  return values;
}

}  // namespace fathom::model
