// The search over one snapshot of the index: exact top-k by BM25, recency and engagement, or the newest that match.
//
// Score of a document d at the feed's time:
//   text(d)  = sum over the query's terms of idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * length / mean length))
//   idf(t)   = ln(1 + (N - n + 0.5) / (n + 0.5)); f is cut at 31; k1 = 0.6, b = 0.3: posts are short (Robertson and Zaragoza, 2009)
//   score(d) = text(d) * (1 - r + r * 2^(-age / half life)) * (1 + e * ln(1 + likes + reposts + replies))
// with text(d) = 1 for a query without words. Ties go to the later arrival.
//
// The walk goes from the newest document back in blocks of 1024 whose bounds of age and engagement are known; within a block,
// MaxScore (Turtle and Flood, 1995) leaves aside the terms that cannot lift a document above the k-th best so far. What is
// left out can never be among the best, so the result is exact; the count of matches then is a lower bound, and is told to
// be one. Reads only; one Searcher a query, on one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "live/index.h"
#include "live/query.h"
#include "live/store.h"

namespace fathom::live {

inline constexpr double kBm25K1 = 0.6;
inline constexpr double kBm25B = 0.3;

struct Candidate {
  uint32_t document = 0;
  uint32_t matched_terms = 0;
  int64_t created = 0;
  double score = 0, text_score = 0;
};

struct Ranking {
  std::vector<Candidate> best;  // in order
  size_t matched = 0;
  bool exact_count = true;
  std::vector<std::pair<std::string, size_t>> terms;
};

/// What a search sees of the index.
struct View {
  uint64_t sequence = 0;
  uint32_t end = 1;  // documents 1..end-1
  double posts = 0, mean_length = 1;

  View(const Index& index, uint64_t published);
};

/// The `count` best documents for `parsed`, ranked as `query` says.
Ranking rank(const Index& index, const View& snapshot, const ParsedQuery& parsed, const Query& query,
             Time feed_time, size_t count);

/// The share of the score that age leaves: 1 for the present and the future.
double recency_factor(const RankWeights& weights, int64_t created, int64_t now);

}  // namespace fathom::live
