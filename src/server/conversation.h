// The messages of a chat: roles, text parts, tool calls and their results, checked and brought into the one form that chat
// templates take.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "server/json_body.h"

namespace fathom::server {

inline constexpr size_t kMaxMessages = 4096;

struct Conversation {
  /// [{role, content, name?, tool_calls?, tool_call_id?, reasoning_content?}]: roles system, user, assistant, tool; content
  /// is a string; the arguments of a call are an object where they are one.
  std::shared_ptr<const nlohmann::ordered_json> messages;
  std::vector<infer::ChatMessage> plain;  // the same for those who know no tools
  std::string tool_param;  // where tool calls or their results stand in the request; empty: nowhere
};

/// `messages` of a chat completion. Errors: ApiError 400, "unsupported" for images, sound and files.
Conversation read_conversation(const JsonFields& request);

/// What the user said last; empty when nothing.
std::string last_question(const Conversation& conversation);

/// Messages that are in the form above already.
Conversation make_conversation(nlohmann::ordered_json messages);

/// The text of a field that is a string or a list of text parts; `types`: the part types that count as text, each with
/// its text in "text" ("refusal" in "refusal"). Null and absent are empty. Errors: as read_conversation.
std::string read_content(const JsonFields& holder, std::string_view name,
                         const std::vector<std::string_view>& types);

/// {"id", "type":"function", "function":{"name", "arguments"}} with the arguments as an object where their text is one.
nlohmann::ordered_json call_message(const std::string& id, const std::string& name,
                                    const std::string& arguments);

}  // namespace fathom::server
