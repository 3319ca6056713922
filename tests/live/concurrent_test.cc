// Readers beside writers: every reader sees each key exactly once while it is replaced over and over, a writer sees its own
// posts at once, sequences rise, and calls from many threads are all written. Meaningful under TSan above all.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_delete;
using testing::make_post;
using testing::TestStore;

TEST(Concurrent, ReadersSeeEachKeyExactlyOnce) {
  constexpr int kKeys = 8;
  constexpr int kRounds = 150;
  TestStore s;
  const auto version = [](int round) {
    std::vector<Post> posts;
    for (int k = 0; k < kKeys; ++k)
      posts.push_back(make_post("pin" + std::to_string(k),
                                "pinned r" + std::to_string(round) + " k" + std::to_string(k)));
    posts.push_back(make_post("fill" + std::to_string(round), "filler"));
    return posts;
  };
  s.store->ingest(version(0));
  std::atomic<bool> done{false};
  std::atomic<int> searches{0}, torn{0};
  const auto read = [&] {
    uint64_t after = 0;
    while (!done.load()) {
      Query query;
      query.text = "pinned";
      query.fold = false;
      const auto found = s.store->search(query);
      std::set<std::string> rounds, keys;
      for (const auto& hit : found.hits) {
        keys.insert(hit.post.id);
        rounds.insert(hit.post.text.substr(0, hit.post.text.rfind(' ')));
      }
      // One version of each key, and all from one call: a call becomes visible as a whole.
      if (found.hits.size() != kKeys || keys.size() != kKeys || rounds.size() != 1) ++torn;
      if (!s.store->find("test:pin3")) ++torn;
      for (const auto& entry : s.store->tail(after, 50)) {
        if (entry.sequence <= after) ++torn;
        after = entry.sequence;
      }
      s.store->newest(5);
      s.store->stats();
      ++searches;
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) readers.emplace_back(read);
  for (int round = 1; round <= kRounds; ++round) {
    s.store->ingest(version(round));
    if (round % 10 == 0)
      s.store->ingest({make_delete("fill" + std::to_string(round), kStart + std::chrono::hours(1))});
    ASSERT_EQ(s.ids("r" + std::to_string(round)).size(), static_cast<size_t>(kKeys));
  }
  while (searches.load() < 20) std::this_thread::yield();
  done = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(torn.load(), 0);
}

TEST(Concurrent, CallsOfManyThreadsAreAllWrittenAndVisibleToTheirCaller) {
  constexpr int kThreads = 6, kCalls = 25;
  TestStore s;
  std::atomic<int> unseen{0};
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t) {
    writers.emplace_back([&, t] {
      for (int c = 0; c < kCalls; ++c) {
        const std::string name = "t" + std::to_string(t) + "c" + std::to_string(c);
        s.store->ingest(
            {make_post(name + "a", name), make_post(name + "b", name), make_post("shared", name)});
        if (s.ids(name).size() < 2) ++unseen;
      }
    });
  }
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(unseen.load(), 0);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(s.store->stats().posts, static_cast<uint64_t>(kThreads * kCalls * 2 + 1));
    EXPECT_EQ(s.ids("").size(), 20u);
    s.reopen();
  }
}

TEST(Concurrent, GrowingTablesUnderReaders) {
  TestStore s;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::atomic<int> published{0};
  std::thread reader([&] {
    while (!done.load()) {
      const int upto = published.load();
      if (upto == 0) continue;
      // Any post of an acknowledged call is found by its own rare word and by its key.
      const std::string name = "unique" + std::to_string(upto - 1);
      if (s.ids(name).size() != 1) ++wrong;
      if (!s.store->find("test:" + name)) ++wrong;
    }
  });
  constexpr int kPosts = 4000, kBatch = 100;
  for (int i = 0; i < kPosts; i += kBatch) {
    std::vector<Post> posts;
    for (int j = i; j < i + kBatch; ++j) {
      const std::string name = "unique" + std::to_string(j);
      posts.push_back(
          make_post(name, name + " common other" + std::to_string(j) + " more" + std::to_string(j)));
    }
    s.store->ingest(posts);
    published = i + kBatch;
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace fathom::live
