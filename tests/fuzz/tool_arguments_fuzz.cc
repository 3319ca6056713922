// Covers the arguments that a model writes for its tools: the first line names the tool, the rest is the JSON.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "answer/tool_arguments.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  try {
    const auto arguments =
        fathom::answer::parse_tool_arguments(input.substr(0, line), input.substr(line + 1));
    if (const auto* search = std::get_if<fathom::answer::SearchPosts>(&arguments)) {
      const bool bounded = search->limit >= 1 && search->limit <= 20 && search->handles.size() <= 10 &&
                           search->query.find(':') == std::string::npos;
      if (!bounded) std::abort();
    }
  } catch (const fathom::Error&) {
  }
  return 0;
}
