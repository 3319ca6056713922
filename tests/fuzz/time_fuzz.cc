// base: parse_time and format_time. What is read must be written and read back as the same moment.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto time = fathom::parse_time({reinterpret_cast<const char*>(data), size});
  if (!time) return 0;
  const auto text = fathom::format_time(*time);
  FATHOM_CHECK(fathom::parse_time(text) == time, text);
  return 0;
}
