#include "server/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxCalls = 128;  // in one message

std::string read_part(const JsonFields& part, const std::vector<std::string_view>& types) {
  const std::string type = part.text("type").value_or("");
  if (std::find(types.begin(), types.end(), type) == types.end())
    part.refuse_unsupported("type", fmt::format("\"{}\"; this server reads text alone", type.substr(0, 40)));
  const std::string_view member = type == "refusal" ? "refusal" : "text";
  const auto text = part.text(member);
  if (!text) part.refuse(member, "is missing", 400, "missing_value");
  return *text;
}

std::string read_role(const JsonFields& fields) {
  const std::string role = fields.text("role").value_or("");
  if (role == "developer") return "system";
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  if (role == "function")
    fields.refuse_unsupported("role", "\"function\"; give tool calls and the role \"tool\"");
  fields.refuse("role", "must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
}

ordered_json read_call(const ordered_json& value, const std::string& path) {
  const JsonFields call(value, path);
  const std::string type = call.text("type").value_or("function");
  if (type != "function")
    call.refuse_unsupported("type", fmt::format("\"{}\"; tools are functions here", type.substr(0, 40)));
  const ordered_json* function = call.find("function");
  if (function == nullptr) call.refuse("function", "is missing", 400, "missing_value");
  const JsonFields inner(*function, call.param("function"));
  const ordered_json* given = inner.find("arguments");
  std::string arguments = "{}";
  if (given != nullptr && given->is_object()) {
    arguments = given->dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  } else {
    arguments = inner.text("arguments").value_or("{}");
  }
  return call_message(call.text("id").value_or(""), inner.required_text("name"), arguments);
}

ordered_json read_calls(const JsonFields& message, const ordered_json& list) {
  if (!list.is_array()) message.refuse_type("tool_calls", "a list");
  if (list.size() > kMaxCalls)
    message.refuse("tool_calls", fmt::format("has more than {} entries", kMaxCalls));
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < list.size(); ++i)
    out.push_back(read_call(list[i], fmt::format("{}[{}]", message.param("tool_calls"), i)));
  return out;
}

void read_assistant(const JsonFields& fields, ordered_json& message) {
  if (const auto reasoning = fields.text("reasoning_content")) message["reasoning_content"] = *reasoning;
  const ordered_json* older = fields.find("function_call");
  if (older != nullptr && !(older->is_structured() && older->empty()))
    fields.refuse_unsupported("function_call", "give tool_calls");
  const ordered_json* calls = fields.find("tool_calls");
  if (calls == nullptr || (calls->is_array() && calls->empty())) return;
  message["tool_calls"] = read_calls(fields, *calls);
}

ordered_json read_message(const ordered_json& value, const std::string& path) {
  const JsonFields fields(value, path);
  ordered_json message = {{"role", read_role(fields)}, {"content", ""}};
  const std::string role = message["role"];
  if (const auto name = fields.text("name")) message["name"] = *name;
  if (role == "assistant") read_assistant(fields, message);
  if (role == "tool") message["tool_call_id"] = fields.required_text("tool_call_id");
  const bool may_be_empty = message.contains("tool_calls");
  if (!may_be_empty && !fields.has("content")) fields.refuse("content", "is missing", 400, "missing_value");
  message["content"] = read_content(fields, "content", {"text", "refusal"});
  return message;
}

}  // namespace

std::string read_content(const JsonFields& holder, std::string_view name,
                         const std::vector<std::string_view>& types) {
  const ordered_json* content = holder.find(name);
  if (content == nullptr) return {};
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) holder.refuse_type(name, "a string or a list of parts");
  std::string out;
  for (size_t i = 0; i < content->size(); ++i)
    out += read_part(JsonFields((*content)[i], fmt::format("{}[{}]", holder.param(name), i)), types);
  return out;
}

ordered_json call_message(const std::string& id, const std::string& name, const std::string& arguments) {
  ordered_json parsed = arguments;
  try {
    if (auto object = parse_json(arguments); object.is_object()) parsed = std::move(object);
  } catch (const ApiError&) {  // not JSON, as models sometimes write it: stays text
  }
  return {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", std::move(parsed)}}}};
}

Conversation read_conversation(const JsonFields& request) {
  const ordered_json* list = request.find("messages");
  if (list == nullptr) request.refuse("messages", "is missing", 400, "missing_value");
  if (!list->is_array()) request.refuse_type("messages", "a list");
  if (list->empty()) request.refuse("messages", "is empty; give at least one message");
  if (list->size() > kMaxMessages)
    request.refuse("messages", fmt::format("has more than {} entries", kMaxMessages));
  ordered_json messages = ordered_json::array();
  for (size_t i = 0; i < list->size(); ++i)
    messages.push_back(read_message((*list)[i], fmt::format("messages[{}]", i)));
  return make_conversation(std::move(messages));
}

std::string last_question(const Conversation& conversation) {
  const auto& messages = conversation.plain;
  const auto last = std::find_if(messages.rbegin(), messages.rend(),
                                 [](const infer::ChatMessage& message) { return message.role == "user"; });
  return last == messages.rend() ? std::string() : last->content;
}

Conversation make_conversation(ordered_json messages) {
  Conversation out;
  for (size_t i = 0; i < messages.size(); ++i) {
    const ordered_json& message = messages[i];
    const std::string role = message["role"];
    out.plain.push_back({role, message["content"]});
    if (!out.tool_param.empty()) continue;
    if (role == "tool") out.tool_param = fmt::format("messages[{}].role", i);
    if (message.contains("tool_calls")) out.tool_param = fmt::format("messages[{}].tool_calls", i);
  }
  out.messages = std::make_shared<const ordered_json>(std::move(messages));
  return out;
}

}  // namespace fathom::server
