#include "model/hugging_face.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "model/hf/description.h"
#include "model/hf/names.h"
#include "model/safetensors.h"
#include "model/shown.h"
#include "model/tokenizer_json.h"

namespace fathom::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostConfig = size_t{16} << 20;
constexpr size_t kMostTokenizer = size_t{512} << 20;
constexpr size_t kCopyAlignment = 64;
constexpr std::pair<std::string_view, uint32_t> kTypeIds[] = {
    {"F32", 0}, {"F16", 1}, {"BF16", 30}, {"I8", 24}, {"I16", 25}, {"I32", 26}, {"I64", 27}, {"F64", 28}};

/// Memory that starts as zeros and costs nothing until it is written. Shared, so that a loader which hands mapped pages
/// back to the system does not lose them.
class Copies {
 public:
  explicit Copies(size_t size) : size_(size) {
    if (size == 0) return;
    void* at =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("there is no memory for {} bytes of converted tensors: {}", size,
                              std::strerror(errno)));
    data_ = static_cast<std::byte*>(at);
  }
  ~Copies() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  Copies(const Copies&) = delete;
  Copies& operator=(const Copies&) = delete;
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_;
};

std::string read_optional(const fs::path& path, size_t most) {
  return fs::exists(path) ? read_file(path, most) : std::string();
}

std::string folder_name(const fs::path& folder) {
  const fs::path whole = fs::weakly_canonical(folder);
  return whole.filename().empty() ? whole.parent_path().filename().string() : whole.filename().string();
}

size_t aligned(size_t size) { return (size + kCopyAlignment - 1) / kCopyAlignment * kCopyAlignment; }

uint32_t file_type(tensor::DType dtype) {
  switch (dtype) {
    case tensor::DType::kF32: return 0;
    case tensor::DType::kF16: return 1;
    default: return 32;  // BF16
  }
}

}  // namespace

bool is_hugging_face_folder(const fs::path& path) {
  const auto has = [&path](const char* name) {
    std::error_code closed;  // a folder that may not be looked into is none of ours
    return fs::exists(path / name, closed);
  };
  return has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json"));
}

/// Puts the pieces of one folder together.
class HuggingFaceReader {
 public:
  HuggingFaceReader(const fs::path& folder, GgufContents contents)
      : folder_(folder), name_(folder.string()), fill_(contents == GgufContents::kAll) {}

  GgufFile read() {
    if (!fs::exists(folder_ / "config.json"))
      throw Error(
          ErrorCode::kNotFound,
          fmt::format("'{}' is a folder without a config.json, so no Hugging Face model; name a GGUF file "
                      "or a model's folder",
                      name_));
    const std::string config = read_file(folder_ / "config.json", kMostConfig);
    description_ =
        describe_hugging_face(config, read_optional(folder_ / "generation_config.json", kMostConfig), name_);
    backing_ = std::make_shared<Backing>(SafetensorsFile::open_folder(folder_));
    for (const SafetensorsTensor& tensor : backing_->file.tensors()) add(tensor);
    for (const auto& [name, values] : description_.tables) add_table(name, values);
    place_copies();
    backing_->metadata = metadata();
    GgufFile file = GgufFile::parse(std::as_bytes(std::span(backing_->metadata)), name_);
    for (Planned& planned : planned_) take(file, std::move(planned.tensor));
    file.file_bytes_ = static_cast<size_t>(backing_->file.file_bytes());
    file.parts_ = backing_->file.parts();
    file.backing_ = backing_;
    return file;
  }

 private:
  struct Backing {
    explicit Backing(SafetensorsFile from) : file(std::move(from)) {}
    SafetensorsFile file;
    std::deque<std::string> names;
    std::string metadata;
    std::unique_ptr<Copies> copies;
  };

