// A store that is another one, but for what a derived class changes. The inner store outlives it.
#pragma once

#include "live/store.h"

namespace fathom::live {

class ForwardingStore : public Store {
 public:
  explicit ForwardingStore(Store& inner) : inner_(inner) {}

  IngestResult ingest(std::vector<Post> posts) override { return inner_.ingest(std::move(posts)); }
  void count(const std::vector<CountUpdate>& updates) override { inner_.count(updates); }
  SearchResult search(const Query& query) const override { return inner_.search(query); }
  std::optional<Post> find(std::string_view key) const override { return inner_.find(key); }
  std::vector<Sequenced> tail(uint64_t after, size_t limit) const override {
    return inner_.tail(after, limit);
  }
  std::vector<Sequenced> newest(size_t limit) const override { return inner_.newest(limit); }
  bool wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const override {
    return inner_.wait_for(after, wait, stop);
  }
  Time feed_time() const override { return inner_.feed_time(); }
  StoreStats stats() const override { return inner_.stats(); }

 protected:
  Store& inner_;
};

}  // namespace fathom::live
