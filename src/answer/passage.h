// The best passage of one post for one question: how well it covers the question, and whether it has the kind of thing
// that is asked for: a number of the right unit near what is counted, a time, a place, a name, a cause, a result.
//
// Pure functions; offsets are bytes into Evidence::post.text.
#pragma once

#include <optional>
#include <string>

#include "answer/evidence.h"
#include "answer/plan.h"
#include "answer/relevance.h"

namespace fathom::answer {

struct Quote {
  size_t index = 0;  // into Reading::evidence
  Span passage;      // cleaned: no "RT @x:", no trailing addresses
  double score = 0;
  std::string value;  // the number that answers (its key), for questions that ask for one
  bool answers =
      false;  // it has the kind of thing that is asked for: a name, a place, a cause, a time, a number
};

inline bool asks_number(Ask ask) { return ask == Ask::kHowMany || ask == Ask::kHowMuch; }

/// A year in the passage that is not the post's own: it looks back.
bool tells_of_other_year(const Evidence& evidence, Span passage);

/// A sentence, or a few in a row, with its score; nothing when none has a share of the question. `index` is left 0.
std::optional<Quote> best_passage(const Plan& plan, const Relevance& relevance, const Evidence& evidence);

}  // namespace fathom::answer
