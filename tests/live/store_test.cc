// What the store promises: visible at return, replaced and deleted for good, filters, folding, the feed's clock, restarts.
#include "live/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "base/error.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kStart;
using testing::make_delete;
using testing::make_post;
using testing::TestStore;
using ::testing::UnorderedElementsAre;
using namespace std::chrono_literals;

TEST(Store, VisibleWhenIngestReturns) {
  TestStore s;
  EXPECT_TRUE(s.search("storm").hits.empty());
  EXPECT_TRUE(s.ids("").empty());
  const auto result = s.store->ingest({make_post("1", "A storm is coming"), make_post("2", "Sunny")});
  EXPECT_EQ(result.added, 2u);
  const auto found = s.search("storms");
  ASSERT_EQ(found.hits.size(), 1u);
  EXPECT_EQ(found.hits[0].post.text, "A storm is coming");
  EXPECT_EQ(found.hits[0].matched_terms, 1u);
  EXPECT_GT(found.hits[0].score, 0);
  EXPECT_EQ(found.query_terms, 1u);
  ASSERT_EQ(found.terms.size(), 1u);
  EXPECT_EQ(found.terms[0], (std::pair<std::string, size_t>("storm", 1)));
  EXPECT_EQ(found.matched, 1u);
  EXPECT_TRUE(found.matched_exact);
}

TEST(Store, SurvivesARestart) {
  TestStore s({make_post("1", "first words"), make_post("2", "second words")});
  const auto before = s.store->tail(0, 10);
  s.reopen();
  const auto after = s.store->tail(0, 10);
  ASSERT_EQ(after.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(after[i].sequence, before[i].sequence);
    EXPECT_EQ(after[i].post.text, before[i].post.text);
  }
  EXPECT_THAT(s.ids("words"), UnorderedElementsAre("1", "2"));
  EXPECT_EQ(s.store->feed_time(), kStart);
}

TEST(Store, ReplacesAndRecognisesDuplicates) {
  TestStore s({make_post("1", "three people hurt")});
  Post again = make_post("1", "three people hurt");
  again.received_at += 1h;
  EXPECT_EQ(s.store->ingest({again}).duplicates, 1u);
  EXPECT_EQ(s.store->stats().last_sequence, 1u);
  const auto result =
      s.store->ingest({make_post("1", "four people hurt"), make_post("1", "five people hurt")});
  EXPECT_EQ(result.replaced, 2u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(s.ids("three"), IsEmpty());
    EXPECT_THAT(s.ids("four"), IsEmpty());
    EXPECT_THAT(s.ids("five"), ElementsAre("1"));
    EXPECT_EQ(s.store->find("test:1")->text, "five people hurt");
    EXPECT_EQ(s.store->stats().posts, 1u);
    EXPECT_EQ(s.store->tail(0, 10).size(), 1u);
    EXPECT_EQ(s.store->tail(0, 10)[0].sequence, 3u);
    s.reopen();
  }
}

TEST(Store, DeletesForGood) {
  TestStore s({make_post("1", "wrong claim"), make_post("2", "right claim")});
  EXPECT_EQ(s.store->ingest({make_delete("1", kStart + 1h)}).deleted, 1u);
  for (int round = 0; round < 3; ++round) {
    EXPECT_THAT(s.ids("claim"), ElementsAre("2"));
    EXPECT_FALSE(s.store->find("test:1").has_value());
    EXPECT_EQ(s.store->stats().posts, 1u);
    EXPECT_EQ(s.store->newest(10).size(), 1u);
    EXPECT_EQ(s.store->ingest({make_post("1", "wrong claim")}).stale, 1u);
    EXPECT_EQ(s.store->ingest({make_delete("1", kStart + 1h)}).duplicates, 1u);
    s.reopen();
  }
  EXPECT_EQ(s.store->ingest({make_post("1", "said anew", kStart + 2h)}).added, 1u);
  s.reopen();
  EXPECT_THAT(s.ids("anew"), ElementsAre("1"));
}

TEST(Store, ADeleteThatComesFirstKeepsTheLatePostOut) {
  TestStore s;
  EXPECT_EQ(s.store->ingest({make_delete("9", kStart)}).deleted, 0u);
  s.reopen();
  EXPECT_EQ(s.store->ingest({make_post("9", "late", kStart - 1h)}).stale, 1u);
  EXPECT_THAT(s.ids("late"), IsEmpty());
  EXPECT_EQ(s.store->stats().posts, 0u);
}

