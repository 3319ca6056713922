// Generations of one request that run at once: several choices, several prompts.
//
// The first generation of each prompt goes ahead; the others of that prompt begin when its text does, so that they find
// the prompt in the engine's cache. Used on one thread; it starts further ones of its own and joins them.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "infer/engine.h"
#include "server/api_error.h"
#include "server/context.h"

namespace fathom::server {

/// What becomes of the generations. Calls come from several threads, one at a time.
struct GenerationEvents {
  /// Text, and the tokens that were chosen since the last call (with GenerateRequest::logprobs; the text of a token may
  /// come later than the token). False: nobody listens any more, all stop.
  std::function<bool(size_t job, std::string_view text, std::span<const infer::TokenChoice> tokens)> on_text;
  /// After the last text of a generation.
  std::function<void(size_t job, const infer::GenerateResult& result)> on_end;
};

/// Runs `jobs`, of which each `group` that stand together have the same prompt. Deadline and metrics are seen to here.
/// Errors: the first of any, after all have stopped; the engine's kResourceExhausted is ApiError 429; ApiError
/// 503 "cancelled" when stopped. REQUIRES: prompts
/// that fit (require_room).
std::vector<infer::GenerateResult> generate_all(const Context& context,
                                                std::vector<infer::GenerateRequest> jobs, size_t group,
                                                const GenerationEvents& events, const std::stop_token& stop);

/// The tokens that the context leaves for an answer. Error: ApiError 400 "context_length_exceeded" when it leaves none;
/// `param` and `what` ("the conversation") name the prompt.
size_t require_room(const infer::Engine& engine, size_t prompt_tokens, const std::string& param,
                    std::string_view what);

/// Room for `jobs` generations of one request, to be held while they run. Error: ApiError 429.
Slots::Hold take_slots(const Context& context, size_t jobs);

/// 429 with Retry-After: the engine's queue is full.
ApiError engine_is_full();

/// For requests that name none.
uint64_t fresh_seed();
/// The seed of choice `index` of a request: that of the first is the request's own.
uint64_t choice_seed(uint64_t seed, size_t index);

}  // namespace fathom::server
