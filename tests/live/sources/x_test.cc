#include "live/sources/x.h"

#include "base/error.h"
#include "live/sources/x_server.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using namespace test::x;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;

TEST_F(XTest, PostsOfTheStreamArrive) {
  const uint64_t first = id_at(kStart - 2s), second = id_at(kStart - 1s);
  x_.on_stream([&](FeedConnection& c, int) {
    c.begin_stream();
    const std::string both = "\r\n" + frame(first, "one") + "\r\n" + frame(second, "two");
    c.piece(both.substr(0, 50));  // cut anywhere
    c.piece(both.substr(50));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(first)));
  ASSERT_TRUE(harness_.comes(key(second)));
  EXPECT_EQ(harness_.post(key(second)).author.handle, "ada");
  EXPECT_EQ(harness_.status().state, SourceState::kLive);
  EXPECT_TRUE(eventually([&] { return harness_.cursor().starts_with(std::to_string(second)); }));
  const std::string target = x_.targets().at(0);
  EXPECT_TRUE(target.starts_with("/2/tweets/sample/stream?tweet.fields=")) << target;
  EXPECT_NE(target.find("note_tweet"), std::string::npos);
  EXPECT_NE(target.find("expansions=author_id,referenced_tweets.id"), std::string::npos);
  EXPECT_EQ(target.find("backfill"), std::string::npos);
}

TEST_F(XTest, TheAccountsRulesBecomeThoseThatAreWanted) {
  options_.mode = XMode::kFiltered;
  options_.rules = {"cat has:images", "from:nasa"};
  x_.add_rule("1", "from:nasa", "fathom/x");
  x_.add_rule("2", "old one", "fathom/x");
  x_.add_rule("3", "old one too", "someone else");
  x_.on_stream([](FeedConnection& c, int) {
    c.begin_stream();
    c.hang();
  });
  start();
  ASSERT_TRUE(eventually([&] { return x_.streams() == 1; }));
  EXPECT_EQ(x_.rules(),
            (std::map<std::string, std::string>{
                {"cat has:images", "fathom/x"}, {"from:nasa", "fathom/x"}, {"old one too", "someone else"}}));
  EXPECT_TRUE(x_.targets().at(0).starts_with("/2/tweets/search/stream?"));
}

TEST_F(XTest, ARefusedRuleEndsTheSource) {
  options_.mode = XMode::kFiltered;
  options_.rules = {"("};
  start();
  EXPECT_TRUE(harness_.fails(SourceState::kFailed, "missing )"));
}

TEST_F(XTest, AStreamThatBreaksIsTakenUpAtOnce) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    c.begin_stream();
    c.piece(frame(id_at(kStart, static_cast<uint64_t>(connection)), "part"));
    if (connection < 3) return;  // broken off in the middle of the stream
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart, 3))));
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(harness_.has(key(id_at(kStart, i))));
  for (const auto wait : clock_.slept()) EXPECT_EQ(wait, 0ms);
}

TEST_F(XTest, NothingAtAllIsADeadConnection) {
  options_.silence = 100ms;
  x_.on_stream([&](FeedConnection& c, int connection) {
    c.begin_stream();
    if (connection == 1) c.piece(frame(id_at(kStart), "again"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept().at(0), 250ms);
}

TEST_F(XTest, SignsOfLifeKeepAStreamOpen) {
  options_.silence = 400ms;
  x_.on_stream([&](FeedConnection& c, int) {
    c.begin_stream();
    for (int i = 0; i < 12; ++i) {
      c.piece("\r\n");
      c.pause(60ms);
    }
    c.piece(frame(id_at(kStart), "at last"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(x_.streams(), 1);
}

TEST_F(XTest, FailuresOfTheNetworkWaitLongerEachTime) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    if (connection < 4) return c.drop();
    c.begin_stream();
    c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept(), (std::vector<std::chrono::milliseconds>{250ms, 500ms, 750ms, 1000ms}));
}

TEST_F(XTest, AStreamThatOnlyOpensIsNoSuccess) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    c.begin_stream();
    c.piece("\r\n");
    if (connection < 3) return c.drop();
    c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept(), (std::vector<std::chrono::milliseconds>{250ms, 500ms, 750ms}));
}

TEST_F(XTest, RefusalsDoubleTheWait) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    if (connection < 8) return void(c.answer(503, "{}"));
    c.begin_stream();
    c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept(),
            (std::vector<std::chrono::milliseconds>{5s, 10s, 20s, 40s, 80s, 160s, 320s, 320s}));
}

TEST_F(XTest, ARateLimitIsWaitedForAsItSays) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    if (connection == 0) return void(c.answer(429, R"({"title":"ConnectionException","detail":"too many"})"));
    if (connection == 1) {
      const auto reset =
          std::chrono::floor<std::chrono::seconds>(clock_.now() + 500s).time_since_epoch().count();
      return void(c.answer(429, "{}", {{"x-rate-limit-reset", std::to_string(reset)}}));
    }
    c.begin_stream();
    c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept(), (std::vector<std::chrono::milliseconds>{60s, 500s}));
}

