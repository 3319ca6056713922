// GET /v1/feed: order, resumption, filters, slow and leaving clients.
#include <gtest/gtest.h>

#include "server/fakes.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

/// A client that follows the feed and reads it event by event.
class Follower {
 public:
  Follower(uint16_t port, const std::string& query, const HeaderList& headers = {}, int receive_buffer = 0)
      : client(port, receive_buffer) {
    client.send(request_text("GET", "/v1/feed" + query, headers));
  }

  void open() {
    head = client.read_head();
    next();  // "retry"
  }

  std::map<std::string, std::string> next() {
    while (text_.find("\n\n") == std::string::npos) {
      const std::string piece = client.read_chunk();
      if (piece.empty()) return {};
      text_ += piece;
    }
    const size_t end = text_.find("\n\n") + 2;
    const auto event = parse_events(text_.substr(0, end)).front();
    text_.erase(0, end);
    return event;
  }

  std::map<std::string, std::string> next_of(const std::string& kind) {
    for (;;) {
      auto event = next();
      if (event.empty() || event["event"] == kind) return event;
    }
  }

  Client client;
  Answer head;

 private:
  std::string text_;
};

TEST(FeedStream, SendsWhatArrivesInOrder) {
  TestServer server;
  server.store.ingest({make_post("old", "before")});
  server.fiction = true;
  Follower follower(server.start(), "");
  follower.open();
  EXPECT_EQ(follower.head.status, 200);
  EXPECT_EQ(follower.head.header("content-type"), "text/event-stream");
  EXPECT_EQ(follower.head.header("cache-control"), "no-store");
  const auto clock = follower.next();
  EXPECT_EQ(clock.at("event"), "clock");
  EXPECT_EQ(clock.at("id"), "1");
  EXPECT_EQ(
      json::parse(clock.at("data")),
      json({{"feed_time", "2026-11-23T07:00:00Z"}, {"now", "2026-11-23T07:00:00Z"}, {"fiction", true}}));
  for (int i = 0; i < 200; ++i) server.store.ingest({make_post(std::to_string(i), "text\nwith lines")});
  for (int i = 0; i < 200; ++i) {
    const auto event = follower.next_of("post");
    EXPECT_EQ(event.at("id"), std::to_string(i + 2));
    const json post = json::parse(event.at("data"));
    EXPECT_EQ(post["key"], "x:" + std::to_string(i));
    EXPECT_EQ(post["sequence"], i + 2);
    EXPECT_EQ(post["text"], "text\nwith lines");
  }
}

TEST(FeedStream, ResumesWhereTheClientWas) {
  TestServer server;
  for (int i = 1; i <= 10; ++i) server.store.ingest({make_post(std::to_string(i), "a")});
  const uint16_t port = server.start();
  const std::vector<std::tuple<std::string, HeaderList, std::string>> cases = {
      {"", {{"Last-Event-ID", "7"}}, "8"},
      {"?after=4", {}, "5"},
      {"?after=4", {{"Last-Event-ID", "9"}}, "10"},
      {"?backlog=3", {}, "8"},
      {"?backlog=500", {}, "1"}};
  for (const auto& [query, headers, first] : cases) {
    Follower follower(port, query, headers);
    follower.open();
    EXPECT_EQ(follower.next_of("post").at("id"), first) << query;
  }
  Follower ahead(port, "", {{"Last-Event-ID", "900"}});  // of a store that is no more
  ahead.open();
  EXPECT_EQ(ahead.next_of("clock").at("id"), "10");
  EXPECT_EQ(get(port, "/v1/feed", {{"Last-Event-ID", "x"}}).status, 400);
  EXPECT_EQ(get(port, "/v1/feed?after=x").error()["param"], "after");
}

TEST(FeedStream, FiltersBySourceLanguageAndHandle) {
  TestServer server;
  for (int i = 0; i < 5000; ++i) server.store.ingest({make_post("n" + std::to_string(i), "noise", "world")});
  auto wanted = make_post("yes", "signal");
  wanted.lang = "de";
  wanted.author.handle = "Grace";
  auto deleted = make_post("gone", "");
  deleted.deleted = true;
  server.store.ingest({wanted, make_post("other", "x"), deleted});
  const uint16_t port = server.start();
  Follower by_source(port, "?after=0&source=x");
  by_source.open();
  EXPECT_EQ(by_source.next_of("post").at("id"), "5001");
  EXPECT_EQ(by_source.next_of("post").at("id"), "5002");
  EXPECT_EQ(by_source.next_of("delete").at("id"), "5003");
  Follower by_all(port, "?after=0&source=hackernews,x&lang=de&from=@gRACE");
  by_all.open();
  EXPECT_EQ(by_all.next_of("post").at("id"), "5001");
}

