#include "server/chat_request.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/json_body.h"
#include "server/search_parameters.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxStops = 4;
constexpr int64_t kMaxTokens = int64_t{1} << 20;

[[noreturn]] void refuse_unsupported(const JsonFields& fields, std::string_view name, std::string_view what) {
  fields.refuse(name, fmt::format("is not supported: {}", what), 400, "unsupported");
}

bool is_empty(const json* value) { return value == nullptr || (value->is_structured() && value->empty()); }

/// What would change the answer if it were done, and is not done here.
void refuse_unsupported_fields(const JsonFields& fields) {
  if (fields.integer("n", 1, 128).value_or(1) != 1)
    refuse_unsupported(fields, "n", "this server makes one choice a request");
  for (const char* name : {"tools", "functions"}) {
    if (!is_empty(fields.find(name)))
      refuse_unsupported(fields, name, "this server calls no tools of the client's");
  }
  const json* choice = fields.find("tool_choice");
  if (choice != nullptr && *choice != "none" && *choice != "auto")
    refuse_unsupported(fields, "tool_choice", "this server calls no tools of the client's");
  if (fields.boolean("logprobs").value_or(false) || fields.integer("top_logprobs", 0, 20).value_or(0) > 0)
    refuse_unsupported(fields, fields.has("logprobs") ? "logprobs" : "top_logprobs",
                       "this server returns no log probabilities");
  if (!is_empty(fields.find("logit_bias")))
    refuse_unsupported(fields, "logit_bias", "this server does not change single tokens");
  if (fields.has("audio")) refuse_unsupported(fields, "audio", "this server answers in text");
  if (const json* format = fields.find("response_format")) {
    const JsonFields inner(*format, "response_format");
    if (inner.text("type").value_or("") != "text")
      refuse_unsupported(inner, "type", "this server answers in plain text; give \"text\"");
  }
}

std::string read_parts(const json& parts, const std::string& path) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    const JsonFields part(parts[i], fmt::format("{}[{}]", path, i));
    const std::string type = part.text("type").value_or("");
    if (type != "text" && type != "refusal")
      refuse_unsupported(part, "type", fmt::format("\"{}\"; this server reads text alone", type));
    const auto text = part.text(type);
    if (!text) part.refuse(type, "is missing");
    out += *text;
  }
  return out;
}

std::string read_role(const JsonFields& fields) {
  const std::string role = fields.text("role").value_or("");
  if (role == "developer") return "system";
  if (role == "system" || role == "user" || role == "assistant") return role;
  if (role == "tool" || role == "function")
    refuse_unsupported(fields, "role", "this server calls no tools of the client's");
  fields.refuse("role", "must be \"system\", \"developer\", \"user\" or \"assistant\"");
}

infer::ChatMessage read_message(const json& value, const std::string& path) {
  const JsonFields fields(value, path);
  infer::ChatMessage message;
  message.role = read_role(fields);
  for (const char* name : {"tool_calls", "function_call"}) {
    if (!is_empty(fields.find(name)))
      refuse_unsupported(fields, name, "this server calls no tools of the client's");
  }
  const json* content = fields.find("content");
  if (content == nullptr) fields.refuse("content", "is missing");
  if (content->is_string()) {
    message.content = content->get<std::string>();
  } else if (content->is_array()) {
    message.content = read_parts(*content, fields.param("content"));
  } else {
    fields.refuse("content", "must be a string or a list of parts", 400, "invalid_type");
  }
  return message;
}

std::vector<infer::ChatMessage> read_messages(const JsonFields& fields) {
  const json* list = fields.find("messages");
  if (list == nullptr) fields.refuse("messages", "is missing");
  if (!list->is_array()) fields.refuse("messages", "must be a list", 400, "invalid_type");
  if (list->empty()) fields.refuse("messages", "is empty; give at least one message");
  if (list->size() > kMaxMessages)
    fields.refuse("messages", fmt::format("has more than {} entries", kMaxMessages));
  std::vector<infer::ChatMessage> out;
  for (size_t i = 0; i < list->size(); ++i)
    out.push_back(read_message((*list)[i], fmt::format("messages[{}]", i)));
  return out;
}

