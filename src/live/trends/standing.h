// Standing queries: a search that stays, and tells of each new post that matches it.
//
// Kept in STATE/standing.json (readable by its owner alone; see standing_file.h). A webhook has its place in the store's
// sequence, kept with it, so that a restart leaves nothing out (at least once); a listener brings its own place (`matches`).
// Matching is the store's own search between two sequences, so that a standing query finds exactly what the same search
// finds; only those run that have a term which one of the new posts has.
//
// Webhooks: POST of JSON {id, query{id, name, q}, sequence, posts[]} with the headers X-Fathom-Delivery (unique, the same on
// repeats), X-Fathom-Query and, where the query has a secret, X-Fathom-Signature: sha256=HMAC of the body. Answers other
// than 2xx are tried again, later and later, for a day; only http(s), and not to this machine or a private network unless
// `allow_private`: that is checked after resolving, and no redirect is followed.
//
// Ownership: owns its threads; store, transport and clock outlive it. Thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/transport.h"
#include "live/store.h"

namespace fathom::live {

struct StandingQuery {
  std::string id;              // given by `add`
  std::string name;            // for people
  Query query;                 // its `after` is managed here
  std::string webhook;         // empty: none
  std::string webhook_secret;  // never shown again
  Time created{};
  uint64_t matched = 0, delivered = 0, failed = 0;
  std::string last_error;
};

struct StandingMatch {
  std::string query_id;
  std::vector<Hit> hits;  // in order of arrival
  uint64_t sequence = 0;  // all up to here has been looked at
};

inline constexpr size_t kMostMatches = 500;  // that one call or one delivery tells of

class StandingQueries {
 public:
  struct Options {
    std::filesystem::path file;
    size_t most = 10'000;
    bool allow_private = false;
    std::chrono::seconds first_retry{1}, longest_retry{3600};  // twice as long each time
    std::chrono::hours give_up{24};
  };
  /// Errors: kCorrupt, kIo for the file.
  StandingQueries(Store& store, Transport& transport, const Clock& clock, const Options& options);
  ~StandingQueries();
  StandingQueries(const StandingQueries&) = delete;
  StandingQueries& operator=(const StandingQueries&) = delete;

  /// On the disk when it returns. Errors: kInvalidArgument (query, webhook), kResourceExhausted (too many, the disk is full),
  /// kIo; then nothing is added.
  StandingQuery add(StandingQuery query);
  /// False when there is none of this id. Errors: kIo, kResourceExhausted; then nothing is removed.
  bool remove(std::string_view id);
  std::vector<StandingQuery> list() const;
  std::optional<StandingQuery> find(std::string_view id) const;

  /// What of the posts above `after` query `id` matches, oldest first, at most kMostMatches; `sequence` is the place to go on
  /// from. Empty when there is no such query. Never waits.
  std::optional<StandingMatch> matches(std::string_view id, uint64_t after) const;

  /// Posts up to here have been looked at: where one begins who wants what comes next.
  uint64_t sequence() const;

  /// Calls `on_match` on a thread of this object for each batch of matches of query `id` until the handle goes, and once with
  /// no hits when the query is removed. It must not block, nor call back here.
  using Handle = std::shared_ptr<void>;
  Handle listen(std::string_view id, std::function<void(const StandingMatch&)> on_match);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::live
