// Text as a vocabulary's pieces spell it, before it is cut into pieces.
//
// Immutable and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::model {

/// SentencePiece's precompiled map of character sequences (normalizer.cc): u32 size of the trie in bytes, the trie as a
/// darts-clone double array of u32, the replacements as strings that end in NUL.
class CharsMap {
 public:
  CharsMap() = default;
  /// Errors: kCorrupt.
  explicit CharsMap(std::string_view bytes);

  bool empty() const { return units_.empty(); }

  struct Match {
    size_t size = 0;  // bytes of the text; 0: none
    std::string_view replacement;
  };
  /// The longest sequence that the text begins with at `at`.
  Match longest(std::string_view text, size_t at) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

/// SentencePiece's normalizer (Kudo and Richardson, 2018; normalizer.cc): the map is applied, spaces become U+2581, extra
/// ones may go, one may be put before the text.
class SpaceNormalizer {
 public:
  struct Options {
    bool add_prefix = false;
    bool remove_extra = false;  // spaces at both ends and all but one of a run
    bool any_space = false;     // every white space counts as a space
  };
  SpaceNormalizer(Options options, CharsMap map) : options_(options), map_(std::move(map)) {}

  /// Whether all it does is spell spaces and put one before the text.
  bool is_plain() const { return map_.empty() && !options_.remove_extra && !options_.any_space; }

  /// One text, given in stretches: tokens that stand for themselves lie between them.
  struct State {
    bool begun = false;       // something of the text has been written
    bool after_space = true;  // the last thing written was a space (or nothing has been)
  };
  /// Appends the form of a stretch. A byte that is of no character becomes U+FFFD, which the map does not see.
  void append(std::string_view text, State& state, std::string& out) const;
  /// What precedes a token that stands for itself: the prefix, where it is the first of its text.
  void append_before_token(State& state, std::string& out) const;
  /// Removes what may not end a text.
  void finish(std::string& out) const;

 private:
  void begin(State& state, std::string& out) const;

  Options options_;
  CharsMap map_;
};

/// Normalisation Form C (Unicode Standard Annex 15). REQUIRES: valid UTF-8.
std::string to_nfc(std::string_view text);

/// Ill-formed UTF-8 as SentencePiece reads it: each byte that is of no character becomes U+FFFD.
std::string replace_bad_bytes(std::string_view text);

}  // namespace fathom::model
