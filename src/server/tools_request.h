// The functions that a model may call, and whether it must: `tools`, `tool_choice`, `parallel_tool_calls` of chat
// completions (functions nested) and of responses (functions flat).
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "server/json_body.h"

namespace fathom::server {

struct ToolsRequest {
  enum class Choice { kNone, kAuto, kRequired, kNamed };

  /// [{"type":"function","function":{"name","description"?,"parameters","strict"?}}]; null: none.
  std::shared_ptr<const nlohmann::ordered_json> tools;
  Choice choice = Choice::kAuto;
  std::string name;      // of kNamed
  bool parallel = true;  // several calls in one answer

  bool active() const { return tools != nullptr && choice != Choice::kNone; }
};

/// Errors: ApiError 400.
ToolsRequest read_tools(const JsonFields& request);

/// A tool list of functions with their members beside "type", as responses have them, brought into the form above; null
/// for an empty one. `path` leads the errors' `param`.
std::shared_ptr<const nlohmann::ordered_json> nest_functions(
    const std::vector<const nlohmann::ordered_json*>& flat, const std::string& path);
/// `tool_choice` and `parallel_tool_calls` for `out.tools`. `nested`: as chat completions have them.
void read_tool_choice(const JsonFields& request, bool nested, ToolsRequest& out);

}  // namespace fathom::server
