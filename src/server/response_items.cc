#include "server/response_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "server/conversation.h"
#include "server/http.h"

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

constexpr std::array<std::string_view, 9> kSilentTypes = {
    "reasoning",       "x_search_call",       "web_search_call", "file_search_call", "code_interpreter_call",
    "view_image_call", "code_execution_call", "mcp_call",        "mcp_list_tools"};

std::string id_or_fresh(const JsonFields& item, std::string_view prefix) {
  const auto id = item.text("id");
  return id && !id->empty() && id->size() <= 128 ? *id : item_id(prefix);
}

ordered_json message_item(const std::string& id, const std::string& role, const std::string& text) {
  const bool spoken = role == "assistant";
  ordered_json part = {{"type", spoken ? "output_text" : "input_text"}, {"text", text}};
  if (spoken) part["annotations"] = ordered_json::array();
  return {{"type", "message"},
          {"id", id},
          {"role", role},
          {"status", "completed"},
          {"content", ordered_json::array({std::move(part)})}};
}

ordered_json read_message(const JsonFields& item) {
  const std::string role = item.text("role").value_or("");
  if (role != "system" && role != "developer" && role != "user" && role != "assistant")
    item.refuse("role", "must be \"system\", \"developer\", \"user\" or \"assistant\"");
  if (!item.has("content")) item.refuse("content", "is missing", 400, "missing_value");
  return message_item(id_or_fresh(item, "msg_"), role,
                      read_content(item, "content", {"input_text", "output_text", "text", "refusal"}));
}

ordered_json read_call(const JsonFields& item) {
  return {{"type", "function_call"},
          {"id", id_or_fresh(item, "fc_")},
          {"call_id", item.required_text("call_id")},
          {"name", item.required_text("name")},
          {"arguments", item.text("arguments").value_or("{}")},
          {"status", "completed"}};
}

ordered_json read_output(const JsonFields& item) {
  return {{"type", "function_call_output"},
          {"id", id_or_fresh(item, "fco_")},
          {"call_id", item.required_text("call_id")},
          {"output", read_content(item, "output", {"input_text", "output_text", "text"})},
          {"status", "completed"}};
}

void add_item(const ordered_json& value, const std::string& path, ordered_json& out) {
  const JsonFields item(value, path);
  const std::string type = item.text("type").value_or("message");
  if (type == "message") {
    out.push_back(read_message(item));
  } else if (type == "function_call") {
    out.push_back(read_call(item));
  } else if (type == "function_call_output") {
    out.push_back(read_output(item));
  } else if (std::find(kSilentTypes.begin(), kSilentTypes.end(), type) == kSilentTypes.end()) {
    item.refuse_unsupported("type", fmt::format("\"{}\"", type.substr(0, 40)));
  }
}

std::string text_of(const ordered_json& message) {
  std::string out;
  for (const auto& part : message["content"]) out += part.value("text", "");
  return out;
}

/// A call belongs to the assistant's message before it, if there is one.
void add_call(const ordered_json& item, ordered_json& messages) {
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", ""}});
  messages.back()["tool_calls"].push_back(call_message(item["call_id"], item["name"], item["arguments"]));
}

}  // namespace

std::string item_id(std::string_view prefix) { return std::string(prefix) + random_hex().substr(0, 24); }

namespace {

ordered_json read_items(const JsonFields& request, const char* name, const ordered_json& list) {
  if (list.size() > kMaxItems) request.refuse(name, fmt::format("has more than {} entries", kMaxItems));
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < list.size(); ++i) add_item(list[i], fmt::format("{}[{}]", name, i), out);
  if (out.empty()) request.refuse(name, "is empty; give at least one message");
  return out;
}

}  // namespace

ordered_json read_conversation_items(const JsonFields& request) {
  const ordered_json* items = request.find("items");
  if (items == nullptr) request.refuse("items", "is missing", 400, "missing_value");
  if (!items->is_array()) request.refuse_type("items", "a list of items");
  ordered_json out = read_items(request, "items", *items);
  for (auto& item : out) {
    item["id"] = item_id(item["type"] == "message"         ? "msg_"
                         : item["type"] == "function_call" ? "fc_"
                                                           : "fco_");
  }
  return out;
}

ordered_json read_input(const JsonFields& request) {
  const ordered_json* input = request.find("input");
  if (input == nullptr) request.refuse("input", "is missing", 400, "missing_value");
  ordered_json out = ordered_json::array();
  if (input->is_string()) {
    out.push_back(message_item(item_id("msg_"), "user", input->get<std::string>()));
    return out;
  }
  if (!input->is_array()) request.refuse_type("input", "a string or a list of items");
  return read_items(request, "input", *input);
}

ordered_json messages_of(const ordered_json& items, const std::string& instructions) {
  ordered_json messages = ordered_json::array();
  if (!instructions.empty()) messages.push_back({{"role", "system"}, {"content", instructions}});
  for (const auto& item : items) {
    const std::string type = item["type"];
    if (type == "message") {
      const std::string role = item["role"] == "developer" ? "system" : item["role"];
      messages.push_back({{"role", role}, {"content", text_of(item)}});
    } else if (type == "function_call") {
      add_call(item, messages);
    } else if (type == "function_call_output") {
      messages.push_back({{"role", "tool"}, {"content", item["output"]}, {"tool_call_id", item["call_id"]}});
    }
  }
  return messages;
}

}  // namespace fathom::server
