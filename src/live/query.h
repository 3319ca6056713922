// What a query's text asks for, parsed and analysed. Never fails on any bytes except with an Error that names the part.
//
//   word            scores; one of them must occur (all with Query::require_all). Stop words count only if there is no other
//   "a phrase"      must occur, in this order and adjacent
//   +word           must occur            +#tag +@name +$TICKER too
//   -word -"a b"    must not occur        -#tag -@name -$TICKER -domain.com too
//   #tag @name $TICKER domain.com   score as words do, as terms of their own
//   from:name       by this author (several: any of them); -from:name: not by
//   to:name         opens by addressing this name
//   since:2026-01-31 until:2026-02-01T12:00:00Z     since <= created_at < until
//   lang:en source:hackernews                       several: any of them
//   min_likes:100 min_views:100 has:link is:reply is:repost     -has: -is: without
// A quotation mark that is never closed quotes to the end. Other words with a colon are plain text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/store.h"

namespace fathom::live {

inline constexpr size_t kMaxQueryBytes = 16 * 1024;
inline constexpr size_t kMaxQueryTerms = 64;  // scored ones; further plain words are left out

/// Terms at their places relative to the first.
struct Phrase {
  std::vector<std::pair<uint32_t, std::string>> terms;
};

struct ParsedQuery {
  std::vector<std::string> scored;  // distinct terms that earn a score, in order of appearance
  std::vector<std::pair<std::string, double>>
      expansion;                                 // further terms that score, with weights: expansion.h
  std::vector<std::string> required;             // each must occur
  std::vector<std::vector<std::string>> any_of;  // of each list one must occur
  std::vector<std::string> excluded;
  std::vector<Phrase> phrases, excluded_phrases;  // their terms are in `required` / not in `excluded`
  std::vector<std::string> sources, langs;        // any of; lower case
  std::optional<Time> since, until;
  std::optional<int64_t> min_likes, min_views;
  std::optional<bool> has_link, is_reply, is_repost;
  bool one_must_match = false;  // nothing is required, so one of the scored terms must occur
  bool never = false;           // contradicts itself: since not before until
};

/// Joins the operators in the text with the query's own fields. Errors: kInvalidArgument.
ParsedQuery parse_query(const Query& query);

/// Whether a phrase occurs in a text.
class PhraseMatcher {
 public:
  explicit PhraseMatcher(std::string_view text);
  bool has(const Phrase& phrase) const;

 private:
  std::vector<std::pair<std::string_view, uint32_t>>
      terms_;  // sorted; views into the calling thread's buffer
};

}  // namespace fathom::live
