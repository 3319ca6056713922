// POST /v1/chat/completions: who writes the answer, and how it goes out.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "server/api_error.h"
#include "server/chat_request.h"
#include "server/chat_response.h"
#include "server/chat_stream.h"
#include "server/context.h"
#include "server/grounded.h"
#include "server/model_chat.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

bool asks_for_search(const ChatRequest& request) {
  return request.search && request.search->mode != answer::SearchMode::kOff;
}

/// An answer from the feed, whole or streamed.
class GroundedChat {
 public:
  GroundedChat(const Context& context, const ChatRequest& request, ChatIdentity identity,
               std::shared_ptr<Reply> reply, answer::Writer writer)
      : asker_(context, reply), request_(request), identity_(std::move(identity)), reply_(std::move(reply)) {
    require_groundable(request);
    view_.return_citations = !request.search || request.search->return_citations;
    ask_.messages = request.conversation.plain;
    ask_.search = request.search.value_or(answer::SearchParameters{});
    ask_.writer = writer;
    ask_.sampling = request.sampling.over(grounded_sampling());
    if (request.max_tokens) ask_.max_tokens = *request.max_tokens;
    ask_.stop = request.stop;
  }

  void whole() { reply_->send(json_response(completion_json(identity_, asker_.ask(ask_, {}), view_))); }

  void stream(const std::string& request_id) {
    ChatStream stream(reply_, identity_, view_, request_.include_usage);
    if (asker_.begins_slowly(ask_)) stream.open();
    try {
      answer::Events events;
      events.on_step = [&](const answer::Step& step) { stream.step(step); };
      events.on_read = [&](const std::vector<live::Post>& posts) { stream.read(posts); };
      events.on_text = [&](std::string_view piece, const std::vector<answer::Citation>& citations) {
        return stream.text(piece, citations);
      };
      stream.finish(asker_.ask(ask_, events));
    } catch (const std::exception& error) {
      if (!stream.is_open()) throw;
      stream.fail(to_api_error(error, request_id));
    }
  }

 private:
  GroundedAsker asker_;
  const ChatRequest& request_;
  const ChatIdentity identity_;
  std::shared_ptr<Reply> reply_;
  answer::Request ask_;
  ChatView view_;
};

void handle_chat(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
  const ChatRequest chat = parse_chat_request(request.body);
  const auto writer = writer_of(chat.model, context.services);
  ChatIdentity identity{"chatcmpl-" + random_hex(), unix_seconds(context.services.clock), chat.model,
                        fingerprint(context)};
  if (!writer && !asks_for_search(chat))
    return answer_with_model(context, chat, std::move(identity), reply, request.id);
  GroundedChat grounded(context, chat, std::move(identity), reply, writer.value_or(answer::Writer::kAuto));
  chat.stream ? grounded.stream(request.id) : grounded.whole();
}

}  // namespace

void add_chat_routes(Router& router, const Context& context) {
  router.add({.method = "POST",
              .pattern = "/v1/chat/completions",
              .name = "chat",
              .lane = Lane::kAnswers,
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                handle_chat(context, request, reply);
              }});
}

}  // namespace fathom::server
