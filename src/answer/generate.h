// The generating writer: the model writes from a few numbered posts, and each sentence is checked before anybody sees it.
//
// The prompt begins with a part that never changes, so that the engine's prefix cache serves it; posts are data in the
// user's turn, on one line each, and cannot form a mark or a control token. Sentences stream as they pass.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "answer/assistant.h"
#include "answer/compose.h"
#include "answer/extract.h"
#include "answer/plan.h"
#include "answer/retrieve.h"

namespace fathom::answer {

/// Writes what survives the check into `out`; adds token counts, finish and dropped sentences to `answer`. Returns the
/// number of sentences that survived. `quotes` (choose_quotes, not empty) says what the answer is about and which figure
/// holds. Errors: those of the engine; kResourceExhausted when the question alone does not fit.
size_t write_generated(infer::Engine& engine, const Request& request, const Plan& plan,
                       const Reading& reading, const std::vector<ChosenQuote>& quotes, Answer& answer,
                       Composer& out, const std::stop_token& stop);

/// Talks without posts: nothing is cited. For small talk and for searches turned off.
void write_chat(infer::Engine& engine, const Request& request, Answer& answer, const Events& events,
                const std::stop_token& stop);

/// The messages of the prompt; public for tests.
std::vector<infer::ChatMessage> grounded_prompt(const Plan& plan, const std::vector<const Evidence*>& posts,
                                                Time now);

}  // namespace fathom::answer
