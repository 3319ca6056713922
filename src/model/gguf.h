// GGUF files, versions 2 and 3: reading from a memory map, and writing.
//
// A GgufFile is the one interface through which the rest of the program reads models: besides a GGUF file it opens one in
// parts (NAME-00001-of-00003.gguf; any part names them all) and a Hugging Face folder (model/hugging_face.h), which reads
// as the GGUF file that it would be converted to.
//
// The format, all little-endian (specification: docs/gguf.md of ggml):
//   u32 magic "GGUF", u32 version, u64 tensor count, u64 metadata count,
//   metadata: each a string key, a u32 type (GgufType) and its value; a string is a u64 length and bytes without a
//     terminator; an array is a u32 element type, a u64 count and the elements; arrays may nest,
//   tensor infos: each a string name, a u32 number of dimensions (1..4), a u64 per dimension, a u32 type, a u64 offset,
//   padding to the alignment (metadata general.alignment, a power of two, else 32),
//   tensor data: offsets count from here and are multiples of the alignment.
// Shapes stand in GGUF's order: shape[0] is the contiguous one. A matrix that maps d_in to d_out has the shape
// [d_in, d_out] and holds d_out rows of d_in elements.
//
// Nothing in a file is believed: every count, length, offset, alignment and product is checked before it is used, and
// names are unique. Errors: kNotFound, kIo, kCorrupt (names file, place and remedy), kUnsupported (another version, a
// big-endian file). A tensor of a format that this build does not know leaves the file readable; `GgufFile::data` of
// it is kUnsupported. Immutable after opening, so thread-safe; views live as long as the GgufFile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/dtype.h"

namespace fathom::model {

enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// "u32", "string", "array": as errors and `fathom models` name it.
std::string_view to_string(GgufType type);

struct GgufTensor {
  std::string_view name;
  std::vector<uint64_t> shape;         // 1..4 dimensions, none 0; shape[0] is the contiguous one
  uint32_t type_id = 0;                // the format's number in the file
  std::optional<tensor::DType> dtype;  // empty: not a format of this build
  uint64_t elements = 0;               // the product of shape
  uint64_t offset = 0;                 // of the data, from the beginning of the file that it is in
  std::span<const std::byte> data;     // empty when dtype is
};

/// "F32", "Q4_K": the name of a tensor format by its number, "type 99" for an unknown one.
std::string gguf_tensor_type_name(uint32_t type_id);

/// One metadata value, still encoded; validated when the file was opened.
struct GgufEntry {
  GgufType type = GgufType::kUint8;
  GgufType element = GgufType::kUint8;  // of an array
  uint64_t count = 1;                   // of an array
  std::span<const std::byte> bytes;     // the value; for an array its elements
};

/// What `GgufFile::open` prepares of a Hugging Face folder; of GGUF files always everything.
enum class GgufContents {
  kAll,
  kDescription,  // tensors that conversion would change (rows in another order, norms + 1) read as zeros: opens at once
};

class GgufFile {
 public:
  /// A GGUF file, any part of one in parts, or a Hugging Face folder. Errors: above; kNotFound names a missing part.
  static GgufFile open(const std::filesystem::path& path, GgufContents contents = GgufContents::kAll);
  /// Over bytes of the caller's that outlive the file; `name` stands for the path in errors.
  static GgufFile parse(std::span<const std::byte> bytes, std::string name);
  /// The parts of one file, in order and at least one: the metadata is the first's, the tensors are all's.
  static GgufFile parse_parts(std::span<const std::span<const std::byte>> parts, std::string name);

  const std::string& name() const { return name_; }  // path as given
  uint32_t version() const { return version_; }
  size_t alignment() const { return alignment_; }
  size_t file_bytes() const { return file_bytes_; }  // of all parts
  size_t parts() const { return parts_; }

  /// Every key with its value, sorted by key.
  const std::map<std::string_view, GgufEntry>& metadata() const { return metadata_; }
  bool has(std::string_view key) const { return metadata_.contains(key); }

