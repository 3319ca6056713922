// Covers RankFile::parse with every entry's numbers, and parse_manifest.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "train/checkpoint_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::train;
  std::vector<float> aligned(size / sizeof(float) + 1);
  std::memcpy(aligned.data(), data, size);
  try {
    const auto file = RankFile::parse(std::as_bytes(std::span(aligned)).first(size), "fuzz");
    for (const CheckpointEntry& entry : file.entries()) (void)file.values(entry);
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  try {
    const auto manifest = parse_manifest({reinterpret_cast<const char*>(data), size}, "fuzz");
    (void)format_manifest(manifest);
  } catch (const fathom::Error&) {
  }
  return 0;
}
