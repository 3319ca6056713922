// Near-duplicates: the same statement posted again with a prefix, a suffix, other tags, links or names of people.
//
// Two steps. A sketch (MinHash, Broder 1997: eight bytes, each the minimum of the words' hashes under one permutation) is
// kept with each post and finds pairs that may be alike; then the words are compared. The comparison is strict, because a
// correction differs from its rumour by one word: every word of the shorter text, in nearly the same order, must stand in
// the longer one, figures must not differ, and what the longer one adds must not turn the sense ("not", "false", ...).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "live/analysis.h"

namespace fathom::live {

/// 0 for a text without words.
uint64_t sketch(const TokenList& tokens);

/// How many of the eight bytes agree; 0 when a sketch is 0.
size_t sketch_agreement(uint64_t a, uint64_t b);
inline constexpr size_t kAlikeAgreement = 3;

/// The words of a text as the comparison sees them: without addresses, mentions and "RT".
class Statement {
 public:
  explicit Statement(std::string_view text);
  bool same_as(const Statement& other) const;

 private:
  std::vector<uint64_t> words_;    // sorted, distinct
  std::vector<uint64_t> pairs_;    // sorted, distinct: neighbours, in order
  std::vector<uint64_t> numbers_;  // sorted, distinct
  std::vector<uint64_t> turning_;  // sorted, distinct: words that turn the sense
  uint64_t last_ = 0;              // the last word, if the text ends in an ellipsis: it may be cut
};

/// "RT @name: ..." as archives write reposts.
bool is_repost_text(std::string_view text);

}  // namespace fathom::live
