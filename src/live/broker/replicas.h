// Several replicas as one store: a search is asked of all and the answers are merged.
//
// Each replica holds a share of the feed (KafkaOptions::share) and ranks its own posts by its own counts of terms; shares are
// drawn by a hash of the key, so that those counts agree but for chance and the scores can be compared. Merging takes the best by
// score, or the newest, and folds what is the same statement. A replica that does not answer within `patience` is left
// out and named in SearchResult::missing, so that people see that the answer is not whole.
//
// `find` asks this replica first, then the others. `tail`, `newest`, `wait_for` and `stats` are of this replica: its live feed
// is its share's.
//
// Ownership: store and transport outlive it. Thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/transport.h"
#include "live/broker/forwarding_store.h"

namespace fathom::live {

struct ReplicaOptions {
  std::vector<std::string> urls;  // of the other replicas: "http://host:8080"
  std::string api_key;            // theirs; empty: none
  std::chrono::milliseconds patience{2000};
};

class Replicas final : public ForwardingStore {
 public:
  /// Errors: kInvalidArgument for an address that is not http(s).
  Replicas(Store& own, Transport& transport, const ReplicaOptions& options);

  SearchResult search(const Query& query) const override;
  std::optional<Post> find(std::string_view key) const override;
  /// The newest of this replica's and those that the others told of with their answers.
  Time feed_time() const override;

 private:
  SearchResult ask(const std::string& url, const Query& query) const;

  Transport& transport_;
  const ReplicaOptions options_;
  mutable std::atomic<int64_t> newest_told_{0};
};

/// The answers to `query` as one: exposed for tests. Empty entries are replicas that did not answer; `urls` names them.
SearchResult merge_results(const Query& query, std::vector<std::optional<SearchResult>> results,
                           const std::vector<std::string>& urls);

}  // namespace fathom::live
