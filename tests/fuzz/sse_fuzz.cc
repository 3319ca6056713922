// live: server-sent events. A stream cut anywhere must give the same events as the whole.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "live/source_sse.h"

namespace {

std::vector<std::string> events_of(std::string_view stream, size_t step) {
  fathom::live::SseParser parser(4096);
  std::vector<std::string> events;
  try {
    for (size_t at = 0; at < stream.size(); at += step)
      parser.feed(stream.substr(at, step), [&](const fathom::live::SseEvent& event) {
        events.push_back(event.type + '\n' + event.id + '\n' + event.data);
      });
  } catch (const fathom::Error&) {
    events.emplace_back("refused");
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data + 1), size - 1);
  FATHOM_CHECK(events_of(stream, stream.size() + 1) == events_of(stream, 1 + data[0] % 16));
  return 0;
}
