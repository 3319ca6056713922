// POST /v1/responses, GET and DELETE /v1/responses/{id}: the language model with the client's functions, or answers from the
// feed when the model's name or xAI's search tools ask for them.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "server/api_error.h"
#include "server/chat_response.h"
#include "server/context.h"
#include "server/conversation.h"
#include "server/grounded.h"
#include "server/inline_links.h"
#include "server/kept_conversation.h"
#include "server/logprobs_json.h"
#include "server/model_answer.h"
#include "server/response_items.h"
#include "server/response_store.h"
#include "server/response_writer.h"
#include "server/responses_request.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

ApiError response_not_found(const std::string& id, const std::string& param) {
  return {404,
          fmt::format("there is no response \"{}\": it was not stored, or it made room for newer ones",
                      id.substr(0, 100)),
          "response_not_found", param};
}

json usage_json(size_t input, size_t cached, size_t output, size_t reasoning) {
  return {{"input_tokens", input},
          {"input_tokens_details", {{"cached_tokens", cached}}},
          {"output_tokens", output},
          {"output_tokens_details", {{"reasoning_tokens", reasoning}}},
          {"total_tokens", input + output}};
}

/// All sources that were met, the cited ones first.
json source_urls(const answer::Answer& answer) {
  json urls = citation_urls(answer.citations);
  for (const auto& post : answer.read) {
    if (has_web_address(post) && std::find(urls.begin(), urls.end(), post.url) == urls.end())
      urls.push_back(post.url);
  }
  return urls;
}

class Responder {
 public:
  Responder(const Context& context, ResponseRequest request, const Request& http,
            std::shared_ptr<Reply> reply)
      : context_(context),
        request_(std::move(request)),
        kept_(context, http, request_.kept),
        reply_(reply),
        events_(reply),
        id_(item_id("resp_")),
        dialog_(dialog()),
        writer_(head(), request_.stream ? &events_ : nullptr) {}

  void run(const std::string& request_id) {
    const auto writer = writer_of(request_.model, context_.services);
    const bool search = request_.search && request_.search->mode != answer::SearchMode::kOff;
    try {
      writer || search || request_.feed.needs_feed() ? ask_feed(writer.value_or(answer::Writer::kAuto))
                                                     : ask_model();
    } catch (const std::exception& error) {
      if (!writer_.begun() || !request_.stream) throw;
      writer_.fail(to_api_error(error, request_id));
      return events_.finish();
    }
    request_.stream ? events_.finish() : reply_->send(json_response(writer_.response()));
  }

 private:
  /// The items of the conversation so far.
  ordered_json dialog() const {
    ordered_json items = kept_.items();
    if (!request_.previous_id.empty()) {
      const auto previous = context_.responses.find(request_.previous_id);
      if (!previous) throw response_not_found(request_.previous_id, "previous_response_id");
      items = *previous->dialog;
    }
    for (const auto& item : *request_.input) items.push_back(item);
    if (items.size() > kMaxItems)
      throw ApiError(400, fmt::format("the conversation has more than {} items", kMaxItems), "invalid_value",
                     "input");
    // Many a request may go on from one response, each with a copy of what came before.
    const size_t most = 2 * context_.options.limits.chat_body_bytes;
    if (!request_.previous_id.empty() && memory_of(items) > most)
      throw ApiError(400,
                     fmt::format("the conversation has grown beyond {} bytes; begin a new one without "
                                 "previous_response_id",
                                 most),
                     "context_length_exceeded", "previous_response_id");
    return items;
  }

  json head() const {
    json out = json(*request_.echo);
    out["id"] = id_;
    out["object"] = "response";
    out["created_at"] = unix_seconds(context_.services.clock);
    out["model"] = request_.model;
    out["conversation"] = nullptr;
    if (request_.kept && !request_.kept->id.empty()) out["conversation"] = {{"id", request_.kept->id}};
    return out;
  }

