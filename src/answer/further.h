// The questions that a deep answer raises: usual ones about the subject, what was counted, names that were found, and what a
// model proposes.
//
// Pure but for `proposed`, which asks the model.
#pragma once

#include <string>
#include <vector>

#include "answer/ground.h"
#include "answer/plan.h"
#include "answer/task.h"

namespace fathom::answer {

struct Question {
  enum class Kind {
    kAsked,    // answered as any question is
    kNext,     // what is announced
    kDispute,  // who says otherwise
    kName,     // what is said of somebody or something in this matter
  };
  Kind kind = Kind::kAsked;
  std::string text;  // as it is shown
  Plan plan;
};

/// What the question is about, as it was written: "ferry Aurora".
std::string subject_of(const Plan& plan);

/// Questions by rules, the most telling first, from what was read for the first one.
std::vector<Question> further_questions(const Task& task, const Plan& plan, const Reading& reading);

/// Questions that the model proposes about what was read, at most `most`: those that keep to the subject and have no name or
/// number that no post has. None without a model that is big enough. Errors: those of the engine, but for time that is over.
std::vector<Question> proposed_questions(const Task& task, const Plan& plan, const Reading& reading,
                                         size_t most);

}  // namespace fathom::answer
