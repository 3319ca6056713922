#include "model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory");

constexpr int kMaxArrayDepth = 8;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 24;
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;  // key length, key, type, value
constexpr uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // name length, name, dimensions, one of them, type, offset
constexpr std::string_view kRemedy = "download or convert it again";

/// Bytes of one value of a type of fixed size; 0 for strings and arrays.
size_t fixed_size(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool: return 1;
    case GgufType::kUint16:
    case GgufType::kInt16: return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32: return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return 0;
}

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A string of the file that is already known to be whole.
std::string_view load_string(const std::byte* at) {
  return as_text({at + 8, static_cast<size_t>(load<uint64_t>(at))});
}

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kUint16:
    case GgufType::kInt16:
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kUint64:
    case GgufType::kInt64: return true;
    default: return false;
  }
}

bool is_float(GgufType type) { return type == GgufType::kFloat32 || type == GgufType::kFloat64; }

double load_float(GgufType type, const std::byte* at) {
  return type == GgufType::kFloat32 ? static_cast<double>(load<float>(at)) : load<double>(at);
}

/// An integer of any width; empty for an u64 past the range of i64.
std::optional<int64_t> load_integer(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kUint8: return load<uint8_t>(at);
    case GgufType::kInt8: return load<int8_t>(at);
    case GgufType::kUint16: return load<uint16_t>(at);
    case GgufType::kInt16: return load<int16_t>(at);
    case GgufType::kUint32: return load<uint32_t>(at);
    case GgufType::kInt32: return load<int32_t>(at);
    case GgufType::kInt64: return load<int64_t>(at);
    case GgufType::kUint64: {
      const auto value = load<uint64_t>(at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default: return std::nullopt;
  }
}

struct TensorType {
  uint32_t id;
  std::string_view name;
};

constexpr TensorType kTensorTypes[] = {
    {0, "F32"},     {1, "F16"},    {2, "Q4_0"},     {3, "Q4_1"},    {6, "Q5_0"},     {7, "Q5_1"},
    {8, "Q8_0"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},
    {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {30, "BF16"},    {34, "TQ1_0"},
    {35, "TQ2_0"},  {39, "MXFP4"},
};

std::string_view tensor_type_name(uint32_t id) {
  for (const TensorType& type : kTensorTypes)
    if (type.id == id) return type.name;
  return {};
}

}  // namespace

std::string_view to_string(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string gguf_tensor_type_name(uint32_t type_id) {
  const std::string_view name = tensor_type_name(type_id);
  return name.empty() ? fmt::format("type {}", type_id) : std::string(name);
}

/// Walks the file once, front to back; each reader checks that what it takes is there.
class GgufParser {
 public:
  GgufParser(GgufFile& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  void parse() {
    read_header();
    for (uint64_t i = 0; i < metadata_count_; ++i) read_metadata(i);
    read_alignment();
    file_.tensors_.reserve(static_cast<size_t>(tensor_count_));
    for (uint64_t i = 0; i < tensor_count_; ++i) read_tensor(i);
    place_tensors();
  }

 private:
  [[noreturn]] void corrupt(size_t at, const std::string& what) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("'{}' is not a sound GGUF file: at byte {}, {}; {}",
                                                 file_.name_, at, what, kRemedy));
  }

  size_t remaining() const { return bytes_.size() - at_; }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > remaining())
      corrupt(at_, fmt::format("{} needs {} bytes and the file has {} left", what, size, remaining()));
    const auto taken = bytes_.subspan(at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return taken;
  }

  template <class T>
  T read(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }

  std::string_view read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    return as_text(take(length, what));
  }

  void read_header() {
    if (as_text(take(4, "the magic number")) != "GGUF") corrupt(0, "the magic number is not 'GGUF'");
    file_.version_ = read<uint32_t>("the version");
    if (file_.version_ == 0x02000000u || file_.version_ == 0x03000000u)
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("'{}' is a big-endian GGUF file; use its little-endian edition", file_.name_));
    if (file_.version_ != 2 && file_.version_ != 3)
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("'{}' is GGUF version {}; this build reads versions 2 and 3: convert it again",
                              file_.name_, file_.version_));
    tensor_count_ = read<uint64_t>("the number of tensors");
    metadata_count_ = read<uint64_t>("the number of metadata entries");
    if (tensor_count_ > remaining() / kMinTensorBytes)
      corrupt(8, fmt::format("{} tensors cannot fit in the file", tensor_count_));
    if (metadata_count_ > remaining() / kMinMetadataBytes)
      corrupt(16, fmt::format("{} metadata entries cannot fit in the file", metadata_count_));
  }

  GgufType read_type(std::string_view key) {
    const size_t at = at_;
    const auto type = read<uint32_t>("a metadata type");
    if (type > static_cast<uint32_t>(GgufType::kFloat64))
      corrupt(at, fmt::format("the key '{}' has the unknown type {}", shown(key), type));
    return static_cast<GgufType>(type);
  }

  void read_metadata(uint64_t index) {
    const size_t at = at_;
    const std::string_view key = read_string("a metadata key");
    if (key.empty()) corrupt(at, fmt::format("the key of metadata entry {} is empty", index));
    GgufEntry entry;
    entry.type = read_type(key);
    read_value(key, entry, 0);
    if (!file_.metadata_.emplace(key, entry).second)
      corrupt(at, fmt::format("the key '{}' stands twice", shown(key)));
  }

  void read_value(std::string_view key, GgufEntry& entry, int depth) {
    if (entry.type == GgufType::kArray) return read_array(key, entry, depth);
    const size_t begin = at_;
    skip_values(key, entry.type, 1);
    entry.bytes = bytes_.subspan(begin, at_ - begin);
  }

  void read_array(std::string_view key, GgufEntry& entry, int depth) {
    if (depth == kMaxArrayDepth)
      corrupt(at_, fmt::format("the array '{}' nests deeper than {}", shown(key), kMaxArrayDepth));
    entry.element = read_type(key);
    entry.count = read<uint64_t>("the length of an array");
    const size_t begin = at_;
    if (entry.element == GgufType::kArray) {
      check_count(key, entry.count, 4 + 8);
      for (uint64_t i = 0; i < entry.count; ++i) {
        GgufEntry inner;
        read_array(key, inner, depth + 1);
      }
    } else {
      skip_values(key, entry.element, entry.count);
    }
    entry.bytes = bytes_.subspan(begin, at_ - begin);
  }

  void check_count(std::string_view key, uint64_t count, size_t least_bytes) const {
    if (count > remaining() / least_bytes)
      corrupt(at_, fmt::format("'{}' has {} elements, more than the file can hold", shown(key), count));
  }

  /// Moves past `count` values that are not arrays.
  void skip_values(std::string_view key, GgufType type, uint64_t count) {
    const size_t size = fixed_size(type);
    check_count(key, count, size == 0 ? 8 : size);
    if (size == 0) {
      for (uint64_t i = 0; i < count; ++i) read_string("a string");
      return;
    }
    const auto values = take(count * size, "a value");
    if (type != GgufType::kBool) return;
    for (const std::byte value : values)
      if (value > std::byte{1})
        corrupt(at_ - values.size(), fmt::format("'{}' is neither true nor false", shown(key)));
  }

  void read_alignment() {
    const auto alignment = file_.find_uint("general.alignment");
    if (!alignment) return;
    if (*alignment < 8 || *alignment > kMaxAlignment || !std::has_single_bit(*alignment))
      corrupt(at_,
              fmt::format("general.alignment is {}, which is not a power of two of at least 8", *alignment));
    file_.alignment_ = static_cast<size_t>(*alignment);
  }

  void read_tensor(uint64_t index) {
    const size_t at = at_;
    GgufTensor tensor;
    tensor.name = read_string("a tensor's name");
    if (tensor.name.empty()) corrupt(at, fmt::format("the name of tensor {} is empty", index));
    const auto dimensions = read<uint32_t>("a tensor's number of dimensions");
    if (dimensions < 1 || dimensions > 4)
      corrupt(at,
              fmt::format("the tensor '{}' has {} dimensions, not 1 to 4", shown(tensor.name), dimensions));
    tensor.elements = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto extent = read<uint64_t>("a tensor's dimension");
      if (extent == 0)
        corrupt(at, fmt::format("dimension {} of the tensor '{}' is 0", d, shown(tensor.name)));
      if (__builtin_mul_overflow(tensor.elements, extent, &tensor.elements))
        corrupt(at, fmt::format("the tensor '{}' has more elements than can be counted", shown(tensor.name)));
      tensor.shape.push_back(extent);
    }
    tensor.type_id = read<uint32_t>("a tensor's type");
    tensor.dtype = tensor::dtype_from_name(tensor_type_name(tensor.type_id));
    tensor.offset = read<uint64_t>("a tensor's offset");  // from the data section until `place_tensors`
    if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second)
      corrupt(at, fmt::format("the tensor '{}' stands twice", shown(tensor.name)));
    file_.tensors_.push_back(std::move(tensor));
  }

  void place_tensors() {
    if (file_.tensors_.empty()) return;
    const size_t mask = file_.alignment_ - 1;
    const size_t data_begin = (at_ + mask) & ~mask;
    if (data_begin > bytes_.size()) corrupt(at_, "the file ends before its tensor data");
    for (GgufTensor& tensor : file_.tensors_) place(tensor, data_begin);
    check_overlap();
  }

  void place(GgufTensor& tensor, size_t data_begin) const {
    const uint64_t data_size = bytes_.size() - data_begin;
    if (tensor.offset % file_.alignment_ != 0)
      corrupt(data_begin,
              fmt::format("the offset {} of the tensor '{}' is not a multiple of the alignment {}",
                          tensor.offset, shown(tensor.name), file_.alignment_));
    if (tensor.offset > data_size)
      corrupt(data_begin,
              fmt::format("the tensor '{}' begins {} bytes past the end of the file; it is cut short",
                          shown(tensor.name), tensor.offset - data_size));
    const uint64_t room = data_size - tensor.offset;
    tensor.offset += data_begin;
    if (!tensor.dtype) return;
    const size_t block = tensor::block_size(*tensor.dtype);
    if (tensor.shape[0] % block != 0)
      corrupt(static_cast<size_t>(tensor.offset),
              fmt::format("rows of the {} tensor '{}' have {} elements, not a multiple of {}",
                          tensor::name(*tensor.dtype), shown(tensor.name), tensor.shape[0], block));
    uint64_t size = 0;
    if (__builtin_mul_overflow(tensor.elements / block, tensor::block_bytes(*tensor.dtype), &size) ||
        size > room)
      corrupt(
          static_cast<size_t>(tensor.offset),
          fmt::format("the tensor '{}' of {} {} elements reaches past the end of the file; it is cut short",
                      shown(tensor.name), tensor.elements, tensor::name(*tensor.dtype)));
    tensor.data = bytes_.subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(size));
  }

  void check_overlap() const {
    std::vector<const GgufTensor*> placed;
    for (const GgufTensor& tensor : file_.tensors_)
      if (tensor.dtype) placed.push_back(&tensor);
    std::sort(placed.begin(), placed.end(),
              [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < placed.size(); ++i)
      if (placed[i - 1]->offset + placed[i - 1]->data.size() > placed[i]->offset)
        corrupt(static_cast<size_t>(placed[i]->offset),
                fmt::format("the tensors '{}' and '{}' overlap", shown(placed[i - 1]->name),
                            shown(placed[i]->name)));
  }

  GgufFile& file_;
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t metadata_count_ = 0;
};

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.name_ = std::move(name);
  file.file_bytes_ = bytes.size();
  GgufParser(file, bytes).parse();
  return file;
}

