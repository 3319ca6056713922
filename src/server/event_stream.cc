#include "server/event_stream.h"

#include <nlohmann/json.hpp>

namespace fathom::server {

void EventStream::open() {
  if (is_open()) return;
  Response head;
  head.content_type = "text/event-stream";
  head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
  reply_->start(std::move(head), ": ping\n\n");
}

bool EventStream::send(const nlohmann::json& event) {
  return reply_->write("data: " + to_text(event) + "\n\n");
}

bool EventStream::send_named(const nlohmann::json& event) {
  const std::string& type = event.at("type").get_ref<const std::string&>();
  return reply_->write("event: " + type + "\ndata: " + to_text(event) + "\n\n");
}

void EventStream::done() {
  reply_->write("data: [DONE]\n\n");
  reply_->finish();
}

}  // namespace fathom::server
