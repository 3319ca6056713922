// Log probabilities on the wire: of chat completions and of the older completions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "infer/engine.h"

namespace fathom::server {

/// {"content":[{token, logprob, bytes, top_logprobs:[{token, logprob, bytes}]}], "refusal":null}
nlohmann::json chat_logprobs_json(const infer::Engine& engine, std::span<const infer::TokenChoice> tokens);

/// {tokens, token_logprobs, top_logprobs, text_offset}; offsets count code points from `offset` on, which is moved to the
/// end. A token without a probability (the first of a prompt) has NaN and gets null.
nlohmann::json completion_logprobs_json(const infer::Engine& engine,
                                        std::span<const infer::TokenChoice> tokens, size_t& offset);

}  // namespace fathom::server
