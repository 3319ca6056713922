// The conversation that a chat completion or a response is part of: the member "conversation" of the request, what was said
// before, and the keeping of question and answer once the answer is whole.
//
// Items have OpenAI's form; an answer from the feed has a further member "fathom" with what it rests on, so that it can be
// shown again as it was.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "answer/assistant.h"
#include "answer/conversations.h"
#include "server/json_body.h"

namespace fathom::server {

struct Context;
struct Request;
struct FeedRequest;

/// "conv_...", {"id": "conv_..."}, or "new": one that begins with this question.
struct ConversationChoice {
  std::string id;  // empty: a new one
};
/// Errors: ApiError 400.
std::optional<ConversationChoice> read_conversation_choice(const JsonFields& request);

/// Error: ApiError 404 where none are kept.
answer::Conversations& conversations_of(const Context& context);
ApiError conversation_not_found(const std::string& id);
/// Beyond a limit: ApiError 400 "conversation_full" instead of the store's own.
[[noreturn]] void throw_conversation_error(const Error& error);

/// As it is shown: OpenAI's members, and title, items, turns, updated_at.
nlohmann::json conversation_json(const answer::Conversation& conversation);

/// An item in OpenAI's form as it is kept. Without its member "read", and then without "fathom", where it would be too large.
answer::ConversationItem kept_item(nlohmann::json item, size_t most_bytes);

/// {"type":"message", "id":"msg_...", "role", "status":"completed", "content":[{...}]}
nlohmann::json question_item(const std::string& text);
nlohmann::json answer_item(const std::string& text, nlohmann::json annotations);
/// The member "fathom" of an answer's item.
nlohmann::json answer_record(const answer::Answer& answer, const FeedRequest& feed);

/// One request's part in a conversation. Used on one thread; context and request outlive it.
class KeptConversation {
 public:
  /// Errors: ApiError 404 for one that is not there or not the caller's.
  KeptConversation(const Context& context, const Request& request,
                   const std::optional<ConversationChoice>& choice);

  bool wanted() const { return wanted_; }
  /// What was said so far, in the form of response_items.h.
  nlohmann::ordered_json items() const;

  /// Keeps what was asked and answered. Returns the member "conversation" of the answer: {"id", "items":[their ids]}, or, when
  /// it cannot be kept, {"id", "problem"}: the answer itself is there all the same. REQUIRES: wanted().
  nlohmann::json keep(const std::vector<nlohmann::json>& items);

 private:
  std::string keep_all(const std::vector<answer::ConversationItem>& items);

  const Context& context_;
  const std::string owner_, request_id_;
  bool wanted_ = false;
  std::string id_;  // empty: a new one
};

}  // namespace fathom::server
