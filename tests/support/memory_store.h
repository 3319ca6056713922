// A live store in memory for tests of what feeds a store: keeps posts by key, and fails on demand.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include "live/store.h"

namespace fathom::test {

class MemoryStore final : public live::Store {
 public:
  /// Called before a batch is taken; throws to refuse it.
  using Gate = std::function<void(const std::vector<live::Post>&)>;

  explicit MemoryStore(Gate gate = {}) : gate_(std::move(gate)) {}

  live::IngestResult ingest(std::vector<live::Post> posts) override {
    if (gate_) gate_(posts);
    const std::lock_guard lock(mutex_);
    ++batches_;
    live::IngestResult result;
    for (auto& post : posts) {
      order_.push_back(post.key());
      ++result.added;
      if (post.deleted) {
        posts_.erase(post.key());
      } else {
        posts_.insert_or_assign(post.key(), std::move(post));
      }
    }
    return result;
  }

  std::optional<live::Post> find(std::string_view key) const override {
    const std::lock_guard lock(mutex_);
    const auto found = posts_.find(std::string(key));
    return found == posts_.end() ? std::nullopt : std::optional(found->second);
  }
  live::StoreStats stats() const override {
    const std::lock_guard lock(mutex_);
    live::StoreStats stats;
    stats.posts = posts_.size();
    stats.ingested = order_.size();
    return stats;
  }
  /// The keys in the order in which they came, repeated ones too.
  std::vector<std::string> order() const {
    const std::lock_guard lock(mutex_);
    return order_;
  }
  size_t batches() const {
    const std::lock_guard lock(mutex_);
    return batches_;
  }

  // Nothing that feeds a store asks it anything.
  live::SearchResult search(const live::Query&) const override { return {}; }
  std::vector<live::Sequenced> tail(uint64_t, size_t) const override { return {}; }
  std::vector<live::Sequenced> newest(size_t) const override { return {}; }
  bool wait_for(uint64_t, std::chrono::milliseconds, const std::stop_token&) const override { return false; }
  Time feed_time() const override { return {}; }

 private:
  Gate gate_;
  mutable std::mutex mutex_;
  std::map<std::string, live::Post> posts_;
  std::vector<std::string> order_;
  size_t batches_ = 0;
};

}  // namespace fathom::test
