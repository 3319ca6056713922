// The search over one snapshot: exact top-k by BM25, recency, engagement and author, or the newest that match.
//
// Score of a document d at the feed's time:
//   text(d)  = sum over the query's terms of w * idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * max(1, length / pivot)))
//   idf(t)   = ln(1 + (N - n + 0.5) / (n + 0.5)); N and n over all segments; w is 1, or the weight of an expansion's term; f is
//              cut at 31, length at 255; k1 = 0.6, b = 0.3 (Robertson and Zaragoza, 2009); the pivot is the mean length, but at
//              least 50 words: how long a short post is says nothing of its worth (Ferguson et al., ECIR 2012), so only texts
//              longer than a post are normalised
//   score(d) = text(d) * (1 - r + r * 2^(-age / half life)) * (1 + e * ln(1 + likes + reposts + replies) + a * ln(1 + followers))
// with text(d) = 1 for a query without words; the logarithms in sixteenths. Ties go to the later arrival.
//
// The walk goes over the segments from the newest back, with one list of the best, and within a segment in blocks of 1024
// documents whose bounds of time, engagement and author are known (search_segment.h). Within a block, MaxScore (Turtle and
// Flood, 1995) sets aside the terms that cannot lift a document above the k-th best so far. What is left out can never be
// among the best, so the result is exact; the count of matches then is a lower bound, and is told to be one.
//
// Reads only. Each call is on one thread; any number may run at once.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "live/index.h"
#include "live/query.h"
#include "live/segment/segment.h"
#include "live/snapshot.h"
#include "live/store.h"
#include "live/top_k.h"

namespace fathom::live {

inline constexpr double kBm25K1 = 0.6;
inline constexpr double kBm25B = 0.3;
inline constexpr double kPivotWords = 50;

struct Ranking {
  std::vector<Candidate> best;  // in order
  size_t matched = 0;
  bool exact_count = true;
  std::vector<std::pair<std::string, size_t>> terms;  // of the query -> posts that have it
};

/// The segments of a search, oldest first, and what is known of them together. Of a snapshot, which must outlive it: the
/// sealed ones, then those in memory.
struct Collection {
  using Member = std::variant<const Index*, const Segment*>;

  Collection() = default;
  explicit Collection(const Snapshot& snapshot);

  std::vector<Member> members;
  uint64_t sequence = 0;  // what is visible
  double posts = 0, mean_length = 1;
};

/// The `count` best documents for `parsed`, ranked as `query` says. Candidate::segment is the place in `members`.
Ranking rank(const Collection& collection, const ParsedQuery& parsed, const Query& query, Time feed_time,
             size_t count);

/// The share of the score that age leaves: 1 for the present and the future.
double recency_factor(const RankWeights& weights, int64_t created, int64_t now);

}  // namespace fathom::live
