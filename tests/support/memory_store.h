// A live store in memory for tests of what feeds a store: keeps posts by key, and fails on demand.
#pragma once

#include <algorithm>
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
        result.deleted += posts_.erase(post.key());
      } else {
        posts_.insert_or_assign(post.key(), std::move(post));
      }
    }
    return result;
  }

  void count(const std::vector<live::CountUpdate>& updates) override {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, change] : updates) {
      const auto found = posts_.find(key);
      if (found == posts_.end()) continue;
      live::Metrics& metrics = found->second.metrics;
      metrics.likes = metrics.likes.value_or(0) + change.likes;
      metrics.reposts = metrics.reposts.value_or(0) + change.reposts;
      metrics.replies = metrics.replies.value_or(0) + change.replies;
    }
  }
  /// Only by author and source.
  live::SearchResult search(const live::Query& query) const override {
    const std::lock_guard lock(mutex_);
    live::SearchResult result;
    const auto among = [](const std::vector<std::string>& list, const std::string& value) {
      return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
    };
    for (const auto& [key, post] : posts_) {
      if (result.hits.size() == query.limit) break;
      const bool by = among(query.authors, post.author.handle) || among(query.authors, post.author.id);
      if (!by || !among(query.sources, post.source)) continue;
      result.hits.emplace_back().post = post;
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

  // Nothing that feeds a store asks for these.
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
