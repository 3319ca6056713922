// The generating writer: the model writes from a few numbered posts, and each sentence is checked before anybody sees it.
//
// The prompt begins with a part that never changes, so that the engine's prefix cache serves it; posts are data in the
// user's turn, on one line each, and cannot form a mark or a control token. Sentences stream as they pass.
//
// A model that was trained for it (ModelInfo::cites, recipes/grounded) gets a prompt of its own: more posts, each with who
// wrote it and when; it writes the marks itself, and says when the posts do not hold the answer.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "answer/compose.h"
#include "answer/extract.h"
#include "answer/plan.h"
#include "answer/retrieve.h"
#include "answer/task.h"

namespace fathom::answer {

/// What became of a generated answer.
struct Written {
  size_t sentences = 0;  // that survived the check
  bool refused = false;  // the model said that the posts do not hold the answer (only one that cites does)
};

/// Writes what survives the check; adds token counts, finish and dropped sentences to the task's answer. `quotes`
/// (choose_quotes; empty only for a model that cites) says what the answer is about and which figure holds. Errors: those
/// of the engine; kResourceExhausted when the question alone does not fit.
Written write_generated(const Task& task, const Plan& plan, const Reading& reading,
                        const std::vector<ChosenQuote>& quotes);

/// Talks without posts: nothing is cited. For small talk and for searches turned off.
void write_chat(const Task& task);

/// Adds what a generation took to the answer.
void count_tokens(const infer::GenerateResult& result, Answer& answer);

/// The messages of the prompt; public for tests. `style`: its words join the part that never changes. `language`: English
/// name of the one to write in; empty: as it comes.
std::vector<infer::ChatMessage> grounded_prompt(const Plan& plan, const std::vector<const Evidence*>& posts,
                                                Time now, std::string_view style = {},
                                                std::string_view language = {});

/// What a model that cites says when the posts do not hold the answer.
inline constexpr std::string_view kNoAnswer = "The posts do not say.";

/// The posts that a model that cites is shown, best first, at most kCitedPosts: what the extractive writer would quote,
/// figures of before left out, then what was found besides.
inline constexpr size_t kCitedPosts = 4;
std::vector<const Evidence*> cited_posts(const Reading& reading, const std::vector<ChosenQuote>& quotes);

/// The messages for a model that cites: what recipes/grounded trains on, byte for byte.
std::vector<infer::ChatMessage> cited_prompt(std::string_view question,
                                             const std::vector<const live::Post*>& posts, Time now);

}  // namespace fathom::answer
