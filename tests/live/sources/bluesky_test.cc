#include "live/sources/bluesky.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "live/sources/bluesky_authors.h"
#include "live/sources/feed_support.h"
#include "support/http_server.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;
using test::FeedServer;

const Time kStart = *parse_time("2026-07-04T14:40:00Z");
constexpr const char* kAda = "did:plc:ada";

int64_t micros(Time time) { return time.time_since_epoch().count(); }

std::string event(Time time, const std::string& operation, const std::string& collection,
                  const std::string& key, const json& record) {
  json commit{{"rev", "3m"}, {"operation", operation}, {"collection", collection}, {"rkey", key}};
  if (!record.is_null()) commit["record"] = record;
  return json{{"did", kAda}, {"time_us", micros(time)}, {"kind", "commit"}, {"commit", commit}}.dump();
}

std::string post(Time time, const std::string& key, const std::string& text,
                 const char* operation = "create") {
  return event(time, operation, "app.bsky.feed.post", key,
               {{"text", text}, {"createdAt", format_time(time)}});
}

std::string like(Time time, const std::string& key) {
  return event(time, "create", "app.bsky.feed.like", "like" + key,
               {{"subject", {{"uri", fmt::format("at://{}/app.bsky.feed.post/{}", kAda, key)}}}});
}

std::string key_of(const std::string& key) { return fmt::format("bluesky:{}/{}", kAda, key); }

/// A Jetstream host whose connections are scripted.
class FakeJetstream {
 public:
  using Script = std::function<void(FeedConnection&, int connection)>;

  explicit FakeJetstream(Script script)
      : script_(std::move(script)), server_([this](FeedConnection& c) {
          int number = 0;
          {
            const std::lock_guard lock(mutex_);
            targets_.push_back(c.request().target);
            number = static_cast<int>(targets_.size()) - 1;
          }
          script_(c, number);
        }) {}

  std::string url() const { return server_.ws_url(); }
  std::vector<std::string> targets() const {
    const std::lock_guard lock(mutex_);
    return targets_;
  }

 private:
  Script script_;
  mutable std::mutex mutex_;
  std::vector<std::string> targets_;
  FeedServer server_;  // last: ends before what its threads use
};

class BlueskyTest : public ::testing::Test {
 protected:
  void start(const std::vector<const FakeJetstream*>& hosts) {
    options_.hosts.clear();
    for (const auto* host : hosts) options_.hosts.push_back(host->url());
    harness_.start(make_bluesky_source(options_, *sockets_, *transport_, clock_));
  }

  BlueskyTest() { options_.app_view.clear(); }

  BlueskyOptions options_;
  std::unique_ptr<Transport> transport_ = make_transport();
  std::unique_ptr<WebSockets> sockets_ = make_web_sockets();
  ManualClock clock_{kStart};
  test::SourceHarness harness_{clock_};
};

TEST_F(BlueskyTest, PostsArriveChangeAndGo) {
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 3s, "a", "first"));
    c.send(post(kStart - 2s, "b", "second"));
    while (!harness_.has(key_of("b")) && c.pause(2ms)) {
    }
    c.send(post(kStart - 1s, "a", "first, better", "update"));
    c.send(event(kStart, "delete", "app.bsky.feed.post", "b", nullptr));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  EXPECT_TRUE(eventually([&] { return harness_.post(key_of("a")).text == "first, better"; }));
  EXPECT_TRUE(harness_.goes(key_of("b")));
  EXPECT_EQ(harness_.status().state, SourceState::kLive);
  EXPECT_EQ(host.targets().at(0),
            "/subscribe?wantedCollections=app.bsky.feed.post&wantedCollections=app.bsky.feed.like&"
            "wantedCollections=app.bsky.feed.repost");
}

TEST_F(BlueskyTest, ABreakIsTakenUpALittleBeforeItAtTheNextHost) {
  FakeJetstream second([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 9s, "a", "again"));
    c.send(post(kStart - 8s, "b", "after the break"));
    c.hang();
  });
  FakeJetstream first([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 9s, "a", "again"));
    while (!harness_.has(key_of("a")) && c.pause(2ms)) {
    }
    c.close(1001, "restarting");
  });
  start({&first, &second});
  ASSERT_TRUE(harness_.comes(key_of("b")));
  EXPECT_EQ(harness_.times(key_of("a")), 2u);
  EXPECT_NE(second.targets().at(0).find(fmt::format("&cursor={}", micros(kStart - 14s))), std::string::npos)
      << second.targets().at(0);
  EXPECT_NE(harness_.status().last_error.find("1001 (restarting)"), std::string::npos);
}

