#include "live/sources/rss.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/transport.h"
#include "live/sources/rss_feed.h"
#include "support/http_server.h"
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::HttpServer;
using test::Reply;
using test::ServerRequest;
using Headers = std::map<std::string, std::string>;

std::string item(std::string_view guid, std::string_view title, std::string_view date = "") {
  return fmt::format("<item><guid isPermaLink=\"false\">{}</guid><title>{}</title>{}</item>", guid, title,
                     date.empty() ? "" : fmt::format("<pubDate>{}</pubDate>", date));
}
std::string feed(std::string_view items, std::string_view channel = "") {
  return fmt::format("<rss version=\"2.0\"><channel><title>T</title>{}{}</channel></rss>", channel, items);
}

/// A site whose pages are set by the test. Thread-safe.
class Site {
 public:
  struct Page {
    int status = 200;
    std::string body;
    Headers headers = {};
  };
  Site() : server_([this](const ServerRequest& request, Reply& reply) { answer(request, reply); }) {}

  std::string url(std::string_view path) const { return server_.url(path); }
  void put(const std::string& path, Page page) {
    const std::lock_guard lock(mutex_);
    pages_[path] = std::move(page);
  }
  int asked(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = asked_.find(path);
    return found == asked_.end() ? 0 : found->second;
  }
  Headers last_headers() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  void answer(const ServerRequest& request, Reply& reply) {
    Page page;
    {
      const std::lock_guard lock(mutex_);
      ++asked_[request.target];
      last_ = request.headers;
      const auto found = pages_.find(request.target);
      page = found == pages_.end() ? Page{.status = 404, .body = ""} : found->second;
    }
    if (const auto etag = page.headers.find("ETag");
        etag != page.headers.end() && page.status == 200 && request.header("if-none-match") == etag->second)
      page = {.status = 304, .body = "", .headers = {}};
    reply.send(page.status, page.body, page.headers);
  }

  mutable std::mutex mutex_;
  std::map<std::string, Page> pages_;
  std::map<std::string, int> asked_;
  Headers last_;
  HttpServer server_;
};

class RssTest : public ::testing::Test {
 protected:
  RssTest() {
    options_.first_interval = options_.shortest = options_.longest = 20ms;
    options_.keep = 5ms;
    runner_options_ = {
        .flush_interval = 5ms, .cursor_interval = 5ms, .retry_first = 5ms, .retry_longest = 20ms};
    cursors_ = open_cursor_file(folder_.path() / "cursors.json");
  }

  void start(std::vector<std::string> feeds) {
    options_.feeds = std::move(feeds);
    runner_ = std::make_unique<SourceRunner>(store_, *cursors_, clock_, runner_options_);
    runner_->add(make_rss_source(options_, *transport_, clock_));
  }
  /// The texts of all posts, in the order of their arrival, repeated ones too.
  std::vector<std::string> texts() const {
    std::vector<std::string> texts;
    for (const std::string& key : store_.order())
      if (const auto post = store_.find(key)) texts.push_back(post->text);
    return texts;
  }
  SourceStatus status() const { return runner_->status().at(0); }
  /// Waits until the page has been asked for so many times more.
  bool polled(const std::string& path, int times) {
    const int before = site_.asked(path);
    return eventually([&] { return site_.asked(path) >= before + times; });
  }

  const TempDir folder_;
  const SystemClock clock_;
  const std::unique_ptr<Transport> transport_ = make_transport();
  test::MemoryStore store_;
  std::unique_ptr<CursorStore> cursors_;
  RunnerOptions runner_options_;
  RssOptions options_;
  Site site_;
  std::unique_ptr<SourceRunner> runner_;
};

TEST_F(RssTest, NewAndChangedEntriesComeOnce) {
  site_.put("/f", {.body = feed(item("2", "two", "Mon, 23 Nov 2026 06:35:00 GMT") +
                                item("1", "one", "Mon, 23 Nov 2026 05:35:00 GMT"))});
  start({site_.url("/f")});
  ASSERT_TRUE(polled("/f", 3));
  EXPECT_EQ(texts(), (std::vector<std::string>{"one", "two"}));
  site_.put("/f",
            {.body = feed(item("3", "three") + item("2", "two, edited", "Mon, 23 Nov 2026 06:35:00 GMT"))});
  ASSERT_TRUE(eventually([&] { return store_.stats().ingested == 4; }));
  ASSERT_TRUE(polled("/f", 2));
  EXPECT_EQ(store_.stats().ingested, 4u);
  EXPECT_EQ(store_.stats().posts, 3u);
  EXPECT_EQ(status().state, SourceState::kLive);
}

