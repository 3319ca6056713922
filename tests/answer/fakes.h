// A store and an engine in memory, small enough to see through, for the tests of the answer floor.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "answer/words.h"
#include "base/text.h"
#include "infer/engine.h"
#include "live/store.h"

namespace fathom::answer::testing {

inline Time at(std::string_view text) { return *parse_time(text); }

inline live::Post make_post(std::string id, std::string handle, std::string name, std::string_view when,
                            std::string text) {
  live::Post post;
  post.id = std::move(id);
  post.source = "test";
  post.author.handle = std::move(handle);
  post.author.name = std::move(name);
  post.created_at = post.received_at = at(when);
  post.text = std::move(text);
  post.url = "https://feed.example/" + post.id;
  return post;
}

/// Scans all posts for each query. Knows words, "@name" (an author or a mention), "$ticker", filters and orders.
class FakeStore final : public live::Store {
 public:
  explicit FakeStore(std::vector<live::Post> posts = {}) : posts_(std::move(posts)) {}

  live::IngestResult ingest(std::vector<live::Post> posts) override {
    for (live::Post& post : posts) posts_.push_back(std::move(post));
    return {};
  }

  live::SearchResult search(const live::Query& query) const override {
    {
      const std::scoped_lock lock(mutex_);
      ++searches;
      last_query = query;
    }
    live::SearchResult result;
    std::set<std::string> terms;
    for (const Word& word : split_words(query.text)) terms.insert(word.stem);
    result.query_terms = terms.size();
    result.as_of = feed_time();
    std::vector<std::set<std::string>> stems;
    for (const live::Post& post : posts_) {
      std::set<std::string> own;
      for (const Word& word : split_words(post.text)) own.insert(word.stem);
      stems.push_back(std::move(own));
    }
    for (const std::string& term : terms) {
      const auto count = std::ranges::count_if(stems, [&](const auto& own) { return own.contains(term); });
      result.terms.emplace_back(term, static_cast<size_t>(count));
    }
    for (size_t i = 0; i < posts_.size(); ++i) {
      if (!admits(query, posts_[i])) continue;
      live::Hit hit;
      for (const auto& [term, count] : result.terms) {
        if (!stems[i].contains(term)) continue;
        ++hit.matched_terms;
        hit.text_score += std::log(1 + static_cast<double>(posts_.size()) / static_cast<double>(count));
      }
      const size_t needed = query.require_all ? terms.size() : std::min<size_t>(terms.size(), 1);
      if (hit.matched_terms < needed) continue;
      hit.post = posts_[i];
      hit.sequence = i + 1;
      hit.score = hit.text_score;
      result.hits.push_back(std::move(hit));
    }
    result.matched = result.hits.size();
    std::ranges::stable_sort(result.hits, [&](const live::Hit& a, const live::Hit& b) {
      return query.order == live::Query::Order::kNewest ? a.post.created_at > b.post.created_at
                                                        : a.score > b.score;
    });
    if (result.hits.size() > query.limit) result.hits.resize(query.limit);
    return result;
  }

  std::optional<live::Post> find(std::string_view key) const override {
    for (const live::Post& post : posts_)
      if (post.key() == key) return post;
    return std::nullopt;
  }
  std::vector<live::Sequenced> tail(uint64_t, size_t) const override { return {}; }
  std::vector<live::Sequenced> newest(size_t) const override { return {}; }
  bool wait_for(uint64_t, std::chrono::milliseconds, const std::stop_token&) const override { return false; }
  Time feed_time() const override {
    Time newest{};
    for (const live::Post& post : posts_) newest = std::max(newest, post.created_at);
    return newest;
  }
  live::StoreStats stats() const override {
    live::StoreStats stats;
    stats.posts = posts_.size();
    return stats;
  }

  mutable size_t searches = 0;
  mutable live::Query last_query;

 private:
  static bool among(const std::vector<std::string>& list, std::string_view handle) {
    return std::ranges::any_of(list, [&](std::string_view other) {
      return equals_ignore_case(other.starts_with('@') ? other.substr(1) : other, handle);
    });
  }

  static bool admits(const live::Query& query, const live::Post& post) {
    if (query.since && post.created_at < *query.since) return false;
    if (query.until && post.created_at >= *query.until) return false;
    if (!query.authors.empty() && !among(query.authors, post.author.handle)) return false;
    if (among(query.not_authors, post.author.handle)) return false;
    if (!query.sources.empty() && std::ranges::find(query.sources, post.source) == query.sources.end())
      return false;
    return !query.min_likes || post.metrics.likes.value_or(0) >= *query.min_likes;
  }

  std::vector<live::Post> posts_;
  mutable std::mutex mutex_;
};

/// Says what it is told to, piece by piece; a token is a byte.
class FakeEngine : public infer::Engine {
 public:
  explicit FakeEngine(std::string reply, size_t context = 8192) : reply_(std::move(reply)) {
    info_.name = "fake";
    info_.parameters = 1000;
    info_.context = context;
  }

  const infer::ModelInfo& info() const override { return info_; }
  std::vector<int32_t> tokenize(std::string_view text) const override { return {text.begin(), text.end()}; }
  std::string detokenize(const std::vector<int32_t>& tokens) const override {
    return {tokens.begin(), tokens.end()};
  }
  std::vector<int32_t> tokenize_chat(const std::vector<infer::ChatMessage>& messages) const override {
    std::vector<int32_t> out;
    for (const infer::ChatMessage& message : messages)
      out.insert(out.end(), message.content.begin(), message.content.end());
    return out;
  }
  infer::GenerateResult generate(const infer::GenerateRequest& request, const infer::TextSink& sink,
                                 const std::stop_token&) override {
    prompt = detokenize(request.prompt);
    sampling = request.sampling;
    infer::GenerateResult result;
    result.prompt_tokens = request.prompt.size();
    for (size_t from = 0; from < reply_.size(); from += 3) {
      ++result.completion_tokens;
      const std::string piece = reply_.substr(from, 3);
      result.text += piece;
      if (sink && !sink(piece)) {
        result.finish = infer::FinishReason::kCancelled;
        break;
      }
    }
    return result;
  }

  void set_parameters(uint64_t parameters) { info_.parameters = parameters; }
  /// As one whose adapter was trained to cite.
  void set_cites() { info_.cites = true; }

  std::string prompt;
  infer::Sampling sampling;

 private:
  std::string reply_;
  infer::ModelInfo info_;
};

}  // namespace fathom::answer::testing
