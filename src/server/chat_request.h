// POST /v1/chat/completions as asked: OpenAI's fields, xAI's search_parameters, every one checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "server/conversation.h"
#include "server/feed_request.h"
#include "server/kept_conversation.h"
#include "server/sampling_request.h"
#include "server/text_format.h"
#include "server/tools_request.h"

namespace fathom::server {

inline constexpr int64_t kMaxChoices = 8;

struct ChatRequest {
  std::string model;
  Conversation conversation;
  bool stream = false;
  bool include_usage = false;
  size_t choices = 1;
  std::optional<size_t> max_tokens;
  SamplingRequest sampling;
  std::optional<int> logprobs;  // alternatives a token; empty: no log probabilities
  std::vector<std::string> stop;
  TextFormat format;
  ToolsRequest tools;
  std::optional<answer::SearchParameters> search;  // empty: the request does not say
  FeedRequest feed;
  std::optional<ConversationChoice> kept;  // where question and answer are kept
};

/// Reads a request body. Errors: ApiError; 400 for JSON, types and values, 422 for a date that is none, 400 "unsupported"
/// for what no model of this server can do and must not ignore (images, sound, the older functions).
ChatRequest parse_chat_request(std::string_view body);

/// Error: ApiError 400 "unsupported" for what answers from the feed cannot be: several, forced into a form, calling the
/// client's tools, with log probabilities.
void require_groundable(const ChatRequest& request);

/// `stream_options.include_usage`. Errors: ApiError 400.
bool read_include_usage(const JsonFields& request);

}  // namespace fathom::server
