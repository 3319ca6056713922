// Finding tokens that are written out in text: control tokens and those that a vocabulary calls user-defined.
//
// Immutable and thread-safe. Search takes O(n log m) for n bytes and m tokens, whatever the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocabulary.h"

namespace fathom::model {

struct SpecialToken {
  std::string text;
  int32_t id = 0;
  bool is_control = false;  // only trusted text may name it
  bool is_markup = false;   // <...> or [...]
};

class SpecialTokens {
 public:
  /// Tokens of more bytes than this are not looked for.
  static constexpr size_t kLongest = 256;

  /// `spell` gives a token's text as it stands in the texts that will be searched.
  template <class Spell>
  SpecialTokens(const Vocabulary& vocabulary, Spell spell) {
    for (size_t id = 0; id < vocabulary.size(); ++id)
      if (is_special(vocabulary.types[id])) add(spell(vocabulary.texts[id]), id, vocabulary.types[id]);
    sort();
  }

  /// The longest token that stands at `at` and that `permitted(token)` allows; null when there is none.
  template <class Permitted>
  const SpecialToken* match(std::string_view text, size_t at, Permitted permitted) const {
    const SpecialToken* best = nullptr;
    Range range = first_byte_[static_cast<uint8_t>(text[at])];
    for (size_t length = 1; range.begin < range.end; ++length) {
      const SpecialToken& shortest = tokens_[range.begin];  // a prefix sorts before what it begins
      if (shortest.text.size() == length && permitted(shortest)) best = &shortest;
      if (at + length >= text.size()) break;
      range = narrowed(range, length, text[at + length]);
    }
    return best;
  }

  bool may_begin(char first) const {
    const Range range = first_byte_[static_cast<uint8_t>(first)];
    return range.begin < range.end;
  }

 private:
  struct Range {
    size_t begin = 0, end = 0;
  };

  static bool is_special(TokenType type) {
    return type == TokenType::kControl || type == TokenType::kUnknown || type == TokenType::kUserDefined;
  }
  void add(std::string text, size_t id, TokenType type);
  void sort();

  /// The tokens of `range`, which share `length` bytes, that have `next` as the byte after.
  Range narrowed(Range range, size_t length, char next) const;

  std::vector<SpecialToken> tokens_;  // sorted by text, none twice
  Range first_byte_[256];
};

}  // namespace fathom::model
