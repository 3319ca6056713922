// One answer as server-sent events, in the order that every client takes: role, text, finish, usage, [DONE].
// What the page shows beyond OpenAI's fields rides along as the member "fathom". Used on one thread.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "server/api_error.h"
#include "server/chat_response.h"
#include "server/event_stream.h"

namespace fathom::server {

class ChatStream {
 public:
  ChatStream(std::shared_ptr<Reply> reply, ChatIdentity identity, ChatView view, bool include_usage);

  /// Sends the head and the first chunk; from here on errors are events. All below do it when it was not done.
  void open();
  bool is_open() const { return events_.is_open(); }

  void plan(const std::vector<std::string>& questions);
  void step(const answer::Step& step);
  /// False: the client is gone.
  bool thought(std::string_view piece);
  void read(const std::vector<live::Post>& posts);
  /// False: the client is gone.
  bool text(std::string_view piece, const std::vector<answer::Citation>& citations);
  /// Whatever of the answer was not sent as text yet, its end with the members of `extra`, the usage.
  void finish(const answer::Answer& answer, const nlohmann::json& extra);
  void fail(const ApiError& error);

 private:
  bool send_chunk(nlohmann::json delta, std::string_view finish, const nlohmann::json& extra);

  EventStream events_;
  const ChatIdentity identity_;
  const ChatView view_;
  const bool include_usage_;
  std::string text_;  // sent so far
};

}  // namespace fathom::server
