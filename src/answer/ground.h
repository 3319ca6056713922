// One question answered from the posts: searched, read, written by a model or quoted, checked. Every mode that answers
// questions does it here.
//
// One answer, one thread.
#pragma once

#include <string>
#include <vector>

#include "answer/extract.h"
#include "answer/plan.h"
#include "answer/retrieve.h"
#include "answer/task.h"

namespace fathom::answer {

/// What was read for a question, the best first, and the quotes that answer it.
struct Findings {
  Reading reading;
  std::vector<ChosenQuote> quotes;
  bool refused = false;  // a model that cites said that the posts do not hold the answer
};

/// Searches and chooses; steps and posts are told and kept in the task's answer. `question`: Step::question. The plan outlives
/// the findings.
Findings find_answer(const Task& task, const Plan& plan, const std::string& question = {});

/// Writes down what was found, by the model where it may; whether anything was said.
bool write_answer(const Task& task, const Plan& plan, Findings& findings);

/// Adds the posts that the answer has not yet to those that it read, and tells of them.
void report_read(const Task& task, const std::vector<Evidence>& evidence);

/// Tells of each step with the question that it is for. The task outlives it.
StepSink step_sink(const Task& task, const std::string& question);

/// The remark that nothing answers, and what was searched for.
void say_nothing_found(const Task& task);

}  // namespace fathom::answer