TEST_F(XTest, ProblemsInTheStreamAreWaitedFor) {
  x_.on_stream([&](FeedConnection& c, int connection) {
    c.begin_stream();
    if (connection == 0)
      c.piece(R"({"errors":[{"title":"operational-disconnect","detail":"upstream"}]})"
              "\r\n");
    if (connection == 1)
      c.piece(R"({"errors":[{"title":"ConnectionException","connection_issue":"TooManyConnections"}]})"
              "\r\n");
    if (connection == 2) c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(clock_.slept(), (std::vector<std::chrono::milliseconds>{5s, 60s}));
}

TEST_F(XTest, AWrongTokenEndsTheSourceAndIsNotTold) {
  options_.bearer_token = "wr0ng";
  start();
  ASSERT_TRUE(harness_.fails(SourceState::kFailed, "bearer token"));
  EXPECT_EQ(harness_.status().last_error.find("wr0ng"), std::string::npos);
}

TEST_F(XTest, GarbageIsLeftOut) {
  x_.on_stream([&](FeedConnection& c, int) {
    c.begin_stream();
    c.piece("<html>\r\n{\"data\":\r\n{\"data\":{\"text\":\"no id\"}}\r\n\xFF\xFE\r\n[1]\r\n{\"news\":1}\r\n");
    c.piece(std::string(3 << 20, 'x') + "\r\n");
    c.piece(frame(id_at(kStart), "good"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_EQ(harness_.status().rejected, 6u);
  EXPECT_EQ(x_.streams(), 1);
}

TEST_F(XTest, EditsReplaceAndDeletionsRemove) {
  const uint64_t first = id_at(kStart, 1), second = id_at(kStart + 1s, 2), gone = id_at(kStart, 3);
  x_.on_stream([&](FeedConnection& c, int) {
    c.begin_stream();
    c.piece(frame(first, "frist") + frame(gone, "soon gone"));
    while (!(harness_.has(key(first)) && harness_.has(key(gone))) && c.pause(2ms)) {
    }
    json edited = json::parse(post_json(second, "first"));
    edited["edit_history_tweet_ids"] = {std::to_string(first), std::to_string(second)};
    c.piece(json{{"data", edited}}.dump() + "\r\n");
    c.piece(fmt::format(R"({{"data":{{"delete":{{"tweet":{{"id":"{}"}}}}}}}})", gone) + "\r\n");
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(second)));
  EXPECT_TRUE(harness_.goes(key(first)));
  EXPECT_TRUE(harness_.goes(key(gone)));
}

TEST_F(XTest, ARestartAsksForTheGap) {
  options_.backfill_minutes = 5;
  x_.on_stream([&](FeedConnection& c, int connection) {
    c.begin_stream();
    c.piece(frame(id_at(kStart - 90s, static_cast<uint64_t>(connection)), "part"));
    c.hang();
  });
  start();
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart - 90s, 1))));
  EXPECT_EQ(x_.targets().at(0).find("backfill_minutes"), std::string::npos);
  EXPECT_NE(x_.targets().at(1).find("backfill_minutes=2"), std::string::npos) << x_.targets().at(1);
}

TEST_F(XTest, TheNewSpellingIsUsedWhereTheOldOneIsRefused) {
  x_.on_stream([&](FeedConnection& c, int) {
    if (c.request().target.find("post.fields") == std::string::npos)
      return void(c.answer(400, R"({"title":"Invalid Request"})"));
    c.begin_stream();
    c.piece(frame(id_at(kStart), "here"));
    c.hang();
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart))));
  EXPECT_TRUE(clock_.slept().empty());
  EXPECT_NE(x_.targets().at(1).find("referenced_posts.id"), std::string::npos);
}

TEST_F(XTest, ABadRequestInBothSpellingsEndsTheSource) {
  x_.on_stream([](FeedConnection& c, int) {
    c.answer(400, R"({"title":"Invalid Request","detail":"no such rule"})");
  });
  start();
  EXPECT_TRUE(harness_.fails(SourceState::kFailed, "no such rule"));
}

TEST_F(XTest, StopEndsAStreamPromptly) {
  options_.silence = 1h;
  x_.on_stream([](FeedConnection& c, int) {
    c.begin_stream();
    c.hang();
  });
  start();
  ASSERT_TRUE(eventually([&] { return harness_.status().state == SourceState::kLive; }));
  const auto begin = std::chrono::steady_clock::now();
  harness_.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(XTest, RefusesOptionsThatCannotWork) {
  const auto make = [&] { make_x_source(options_, *transport_, clock_); };
  options_.bearer_token.clear();
  EXPECT_THROW(make(), Error);
  options_.bearer_token = "t";
  EXPECT_NO_THROW(make());
  options_.mode = XMode::kFiltered;
  EXPECT_THROW(make(), Error);
  options_.mode = XMode::kSearch;
  EXPECT_THROW(make(), Error);
  options_.query = std::string(5000, 'x');
  EXPECT_THROW(make(), Error);
  options_.query = "cat";
  EXPECT_NO_THROW(make());
  options_.api_url = "ftp://x";
  EXPECT_THROW(make(), Error);
}

}  // namespace
}  // namespace fathom::live
