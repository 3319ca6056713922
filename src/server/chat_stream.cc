#include "server/chat_stream.h"

#include <nlohmann/json.hpp>

namespace fathom::server {

using nlohmann::json;

ChatStream::ChatStream(std::shared_ptr<Reply> reply, ChatIdentity identity, ChatView view, bool include_usage)
    : reply_(std::move(reply)), identity_(std::move(identity)), view_(view), include_usage_(include_usage) {}

void ChatStream::open() {
  if (is_open()) return;
  Response head;
  head.content_type = "text/event-stream";
  head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
  reply_->start(std::move(head), ": ping\n\n");
  send_chunk({{"role", "assistant"}, {"content", ""}}, "", json::object());
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

void ChatStream::finish(const answer::Answer& answer) {
  open();
  if (answer.text.size() > text_.size() && answer.text.compare(0, text_.size(), text_) == 0)
    text(std::string(answer.text.substr(text_.size())), {});
  json last = json::object();
  if (view_.grounded) last["fathom"] = outcome_json(answer, view_);
  if (view_.grounded && view_.return_citations) {
    last["citations"] = citation_urls(answer.citations);
    json annotations = annotations_json(answer.citations, answer.text);
    if (!annotations.empty()) send_chunk({{"annotations", std::move(annotations)}}, "", json::object());
  }
  send_chunk(json::object(), finish_reason(answer.finish), last);
  if (include_usage_) {
    json usage = chunk_json(identity_, json::object(), "");
    usage["choices"] = json::array();
    usage["usage"] = usage_json(answer, view_);
    send_event(usage);
  }
  reply_->write("data: [DONE]\n\n");
  reply_->finish();
}

void ChatStream::fail(const ApiError& error) {
  open();
  send_event(error_json(error));
  reply_->finish();
}

bool ChatStream::send_chunk(json delta, std::string_view finish, const json& extra) {
  json chunk = chunk_json(identity_, std::move(delta), finish);
  if (include_usage_) chunk["usage"] = nullptr;
  chunk.update(extra);
  return send_event(chunk);
}

bool ChatStream::send_event(const json& event) { return reply_->write("data: " + to_text(event) + "\n\n"); }

}  // namespace fathom::server