const GgufEntry* GgufFile::entry(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

void GgufFile::wrong_kind(std::string_view key, const GgufEntry& entry, std::string_view wanted) const {
  const std::string type = entry.type == GgufType::kArray
                               ? fmt::format("array of {}", to_string(entry.element))
                               : std::string(to_string(entry.type));
  throw Error(ErrorCode::kCorrupt,
              fmt::format("in '{}', the metadata key '{}' is of type {} where {} is needed; {}", name_,
                          shown(key), type, wanted, kRemedy));
}

void GgufFile::missing(std::string_view key) const {
  throw Error(ErrorCode::kCorrupt, fmt::format("'{}' lacks the metadata key '{}'; {}", name_, key, kRemedy));
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (!is_integer(found->type)) wrong_kind(key, *found, "an integer");
  const auto value = load_integer(found->type, found->bytes.data());
  if (!value) wrong_kind(key, *found, "an integer below 2^63");
  return value;
}

std::optional<uint64_t> GgufFile::find_uint(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type == GgufType::kUint64) return load<uint64_t>(found->bytes.data());
  const auto value = find_int(key);
  if (*value < 0) wrong_kind(key, *found, fmt::format("a count (not {})", *value));
  return static_cast<uint64_t>(*value);
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (!is_float(found->type)) wrong_kind(key, *found, "a float");
  return load_float(found->type, found->bytes.data());
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != GgufType::kBool) wrong_kind(key, *found, "a bool");
  return found->bytes[0] != std::byte{0};
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != GgufType::kString) wrong_kind(key, *found, "a string");
  return load_string(found->bytes.data());
}

