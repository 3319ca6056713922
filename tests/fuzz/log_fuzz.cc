// Covers live/log_format.h: any bytes as a file of the log. What comes out rises, lies within the bounds and within the bytes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "live/log_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    fathom::live::check_log_header(file, "input");
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kUnsupported) std::abort();
  }
  for (const uint64_t limit : {uint64_t{5}, UINT64_MAX}) {
    uint64_t next = 1;
    const auto scan = fathom::live::scan_log(file, 1, limit, [&](const fathom::live::LogEntry& entry) {
      if (entry.sequence < next || entry.sequence >= limit) std::abort();
      if (entry.payload.data() < file.data() ||
          entry.payload.data() + entry.payload.size() > file.data() + size)
        std::abort();
      next = entry.sequence + 1;
    });
    if (scan.last + 1 != next || scan.end > size + fathom::live::kLogHeaderBytes) std::abort();
  }
  return 0;
}
