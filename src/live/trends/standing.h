// Standing queries: a search that stays, and tells of each new post that matches it.
//
// Kept in STATE/standing.json (atomically replaced); each has its place in the store's sequence, kept with it, so that a
// restart tells of nothing twice and of nothing not at all (a webhook: at least once). Matching is the store's own search with
// `Query::after`, so that a standing query finds exactly what the same search finds.
//
// Webhooks: POST of JSON with the headers X-Fathom-Delivery (unique, the same on repeats), X-Fathom-Query and, where the
// query has a secret, X-Fathom-Signature: sha256=HMAC of the body. Answers other than 2xx are tried again, later and later,
// for a day; only http(s), and not to this machine or a private network unless `allow_private`.
//
// Ownership: owns its threads; store, transport and clock outlive it. Thread-safe.
#pragma once

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

class StandingQueries {
 public:
  struct Options {
    std::filesystem::path file;
    size_t most = 1000;
    bool allow_private = false;
  };
  StandingQueries(Store& store, Transport& transport, const Clock& clock, const Options& options);
  ~StandingQueries();
  StandingQueries(const StandingQueries&) = delete;
  StandingQueries& operator=(const StandingQueries&) = delete;

  /// Errors: kInvalidArgument (query, webhook), kResourceExhausted (too many).
  StandingQuery add(StandingQuery query);
  /// False when there is none of this id.
  bool remove(std::string_view id);
  std::vector<StandingQuery> list() const;
  std::optional<StandingQuery> find(std::string_view id) const;

  /// Calls `on_match` on a thread of this object for each batch of matches of query `id` until the handle goes. It must not block.
  using Handle = std::shared_ptr<void>;
  Handle listen(std::string_view id, std::function<void(const StandingMatch&)> on_match);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::live
