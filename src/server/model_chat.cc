#include "server/model_chat.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "server/event_stream.h"
#include "server/logprobs_json.h"
#include "server/model_answer.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json usage_json(const ModelUsage& usage) {
  return completion_usage_json(usage.prompt, usage.cached, usage.completion, usage.reasoning);
}

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

/// A call that was cut off is not there to be made.
std::string_view finish_name(const ModelChoice& choice) {
  const bool whole = std::all_of(choice.calls.begin(), choice.calls.end(),
                                 [](const ToolCall& call) { return call.complete; });
  return choice.calls.empty() || !whole ? finish_reason(choice.finish) : "tool_calls";
}

json call_json(const ToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

class ModelChat {
 public:
  ModelChat(const Context& context, const ChatRequest& request, KeptConversation& kept, ChatIdentity identity,
            std::shared_ptr<Reply> reply)
      : engine_(*context.services.engine),
        request_(request),
        kept_(kept),
        identity_(std::move(identity)),
        reply_(reply),
        events_(std::move(reply)),
        answerer_(context, {.conversation = request.conversation,
                            .tools = request.tools,
                            .format = request.format,
                            .sampling = request.sampling,
                            .stop = request.stop,
                            .max_tokens = request.max_tokens,
                            .logprobs = request.logprobs,
                            .choices = request.choices}) {}

  void whole() {
    const ModelAnswer answer = answerer_.run({}, reply_->stop());
    json choices = json::array();
    for (size_t i = 0; i < answer.choices.size(); ++i) choices.push_back(choice_json(i, answer.choices[i]));
    json out = {{"id", identity_.id},
                {"object", "chat.completion"},
                {"created", identity_.created},
                {"model", identity_.model},
                {"system_fingerprint", identity_.fingerprint},
                {"choices", std::move(choices)},
                {"usage", usage_json(answer.usage)}};
    out.update(keep(answer.choices.front()));
    reply_->send(json_response(out));
  }

  void stream(const std::string& request_id) {
    events_.open();
    for (size_t i = 0; i < request_.choices; ++i) send(i, {{"role", "assistant"}, {"content", ""}}, "", {});
    try {
      const ModelAnswer answer = answerer_.run(
          {.on_delta = [this](size_t choice, const ModelDelta& delta) { return send_delta(choice, delta); },
           .on_end = [this](size_t choice, const ModelChoice& whole) { send_end(choice, whole); }},
          reply_->stop());
      if (request_.include_usage) {
        json usage = chunk_json(identity_, 0, json::object(), "");
        usage["choices"] = json::array();
        usage["usage"] = usage_json(answer.usage);
        events_.send(usage);
      }
      events_.done();
    } catch (const std::exception& error) {
      events_.send(error_json(to_api_error(error, request_id)));
      events_.finish();
    }
  }

 private:
  json choice_json(size_t index, const ModelChoice& choice) const {
    json message = {{"role", "assistant"},
                    {"content", choice.calls.empty() ? json(choice.content) : text_or_null(choice.content)},
                    {"refusal", nullptr}};
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    for (const auto& call : choice.calls) message["tool_calls"].push_back(call_json(call));
    return {{"index", index},
            {"message", std::move(message)},
            {"logprobs", request_.logprobs ? chat_logprobs_json(engine_, choice.tokens) : json(nullptr)},
            {"finish_reason", finish_name(choice)}};
  }

  bool send_delta(size_t choice, const ModelDelta& delta) {
    json out = json::object();
    if (!delta.reasoning.empty()) out["reasoning_content"] = delta.reasoning;
    if (!delta.content.empty()) out["content"] = delta.content;
    for (const auto& call : delta.calls) {
      ToolCall& whole = begun_[{choice, call.index}];
      if (!call.piece.id.empty()) whole = {call.piece.id, call.piece.name, "", false};
      whole.arguments += call.piece.arguments;
      if (call.piece.complete) out["tool_calls"].push_back(take_begun(choice, call.index));
    }
    if (out.empty() && delta.tokens.empty()) return !reply_->stop().stop_requested();
    if (out.empty()) out["content"] = "";
    return send(choice, std::move(out), "", delta.tokens);
  }

  void send_end(size_t choice, const ModelChoice& whole) {
    for (size_t i = 0; i < whole.calls.size(); ++i) {
      if (begun_.contains({choice, i}))
        send(choice, {{"tool_calls", json::array({take_begun(choice, i)})}}, "", {});
    }
    send(choice, json::object(), finish_name(whole), {}, keep(whole));
  }

  /// {"conversation": ...}, or nothing where the request is part of none. Calls are the client's to keep.
  json keep(const ModelChoice& choice) {
    if (!kept_.wanted()) return json::object();
    return {{"conversation", kept_.keep({question_item(last_question(request_.conversation)),
                                         answer_item(choice.content, json::array())})}};
  }

  /// A call goes out in one piece: xAI's clients want id, name and arguments in each.
  json take_begun(size_t choice, size_t index) {
    const auto found = begun_.find({choice, index});
    json out = call_json(found->second);
    out["index"] = index;
    begun_.erase(found);
    return out;
  }

  bool send(size_t choice, json delta, std::string_view finish, const std::vector<infer::TokenChoice>& tokens,
            const json& extra = json::object()) {
    json chunk = chunk_json(identity_, choice, std::move(delta), finish);
    if (request_.logprobs && !tokens.empty())
      chunk["choices"][0]["logprobs"] = chat_logprobs_json(engine_, tokens);
    if (request_.include_usage) chunk["usage"] = nullptr;
    chunk.update(extra);
    return events_.send(chunk);
  }

  const infer::Engine& engine_;
  const ChatRequest& request_;
  KeptConversation& kept_;
  const ChatIdentity identity_;
  std::shared_ptr<Reply> reply_;
  EventStream events_;
  ModelAnswerer answerer_;
  std::map<std::pair<size_t, size_t>, ToolCall> begun_;  // by choice and index: calls that are not whole yet
};

}  // namespace

void answer_with_model(const Context& context, const ChatRequest& request, KeptConversation& kept,
                       ChatIdentity identity, const std::shared_ptr<Reply>& reply,
                       const std::string& request_id) {
  ModelChat chat(context, request, kept, std::move(identity), reply);
  request.stream ? chat.stream(request_id) : chat.whole();
}

}  // namespace fathom::server
