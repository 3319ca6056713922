// What bursts and what does not, and which posts tell one story: on small feeds made for one question each.
#include "live/trends/engine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "live/store_support.h"
#include "live/trends/headline.h"

namespace fathom::live {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using testing::kStart;
using testing::make_post;

/// A feed of small talk, to which a test adds what it is about.
class Feed {
 public:
  explicit Feed(const TrendOptions& options = {}) : engine(options) {}

  void post(Time time, std::string_view text, const std::string& author, std::string_view lang = "en") {
    Post post = make_post(fmt::format("{}", ++sequence), text, time);
    post.author.handle = author;
    post.lang = lang;
    add(post);
  }
  void add(const Post& post) {
    engine.add({sequence, post});
    if (engine.due()) picture = engine.evaluate();
  }

  /// Posts of random words from a list of `words`, one a minute, by a hundred people.
  void chat(Time from, Time to, size_t words = 400) {
    for (Time time = from; time < to; time += minutes(1)) {
      std::string text;
      for (int i = 0; i < 8; ++i) text += fmt::format("word{} ", random.below(words));
      post(time, text, fmt::format("person{}", random.below(100)));
    }
  }

  /// Words of the small talk, so that no two posts are alike.
  std::string other() {
    return fmt::format("word{} word{} word{}", random.below(400), random.below(400), random.below(400));
  }

  std::vector<std::string> trends() {
    picture = engine.evaluate();
    std::vector<std::string> out;
    for (const auto& trend : picture->trends) out.push_back(trend.trend.text);
    return out;
  }
  bool rises(std::string_view text) {
    const auto list = trends();
    return std::find(list.begin(), list.end(), text) != list.end();
  }

