// POST /v1/responses as asked: OpenAI's fields and xAI's server-side tools.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "answer/assistant.h"
#include "server/feed_request.h"
#include "server/kept_conversation.h"
#include "server/sampling_request.h"
#include "server/text_format.h"
#include "server/tools_request.h"

namespace fathom::server {

struct ResponseRequest {
  std::string model;
  std::shared_ptr<const nlohmann::ordered_json> input;  // items, see response_items.h
  std::string instructions;
  std::string previous_id;  // empty: none
  bool stream = false;
  bool store = true;
  std::optional<size_t> max_tokens;
  SamplingRequest sampling;
  std::optional<int> logprobs;
  TextFormat format;
  ToolsRequest tools;                              // the functions among them
  std::optional<answer::SearchParameters> search;  // x_search or web_search is among the tools
  bool x_search = false;                           // which of them: how the searches are told
  bool inline_citations = true;
  FeedRequest feed;
  std::optional<ConversationChoice> kept;  // what it goes on with, and where question and answer are kept
  /// Members of the response that repeat the request: tools, tool_choice, text, metadata, ...
  std::shared_ptr<const nlohmann::ordered_json> echo;
};

/// Errors: ApiError 400, 422 for a date that is none; "unsupported" for what this server does not do (background, other
/// tools, images).
ResponseRequest parse_response_request(std::string_view body);

}  // namespace fathom::server