TEST_F(BlueskyTest, ARestartGoesOnAtTheCursor) {
  FakeJetstream host([&](FeedConnection& c, int connection) {
    c.upgrade();
    c.send(post(kStart - 1s, connection == 0 ? "a" : "b", "text"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("b")));
  EXPECT_EQ(host.targets().at(0).find("cursor"), std::string::npos);
  EXPECT_NE(host.targets().at(1).find(fmt::format("cursor={}", micros(kStart - 6s))), std::string::npos);
}

TEST_F(BlueskyTest, LikesAreCountedOnceThoughTheyComeAgain) {
  FakeJetstream host([&](FeedConnection& c, int connection) {
    c.upgrade();
    if (connection == 0) c.send(post(kStart - 9s, "a", "liked"));
    c.send(like(kStart - 8s, "a"));
    c.send(like(kStart - 7s, "a"));
    if (connection == 1) {
      c.send(like(kStart - 6s, "a"));
      c.send(post(kStart - 5s, "end", "end"));
      c.hang();
    }
    while (!harness_.has(key_of("a")) && c.pause(2ms)) {
    }
    c.close(1000);
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("end")));
  harness_.stop();
  EXPECT_EQ(harness_.post(key_of("a")).metrics.likes, 3);
}

TEST_F(BlueskyTest, PostsOfAnAccountThatIsGoneAreRemoved) {
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 3s, "a", "mine"));
    while (!harness_.has(key_of("a")) && c.pause(2ms)) {
    }
    c.send(json{{"did", kAda},
                {"time_us", micros(kStart)},
                {"kind", "account"},
                {"account", {{"active", false}, {"did", kAda}, {"status", "deactivated"}}}}
               .dump());
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  EXPECT_TRUE(harness_.goes(key_of("a")));
}

TEST_F(BlueskyTest, AWithdrawnLikeIsCountedBack) {
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 9s, "a", "liked"));
    c.send(like(kStart - 8s, "a"));
    while (harness_.post(key_of("a")).metrics.likes.value_or(0) != 1 && c.pause(2ms)) {
    }
    c.send(event(kStart - 7s, "delete", "app.bsky.feed.like", "likea", nullptr));
    c.send(event(kStart - 6s, "delete", "app.bsky.feed.like", "likeb", nullptr));  // of what, nobody knows
    c.send(post(kStart - 5s, "b", "end"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("b")));
  EXPECT_TRUE(eventually([&] { return harness_.post(key_of("a")).metrics.likes.value_or(0) == 0; }));
}

std::string renamed(Time time, const std::string& handle) {
  return json{{"did", kAda},
              {"time_us", micros(time)},
              {"kind", "identity"},
              {"identity", {{"did", kAda}, {"handle", handle}}}}
      .dump();
}

TEST_F(BlueskyTest, AuthorsStandUnderTheirHandlesAndGoByTheirDids) {
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 9s, "a", "nameless"));
    c.send(renamed(kStart - 8s, "ada.example"));
    c.send(post(kStart - 7s, "b", "named"));
    c.send(renamed(kStart - 6s, "handle.invalid"));
    c.send(post(kStart - 5s, "c", "still named"));
    while (!harness_.has(key_of("c")) && c.pause(2ms)) {
    }
    c.send(json{
        {"did", kAda}, {"time_us", micros(kStart)}, {"kind", "account"}, {"account", {{"active", false}}}}
               .dump());
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("c")));
  EXPECT_EQ(harness_.post(key_of("b")).author.handle, "ada.example");
  EXPECT_EQ(harness_.post(key_of("b")).author.id, kAda);
  EXPECT_EQ(harness_.post(key_of("c")).author.handle, "ada.example");
  for (const char* key : {"a", "b", "c"}) EXPECT_TRUE(harness_.goes(key_of(key))) << key;
}

