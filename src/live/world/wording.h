// Words as people type them: articles, capitals, tidied spaces, and the slips and habits of casual writers.
//
// Pure functions; what is random comes from the generator passed in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"

namespace fathom::live::world {

/// "an hour", "a union", "an 8-1 win", "a 7-1 win".
std::string with_article(std::string_view text);

/// Upper-cases the first letter when it is ASCII; leaves addresses alone.
void capitalise(std::string& text);

/// One space between words, none before punctuation or at the ends, no full stop after '?' or '!'.
std::string tidy(std::string_view text);

/// The tags that stand in a text, without '#', each once, in order.
std::vector<std::string> find_tags(std::string_view text);
/// The http(s) addresses in a text, without the punctuation that follows them.
std::vector<std::string> find_links(std::string_view text);

/// Whether the text contains the words, ASCII case aside (no word boundaries).
bool contains_ignore_case(std::string_view text, std::string_view words);

/// How one writer types. Chances are in thousandths.
struct Habits {
  bool lower_case = false;  // never a capital
  bool no_full_stop = false;
  uint32_t slang = 0;
  uint32_t typo = 0;
  uint32_t emoji = 0;
  uint32_t shout = 0;  // '.' becomes '!'
};

/// Whole words and what a casual writer makes of them.
using Slang = std::vector<std::pair<std::string, std::string>>;

/// The text as this writer types it. Words that begin with '@' or '#', and addresses, stay as they are.
std::string apply_habits(std::string_view text, const Habits& habits, const Slang& slang,
                         const std::vector<std::string>& emoji, Random& random);

/// FNV-1a, 64 bits: for streams of random numbers that do not depend on each other, and for finding repeats.
uint64_t hash_text(std::string_view text);

}  // namespace fathom::live::world
