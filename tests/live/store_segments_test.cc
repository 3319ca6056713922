// A store of many small segments is the same store: whatever is ingested, replaced, removed and counted, however often it is
// sealed, merged and opened anew, it answers as a plain map would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_delete;
using testing::make_post;
using namespace std::chrono_literals;

StoreOptions options_of(const TempDir& dir, size_t segment_posts) {
  StoreOptions options;
  options.folder = dir.path() / "feed";
  options.sync = false;
  options.segment_posts = segment_posts;
  return options;
}

/// What a store should hold.
struct Model {
  struct Entry {
    Post post;
    uint64_t sequence = 0;
    int64_t likes = 0;
  };
  std::map<std::string, Entry> posts;   // by key
  std::map<std::string, Time> removed;  // by key: the time of the order
  uint64_t sequence = 0;

  void ingest(const Post& post) {
    const std::string key = post.key();
    const auto order = removed.find(key);
    const auto before = posts.find(key);
    if (post.deleted) {
      if (order != removed.end() && order->second >= post.created_at && before == posts.end()) return;
      posts.erase(key);
      removed[key] = post.created_at;
      ++sequence;
      return;
    }
    if (before == posts.end() && order != removed.end() && post.created_at <= order->second) return;
    if (before != posts.end() && before->second.post.text == post.text &&
        before->second.post.created_at == post.created_at)
      return;
    removed.erase(key);
    posts[key] = {post, ++sequence, 0};
  }

  void count(const std::vector<CountUpdate>& updates) {
    bool any = false;
    for (const auto& update : updates)
      if (const auto at = posts.find(update.key); at != posts.end()) {
        at->second.likes += update.change.likes;
        any = true;
      }
    if (any) ++sequence;
  }
};

