#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "live/store_support.h"
#include "live/vectors/query_parts.h"
#include "live/vectors/vectors_support.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using testing::kStart;
using testing::make_delete;
using testing::make_post;
using testing::WordEmbedder;

constexpr auto kPatience = 120s;

class VectorIndexTest : public ::testing::Test {
 protected:
  VectorIndexTest() {
    options_.folder = feed_.dir.path() / "vectors";
    options_.batch = 4;
  }

  void open() {
    vectors_.reset();
    vectors_ = std::make_unique<VectorIndex>(*feed_.store, embedder_, options_);
  }
  void ingest(std::vector<Post> posts) { feed_.store->ingest(std::move(posts)); }
  uint64_t last() const { return feed_.store->stats().last_sequence; }
  /// All that was ingested has been read.
  void settle() {
    if (!vectors_) open();
    ASSERT_TRUE(vectors_->wait_for(last(), kPatience));
  }
  std::vector<std::string> nearest(std::string_view text, const Query& filter = {}, size_t count = 20) const {
    std::vector<std::string> ids;
    for (const auto& neighbour : vectors_->nearest(text, filter, count, {})) ids.push_back(neighbour.post.id);
    return ids;
  }
  std::vector<std::string> hybrid(std::string_view text) const {
    Query query;
    query.text = text;
    std::vector<std::string> ids;
    for (const auto& hit : search_hybrid(*feed_.store, vectors_.get(), query, {}).hits)
      ids.push_back(hit.post.id);
    return ids;
  }
  static bool has(const std::vector<std::string>& ids, std::string_view id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }
  template <class Holds>
  static bool eventually(Holds holds) {
    for (const auto end = std::chrono::steady_clock::now() + kPatience;
         std::chrono::steady_clock::now() < end;) {
      if (holds()) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  testing::TestStore feed_;
  WordEmbedder embedder_;
  VectorOptions options_;
  std::unique_ptr<VectorIndex> vectors_;
};

/// Posts of which no two say nearly the same.
std::vector<Post> varied(size_t count, std::string_view prefix = "p") {
  std::vector<Post> posts;
  for (size_t i = 0; i < count; ++i)
    posts.push_back(make_post(
        fmt::format("{}{}", prefix, i),
        fmt::format("{0}alpha{1} {0}beta{2} {0}gamma{3} {0}delta{4}", prefix, i, i * 7, i * 13, i * 29)));
  return posts;
}

TEST_F(VectorIndexTest, FindsWithoutAWordInCommon) {
  ingest({make_post("1", "the ferry sank off the coast"), make_post("2", "snow closed the mountain pass"),
          make_post("3", "people vote on sunday")});
  settle();
  EXPECT_EQ(vectors_->status().posts, 3u);
  EXPECT_EQ(vectors_->status().waiting, 0u);
  EXPECT_EQ(nearest("blizzard", {}, 1), std::vector<std::string>{"2"});
  EXPECT_EQ(nearest("a ship", {}, 1), std::vector<std::string>{"1"});
  EXPECT_TRUE(feed_.ids("blizzard").empty());
  const auto found = vectors_->nearest("ballot", {}, 3, {});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].post.id, "3");
  EXPECT_GT(found[0].similarity, found[1].similarity);
  EXPECT_GE(found[1].similarity, found[2].similarity);
  EXPECT_EQ(feed_.store->tail(found[0].sequence - 1, 1).front().post.id, "3");
}

TEST_F(VectorIndexTest, PostsThatComeLaterAreFoundToo) {
  open();
  for (int round = 0; round < 5; ++round) {
    ingest(varied(20, fmt::format("r{}x", round)));
    ingest({make_post(fmt::format("snow{}", round), fmt::format("snow snow{} blizzard{}", round, round))});
    settle();
    EXPECT_TRUE(has(nearest("blizzard", {}, 10), fmt::format("snow{}", round)));
  }
}

TEST_F(VectorIndexTest, FreshPostsComeBeforeALongPast) {
  ingest(varied(400));
  embedder_.slow_ms = 50;  // all of it would take five seconds
  open();
  ingest({make_post("fresh", "snow in april")});
  ASSERT_TRUE(eventually([&] { return has(nearest("blizzard", {}, 1), "fresh"); }));
  EXPECT_GT(vectors_->status().waiting, 0u);
}

