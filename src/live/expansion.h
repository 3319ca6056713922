// Query expansion by pseudo-relevance feedback: words that the best posts of a first search share are looked for too.
//
// RM3 (Lavrenko and Croft, SIGIR 2001; Abdul-Jaleel et al., TREC 2004) with its usual settings: the best 10 posts are taken for
// relevant; of each word w of theirs P(w) = sum over posts of P(w | post) P(post | query), where P(w | post) is its share of the
// post's words and P(post | query) the post's share of the text scores; the 10 likeliest words, P scaled to a sum of 1,
// make up half of the new query and the query's own words the other half. With the weight of the query's own words at 1, a
// word's is then P(w) * (number of the query's words), and at most 1: a word of the posts never counts for more than one of the
// person's.
//
// Not taken: words in over a tenth of all posts, stop words, single characters, names of people (@) and domains. Reposts and near
// copies of a better post are passed over: they would vote twice.
#pragma once

#include "base/clock.h"
#include "live/query.h"
#include "live/search.h"
#include "live/store.h"

namespace fathom::live {

inline constexpr size_t kFeedbackPosts = 10;
inline constexpr size_t kFeedbackTerms = 10;

/// Fills in `parsed.expansion`. Does nothing for a query without words. Throws what reading a post throws.
void expand(ParsedQuery& parsed, const Collection& collection, const Query& query, Time feed_time);

}  // namespace fathom::live
