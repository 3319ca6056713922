// What is rising now: terms and phrases that are posted far more often than their own past would have it, and the stories
// that they make together.
//
// Time is the feed's, never the machine's. For every term, hashtag and pair of neighbouring words the counts of posts (one an
// author and hour, so that one voice is one voice) stand in buckets of `bucket`; a slow average and its deviation over
// `history` give what was to be expected, and the score is how many deviations the present is above it (a Poisson floor
// keeps rare words from bursting at two posts), as in Kleinberg's and in SigniTrend's line (Schubert et al., KDD 2014).
// Memory is bounded: a count-min sketch carries the history of what is rare, exact counters what is frequent.
//
// A story is a set of bursting terms that the same posts use: terms are joined when their posts overlap, near-duplicates are
// folded, the headline is the post nearest to the story's middle by words, weighted by engagement and by being original.
// A story keeps its id while its posts overlap with what it was, so that it can be followed.
//
// Ownership: an engine owns its thread and reads the store by `tail`; the store and the clock outlive it. It takes no more than a
// share of a processor from ingest and searches; when more arrives than it can count so, it passes over posts and says so. Thread safety: every method may be called from any thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "live/store.h"

namespace fathom::live {

struct TrendOptions {
  std::chrono::minutes bucket{5};
  std::chrono::hours window{1};    // what counts as now
  std::chrono::hours history{72};  // what it is held against; shorter while the feed is young
  size_t most_terms = 200'000;     // counted exactly
  size_t queue_posts = 50'000;     // further behind than this, posts are sampled
  double most_share = 0.25;        // of a processor that counting takes while posts arrive
};

struct Trend {
  std::string text;                 // as people write it: "#Eurovision", "power cut"
  std::string query;                // finds its posts
  double score = 0;                 // deviations above what was to be expected
  uint64_t posts = 0, authors = 0;  // within the window
  double expected = 0;              // posts that its past would have
  Time first_seen{};                // of this burst
  std::vector<uint64_t> volume;     // posts a bucket, oldest first, to the present
};

struct Story {
  std::string id;        // stable while it lasts
  std::string headline;  // text of the headline post, cut at a word
  Post post;             // the headline post
  std::vector<Trend> terms;
  std::string query;  // finds its posts
  uint64_t posts = 0, authors = 0;
  std::vector<std::pair<std::string, uint64_t>> sources;  // posts of each
  std::vector<std::pair<std::string, uint64_t>> languages;
  std::vector<std::string> keys;  // its leading posts, best first, at most 20
  std::vector<uint64_t> volume;
  Time began{}, updated{};
  double score = 0;
};

/// Empty lists let everything pass.
struct TrendFilter {
  std::vector<std::string> sources, langs;
  size_t limit = 20;
};

struct TrendResult {
  Time as_of{};
  std::chrono::minutes bucket{};
  double sampled = 1;  // share of the posts that was counted
  bool young = false;  // less than a day of history: bursts are held against little
};

class Trends {
 public:
  Trends(const Store& store, const TrendOptions& options = {});
  ~Trends();
  Trends(const Trends&) = delete;
  Trends& operator=(const Trends&) = delete;

  // Of what was counted last. On a store that held posts the first calls wait until those are counted, at most 10 s.
  std::vector<Trend> trends(const TrendFilter& filter, TrendResult* about = nullptr) const;
  std::vector<Story> stories(const TrendFilter& filter, TrendResult* about = nullptr) const;
  std::optional<Story> story(std::string_view id) const;

  /// Has counted everything up to this sequence: for tests, and for pages that wait.
  bool wait_for(uint64_t sequence, std::chrono::milliseconds wait) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::live
