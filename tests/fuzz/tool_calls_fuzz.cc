// Covers ToolCallParser: the first byte chooses the format and how the rest is cut. However it is cut, the events are the
// same, and text without calls comes out as it went in.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "infer/tool_calls.h"

namespace {

using fathom::infer::ToolCallParser;
using fathom::infer::ToolEvent;
using fathom::infer::ToolFormat;

std::vector<ToolEvent> parse(const ToolFormat& format, std::string_view text, size_t step) {
  ToolCallParser parser(format, {"f", "g"}, 1);
  std::vector<ToolEvent> out;
  const auto add = [&](const std::vector<ToolEvent>& events) {
    for (const auto& e : events) {
      const bool joins = e.kind == ToolEvent::Kind::kContent || e.kind == ToolEvent::Kind::kArguments;
      if (joins && e.text.empty()) std::abort();
      if (joins && !out.empty() && out.back().kind == e.kind && out.back().index == e.index)
        out.back().text += e.text;
      else
        out.push_back(e);
    }
  };
  for (size_t at = 0; at < text.size(); at += step) add(parser.push(text.substr(at, step)));
  add(parser.finish());
  return out;
}

bool same(const ToolEvent& a, const ToolEvent& b) {
  return a.kind == b.kind && a.index == b.index && a.id == b.id && a.name == b.name && a.text == b.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const ToolFormat formats[] = {ToolFormat::detect(""), ToolFormat::detect("tools <|python_tag|>"),
                                       ToolFormat::detect("tools [TOOL_CALLS]")};
  const ToolFormat& format = formats[data[0] % 3];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto whole = parse(format, text, std::max<size_t>(1, text.size()));
  const auto pieces = parse(format, text, 1 + data[0] / 3 % 7);
  if (!std::equal(whole.begin(), whole.end(), pieces.begin(), pieces.end(), same)) std::abort();
  const bool calls = std::any_of(whole.begin(), whole.end(),
                                 [](const ToolEvent& e) { return e.kind != ToolEvent::Kind::kContent; });
  if (!calls && (whole.empty() ? std::string() : whole[0].text) != text) std::abort();
  return 0;
}