/// `counts`: those too. They come a moment later while their segment is being written.
void expect_same(const Store& store, const Model& model, bool counts = true) {
  ASSERT_EQ(store.stats().posts, model.posts.size());
  const auto tail = store.tail(0, 100'000);
  ASSERT_EQ(tail.size(), model.posts.size());
  std::map<uint64_t, std::string> by_sequence;
  for (const auto& [key, entry] : model.posts) by_sequence[entry.sequence] = key;
  auto expected = by_sequence.begin();
  uint64_t before = 0;
  for (const auto& [sequence, post] : tail) {
    ASSERT_GT(sequence, before);
    ASSERT_EQ(post.key(), expected->second);
    before = sequence;
    const auto& entry = model.posts.at(expected->second);
    ASSERT_EQ(post.text, entry.post.text);
    if (counts) {
      ASSERT_EQ(post.metrics.likes.value_or(0), entry.likes) << post.key();
    }
    ++expected;
  }
  const auto newest = store.newest(7);
  auto last = by_sequence.rbegin();
  for (const auto& entry : newest) ASSERT_EQ(entry.post.key(), (last++)->second);
  for (const auto& [key, time] : model.removed) ASSERT_FALSE(store.find(key).has_value()) << key;
  for (const char* word : {"alpha", "beta"}) {
    std::set<std::string> wanted, found;
    for (const auto& [key, entry] : model.posts)
      if (entry.post.text.find(word) != std::string::npos) wanted.insert(key);
    Query query;
    query.text = word;
    query.fold = false;
    query.limit = 2'000;
    for (const auto& hit : store.search(query).hits) ASSERT_TRUE(found.insert(hit.post.key()).second);
    ASSERT_EQ(found, wanted);
  }
}

Post random_post(Random& random) {
  const std::string id = std::to_string(random.below(120));
  const Time time = kStart + std::chrono::seconds(random.below(1000));
  if (random.below(5) == 0) return make_delete(id, time);
  const char* word = random.below(2) == 0 ? "alpha" : "beta";
  return make_post(id, fmt::format("{} of {}", word, random.below(4)), time);
}

TEST(StoreSegments, AnswersAsAMapWould) {
  for (const uint64_t seed : {1, 2}) {
    const TempDir dir;
    const ManualClock clock(kStart + 24h);
    Random random(seed);
    Model model;
    auto store = Store::open(options_of(dir, 16), clock);
    for (int step = 0; step < 400; ++step) {
      const auto kind = random.below(100);
      if (kind < 3) {
        const auto before = store->tail(0, 100'000);
        store.reset();
        store = Store::open(options_of(dir, 16), clock);
        expect_same(*store, model);
        const auto after = store->tail(0, 100'000);
        for (size_t i = 0; i < after.size(); ++i) ASSERT_EQ(after[i].sequence, before[i].sequence);
      } else if (kind < 20) {
        std::vector<CountUpdate> updates;
        for (int i = 0; i < 3; ++i)
          updates.push_back(
              {fmt::format("test:{}", random.below(120)), {static_cast<int32_t>(random.below(5)) + 1, 1, 0}});
        store->count(updates);
        model.count(updates);
      } else {
        std::vector<Post> posts;
        for (uint64_t n = 1 + random.below(6); n > 0; --n) posts.push_back(random_post(random));
        for (const Post& post : posts) model.ingest(post);
        store->ingest(posts);
      }
      if (step % 20 == 0) expect_same(*store, model, false);
      if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    EXPECT_GT(store->stats().sealed_segments, 0u);
    store.reset();
    expect_same(*Store::open(options_of(dir, 16), clock), model);
  }
}

/// Waits until the background has done what there is to do.
template <class Done>
bool eventually(Done&& done) {
  for (int i = 0; i < 2'000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

TEST(StoreSegments, FewSegmentsAreLeft) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  const auto store = Store::open(options_of(dir, 10), clock);
  for (int n = 0; n < 640; ++n) store->ingest({make_post(std::to_string(n), "word " + std::to_string(n))});
  EXPECT_TRUE(eventually([&] {
    const auto stats = store->stats();
    return stats.sealed_posts >= 600 && stats.sealed_segments <= 10;
  })) << store->stats().sealed_segments;
  EXPECT_EQ(store->stats().posts, 640u);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() / "feed"))
    files += entry.path().extension() == ".seg" ? 1 : 0;
  EXPECT_LE(files, 20u);
}

TEST(StoreSegments, OldPostsAreLetGo) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h * 30);
  StoreOptions options = options_of(dir, 10);
  options.keep_for = std::chrono::hours(24);
  auto store = Store::open(options, clock);
  for (int n = 0; n < 300; ++n) store->ingest({make_post(std::to_string(n), "word", kStart + n * 1h)});
  EXPECT_TRUE(eventually([&] { return store->stats().posts <= 60; })) << store->stats().posts;
  EXPECT_GE(store->stats().posts, 24u);
  EXPECT_GE(store->stats().dropped, 240u);
  EXPECT_TRUE(store->find("test:299").has_value());
  EXPECT_FALSE(store->find("test:0").has_value());
  store.reset();
  store = Store::open(options, clock);
  EXPECT_FALSE(store->find("test:0").has_value());
  EXPECT_TRUE(store->find("test:280").has_value());
}

TEST(StoreSegments, WhatIsTooMuchIsLetGo) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  StoreOptions options = options_of(dir, 50);
  options.keep_bytes = 100'000;
  const auto store = Store::open(options, clock);
  Random random(5);
  for (int n = 0; n < 2'000; ++n) {
    std::string text;
    for (int word = 0; word < 20; ++word) text += fmt::format("{:x} ", random.next());
    store->ingest({make_post(std::to_string(n), text)});
  }
  EXPECT_TRUE(eventually([&] { return store->stats().sealed_bytes <= 100'000; }))
      << store->stats().sealed_bytes;
  EXPECT_TRUE(store->find("test:1999").has_value());
  EXPECT_FALSE(store->find("test:0").has_value());
}

TEST(StoreSegments, ReadersSeeWholeStatesWhileSegmentsComeAndGo) {
  // Each call replaces all of ten posts by the next version; a reader must always see ten posts of at most two versions.
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  const auto store = Store::open(options_of(dir, 25), clock);
  const auto version = [](int v) {
    std::vector<Post> posts;
    for (int n = 0; n < 10; ++n)
      posts.push_back(make_post(std::to_string(n), fmt::format("always version{}", v)));
    return posts;
  };
  store->ingest(version(0));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      Query query;
      query.text = "always";
      query.fold = false;
      query.limit = 100;
      while (!stop.load()) {
        std::set<std::string> texts;
        const auto hits = store->search(query).hits;
        for (const auto& hit : hits) texts.insert(hit.post.text);
        ASSERT_EQ(hits.size(), 10u);
        ASSERT_EQ(texts.size(), 1u);
        ASSERT_EQ(store->newest(100).size(), 10u);
        ASSERT_TRUE(store->find("test:3").has_value());
        ASSERT_EQ(store->tail(0, 100).size(), 10u);
      }
    });
  for (int v = 1; v <= 60; ++v) store->ingest(version(v));
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(store->stats().posts, 10u);
}

TEST(StoreSegments, ManyWriters) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  auto store = Store::open(options_of(dir, 40), clock);
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t)
    writers.emplace_back([&, t] {
      for (int n = 0; n < 40; ++n) {
        const std::string id = fmt::format("{}-{}", t, n);
        store->ingest({make_post(id, "word"), make_post("shared", fmt::format("by {} {}", t, n))});
        store->count({{"test:" + id, {1, 0, 0}}, {"test:shared", {1, 0, 0}}});
      }
    });
  for (auto& writer : writers) writer.join();
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(store->stats().posts, 121u);
    for (const auto& entry : store->tail(0, 1'000))
      if (entry.post.id != "shared") {
        EXPECT_EQ(entry.post.metrics.likes, 1) << entry.post.id;
      }
    store.reset();
    store = Store::open(options_of(dir, 40), clock);
  }
}

TEST(StoreSegments, CountsAreNoNewPosts) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  const auto store = Store::open(options_of(dir, 10), clock);
  store->ingest({make_post("1", "word")});
  store->count({{"test:1", {3, 2, 1}}, {"test:unknown", {1, 1, 1}}});
  EXPECT_EQ(store->stats().last_sequence, 1u);
  EXPECT_TRUE(store->tail(1, 10).empty());
  EXPECT_FALSE(store->wait_for(1, 1ms, {}));
  const auto post = store->find("test:1");
  EXPECT_EQ(post->metrics.likes, 3);
  EXPECT_EQ(post->metrics.reposts, 2);
  EXPECT_EQ(post->metrics.replies, 1);
  // The post as its source gives it again is the same post still.
  EXPECT_EQ(store->ingest({make_post("1", "word")}).duplicates, 1u);
  EXPECT_EQ(store->find("test:1")->metrics.likes, 3);
}

}  // namespace
}  // namespace fathom::live
