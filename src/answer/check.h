// The check: does a post say what a sentence says?
//
// Lexical, without a model, a few microseconds a sentence. It errs towards "no": a sentence passes only if
//  (1) every number, amount, percentage, date and time in it is in the post (in any spelling; the post's own date counts),
//      and the words that belong to a number in the sentence belong to the same number in the post,
//  (2) every name, handle, ticker and address in it is in the post or names its author,
//  (3) every quotation in it stands in the post letter for letter (white space aside),
//  (4) most of its other content words are in the post (stemmed; related words count somewhat less),
//  (5) the passage denies where the sentence denies, and does not where it does not,
//  (6) who beat, bought or sued whom stands in the same order,
//  (7) one sentence of the post says it in the same roles and with the same certainty (check_roles.h).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "answer/evidence.h"

namespace fathom::answer {

/// Share of a sentence's content words, by weight, that the post must have.
inline constexpr double kMinCoverage = 0.75;

struct Support {
  bool supported = false;
  double score = 0;         // coverage, 0..1; 0 where a rule other than (4) fails
  Span passage;             // in post.text: the run of sentences that supports it
  std::string_view reason;  // why not; a literal
};

/// `sentence` may hold "[n]" marks; they are passed over.
Support check_support(std::string_view sentence, const Evidence& evidence);

struct Attribution {
  size_t index = 0;  // into the evidence
  Support support;
};

/// The post that supports the sentence best; the earlier one on a tie. Empty when none does.
std::optional<Attribution> attribute(std::string_view sentence, std::span<const Evidence> evidence);

/// The numbers in "[3]" and "[1, 2]" marks, in order, and the sentence without them.
struct Marks {
  std::vector<size_t> numbers;
  std::string text;
};
Marks strip_marks(std::string_view sentence);

}  // namespace fathom::answer
