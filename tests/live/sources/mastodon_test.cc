#include "live/sources/mastodon.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/transport.h"
#include "base/websocket.h"
#include "live/sources/mastodon_status.h"
#include "support/feed_server.h"
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;
using test::FeedServer;

json status_json(const std::string& id, const std::string& content) {
  return {{"id", id},
          {"created_at", "2026-11-20T10:00:00.250Z"},
          {"content", content},
          {"visibility", "public"},
          {"url", "https://h.example/@ada/" + id},
          {"account", {{"acct", "ada"}, {"display_name", "Ada"}, {"followers_count", 7}}}};
}

Post only_post(const json& status) {
  const auto parsed = parse_mastodon_status(status.dump(), "h.example", Time(9s));
  EXPECT_EQ(parsed.posts.size(), 1u);
  return parsed.posts.empty() ? Post{} : parsed.posts[0];
}

// --- one status

TEST(MastodonStatus, HtmlBecomesTextAndTheRestItsFields) {
  json status = status_json(
      "115", R"(<p>Looms &amp; cards<br>see <a href="https://a.example/x"><span>a.example/x</span></a>
      <a class="mention" href="https://h.example/@bob">@bob</a> <a href="https://h.example/tags/Looms">#Looms</a></p>)");
  status["language"] = "en";
  status["in_reply_to_id"] = "110";
  status["favourites_count"] = 3;
  status["reblogs_count"] = 2;
  status["replies_count"] = 1;
  status["mentions"] = {{{"url", "https://h.example/@bob"}}};
  status["tags"] = {{{"name", "looms"}, {"url", "https://h.example/tags/looms"}}};
  status["card"] = {{"url", "https://card.example/"}, {"title", "Card"}};
  const Post post = only_post(status);
  EXPECT_EQ(post.key(), "mastodon:115@h.example");
  EXPECT_EQ(post.author.handle, "ada@h.example");
  EXPECT_EQ(post.author.name, "Ada");
  EXPECT_EQ(post.author.followers, 7);
  EXPECT_EQ(post.text, "Looms & cards\nsee a.example/x @bob #Looms");
  EXPECT_EQ(post.lang, "en");
  EXPECT_EQ(format_time(post.created_at), "2026-11-20T10:00:00.250000Z");
  EXPECT_EQ(post.url, "https://h.example/@ada/115");
  EXPECT_EQ(post.reply_to, "110@h.example");
  EXPECT_EQ(post.links, (std::vector<std::string>{"https://a.example/x", "https://card.example/"}));
  EXPECT_EQ(post.tags, std::vector<std::string>{"looms"});
  EXPECT_EQ(post.metrics.likes, 3);
  EXPECT_EQ(post.metrics.reposts, 2);
  EXPECT_EQ(post.metrics.replies, 1);
  EXPECT_FALSE(post.sensitive);
  validate(post);
}

TEST(MastodonStatus, AWarningGoesBeforeTheTextAndMarksIt) {
  json status = status_json("1", "<p>the end</p>");
  status["spoiler_text"] = "Film";
  const Post post = only_post(status);
  EXPECT_EQ(post.text, "Film\n\nthe end");
  EXPECT_TRUE(post.sensitive);
}

TEST(MastodonStatus, OnlyPublicOnesWithWordsArePosts) {
  for (const char* visibility : {"unlisted", "private", "direct", ""}) {
    json status = status_json("1", "x");
    status["visibility"] = visibility;
    EXPECT_TRUE(parse_mastodon_status(status.dump(), "h", {}).posts.empty()) << visibility;
  }
  json picture = status_json("1", "");
  EXPECT_TRUE(parse_mastodon_status(picture.dump(), "h", {}).posts.empty());
  picture["media_attachments"] = {{{"description", "A loom"}}};
  EXPECT_EQ(only_post(picture).text, "A loom");
  json poll = status_json("1", "<p>Which?</p>");
  poll["poll"] = {{"options", {{{"title", "Wool"}}, {{"title", "Linen"}}}}};
  EXPECT_EQ(only_post(poll).text, "Which?\n- Wool\n- Linen");
}

TEST(MastodonStatus, AReblogBringsItsOriginal) {
  json status = status_json("9", "");
  status["account"]["acct"] = "eve@other.example";
  status["reblog"] = status_json("5", "<p>first</p>");
  const auto parsed = parse_mastodon_status(status.dump(), "h.example", {});
  ASSERT_EQ(parsed.posts.size(), 2u);
  EXPECT_EQ(parsed.posts[0].id, "5@h.example");
  EXPECT_EQ(parsed.posts[1].id, "9@h.example");
  EXPECT_EQ(parsed.posts[1].repost_of, "5@h.example");
  EXPECT_EQ(parsed.posts[1].text, "first");
  EXPECT_EQ(parsed.posts[1].author.handle, "eve@other.example");
  status["reblog"]["visibility"] = "private";
  EXPECT_TRUE(parse_mastodon_status(status.dump(), "h.example", {}).posts.empty());
}

TEST(MastodonStatus, HostileOnesAreRefusedOrHeldInBounds) {
  for (const char* text :
       {"", "{", "[]", "7", "null", "{}", R"({"id":7})", R"({"id":"a b"})", R"({"id":""})"})
    EXPECT_THROW(parse_mastodon_status(text, "h", {}), Error) << text;
  json status = status_json("1", std::string(500'000, 'x'));
  status["url"] = "javascript:alert(1)";
  status["language"] = std::string(1000, 'e');
  status["created_at"] = 7;
  status["favourites_count"] = -4;
  status["account"] = "none";
  status["tags"] = {1, {{"name", std::string(9999, 't')}}};
  const Post post = only_post(status);
  EXPECT_LE(post.text.size(), kMaxTextBytes);
  EXPECT_EQ(post.url, "");
  EXPECT_EQ(post.lang, "");
  EXPECT_EQ(post.created_at, Time(9s));
  EXPECT_FALSE(post.metrics.likes.has_value());
  validate(post);
}

TEST(MastodonStatus, IdsAreOrderedByTime) {
  EXPECT_TRUE(mastodon_id_before("9", "10"));
  EXPECT_FALSE(mastodon_id_before("10", "9"));
  EXPECT_TRUE(mastodon_id_before("AbC", "AbD"));
  EXPECT_EQ(mastodon_id_earlier(std::to_string(uint64_t{5000} << 16), 2s),
            std::to_string(uint64_t{3000} << 16));
  EXPECT_EQ(mastodon_id_earlier("5", 2s), "0");
  EXPECT_EQ(mastodon_id_earlier("AbC", 2s), "AbC");
}

// --- a server

/// A small Mastodon. Thread-safe.
class Instance {
 public:
  Instance() : server_([this](FeedConnection& connection) { answer(connection); }) {}

  std::string url() const { return server_.url(); }
  /// Called with each stream, counted from 1, once it is set up.
  std::function<void(FeedConnection&, int)> on_stream = [](FeedConnection& c, int) { c.hang(); };
  std::string streaming;  // configuration.urls.streaming; empty: its own
  int stream_status = 200;

  void add(const std::string& id, const std::string& text) {
    const std::lock_guard lock(mutex_);
    std::erase_if(statuses_, [&](const json& status) { return status["id"] == id; });
    statuses_.push_back(status_json(id, text));
    std::sort(statuses_.begin(), statuses_.end(), [](const json& a, const json& b) {
      return std::stoll(a["id"].get<std::string>()) < std::stoll(b["id"].get<std::string>());
    });
  }
  void remove(const std::string& id) {
    const std::lock_guard lock(mutex_);
    std::erase_if(statuses_, [&](const json& status) { return status["id"] == id; });
  }
  std::vector<std::string> subscriptions() const {
    const std::lock_guard lock(mutex_);
    return subscriptions_;
  }
  std::vector<std::string> targets() const {
    const std::lock_guard lock(mutex_);
    return targets_;
  }
  std::string authorization() const {
    const std::lock_guard lock(mutex_);
    return authorization_;
  }
  int streams() const { return streams_.load(); }

 private:
  void answer(FeedConnection& c) {
    const std::string target = c.request().target;
    {
      const std::lock_guard lock(mutex_);
      targets_.push_back(target);
      authorization_ = c.request().header("authorization");
    }
    if (target == "/api/v2/instance") {
      const std::string at = streaming.empty() ? "ws://" + server_.url().substr(7) : streaming;
      c.answer(200, json{{"configuration", {{"urls", {{"streaming", at}}}}}}.dump());
    } else if (target.starts_with("/api/v1/timelines/")) {
      c.answer(200, page(target));
    } else if (!target.starts_with("/api/v1/streaming")) {
      c.answer(404, "{}");
    } else if (stream_status != 200) {
      c.answer(stream_status, R"({"error":"The access token is invalid"})", {{"Retry-After", "7"}});
    } else if (c.wants_web_socket()) {
      if (!c.upgrade()) return;
      const auto subscription = c.receive();
      if (!subscription) return;
      {
        const std::lock_guard lock(mutex_);
        subscriptions_.push_back(*subscription);
      }
      on_stream(c, ++streams_);
    } else {
      c.begin_stream({{"Content-Type", "text/event-stream"}});
      c.piece(":)\n\n");
      on_stream(c, ++streams_);
    }
  }

  /// As Mastodon pages: those right above min_id, or the newest, all or below max_id; newest first.
  std::string page(const std::string& target) const {
    const std::lock_guard lock(mutex_);
    const size_t at = target.find("min_id=");
    const int64_t above = at == std::string::npos ? -1 : std::stoll(target.substr(at + 7));
    const size_t most = target.find("max_id=");
    const int64_t below = most == std::string::npos ? INT64_MAX : std::stoll(target.substr(most + 7));
    json list = json::array();
    for (const json& status : statuses_) {
      const int64_t id = std::stoll(status["id"].get<std::string>());
      if (id > above && id < below) list.push_back(status);
    }
    constexpr size_t kMost = 40;
    if (list.size() > kMost && above >= 0) list.erase(list.begin() + kMost, list.end());
    if (list.size() > kMost) list.erase(list.begin(), list.end() - kMost);
    return json(std::vector<json>(list.rbegin(), list.rend())).dump();
  }

  mutable std::mutex mutex_;
  std::vector<json> statuses_;
  std::vector<std::string> subscriptions_, targets_;
  std::string authorization_;
  std::atomic<int> streams_{0};
  FeedServer server_;
};

std::string envelope(const std::string& event, const std::string& payload) {
  return json{{"stream", {"public"}}, {"event", event}, {"payload", payload}}.dump();
}

class MastodonTest : public ::testing::Test {
 protected:
  MastodonTest() {
    runner_options_.flush_interval = 5ms;
    runner_options_.retry_first = 5ms;
    runner_options_.retry_longest = 20ms;
    runner_options_.cursor_interval = 5ms;
    cursors_ = open_cursor_file(folder_.path() / "cursors.json");
  }

  void start(MastodonOptions options = {}) {
    options.host = instance_.url();
    runner_ = std::make_unique<SourceRunner>(store_, *cursors_, clock_, runner_options_);
    runner_->add(make_mastodon_source(options, *transport_, *web_sockets_, clock_));
  }
  bool has(const std::string& id) const { return store_.find("mastodon:" + id + "@" + host()).has_value(); }
  std::string text(const std::string& id) const {
    const auto post = store_.find("mastodon:" + id + "@" + host());
    return post ? post->text : "";
  }
  std::string host() const { return instance_.url().substr(7); }
  SourceStatus status() const { return runner_->status().at(0); }

  const TempDir folder_;
  const SystemClock clock_;
  const std::unique_ptr<Transport> transport_ = make_transport();
  const std::unique_ptr<WebSockets> web_sockets_ = make_web_sockets();
  test::MemoryStore store_;
  std::unique_ptr<CursorStore> cursors_;
  RunnerOptions runner_options_;
  Instance instance_;
  std::unique_ptr<SourceRunner> runner_;
};

TEST_F(MastodonTest, AWebSocketBringsPostsEditsAndDeletions) {
  instance_.add("1", "<p>before</p>");
  instance_.on_stream = [](FeedConnection& c, int) {
    c.send(envelope("update", status_json("2", "<p>new</p>").dump()));
    c.send(envelope("update", status_json("3", "<p>soon gone</p>").dump()));
    c.send(envelope("status.update", status_json("2", "<p>edited</p>").dump()));
    c.send(envelope("filters_changed", ""));
    c.send("not json");
    c.send(envelope("update", "{}"));
    c.send(envelope("delete", "3"));
    c.send(envelope("update", status_json("4", "<p>last</p>").dump()));
    c.hang();
  };
  start({.streams = {"public"}, .token = "abc"});
  ASSERT_TRUE(eventually([&] { return has("4"); }));
  EXPECT_EQ(text("1"), "before");
  EXPECT_EQ(text("2"), "edited");
  EXPECT_FALSE(has("3"));
  EXPECT_EQ(status().state, SourceState::kLive);
  EXPECT_EQ(status().rejected, 2u);
  EXPECT_EQ(instance_.authorization(), "Bearer abc");
  EXPECT_EQ(json::parse(instance_.subscriptions().at(0)),
            (json{{"type", "subscribe"}, {"stream", "public"}}));
}

TEST_F(MastodonTest, ServerSentEventsBringTheSame) {
  instance_.on_stream = [](FeedConnection& c, int) {
    c.piece("event: update\ndata: " + status_json("2", "<p>new</p>").dump() + "\n\n:thump\n");
    c.piece("event: update\ndata: " + status_json("3", "<p>x</p>").dump() + "\n");
    c.piece("\nevent: delete\ndata: 3\n\nevent: filters_changed\ndata: undefined\n\n");
    c.piece("event: status.update\ndata: " + status_json("2", "<p>edited</p>").dump() + "\n\n");
    c.piece("event: update\ndata: rubbish\n\n");
    c.hang();
  };
  start({.streams = {"hashtag:c++"}, .web_socket = false});
  ASSERT_TRUE(eventually([&] { return text("2") == "edited" && status().rejected == 1; }));
  EXPECT_FALSE(has("3"));
  const auto targets = instance_.targets();
  EXPECT_THAT(targets, testing::Contains("/api/v1/streaming/hashtag?tag=c%2B%2B"));
  EXPECT_THAT(targets, testing::Contains("/api/v1/timelines/tag/c%2B%2B?limit=40"));
}

TEST_F(MastodonTest, AfterABreakWhatWasMissedIsRead) {
  instance_.add("10", "<p>ten</p>");
  instance_.on_stream = [this](FeedConnection& c, int stream) {
    if (stream == 1) {
      instance_.add("11", "<p>eleven</p>");
      c.send(envelope("update", status_json("11", "<p>eleven</p>").dump()));
      c.pause(20ms);
      for (int id = 12; id < 112; ++id) instance_.add(std::to_string(id), "<p>missed</p>");
      return c.drop();
    }
    c.send(envelope("update", status_json("112", "<p>live again</p>").dump()));
    c.send(envelope("update", status_json("112", "<p>live again</p>").dump()));  // said twice
    c.hang();
  };
  start({.overlap = 0ms});
  ASSERT_TRUE(eventually([&] { return has("112"); }));
  for (int id = 10; id <= 112; ++id) EXPECT_TRUE(has(std::to_string(id))) << id;
  EXPECT_GE(status().reconnects, 1u);
  EXPECT_EQ(instance_.streams(), 2);
  EXPECT_THAT(instance_.targets(), testing::Contains("/api/v1/timelines/public?limit=40&min_id=11"));
}

TEST_F(MastodonTest, WhatWasEditedOrDeletedDuringABreakIsFoundOut) {
  for (int id = 10; id < 30; ++id) instance_.add(std::to_string(id), "<p>as it was</p>");
  instance_.on_stream = [this](FeedConnection& c, int stream) {
    if (stream == 1) {
      while (!has("29") && c.pause(2ms)) {
      }
      instance_.add("15", "<p>edited</p>");
      instance_.remove("20");
      return c.drop();
    }
    c.send(envelope("update", status_json("30", "<p>live again</p>").dump()));
    c.hang();
  };
  start({.overlap = 0ms});
  ASSERT_TRUE(eventually([&] { return has("30"); }));
  EXPECT_TRUE(eventually([&] { return text("15") == "edited" && !has("20"); }));
  for (int id = 10; id < 30; ++id) EXPECT_EQ(has(std::to_string(id)), id != 20) << id;
  EXPECT_THAT(instance_.targets(), testing::Contains("/api/v1/statuses/20"));
}

TEST_F(MastodonTest, ARestartGoesOnFromTheCursorAndAnotherServerDoesNot) {
  instance_.on_stream = [](FeedConnection& c, int stream) {
    if (stream == 1) c.send(envelope("update", status_json("20", "<p>x</p>").dump()));
    c.hang();
  };
  start({.overlap = 0ms});
  ASSERT_TRUE(eventually([&] { return has("20"); }));
  runner_.reset();
  instance_.add("21", "<p>while away</p>");
  start({.overlap = 0ms});
  ASSERT_TRUE(eventually([&] { return has("21"); }));
  EXPECT_THAT(instance_.targets(), testing::Contains("/api/v1/timelines/public?limit=40&min_id=20"));
  runner_.reset();
  start({.streams = {"public:local"}, .overlap = 0ms});
  const auto asked_local = testing::Contains("/api/v1/timelines/public?local=true&limit=40");
  EXPECT_TRUE(eventually([&] { return testing::Value(instance_.targets(), asked_local); }));
}

TEST_F(MastodonTest, AWrongTokenIsFinalAndALimitIsKept) {
  instance_.stream_status = 401;
  start({.web_socket = false});
  ASSERT_TRUE(runner_->wait_finished({}));
  EXPECT_EQ(status().state, SourceState::kFailed);
  EXPECT_THAT(status().last_error, testing::AllOf(testing::HasSubstr("access token is invalid"),
                                                  testing::HasSubstr("check its token")));
  runner_.reset();
  instance_.stream_status = 429;
  start({.web_socket = false});
  ASSERT_TRUE(eventually([&] { return status().state == SourceState::kWaiting; }));
  EXPECT_GT(*status().retry_in, 5s);
}

TEST_F(MastodonTest, ARefusedStreamIsSaid) {
  instance_.on_stream = [](FeedConnection& c, int) {
    c.send(R"({"error":"Unknown channel requested","status":400})");
    c.hang();
  };
  start({.streams = {"list:77"}});
  ASSERT_TRUE(runner_->wait_finished({}));
  EXPECT_THAT(status().last_error, testing::HasSubstr("Unknown channel requested"));
}

TEST_F(MastodonTest, SilenceEndsAConnection) {
  instance_.on_stream = [](FeedConnection& c, int) { c.hang(); };
  start({.web_socket = false, .silence = 100ms});
  EXPECT_TRUE(eventually([&] { return instance_.streams() >= 2; }));
}

TEST_F(MastodonTest, PostsFromTheFutureGetTheTimeOfTheirArrival) {
  instance_.on_stream = [](FeedConnection& c, int) {
    json status = status_json("5", "<p>tomorrow</p>");
    status["created_at"] = "2999-01-01T00:00:00Z";
    c.send(envelope("update", status.dump()));
    c.hang();
  };
  start();
  ASSERT_TRUE(eventually([&] { return has("5"); }));
  EXPECT_LE(store_.find("mastodon:5@" + host())->created_at, clock_.now());
  EXPECT_EQ(status().skewed, 1u);
}

TEST(MastodonSource, RefusesWhatItCannotRead) {
  const SystemClock clock;
  const auto transport = make_transport();
  const auto web_sockets = make_web_sockets();
  const auto make = [&](const MastodonOptions& options) {
    make_mastodon_source(options, *transport, *web_sockets, clock);
  };
  EXPECT_THROW(make({.host = "a b"}), Error);
  EXPECT_THROW(make({.host = ""}), Error);
  EXPECT_THROW(make({.host = "h", .streams = {"everything"}}), Error);
  EXPECT_THROW(make({.host = "h", .streams = {"hashtag:"}}), Error);
  EXPECT_THROW(make({.host = "h", .streams = {"public", "list:1"}, .web_socket = false}), Error);
}

}  // namespace
}  // namespace fathom::live