  struct Planned {
    GgufTensor tensor;
    const SafetensorsTensor* from = nullptr;  // null: a table
    const std::vector<float>* table = nullptr;
    uint64_t heads = 0;  // whose rows change their order
    float shift = 0;
    size_t copy_bytes = 0;  // 0: a view
  };

  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(ErrorCode::kUnsupported, fmt::format("'{}' {}, which this build does not read", name_, what));
  }

  void take(GgufFile& file, GgufTensor tensor) const {
    if (!file.tensor_index_.emplace(tensor.name, file.tensors_.size()).second)
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("'{}' has the tensor '{}' under two names; download it again", name_, tensor.name));
    file.tensors_.push_back(std::move(tensor));
  }

  std::string_view keep(std::string name) { return backing_->names.emplace_back(std::move(name)); }

  void add(const SafetensorsTensor& from) {
    const HfName name = gguf_name(description_.architecture, from.name);
    if (name.place == HfPlace::kPassedOver || (description_.tied_output && name.gguf == "output.weight"))
      return;
    if (name.place == HfPlace::kUnknown)
      unsupported(fmt::format("has the tensor '{}', for which the architecture '{}' has no place",
                              shown(from.name), description_.architecture));
    Planned planned;
    planned.from = &from;
    planned.tensor.name = keep(name.gguf);
    planned.tensor.shape = gguf_shape(from);
    planned.tensor.elements = from.elements;
    const bool norm = name.change == HfChange::kNorm;
    if (norm) planned.shift = description_.norm_shift;
    if (description_.permutes_heads && name.change == HfChange::kQueryRows)
      planned.heads = description_.heads;
    if (description_.permutes_heads && name.change == HfChange::kKeyRows)
      planned.heads = description_.kv_heads;
    const bool vector = planned.tensor.shape.size() == 1;
    set_format(planned, vector || name.change == HfChange::kF32);
    planned_.push_back(std::move(planned));
  }

  void add_table(const std::string& name, const std::vector<float>& values) {
    Planned planned;
    planned.table = &values;
    planned.tensor.name = keep(name);
    planned.tensor.shape = {values.size()};
    planned.tensor.elements = values.size();
    planned.tensor.dtype = tensor::DType::kF32;
    planned.copy_bytes = values.size() * sizeof(float);
    planned_.push_back(std::move(planned));
  }

  /// GGUF has the contiguous dimension first and, as its converter writes it, none of 1.
  std::vector<uint64_t> gguf_shape(const SafetensorsTensor& from) const {
    std::vector<uint64_t> shape;
    for (auto extent = from.shape.rbegin(); extent != from.shape.rend(); ++extent)
      if (*extent != 1) shape.push_back(*extent);
    if (shape.empty()) shape.push_back(1);
    if (shape.size() > 4 || from.elements == 0)
      unsupported(fmt::format("has the tensor '{}' of {} dimensions and {} elements", shown(from.name),
                              from.shape.size(), from.elements));
    return shape;
  }

  void set_format(Planned& planned, bool as_f32) const {
    GgufTensor& tensor = planned.tensor;
    const SafetensorsTensor& from = *planned.from;
    const auto id = std::find_if(std::begin(kTypeIds), std::end(kTypeIds),
                                 [&](const auto& entry) { return entry.first == from.format; });
    if (!from.dtype || id == std::end(kTypeIds))
      unsupported(fmt::format("stores the tensor '{}' as {}", shown(from.name), from.format));
    const bool f32 = as_f32 && from.dtype != tensor::DType::kF32;
    tensor.dtype = f32 ? tensor::DType::kF32 : *from.dtype;
    tensor.type_id = f32 ? 0 : id->second;
    if (planned.heads != 0) check_heads(planned);
    if (f32 || planned.heads != 0 || planned.shift != 0)
      planned.copy_bytes = tensor::row_bytes(*tensor.dtype, static_cast<size_t>(tensor.elements));
    else
      tensor.data = from.data;
  }

  void check_heads(const Planned& planned) const {
    const uint64_t rows = planned.tensor.shape.back();
    if (rows % (2 * planned.heads) != 0)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("in '{}', the {} rows of the tensor '{}' do not divide into {} "
                              "heads of an even width; download it again",
                              name_, rows, shown(planned.from->name), planned.heads));
  }

  void place_copies() {
    size_t total = 0;
    for (const Planned& planned : planned_) total += aligned(planned.copy_bytes);
    backing_->copies = std::make_unique<Copies>(total);
    std::byte* at = backing_->copies->bytes().data();
    for (Planned& planned : planned_) {
      if (planned.copy_bytes == 0) continue;
      const std::span<std::byte> to(at, planned.copy_bytes);
      if (fill_ || planned.from == nullptr) fill(planned, to);
      planned.tensor.data = to;
      at += aligned(planned.copy_bytes);
    }
  }

  static void fill(const Planned& planned, std::span<std::byte> to) {
    if (planned.from == nullptr) {
      std::memcpy(to.data(), planned.table->data(), to.size());
      return;
    }
    const SafetensorsTensor& from = *planned.from;
    if (planned.tensor.dtype == from.dtype && planned.shift == 0) return copy_rows(planned, from.data, to);
    std::vector<float> values(static_cast<size_t>(from.elements));
    tensor::dequantize_row(*from.dtype, from.data.data(), values.data(), values.size());
    for (float& value : values) value += planned.shift;
    std::vector<std::byte> stored(to.size());
    tensor::quantize_row(*planned.tensor.dtype, values.data(), stored.data(), values.size());
    copy_rows(planned, stored, to);
  }

  /// Row 2i + j of a head is row i of its half j.
  static void copy_rows(const Planned& planned, std::span<const std::byte> from, std::span<std::byte> to) {
    if (planned.heads == 0) {
      std::memcpy(to.data(), from.data(), to.size());
      return;
    }
    const auto rows = static_cast<size_t>(planned.tensor.shape.back());
    const size_t row = to.size() / rows;
    const size_t half = rows / static_cast<size_t>(planned.heads) / 2;
    for (size_t r = 0; r < rows; ++r) {
      const size_t head = r / (2 * half);
      const size_t within = r % (2 * half);
      const size_t source = head * 2 * half + within % 2 * half + within / 2;
      std::memcpy(to.data() + r * row, from.data() + source * row, row);
    }
  }

  std::string metadata() const {
    GgufWriter writer;
    writer.set("general.architecture", description_.architecture);
    writer.set("general.type", "model");
    writer.set("general.name", folder_name(folder_));
    writer.set("general.file_type", file_type(main_format()));
    writer.set("general.quantization_version", uint32_t{2});
    for (const auto& [key, value] : description_.keys) writer.set(key, value);
    if (fs::exists(folder_ / "1_Pooling" / "config.json"))
      writer.set(description_.architecture + ".pooling_type",
                 pooling_type(read_file(folder_ / "1_Pooling" / "config.json", kMostConfig), name_));
    const std::string chat = chat_template();
    if (!chat.empty()) writer.set("tokenizer.chat_template", chat);
    for (const auto& [key, value] : tokenizer())
      if (!writer.has(key)) writer.set(key, value);
    for (const auto& [key, id] : description_.special_ids)
      if (!writer.has(key) && id < description_.rows) writer.set(key, id);
    return writer.serialise();
  }

  /// Of most of the matrices' numbers.
  tensor::DType main_format() const {
    std::map<tensor::DType, uint64_t> elements;
    for (const Planned& planned : planned_)
      if (planned.tensor.shape.size() > 1) elements[*planned.tensor.dtype] += planned.tensor.elements;
    const auto most = std::max_element(elements.begin(), elements.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == elements.end() ? tensor::DType::kF32 : most->first;
  }

  /// A file of its own goes before the one in tokenizer_config.json.
  std::string chat_template() const {
    if (fs::exists(folder_ / "chat_template.jinja"))
      return read_file(folder_ / "chat_template.jinja", kMostConfig);
    if (!fs::exists(folder_ / "chat_template.json")) return "";
    return chat_template_of(read_file(folder_ / "chat_template.json", kMostConfig), name_);
  }

  TokenizerMetadata tokenizer() const {
    if (fs::exists(folder_ / "tokenizer.json"))
      return tokenizer_metadata(read_file(folder_ / "tokenizer.json", kMostTokenizer),
                                read_optional(folder_ / "tokenizer_config.json", kMostTokenizer),
                                static_cast<size_t>(description_.rows));
    if (fs::exists(folder_ / "tokenizer.model"))
      return sentence_piece_metadata(read_file(folder_ / "tokenizer.model", kMostTokenizer));
    return {};
  }

  fs::path folder_;
  std::string name_;
  bool fill_;
  HfDescription description_;
  std::shared_ptr<Backing> backing_;
  std::vector<Planned> planned_;
};

GgufFile open_hugging_face(const fs::path& folder, GgufContents contents) {
  return HuggingFaceReader(folder, contents).read();
}

}  // namespace fathom::model