TEST(Store, AddAndDeleteInOneCall) {
  TestStore s;
  const auto result = s.store->ingest(
      {make_post("1", "gone"), make_delete("1", kStart), make_post("1", "back", kStart + 1s)});
  EXPECT_EQ(result.added, 2u);
  EXPECT_EQ(result.deleted, 1u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(s.ids("gone"), IsEmpty());
    EXPECT_THAT(s.ids("back"), ElementsAre("1"));
    s.reopen();
  }
}

TEST(Store, SequencesRiseOverRestartsAndDeletes) {
  TestStore s({make_post("1", "a1"), make_post("2", "a2")});
  s.store->ingest({make_delete("2", kStart + 1h)});
  const uint64_t last = s.store->stats().last_sequence;
  s.reopen();
  EXPECT_EQ(s.store->stats().last_sequence, last);
  s.store->ingest({make_post("3", "a3")});
  EXPECT_EQ(s.store->newest(1)[0].sequence, last + 1);
}

TEST(Store, OneBadPostRefusesTheWholeCall) {
  TestStore s;
  Post bad = make_post("", "no id");
  try {
    s.store->ingest({make_post("1", "good"), bad});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("post 2 of 2"));
    EXPECT_THAT(error.what(), HasSubstr("'id'"));
  }
  EXPECT_EQ(s.store->stats().posts, 0u);
}

TEST(Store, AFolderInUseIsRefused) {
  TestStore s;
  try {
    Store::open({s.dir.path() / "feed", false}, s.clock);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_THAT(error.what(), HasSubstr("in use"));
  }
}

TEST(Store, AFolderThatIsAFileIsRefused) {
  const TempDir dir;
  write_file_atomic(dir.path() / "feed", "x");
  ManualClock clock;
  EXPECT_THROW(Store::open({dir.path() / "feed", false}, clock), Error);
}

TEST(Store, AFolderOfAnEarlierVersionThatCannotBeReadIsNamed) {
  TestStore s({make_post("1", "a")});
  s.store.reset();
  std::ofstream(s.dir.path() / "feed" / "CURRENT") << "MANIFEST-999999\n";
  try {
    s.open();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((s.dir.path() / "feed").string()));
  }
}

TEST(Store, FiltersNarrow) {
  Post a = make_post("a", "storm in town http://paper.org/1", kStart);
  a.author.handle = "Ann";
  a.lang = "en-GB";
  a.metrics.likes = 10;
  a.metrics.views = 1000;
  Post b = make_post("b", "@carl storm at sea", kStart + 1h);
  b.author.handle = "bob";
  b.lang = "de";
  b.source = "other";
  TestStore s({a, b});
  EXPECT_THAT(s.ids("storm from:ann"), ElementsAre("a"));
  EXPECT_THAT(s.ids("storm -from:ANN"), ElementsAre("b"));
  EXPECT_THAT(s.ids("from:ann from:bob"), UnorderedElementsAre("a", "b"));
  EXPECT_THAT(s.ids("from:ann nowhere"), IsEmpty());
  EXPECT_THAT(s.ids("storm lang:en"), ElementsAre("a"));
  EXPECT_THAT(s.ids("storm source:other"), ElementsAre("b"));
  EXPECT_THAT(s.ids("storm source:none"), IsEmpty());
  EXPECT_THAT(s.ids("storm min_likes:10"), ElementsAre("a"));
  EXPECT_THAT(s.ids("storm min_likes:11"), IsEmpty());
  EXPECT_THAT(s.ids("storm min_views:1000"), ElementsAre("a"));
  EXPECT_THAT(s.ids("has:link"), ElementsAre("a"));
  EXPECT_THAT(s.ids("-has:link storm"), ElementsAre("b"));
  EXPECT_THAT(s.ids("to:carl"), ElementsAre("b"));
  EXPECT_THAT(s.ids("paper.org"), ElementsAre("a"));
  EXPECT_THAT(s.ids("storm until:2026-03-01T01:00:00Z"), ElementsAre("a"));
  EXPECT_THAT(s.ids("storm since:2026-03-01T01:00:00Z"), ElementsAre("b"));
  Query query;
  query.text = "storm";
  query.authors = {"@ANN"};
  EXPECT_THAT(s.ids(query), ElementsAre("a"));
  query.authors.clear();
  query.not_authors = {"ann"};
  EXPECT_THAT(s.ids(query), ElementsAre("b"));
}

