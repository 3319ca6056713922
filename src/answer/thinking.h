// Models that think aloud: thoughts are told apart from the answer, shown as they come, never checked, never cited.
//
// For any other model both functions do what the engine does by itself. One answer, one thread.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "answer/assistant.h"
#include "infer/engine.h"

namespace fathom::answer {

/// Tokens that thoughts may take besides those of the answer.
inline constexpr size_t kThoughtTokens = 1024;

/// The conversation as the model's template has it; where that can be told to think or not to, it is.
std::vector<int32_t> chat_prompt(const infer::Engine& engine, const std::vector<infer::ChatMessage>& messages,
                                 bool think);

/// Generates; thoughts go to `events.on_thought` and `answer.reasoning`, the rest to `sink`. Stop strings and max_tokens are
/// those of the answer, not of the thoughts before it. Errors: those of the engine.
infer::GenerateResult generate_with_thoughts(infer::Engine& engine, infer::GenerateRequest request,
                                             const infer::TextSink& sink, const Events& events,
                                             Answer& answer, const std::stop_token& stop);

}  // namespace fathom::answer
