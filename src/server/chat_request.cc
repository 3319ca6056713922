#include "server/chat_request.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/search_parameters.h"

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

std::optional<size_t> read_max_tokens(const JsonFields& fields) {
  const auto older = fields.integer("max_tokens", 1, kMaxTokens);
  const auto newer = fields.integer("max_completion_tokens", 1, kMaxTokens);
  const auto value = newer ? newer : older;
  return value ? std::optional<size_t>(static_cast<size_t>(*value)) : std::nullopt;
}

std::optional<int> read_logprobs(const JsonFields& fields) {
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (!wanted && top.value_or(0) > 0) fields.refuse("top_logprobs", "needs \"logprobs\": true");
  return wanted ? std::optional<int>(static_cast<int>(top.value_or(0))) : std::nullopt;
}

std::optional<answer::SearchParameters> read_search(const JsonFields& fields) {
  if (const ordered_json* search = fields.find("search_parameters")) return parse_search_parameters(*search);
  const ordered_json* web = fields.find("web_search_options");  // OpenAI's own switch
  if (web == nullptr) return std::nullopt;
  if (!web->is_object()) fields.refuse_type("web_search_options", "an object");
  answer::SearchParameters on;
  on.mode = answer::SearchMode::kOn;
  return on;
}

}  // namespace

bool read_include_usage(const JsonFields& request) {
  const ordered_json* options = request.find("stream_options");
  return options != nullptr &&
         JsonFields(*options, "stream_options").boolean("include_usage").value_or(false);
}

ChatRequest parse_chat_request(std::string_view body) {
  const ordered_json document = parse_json(body);
  const JsonFields fields(document, "");
  ChatRequest out;
  const auto model = fields.text("model");
  if (!model || model->empty()) fields.refuse("model", "is missing; GET /v1/models lists the names");
  out.model = *model;
  out.conversation = read_conversation(fields);
  out.stream = fields.boolean("stream").value_or(false);
  out.include_usage = read_include_usage(fields);
  out.choices = static_cast<size_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  out.max_tokens = read_max_tokens(fields);
  out.sampling = read_sampling(fields);
  out.logprobs = read_logprobs(fields);
  out.stop = read_stop(fields);
  out.format = read_response_format(fields);
  out.tools = read_tools(fields);
  if (fields.has("audio")) fields.refuse_unsupported("audio", "this server answers in text");
  out.search = read_search(fields);
  out.feed = read_feed_request(fields, fields.text("reasoning_effort"));
  require_search(fields, out.feed, out.search);
  out.kept = read_conversation_choice(fields);
  if (out.kept && out.choices > 1)
    fields.refuse("n", "must be 1 with a conversation, which keeps one answer");
  return out;
}

void require_groundable(const ChatRequest& request) {
  const auto refuse = [](const std::string& param, std::string_view what) {
    throw ApiError(
        400,
        fmt::format(
            "{} is not supported: answers from the feed {}; ask the language model under its own name", param,
            what),
        "unsupported", param);
  };
  if (request.choices > 1) refuse("n", "come one at a time");
  if (request.tools.active()) refuse("tools", "call no tools of the client's");
  if (!request.conversation.tool_param.empty())
    refuse(request.conversation.tool_param, "know no tools of the client's");
  if (request.logprobs) refuse("logprobs", "have no log probabilities");
  if (!request.sampling.logit_bias.empty()) refuse("logit_bias", "are checked against posts as they are");
  if (request.format.kind != TextFormat::Kind::kText)
    refuse("response_format", "are sentences with citations");
}

}  // namespace fathom::server