  TrendEngine engine;
  std::shared_ptr<const TrendPicture> picture;
  Random random{7};
  uint64_t sequence = 0;
};

TEST(Trends, AWordOfManyVoicesRisesAndAUsualOneDoesNot) {
  Feed feed;
  feed.chat(kStart, kStart + hours(10));
  EXPECT_FALSE(feed.rises("Earthquake felt"));
  for (int i = 0; i < 12; ++i)
    feed.post(kStart + hours(10) + minutes(i), fmt::format("Earthquake felt, {} word3", feed.other()),
              fmt::format("witness{}", i));
  EXPECT_TRUE(feed.rises("Earthquake felt") || feed.rises("Earthquake"));
  EXPECT_FALSE(feed.rises("word3"));
}

TEST(Trends, OneVoiceIsOneVoice) {
  Feed feed;
  feed.chat(kStart, kStart + hours(10));
  for (int i = 0; i < 50; ++i)
    feed.post(kStart + hours(10) + minutes(i / 2), fmt::format("Buy moonshine number {} today", i * 37),
              "seller");
  EXPECT_FALSE(feed.rises("moonshine"));
  EXPECT_FALSE(feed.rises("Buy moonshine"));
}

TEST(Trends, RepeatedTextCountsLess) {
  Feed feed;
  feed.chat(kStart, kStart + hours(10));
  for (int i = 0; i < 40; ++i)
    feed.post(kStart + hours(10) + minutes(i / 2), "Amazing elixir heals everything, order while it lasts",
              fmt::format("bot{}", i));
  for (int i = 0; i < 40; ++i)
    feed.post(kStart + hours(10) + minutes(i / 2),
              fmt::format("Volcano near word{} as seen from word{}", feed.random.below(400),
                          feed.random.below(400)),
              fmt::format("witness{}", i));
  feed.trends();
  double volcano = 0, elixir = 0;
  for (const auto& counted : feed.picture->trends) {
    if (counted.trend.text.starts_with("Volcano")) volcano = counted.trend.score;
    if (counted.trend.text.find("elixir") != std::string::npos) elixir = counted.trend.score;
  }
  EXPECT_GT(volcano, 5);
  EXPECT_LT(elixir, volcano / 4);
  for (const auto& counted : feed.picture->stories)
    EXPECT_EQ(counted.story.query.find("elixir"), std::string::npos) << "one text is no story";
}

TEST(Trends, WhatComesEveryDayAtThisHourIsExpected) {
  Feed feed;
  for (int day = 0; day < 3; ++day) {
    const Time morning = kStart + hours(24 * day);
    feed.chat(morning, morning + hours(8));
    for (int i = 0; i < 20; ++i)
      feed.post(morning + hours(8) + minutes(i), fmt::format("Coffee time, {}", feed.other()),
                fmt::format("drinker{}", i));
    if (day != 1) {
      EXPECT_EQ(feed.rises("Coffee time"), day == 0) << "new on the first day alone";
    }
    feed.chat(morning + hours(9), morning + hours(24));
  }
}

TEST(Trends, AreShownAsPeopleWriteThem) {
  Feed feed;
  feed.chat(kStart, kStart + hours(5));
  for (int i = 0; i < 10; ++i) {
    const std::string other = fmt::format("word{} word{}", feed.random.below(400), feed.random.below(400));
    feed.post(kStart + hours(5) + minutes(i), (i < 8 ? "#EuroVision " : "#eurovision ") + other,
              fmt::format("a{}", i));
    feed.post(kStart + hours(5) + minutes(i), "Priory Hill Station " + other, fmt::format("b{}", i));
    feed.post(kStart + hours(5) + minutes(i), "$ACME " + other, fmt::format("c{}", i));
    feed.post(kStart + hours(5) + minutes(i), "東京で地震 " + other, fmt::format("d{}", i), "ja");
  }
  const auto list = feed.trends();
  for (const char* text : {"#EuroVision", "Priory Hill Station", "$ACME"})
    EXPECT_TRUE(feed.rises(text)) << text << " is not in " << fmt::format("{}", fmt::join(list, ", "));
  EXPECT_TRUE(std::any_of(list.begin(), list.end(), [](const std::string& text) {
    return text.find("地震") != std::string::npos || text.find("東京") != std::string::npos;
  })) << fmt::format("{}", fmt::join(list, ", "));
}

/// Two events among small talk.
void two_events(Feed& feed, Time at, int posts = 12) {
  for (int i = 0; i < posts; ++i) {
    const std::string other = fmt::format("word{} word{}", feed.random.below(400), feed.random.below(400));
    feed.post(at + minutes(2 * i), fmt::format("Fire at the Kestrel tannery, {} engines {}", i + 3, other),
              fmt::format("fire{}", i));
    feed.post(at + minutes(2 * i + 1), fmt::format("Marlow wins the regatta by {} lengths {}", i + 2, other),
              fmt::format("boat{}", i));
  }
}

const CountedStory* story_with(const TrendPicture& picture, std::string_view word) {
  for (const auto& counted : picture.stories)
    if (counted.story.query.find(word) != std::string::npos) return &counted;
  return nullptr;
}

TEST(Stories, TwoEventsAreTwoStories) {
  Feed feed;
  feed.chat(kStart, kStart + hours(6));
  two_events(feed, kStart + hours(6));
  feed.trends();
  const auto* fire = story_with(*feed.picture, "tannery");
  const auto* race = story_with(*feed.picture, "regatta");
  ASSERT_TRUE(fire != nullptr && race != nullptr);
  EXPECT_NE(fire->story.id, race->story.id);
  EXPECT_EQ(fire->story.posts, 12u);
  EXPECT_EQ(fire->story.authors, 12u);
  EXPECT_EQ(fire->story.began, kStart + hours(6));
  uint64_t volume = 0;
  for (const uint64_t posts : fire->story.volume) volume += posts;
  EXPECT_EQ(volume, 12u);
}

TEST(Stories, KeepTheirNameWhileTheyLast) {
  Feed feed;
  feed.chat(kStart, kStart + hours(6));
  two_events(feed, kStart + hours(6));
  feed.trends();
  const auto* before = story_with(*feed.picture, "tannery");
  ASSERT_NE(before, nullptr);
  const std::string id = before->story.id;
  two_events(feed, kStart + hours(6) + minutes(40));
  feed.trends();
  const auto* after = story_with(*feed.picture, "tannery");
  ASSERT_NE(after, nullptr);
  EXPECT_EQ(after->story.id, id);
  EXPECT_EQ(after->story.began, kStart + hours(6));
  feed.chat(kStart + hours(8), kStart + hours(11));
  feed.trends();
  EXPECT_EQ(story_with(*feed.picture, "tannery"), nullptr) << "it is over";
  EXPECT_TRUE(feed.picture->by_id.contains(id)) << "and can still be looked up";
  feed.chat(kStart + hours(11), kStart + hours(40));
  feed.trends();
  EXPECT_FALSE(feed.picture->by_id.contains(id));
}

TEST(Stories, AHeadlineIsAnOriginalReport) {
  Feed feed;
  feed.chat(kStart, kStart + hours(6));
  const Time at = kStart + hours(6);
  two_events(feed, at, 6);
  Post report =
      make_post("report", "Fire brigade: the fire at the Kestrel tannery is under control, 9 engines remain.",
                at + minutes(14));
  report.author.handle = "brigade";
  report.links = {"https://brigade.example/1"};
  report.metrics.likes = 40;
  ++feed.sequence;
  feed.add(report);
  for (int i = 0; i < 5; ++i) {
    Post repost = make_post(fmt::format("rt{}", i), "RT @brigade: " + report.text, at + minutes(15 + i));
    repost.author.handle = fmt::format("fan{}", i);
    repost.repost_of = "report";
    ++feed.sequence;
    feed.add(repost);
    feed.post(at + minutes(15 + i), "omg fire tannery!!", fmt::format("shocked{}", i));
  }
  feed.trends();
  const auto* fire = story_with(*feed.picture, "tannery");
  ASSERT_NE(fire, nullptr);
  EXPECT_EQ(fire->story.keys.front(), "test:report");
}

TEST(Stories, ADeletedPostIsGone) {
  Feed feed;
  feed.chat(kStart, kStart + hours(6));
  two_events(feed, kStart + hours(6));
  feed.trends();
  const std::string key = story_with(*feed.picture, "tannery")->story.keys.front();
  ++feed.sequence;
  feed.add(testing::make_delete(key.substr(key.find(':') + 1), kStart + hours(7)));
  feed.trends();
  const auto& keys = story_with(*feed.picture, "tannery")->story.keys;
  EXPECT_EQ(std::find(keys.begin(), keys.end(), key), keys.end());
}

TEST(Trends, TheSameFeedGivesTheSamePicture) {
  Feed one, two;
  for (Feed* feed : {&one, &two}) {
    feed->chat(kStart, kStart + hours(6));
    two_events(*feed, kStart + hours(6));
  }
  EXPECT_EQ(one.trends(), two.trends());
  ASSERT_EQ(one.picture->stories.size(), two.picture->stories.size());
  for (size_t i = 0; i < one.picture->stories.size(); ++i) {
    EXPECT_EQ(one.picture->stories[i].story.id, two.picture->stories[i].story.id);
    EXPECT_EQ(one.picture->stories[i].story.keys, two.picture->stories[i].story.keys);
  }
}

TEST(Trends, MemoryIsBoundedAndABurstIsStillSeen) {
  TrendOptions options;
  options.most_terms = 2000;
  Feed feed(options);
  feed.chat(kStart, kStart + hours(10), 100'000);  // nearly every word is new
  EXPECT_LE(feed.engine.terms(), 2000u);
  two_events(feed, kStart + hours(10));
  feed.trends();
  EXPECT_LE(feed.engine.terms(), 2000u);
  EXPECT_NE(story_with(*feed.picture, "tannery"), nullptr);
}

TEST(Trends, LateAndAncientPostsDoNoHarm) {
  Feed feed;
  feed.chat(kStart, kStart + hours(6));
  two_events(feed, kStart + hours(6));
  feed.post(kStart - hours(24 * 365 * 30), "Fire at the Kestrel tannery long ago", "old");
  feed.post(Time{}, "at the epoch", "old");
  feed.post(Time{} - hours(10), "before the epoch", "old");
  feed.post(kStart + hours(6), "Fire at the Kestrel tannery, told late", "late");
  feed.trends();
  EXPECT_NE(story_with(*feed.picture, "tannery"), nullptr);
  feed.post(kStart + hours(24 * 400), "a year later", "new");
  EXPECT_TRUE(feed.trends().empty());
}

TEST(Headline, IsOneLineCutAtAWord) {
  EXPECT_EQ(headline_text("RT @a: Hello\n\n  there"), "Hello there");
  EXPECT_EQ(headline_text("one two three four", 12), "one two\xE2\x80\xA6");
  EXPECT_EQ(headline_text(std::string(50, 'x'), 10), std::string(10, 'x') + "\xE2\x80\xA6");
}

}  // namespace
}  // namespace fathom::live
