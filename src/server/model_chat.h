// A chat completion by the language model alone: OpenAI's objects, whole or streamed.
#pragma once

#include <memory>
#include <string>

#include "server/chat_request.h"
#include "server/chat_response.h"
#include "server/context.h"
#include "server/kept_conversation.h"

namespace fathom::server {

/// Answers `reply`, and keeps question and answer where `kept` wants them. Errors: any, before the stream has begun; from there on they are told in the stream.
void answer_with_model(const Context& context, const ChatRequest& request, KeptConversation& kept,
                       ChatIdentity identity, const std::shared_ptr<Reply>& reply,
                       const std::string& request_id);

}  // namespace fathom::server