TEST_F(VectorIndexTest, NearDuplicatesAreNotEmbeddedAgain) {
  const std::string text =
      "the mayor of the city said that the old harbour bridge stays closed until friday morning";
  ingest({make_post("1", text), make_post("2", "RT @ann: " + text),
          make_post("3", text + " https://t.example/x")});
  settle();
  EXPECT_EQ(vectors_->status().posts, 1u);
  EXPECT_EQ(vectors_->status().copies, 2u);
  EXPECT_EQ(embedder_.passages, 1u);
}

TEST_F(VectorIndexTest, DeletedAndReplacedPostsAreNotFoundAndLeave) {
  auto posts = varied(30);
  ingest(posts);
  ingest({make_post("gone", "snow everywhere"), make_post("edit", "a boat arrives")});
  settle();
  ASSERT_TRUE(has(nearest("blizzard", {}, 1), "gone"));
  ingest({make_delete("gone", kStart + 1h), make_post("edit", "the ballot is secret", kStart + 1h)});
  EXPECT_FALSE(has(nearest("blizzard", {}, 40), "gone"));
  settle();
  EXPECT_EQ(nearest("election", {}, 1), std::vector<std::string>{"edit"});
  const auto all = nearest("ship", {}, 40);
  EXPECT_EQ(std::count(all.begin(), all.end(), "edit"), 1);
  EXPECT_TRUE(eventually([&] { return vectors_->status().posts == 31; })) << vectors_->status().posts;
}

TEST_F(VectorIndexTest, TheOldestAreLetGo) {
  options_.most_posts = 50;
  open();
  for (int round = 0; round < 6; ++round) {
    ingest(varied(40, fmt::format("r{}x", round)));
    settle();
  }
  EXPECT_EQ(vectors_->status().posts, 50u);
  for (const auto& id : nearest("r1xalpha1", {}, 50))
    EXPECT_TRUE(id.starts_with("r4x") || id.starts_with("r5x")) << id;
}

TEST_F(VectorIndexTest, APastThatDoesNotFitIsLeftOut) {
  ingest(varied(300));
  options_.most_posts = 20;
  settle();
  EXPECT_EQ(vectors_->status().posts, 20u);
  EXPECT_LT(embedder_.passages, 60u);
  EXPECT_TRUE(has(nearest("palpha299 pbeta2093 pgamma3887 pdelta8671", {}, 1), "p299"));
}

TEST_F(VectorIndexTest, FiltersAreObeyedNarrowAndWide) {
  std::vector<Post> posts;
  for (size_t i = 0; i < 2100; ++i) {
    Post post = make_post(std::to_string(i), fmt::format("snow alpha{} beta{} gamma{}", i, i * 7, i * 13),
                          kStart + std::chrono::minutes(i));
    post.author.handle = i % 2 == 0 ? "even" : "odd";
    post.lang = i % 400 == 0 ? "de" : "en";
    posts.push_back(std::move(post));
  }
  ingest(posts);
  options_.batch = 64;
  settle();
  Query wide;
  wide.text = "from:even -alpha8 whatever";
  const auto found = nearest("blizzard", wide, 200);
  EXPECT_EQ(found.size(), 200u);
  for (const auto& id : found) EXPECT_TRUE(std::stoul(id) % 2 == 0 && id != "8") << id;
  Query narrow;
  narrow.langs = {"de"};
  EXPECT_EQ(nearest("blizzard", narrow, 20).size(), 6u);
  Query window;
  window.since = kStart + 100min;
  window.until = kStart + 1500min;
  const auto inside = nearest("blizzard", window, 100);
  EXPECT_EQ(inside.size(), 100u);
  for (const auto& id : inside) EXPECT_TRUE(std::stoul(id) >= 100 && std::stoul(id) < 1500) << id;
  Query none;
  none.sources = {"nowhere"};
  EXPECT_TRUE(nearest("blizzard", none).empty());
  Query broken;
  broken.text = "since:yesterday";
  EXPECT_THROW(nearest("blizzard", broken), Error);
}

