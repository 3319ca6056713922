// Small posts and stores for the tests of the live floor.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "live/store.h"

namespace fathom::live::testing {

inline const Time kStart = std::chrono::sys_days{std::chrono::year{2026} / 3 / 1};

inline Post make_post(std::string_view id, std::string_view text, Time created = kStart) {
  Post post;
  post.id = id;
  post.source = "test";
  post.author.handle = "ann";
  post.text = text;
  post.created_at = post.received_at = created;
  return post;
}

inline Post make_delete(std::string_view id, Time time) {
  Post post = make_post(id, "", time);
  post.deleted = true;
  return post;
}

/// A store on a folder of its own, not synced: these tests are about meaning, not about power cuts.
class TestStore {
 public:
  TestStore() { open(); }
  explicit TestStore(const std::vector<Post>& posts) : TestStore() { store->ingest(posts); }

  void open() { store = Store::open({dir.path() / "feed", false}, clock); }
  void reopen() {
    store.reset();
    open();
  }

  SearchResult search(std::string_view text, size_t limit = 20) const {
    Query query;
    query.text = text;
    query.limit = limit;
    return store->search(query);
  }

  /// The ids of the hits, best first.
  std::vector<std::string> ids(const Query& query) const {
    std::vector<std::string> found;
    for (const auto& hit : store->search(query).hits) found.push_back(hit.post.id);
    return found;
  }
  std::vector<std::string> ids(std::string_view text) const {
    Query query;
    query.text = text;
    query.fold = false;
    return ids(query);
  }

  TempDir dir{"fathom-live-test"};
  ManualClock clock{kStart + std::chrono::hours(24 * 30)};
  std::unique_ptr<Store> store;
};

}  // namespace fathom::live::testing
