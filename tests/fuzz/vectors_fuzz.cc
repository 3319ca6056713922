// Covers live/vectors/vector_file.h and query_parts.h: any bytes as a file of vectors under a checksum that is right, and as a
// query. What is taken can be searched and goes on.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"
#include "live/vectors/query_parts.h"
#include "live/vectors/vector_file.h"

namespace {

void read_file_of(std::span<const std::byte> bytes) {
  using namespace fathom::live;
  const HnswOptions options{.dimensions = 1, .most_nodes = 200, .links = 4, .build_candidates = 10};
  try {
    const VectorFile file = read_vector_file(bytes, options, "input");
    const std::vector<float> vector(file.graph->options().dimensions, 0.5f);
    for (const auto& found : file.graph->find(vector, 5, 10))
      if (!(found.similarity > -2e8f && found.similarity < 2e8f)) std::abort();
    if (file.graph->room() > 0) file.graph->add(vector, {1, 2, 3});
    for (uint32_t node = 1; node < file.graph->end(); node += 2)
      if (file.graph->state(node) == Hnsw::State::kLive) file.graph->remove(node);
    if (!file.graph->relink({}) || file.graph->removed() != 0) std::abort();
    if (file.graph->scan(vector, 1000).size() != file.graph->posts()) std::abort();
  } catch (const fathom::Error& error) {
    const auto code = error.code();
    if (code != fathom::ErrorCode::kCorrupt && code != fathom::ErrorCode::kUnsupported) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  try {
    (void)fathom::live::split_query(bytes);
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kInvalidArgument) std::abort();
  }
  const uint64_t sum = fathom::checksum64(bytes);
  bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  read_file_of(std::as_bytes(std::span(bytes)));
  return 0;
}