TEST_F(VectorIndexTest, ARestartEmbedsOnlyWhatIsNew) {
  ingest(varied(40));
  settle();
  vectors_.reset();
  EXPECT_EQ(embedder_.passages, 40u);
  ingest(varied(5, "new"));
  settle();
  EXPECT_EQ(embedder_.passages, 45u);
  EXPECT_EQ(vectors_->status().posts, 45u);
  EXPECT_EQ(nearest("palpha7 pbeta49 pgamma91 pdelta203", {}, 1), std::vector<std::string>{"p7"});
}

TEST_F(VectorIndexTest, ADamagedFileAndAnotherModelStartAnew) {
  ingest(varied(20));
  settle();
  vectors_.reset();
  const auto path = options_.folder / "posts.vectors";
  std::string content = read_file(path);
  content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 1);
  write_file_atomic(path, content);
  settle();
  EXPECT_EQ(embedder_.passages, 40u);
  EXPECT_EQ(vectors_->status().posts, 20u);
  vectors_.reset();
  embedder_.its_name = "another";
  settle();
  EXPECT_EQ(embedder_.passages, 60u);
  vectors_.reset();
  settle();
  EXPECT_EQ(embedder_.passages, 60u);
}

TEST_F(VectorIndexTest, AnotherFeedStartsAnew) {
  ingest(varied(20));
  settle();
  vectors_.reset();
  testing::TestStore other(varied(3, "other"));
  VectorIndex vectors(*other.store, embedder_, options_);
  EXPECT_TRUE(vectors.wait_for(3, kPatience));
  EXPECT_EQ(vectors.status().posts, 3u);
}

TEST_F(VectorIndexTest, AFailingEmbedderHoldsUpNobodyAndIsTriedAgain) {
  embedder_.fails = true;
  ingest({make_post("1", "snow in the hills"), make_post("2", "a boat")});
  open();
  ASSERT_TRUE(eventually([&] { return embedder_.passages > 0; }));
  EXPECT_THROW(nearest("blizzard"), Error);
  EXPECT_EQ(hybrid("snow"), std::vector<std::string>{"1"});
  embedder_.fails = false;
  settle();
  EXPECT_EQ(vectors_->status().posts, 2u);
  EXPECT_TRUE(has(nearest("blizzard", {}, 1), "1"));
}

TEST_F(VectorIndexTest, PostsThatAlwaysFailAreLeftOut) {
  embedder_.short_by_one = true;
  ingest({make_post("1", "snow in the hills")});
  settle();
  EXPECT_EQ(vectors_->status().failed, 1u);
  EXPECT_EQ(vectors_->status().posts, 0u);
  EXPECT_THROW(nearest("blizzard"), Error);
  EXPECT_EQ(hybrid("snow"), std::vector<std::string>{"1"});
  embedder_.short_by_one = false;
  ingest({make_post("2", "a boat")});
  settle();
  EXPECT_EQ(vectors_->status().posts, 1u);
}

TEST_F(VectorIndexTest, ASlowEmbedderDoesNotKeepItFromStopping) {
  embedder_.slow_ms = 60'000;
  ingest(varied(20));
  open();
  ASSERT_TRUE(eventually([&] { return embedder_.passages > 0; }));
  std::stop_source stop;
  std::jthread asker([&] { EXPECT_THROW(vectors_->nearest("snow", {}, 1, stop.get_token()), Error); });
  ASSERT_TRUE(eventually([&] { return embedder_.queries > 0; }));
  stop.request_stop();
  asker.join();
  const auto begin = std::chrono::steady_clock::now();
  vectors_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatience);
}

TEST_F(VectorIndexTest, WorksOnWhileOthersAreBusy) {
  std::atomic<size_t> asked{0};
  options_.busy = [&] {
    ++asked;
    return true;
  };
  ingest(varied(20));
  settle();
  EXPECT_GT(asked, 0u);
  EXPECT_EQ(vectors_->status().posts, 20u);
}

TEST_F(VectorIndexTest, SearchesRunBesideTheThread) {
  options_.most_posts = 60;
  open();
  std::atomic<bool> done{false};
  std::jthread reader([&] {
    while (!done)
      for (const auto& neighbour : vectors_->nearest("r3xalpha3 r3xbeta21", {}, 5, {}))
        EXPECT_FALSE(neighbour.post.id.empty());
  });
  for (int round = 0; round < 10; ++round) {
    ingest(varied(20, fmt::format("r{}x", round)));
    ingest({make_delete(fmt::format("r{}x3", round), kStart + 1h)});
    settle();
  }
  done = true;
}

