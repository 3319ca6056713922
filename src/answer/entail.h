// Entailment by the model: a sentence that passed the lexical check (check.h) is shown to the model with the post it would
// cite, and dropped when the model says that the post does not say so. It sees what words alone do not (irony, conditions,
// whose words they are); it never lets through what the check refused.
//
// Post and sentence are data of the user's turn on one line each; all that is read of the reply is whether it begins with
// yes or no. One answer, one thread; the engine may be shared.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "answer/evidence.h"
#include "answer/task.h"

namespace fathom::answer {

/// Models of fewer parameters refuse more true sentences than false ones.
inline constexpr uint64_t kJudgingModel = 1'500'000'000;

bool can_judge(const infer::Engine& engine);

/// False where the model says no. What is no answer, and time that is over, leaves the check's word: true. Adds token counts
/// to the task's answer. Errors: those of the engine that are its own (kIo, kCorrupt, kInternal).
bool model_agrees(const Task& task, std::string_view sentence, const Evidence& post, Span passage);

/// The messages; public for tests. The first is always the same, so that the engine's cache serves it.
std::vector<infer::ChatMessage> entailment_prompt(std::string_view sentence, const live::Post& post,
                                                  Span passage);

}  // namespace fathom::answer
