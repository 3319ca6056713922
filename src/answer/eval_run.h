// Asks one question in one of the ways that are compared, and gives the answer in the form in which it is judged.
//
// Store, assistant and engine are the caller's. Thread safety: as Assistant::answer.
#pragma once

#include <string>
#include <string_view>

#include "answer/assistant.h"
#include "answer/eval_judge.h"

namespace fathom::answer {

enum class EvalWriter {
  kExtract,   // quotations
  kGenerate,  // the model, checked; quotations where nothing survives
  kAuto,      // the same without a remark
  kModel,     // the model's own words and marks from `cited_prompt`, unchecked
};

/// "extract", "generate", "auto" or "model". Errors: kInvalidArgument.
EvalWriter parse_eval_writer(std::string_view text);

/// What one question is asked of. `engine` may be null for kExtract only.
struct EvalSubject {
  const live::Store& store;
  const Assistant& assistant;
  infer::Engine* engine = nullptr;
};

/// Errors: those of Assistant::answer and Engine::generate.
JudgedAnswer answer_for_eval(const EvalSubject& subject, EvalWriter writer, const std::string& question);

/// The text of a model with its marks: what stands between two marks is the claim of the later one. A number without a post
/// is passed over. For tests too.
JudgedAnswer read_marks(const std::string& text, const std::vector<live::Post>& posts);

}  // namespace fathom::answer
