#include "live/expansion.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "live/analysis.h"
#include "live/duplicates.h"

namespace fathom::live {
namespace {

constexpr double kCommonShare = 0.1;  // of all posts
constexpr size_t kCopyAgreement = 6;  // of the eight bytes of a sketch
constexpr size_t kLooked =
    4 * kFeedbackPosts;  // candidates, so that enough are left without reposts and copies

struct Feedback {
  std::string text;
  double score = 0;
};

/// Calls `use` with the segment that holds a candidate.
template <class Use>
auto with_segment(const Collection& collection, const Candidate& candidate, Use&& use) {
  return std::visit([&](const auto* segment) { return use(*segment); },
                    collection.members[candidate.segment]);
}

/// The best posts, each statement once.
std::vector<Feedback> feedback_posts(const Collection& collection, const std::vector<Candidate>& best) {
  std::vector<Feedback> posts;
  std::vector<uint64_t> sketches;
  for (const Candidate& candidate : best) {
    if (posts.size() == kFeedbackPosts) break;
    with_segment(collection, candidate, [&](const auto& segment) {
      if ((segment.facts(candidate.document).flags & DocumentFacts::kRepost) != 0) return;
      const uint64_t sketch = segment.sketch(candidate.document);
      const auto copy = [&](uint64_t other) { return sketch_agreement(sketch, other) >= kCopyAgreement; };
      if (std::any_of(sketches.begin(), sketches.end(), copy)) return;
      sketches.push_back(sketch);
      posts.push_back({segment.text(candidate.document), candidate.text_score});
    });
  }
  return posts;
}

bool may_expand(const Token& token, std::string_view term) {
  const bool kind = token.kind != TermKind::kMention && token.kind != TermKind::kDomain;
  return kind && !token.stop && !token.extra && term.size() > 1;
}

/// P(w) of every word of the posts.
std::map<std::string, double> relevance_model(const std::vector<Feedback>& posts) {
  const double total = std::accumulate(posts.begin(), posts.end(), 0.0,
                                       [](double sum, const auto& p) { return sum + p.score; });
  std::map<std::string, double> model;
  TokenList tokens;
  for (const Feedback& post : posts) {
    analyze(post.text, tokens);
    const double share = post.score / total / std::max(1u, tokens.words);
    for (const Token& token : tokens.tokens)
      if (may_expand(token, tokens.term(token))) model[std::string(tokens.term(token))] += share;
  }
  return model;
}

bool common(const Collection& collection, const std::string& name) {
  uint64_t count = 0;
  for (const auto& member : collection.members)
    std::visit(
        [&](const auto* segment) {
          if (const auto term = segment->term(name); term) count += term.count();
        },
        member);
  return static_cast<double>(count) > kCommonShare * collection.posts;
}

/// The likeliest words, scaled to a sum of 1.
std::vector<std::pair<std::string, double>> likeliest(const Collection& collection,
                                                      std::map<std::string, double> model) {
  std::vector<std::pair<std::string, double>> terms(model.begin(), model.end());
  std::stable_sort(terms.begin(), terms.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::pair<std::string, double>> kept;
  for (auto& term : terms) {
    if (kept.size() == kFeedbackTerms) break;
    if (!common(collection, term.first)) kept.push_back(std::move(term));
  }
  double sum = 0;
  for (const auto& [term, weight] : kept) sum += weight;
  for (auto& [term, weight] : kept) weight /= sum;
  return kept;
}

}  // namespace

void expand(ParsedQuery& parsed, const Collection& collection, const Query& query, Time feed_time) {
  if (parsed.scored.empty()) return;
  const std::vector<Feedback> posts =
      feedback_posts(collection, rank(collection, parsed, query, feed_time, kLooked).best);
  if (posts.empty()) return;
  for (auto& [term, weight] : likeliest(collection, relevance_model(posts))) {
    if (std::find(parsed.scored.begin(), parsed.scored.end(), term) != parsed.scored.end()) continue;
    const bool excluded =
        std::find(parsed.excluded.begin(), parsed.excluded.end(), term) != parsed.excluded.end();
    if (excluded) continue;
    parsed.expansion.emplace_back(std::move(term),
                                  std::min(1.0, weight * static_cast<double>(parsed.scored.size())));
  }
}

}  // namespace fathom::live