TEST_F(BlueskyTest, UnknownAuthorsAreAskedForAtTheAppView) {
  std::atomic<bool> asked{false};
  std::string target;
  test::HttpServer app_view([&](const test::ServerRequest& request, test::Reply& reply) {
    target = request.target;
    reply.send(
        200,
        json{{"profiles",
              {{{"did", kAda}, {"handle", "ada.example"}, {"displayName", "Ada"}, {"followersCount", 12}}}}}
            .dump());
    asked = true;
  });
  options_.app_view = app_view.url("");
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart - 9s, "a0", "first"));
    // The answer is used a moment after it was given.
    for (int i = 1; harness_.cursor().size() < 1000 && c.pause(5ms); ++i) {
      c.send(
          post(kStart - 9s + std::chrono::milliseconds(i), fmt::format("a{}", i), fmt::format("text {}", i)));
      if (!asked || !harness_.has(key_of(fmt::format("a{}", i - 1)))) continue;
      if (harness_.post(key_of(fmt::format("a{}", i - 1))).author.handle == "ada.example") break;
    }
    c.send(post(kStart - 1s, "z", "last"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("z")));
  EXPECT_EQ(target, "/xrpc/app.bsky.actor.getProfiles?actors=did%3Aplc%3Aada");
  const Author author = harness_.post(key_of("z")).author;
  EXPECT_EQ(author.handle, "ada.example");
  EXPECT_EQ(author.id, kAda);
  EXPECT_EQ(author.name, "Ada");
  EXPECT_EQ(author.followers, 12);
}

TEST(BlueskyAuthors, ProfilesAreReadLeniently) {
  const auto authors = parse_bluesky_profiles(
      R"({"profiles":[7,{"did":"did:plc:a","handle":"a.example"},{"did":"x","handle":"b.example"},
          {"did":"did:plc:c","handle":"handle.invalid"},{"handle":"d.example"}]})");
  ASSERT_EQ(authors.size(), 1u);
  EXPECT_EQ(authors[0].handle, "a.example");
  for (const char* text : {"", "[]", "{\"profiles\":{}}"}) EXPECT_THROW(parse_bluesky_profiles(text), Error);
}

TEST(RecentMap, HoldsAFewAndForgetsTheOldest) {
  RecentMap<int, int> map(10);
  for (int i = 0; i < 100; ++i) {
    map.set(i, 2 * i);
    EXPECT_LE(map.size(), 10u);
    ASSERT_NE(map.find(0), nullptr) << "what is asked for again and again stays";
    EXPECT_EQ(*map.find(0), 0);
  }
  EXPECT_EQ(map.find(50), nullptr);
  EXPECT_EQ(*map.find(99), 198);
  map.erase(99);
  EXPECT_EQ(map.find(99), nullptr);
}

