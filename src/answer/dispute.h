// Who says otherwise: posts that state another figure for the same thing, or take back or deny what a sentence says.
//
// Pure functions.
#pragma once

#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "answer/evidence.h"

namespace fathom::answer {

struct Dispute {
  size_t index = 0;     // into the evidence
  Span passage;         // in its post's text
  bool figure = false;  // another figure for the same thing; else a denial or correction
};

/// Of `among` (indices into `evidence`), the newest post that says otherwise than `passage` of `post`; a denial before a
/// figure. Only posts that can be trusted, and none that says the same in passing.
std::optional<Dispute> find_dispute(const std::vector<Evidence>& evidence, const std::vector<size_t>& among,
                                    const Evidence& post, Span passage);

/// What a number in the passage counts: the first content word behind it; null when there is none.
const Word* counted(const Evidence& evidence, const Fact& fact, Span passage);

/// Content stems of a passage but for numbers and the shortest words; views into the evidence.
std::unordered_set<std::string_view> stems_in(const Evidence& evidence, Span passage);

/// Common stems as a share of the smaller set; 0 for fewer than two.
double alike(const std::unordered_set<std::string_view>& a, const std::unordered_set<std::string_view>& b);

/// Share of words from which two sentences state the same thing.
inline constexpr double kSameStatement = 0.6;

}  // namespace fathom::answer
