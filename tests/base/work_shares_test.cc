#include "base/work_shares.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "base/thread_pool.h"

namespace fathom {
namespace {

TEST(WorkShares, EachIndexIsTakenOnce) {
  for (const size_t threads : {size_t{1}, size_t{2}, size_t{5}}) {
    ThreadPool pool(threads);
    WorkShares shares(threads);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{4}, size_t{1000}, size_t{4099}}) {
      std::vector<std::atomic<int>> taken(count);
      shares.begin(count);
      pool.run([&](size_t thread) {
        for (auto piece = shares.take(thread, 3, 50); !piece.empty(); piece = shares.take(thread, 3, 50)) {
          EXPECT_LE(piece.end - piece.begin, 50u);
          for (size_t i = piece.begin; i < piece.end; ++i) ++taken[i];
        }
      });
      for (const auto& times : taken) EXPECT_EQ(times.load(), 1);
    }
  }
}

TEST(WorkShares, OwnShareComesFirstAndInOrder) {
  WorkShares shares(2);
  shares.begin(20);
  size_t next = 10;
  for (int i = 0; i < 4; ++i) {  // 5, 2, 2, 1
    const auto piece = shares.take(1, 2, 100);
    EXPECT_EQ(piece.begin, next);
    next = piece.end;
  }
  EXPECT_EQ(next, 20u);
}

TEST(WorkShares, WhoHasFinishedHelpsFromTheBack) {
  WorkShares shares(2);
  shares.begin(20);
  while (true) {
    const auto piece = shares.take(1, 1, 100);
    if (piece.begin < 10) {
      EXPECT_EQ(piece.begin, 5u);
      EXPECT_EQ(piece.end, 10u);
      break;
    }
  }
  const auto own = shares.take(0, 1, 100);
  EXPECT_EQ(own.begin, 0u);
  EXPECT_EQ(own.end, 2u);
}

}  // namespace
}  // namespace fathom