std::optional<std::vector<int64_t>> GgufFile::find_ints(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != GgufType::kArray || !is_integer(found->element))
    wrong_kind(key, *found, "an array of integers");
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(found->count));
  for (size_t i = 0; i < found->count; ++i) {
    const auto value = load_integer(found->element, found->bytes.data() + i * fixed_size(found->element));
    if (!value) wrong_kind(key, *found, "an array of integers below 2^63");
    values.push_back(*value);
  }
  return values;
}

std::optional<std::vector<float>> GgufFile::find_floats(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != GgufType::kArray || !is_float(found->element))
    wrong_kind(key, *found, "an array of floats");
  std::vector<float> values;
  values.reserve(static_cast<size_t>(found->count));
  for (size_t i = 0; i < found->count; ++i)
    values.push_back(
        static_cast<float>(load_float(found->element, found->bytes.data() + i * fixed_size(found->element))));
  return values;
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != GgufType::kArray || found->element != GgufType::kString)
    wrong_kind(key, *found, "an array of strings");
  std::vector<std::string_view> values;
  values.reserve(static_cast<size_t>(found->count));
  const std::byte* at = found->bytes.data();
  for (size_t i = 0; i < found->count; ++i) {
    values.push_back(load_string(at));
    at += 8 + values.back().size();
  }
  return values;
}

uint64_t GgufFile::get_uint(std::string_view key) const {
  const auto value = find_uint(key);
  if (!value) missing(key);
  return *value;
}

double GgufFile::get_float(std::string_view key) const {
  const auto value = find_float(key);
  if (!value) missing(key);
  return *value;
}

std::string_view GgufFile::get_string(std::string_view key) const {
  const auto value = find_string(key);
  if (!value) missing(key);
  return *value;
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  auto value = find_strings(key);
  if (!value) missing(key);
  return *std::move(value);
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufTensor& GgufFile::tensor(std::string_view name) const {
  const GgufTensor* found = find_tensor(name);
  if (found == nullptr)
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' lacks the tensor '{}'; {}", name_, shown(name), kRemedy));
  if (!found->dtype)
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format(
            "in '{}', the tensor '{}' is stored as {}, which this build does not read; use an edition "
            "in F16, BF16, Q8_0, Q6_K, Q4_K or Q4_0",
            name_, shown(name), gguf_tensor_type_name(found->type_id)));
  return *found;
}

}  // namespace fathom::model
