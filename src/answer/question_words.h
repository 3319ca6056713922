// Questions in other languages than English, read for planning: their function words become English ones, so that one planner
// serves all; what the question is about stays as it was written, for that is what posts say.
//
// Covered: German, French, Spanish, Italian, Portuguese, and Japanese by its question words. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answer/words.h"

namespace fathom::answer {

/// A question's words, and beside each the English word that the planner's rules read ("people" for "Menschen").
struct PlannedWords {
  std::string_view lang = "en";
  std::vector<Word> words;
  std::vector<std::string> english;
};

PlannedWords read_question_words(std::string_view question);

/// "how many", "when" ... of a question in Japanese, as the English question word; empty where it asks for none of them.
std::string_view japanese_question_word(std::string_view question);

/// One character of hiragana, or the "what" or "who" of a question: grammar, not matter.
bool is_kana_particle(const Word& word);

}  // namespace fathom::answer
