// Searches that go by meaning: alone, or fused with the words.
#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "live/duplicates.h"
#include "live/search.h"
#include "live/vectors/query_parts.h"
#include "live/vectors/vectors.h"

namespace fathom::live {
namespace {

constexpr double kRankConstant = 60;  // Cormack et al.
constexpr size_t kDeep = 100;         // places of a list that count, at least
constexpr auto kBetter = [](const Hit& a, const Hit& b) { return a.score > b.score; };

/// Hits in the order in which they come; one that says what an earlier one says is folded into it.
class Folding {
 public:
  explicit Folding(bool fold) : fold_(fold) {}

  void add(Hit hit) {
    std::optional<Statement> statement;
    if (fold_) {
      statement.emplace(hit.post.text);
      const auto same = std::find_if(statements_.begin(), statements_.end(),
                                     [&](const Statement& other) { return other.same_as(*statement); });
      if (same != statements_.end()) {
        auto& into = hits_[static_cast<size_t>(same - statements_.begin())].folded;
        into.push_back(hit.post.key());
        into.insert(into.end(), hit.folded.begin(), hit.folded.end());
        return;
      }
      statements_.push_back(std::move(*statement));
    }
    hits_.push_back(std::move(hit));
  }
  bool full(size_t limit) const { return hits_.size() >= limit; }
  std::vector<Hit> take() && { return std::move(hits_); }

 private:
  const bool fold_;
  std::vector<Statement> statements_;
  std::vector<Hit> hits_;
};

/// The nearest posts, those that age takes less from first, by the same weight as in a search by words.
std::vector<Hit> find_by_meaning(const Store& store, const VectorIndex& vectors, std::string_view words,
                                 const Query& query, const std::stop_token& stop) {
  const int64_t now = store.feed_time().time_since_epoch().count();
  std::vector<Hit> hits;
  for (Neighbour& near : vectors.nearest(words, query, std::max(2 * query.limit, kDeep), stop)) {
    Hit hit;
    hit.score =
        near.similarity * recency_factor(query.weights, near.post.created_at.time_since_epoch().count(), now);
    hit.post = std::move(near.post);
    hit.sequence = near.sequence;
    hits.push_back(std::move(hit));
  }
  std::stable_sort(hits.begin(), hits.end(), kBetter);
  return hits;
}

/// Both lists as one, the best first.
std::vector<Hit> fuse(std::vector<Hit> by_words, std::vector<Hit> by_meaning) {
  const auto share = [](size_t place) { return 1 / (kRankConstant + static_cast<double>(place + 1)); };
  std::vector<Hit> hits = std::move(by_words);
  // By key: hits of other replicas count sequences of their own.
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < hits.size(); ++i) {
    places.emplace(hits[i].post.key(), i);
    hits[i].score = share(i);
  }
  for (size_t i = 0; i < by_meaning.size(); ++i) {
    if (const auto at = places.find(by_meaning[i].post.key()); at != places.end()) {
      hits[at->second].score += share(i);
    } else {
      hits.push_back(std::move(by_meaning[i]));
      hits.back().score = share(i);
    }
  }
  std::stable_sort(hits.begin(), hits.end(), kBetter);
  return hits;
}

std::vector<Hit> fold_to_limit(std::vector<Hit> hits, const Query& query) {
  Folding folding(query.fold);
  for (Hit& hit : hits) {
    if (folding.full(query.limit)) break;
    folding.add(std::move(hit));
  }
  return std::move(folding).take();
}

}  // namespace

SearchResult search_hybrid(const Store& store, const VectorIndex* vectors, const Query& query,
                           const std::stop_token& stop) {
  const std::string words = vectors == nullptr ? "" : split_query(query.text).words;
  if (words.empty() || query.require_all || query.order == Query::Order::kNewest) return store.search(query);
  Query deep = query;
  deep.limit = std::max(query.limit, kDeep);
  SearchResult result = store.search(deep);
  std::vector<Hit> by_meaning;
  try {
    by_meaning = find_by_meaning(store, *vectors, words, query, stop);
  } catch (const std::exception& error) {
    if (!stop.stop_requested()) log().warn("searched by words alone: {}", error.what());
  }
  const bool widened = !by_meaning.empty();
  result.hits = fold_to_limit(fuse(std::move(result.hits), std::move(by_meaning)), query);
  result.matched = std::max(result.matched, result.hits.size());
  result.matched_exact = result.matched_exact && !widened;
  return result;
}

SearchResult search_meaning(const Store& store, const VectorIndex& vectors, const Query& query,
                            const std::stop_token& stop) {
  const std::string words = split_query(query.text).words;
  if (words.empty())
    throw Error(ErrorCode::kInvalidArgument, "search: a search by meaning needs words to look for");
  SearchResult result;
  result.as_of = store.feed_time();
  std::vector<Hit> hits = find_by_meaning(store, vectors, words, query, stop);
  result.matched = hits.size();
  result.matched_exact = false;
  result.hits = fold_to_limit(std::move(hits), query);
  return result;
}

}  // namespace fathom::live