TEST(Store, WordsPhrasesTagsExclusions) {
  TestStore s({make_post("1", "The Boston Marathon began"), make_post("2", "marathon talks in Boston"),
               make_post("3", "#BostonMarathon runners"), make_post("4", "nothing of the kind")});
  EXPECT_THAT(s.ids("\"boston marathon\""), UnorderedElementsAre("1", "3"));
  EXPECT_THAT(s.ids("marathon -\"boston marathon\""), ElementsAre("2"));
  EXPECT_THAT(s.ids("#bostonmarathon"), ElementsAre("3"));
  EXPECT_THAT(s.ids("+talks boston"), ElementsAre("2"));
  EXPECT_THAT(s.ids("boston -talks -runners"), ElementsAre("1"));
  EXPECT_THAT(s.ids("the"), UnorderedElementsAre("1", "4"));
  EXPECT_EQ(s.ids("").size(), 4u);
  Query all;
  all.text = "boston talks";
  all.require_all = true;
  EXPECT_THAT(s.ids(all), ElementsAre("2"));
}

TEST(Store, FoundAcrossScriptsAndAccents) {
  TestStore s({make_post("fr",
                         "\xC3\x89meutes \xC3\xA0 Orl\xC3\xA9"
                         "ans"),
               make_post("ja", "\xE6\x9D\xB1\xE4\xBA\xAC\xE9\x83\xBD\xE3\x81\xA7\xE5\x9C\xB0\xE9\x9C\x87"),
               make_post("ru",
                         "\xD0\x9D\xD0\xBE\xD0\xB2\xD0\xBE\xD1\x81\xD1\x82\xD0\xB8 \xD0\x9C\xD0\xBE\xD1\x81"
                         "\xD0\xBA\xD0\xB2\xD1\x8B")});
  EXPECT_THAT(s.ids("emeutes orleans"), ElementsAre("fr"));
  EXPECT_THAT(s.ids("\xE6\x9D\xB1\xE4\xBA\xAC"), ElementsAre("ja"));
  EXPECT_THAT(s.ids("\xD0\x9C\xD0\x9E\xD0\xA1\xD0\x9A\xD0\x92\xD0\x90"), ElementsAre("ru"));
}

TEST(Store, TagsAndLinksBesideTheTextAreFound) {
  Post post = make_post("1", "look at this");
  post.tags = {"BigGame"};
  post.links = {"https://www.paper.example/story"};
  TestStore s({post});
  EXPECT_THAT(s.ids("#biggame"), ElementsAre("1"));
  EXPECT_THAT(s.ids("game"), ElementsAre("1"));
  EXPECT_THAT(s.ids("has:link paper.example"), ElementsAre("1"));
}

TEST(Store, OrdersByNewest) {
  TestStore s({make_post("old", "storm", kStart - 5h), make_post("new", "a storm of a kind", kStart),
               make_post("mid", "storm storm", kStart - 1h)});
  Query query;
  query.text = "storm";
  query.order = Query::Order::kNewest;
  query.fold = false;
  EXPECT_THAT(s.ids(query), ElementsAre("new", "mid", "old"));
  query.limit = 1;
  EXPECT_THAT(s.ids(query), ElementsAre("new"));
  query.limit = 0;
  EXPECT_THAT(s.ids(query), IsEmpty());
}

TEST(Store, EngagementAndFreshnessLift) {
  Post liked = make_post("liked", "storm news", kStart);
  liked.metrics.likes = 5000;
  TestStore s(
      {liked, make_post("plain", "storm news", kStart), make_post("old", "storm news", kStart - 24h * 30)});
  EXPECT_THAT(s.ids("storm"), ElementsAre("liked", "plain", "old"));
  EXPECT_THAT(s.ids(what_is_going_on(kStart - 1h, 10)), ElementsAre("liked"));  // the two are one statement
}

TEST(Store, FoldsRepostsIntoTheOriginal) {
  Post original = make_post("1", "The dam at Orvik has been closed for repairs until Friday", kStart);
  Post repost =
      make_post("2", "RT @ann: The dam at Orvik has been closed for repairs until Friday", kStart + 1h);
  Post cut =
      make_post("3", "RT @ann: The dam at Orvik has been closed for repairs unt\xE2\x80\xA6", kStart + 2h);
  Post by_id = make_post("4", "this", kStart + 3h);
  by_id.repost_of = "1";
  by_id.text = "Orvik dam: see below";
  TestStore s({original, repost, cut, by_id});
  const auto found = s.search("Orvik dam closed");
  ASSERT_EQ(found.hits.size(), 1u);
  EXPECT_EQ(found.hits[0].post.id, "1");
  EXPECT_THAT(found.hits[0].folded, UnorderedElementsAre("test:2", "test:3", "test:4"));
  EXPECT_EQ(found.matched, 4u);
}

