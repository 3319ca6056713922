// The extractive writer: the sentences of the posts that best answer, quoted with who wrote them and when.
//
// What a question asks for (a person, a time, a place, a number) decides which sentence is best; a figure that changes is
// taken from the newest post that can be trusted, and earlier or differing figures are named as such, each cited.
#pragma once

#include <string>
#include <vector>

#include "answer/compose.h"
#include "answer/passage.h"
#include "answer/phrases.h"
#include "answer/plan.h"
#include "answer/retrieve.h"

namespace fathom::answer {

enum class QuoteRole { kAnswer, kSame, kEarlier, kDiffers, kMore };

struct ChosenQuote {
  Quote quote;
  QuoteRole role = QuoteRole::kAnswer;
};

/// The quotes that make the answer, the answer itself first. Empty when no post passes the gate.
/// `fill`: what is said besides joins them, up to so many.
std::vector<ChosenQuote> choose_quotes(const Plan& plan, const Reading& reading, size_t fill = 0);

/// Orders what was read by how well it answers, the chosen posts first, and cuts it and `quotes` to `most` posts.
void arrange(const Plan& plan, size_t most, Reading& reading, std::vector<ChosenQuote>& quotes);

/// Writes them down. False when the reader has gone.
bool write_quotes(const std::vector<ChosenQuote>& quotes, const Plan& plan, const Reading& reading,
                  const Phrases& phrases, Composer& out);

/// Candidates for every passing post, the best first; what `choose_quotes` chooses from.
std::vector<Quote> rank_quotes(const Plan& plan, const Reading& reading);

}  // namespace fathom::answer
