// Covers SafetensorsFile::parse with every tensor's numbers, and the index of a model in parts.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::model;
  try {
    const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& tensor : file.tensors())
      if (tensor.dtype) file.floats(tensor.name);
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  try {
    parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const fathom::Error&) {
  }
  return 0;
}
