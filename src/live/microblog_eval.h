// The TREC Microblog track replayed: how well the ranking of this program re-ranks another's pool of tweets.
//
// A folder holds, for each year, lines of one query-likelihood run and what they stand for (zstd):
//   YEAR.id      the run            YEAR.a    its query        YEAR.b    its tweet, cut into words, names and links taken out
//   YEAR.topics  the topics' times  YEAR.qrels  the judgements
// The tweets of all years are one feed. They are indexed in the order of their ids, which tell their times, and each topic is asked
// when the feed stands at its `querytweettime`: neither the ranking nor the counts of words know anything later, as the track
// demands (Ounis et al., TREC 2011; Soboroff et al., TREC 2012). Tweets of a topic's pool that the search does not return follow
// in the pool's order; so do reposts, which the track's rules count as not relevant.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "live/retrieval_eval.h"

namespace fathom::live {

struct PoolTweet {
  std::string id;
  std::string text;
};

struct PoolTopic {
  std::string number;
  std::string query;
  uint64_t until = 0;             // the newest id that may be known
  std::vector<PoolTweet> tweets;  // in the order of the run
};

/// Errors: kNotFound, kIo, kCorrupt (names the file and the line).
std::vector<PoolTopic> read_pool(const std::filesystem::path& folder, const std::string& year);

/// The topics and times of a `topics` file: <num>, <querytweettime>. `name` stands for it in errors (kCorrupt).
std::vector<std::pair<std::string, uint64_t>> parse_topics(std::string_view text, std::string_view name);

/// Words as people write them: "-LRB-" and the like back to signs.
std::string restore_text(std::string_view tokens);

/// Re-ranks every topic; `expand` as Query::expand.
RetrievalRun rerank(const std::vector<PoolTopic>& topics, bool expand);

}  // namespace fathom::live
