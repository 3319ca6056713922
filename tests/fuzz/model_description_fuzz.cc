// Covers parse_description, and that what it lets through can be counted.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "model/description.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = fathom::model::parse_description(text, "fuzz.toml");
    // Naming the tensors of thousands of layers takes longer than a fuzzer waits.
    if (config.layers > 64) return 0;
    if (config.active_parameters() > config.parameters()) __builtin_trap();
    if (config.flops_per_token(2) < config.flops_per_token(1)) __builtin_trap();
    if (config.expert_layers() > config.layers) __builtin_trap();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  return 0;
}
