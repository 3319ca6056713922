#include "answer/burst.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_set>

namespace fathom::answer {
namespace {

constexpr std::chrono::hours kNear{12};
constexpr size_t kFewest = 3;  // authors who share a word

bool counts(const Word& word) {
  return is_content(word) && (word.kind == WordKind::kWord || word.kind == WordKind::kHashtag) &&
         word.folded.size() >= 3;
}

double heard(const live::Post& post) {
  const auto count = [](const std::optional<int64_t>& n) {
    return static_cast<double>(std::max<int64_t>(n.value_or(0), 0));
  };
  const double total =
      count(post.metrics.likes) + 2 * count(post.metrics.reposts) + 0.01 * count(post.author.followers);
  return std::min(std::log10(1 + total) / 5, 1.0);
}

}  // namespace

Burst::Burst(const Plan& plan, const Reading& reading) : plan_(plan) {
  std::set<std::pair<std::string, std::string>> seen;  // stem and author
  for (const Evidence& evidence : reading.evidence) {
    if (!reading.relevance->passes(evidence)) continue;
    times_.push_back(evidence.post.created_at);
    const std::string& author =
        evidence.handle.empty() || evidence.handle == "unknown" ? evidence.post.id : evidence.handle;
    for (const Word& word : evidence.words) {
      const bool asked =
          std::ranges::any_of(plan_.terms, [&](const Term& term) { return term.word.stem == word.stem; });
      if (counts(word) && !asked && seen.emplace(word.stem, author).second) ++authors_[word.stem];
    }
  }
  std::ranges::sort(times_);
  double most = 0;
  for (const Evidence& evidence : reading.evidence) {
    if (reading.relevance->passes(evidence)) most = std::max(most, shared_words(evidence));
  }
  if (most > 0) most_ = most;
}

double Burst::shared_words(const Evidence& evidence) const {
  std::unordered_set<std::string_view> seen;
  double sum = 0;
  size_t words = 0;
  for (const Word& word : evidence.words) {
    if (!counts(word) || !seen.insert(word.stem).second) continue;
    ++words;
    const auto found = authors_.find(word.stem);
    if (found == authors_.end() || found->second < kFewest) continue;
    sum += std::log2(static_cast<double>(found->second) / kFewest * 2);
  }
  return words == 0 ? 0 : sum / std::sqrt(static_cast<double>(words) + 2);
}

double Burst::company(Time when) const {
  if (times_.size() < 2) return 0;
  const auto begin = std::ranges::lower_bound(times_, when - kNear);
  const auto end = std::ranges::upper_bound(times_, when + kNear);
  return static_cast<double>(end - begin) / static_cast<double>(times_.size());
}

double Burst::share(const Evidence& evidence) const {
  return 0.55 * shared_words(evidence) / most_ + 0.3 * company(evidence.post.created_at) +
         0.15 * heard(evidence.post);
}

}  // namespace fathom::answer
