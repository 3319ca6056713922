// Words and sentences of a post or a question, with their places: what planning, choosing and checking have in common.
//
// Pure functions on UTF-8; ill-formed bytes separate words. Offsets are bytes into the text that was given, half-open.
// Invariant: spans lie on character boundaries of well-formed text, in rising order, and do not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::answer {

struct Span {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
  bool operator==(const Span&) const = default;
};

inline std::string_view slice(std::string_view text, Span span) {
  return text.substr(span.begin, span.end - span.begin);
}

enum class WordKind { kWord, kNumber, kHandle, kHashtag, kTicker, kUrl };

struct Word {
  WordKind kind = WordKind::kWord;
  Span span;           // with '@', '#' or '$'
  std::string folded;  // lower case, without sigil, possessive 's and accents
  std::string
      stem;  // Snowball's English stem of `folded`; the same as `folded` for all but kWord and kHashtag
  uint64_t groups = 0;    // the groups of related words that it belongs to, one a bit
  bool capital = false;   // begins with an upper-case letter
  bool all_caps = false;  // two letters or more, none of them lower-case
  bool opens = false;     // the first word of a sentence or of a quotation
  bool phrased = false;   // tells of a phrase that stands for one of the groups: "called off", "stepped down"

  bool has_digit() const;
};

std::vector<Word> split_words(std::string_view text);

/// Sentences without their surrounding white space. A line break ends one; so does a "[12]" mark, which belongs to none.
std::vector<Span> split_sentences(std::string_view text);

/// `span` without what is not prose at its ends: "RT @x:", leading mentions, trailing addresses, hashtags and cut-off
/// words ("... htt..."). Empty when nothing is left.
Span clean_span(std::string_view text, Span span);

/// Articles, pronouns, prepositions, auxiliaries: words that say nothing about the subject. `folded` as in Word.
bool is_stop_word(std::string_view folded);

/// Characters that are not seen and can change how others look or are read: zero-width spaces, marks and overrides of
/// direction, tags, line and paragraph separators, controls other than white space. Joiners, which scripts and emoji need, are
/// not among them.
bool is_invisible(char32_t c);

/// not, no, never, n't, without, denied, false ...
bool is_negation(std::string_view folded);

/// A word that the subject of a text could hang on: no stop word, no address, no single letter.
bool is_content(const Word& word);

/// Begins with a capital and is not merely the first word of a sentence in capital, or is a handle or ticker.
bool is_name(const Word& word);

/// The same word, or two that stand for one another in news (killed, dead, died).
bool related(const Word& a, const Word& b);

/// The words of the group of `word`, to search for, without itself; empty for most.
std::vector<std::string_view> related_words(const Word& word);

/// Snowball's English stem. Thread-safe.
std::string stem_word(std::string_view folded);

}  // namespace fathom::answer
