#include "live/search.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "live/search_plan.h"
#include "live/search_segment.h"

namespace fathom::live {
namespace {

// Up to this many postings a walk of all of them is so cheap that the count of matches is exact.
constexpr uint64_t kCheapPostings = 1024;
constexpr double kForgottenHalfLives = 64;

using AnySearch = std::variant<SegmentSearch<Index>, SegmentSearch<Segment>>;

template <class S>
AnySearch search_of(const S* segment, size_t number, const SearchPlan& plan) {
  return AnySearch(std::in_place_type<SegmentSearch<S>>, *segment, static_cast<uint32_t>(number), plan);
}

std::vector<AnySearch> look_up(const Collection& collection, const SearchPlan& plan) {
  std::vector<AnySearch> searches;
  searches.reserve(collection.members.size());
  for (size_t i = 0; i < collection.members.size(); ++i)
    searches.push_back(
        std::visit([&](const auto* segment) { return search_of(segment, i, plan); }, collection.members[i]));
  return searches;
}

/// How many documents have each scored term, over all segments.
std::vector<uint64_t> documents_with(const std::vector<AnySearch>& searches, size_t terms) {
  std::vector<uint64_t> counts(terms);
  for (const auto& any : searches)
    std::visit(
        [&](const auto& search) {
          for (size_t i = 0; i < terms; ++i) counts[i] += search.documents_with(i);
        },
        any);
  return counts;
}

bool cheap(const std::vector<AnySearch>& searches) {
  uint64_t cost = 0;
  for (const auto& any : searches) cost += std::visit([](const auto& search) { return search.cost(); }, any);
  return cost <= kCheapPostings;
}

}  // namespace

SearchPlan::SearchPlan(const ParsedQuery& query_parsed, const Query& query, Time feed_time, size_t count,
                       uint64_t at_sequence)
    : parsed(query_parsed),
      weights(query.weights),
      now(feed_time.time_since_epoch().count()),
      sequence(at_sequence),
      after(query.after.value_or(0)),
      through(std::min(at_sequence, query.through.value_or(at_sequence))),
      newest_first(query.order == Query::Order::kNewest),
      has_phrases(!parsed.phrases.empty() || !parsed.excluded_phrases.empty()),
      exhaustive(query.exact_count),
      best(count, newest_first) {
  if (parsed.since) since = parsed.since->time_since_epoch().count();
  if (parsed.until) until = parsed.until->time_since_epoch().count();
}

void SearchPlan::set_statistics(double posts, double mean_length,
                                const std::vector<uint64_t>& documents_with) {
  idf.reserve(documents_with.size());
  for (size_t i = 0; i < documents_with.size(); ++i) {
    const double n = std::min(static_cast<double>(documents_with[i]), posts);
    const double weight = i < parsed.scored.size() ? 1 : parsed.expansion[i - parsed.scored.size()].second;
    idf.push_back(weight * (kBm25K1 + 1) * std::log(1 + (posts - n + 0.5) / (n + 0.5)));
  }
  const double pivot = std::max(mean_length, kPivotWords);
  for (size_t length = 0; length < norms.size(); ++length)
    norms[length] = kBm25K1 * (1 - kBm25B + kBm25B * std::max(1.0, static_cast<double>(length) / pivot));
}

double recency_factor(const RankWeights& weights, int64_t created, int64_t now) {
  if (weights.recency <= 0 || created >= now) return 1;
  const double age = (static_cast<double>(now) - static_cast<double>(created)) / kMicrosPerHour;
  const double half_lives = weights.half_life_hours > 0 ? age / weights.half_life_hours : kForgottenHalfLives;
  const double fresh = half_lives >= kForgottenHalfLives ? 0 : std::exp2(-half_lives);
  return 1 - weights.recency + weights.recency * fresh;
}

Collection::Collection(const Snapshot& snapshot)
    : sequence(snapshot.sequence()), posts(snapshot.posts()), mean_length(snapshot.mean_length()) {
  const SegmentList& list = snapshot.segments();
  members.reserve(list.sealed.size() + list.memory.size());
  for (const auto& segment : list.sealed) members.emplace_back(segment.get());
  for (const auto& index : list.memory) members.emplace_back(index.get());
}

Ranking rank(const Collection& collection, const ParsedQuery& parsed, const Query& query, Time feed_time,
             size_t count) {
  SearchPlan plan(parsed, query, feed_time, count, collection.sequence);
  std::vector<AnySearch> searches = look_up(collection, plan);
  const auto counts = documents_with(searches, parsed.scored.size() + parsed.expansion.size());
  plan.set_statistics(collection.posts, collection.mean_length, counts);
  plan.exhaustive = plan.exhaustive || cheap(searches);
  if (!parsed.never)
    for (size_t i = searches.size(); i-- > 0;)
      std::visit([&](auto& search) { search.run(plan); }, searches[i]);
  Ranking ranking;
  ranking.best = std::move(plan.best).sorted();
  ranking.matched = plan.matched;
  ranking.exact_count = plan.exact_count;
  for (size_t i = 0; i < parsed.scored.size(); ++i) ranking.terms.emplace_back(parsed.scored[i], counts[i]);
  return ranking;
}

}  // namespace fathom::live
