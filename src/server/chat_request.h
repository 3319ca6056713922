// POST /v1/chat/completions as asked: OpenAI's fields, xAI's search_parameters, every one checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "infer/engine.h"

namespace fathom::server {

struct ChatRequest {
  std::string model;
  std::vector<infer::ChatMessage> messages;  // roles system, user, assistant
  bool stream = false;
  bool include_usage = false;
  std::optional<size_t> max_tokens;
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  float frequency_penalty = 0, presence_penalty = 0;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::optional<answer::SearchParameters> search;  // empty: the request does not say

  /// The sampling asked for, over `defaults`.
  infer::Sampling sampling(infer::Sampling defaults) const;
};

/// Reads a request body. Errors: ApiError; 400 for JSON, types and values, 422 for a date that is none, 400 "unsupported"
/// for what this server cannot do and must not ignore (tools, several choices, log probabilities, images, ...).
ChatRequest parse_chat_request(std::string_view body);

}  // namespace fathom::server
