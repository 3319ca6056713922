// Files of the catalogue, which users write and pass on.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "cluster/catalogue.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 32 * 1024) return 0;
  try {
    const auto catalogue = fathom::cluster::Catalogue::parse(
        std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.toml");
    for (const auto& [id, chip] : catalogue.accelerators)
      if (!(chip.peak(fathom::cluster::Precision::kFp8) > 0)) __builtin_trap();
    (void)catalogue.accelerator("h100");
  } catch (const fathom::Error&) {
    // A mistake in the file, named: what an author sees.
  }
  return 0;
}
