#include "server/chat_stream.h"

#include <nlohmann/json.hpp>

namespace fathom::server {

using nlohmann::json;

ChatStream::ChatStream(std::shared_ptr<Reply> reply, ChatIdentity identity, ChatView view, bool include_usage)
    : events_(std::move(reply)), identity_(std::move(identity)), view_(view), include_usage_(include_usage) {}

void ChatStream::open() {
  if (is_open()) return;
  events_.open();
  send_chunk({{"role", "assistant"}, {"content", ""}}, "", json::object());
}

void ChatStream::plan(const std::vector<std::string>& questions) {
  open();
  send_chunk(json::object(), "", {{"fathom", {{"plan", questions}}}});
}

bool ChatStream::thought(std::string_view piece) {
  open();
  return piece.empty() || send_chunk({{"reasoning_content", piece}}, "", json::object());
}

void ChatStream::step(const answer::Step& step) {
  open();
  send_chunk(json::object(), "", {{"fathom", {{"step", step_json(step)}}}});
}

void ChatStream::read(const std::vector<live::Post>& posts) {
  if (!view_.return_citations) return;
  open();
  send_chunk(json::object(), "", {{"fathom", {{"read", posts_json(posts)}}}});
}

bool ChatStream::text(std::string_view piece, const std::vector<answer::Citation>& citations) {
  open();
  text_ += piece;
  json extra = json::object();
  if (!citations.empty() && view_.return_citations)
    extra["fathom"] = {{"citations", citations_json(citations, text_)}};
  if (piece.empty() && extra.empty()) return true;
  return send_chunk({{"content", piece}}, "", extra);
}

void ChatStream::finish(const answer::Answer& answer, const json& extra) {
  open();
  if (answer.text.size() > text_.size() && answer.text.compare(0, text_.size(), text_) == 0)
    text(std::string(answer.text.substr(text_.size())), {});
  json last = extra;
  if (view_.grounded) last["fathom"] = outcome_json(answer, view_);
  if (view_.grounded && view_.return_citations) {
    last["citations"] = citation_urls(answer.citations);
    json annotations = annotations_json(answer.citations, answer.text);
    if (!annotations.empty()) send_chunk({{"annotations", std::move(annotations)}}, "", json::object());
  }
  send_chunk(json::object(), finish_reason(answer.finish), last);
  if (include_usage_) {
    json usage = chunk_json(identity_, 0, json::object(), "");
    usage["choices"] = json::array();
    usage["usage"] = usage_json(answer, view_);
    events_.send(usage);
  }
  events_.done();
}

void ChatStream::fail(const ApiError& error) {
  open();
  events_.send(error_json(error));
  events_.finish();
}

bool ChatStream::send_chunk(json delta, std::string_view finish, const json& extra) {
  json chunk = chunk_json(identity_, 0, std::move(delta), finish);
  if (include_usage_) chunk["usage"] = nullptr;
  chunk.update(extra);
  return events_.send(chunk);
}

}  // namespace fathom::server
