// Covers ChatTemplate::parse and render: the first line of the input is a message, the rest is the template.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "model/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string message(input.substr(0, line));
  const fathom::ManualClock clock;
  fathom::model::ChatOptions options;
  options.bos = "<s>";
  options.clock = &clock;
  try {
    const auto chat = fathom::model::ChatTemplate::parse(input.substr(std::min(line + 1, input.size())));
    const std::vector<fathom::model::ChatTurn> turns{{"system", message}, {"user", message}};
    const auto segments = chat.render(turns, options);
    for (size_t i = 0; i < segments.size(); ++i)
      if (segments[i].text.empty() || (i > 0 && segments[i].is_template == segments[i - 1].is_template))
        std::abort();
  } catch (const fathom::Error& error) {  // any other exception is a finding
    if (error.code() == fathom::ErrorCode::kInternal) std::abort();
  }
  return 0;
}
