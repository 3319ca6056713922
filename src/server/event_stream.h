// Server-sent events on a Reply, in OpenAI's two manners: nameless chunks, and named events. Used by one thread at a time.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "server/http.h"

namespace fathom::server {

class EventStream {
 public:
  explicit EventStream(std::shared_ptr<Reply> reply) : reply_(std::move(reply)) {}

  /// Sends the head, once; from here on errors are events.
  void open();
  bool is_open() const { return reply_->started(); }

  /// `data: {...}`. False: the client is gone. Like all below, REQUIRES: open.
  bool send(const nlohmann::json& event);
  /// `event: type` before it; `event` has "type".
  bool send_named(const nlohmann::json& event);
  /// `data: [DONE]`, and the end.
  void done();
  /// The end alone.
  void finish() { reply_->finish(); }

 private:
  std::shared_ptr<Reply> reply_;
};

}  // namespace fathom::server
