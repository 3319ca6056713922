// Words as the check reads them: small closed classes, and the words and numbers that a claim rests on.
//
// Pure functions; thread-safe.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "answer/facts.h"
#include "answer/words.h"

namespace fathom::answer {

bool one_of(std::string_view word, std::initializer_list<std::string_view> list);

/// The same word, or two of one group that say the same: stricter than `related`, which helps to find.
bool says_the_same(const Word& a, const Word& b);

/// Two that say opposite things: up and down, before and after, won and lost.
bool opposes(std::string_view a, std::string_view b);

bool is_be(std::string_view folded);  // is, was, been, has ...
bool is_loose_preposition(std::string_view folded);
bool is_joiner(std::string_view folded);  // and, but, that ...
bool is_verb(const Word& word);           // of those that are known, or in -ed

/// A word or number that the claim rests on.
struct Token {
  size_t word = 0, last = 0;      // its words
  std::vector<std::string> keys;  // of a number; empty for a word
  bool number() const { return !keys.empty(); }
};

/// Those of the part `span` of a text.
std::vector<Token> tokens_of(const std::vector<Word>& words, const std::vector<Fact>& facts, Span span);

/// The preposition that the word at `at` stands behind, articles and the words of its own name aside; else empty.
std::string_view preposition(const std::vector<Word>& words, size_t at);

}  // namespace fathom::answer