TEST(Store, DoesNotFoldWhatDiffersInSense) {
  TestStore s({make_post("1", "Officials say 12 people were hurt in the Orvik fire"),
               make_post("2", "Officials say 15 people were hurt in the Orvik fire"),
               make_post("3", "Officials say people were not hurt in the Orvik fire"),
               make_post("4", "Officials say people were hurt in the Orvik fire"),
               make_post("5", "Officials say people were hurt in the Marnes fire")});
  EXPECT_EQ(s.search("officials fire hurt").hits.size(), 5u);
}

TEST(Store, FoldingFetchesEnough) {
  std::vector<Post> posts;
  for (int i = 0; i < 400; ++i)
    posts.push_back(make_post("r" + std::to_string(i), "RT @ann: the bridge over the river is closed today",
                              kStart + 1h));
  for (int i = 0; i < 5; ++i)
    posts.push_back(make_post("o" + std::to_string(i), "bridge number " + std::to_string(i) +
                                                           " of many across the wide valley near here"));
  TestStore s(posts);
  EXPECT_EQ(s.search("bridge", 6).hits.size(), 6u);
}

TEST(Store, FeedClockIgnoresTimesFarAhead) {
  TestStore s;
  EXPECT_EQ(s.store->feed_time(), Time{});
  s.store->ingest({make_post("1", "now"), make_post("2", "later", s.clock.now() + 23h)});
  EXPECT_EQ(s.store->feed_time(), s.clock.now() + 23h);
  s.store->ingest({make_post("3", "far ahead", s.clock.now() + 25h)});
  EXPECT_EQ(s.store->feed_time(), s.clock.now() + 23h);
  Post fiction = make_post("4", "a day of another calendar", s.clock.now() + 24h * 2000);
  fiction.fiction = true;
  s.store->ingest({fiction});
  EXPECT_EQ(s.store->feed_time(), fiction.created_at);
}

TEST(Store, TailNewestAndWait) {
  TestStore s;
  EXPECT_FALSE(s.store->wait_for(0, 1ms, {}));
  std::vector<Post> posts;
  for (int i = 1; i <= 10; ++i) posts.push_back(make_post(std::to_string(i), "post"));
  s.store->ingest(posts);
  EXPECT_TRUE(s.store->wait_for(0, 0ms, {}));
  EXPECT_FALSE(s.store->wait_for(10, 1ms, {}));
  const auto tail = s.store->tail(7, 2);
  ASSERT_EQ(tail.size(), 2u);
  EXPECT_EQ(tail[0].sequence, 8u);
  EXPECT_EQ(s.store->newest(3)[0].post.id, "10");
  EXPECT_TRUE(s.store->tail(10, 5).empty());
  EXPECT_TRUE(s.store->tail(UINT64_MAX, 5).empty());
}

TEST(Store, AWaiterWakesForAPostAndForAStop) {
  TestStore s;
  std::thread writer([&] {
    std::this_thread::sleep_for(20ms);
    s.store->ingest({make_post("1", "x")});
  });
  EXPECT_TRUE(s.store->wait_for(0, 20s, {}));
  writer.join();
  std::stop_source stop;
  std::thread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_FALSE(s.store->wait_for(1, 20s, stop.get_token()));
  stopper.join();
}

TEST(Store, StatsBySource) {
  Post other = make_post("1", "x");
  other.source = "other";
  TestStore s({make_post("1", "some words"), make_post("2", "more"), other});
  const auto stats = s.store->stats();
  EXPECT_EQ(stats.posts, 3u);
  EXPECT_EQ(stats.ingested, 3u);
  EXPECT_THAT(stats.by_source, ElementsAre(std::pair<std::string, uint64_t>("other", 1),
                                           std::pair<std::string, uint64_t>("test", 2)));
  EXPECT_GT(stats.index_bytes, 0u);
  EXPECT_GE(stats.terms, 4u);
}

TEST(Store, AnAuthorIsFoundByADidWhateverTheHandle) {
  Post named = make_post("1", "first words");
  named.author = {"ada.example", "did:plc:ada", "Ada", {}};
  Post renamed = make_post("2", "second words");
  renamed.author = {"ada.example.org", "did:plc:ada", "Ada", {}};
  Post other = make_post("3", "third words");
  other.author = {"bob", "4711", "Bob", {}};
  const TestStore s({named, renamed, other});
  EXPECT_EQ(s.ids("from:did:plc:ada").size(), 2u);
  EXPECT_EQ(s.ids("from:@ada.example"), std::vector<std::string>{"1"});
  EXPECT_TRUE(s.ids("from:4711").empty());
}

}  // namespace
}  // namespace fathom::live