TEST_F(RssTest, AFeedThatHasNotChangedIsNotSentAgain) {
  site_.put("/f", {.body = feed(item("1", "one")),
                   .headers = {{"ETag", "\"v1\""}, {"Last-Modified", "Mon, 23 Nov 2026 06:35:00 GMT"}}});
  start({site_.url("/f")});
  ASSERT_TRUE(polled("/f", 3));
  EXPECT_EQ(site_.last_headers()["if-none-match"], "\"v1\"");
  EXPECT_EQ(site_.last_headers()["if-modified-since"], "Mon, 23 Nov 2026 06:35:00 GMT");
  EXPECT_EQ(store_.stats().ingested, 1u);
}

TEST_F(RssTest, ARestartKnowsWhatWasSeen) {
  site_.put("/f", {.body = feed(item("1", "undated")), .headers = {{"ETag", "\"v1\""}}});
  start({site_.url("/f")});
  ASSERT_TRUE(eventually([&] { return store_.stats().posts == 1; }));
  const Time first = store_.find(store_.order()[0])->created_at;
  runner_.reset();
  site_.put("/f", {.body = feed(item("1", "undated") + item("2", "other")), .headers = {{"ETag", "\"v2\""}}});
  start({site_.url("/f")});
  ASSERT_TRUE(eventually([&] { return store_.stats().posts == 2; }));
  EXPECT_EQ(store_.find(store_.order()[0])->created_at, first);
  EXPECT_EQ(site_.last_headers().count("if-none-match"), 1u);
}

TEST_F(RssTest, OneBadFeedDoesNotHoldUpTheOthers) {
  site_.put("/good", {.body = feed(item("1", "fine"))});
  site_.put("/bad", {.body = "<rss><channel><item>"});
  site_.put("/half", {.body = "<rss><channel>" + item("1", "half") + "<item>"});
  start({site_.url("/bad"), site_.url("/good"), site_.url("/half"), site_.url("/missing")});
  ASSERT_TRUE(eventually([&] { return store_.stats().posts == 2; }));
  ASSERT_TRUE(polled("/good", 3));
  EXPECT_EQ(status().state, SourceState::kLive);
  EXPECT_GE(status().rejected, 1u);
  EXPECT_FALSE(status().last_error.empty());
}

TEST_F(RssTest, AMoveForGoodIsKeptAndOneForNowIsNot) {
  site_.put("/old", {.status = 301, .body = "", .headers = {{"Location", "/new"}}});
  site_.put("/now", {.status = 302, .body = "", .headers = {{"Location", "/new"}}});
  site_.put("/new", {.body = feed(item("1", "here"))});
  start({site_.url("/old")});
  ASSERT_TRUE(polled("/new", 3));
  EXPECT_EQ(site_.asked("/old"), 1);
  runner_.reset();
  start({site_.url("/old")});  // it is known over a restart
  ASSERT_TRUE(polled("/new", 2));
  EXPECT_EQ(site_.asked("/old"), 1);
  runner_.reset();
  start({site_.url("/now")});
  ASSERT_TRUE(polled("/now", 3));
}

TEST_F(RssTest, APageStandsForTheFeedThatItNames) {
  site_.put("/", {.body = "<html><link rel=alternate type=application/rss+xml href=/f></html>"});
  site_.put("/f", {.body = feed(item("1", "found"))});
  start({site_.url("/")});
  ASSERT_TRUE(polled("/f", 2));
  EXPECT_EQ(site_.asked("/"), 1);
  EXPECT_EQ(texts(), std::vector<std::string>{"found"});
}

TEST_F(RssTest, WhatIsGoneIsLeftAlone) {
  site_.put("/f", {.body = feed(item("1", "fine"))});
  site_.put("/gone", {.status = 410, .body = ""});
  start({site_.url("/f"), site_.url("/gone")});
  ASSERT_TRUE(polled("/f", 4));
  EXPECT_EQ(site_.asked("/gone"), 1);
}

