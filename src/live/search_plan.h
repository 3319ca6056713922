// What a search knows before it enters a segment, and what it carries from one segment to the next.
//
// One SearchPlan a query, on one thread.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/clock.h"
#include "live/facts.h"
#include "live/query.h"
#include "live/search.h"
#include "live/store.h"
#include "live/top_k.h"

namespace fathom::live {

inline constexpr double kMicrosPerHour = 3.6e9;
inline constexpr double kRoundingMargin = 1 + 1e-9;  // bounds and scores are summed in different orders

struct SearchPlan {
  SearchPlan(const ParsedQuery& query_parsed, const Query& query, Time feed_time, size_t count,
             uint64_t at_sequence);

  /// Sets what the whole collection tells. `documents_with` is of the scored terms, in order.
  void set_statistics(double posts, double mean_length, const std::vector<uint64_t>& documents_with);

  /// What a term adds to a post of `length` words. The same expression everywhere, so that equal posts have equal scores.
  double part(size_t term, uint32_t frequency, uint8_t length) const {
    const auto f = static_cast<double>(frequency);
    return idf[term] * f / (f + norms[length]);
  }

  double popularity(uint8_t engagement, uint8_t author) const {
    return 1 + weights.engagement * kLogStep * engagement + weights.author * kLogStep * author;
  }
  double factor(const DocumentFacts& facts) const {
    return recency_factor(weights, facts.created, now) * popularity(facts.engagement, facts.author);
  }

  const ParsedQuery& parsed;
  const RankWeights weights;
  const int64_t now;
  const uint64_t sequence;        // what is visible
  const uint64_t after, through;  // only sequences above the one and not above the other
  const bool newest_first;
  const bool has_phrases;
  int64_t since = std::numeric_limits<int64_t>::min(), until = std::numeric_limits<int64_t>::max();
  bool exhaustive = false;  // leave nothing out: the count of matches is exact

  std::vector<double> idf;          // of the scored terms, times (k1 + 1) and their weights
  std::array<double, 256> norms{};  // by length: what is added to the frequency below the line

  TopK best;
  size_t matched = 0;
  bool exact_count = true;
};

}  // namespace fathom::live
