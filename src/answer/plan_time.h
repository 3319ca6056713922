// Expressions of time in a question, resolved against the feed's clock.
#pragma once

#include <string_view>
#include <vector>

#include "answer/plan.h"
#include "answer/words.h"

namespace fathom::answer {

struct TimeExpression {
  Window window;
  std::vector<bool> used;  // for each word: it belongs to the expression
};

/// All of "today", "yesterday", "this morning", "last night", "in the last 2 hours", "3 days ago", "since Monday",
/// "on 15 April 2013", "in May 2016", "in 2015", "before", "after". Later expressions narrow earlier ones.
TimeExpression find_time(std::string_view text, const std::vector<Word>& words, Time now);

}  // namespace fathom::answer
