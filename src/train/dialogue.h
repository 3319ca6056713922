// Documents as tokens, and which of them are to be learnt. Pure functions, thread-safe.
//
// Of a dialogue these are the assistant's turns with the marks that end them: for each, what the chat template writes for
// the messages up to and with it, behind what it writes as the prompt for it. So any template serves; what follows a
// template's own changes to earlier turns (thoughts that it leaves out) is not learnt.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace fathom::train {

struct TokenDocument {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> learn;  // one a token; empty: all are
};

/// The text between the tokens that begin and end one, where the tokenizer has them.
TokenDocument encode_text(const model::Tokenizer& tokenizer, std::string_view text);

enum class Learn { kAssistant, kAll };

/// `messages` as ChatTemplate::render takes them. Errors: those of the template; kInvalidArgument where there is nothing
/// to learn.
TokenDocument encode_dialogue(const model::Tokenizer& tokenizer, const model::ChatTemplate& chat,
                              const nlohmann::ordered_json& messages, Learn learn);

}  // namespace fathom::train
