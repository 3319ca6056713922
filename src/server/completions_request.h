// POST /v1/completions as asked: texts or tokens to go on from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/sampling_request.h"
#include "server/text_format.h"

namespace fathom::server {

inline constexpr size_t kMaxPrompts = 64;      // of one request
inline constexpr size_t kMaxCompletions = 64;  // prompts times n

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  std::string model;
  std::vector<Prompt> prompts;  // at least one
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  size_t choices = 1;
  size_t max_tokens = 16;       // 0 only with `echo`
  std::optional<int> logprobs;  // alternatives a token
  SamplingRequest sampling;
  std::vector<std::string> stop;
  TextFormat format;
};

/// Errors: ApiError 400, "unsupported" for `suffix` and for a `best_of` that is not `n`.
CompletionRequest parse_completion_request(std::string_view body);

/// A text, texts, tokens or lists of tokens. Errors: ApiError 400.
std::vector<Prompt> read_prompts(const JsonFields& fields, std::string_view name, size_t most);

/// Token ids of a list. Errors: ApiError 400 naming `param`.
std::vector<int32_t> read_token_ids(const nlohmann::ordered_json& list, const std::string& param);

}  // namespace fathom::server
