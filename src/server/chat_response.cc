#include "server/chat_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "base/text.h"
#include "server/context.h"

namespace fathom::server {
namespace {

using answer::Answer;
using answer::Citation;
using nlohmann::json;

constexpr size_t kTitleBytes = 80;

json citation_json(const Citation& citation, std::string_view text) {
  const live::Post& post = citation.post;
  const size_t begin = std::min(citation.passage_begin, post.text.size());
  const size_t end = std::clamp(citation.passage_end, begin, post.text.size());
  json out = post_json(post);
  out["number"] = citation.number;
  out["begin"] = code_points_before(text, citation.begin);
  out["end"] = code_points_before(text, citation.end);
  out["claim_begin"] = code_points_before(text, citation.claim_begin);
  out["claim_end"] = code_points_before(text, citation.claim_end);
  out["passage"] = post.text.substr(begin, end - begin);
  out["passage_begin"] = code_points_before(post.text, begin);
  out["passage_end"] = code_points_before(post.text, end);
  return out;
}

}  // namespace

size_t code_points_before(std::string_view text, size_t offset) {
  const auto prefix = text.substr(0, std::min(offset, text.size()));
  return static_cast<size_t>(std::count_if(
      prefix.begin(), prefix.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool has_web_address(const live::Post& post) {
  const std::string_view url = post.url;
  return url.substr(0, 7) == "http://" || url.substr(0, 8) == "https://";
}

std::string post_title(const live::Post& post) {
  std::string text = post.text.substr(0, kTitleBytes);
  if (text.size() < post.text.size()) {
    text.resize(text.size() - incomplete_utf8_tail(text));
    text += "...";
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return post.author.handle.empty() ? text : fmt::format("@{}: {}", post.author.handle, text);
}

std::string_view finish_reason(infer::FinishReason finish) {
  return finish == infer::FinishReason::kLength ? "length" : "stop";
}

json citation_urls(const std::vector<Citation>& citations) {
  json urls = json::array();
  for (const auto& citation : citations) {
    if (has_web_address(citation.post) &&
        std::find(urls.begin(), urls.end(), citation.post.url) == urls.end())
      urls.push_back(citation.post.url);
  }
  return urls;
}

json annotations_json(const std::vector<Citation>& citations, std::string_view text) {
  json out = json::array();
  for (const auto& citation : citations) {
    if (!has_web_address(citation.post)) continue;
    out.push_back({{"type", "url_citation"},
                   {"url_citation",
                    {{"url", citation.post.url},
                     {"title", post_title(citation.post)},
                     {"start_index", code_points_before(text, citation.begin)},
                     {"end_index", code_points_before(text, citation.end)}}}});
  }
  return out;
}

json citations_json(const std::vector<Citation>& citations, std::string_view text) {
  json out = json::array();
  for (const auto& citation : citations) out.push_back(citation_json(citation, text));
  return out;
}

json step_json(const answer::Step& step) {
  json out = {{"tool", step.tool}, {"query", step.query}, {"found", step.found}, {"read", step.read}};
  if (!step.question.empty()) out["question"] = step.question;
  if (step.by_model) out["by_model"] = true;
  return out;
}

json posts_json(const std::vector<live::Post>& posts) {
  json out = json::array();
  for (const auto& post : posts) out.push_back(post_json(post));
  return out;
}

json outcome_json(const Answer& answer, const ChatView& view) {
  json steps = json::array();
  for (const auto& step : answer.steps) steps.push_back(step_json(step));
  json out = {{"as_of", format_time(answer.as_of)},
              {"writer", answer.writer},
              {"found", answer.found},
              {"fiction", answer.fiction},
              {"dropped_sentences", answer.dropped_sentences},
              {"steps", std::move(steps)}};
  if (!answer.plan.empty()) out["plan"] = answer.plan;
  if (view.return_citations) out["citations"] = citations_json(answer.citations, answer.text);
  return out;
}

size_t sources_used(const Answer& answer) {
  std::set<std::string> keys;
  for (const auto& post : answer.read) keys.insert(post.key());
  for (const auto& citation : answer.citations) keys.insert(citation.post.key());
  return keys.size();
}

json completion_usage_json(size_t prompt, size_t cached, size_t completion, size_t reasoning) {
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion},
          {"prompt_tokens_details",
           {{"cached_tokens", cached},
            {"audio_tokens", 0},
            {"cache_write_tokens", prompt - std::min(cached, prompt)}}},
          {"completion_tokens_details",
           {{"reasoning_tokens", reasoning},
            {"audio_tokens", 0},
            {"accepted_prediction_tokens", 0},
            {"rejected_prediction_tokens", 0}}}};
}

json usage_json(const Answer& answer, const ChatView& view) {
  json usage = completion_usage_json(answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens, 0);
  if (view.grounded) usage["num_sources_used"] = sources_used(answer);
  return usage;
}

json completion_json(const ChatIdentity& identity, const Answer& answer, const ChatView& view) {
  json message = {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}};
  if (!answer.reasoning.empty()) message["reasoning_content"] = answer.reasoning;
  if (view.grounded && view.return_citations)
    message["annotations"] = annotations_json(answer.citations, answer.text);
  json out = {{"id", identity.id},
              {"object", "chat.completion"},
              {"created", identity.created},
              {"model", identity.model},
              {"system_fingerprint", identity.fingerprint},
              {"choices", json::array({{{"index", 0},
                                        {"message", std::move(message)},
                                        {"logprobs", nullptr},
                                        {"finish_reason", finish_reason(answer.finish)}}})},
              {"usage", usage_json(answer, view)}};
  if (!view.grounded) return out;
  out["fathom"] = outcome_json(answer, view);
  if (!view.return_citations) return out;
  out["citations"] = citation_urls(answer.citations);
  out["fathom"]["read"] = posts_json(answer.read);
  return out;
}

json chunk_json(const ChatIdentity& identity, size_t choice, json delta, std::string_view finish) {
  return {{"id", identity.id},
          {"object", "chat.completion.chunk"},
          {"created", identity.created},
          {"model", identity.model},
          {"system_fingerprint", identity.fingerprint},
          {"choices", json::array({{{"index", choice},
                                    {"delta", std::move(delta)},
                                    {"logprobs", nullptr},
                                    {"finish_reason", finish.empty() ? json(nullptr) : json(finish)}}})}};
}

}  // namespace fathom::server