TEST_F(VectorIndexTest, OptionsOutOfRangeAreNamed) {
  options_.links = 1;
  EXPECT_THROW(open(), Error);
  options_.links = 16;
  options_.most_posts = 0;
  EXPECT_THROW(open(), Error);
}

TEST_F(VectorIndexTest, HybridPutsFirstWhatBothFind) {
  auto posts = varied(40);
  posts.push_back(make_post("both", "the snow storm in the hills"));
  posts.push_back(make_post("words", "hills hills hills and nothing else of interest here"));
  posts.push_back(make_post("meaning", "blizzard"));
  ingest(posts);
  settle();
  const auto ids = hybrid("snow hills");
  ASSERT_GE(ids.size(), 3u);
  EXPECT_EQ(ids[0], "both");
  EXPECT_TRUE(has(ids, "words"));
  EXPECT_TRUE(has(ids, "meaning"));
  Query query;
  query.text = "snow hills";
  for (const auto& hit : search_hybrid(*feed_.store, vectors_.get(), query, {}).hits)
    EXPECT_EQ(hit.matched_terms == 0, hit.post.id != "both" && hit.post.id != "words") << hit.post.id;
}

TEST_F(VectorIndexTest, HybridWithoutVectorsIsTheLexicalSearch) {
  ingest({make_post("1", "snow"), make_post("2", "a boat")});
  EXPECT_EQ(hybrid("snow"), std::vector<std::string>{"1"});
  settle();
  EXPECT_EQ(hybrid("from:ann").size(), 2u);
  EXPECT_EQ(embedder_.queries, 0u);
  Query newest;
  newest.text = "blizzard";
  newest.order = Query::Order::kNewest;
  EXPECT_TRUE(search_hybrid(*feed_.store, vectors_.get(), newest, {}).hits.empty());
  Query strict;
  strict.text = "blizzard";
  strict.require_all = true;
  EXPECT_TRUE(search_hybrid(*feed_.store, vectors_.get(), strict, {}).hits.empty());
  Query stopped;
  stopped.text = "snow";
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(search_hybrid(*feed_.store, vectors_.get(), stopped, stop.get_token()).hits.size(), 1u);
}

TEST_F(VectorIndexTest, MeaningAloneFoldsAndFadesWithAge) {
  Post old = make_post("old", "snow fell on the hills", kStart - 1000h);
  ingest({old, make_post("fresh", "a blizzard on the hills"), make_post("far", "a boat")});
  settle();
  Query query;
  query.text = "snow on the hills";
  query.limit = 2;
  auto result = search_meaning(*feed_.store, *vectors_, query, {});
  ASSERT_EQ(result.hits.size(), 2u);
  EXPECT_EQ(result.hits[0].post.id, "fresh");
  EXPECT_EQ(result.hits[0].matched_terms, 0u);
  EXPECT_GT(result.hits[0].score, result.hits[1].score);
  query.text = "-snow";
  EXPECT_THROW(search_meaning(*feed_.store, *vectors_, query, {}), Error);
  query.text = "storm -snow";
  EXPECT_EQ(search_meaning(*feed_.store, *vectors_, query, {}).hits[0].post.id, "fresh");
}

TEST(QueryParts, WordsAndFilters) {
  const auto parts =
      split_query(R"(harbour "old bridge" +closed -repaired from:city since:2026-01-01 -"all clear" #news)");
  EXPECT_EQ(parts.words, "harbour old bridge closed #news");
  EXPECT_EQ(parts.filters, R"("old bridge" +closed -repaired from:city since:2026-01-01 -"all clear")");
  EXPECT_EQ(split_query("").words, "");
  EXPECT_EQ(split_query(R"(a "b c)").words, "a b c");
  EXPECT_EQ(split_query(R"("b c)").filters, R"("b c)");
  EXPECT_EQ(split_query("- + \"").words, "");
  EXPECT_EQ(split_query("who is the mayor?").words, "who is the mayor?");
}

}  // namespace
}  // namespace fathom::live
