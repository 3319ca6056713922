// Which format a template speaks, and conversations for templates that speak none.
#include "infer/tool_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace fathom::infer {
namespace {

using Json = nlohmann::ordered_json;

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

constexpr size_t kDeepestArguments = 64;  // copying a value takes stack for each level
constexpr size_t kMostArguments = 4096;   // finding one among an object's members walks over all

/// Whether JSON text is within what a value made of it can bear.
bool is_moderate(std::string_view text) {
  size_t depth = 0, members = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      if (c == '\\') ++i;
      continue;
    }
    if ((c == '{' || c == '[') && ++depth > kDeepestArguments) return false;
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (c == ':' && ++members > kMostArguments) return false;
  }
  return true;
}

/// "arguments" of a call as an object; a string that is no JSON object, or an excessive one, stays one.
Json arguments_of(const Json& function) {
  const auto it = function.find("arguments");
  if (it == function.end() || it->is_null()) return Json::object();
  if (!it->is_string()) return *it;
  const auto& text = it->get_ref<const std::string&>();
  if (text.empty()) return Json::object();
  if (!is_moderate(text)) return *it;
  Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return parsed.is_object() ? parsed : *it;
}

std::string text_of(const Json& message) {
  const auto it = message.find("content");
  if (it == message.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  std::string out;
  if (it->is_array())
    for (const auto& part : *it)
      if (part.is_object() && part.contains("text") && part["text"].is_string())
        out += part["text"].get<std::string>();
  return out;
}

/// The nine letters and digits that Mistral's templates want of an id: itself, or a hash of it.
std::string mistral_id(const std::string& id) {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const bool good = id.size() == 9 &&
                    std::ranges::all_of(id, [&](char c) { return kLetters.find(c) != std::string::npos; });
  if (good) return id;
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : id) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  std::string out;
  for (int i = 0; i < 9; ++i, hash /= kLetters.size()) out += kLetters[hash % kLetters.size()];
  return out;
}

void check_messages(const Json& messages) {
  const auto good = [](const Json& m) {
    return m.is_object() && m.contains("role") && m["role"].is_string();
  };
  if (!messages.is_array() || !std::all_of(messages.begin(), messages.end(), good))
    throw Error(ErrorCode::kInvalidArgument, "messages must be a list of objects, each with a role");
}

bool calls_tools(const Json& message) {
  return message.contains("tool_calls") && message["tool_calls"].is_array() && !message["tool_calls"].empty();
}

/// The function of one entry of tool_calls; null where there is none.
const Json* function_of(const Json& call) {
  if (!call.is_object()) return nullptr;
  const auto it = call.find("function");
  const Json& function = it != call.end() ? *it : call;
  return function.is_object() && function.contains("name") && function["name"].is_string() ? &function
                                                                                           : nullptr;
}

/// For a template that takes calls itself.
Json adapt(Json message, bool mistral) {
  if (!message.contains("content") || message["content"].is_null()) message["content"] = "";
  if (mistral && message.contains("tool_call_id") && message["tool_call_id"].is_string())
    message["tool_call_id"] = mistral_id(message["tool_call_id"].get<std::string>());
  if (!calls_tools(message)) {
    message.erase("tool_calls");  // null or empty: templates test only whether it is there
    return message;
  }
  for (auto& call : message["tool_calls"]) {
    if (function_of(call) == nullptr)
      throw Error(ErrorCode::kInvalidArgument, "an entry of tool_calls has no function with a name");
    Json& function = call.contains("function") ? call["function"] : call;
    function["arguments"] = arguments_of(function);
    if (mistral) {
      const bool named = call.contains("id") && call["id"].is_string();
      call["id"] = mistral_id(named ? call["id"].get<std::string>() : std::string());
    }
  }
  return message;
}

/// Earlier calls as the model wrote them.
std::string written_calls(const Json& message) {
  std::string out = text_of(message);
  for (const auto& call : message["tool_calls"]) {
    const Json* function = function_of(call);
    if (function == nullptr)
      throw Error(ErrorCode::kInvalidArgument, "an entry of tool_calls has no function with a name");
    Json body = Json::object();
    body["name"] = (*function)["name"];
    body["arguments"] = arguments_of(*function);
    if (!out.empty()) out += '\n';
    out += "<tool_call>\n" + body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n</tool_call>";
  }
  return out;
}