  void ask_model() {
    const Conversation conversation = make_conversation(messages_of(dialog_, request_.instructions));
    ModelAnswerer answerer(context_, {.conversation = conversation,
                                      .tools = request_.tools,
                                      .format = request_.format,
                                      .sampling = request_.sampling,
                                      .stop = {},
                                      .max_tokens = request_.max_tokens,
                                      .logprobs = request_.logprobs,
                                      .choices = 1,
                                      .messages_param = "input"});
    writer_.begin();
    const ModelAnswer answer = answerer.run(
        {.on_delta = [this](size_t, const ModelDelta& delta) { return write(delta); }, .on_end = {}},
        reply_->stop());
    const ModelChoice& choice = answer.choices.front();
    if (writer_.response()["output"].empty()) writer_.text("", json::array());  // a model may say nothing
    writer_.finish(choice.finish == infer::FinishReason::kLength,
                   {{"usage", usage_json(answer.usage.prompt, answer.usage.cached, answer.usage.completion,
                                         answer.usage.reasoning)}},
                   [this] { keep(json()); });
  }

  bool write(const ModelDelta& delta) {
    bool there = delta.reasoning.empty() || writer_.reasoning(delta.reasoning);
    // The text of a token may come later than the token; those of thoughts and calls have no place here.
    if (request_.logprobs) unsaid_.insert(unsaid_.end(), delta.tokens.begin(), delta.tokens.end());
    if (!delta.content.empty()) {
      json logprobs = json::array();
      if (request_.logprobs) logprobs = chat_logprobs_json(*context_.services.engine, unsaid_)["content"];
      there = writer_.text(delta.content, logprobs);
    }
    if (!delta.content.empty() || !delta.reasoning.empty() || !delta.calls.empty()) unsaid_.clear();
    for (const auto& call : delta.calls) {
      if (!call.piece.id.empty()) there = writer_.call(call.piece.id, call.piece.name);
      there = writer_.arguments(call.piece.arguments) && there;
    }
    return there && !reply_->stop().stop_requested();
  }

  answer::Request feed_request(answer::Writer writer) const {
    const auto refuse = [](const char* param, std::string_view what) {
      throw ApiError(400, fmt::format("{} is not supported: answers from the feed {}", param, what),
                     "unsupported", param);
    };
    const Conversation conversation = make_conversation(messages_of(dialog_, request_.instructions));
    if (request_.tools.active()) refuse("tools", "call no functions of the client's");
    if (!conversation.tool_param.empty()) refuse("input", "know no functions of the client's");
    if (request_.format.kind != TextFormat::Kind::kText)
      refuse("text.format", "are sentences with citations");
    if (request_.logprobs) refuse("top_logprobs", "have no log probabilities");
    answer::Request out;
    out.messages = conversation.plain;
    out.search = request_.search.value_or(answer::SearchParameters{});
    out.writer = writer;
    out.sampling = request_.sampling.over(grounded_sampling());
    if (request_.max_tokens) out.max_tokens = *request_.max_tokens;
    require_post(request_.feed, context_.services.store);
    request_.feed.apply_to(out);
    return out;
  }

  void ask_feed(answer::Writer writer) {
    const answer::Request ask = feed_request(writer);
    GroundedAsker asker(context_, reply_);
    InlineLinks links(request_.inline_citations);
    if (asker.begins_slowly(ask)) writer_.begin();
    answer::Events events;
    size_t searches = 0;
    events.on_step = [&](const answer::Step& step) {
      ++searches;
      if (request_.search) writer_.item(search_item(step));
    };
    events.on_thought = [&](std::string_view piece) {
      return writer_.reasoning(piece) && !reply_->stop().stop_requested();
    };
    events.on_text = [&](std::string_view piece, const std::vector<answer::Citation>& citations) {
      return write(links.push(piece, citations));
    };
    const answer::Answer answer = asker.ask(ask, events);
    const std::string_view rest =
        std::string_view(answer.text).substr(std::min(links.bytes_taken(), answer.text.size()));
    write(links.push(rest, answer.citations));
    json usage = usage_json(answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens, 0);
    usage["num_sources_used"] = sources_used(answer);
    usage["num_server_side_tools_used"] = searches;
    writer_.finish(answer.finish == infer::FinishReason::kLength,
                   {{"usage", std::move(usage)},
                    {"citations", source_urls(answer)},
                    {"fathom", outcome_json(answer, ChatView{.grounded = true, .return_citations = false})}},
                   [&] { keep(answer_record(answer, request_.feed)); });
  }

  bool write(const InlineLinks::Piece& piece) {
    bool there = writer_.text(piece.text, json::array());
    for (const auto& annotation : piece.annotations)
      there = writer_.annotate({{"type", "url_citation"},
                                {"url", annotation.url},
                                {"title", annotation.title},
                                {"start_index", annotation.begin},
                                {"end_index", annotation.end}});
    return there && !reply_->stop().stop_requested();
  }

