#include "server/completions_request.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/chat_request.h"

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxCompletionChoices = 8;

void refuse_what_is_not_done(const JsonFields& fields, size_t choices) {
  if (const auto suffix = fields.text("suffix"); suffix && !suffix->empty())
    fields.refuse_unsupported("suffix", "this server completes texts at their end");
  const auto best_of = fields.integer("best_of", 1, 128);
  if (best_of && static_cast<size_t>(*best_of) != choices)
    fields.refuse_unsupported("best_of",
                              "this server returns all that it makes; leave it out, or give the same as n");
}

void check_count(const JsonFields& fields, const CompletionRequest& request) {
  if (request.prompts.size() * request.choices > kMaxCompletions)
    fields.refuse("n", fmt::format("times the number of prompts exceeds {}", kMaxCompletions));
  if (request.max_tokens == 0 && !request.echo)
    fields.refuse("max_tokens", "may be 0 only with \"echo\": true");
}

}  // namespace

std::vector<int32_t> read_token_ids(const ordered_json& list, const std::string& param) {
  std::vector<int32_t> out;
  out.reserve(list.size());
  for (const auto& token : list) {
    const bool whole = token.is_number_unsigned() || (token.is_number_integer() && token.get<int64_t>() >= 0);
    if (!whole || token.get<uint64_t>() > INT32_MAX)
      throw ApiError(400, fmt::format("{} must be a list of token ids", param), "invalid_type", param);
    out.push_back(token.get<int32_t>());
  }
  if (out.empty()) throw ApiError(400, fmt::format("{} is empty", param), "invalid_value", param);
  return out;
}

std::vector<Prompt> read_prompts(const JsonFields& fields, std::string_view name, size_t most) {
  const ordered_json* value = fields.find(name);
  if (value == nullptr) fields.refuse(name, "is missing", 400, "missing_value");
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array()) fields.refuse_type(name, "a string, a list of strings, or tokens");
  if (value->empty()) fields.refuse(name, "is empty");
  if (value->front().is_number()) return {read_token_ids(*value, fields.param(name))};
  if (value->size() > most)
    fields.refuse(name, fmt::format("has {} entries; at most {} are taken", value->size(), most));
  std::vector<Prompt> out;
  for (size_t i = 0; i < value->size(); ++i) {
    const ordered_json& entry = (*value)[i];
    if (entry.is_string()) {
      out.emplace_back(entry.get<std::string>());
    } else if (entry.is_array()) {
      out.emplace_back(read_token_ids(entry, fmt::format("{}[{}]", fields.param(name), i)));
    } else {
      fields.refuse_type(name, "a string, a list of strings, or tokens");
    }
  }
  return out;
}

CompletionRequest parse_completion_request(std::string_view body) {
  const ordered_json document = parse_json(body);
  const JsonFields fields(document, "");
  CompletionRequest out;
  out.model = fields.required_text("model");
  out.prompts = read_prompts(fields, "prompt", kMaxPrompts);
  out.stream = fields.boolean("stream").value_or(false);
  out.include_usage = read_include_usage(fields);
  out.echo = fields.boolean("echo").value_or(false);
  out.choices = static_cast<size_t>(fields.integer("n", 1, kMaxCompletionChoices).value_or(1));
  out.max_tokens = static_cast<size_t>(fields.integer("max_tokens", 0, kMaxTokens).value_or(16));
  if (const auto logprobs = fields.integer("logprobs", 0, kMaxTopLogprobs))
    out.logprobs = static_cast<int>(*logprobs);
  out.sampling = read_sampling(fields);
  out.stop = read_stop(fields);
  out.format = read_response_format(fields);
  refuse_what_is_not_done(fields, out.choices);
  check_count(fields, out);
  return out;
}

}  // namespace fathom::server