void append(Json& messages, const std::string& role, const std::string& text, std::string_view between) {
  if (!messages.empty() && messages.back()["role"] == role && messages.back()["content"].is_string()) {
    auto& content = messages.back()["content"].get_ref<std::string&>();
    content += (content.empty() ? "" : std::string(between)) + text;
    return;
  }
  Json message = Json::object();
  message["role"] = role;
  message["content"] = text;
  messages.push_back(std::move(message));
}

}  // namespace

ToolFormat ToolFormat::detect(std::string_view chat_template) {
  ToolFormat out;
  const bool tools = has(chat_template, "tools");
  const bool llama = has(chat_template, "<|python_tag|>") ||
                     (has(chat_template, "\"parameters\": ") && has(chat_template, "{\"name\": "));
  if (tools && has(chat_template, "[TOOL_CALLS]")) {
    out.style_ = Style::kMistral;
    out.template_takes_tools_ = true;
  } else if (tools && has(chat_template, "<tool_call>")) {
    out.template_takes_tools_ = true;
  } else if (tools && llama) {
    out.style_ = Style::kLlama3;
    out.template_takes_tools_ = true;
  }
  out.template_takes_system_ = !has(chat_template, "System role not supported");
  return out;
}

bool ToolFormat::needs_special_tokens() const { return template_takes_tools_ && style_ != Style::kLlama3; }

std::vector<std::string> ToolFormat::stops() const {
  switch (style_) {
    case Style::kHermes: return {"<tool_response>"};
    case Style::kMistral: return {"[TOOL_RESULTS]"};
    case Style::kLlama3: break;
  }
  return {};
}

std::optional<Json> ToolFormat::system_message(const Json& tools) const {
  if (template_takes_tools_ || !tools.is_array() || tools.empty()) return std::nullopt;
  std::string text = "You can call functions. They are described here, one JSON object a line:\n<tools>\n";
  for (const auto& tool : tools) {
    const Json& function = tool.is_object() && tool.contains("function") ? tool["function"] : tool;
    text += function.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  text +=
      "</tools>\nTo call one, write a JSON object with its name and its arguments between tags, and nothing "
      "after it:\n"
      "<tool_call>\n{\"name\": \"the function's name\", \"arguments\": {\"the parameter's name\": \"its "
      "value\"}}\n"
      "</tool_call>\nThe result comes back between <tool_response> tags. Where no function helps, answer as "
      "usual.";
  Json out = Json::object();
  out["role"] = "system";
  out["content"] = text;
  return out;
}

Json ToolFormat::messages(const Json& messages, const Json* tools) const {
  check_messages(messages);
  Json out = Json::array();
  if (template_takes_tools_) {
    for (const auto& m : messages) out.push_back(adapt(m, style_ == Style::kMistral));
    return out;
  }
  auto system = tools == nullptr ? std::nullopt : system_message(*tools);
  std::string first = system ? (*system)["content"].get<std::string>() : std::string();
  size_t at = 0;
  if (!first.empty() && !messages.empty() &&
      (messages[0]["role"] == "system" || messages[0]["role"] == "developer")) {
    // The template's place for a system message comes once.
    const std::string own = text_of(messages[0]);
    first = own.empty() ? first : own + "\n\n" + first;
    at = 1;
  }
  if (!first.empty() && template_takes_system_) append(out, "system", first, "");
  bool result = false;  // the last message was a tool's: templates want users and assistants in turn
  for (; at < messages.size(); ++at) {
    const Json& m = messages[at];
    const auto role = m["role"].get<std::string>();
    const bool after_result = std::exchange(result, role == "tool" || role == "function");
    if (role == "tool" || role == "function") {
      append(out, "user", "<tool_response>\n" + text_of(m) + "\n</tool_response>", "\n");
    } else if (role == "assistant" && calls_tools(m)) {
      append(out, role, written_calls(m), "\n");
    } else if (role == "user" && !first.empty() && !template_takes_system_) {
      append(out, role, first + "\n\n" + text_of(m), "\n");
      first.clear();
    } else if (role == "user" && after_result) {
      append(out, role, text_of(m), "\n");
    } else {
      out.push_back(m);
      out.back().erase("tool_calls");
      if (!m.contains("content") || m["content"].is_null()) out.back()["content"] = "";
    }
  }
  if (!first.empty() && !template_takes_system_) {  // a conversation without a user
    Json message = Json::object();
    message["role"] = "user";
    message["content"] = first;
    out.insert(out.begin(), std::move(message));
  }
  return out;
}

}  // namespace fathom::infer
