// The four tools through which a model reads the feed, as OpenAI's functions, and a strict reader of the arguments that a
// model writes for them. Those are hostile: whatever a post made the model write arrives here.
//
// Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace fathom::answer {

struct SearchPosts {
  std::string query;  // words, "phrases", +must, -not, #tag, @name, $TICKER; no operators with a colon
  std::optional<Time> from, to;  // from <= created_at < to
  std::vector<std::string> handles, not_handles, sources;
  size_t limit = 10;    // 1..20
  bool newest = false;  // the newest first, not the most relevant
};
struct GetThread {
  std::string key;  // "source:id"
};
struct GetTrends {
  std::chrono::hours window{24};  // 1..168
};
struct GetAuthor {
  std::string handle;  // without '@'
};
using ToolArguments = std::variant<SearchPosts, GetThread, GetTrends, GetAuthor>;

/// [{"type":"function","function":{"name","description","parameters"}}] for the four of them. Always the same object.
const nlohmann::ordered_json& tool_definitions();

/// `arguments`: the JSON text of a call of `tool`. Unknown members, other types, values out of bounds and text that is not
/// UTF-8 are refused; null is as absent. Errors: kInvalidArgument, with a sentence that a model can mend its call by.
ToolArguments parse_tool_arguments(std::string_view tool, std::string_view arguments);

}  // namespace fathom::answer
