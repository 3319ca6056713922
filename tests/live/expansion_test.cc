// Expansion by feedback: which words it takes, what they weigh, and that it finds what the query's own words do not.
#include "live/expansion.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "live/index.h"
#include "live/prepare.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_post;

class Feed {
 public:
  void add(const Post& post) {
    batch_.clear();
    batch_.add(post);
    index_->add(batch_[0], index_->last_sequence() + 1);
  }
  void add(std::string_view text) { add(make_post(std::to_string(index_->documents()), text)); }

  Collection collection() const {
    Collection all;
    all.members = {index_.get()};
    all.sequence = index_->last_sequence();
    all.posts = static_cast<double>(index_->posts());
    return all;
  }

  std::map<std::string, double> expansion(const std::string& text) const {
    Query query;
    query.text = text;
    ParsedQuery parsed = parse_query(query);
    expand(parsed, collection(), query, kStart);
    return {parsed.expansion.begin(), parsed.expansion.end()};
  }

 private:
  std::unique_ptr<Index> index_ = std::make_unique<Index>();
  PreparedBatch batch_;
};

/// Two posts about a flood, and many others.
Feed flood_feed() {
  Feed feed;
  for (int i = 0; i < 100; ++i) feed.add(fmt::format("ordinary talk number{}", i));
  feed.add("flood on the Elbe: levee holds near Dresden");
  feed.add("flood: the levee at Dresden holds, says @mayor example.com");
  return feed;
}

TEST(Expansion, TakesWhatTheBestPostsShare) {
  const auto words = flood_feed().expansion("flood");
  EXPECT_TRUE(words.contains("leve"));
  EXPECT_TRUE(words.contains("dresden"));
  EXPECT_FALSE(words.contains("flood"));        // the person's own
  EXPECT_FALSE(words.contains("the"));          // stop word
  EXPECT_FALSE(words.contains("@mayor"));       // a name
  EXPECT_FALSE(words.contains("example.com"));  // a domain
  EXPECT_GT(words.at("dresden"), words.at("elb"));
  for (const auto& [word, weight] : words) {
    EXPECT_GT(weight, 0) << word;
    EXPECT_LE(weight, 1) << word;
  }
}

TEST(Expansion, FindsWhatTheWordsDoNot) {
  Feed feed = flood_feed();
  feed.add("pictures of the levee in Dresden");
  Query query;
  query.text = "flood";
  ParsedQuery parsed = parse_query(query);
  EXPECT_EQ(rank(feed.collection(), parsed, query, kStart, 10).best.size(), 2u);
  expand(parsed, feed.collection(), query, kStart);
  const Ranking ranking = rank(feed.collection(), parsed, query, kStart, 10);
  ASSERT_EQ(ranking.best.size(), 3u);
  EXPECT_EQ(ranking.best.back().matched_terms, 0u);  // of the person's words
  EXPECT_GT(ranking.best.back().text_score, 0);
  EXPECT_EQ(ranking.terms.size(), 1u);
}

TEST(Expansion, LeavesOutCommonAndExcludedWords) {
  Feed feed = flood_feed();
  for (int i = 0; i < 30; ++i) feed.add("levee everywhere");
  const auto words = feed.expansion("flood -dresden");
  EXPECT_FALSE(words.contains("leve"));  // in over a tenth of the posts
  EXPECT_FALSE(words.contains("dresden"));
}

TEST(Expansion, CopiesAndRepostsDoNotVote) {
  Feed feed;
  for (int i = 0; i < 200; ++i) feed.add(fmt::format("ordinary talk number{}", i));
  feed.add("quake shakes the harbour town");
  for (int i = 0; i < 12; ++i) feed.add("quake rumour volcano awakes tonight");  // one statement
  for (int i = 0; i < 12; ++i) {
    Post repost = make_post(fmt::format("r{}", i), fmt::format("quake meteor number{}", i));
    repost.repost_of = "1";
    feed.add(repost);
  }
  const auto words = feed.expansion("quake");
  EXPECT_TRUE(words.contains("harbour"));
  EXPECT_FALSE(words.contains("meteor"));
  EXPECT_LT(words.at("volcano"), 2 * words.at("harbour"));
}

TEST(Expansion, NothingToGoBy) {
  EXPECT_TRUE(flood_feed().expansion("").empty());
  EXPECT_TRUE(flood_feed().expansion("unheard").empty());
  EXPECT_TRUE(Feed().expansion("flood").empty());
}

}  // namespace
}  // namespace fathom::live
