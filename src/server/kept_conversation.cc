#include "server/kept_conversation.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "server/chat_response.h"
#include "server/context.h"
#include "server/feed_request.h"
#include "server/http.h"
#include "server/response_items.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxIdBytes = 128;

int64_t seconds(Time time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

/// What of an item is searched.
std::string text_of(const json& item) {
  std::string out;
  const auto content = item.find("content");
  if (content != item.end() && content->is_array())
    for (const json& part : *content) out += part.value("text", "");
  for (const char* name : {"arguments", "output"})
    if (const auto found = item.find(name); found != item.end() && found->is_string())
      out += found->get<std::string>();
  return out;
}

}  // namespace

std::optional<ConversationChoice> read_conversation_choice(const JsonFields& request) {
  const ordered_json* given = request.find("conversation");
  if (given == nullptr) return std::nullopt;
  std::string id;
  if (given->is_object()) {
    id = JsonFields(*given, "conversation").required_text("id");
  } else if (given->is_string()) {
    id = given->get<std::string>();
  } else {
    request.refuse_type("conversation", "the id of a conversation or an object that holds it");
  }
  if (id.empty() || id.size() > kMaxIdBytes)
    request.refuse("conversation", "must be the id of a conversation, or \"new\"");
  return ConversationChoice{id == "new" ? "" : id};
}

answer::Conversations& conversations_of(const Context& context) {
  if (context.services.conversations != nullptr) return *context.services.conversations;
  throw ApiError(404, "this server keeps no conversations; GET /v1/status says why", "no_conversations");
}

ApiError conversation_not_found(const std::string& id) {
  return {404, fmt::format("there is no conversation \"{}\"", sanitize_utf8(id.substr(0, 100))),
          "conversation_not_found", "conversation"};
}

void throw_conversation_error(const Error& error) {
  if (error.code() != ErrorCode::kResourceExhausted) throw error;
  throw ApiError(400, error.what(), "conversation_full", "conversation");
}

json conversation_json(const answer::Conversation& conversation) {
  json metadata = json::parse(conversation.metadata, nullptr, false);
  if (metadata.is_discarded()) metadata = json::object();
  return {{"id", conversation.id},
          {"object", "conversation"},
          {"created_at", seconds(conversation.created)},
          {"updated_at", seconds(conversation.updated)},
          {"title", conversation.title.empty() ? conversation.opening : conversation.title},
          {"items", conversation.items},
          {"turns", conversation.turns},
          {"metadata", std::move(metadata)}};
}

answer::ConversationItem kept_item(json item, size_t most_bytes) {
  answer::ConversationItem out;
  out.id = item.value("id", "");
  out.role = item.value("role", "");
  out.text = text_of(item);
  out.body = to_text(item);
  const auto is_large = [&] { return out.text.size() + out.body.size() + 1024 > most_bytes; };
  if (is_large() && item.contains("fathom")) {
    item["fathom"].erase("read");
    out.body = to_text(item);
    if (is_large()) item.erase("fathom");
    out.body = to_text(item);
  }
  return out;
}

json question_item(const std::string& text) {
  return {{"type", "message"},
          {"id", item_id("msg_")},
          {"role", "user"},
          {"status", "completed"},
          {"content", json::array({{{"type", "input_text"}, {"text", text}}})}};
}

json answer_item(const std::string& text, json annotations) {
  return {{"type", "message"},
          {"id", item_id("msg_")},
          {"role", "assistant"},
          {"status", "completed"},
          {"content", json::array({{{"type", "output_text"},
                                    {"text", text},
                                    {"annotations", std::move(annotations)},
                                    {"logprobs", json::array()}}})}};
}

json answer_record(const answer::Answer& answer, const FeedRequest& feed) {
  json out = outcome_json(answer, ChatView{});
  out["text"] = answer.text;
  out["mode"] = mode_name(feed.mode);
  out["style"] = feed.style.empty() ? json(nullptr) : json(feed.style);
  out["read"] = posts_json(answer.read);
  if (!feed.post.empty()) out["post"] = feed.post;
  if (!answer.reasoning.empty()) out["reasoning"] = answer.reasoning;
  return out;
}

KeptConversation::KeptConversation(const Context& context, const Request& request,
                                   const std::optional<ConversationChoice>& choice)
    : context_(context), owner_(request.key), request_id_(request.id) {
  if (!choice) return;
  wanted_ = true;
  id_ = choice->id;
  const answer::Conversations& store = conversations_of(context);
  if (!id_.empty() && !store.find(owner_, id_)) throw conversation_not_found(id_);
}

ordered_json KeptConversation::items() const {
  ordered_json out = ordered_json::array();
  if (!wanted_ || id_.empty()) return out;
  for (const auto& item : conversations_of(context_).items(owner_, id_)) {
    ordered_json body = ordered_json::parse(item.body, nullptr, false);
    if (!body.is_object()) continue;
    body.erase("fathom");
    out.push_back(std::move(body));
  }
  return out;
}

std::string KeptConversation::keep_all(const std::vector<answer::ConversationItem>& items) {
  answer::Conversations& store = conversations_of(context_);
  if (id_.empty()) {
    id_ = store.create(owner_, "", "{}", items).id;
    return {};
  }
  if (store.append(owner_, id_, items)) return {};
  return "the conversation was deleted while the answer was made";
}

json KeptConversation::keep(const std::vector<json>& items) {
  std::vector<answer::ConversationItem> kept;
  json ids = json::array();
  for (const json& item : items) {
    kept.push_back(kept_item(item, conversations_of(context_).limits().item_bytes));
    ids.push_back(kept.back().id);
  }
  std::string problem;
  try {
    problem = keep_all(kept);
  } catch (const Error& error) {
    // Limits are the caller's to know; what says something about the machine goes to the log.
    const bool limit = error.code() == ErrorCode::kResourceExhausted;
    problem = limit ? error.what() : "the conversation could not be kept; the server's log has the reason";
    log().error("request {}: {}", request_id_, error.what());
  }
  json out = {{"id", id_.empty() ? json(nullptr) : json(id_)}};
  if (problem.empty()) {
    out["items"] = std::move(ids);
  } else {
    out["problem"] = problem;
  }
  return out;
}

}  // namespace fathom::server
