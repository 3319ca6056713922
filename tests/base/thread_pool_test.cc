#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

namespace fathom {
namespace {

using namespace std::chrono_literals;

TEST(ThreadPool, RunsOnceOnEveryThread) {
  for (const size_t threads : {size_t{1}, size_t{2}, size_t{5}}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    std::vector<std::thread::id> ids(threads);
    std::vector<int> calls(threads);
    for (int round = 0; round < 3; ++round)
      pool.run([&](size_t thread) {
        ids[thread] = std::this_thread::get_id();
        ++calls[thread];
      });
    EXPECT_EQ(calls, std::vector<int>(threads, 3));
    EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), threads);
    EXPECT_EQ(ids[0], std::this_thread::get_id());
  }
}

TEST(ThreadPool, ManyShortLoopsLoseNothing) {
  ThreadPool pool(4);
  std::vector<uint64_t> sums(pool.size() * 16);  // apart, so that the test is about order and not about luck
  constexpr uint64_t kLoops = 3000;
  for (uint64_t loop = 1; loop <= kLoops; ++loop) pool.run([&](size_t thread) { sums[thread * 16] += loop; });
  for (size_t thread = 0; thread < pool.size(); ++thread)
    EXPECT_EQ(sums[thread * 16], kLoops * (kLoops + 1) / 2);
}

TEST(ThreadPool, AResultOfOneLoopIsSeenByTheNext) {
  ThreadPool pool(3);
  std::vector<uint64_t> values(300, 1);
  for (int round = 0; round < 200; ++round) {
    const std::vector<uint64_t> before = values;
    pool.parallel_for(values.size(), 7, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) values[i] = (before[(i + 150) % 300] + before[i]) % 1000003;
    });
  }
  uint64_t expected = 1;
  for (int round = 0; round < 200; ++round) expected = expected * 2 % 1000003;
  EXPECT_EQ(values, std::vector<uint64_t>(300, expected));
}

TEST(ThreadPool, ParallelForCoversEveryIndexOnceInGrains) {
  for (const size_t threads : {size_t{1}, size_t{3}, size_t{4}}) {
    ThreadPool pool(threads);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{16}, size_t{17}, size_t{1000}})
      for (const size_t grain : {size_t{1}, size_t{4}, size_t{64}, size_t{2000}}) {
        std::vector<std::atomic<int>> seen(count);
        std::atomic<bool> aligned{true};
        pool.parallel_for(count, grain, [&](size_t begin, size_t end) {
          if (begin % grain != 0 || (end % grain != 0 && end != count) || begin >= end) aligned = false;
          for (size_t i = begin; i < end; ++i) ++seen[i];
        });
        EXPECT_TRUE(aligned.load()) << count << " by " << grain;
        for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
      }
  }
}

TEST(ThreadPool, WakesAfterALongPause) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(5ms);  // the workers have gone to sleep by now
    pool.run([&](size_t) { ++calls; });
  }
  EXPECT_EQ(calls.load(), 15);
}

TEST(ThreadPool, WaitsForTheSlowest) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  pool.run([&](size_t thread) {
    if (thread == 2) std::this_thread::sleep_for(20ms);
    ++done;
  });
  EXPECT_EQ(done.load(), 3);
}

TEST(ThreadPool, EndsWithoutEverRunning) {
  for (int round = 0; round < 50; ++round) ThreadPool pool(4);
}

TEST(ThreadPool, EndsRightAfterALoop) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(4);
    std::atomic<int> calls{0};
    pool.run([&](size_t) { ++calls; });
    ASSERT_EQ(calls.load(), 4);
  }
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(3);
  std::atomic<size_t> calls{0};
  std::atomic<size_t> inside{0};
  std::atomic<bool> mixed{false};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::atomic<size_t> mine{0};
        pool.run([&](size_t) {
          if (inside.fetch_add(1) >= pool.size()) mixed = true;
          ++mine;
          ++calls;
          inside.fetch_sub(1);
        });
        EXPECT_EQ(mine.load(), pool.size());
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_FALSE(mixed);
  EXPECT_EQ(calls.load(), 4 * 200 * pool.size());
}

}  // namespace
}  // namespace fathom
