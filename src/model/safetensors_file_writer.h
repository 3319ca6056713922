// Writes safetensors files (model/safetensors.h has the format), tensor by tensor, so that no more than one is in memory.
//
// Not thread-safe. Tensors stand in the file in the order they were added.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace fathom::model {

class SafetensorsFileWriter {
 public:
  /// `shape`: the contiguous dimension last. `source` gives the tensor's numbers, once a `write`; it may throw.
  /// REQUIRES: a name that is new; F32, F16 or BF16.
  void add(std::string name, tensor::DType dtype, std::vector<uint64_t> shape,
           std::function<std::vector<float>()> source);
  /// Replaces `path` atomically. Errors: kIo, kResourceExhausted, those of the sources; then `path` is as it was.
  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    tensor::DType dtype;
    std::vector<uint64_t> shape;
    uint64_t elements;
    std::function<std::vector<float>()> source;
  };
  std::string header() const;

  std::vector<Tensor> tensors_;
};

}  // namespace fathom::model
