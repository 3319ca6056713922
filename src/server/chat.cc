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
#include "server/kept_conversation.h"
#include "server/model_chat.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using nlohmann::json;

bool asks_the_feed(const ChatRequest& request) {
  const bool searches = request.search && request.search->mode != answer::SearchMode::kOff;
  return searches || request.feed.needs_feed();
}

/// An answer from the feed, whole or streamed.
class GroundedChat {
 public:
  GroundedChat(const Context& context, const ChatRequest& request, KeptConversation& kept,
               ChatIdentity identity, std::shared_ptr<Reply> reply, answer::Writer writer)
      : asker_(context, reply),
        request_(request),
        kept_(kept),
        identity_(std::move(identity)),
        reply_(std::move(reply)) {
    require_groundable(request);
    require_post(request.feed, context.services.store);
    view_.return_citations = !request.search || request.search->return_citations;
    ask_.messages = request.conversation.plain;
    ask_.search = request.search.value_or(answer::SearchParameters{});
    ask_.writer = writer;
    ask_.sampling = request.sampling.over(grounded_sampling());
    if (request.max_tokens) ask_.max_tokens = *request.max_tokens;
    ask_.stop = request.stop;
    request.feed.apply_to(ask_);
  }

  void whole() {
    const answer::Answer answer = asker_.ask(ask_, {});
    json out = completion_json(identity_, answer, view_);
    out.update(keep(answer));
    reply_->send(json_response(out));
  }

  void stream(const std::string& request_id) {
    ChatStream stream(reply_, identity_, view_, request_.include_usage);
    if (asker_.begins_slowly(ask_)) stream.open();
    try {
      answer::Events events;
      events.on_plan = [&](const std::vector<std::string>& questions) { stream.plan(questions); };
      events.on_thought = [&](std::string_view piece) { return stream.thought(piece); };
      events.on_step = [&](const answer::Step& step) { stream.step(step); };
      events.on_read = [&](const std::vector<live::Post>& posts) { stream.read(posts); };
      events.on_text = [&](std::string_view piece, const std::vector<answer::Citation>& citations) {
        return stream.text(piece, citations);
      };
      const answer::Answer answer = asker_.ask(ask_, events);
      stream.finish(answer, keep(answer));
    } catch (const std::exception& error) {
      if (!stream.is_open()) throw;
      stream.fail(to_api_error(error, request_id));
    }
  }

 private:
  /// {"conversation": ...}, or nothing where the request is part of none.
  json keep(const answer::Answer& answer) {
    if (!kept_.wanted()) return json::object();
    json annotations = json::array();
    for (const json& nested : annotations_json(answer.citations, answer.text)) {
      json flat = nested["url_citation"];
      flat["type"] = nested["type"];
      annotations.push_back(std::move(flat));
    }
    json said = answer_item(answer.text, std::move(annotations));
    said["fathom"] = answer_record(answer, request_.feed);
    return {{"conversation", kept_.keep({question_item(last_question(request_.conversation)), said})}};
  }

  GroundedAsker asker_;
  const ChatRequest& request_;
  KeptConversation& kept_;
  const ChatIdentity identity_;
  std::shared_ptr<Reply> reply_;
  answer::Request ask_;
  ChatView view_;
};

void handle_chat(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
  const ChatRequest chat = parse_chat_request(request.body);
  const auto writer = writer_of(chat.model, context.services);
  KeptConversation kept(context, request, chat.kept);
  ChatIdentity identity{"chatcmpl-" + random_hex(), unix_seconds(context.services.clock), chat.model,
                        fingerprint(context)};
  if (!writer && !asks_the_feed(chat))
    return answer_with_model(context, chat, kept, std::move(identity), reply, request.id);
  GroundedChat grounded(context, chat, kept, std::move(identity), reply,
                        writer.value_or(answer::Writer::kAuto));
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
