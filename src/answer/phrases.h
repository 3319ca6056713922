// What the assistant says itself, in the language of the question: one table for every remark and heading.
//
// Constants and pure functions. "{}" are fmt's; a remark claims nothing that a post would have to say.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "infer/engine.h"

namespace fathom::answer {

struct Phrases {
  std::string_view code;  // "en"
  std::string_view name;  // "English", for a model
  // Around quotations.
  std::string_view as_of;       // when, words, who
  std::string_view same;        // who, words
  std::string_view earlier;     // when, words, who
  std::string_view later;       // when, words, who
  std::string_view but;         // who, when, words
  std::string_view volume;      // posts, sources: behind a story
  std::string_view first_post;  // who, when, words
  std::string_view answers;     // who, when, words: what the post replies to
  std::string_view quotes;      // who, when, words: what it quotes
  std::string_view reply;       // who, when, words: what was answered
  // Remarks.
  std::string_view found_none;  // until when
  std::string_view searched;    // what for
  std::string_view no_posts, unsupported, hello, search_off, undisputed, nothing_else;
  // Headings.
  std::string_view post, author, thread, others, disputed, more, unsaid;
  // Of a deep answer, behind "SUBJECT: ".
  std::string_view who, how_many, why, next, when, where, disputes;
};

/// The phrases of a language ("de"); English for one that there are none in.
const Phrases& phrases_of(std::string_view code);
/// All, English first.
const std::vector<Phrases>& all_phrases();

/// The language of a question, by script and by its function words; nothing where that cannot be told.
std::optional<std::string_view> detect_language(std::string_view text);

/// The language of the last user message that shows one; English where none does.
const Phrases& phrases_for(const std::vector<infer::ChatMessage>& messages);

/// As written_time (compose.h) in English, and "2013-04-15, 14:32 UTC" in other languages.
std::string time_in(const Phrases& phrases, Time when, Time now);

/// Words that announce what is still to come, in all the languages; folded as Word::folded is.
bool announces(std::string_view folded);

template <class... Args>
std::string say(std::string_view phrase, const Args&... args) {
  return fmt::format(fmt::runtime(phrase), args...);
}

}  // namespace fathom::answer
