// The live store: a durable log of posts and a real-time index over it, opened on one folder.
//
// Ownership: the store owns its folder (one process at a time; a second `open` throws). Thread safety: `ingest` may be
// called from any thread (calls are grouped and serialised inside); every const method may run at any time beside it and
// sees each post whose `ingest` has returned.
//
// Invariants:
//  (1) when `ingest` returns, its posts are on disk (synced) and visible to `search`. They are visible a moment earlier, once
//      they are in the log and before it is synced: what was seen and not acknowledged may be gone after a power failure;
//  (2) after any crash `open` restores every post whose `ingest` had returned;
//  (3) a post's sequence number never changes; sequence numbers rise in arrival order, a replaced post takes a new one. There
//      may be gaps: a list of counts takes a number too;
//  (4) what is damaged on disk is named in the program's log and left out; the rest is served.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/facts.h"
#include "live/post.h"

namespace fathom::live {

struct StoreOptions {
  std::filesystem::path folder;
  bool sync = true;                          // false only for tests and benchmarks that say so
  size_t segment_posts = 1'000'000;          // the active segment is sealed at so many posts,
  size_t segment_bytes = size_t{512} << 20;  // or at so much memory
  std::optional<std::chrono::hours>
      keep_for{};  // posts older than this (by the feed's clock) are let go, a segment at a time
  std::optional<uint64_t> keep_bytes{};  // the oldest segments are let go beyond so much disk
  /// Orders to delete hold so long after the segment that had them was let go.
  std::chrono::hours keep_orders{24 * 90};
};

struct IngestResult {
  size_t added = 0;
  size_t replaced = 0;    // same key, other content
  size_t duplicates = 0;  // same key, same content
  size_t deleted = 0;
  size_t stale = 0;  // left out: not newer than the order that removed its key
};

/// Likes and the like that came after the post of `key` did.
struct CountUpdate {
  std::string key;
  CountChange change;
};

/// What makes one post rank above another; every weight is at least 0 and 0 turns its part off.
struct RankWeights {
  double recency = 0.35;  // share of the score that fades with age
  double half_life_hours = 24;
  double engagement = 0.1;  // log(likes + reposts + replies)
  double author = 0;        // log(followers)
};

/// A search. Its text is read as live/query.h says; a text without words asks for all that passes the filters, ranked by
/// recency and engagement alone (`what_is_going_on` makes such a query) or newest first. Words without '+' or quotes are
/// alternatives (see require_all); #tags, @names and $TICKERS count as words.
struct Query {
  std::string
      text;  // words; "a phrase"; -excluded; +required; #tag @name $TICKER; from:h since:2026-01-01 until: lang: source:
  enum class Order { kRelevance, kNewest } order = Order::kRelevance;
  size_t limit = 20;
  bool require_all = false;          // every plain word must occur (else any)
  bool fold = true;                  // near-duplicates and reposts folded into the best of them, with a count
  std::optional<Time> since, until;  // since <= created_at < until
  std::vector<std::string> authors, not_authors;  // handles, case-insensitive, '@' allowed
  std::vector<std::string> sources, langs;
  std::optional<int64_t> min_likes, min_views;
  RankWeights weights;
  std::optional<uint64_t> after, through;  // after < sequence <= through
  bool expand = false;       // with terms of the best posts of a first search (RM3, see live/expansion.h)
  bool exact_count = false;  // walk all matches, so that SearchResult::matched is exact whatever it costs
};

/// The posts since `since` that most people engaged with, fresh ones first: add filters as needed.
Query what_is_going_on(Time since, size_t limit);

struct Hit {
  Post post;
  uint64_t sequence = 0;
  double score = 0;
  double text_score = 0;            // the BM25 part alone
  size_t matched_terms = 0;         // distinct plain query terms that the post has
  std::vector<std::string> folded;  // keys of near-duplicates and reposts that this hit stands for
};

struct SearchResult {
  std::vector<Hit> hits;
  size_t matched = 0;         // posts that matched before `limit` and folding
  bool matched_exact = true;  // false: at least so many; what could not be among the best was not counted
  size_t query_terms = 0;     // distinct plain terms in the query after analysis
  std::vector<std::pair<std::string, size_t>>
      terms;                           // analysed plain term -> posts in the index that have it
  std::vector<std::string> expansion;  // terms that Query::expand added
  std::vector<std::string> missing;    // replicas that did not answer (live/broker/replicas.h)
  Time as_of{};                        // the feed's clock at the search
};

struct Sequenced {
  uint64_t sequence = 0;
  Post post;
};

struct StoreStats {
  uint64_t posts = 0;  // visible
  uint64_t last_sequence = 0;
  uint64_t terms = 0;
  uint64_t index_bytes = 0;
  uint64_t ingested = 0;  // since open
  std::vector<std::pair<std::string, uint64_t>> by_source;
  uint64_t sealed_segments = 0, sealed_posts = 0, sealed_bytes = 0;  // on disk, mapped
  uint64_t log_bytes = 0;
  uint64_t dropped = 0;          // posts let go by retention since open
  uint64_t removed_keys = 0;     // removed posts whose orders retention let go of
  uint64_t damaged_records = 0;  // met since open and left out
};

class Store {
 public:
  /// Errors: kIo, kCorrupt (named and contained: what can be read is), kResourceExhausted (disk full).
  static std::unique_ptr<Store> open(const StoreOptions& options, const Clock& clock);
  virtual ~Store() = default;

  /// Returns when all of `posts` are durable and searchable. All or nothing for the call. A post with `deleted` removes
  /// the post of its key, and keeps out one that arrives later but is not newer (created_at) than the order.
  /// Errors: kInvalidArgument (names the post and its field), kResourceExhausted (disk full, or too much waiting to be
  /// written), kIo. After an error the store goes on serving reads.
  virtual IngestResult ingest(std::vector<Post> posts) = 0;

  /// Adds to the counts of posts; keys that are not in the store are passed over. Durable like `ingest`, with its errors; seen
  /// a moment later where the post's segment is being written. No new post for `tail` and `wait_for`.
  virtual void count(const std::vector<CountUpdate>& /*updates*/) {}

  /// Errors: kInvalidArgument for a query that cannot be read (names the part).
  virtual SearchResult search(const Query& query) const = 0;

  virtual std::optional<Post> find(std::string_view key) const = 0;

  /// Up to `limit` posts with a sequence above `after`, in order.
  virtual std::vector<Sequenced> tail(uint64_t after, size_t limit) const = 0;
  /// Up to `limit` newest posts by arrival, newest first.
  virtual std::vector<Sequenced> newest(size_t limit) const = 0;
  /// Blocks until a sequence above `after` is visible (true), `wait` is over, or `stop` is requested (false).
  virtual bool wait_for(uint64_t after, std::chrono::milliseconds wait,
                        const std::stop_token& stop) const = 0;

  /// The feed's clock: the newest `created_at` seen. A time over a day ahead of the real clock does not count, unless the
  /// post is fiction. Epoch when empty.
  virtual Time feed_time() const = 0;
  virtual StoreStats stats() const = 0;
};

}  // namespace fathom::live
