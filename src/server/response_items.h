// The items that a response is asked with and consists of, and the messages that a model reads them as.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "server/json_body.h"

namespace fathom::server {

inline constexpr size_t kMaxItems = 4096;

/// `input`: a text, or a list of items, as items in one form, each with an id: messages with content parts, function calls,
/// their outputs. What says nothing to a model (reasoning, searches made here) is left out. Errors: ApiError 400,
/// "unsupported" for images, files and other items.
nlohmann::ordered_json read_input(const JsonFields& request);

/// `items` of a conversation: a list of at least one, in the same form and with the same errors. Ids are given anew.
nlohmann::ordered_json read_conversation_items(const JsonFields& request);

/// Items in that form as the messages of a chat (server/conversation.h), `instructions` (perhaps empty) before them.
nlohmann::ordered_json messages_of(const nlohmann::ordered_json& items, const std::string& instructions);

/// "msg_...", "fc_...": 24 random hex digits.
std::string item_id(std::string_view prefix);

}  // namespace fathom::server
