// The next index made ahead, and memory taken beside a writer: nothing that is written or read changes by it.
#include "live/index_supply.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

#include "live/prepare.h"

namespace fathom::live {
namespace {

Post post_of(size_t number) {
  Post post;
  post.source = "test";
  post.id = std::to_string(number);
  post.text = "water w" + std::to_string(number % 1'000) + " x" + std::to_string(number);
  return post;
}

void add(Index& index, size_t begin, size_t end) {
  PreparedBatch batch;
  std::vector<const PreparedPost*> posts;
  for (size_t i = begin; i < end; ++i) batch.add(post_of(i));
  for (size_t i = 0; i < batch.size(); ++i) posts.push_back(&batch[i]);
  index.add(posts, index.last_sequence() + 1);
}

void expect_whole(const Index& index, size_t posts) {
  ASSERT_EQ(index.documents(), posts);
  EXPECT_EQ(index.term("water").count(), posts);
  for (size_t i = 0; i < posts; i += 97) {
    const auto number = static_cast<uint32_t>(i + 1);
    EXPECT_EQ(index.text(number), post_of(i).text);
    const Index::Term term = index.term("x" + std::to_string(i));
    ASSERT_EQ(term.count(), 1u) << i;
    EXPECT_EQ(index.cursor(term, number + 1).document(), number);
  }
}

TEST(IndexSupply, AnIndexBeginsAboveItsBase) {
  IndexSupply supply(1'000);
  const auto first = supply.take(70);
  EXPECT_EQ(first->first_sequence(), 71u);
  add(*first, 0, 10);
  EXPECT_EQ(first->last_sequence(), 80u);
  supply.attend(first, true);
  const auto second = supply.take(80);  // ready or not
  EXPECT_EQ(second->first_sequence(), 81u);
  EXPECT_EQ(second->documents(), 0u);
  add(*second, 0, 10);
  expect_whole(*second, 10);
}

TEST(IndexSupply, AnIndexOfReservedTables) {
  Index index(0, 20'000);
  index.reserve();
  index.begin_above(5);
  add(index, 0, 2'000);
  EXPECT_EQ(index.first_sequence(), 6u);
  expect_whole(index, 2'000);
}

TEST(IndexSupply, MemoryIsTakenBesideAWriter) {
  constexpr size_t kPosts = 40'000, kStep = 500;
  Index index(0, kPosts);
  std::atomic<bool> done{false};
  std::thread warmer([&] {
    while (!done) index.warm();
  });
  for (size_t begin = 0; begin < kPosts; begin += kStep) add(index, begin, begin + kStep);
  done = true;
  warmer.join();
  expect_whole(index, kPosts);
}

}  // namespace
}  // namespace fathom::live
