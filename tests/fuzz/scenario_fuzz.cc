// Scenario files of the planner: TOML, every section's reader, and the checks of what is impossible.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "cluster/scenario.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::filesystem::path folder = FATHOM_DATA_DIR;
  static const auto catalogue = fathom::cluster::Catalogue::read({folder / "catalogue"});
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // A file that the input names would be read from this machine; its formats have fuzzers of their own.
  if (size > 16 * 1024 || text.find("file") != std::string_view::npos) return 0;
  try {
    const auto scenario = fathom::cluster::Scenario::parse(text, "fuzz.toml", catalogue, folder / "models");
    if (scenario.machine.chips == 0) std::abort();
    if (scenario.plan && scenario.plan->chips() > scenario.machine.chips) std::abort();
  } catch (const fathom::Error& error) {
    // A mistake in the file: named with its line, as an author sees it.
    if (std::string_view(error.what()).find("fuzz.toml") == std::string_view::npos) std::abort();
  }
  return 0;
}