TEST(FeedStream, TheClockBeats) {
  TestServer server;
  server.options.limits.ping = milliseconds(20);
  Follower follower(server.start(), "");
  follower.open();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(follower.next().at("event"), "clock");
}

TEST(FeedStream, AClientThatDoesNotReadHoldsUpNobodyAndLosesNothing) {
  TestServer server;
  const uint16_t port = server.start();
  Follower slow(port, "?after=0", {}, 4096);
  Follower quick(port, "?after=0");
  quick.open();
  const std::string text(20'000, 'x');
  constexpr int kPosts = 600;  // 12 MB, far beyond the buffers between
  for (int i = 1; i <= kPosts; ++i) server.store.ingest({make_post(std::to_string(i), text)});
  for (int i = 1; i <= kPosts; ++i) ASSERT_EQ(quick.next_of("post").at("id"), std::to_string(i));
  slow.open();
  for (int i = 1; i <= kPosts; ++i) ASSERT_EQ(slow.next_of("post").at("id"), std::to_string(i));
}

TEST(FeedStream, AClientThatStopsReadingIsDropped) {
  TestServer server;
  server.options.limits.write_timeout = milliseconds(100);
  const uint16_t port = server.start();
  Follower stuck(port, "", {}, 4096);
  stuck.open();
  const std::string text(60'000, 'x');
  for (int i = 1; i <= 300; ++i) server.store.ingest({make_post(std::to_string(i), text)});
  bool dropped = false;
  for (int tries = 0; tries < 5000 && !dropped; ++tries) {
    dropped = get(port, "/metrics").body.find("fathom_feed_clients 0") != std::string::npos;
    if (!dropped) std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_TRUE(dropped);
}

TEST(FeedStream, ClientsThatLeaveMakeRoom) {
  TestServer server;
  server.options.limits.feed_clients = 2;
  const uint16_t port = server.start();
  auto first = std::make_unique<Follower>(port, "");
  first->open();
  Follower second(port, "");
  second.open();
  const Answer refused = get(port, "/v1/feed");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.error()["code"], "too_many_feed_clients");
  EXPECT_EQ(refused.header("retry-after"), "5");
  first.reset();
  int status = 429;
  for (int tries = 0; tries < 5000 && status != 200; ++tries) {
    Client client(port);
    client.send(request_text("GET", "/v1/feed"));
    status = client.read_head().status;
    if (status != 200) std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_EQ(status, 200);
}

TEST(FeedStream, StoppingTheServerEndsTheStreamInOrder) {
  TestServer server;
  Follower follower(server.start(), "");
  follower.open();
  server.stop();
  std::map<std::string, std::string> event;
  do {
    event = follower.next();
  } while (!event.empty());
  EXPECT_TRUE(follower.client.ends());
}

TEST(FeedJson, GivesTheNewestPosts) {
  TestServer server;
  for (int i = 1; i <= 10; ++i)
    server.store.ingest({make_post(std::to_string(i), "a", i % 2 == 0 ? "x" : "world")});
  const uint16_t port = server.start();
  const json body = get(port, "/v1/feed?limit=3", {{"Accept", "application/json"}}).json();
  ASSERT_EQ(body["posts"].size(), 3u);
  EXPECT_EQ(body["posts"][0]["sequence"], 10);
  EXPECT_EQ(body["last_sequence"], 10);
  EXPECT_EQ(body["fiction"], false);
  EXPECT_EQ(get(port, "/v1/feed?limit=3&source=world").json()["posts"][2]["sequence"], 5);
  EXPECT_EQ(get(port, "/v1/feed", {{"Accept", "application/json"}}).json()["posts"].size(), 10u);
  EXPECT_EQ(get(port, "/v1/feed?limit=501").error()["param"], "limit");
}

}  // namespace
}  // namespace fathom::server