std::vector<std::string> read_stop(const JsonFields& fields) {
  const json* value = fields.find("stop");
  if (value == nullptr) return {};
  auto stops = value->is_string() ? std::vector{value->get<std::string>()} : fields.texts("stop", kMaxStops);
  for (const auto& stop : stops) {
    if (stop.empty()) fields.refuse("stop", "has an empty string");
  }
  return stops;
}

std::optional<float> read_float(const JsonFields& fields, std::string_view name, double low, double high) {
  const auto value = fields.number(name, low, high);
  return value ? std::optional<float>(static_cast<float>(*value)) : std::nullopt;
}

void read_sampling(const JsonFields& fields, ChatRequest& out) {
  out.temperature = read_float(fields, "temperature", 0, 2);
  out.top_p = read_float(fields, "top_p", 0, 1);
  out.min_p = read_float(fields, "min_p", 0, 1);
  out.repetition_penalty = read_float(fields, "repetition_penalty", 0.1, 10);
  out.frequency_penalty = read_float(fields, "frequency_penalty", -2, 2).value_or(0);
  out.presence_penalty = read_float(fields, "presence_penalty", -2, 2).value_or(0);
  if (const auto top_k = fields.integer("top_k", 0, 1'000'000)) out.top_k = static_cast<int>(*top_k);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) out.seed = static_cast<uint64_t>(*seed);
}

std::optional<size_t> read_max_tokens(const JsonFields& fields) {
  const auto older = fields.integer("max_tokens", 1, kMaxTokens);
  const auto newer = fields.integer("max_completion_tokens", 1, kMaxTokens);
  const auto value = newer ? newer : older;
  return value ? std::optional<size_t>(static_cast<size_t>(*value)) : std::nullopt;
}

std::optional<answer::SearchParameters> read_search(const JsonFields& fields) {
  if (const json* search = fields.find("search_parameters")) return parse_search_parameters(*search);
  const json* web = fields.find("web_search_options");  // OpenAI's own switch
  if (web == nullptr) return std::nullopt;
  if (!web->is_object()) fields.refuse("web_search_options", "must be an object", 400, "invalid_type");
  answer::SearchParameters on;
  on.mode = answer::SearchMode::kOn;
  return on;
}

}  // namespace

infer::Sampling ChatRequest::sampling(infer::Sampling defaults) const {
  infer::Sampling out = defaults;
  out.temperature = temperature.value_or(out.temperature);
  out.top_p = top_p.value_or(out.top_p);
  out.min_p = min_p.value_or(out.min_p);
  out.top_k = top_k.value_or(out.top_k);
  out.repetition_penalty = repetition_penalty.value_or(out.repetition_penalty);
  out.frequency_penalty = frequency_penalty;
  out.presence_penalty = presence_penalty;
  out.seed = seed.value_or(out.seed);
  if (out.top_p <= 0) {  // no share of the probability: the likeliest token alone
    out.top_p = 1;
    out.temperature = 0;
  }
  return out;
}

ChatRequest parse_chat_request(std::string_view body) {
  const json document = parse_json(body);
  const JsonFields fields(document, "");
  ChatRequest out;
  const auto model = fields.text("model");
  if (!model || model->empty()) fields.refuse("model", "is missing; GET /v1/models lists the names");
  out.model = *model;
  out.messages = read_messages(fields);
  out.stream = fields.boolean("stream").value_or(false);
  if (const json* options = fields.find("stream_options"))
    out.include_usage = JsonFields(*options, "stream_options").boolean("include_usage").value_or(false);
  refuse_unsupported_fields(fields);
  out.max_tokens = read_max_tokens(fields);
  read_sampling(fields, out);
  out.stop = read_stop(fields);
  out.search = read_search(fields);
  return out;
}

}  // namespace fathom::server
