// The part of the check that reads names: does each have the part in the post's sentence that it has in the claim?
//
// Told by order and prepositions alone, whatever the verb: whoever comes first did it, but for passives with "by", which are
// turned round first; a name behind a preposition is neither subject nor object; a name that the claim leaves out must
// not stand between two words that the claim joins. Errs towards "no". Pure; thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "answer/check_words.h"

namespace fathom::answer {

/// A claim and one sentence of a post, word for word.
struct NamesView {
  std::string_view claim, post;
  const std::vector<Word>& claim_words;
  const std::vector<Word>& post_words;  // of the whole post
  const std::vector<Token>& claim_tokens;
  const std::vector<Token>& post_tokens;           // of the sentence
  const std::vector<std::vector<size_t>>& places;  // of each token of the claim, in post_tokens
};

bool names_in_place(const NamesView& view);

}  // namespace fathom::answer