  /// Metadata by key: empty when there is no such key. Errors: kCorrupt, naming the key, when it is of another kind
  /// (integers of any width are one kind, floats of any width another) or does not fit.
  std::optional<uint64_t> find_uint(std::string_view key) const;
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;
  std::optional<std::vector<float>> find_floats(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;

  /// The same, where the key must be there: kCorrupt, naming the key, when it is not.
  uint64_t get_uint(std::string_view key) const;
  double get_float(std::string_view key) const;
  std::string_view get_string(std::string_view key) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;

  /// In the file's order.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;  // null when there is none
  /// Errors: kCorrupt, naming the tensor, when it is missing; kUnsupported, naming tensor and format, when its format is
  /// not one of this build.
  const GgufTensor& tensor(std::string_view name) const;

 private:
  friend class GgufParser;
  friend class HuggingFaceReader;
  GgufFile() = default;
  void join(GgufFile part, uint64_t index, uint64_t count);
  void check_tensor_count() const;
  const GgufEntry* entry(std::string_view key) const;
  [[noreturn]] void wrong_kind(std::string_view key, const GgufEntry& entry, std::string_view wanted) const;
  [[noreturn]] void missing(std::string_view key) const;

  std::string name_;
  std::shared_ptr<const void> backing_;  // what the views point into; empty after `parse`
  size_t file_bytes_ = 0;
  size_t parts_ = 1;
  uint32_t version_ = 0;
  size_t alignment_ = 32;
  std::map<std::string_view, GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

using GgufValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t,
                 int64_t, double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                 std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>,
                 std::vector<bool>, std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>,
                 std::vector<double>>;

/// Takes a tensor's data piece by piece, in order.
using GgufSink = std::function<void(std::span<const std::byte>)>;
/// Gives a tensor's data to the sink; may throw.
using GgufSource = std::function<void(const GgufSink&)>;

/// Writes version 3. Not thread-safe. Keys and tensors stand in the file in the order they were added.
class GgufWriter {
 public:
  /// Errors: kInvalidArgument unless `alignment` is a power of two, at least 8.
  explicit GgufWriter(uint32_t alignment = 32);

  /// Errors: kInvalidArgument for an empty or a repeated key, and for general.alignment, which is the writer's own.
  void set(std::string_view key, const GgufValue& value);
  /// The same with a value as another file has it.
  void set(std::string_view key, const GgufEntry& entry);
  bool has(std::string_view key) const { return keys_.contains(std::string(key)); }

  /// `data` is the caller's and lives until the last `write`. Errors: kInvalidArgument when the name repeats, is empty
  /// or longer than 64 bytes, when the shape is not 1..4 dimensions of at least 1 (the first a multiple of the block
  /// size), or when `data` is not of the size that shape and format give.
  void add_tensor(std::string_view name, tensor::DType dtype, std::span<const uint64_t> shape,
                  std::span<const std::byte> data);
  /// The same with data that is made while it is written, so that it need never be in memory as a whole. `source` is
  /// called once a `write`, and gives exactly as many bytes as shape and format call for.
  void add_tensor(std::string_view name, tensor::DType dtype, std::span<const uint64_t> shape,
                  GgufSource source);

  /// The whole file as bytes.
  std::string serialise() const;
  /// Replaces `path` atomically, writing as the data comes. Errors: kIo, kResourceExhausted (the disk is full), those of
  /// the sources; then `path` is as it was.
  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    tensor::DType dtype;
    std::vector<uint64_t> shape;
    uint64_t bytes;
    GgufSource source;
  };

  void add_key(std::string_view key);
  std::string header() const;
  void emit(const std::function<void(std::string_view)>& out) const;

  uint32_t alignment_;
  std::unordered_set<std::string> keys_;
  std::string metadata_;  // keys, types and values, encoded
  std::vector<Tensor> tensors_;
  std::unordered_set<std::string> tensor_names_;
};

}  // namespace fathom::model
