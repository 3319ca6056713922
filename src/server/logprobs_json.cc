#include "server/logprobs_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "server/chat_response.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr float kUnlikely = -9999.0f;  // OpenAI's stand-in for what JSON cannot say

json logprob_json(float logprob) {
  if (std::isnan(logprob)) return nullptr;
  return std::max(logprob, kUnlikely);
}

json bytes_json(const std::string& text) {
  json out = json::array();
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

json token_json(const infer::Engine& engine, int32_t token, float logprob) {
  const std::string text = engine.token_text(token);
  return {{"token", text}, {"logprob", logprob_json(logprob)}, {"bytes", bytes_json(text)}};
}

}  // namespace

json chat_logprobs_json(const infer::Engine& engine, std::span<const infer::TokenChoice> tokens) {
  json content = json::array();
  for (const auto& choice : tokens) {
    json entry = token_json(engine, choice.token, choice.logprob);
    entry["top_logprobs"] = json::array();
    for (const auto& [token, logprob] : choice.top)
      entry["top_logprobs"].push_back(token_json(engine, token, logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

json completion_logprobs_json(const infer::Engine& engine, std::span<const infer::TokenChoice> tokens,
                              size_t& offset) {
  json texts = json::array(), logprobs = json::array(), tops = json::array(), offsets = json::array();
  for (const auto& choice : tokens) {
    const std::string text = engine.token_text(choice.token);
    texts.push_back(text);
    logprobs.push_back(logprob_json(choice.logprob));
    offsets.push_back(offset);
    offset += code_points_before(text, text.size());
    json top = nullptr;
    if (!choice.top.empty() && !std::isnan(choice.logprob)) {
      top = json::object();
      for (const auto& [token, logprob] : choice.top) top[engine.token_text(token)] = logprob_json(logprob);
    }
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace fathom::server