  json search_item(const answer::Step& step) const {
    if (!request_.x_search)
      return {
          {"type", "web_search_call"},
          {"id", item_id("ws_")},
          {"status", "completed"},
          {"action", {{"type", "search"}, {"query", step.query}, {"queries", json::array({step.query})}}}};
    return {{"type", "x_search_call"},
            {"id", item_id("xs_")},
            {"call_id", item_id("call_")},
            {"name", "x_keyword_search"},
            {"arguments", to_text({{"query", step.query}, {"limit", request_.search->max_results}})},
            {"status", "completed"}};
  }

  /// Before a client knows that the response is whole, for it may go on from it at once. `record`: the member "fathom" of a kept
  /// answer from the feed; null: none.
  void keep(const json& record) {
    if (kept_.wanted()) writer_.add({{"conversation", kept_.keep(kept_items(record))}});
    if (!request_.store) return;
    ordered_json dialog = dialog_;
    for (const auto& item : writer_.response()["output"]) {
      if (item["type"] == "message" || item["type"] == "function_call") dialog.push_back(ordered_json(item));
    }
    context_.responses.put(id_, {.body = to_text(writer_.response()),
                                 .input = request_.input,
                                 .dialog = std::make_shared<const ordered_json>(std::move(dialog))});
  }

  /// Input and output. An id that the conversation has already is a client's repetition of it.
  std::vector<json> kept_items(const json& record) const {
    std::set<std::string> taken;
    const size_t before = dialog_.size() - request_.input->size();
    for (size_t i = 0; i < before; ++i) taken.insert(dialog_[i].value("id", ""));
    std::vector<json> out;
    const auto add = [&](json item) {
      if (!taken.insert(item.value("id", "")).second) taken.insert(item["id"] = item_id("msg_"));
      out.push_back(std::move(item));
    };
    for (const auto& item : *request_.input) add(json(item));
    for (const auto& item : writer_.response()["output"]) {
      if (item["type"] != "message" && item["type"] != "function_call") continue;
      add(item);
      if (item["type"] == "message" && !record.is_null()) out.back()["fathom"] = record;
    }
    return out;
  }

  const Context& context_;
  const ResponseRequest request_;
  KeptConversation kept_;
  std::shared_ptr<Reply> reply_;
  EventStream events_;
  const std::string id_;
  const ordered_json dialog_;
  ResponseWriter writer_;
  std::vector<infer::TokenChoice> unsaid_;  // chosen, their text still held back
};

std::shared_ptr<const StoredResponse> stored(const Context& context, const Request& request) {
  const std::string& id = *find_field(request.captures, "id");
  auto found = context.responses.find(id);
  if (!found) throw response_not_found(id, "response_id");
  return found;
}

void get_response(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  Response response;
  response.body = stored(context, request)->body;
  reply->send(std::move(response));
}

void get_input_items(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  const auto found = stored(context, request);
  const ordered_json& items = *found->input;
  reply->send(json_response({{"object", "list"},
                             {"data", json(items)},
                             {"first_id", json(items.front()["id"])},
                             {"last_id", json(items.back()["id"])},
                             {"has_more", false}}));
}

void delete_response(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  const std::string& id = *find_field(request.captures, "id");
  if (!context.responses.remove(id)) throw response_not_found(id, "response_id");
  reply->send(json_response({{"id", id}, {"object", "response"}, {"deleted", true}}));
}

void create_response(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
  Responder(context, parse_response_request(request.body), request, reply).run(request.id);
}

}  // namespace

void add_response_routes(Router& router, const Context& context) {
  const auto add = [&](const char* method, const char* pattern, auto handle) {
    router.add({.method = method,
                .pattern = pattern,
                .name = "responses",
                .handler = [&context, handle](const Request& request, const std::shared_ptr<Reply>& reply) {
                  handle(context, request, reply);
                }});
  };
  router.add({.method = "POST",
              .pattern = "/v1/responses",
              .name = "responses",
              .lane = Lane::kAnswers,
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                create_response(context, request, reply);
              }});
  add("GET", "/v1/responses/{id}/input_items", get_input_items);
  add("GET", "/v1/responses/{id}", get_response);
  add("DELETE", "/v1/responses/{id}", delete_response);
}

}  // namespace fathom::server
