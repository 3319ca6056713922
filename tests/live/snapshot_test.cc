// Readers and the list of segments: what a reader holds stays whole while lists are replaced, and is freed when none holds it.
#include "live/snapshot.h"

#include <gtest/gtest.h>

#include <thread>

namespace fathom::live {
namespace {

/// A list that can be checked: as many indexes as its `since` asks for.
size_t parts_of(uint64_t since) { return 1 + since % 4; }

SegmentList make_list(uint64_t since) {
  SegmentList list;
  list.since = since;
  for (size_t i = 0; i < parts_of(since); ++i) list.memory.push_back(std::make_shared<Index>());
  return list;
}

TEST(Segments, AnOldListLivesAsLongAsItIsHeld) {
  SegmentList first = make_list(0);
  const std::weak_ptr<Index> index = first.memory[0];
  Segments segments(std::move(first));
  std::thread reclaimer;
  {
    const Snapshot held = segments.snapshot();
    segments.replace(make_list(0));
    reclaimer = std::thread([&] { segments.reclaim(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(index.expired());
    EXPECT_EQ(held.segments().memory[0].get(), index.lock().get());
    EXPECT_NE(segments.snapshot().segments().memory[0].get(), held.segments().memory[0].get());
  }
  reclaimer.join();
  EXPECT_TRUE(index.expired());
}

TEST(Segments, ASnapshotMoves) {
  Segments segments(make_list(0));
  {
    Snapshot first = segments.snapshot();
    const Snapshot second = std::move(first);
    EXPECT_EQ(second.segments().memory.size(), 1u);
    EXPECT_EQ(second.posts(), 0);
    EXPECT_EQ(second.mean_length(), 1);
  }
  segments.replace(make_list(0));
  segments.reclaim();  // would wait for ever if a snapshot had not counted itself out
  EXPECT_EQ(segments.snapshot().sequence(), 0u);
}

TEST(Segments, TheSequenceFollowsPublication) {
  Segments segments(make_list(7));
  EXPECT_EQ(segments.snapshot().sequence(), 7u);
  segments.publish(9);
  EXPECT_EQ(segments.snapshot().sequence(), 9u);
  segments.replace(make_list(8));
  EXPECT_EQ(segments.snapshot().sequence(), 9u);
  EXPECT_EQ(segments.published(), 9u);
}

TEST(Segments, ReadersInLoopsWhileListsAreReplaced) {
  Segments segments(make_list(0));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      uint64_t before = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        const Snapshot snapshot = segments.snapshot();
        const SegmentList& list = snapshot.segments();
        ASSERT_GE(snapshot.sequence(), list.since);
        ASSERT_GE(snapshot.sequence(), before);
        before = snapshot.sequence();
        ASSERT_EQ(list.memory.size(), parts_of(list.since));
        for (const auto& index : list.memory) ASSERT_EQ(index->posts(), 0u);
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    });
  std::thread reclaimer([&] {
    while (!stop.load(std::memory_order_relaxed)) segments.reclaim();
  });
  for (uint64_t since = 1; since <= 60 || reads.load() < 1000; ++since) {
    segments.publish(since);
    segments.replace(make_list(since));
    if (since % 8 == 0) std::this_thread::yield();
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  reclaimer.join();
}

}  // namespace
}  // namespace fathom::live
