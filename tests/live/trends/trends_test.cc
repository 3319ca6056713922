// Trends over a real store: its thread keeps up, filters work, what is deleted is shown no more.
#include "live/trends/trends.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "live/store_support.h"

namespace fathom::live {
namespace {

using std::chrono::minutes;
using testing::kStart;
using testing::make_post;
using testing::TestStore;

constexpr std::chrono::seconds kPatience{30};

std::vector<Post> event_posts(int count = 12) {
  std::vector<Post> posts;
  for (int i = 0; i < count; ++i) {
    Post post =
        make_post(fmt::format("e{}", i), fmt::format("Bridge at Alder Mill closed, {} cars wait", i * 7 + 3),
                  kStart + minutes(i));
    post.author.handle = fmt::format("driver{}", i);
    post.source = i % 3 == 0 ? "one" : "two";
    post.lang = i % 2 == 0 ? "en" : "de";
    posts.push_back(post);
  }
  return posts;
}

uint64_t last(const TestStore& feed) { return feed.store->stats().last_sequence; }

TEST(TrendsOfAStore, AreThoseOfItsPosts) {
  TestStore feed(event_posts());
  const Trends trends(*feed.store);
  ASSERT_TRUE(trends.wait_for(last(feed), kPatience));
  TrendResult about;
  const auto list = trends.trends({}, &about);
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(about.as_of, kStart + minutes(11)) << "by the feed's clock";
  EXPECT_TRUE(about.young);
  EXPECT_EQ(about.sampled, 1);
  EXPECT_FALSE(feed.search(list.front().query).hits.empty());
  const auto stories = trends.stories({});
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0].posts, 12u);
  EXPECT_EQ(stories[0].sources, (std::vector<std::pair<std::string, uint64_t>>{{"two", 8}, {"one", 4}}));
  EXPECT_EQ(stories[0].languages.size(), 2u);
  EXPECT_NE(stories[0].headline.find("Alder Mill"), std::string::npos);
  const auto again = trends.story(stories[0].id);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->post.id, stories[0].post.id);
  EXPECT_FALSE(trends.story("st_nothing"));
}

TEST(TrendsOfAStore, ComeAsPostsDo) {
  TestStore feed;
  const Trends trends(*feed.store);
  EXPECT_TRUE(trends.trends({}).empty());
  feed.store->ingest(event_posts());
  ASSERT_TRUE(trends.wait_for(last(feed), kPatience));
  EXPECT_EQ(trends.stories({}).size(), 1u);
  EXPECT_FALSE(trends.wait_for(last(feed) + 1, std::chrono::milliseconds(50)));
}

TEST(TrendsOfAStore, AreFiltered) {
  TestStore feed(event_posts());
  const Trends trends(*feed.store);
  ASSERT_TRUE(trends.wait_for(last(feed), kPatience));
  const auto of_one = trends.stories({.sources = {"one"}, .langs = {}});
  ASSERT_EQ(of_one.size(), 1u);
  EXPECT_EQ(of_one[0].posts, 4u);
  EXPECT_EQ(of_one[0].languages, (std::vector<std::pair<std::string, uint64_t>>{{"de", 2}, {"en", 2}}));
  EXPECT_TRUE(trends.stories({.sources = {"three"}, .langs = {}}).empty());
  EXPECT_TRUE(trends.trends({.sources = {}, .langs = {"fr"}}).empty());
  TrendFilter few;
  few.limit = 1;
  EXPECT_EQ(trends.trends(few).size(), 1u);
}

TEST(TrendsOfAStore, ShowNoDeletedPost) {
  TestStore feed(event_posts());
  const Trends trends(*feed.store);
  ASSERT_TRUE(trends.wait_for(last(feed), kPatience));
  const Post shown = trends.stories({})[0].post;
  Post order = testing::make_delete(shown.id, kStart + std::chrono::hours(1));
  order.source = shown.source;
  feed.store->ingest({order});
  for (const Story& story : trends.stories({})) {  // at once, before anything is counted again
    EXPECT_NE(story.post.key(), shown.key());
    EXPECT_EQ(std::find(story.keys.begin(), story.keys.end(), shown.key()), story.keys.end());
  }
}

TEST(TrendsOfAStore, SamplesWhenFarBehindAndSaysSo) {
  TestStore feed;
  std::vector<Post> posts;
  for (int i = 0; i < 20'000; ++i) {
    Post post = make_post(fmt::format("p{}", i), fmt::format("Flood at Reed Lock {} metres {}", i % 97, i),
                          kStart + std::chrono::milliseconds(i * 100));
    post.author.handle = fmt::format("a{}", i);
    posts.push_back(std::move(post));
  }
  feed.store->ingest(std::move(posts));
  TrendOptions options;
  options.queue_posts = 1000;
  const Trends trends(*feed.store, options);
  ASSERT_TRUE(trends.wait_for(last(feed), kPatience));
  TrendResult about;
  const auto list = trends.trends({}, &about);
  EXPECT_LT(about.sampled, 0.9);
  ASSERT_FALSE(list.empty());
  // What is shown is scaled up to all posts: not exact, but of their order.
  EXPECT_GT(list.front().posts, 10'000u);
  EXPECT_LT(list.front().posts, 40'000u);
}

}  // namespace
}  // namespace fathom::live
