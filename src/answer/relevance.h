// How well a post meets a question: the weights of its terms and the gate that a cited post must pass.
//
// A term weighs what it tells apart (inverse document frequency in the feed). The gate is what makes the assistant refuse:
// a post may be cited only if it has every name that the question gives and most of the question's weight.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "answer/evidence.h"
#include "answer/plan.h"

namespace fathom::answer {

/// Share of the question's weight that a post must have to be cited.
inline constexpr double kMinMatch = 0.6;
/// The same where the question has names, all of which the post must have besides.
inline constexpr double kMinMatchNamed = 0.5;
/// The same for a yes or no from the one in question.
inline constexpr double kMinMatchPrimary = 0.3;

class Relevance {
 public:
  /// `frequencies`: analysed term -> posts that have it, of `posts` in all (live::SearchResult::terms). The plan outlives it.
  Relevance(const Plan& plan, const std::vector<std::pair<std::string, size_t>>& frequencies, size_t posts);

  /// 0..1, one for each term of the plan: 1 the word itself, less for a related one.
  double match(size_t term, const Evidence& evidence) const;
  /// The same within a part of the text.
  double match(size_t term, const Evidence& evidence, Span part) const;

  double weight(size_t term) const { return weights_[term]; }
  /// Weighted share of the terms that the post, or a part of its text, has; 1 for a question without terms.
  double coverage(const Evidence& evidence) const;
  double coverage(const Evidence& evidence, Span part) const;

  /// Posted by whom the question is about: "will Brellin ...", answered by @BrellinFoods.
  bool primary(const Evidence& evidence) const;

  /// Names all there, and enough of the rest; less of it where the one in question answers yes or no.
  bool passes(const Evidence& evidence) const;

  /// For a question that nothing answers: about its names, and it says that what the question takes for granted is not so.
  bool denies_premise(const Evidence& evidence) const;

  /// Indices of the plan's terms, the most telling first.
  std::vector<size_t> rarest() const;

 private:
  /// `spare`: so many names may lack, but not all.
  bool has_names(const Evidence& evidence, size_t spare = 0) const;
  bool named() const;
  bool spoken_by_asked(const Evidence& evidence) const;
  bool speaks_for_itself(const Evidence& evidence) const;
  bool has_phrase(const Evidence& evidence) const;
  bool has_most(const Evidence& evidence) const;
  bool in_window(const Evidence& evidence) const;

  const Plan& plan_;
  std::vector<double> weights_;
  double total_ = 0;
};

}  // namespace fathom::answer
