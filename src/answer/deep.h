// A deep answer: the question, and then further ones that it raises, each searched and answered as any question is, told as
// a report with sections.
//
// Questions come from rules: what is usual to ask (who, how many, why, what next, who disputes it, when, where) about the
// subject, what was counted in the posts that were read, and the names found in them; a model may propose more, and those that
// keep to the subject are taken. It ends when the budget of questions or time is used, or when nothing new is found. Without
// a model the same feed gives the same report.
//
// One answer, one thread.
#pragma once

#include "answer/plan.h"
#include "answer/task.h"

namespace fathom::answer {

inline constexpr size_t kMostRounds = 12;  // questions, the first one included

void go_deep(const Task& task, const Plan& plan);

}  // namespace fathom::answer
