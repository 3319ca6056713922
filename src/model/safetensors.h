// Safetensors files: reading from a memory map, one file or the parts that an index names.
//
// The format (specification: the safetensors crate's README and `SafeTensors::read_metadata`), little-endian:
//   u64 length of the header, at most 100,000,000,
//   the header: a JSON object that begins with '{' and may end in spaces; for each tensor its name with
//     {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, end]}, and "__metadata__" with strings,
//   the tensors' data: offsets count from here; the tensors lie end to end, without holes, overlaps or a rest.
// Shapes are in the file's order, the contiguous dimension last; a shape may be empty (a scalar) or hold a 0.
//
// Ownership: a SafetensorsFile owns its maps; tensors and views live as long as it does. Immutable after opening, so
// thread-safe. Nothing in a file is believed. Errors: kNotFound (also for a part that the index names), kIo, kCorrupt
// (names file, place and remedy). A tensor in a format without arithmetic here (I64, F8_E4M3, ...) is listed with its
// bytes; asking for its numbers is kUnsupported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "tensor/dtype.h"

namespace fathom::model {

struct SafetensorsTensor {
  std::string name;
  std::string_view format;             // "F32", "I64": as the file says
  std::optional<tensor::DType> dtype;  // empty: not a format that is computed with
  std::vector<uint64_t> shape;         // the contiguous dimension last
  uint64_t elements = 0;               // the product of shape; 1 for a scalar
  std::span<const std::byte> data;     // not necessarily aligned
};

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);
  /// `folder`/model.safetensors, or all the parts that `folder`/model.safetensors.index.json names; each tensor must lie
  /// in the part that the index says.
  static SafetensorsFile open_folder(const std::filesystem::path& folder);
  /// Over bytes of the caller's that outlive it; `name` stands for the path in errors.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  uint64_t file_bytes() const { return file_bytes_; }  // of all parts
  size_t parts() const { return parts_; }
  /// "__metadata__"; of several parts the union, where the first that has a key wins.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Sorted by part, then by place in it.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  const SafetensorsTensor* find(std::string_view name) const;  // null when there is none
  /// Errors: kCorrupt, naming the tensor, when it is missing; kUnsupported, naming its format, when it has no dtype.
  const SafetensorsTensor& tensor(std::string_view name) const;

  /// The tensor's numbers as F32. Errors: as `tensor`.
  std::vector<float> floats(std::string_view name) const;

 private:
  SafetensorsFile() = default;
  void add_part(std::span<const std::byte> bytes, const std::string& name);
  void index_tensors();

  std::string name_;
  std::vector<MappedFile> maps_;
  uint64_t file_bytes_ = 0;
  size_t parts_ = 0;
  std::map<std::string, std::string> metadata_;
  std::vector<SafetensorsTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;  // keys are the names in tensors_
};

/// The parts that a model.safetensors.index.json names, by tensor: {"weight_map": {tensor: file name}}. `name` stands for
/// the path in errors. Errors: kCorrupt, also for a file name that is not a plain name in the same folder.
std::map<std::string, std::string> parse_safetensors_index(std::string_view json, const std::string& name);

}  // namespace fathom::model
