// Covers parse_adapter_config. (The numbers of an adapter are a safetensors file: safetensors_fuzz.)
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "infer/adapter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    fathom::infer::parse_adapter_config({reinterpret_cast<const char*>(data), size}, "fuzz").scale();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  return 0;
}
