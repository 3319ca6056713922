// Test support: writes safetensors files, sound ones and, by hand, unsound ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "tensor/dtype.h"

namespace fathom::test {

/// A file of a header and data exactly as given.
inline std::string safetensors_file(std::string_view header, std::string_view data) {
  const auto length = static_cast<uint64_t>(header.size());
  std::string out(reinterpret_cast<const char*>(&length), sizeof length);
  return out.append(header).append(data);
}

class SafetensorsWriter {
 public:
  /// `shape` with the contiguous dimension last; `data` as it is stored.
  void add(std::string_view name, std::string_view dtype, const std::vector<uint64_t>& shape,
           std::string_view data) {
    std::string extents;
    for (const uint64_t extent : shape) extents += (extents.empty() ? "" : ",") + std::to_string(extent);
    header_ += header_.empty() ? "{" : ",";
    header_ += "\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[" +
               extents + "],\"data_offsets\":[" + std::to_string(data_.size()) + "," +
               std::to_string(data_.size() + data.size()) + "]}";
    data_.append(data);
  }

  /// Stored as F32, F16 or BF16.
  void add(std::string_view name, tensor::DType dtype, const std::vector<uint64_t>& shape,
           const std::vector<float>& values) {
    std::string bytes(tensor::row_bytes(dtype, values.size()), '\0');
    tensor::quantize_row(dtype, values.data(), reinterpret_cast<std::byte*>(bytes.data()), values.size());
    add(name, tensor::name(dtype), shape, bytes);
  }

  size_t data_bytes() const { return data_.size(); }

  std::string serialise() const {
    std::string header = header_.empty() ? "{}" : header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return safetensors_file(header, data_);
  }

 private:
  std::string header_;
  std::string data_;
};

}  // namespace fathom::test
