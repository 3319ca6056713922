#include "server/tools_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxTools = 128;
constexpr size_t kMaxNameBytes = 64;

bool is_name(const std::string& name) {
  return name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
         });
}

/// `holder`: the object with name, description and parameters.
ordered_json read_function(const JsonFields& holder) {
  const std::string name = holder.required_text("name");
  if (!is_name(name)) holder.refuse("name", "must be up to 64 letters, digits, '_', '-' and '.'");
  ordered_json function = {{"name", name}};
  if (const auto description = holder.text("description")) function["description"] = *description;
  const ordered_json* parameters = holder.find("parameters");
  if (parameters != nullptr && !parameters->is_object())
    holder.refuse_type("parameters", "a JSON Schema of an object");
  function["parameters"] = parameters != nullptr
                               ? *parameters
                               : ordered_json{{"type", "object"}, {"properties", ordered_json::object()}};
  if (const auto strict = holder.boolean("strict")) function["strict"] = *strict;
  return {{"type", "function"}, {"function", std::move(function)}};
}

ordered_json read_tool(const ordered_json& value, const std::string& path) {
  const JsonFields tool(value, path);
  const std::string type = tool.required_text("type");
  if (type != "function")
    tool.refuse_unsupported("type", fmt::format("\"{}\"; tools are functions here", type.substr(0, 40)));
  const ordered_json* function = tool.find("function");
  if (function == nullptr) tool.refuse("function", "is missing", 400, "missing_value");
  return read_function(JsonFields(*function, tool.param("function")));
}

void add_tool(ordered_json& list, ordered_json tool, const std::string& param) {
  for (const auto& other : list) {
    if (other["function"]["name"] == tool["function"]["name"])
      throw ApiError(
          400,
          fmt::format("{}: two tools are named \"{}\"", param, tool["function"]["name"].get<std::string>()),
          "invalid_value", param);
  }
  list.push_back(std::move(tool));
}

std::shared_ptr<const ordered_json> shared_or_null(ordered_json list) {
  return list.empty() ? nullptr : std::make_shared<const ordered_json>(std::move(list));
}

/// The function's name in {"type":"function","function":{"name"}} or, flat, {"type":"function","name"}.
std::string read_choice_name(const JsonFields& choice, bool nested) {
  const std::string type = choice.required_text("type");
  if (type != "function")
    choice.refuse_unsupported("type", fmt::format("\"{}\"; name a function", type.substr(0, 40)));
  if (!nested) return choice.required_text("name");
  const ordered_json* function = choice.find("function");
  if (function == nullptr) choice.refuse("function", "is missing", 400, "missing_value");
  return JsonFields(*function, choice.param("function")).required_text("name");
}

ToolsRequest::Choice parse_choice(const JsonFields& request, const std::string& text) {
  if (text == "none") return ToolsRequest::Choice::kNone;
  if (text == "auto") return ToolsRequest::Choice::kAuto;
  if (text == "required") return ToolsRequest::Choice::kRequired;
  request.refuse("tool_choice", "must be \"none\", \"auto\", \"required\" or a function");
}

bool has_tool(const ToolsRequest& tools, const std::string& name) {
  if (!tools.tools) return false;
  return std::any_of(tools.tools->begin(), tools.tools->end(),
                     [&](const ordered_json& tool) { return tool["function"]["name"] == name; });
}

}  // namespace

std::shared_ptr<const ordered_json> nest_functions(const std::vector<const ordered_json*>& flat,
                                                   const std::string& path) {
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < flat.size(); ++i)
    add_tool(list, read_function(JsonFields(*flat[i], fmt::format("{}[{}]", path, i))), path);
  return shared_or_null(std::move(list));
}

void read_tool_choice(const JsonFields& request, bool nested, ToolsRequest& out) {
  out.parallel = request.boolean("parallel_tool_calls").value_or(true);
  const ordered_json* choice = request.find("tool_choice");
  if (choice == nullptr) return;
  if (choice->is_string()) {
    out.choice = parse_choice(request, choice->get<std::string>());
  } else if (choice->is_object()) {
    out.choice = ToolsRequest::Choice::kNamed;
    out.name = read_choice_name(JsonFields(*choice, "tool_choice"), nested);
    if (!has_tool(out, out.name))
      request.refuse("tool_choice",
                     fmt::format("names \"{}\", which is not among the tools", out.name.substr(0, 80)));
  } else {
    request.refuse_type("tool_choice", "a string or an object");
  }
  if (out.choice == ToolsRequest::Choice::kRequired && !out.tools)
    request.refuse("tool_choice", "is \"required\", but there are no tools");
}

ToolsRequest read_tools(const JsonFields& request) {
  ToolsRequest out;
  if (const ordered_json* tools = request.find("tools")) {
    if (!tools->is_array()) request.refuse_type("tools", "a list");
    if (tools->size() > kMaxTools)
      request.refuse("tools", fmt::format("has more than {} entries", kMaxTools));
    ordered_json list = ordered_json::array();
    for (size_t i = 0; i < tools->size(); ++i)
      add_tool(list, read_tool((*tools)[i], fmt::format("tools[{}]", i)), "tools");
    out.tools = shared_or_null(std::move(list));
  }
  const ordered_json* older = request.find("functions");
  if (older != nullptr && !(older->is_array() && older->empty()))
    request.refuse_unsupported("functions", "give tools");
  read_tool_choice(request, true, out);
  return out;
}

}  // namespace fathom::server