TEST_F(RssTest, WithoutAnyFeedTheSourceFails) {
  start({site_.url("/none")});
  ASSERT_TRUE(runner_->wait_finished({}));
  EXPECT_EQ(status().state, SourceState::kFailed);
  EXPECT_THAT(status().last_error, testing::HasSubstr("404"));
}

TEST_F(RssTest, StopsInTheMiddleOfARequest) {
  HttpServer silent([](const ServerRequest&, Reply& reply) { reply.hang(); });
  start({silent.url("/f")});
  ASSERT_TRUE(eventually([&] { return silent.requests() == 1; }));
  runner_->stop();
  EXPECT_EQ(status().state, SourceState::kStopped);
}

TEST(RssSource, RefusesWhatIsNoAddress) {
  const SystemClock clock;
  const auto transport = make_transport();
  EXPECT_THROW(make_rss_source({.feeds = {}}, *transport, clock), Error);
  EXPECT_THROW(make_rss_source({.feeds = {"a b"}}, *transport, clock), Error);
  EXPECT_THROW(make_rss_source({.feeds = {"https://h/", "ftp://h/"}}, *transport, clock), Error);
}

// --- when a feed is asked again; no network, a clock that stands still

/// Answers with what it is given.
class CannedTransport final : public Transport {
 public:
  HttpResponse fetch(const HttpRequest&, const std::stop_token&) override { return answer; }
  HttpResponse stream(const HttpRequest&, const std::function<bool(std::string_view)>&,
                      const std::stop_token&) override {
    return answer;
  }
  HttpResponse answer;
};

class ScheduleTest : public ::testing::Test {
 protected:
  /// Polls once; returns how long until the feed is due again.
  Micros poll(const HttpResponse& answer) {
    transport_.answer = answer;
    feed_.take(feed_.fetch(transport_, clock_, {}), clock_.now());
    return feed_.due() - clock_.now();
  }
  static HttpResponse ok(std::string body, std::map<std::string, std::string> headers = {}) {
    return {.status = 200, .headers = std::move(headers), .body = std::move(body)};
  }

  ManualClock clock_{*parse_time("2026-11-23T06:30:00Z")};  // a Monday
  CannedTransport transport_;
  RssOptions options_;
  RssFeed feed_{"https://s.example/f", options_};
};

TEST_F(ScheduleTest, TheIntervalFollowsWhatTheFeedBrings) {
  EXPECT_EQ(poll(ok(feed(item("1", "x")))), 150s);
  EXPECT_EQ(poll(ok(feed(item("2", "x")))), 75s);
  EXPECT_EQ(poll(ok(feed(item("3", "x")))), 60s);
  EXPECT_EQ(poll(ok(feed(item("3", "x")))), 90s);
  EXPECT_EQ(poll({.status = 304, .headers = {}, .body = ""}), 135s);
  for (int i = 0; i < 20; ++i) poll({.status = 304, .headers = {}, .body = ""});
  EXPECT_EQ(poll({.status = 304, .headers = {}, .body = ""}), 3600s);
}

TEST_F(ScheduleTest, WhatTheServerAndTheFeedAskForIsKept) {
  EXPECT_EQ(poll(ok(feed(item("1", "x"), "<ttl>120</ttl>"))), 7200s);
  EXPECT_EQ(poll(ok(feed(item("2", "x")), {{"cache-control", "max-age=5000"}})), 5000s);
  EXPECT_EQ(poll({.status = 429, .headers = {{"retry-after", "4000"}}, .body = ""}), 4000s);
  EXPECT_EQ(poll(ok(feed(item("3", "x"), "<skipHours><hour>6</hour><hour>7</hour></skipHours>"))), 90min);
  EXPECT_EQ(poll(ok(feed(item("4", "x"), "<skipDays><day>Monday</day></skipDays>"))), 17h + 30min);
}

TEST_F(ScheduleTest, FailuresAreWaitedForLongerAndLonger) {
  const HttpResponse down{.status = 500, .headers = {}, .body = ""};
  EXPECT_EQ(poll(down), 60s);
  EXPECT_EQ(poll(down), 120s);
  for (int i = 0; i < 20; ++i) poll(down);
  EXPECT_EQ(poll(down), 6h);
  EXPECT_EQ(poll(ok(feed(item("1", "x")))), 150s);
  EXPECT_EQ(poll(down), 60s);
}

}  // namespace
}  // namespace fathom::live