TEST_F(BlueskyTest, ManyAccountsAreSentInAMessage) {
  for (int i = 0; i < 200; ++i) options_.dids.push_back(fmt::format("did:plc:user{}", i));
  std::string hello;
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    hello = c.receive().value_or("");
    c.send(post(kStart, "a", "filtered"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  EXPECT_NE(host.targets().at(0).find("requireHello=true"), std::string::npos);
  EXPECT_EQ(host.targets().at(0).find("wantedDids"), std::string::npos);
  const json message = json::parse(hello);
  EXPECT_EQ(message["type"], "options_update");
  EXPECT_EQ(message["payload"]["wantedDids"].size(), 200u);
}

TEST_F(BlueskyTest, AFewAccountsStandInTheAddress) {
  options_.dids = {"did:plc:one", "did:web:two.example"};
  options_.counts = false;
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart, "a", "filtered"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  EXPECT_EQ(host.targets().at(0),
            "/subscribe?wantedCollections=app.bsky.feed.post&wantedDids=did%3Aplc%3Aone&"
            "wantedDids=did%3Aweb%3Atwo.example");
}

TEST_F(BlueskyTest, GarbageIsLeftOut) {
  FakeJetstream host([&](FeedConnection& c, int) {
    c.upgrade();
    for (const char* text :
         {"", "{", "[]", R"({"kind":"commit"})", R"({"time_us":5,"kind":"commit","did":"x"})"})
      c.send(text);
    c.send_binary("\x28\xB5\x2F\xFD");
    c.send(post(kStart, "a", "good"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  EXPECT_EQ(harness_.status().rejected, 6u);
  EXPECT_EQ(host.targets().size(), 1u);
}

TEST_F(BlueskyTest, AHostWhoseClockIsAheadLeavesNoGap) {
  FakeJetstream host([&](FeedConnection& c, int connection) {
    c.upgrade();
    if (connection == 0) {
      c.send(post(kStart - 1s, "a", "now"));
      c.send(post(kStart + 24h, "b", "tomorrow"));
      while (!harness_.has(key_of("b")) && c.pause(2ms)) {
      }
      c.close(1000);
    }
    c.send(post(kStart, "c", "after"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("c")));
  EXPECT_NE(host.targets().at(1).find(fmt::format("cursor={}", micros(kStart - 6s))), std::string::npos);
}

TEST_F(BlueskyTest, AStreamThatIsBehindIsNotLiveYet) {
  std::atomic<bool> go{false};
  FakeJetstream host([&](FeedConnection& c, int connection) {
    c.upgrade();
    c.send(post(connection == 0 ? kStart - 1s : kStart - 2h, connection == 0 ? "a" : "b", "text"));
    while (connection == 1 && !go && c.pause(2ms)) {
    }
    if (connection == 1) c.send(post(kStart - 1s, "c", "current"));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("b")));
  EXPECT_EQ(harness_.status().state, SourceState::kConnecting);
  go = true;
  EXPECT_TRUE(eventually([&] { return harness_.status().state == SourceState::kLive; }));
}

TEST_F(BlueskyTest, OneHostThatRefusesIsPassedOverAllThatRefuseEndIt) {
  FakeJetstream refusing([](FeedConnection& c, int) { c.answer(403, "go away"); });
  FakeJetstream open([&](FeedConnection& c, int) {
    c.upgrade();
    c.send(post(kStart, "a", "here"));
    c.hang();
  });
  start({&refusing, &open});
  ASSERT_TRUE(harness_.comes(key_of("a")));
  harness_.stop();
  start({&refusing, &refusing});
  EXPECT_TRUE(harness_.fails(SourceState::kFailed, "go away"));
}

TEST_F(BlueskyTest, Version2GoesOnAtItsNumberAndForgetsOneThatIsTooOld) {
  options_.version = 2;
  const auto message = [](int sequence, const std::string& key) {
    return json{{"$type", "message"},
                {"payload",
                 {{"$type", "network.bsky.jetstream.subscribeEvents#commit"},
                  {"seq", sequence},
                  {"did", kAda},
                  {"time", format_time(kStart)},
                  {"operation", "create"},
                  {"collection", "app.bsky.feed.post"},
                  {"rkey", key},
                  {"record", {{"text", "t"}}}}}}
        .dump();
  };
  FakeJetstream host([&](FeedConnection& c, int connection) {
    if (connection == 1) return void(c.answer(400, R"({"error":"CursorTooOld"})"));
    c.upgrade("xrpc.v1.json");
    c.send(message(4711 + connection, connection == 0 ? "a" : "b"));
    while (connection == 0 && !harness_.has(key_of("a")) && c.pause(2ms)) {
    }
    if (connection == 0) return void(c.close(1000));
    c.hang();
  });
  start({&host});
  ASSERT_TRUE(harness_.comes(key_of("b")));
  EXPECT_TRUE(host.targets().at(0).starts_with("/xrpc/network.bsky.jetstream.subscribeEvents?collections="));
  EXPECT_NE(host.targets().at(1).find("cursor=4711"), std::string::npos);
  EXPECT_EQ(host.targets().at(2).find("cursor"), std::string::npos);
}

TEST_F(BlueskyTest, RefusesOptionsThatCannotWork) {
  const auto make = [&] { make_bluesky_source(options_, *sockets_, *transport_, clock_); };
  EXPECT_NO_THROW(make());
  options_.dids = {"ada.example"};
  EXPECT_THROW(make(), Error);
  options_.dids.assign(10001, "did:plc:a");
  EXPECT_THROW(make(), Error);
  options_.dids.clear();
  options_.version = 3;
  EXPECT_THROW(make(), Error);
  options_.version = 1;
  options_.hosts = {"https://example.org"};
  EXPECT_THROW(make(), Error);
  options_.hosts.clear();
  EXPECT_THROW(make(), Error);
}

}  // namespace
}  // namespace fathom::live
