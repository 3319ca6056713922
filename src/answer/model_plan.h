// Planning by the model: it is shown what the rules' searches found and may call the tools of tools.h, a few times, for what
// is missing. What it finds joins the reading; nothing that the rules found is left out for it.
//
// The calls are the model's own format of its chat template (infer/tool_calls.h), held by a grammar, and read as hostile
// text. Nothing is said here: what the model writes besides calls is dropped.
//
// One answer, one thread; the engine may be shared.
#pragma once

#include <functional>
#include <stop_token>
#include <string_view>

#include "answer/assistant.h"
#include "answer/retrieve.h"
#include "answer/tools.h"

namespace fathom::answer {

inline constexpr size_t kMostCalls = 5;  // of tools, an answer

/// Models of fewer parameters plan worse than the rules do.
inline constexpr uint64_t kPlanningModel = 1'500'000'000;

/// Whether the model plans: asked to (kModel), or left open (kAuto) where it is big enough and its chat template knows
/// tools. Never with the writer kExtract, which promises to need no model.
bool model_plans(const infer::Engine* engine, const Request& request);

/// Lets the model search. Adds posts and steps to `reading` and token counts to `answer`. A call that cannot be read, none at
/// all, time that is over, a template that takes no tools after all: the reading stays as it is. Errors: those of the
/// engine that are its own (kIo, kCorrupt, kInternal).
void search_with_model(infer::Engine& engine, const Request& request, std::string_view question,
                       const Tools& tools, const StepSink& on_step, Reading& reading, Answer& answer,
                       const std::stop_token& stop);

}  // namespace fathom::answer
