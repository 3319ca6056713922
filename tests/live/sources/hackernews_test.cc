#include "live/sources/hackernews.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "live/sources/hackernews_item.h"
#include "support/http_server.h"
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::HttpServer;
using test::Reply;
using test::ServerRequest;

// --- one item

Post post_of(std::string_view text, int64_t story = 0) {
  const auto item = parse_hackernews_item(text);
  EXPECT_TRUE(item.has_value());
  const auto post = hackernews_post(*item, story, "hackernews", "https://news.example", Time(7s));
  EXPECT_TRUE(post.has_value());
  return *post;
}

TEST(HackerNewsItem, AStoryHasTitleAddressAndCounts) {
  const Post post =
      post_of(R"({"by":"ada","descendants":71,"id":8863,"kids":[1,2],"score":104,"time":1175714200,
      "title":"Looms &amp; cards <T>","type":"story","url":"https://looms.example/a"})");
  EXPECT_EQ(post.key(), "hackernews:8863");
  EXPECT_EQ(post.author.handle, "ada");
  EXPECT_EQ(post.text, "Looms & cards <T>");
  EXPECT_EQ(format_time(post.created_at), "2007-04-04T19:16:40Z");
  EXPECT_EQ(post.received_at, Time(7s));
  EXPECT_EQ(post.url, "https://news.example/item?id=8863");
  EXPECT_EQ(post.links, std::vector<std::string>{"https://looms.example/a"});
  EXPECT_EQ(post.metrics.likes, 104);
  EXPECT_EQ(post.metrics.replies, 71);
  EXPECT_EQ(post.reply_to, "");
}

TEST(HackerNewsItem, AQuestionHasTitleAndText) {
  const Post post =
      post_of(R"({"by":"b","id":9,"time":1,"title":"Ask: why?","text":"One.<p>Two.","type":"story"})");
  EXPECT_EQ(post.text, "Ask: why?\n\nOne.\n\nTwo.");
}

TEST(HackerNewsItem, ACommentIsAReplyThatLinksItsStory) {
  const Post post = post_of(R"({"by":"c","id":12,"kids":[13],"parent":10,"time":5,"type":"comment",
      "text":"See <a href=\"https:&#x2F;&#x2F;a.example&#x2F;b\" rel=\"nofollow\">https:&#x2F;&#x2F;a.exam...</a> it&#x27;s"})",
                            8);
  EXPECT_EQ(post.text, "See https://a.example/b it's");
  EXPECT_EQ(post.reply_to, "10");
  EXPECT_EQ(post.links, (std::vector<std::string>{"https://news.example/item?id=8", "https://a.example/b"}));
  EXPECT_EQ(post.metrics.replies, 1);
  EXPECT_FALSE(post.metrics.likes.has_value());
}

TEST(HackerNewsItem, DeletedAndDeadOnesAreOrdersToRemove) {
  EXPECT_TRUE(post_of(R"({"deleted":true,"id":3,"parent":1,"time":5,"type":"comment"})").deleted);
  EXPECT_TRUE(post_of(R"({"dead":true,"by":"x","text":"[dead]","id":3,"time":5,"type":"comment"})").deleted);
}

TEST(HackerNewsItem, NullAndTextlessOnesGiveNoPost) {
  EXPECT_FALSE(parse_hackernews_item("null").has_value());
  const auto empty = parse_hackernews_item(R"({"id":3,"time":5,"type":"comment","text":" <p> "})");
  ASSERT_TRUE(empty.has_value());
  EXPECT_FALSE(hackernews_post(*empty, 0, "hackernews", "https://n.example", {}).has_value());
}

TEST(HackerNewsItem, RefusesWhatIsNoItem) {
  for (const char* text : {"", "{", "[]", "7", "{}", R"({"id":"7"})", R"({"id":-1})", R"({"id":1.5})",
                           R"({"id":99999999999999999999})", R"({"id":1,"text":5})", R"({"id":1,"time":"x"})",
                           "{\"id\":1,\"text\":\"\xFF\"}"})
    EXPECT_THROW(parse_hackernews_item(text), Error) << text;
}

TEST(HackerNewsItem, HostileValuesAreHeldInBounds) {
  const Post post =
      post_of(R"({"id":5,"parent":9,"time":999999999999999999,"score":-4,"descendants":-1,"title":"t",
      "url":"javascript:void","type":"story"})");
  EXPECT_EQ(post.reply_to, "");  // a parent that is younger than its reply would make a loop
  EXPECT_EQ(format_time(post.created_at), "9999-12-31T23:59:59Z");
  EXPECT_FALSE(post.metrics.likes.has_value());
  EXPECT_EQ(post.metrics.replies, 0);
  EXPECT_TRUE(post.links.empty());
  const Post large = post_of(json{{"id", 5}, {"title", "t"}, {"text", std::string(300000, 'x')}}.dump());
  EXPECT_LE(large.text.size(), kMaxTextBytes);
}

TEST(HackerNewsItem, ReadsListsInAllTheirForms) {
  const std::vector<int64_t> ids{1, 2};
  EXPECT_EQ(parse_hackernews_ids("[1,2]"), ids);
  EXPECT_EQ(parse_hackernews_ids(R"({"items":[1,2],"profiles":["a"]})"), ids);
  EXPECT_EQ(parse_hackernews_ids(R"({"path":"/","data":{"items":[1,2]}})"), ids);
  EXPECT_EQ(parse_hackernews_ids(R"({"path":"/items","data":[1,"x",-3,2]})"), ids);
  EXPECT_EQ(parse_hackernews_ids(R"({"path":"/","data":17})"), std::vector<int64_t>{17});
  EXPECT_TRUE(parse_hackernews_ids("null").empty());
  EXPECT_THROW(parse_hackernews_ids("{"), Error);
  EXPECT_EQ(parse_hackernews_number("17"), 17);
  EXPECT_THROW(parse_hackernews_number("\"17\""), Error);
}

// --- the API on loopback

/// A small world that speaks the API. Thread-safe.
class FakeApi {
 public:
  FakeApi() : server_([this](const ServerRequest& request, Reply& reply) { answer(request, reply); }) {}

  std::string url() const { return server_.url("/v0"); }

  void put(json item) {
    const std::lock_guard lock(mutex_);
    const int64_t id = item["id"];
    max_ = std::max(max_, id);
    items_[id] = item.dump();
    ++version_;
  }
  void story(int64_t id, const std::string& title, int score = 1) {
    put({{"id", id},
         {"type", "story"},
         {"by", "s"},
         {"time", 1700000000 + id},
         {"title", title},
         {"score", score}});
    const std::lock_guard lock(mutex_);
    if (std::find(stories_.begin(), stories_.end(), id) == stories_.end()) stories_.push_back(id);
  }
  void comment(int64_t id, int64_t parent, const std::string& text) {
    put({{"id", id},
         {"type", "comment"},
         {"by", "c"},
         {"time", 1700000000 + id},
         {"text", text},
         {"parent", parent}});
  }
  void announce(int64_t id) {  // the number is out, the item is not there yet
    const std::lock_guard lock(mutex_);
    max_ = std::max(max_, id);
    ++version_;
  }
  void changed(std::vector<int64_t> ids) {
    const std::lock_guard lock(mutex_);
    changed_ = std::move(ids);
    ++changes_version_;
  }

  /// Called before an answer; returns true when it has answered itself.
  using Fault = std::function<bool(const ServerRequest&, Reply&)>;
  void set_fault(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }
  void allow_streams(bool on) { streams_allowed_.store(on); }
  void drop_streams() { stream_generation_.fetch_add(1); }
  int open_streams() const { return streams_open_.load(); }
  size_t asked(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = asked_.find(path);
    return found == asked_.end() ? 0 : found->second;
  }
  int most_at_a_time() const { return most_.load(); }

 private:
  void answer(const ServerRequest& request, Reply& reply) {
    Fault fault;
    {
      const std::lock_guard lock(mutex_);
      fault = fault_;
      ++asked_[request.target];
    }
    if (fault && fault(request, reply)) return;
    if (request.header("accept") == "text/event-stream") return stream(request.target, reply);
    const int now = ++present_;
    int most = most_.load();
    while (most < now && !most_.compare_exchange_weak(most, now)) {
    }
    reply.pause(1ms);
    const auto body = body_of(request.target);
    --present_;
    if (body) {
      reply.send(200, *body, {{"Content-Type", "application/json"}});
    } else {
      reply.send(404, "{}");
    }
  }

  std::optional<std::string> body_of(const std::string& target) const {
    const std::lock_guard lock(mutex_);
    if (target == "/v0/maxitem.json") return std::to_string(max_);
    if (target == "/v0/topstories.json" || target == "/v0/newstories.json") {
      std::vector<int64_t> newest(stories_.rbegin(), stories_.rend());
      return json(newest).dump();
    }
    if (target == "/v0/updates.json") return json{{"items", changed_}, {"profiles", json::array()}}.dump();
    const std::string prefix = "/v0/item/";
    if (!target.starts_with(prefix)) return {};
    const auto found = items_.find(std::atoll(target.c_str() + prefix.size()));
    return found == items_.end() ? "null" : found->second;
  }

  void stream(const std::string& target, Reply& reply) {
    if (!streams_allowed_.load()) return void(reply.send(403, "no"));
    const int generation = stream_generation_.load();
    reply.raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    ++streams_open_;
    uint64_t told = ~uint64_t{0};
    const bool newest = target == "/v0/maxitem.json";
    for (int i = 0; generation == stream_generation_.load(); ++i) {
      uint64_t version = 0;
      {
        const std::lock_guard lock(mutex_);
        version = newest ? version_ : changes_version_;
      }
      bool sent = true;
      if (version != told) {
        sent =
            reply.raw(fmt::format("event: put\ndata: {{\"path\":\"/\",\"data\":{}}}\n\n", *body_of(target)));
        told = version;
      } else if (i % 20 == 0) {
        sent = reply.raw("event: keep-alive\ndata: null\n\n");
      }
      if (!sent || !reply.pause(5ms)) break;
    }
    --streams_open_;
  }

  mutable std::mutex mutex_;
  std::map<int64_t, std::string> items_;
  std::vector<int64_t> stories_, changed_;
  int64_t max_ = 0;
  uint64_t version_ = 0, changes_version_ = 0;
  Fault fault_;
  std::map<std::string, size_t> asked_;
  std::atomic<bool> streams_allowed_{true};
  std::atomic<int> stream_generation_{0}, streams_open_{0}, present_{0}, most_{0};
  HttpServer server_;  // last: ends before what its threads use
};

class HackerNewsTest : public ::testing::Test {
 protected:
  HackerNewsTest() {
    options_.api_url = api_.url();
    options_.site_url = "https://news.example";
    options_.poll = 20ms;
    options_.check = 200ms;
    options_.changes = 40ms;
    options_.refresh = 60ms;
    options_.late_retry = 10ms;
    options_.timeout = 5s;
    options_.stream_silence = 2s;
    options_.stream = false;
    api_.story(1, "First story");
    api_.comment(2, 1, "A comment");
    api_.comment(3, 2, "An answer");
    api_.story(4, "Second story");
  }

  void start() {
    RunnerOptions runner;
    runner.flush_interval = 2ms;
    runner.cursor_interval = 0ms;
    runner.retry_first = 10ms;
    runner.retry_longest = 50ms;
    cursors_ = open_cursor_file(folder_.path() / "cursors.json");
    runner_ = std::make_unique<SourceRunner>(store_, *cursors_, clock_, runner);
    runner_->add(make_hackernews_source(options_, *transport_, clock_));
  }
  void stop() { runner_.reset(); }

  bool has(int64_t id) const { return store_.find(fmt::format("hackernews:{}", id)).has_value(); }
  Post post(int64_t id) const { return store_.find(fmt::format("hackernews:{}", id)).value_or(Post{}); }
  bool comes(int64_t id) const {
    return eventually([&] { return has(id); });
  }
  size_t times(int64_t id) const {
    const auto order = store_.order();
    return static_cast<size_t>(std::count(order.begin(), order.end(), fmt::format("hackernews:{}", id)));
  }
  SourceStatus status() const { return runner_->status().at(0); }
  std::string cursor() const { return open_cursor_file(folder_.path() / "cursors.json")->load("hackernews"); }

  TempDir folder_;
  FakeApi api_;
  HackerNewsOptions options_;
  std::unique_ptr<Transport> transport_ = make_transport();
  SystemClock clock_;
  test::MemoryStore store_;
  std::unique_ptr<CursorStore> cursors_;
  std::unique_ptr<SourceRunner> runner_;
};

TEST_F(HackerNewsTest, BackfillsStoriesAndComments) {
  start();
  ASSERT_TRUE(eventually([&] { return store_.stats().posts == 4; }));
  EXPECT_EQ(post(1).text, "First story");
  EXPECT_EQ(post(3).reply_to, "2");
  EXPECT_EQ(post(3).links, std::vector<std::string>{"https://news.example/item?id=1"});
  EXPECT_TRUE(eventually([&] { return status().state == SourceState::kLive && status().posts == 4; }));
  EXPECT_TRUE(eventually([&] { return cursor() == "4"; }));
}

TEST_F(HackerNewsTest, BackfillKeepsToItsBounds) {
  for (int64_t id = 5; id <= 400; ++id) api_.comment(id, 1, "more");
  for (int64_t id = 401; id <= 500; ++id) api_.story(id, "story");
  options_.front_page = 5;
  options_.backfill_stories = 20;
  options_.backfill_items = 150;
  options_.parallel = 6;
  start();
  ASSERT_TRUE(eventually([&] { return cursor() == "500"; }));
  stop();
  // Items 351 to 500, and story 1, which the comments among them are about.
  EXPECT_EQ(store_.stats().posts, 151u);
  EXPECT_TRUE(has(351));
  EXPECT_FALSE(has(350));
  EXPECT_LE(api_.most_at_a_time(), 6);
  EXPECT_GE(api_.most_at_a_time(), 2);
}

TEST_F(HackerNewsTest, NewItemsArriveByPolling) {
  start();
  ASSERT_TRUE(comes(4));
  api_.comment(5, 4, "new here");
  ASSERT_TRUE(comes(5));
  EXPECT_EQ(post(5).links, std::vector<std::string>{"https://news.example/item?id=4"});
  EXPECT_EQ(api_.open_streams(), 0);
}

TEST_F(HackerNewsTest, NewItemsArriveByTheEventStreamWithoutPolling) {
  options_.stream = true;
  options_.poll = options_.check = options_.changes = options_.refresh = 1h;
  start();
  ASSERT_TRUE(eventually([&] { return api_.open_streams() == 2; }));
  ASSERT_TRUE(comes(4));
  api_.story(5, "told by the stream");
  ASSERT_TRUE(comes(5));
  api_.put({{"id", 5}, {"type", "story"}, {"by", "s"}, {"time", 1700000005}, {"title", "corrected"}});
  api_.changed({5});
  EXPECT_TRUE(eventually([&] { return post(5).text == "corrected"; }));
}

TEST_F(HackerNewsTest, ABrokenStreamIsReplacedByPollingAndTakenUpAgain) {
  options_.stream = true;
  options_.check = 1h;
  start();
  ASSERT_TRUE(eventually([&] { return api_.open_streams() == 2; }));
  api_.allow_streams(false);
  api_.drop_streams();
  ASSERT_TRUE(eventually([&] { return api_.open_streams() == 0; }));
  api_.story(5, "polled");
  ASSERT_TRUE(comes(5));
  api_.allow_streams(true);
  EXPECT_TRUE(eventually([&] { return api_.open_streams() == 2; }));
  api_.story(6, "streamed again");
  EXPECT_TRUE(comes(6));
}

TEST_F(HackerNewsTest, LateItemsAreAskedForAgain) {
  start();
  ASSERT_TRUE(comes(4));
  api_.announce(6);
  ASSERT_TRUE(eventually([&] { return api_.asked("/v0/item/6.json") >= 1; }));
  EXPECT_EQ(cursor(), "4");  // items 5 and 6 are still to come
  api_.comment(5, 4, "late");
  api_.comment(6, 5, "later");
  ASSERT_TRUE(comes(5));
  ASSERT_TRUE(comes(6));
  EXPECT_TRUE(eventually([&] { return cursor() == "6"; }));
}

TEST_F(HackerNewsTest, ItemsThatNeverComeAreGivenUp) {
  options_.late_retry = 1ms;
  start();
  ASSERT_TRUE(comes(4));
  api_.announce(5);
  EXPECT_TRUE(eventually([&] { return cursor() == "5"; }));
  EXPECT_EQ(api_.asked("/v0/item/5.json"), 5u);
  EXPECT_FALSE(has(5));
}

TEST_F(HackerNewsTest, DeletionsRemoveThePost) {
  start();
  ASSERT_TRUE(comes(2));
  api_.put({{"id", 2}, {"deleted", true}, {"type", "comment"}, {"parent", 1}, {"time", 1700000002}});
  api_.changed({2});
  EXPECT_TRUE(eventually([&] { return !has(2); }));
}

TEST_F(HackerNewsTest, ScoresOfTheFrontPageAreRefreshedWhenTheyMove) {
  start();
  ASSERT_TRUE(comes(4));
  api_.story(4, "Second story", 250);
  ASSERT_TRUE(eventually([&] { return post(4).metrics.likes == 250; }));
  const size_t before = times(4);
  api_.story(4, "Second story", 251);  // too little to be worth a replacement
  const size_t asked = api_.asked("/v0/item/4.json");
  ASSERT_TRUE(eventually([&] { return api_.asked("/v0/item/4.json") >= asked + 3; }));
  EXPECT_EQ(times(4), before);
  EXPECT_EQ(times(1), 1u);
}

TEST_F(HackerNewsTest, ARestartGoesOnWhereItStopped) {
  start();
  ASSERT_TRUE(eventually([&] { return cursor() == "4"; }));
  stop();
  for (int64_t id = 5; id <= 40; ++id) api_.comment(id, 4, "while away");
  options_.backfill_items = 1;
  options_.refresh = 1h;
  start();
  ASSERT_TRUE(eventually([&] { return cursor() == "40"; }));
  stop();
  for (int64_t id = 5; id <= 40; ++id) EXPECT_EQ(times(id), 1u) << id;
  EXPECT_EQ(times(3), 1u);
}

TEST_F(HackerNewsTest, ALongGapIsBackfilledInstead) {
  start();
  ASSERT_TRUE(eventually([&] { return cursor() == "4"; }));
  stop();
  for (int64_t id = 5; id <= 200; ++id) api_.comment(id, 4, "while away");
  options_.catch_up_items = 100;
  options_.backfill_items = 10;
  start();
  ASSERT_TRUE(eventually([&] { return cursor() == "200"; }));
  EXPECT_TRUE(has(191));
  EXPECT_FALSE(has(100));
}

TEST_F(HackerNewsTest, SingleFailuresAreTriedAgain) {
  const auto failures = std::make_shared<std::atomic<int>>(0);
  api_.set_fault([failures](const ServerRequest& request, Reply& reply) {
    if (request.target != "/v0/item/2.json" || failures->fetch_add(1) >= 2) return false;
    return reply.send(500, "oops");
  });
  start();
  ASSERT_TRUE(comes(2));
  EXPECT_TRUE(has(1));
  EXPECT_NE(status().last_error.find("item 2"), std::string::npos) << status().last_error;
  EXPECT_TRUE(eventually([&] { return cursor() == "4"; }));
}

TEST_F(HackerNewsTest, AnOutageIsSurvived) {
  const auto down = std::make_shared<std::atomic<bool>>(true);
  api_.set_fault(
      [down](const ServerRequest&, Reply& reply) { return down->load() && reply.send(502, "bad gateway"); });
  start();
  ASSERT_TRUE(eventually([&] { return status().last_error.find("502") != std::string::npos; }));
  EXPECT_EQ(store_.stats().posts, 0u);
  down->store(false);
  EXPECT_TRUE(comes(4));
  down->store(true);
  ASSERT_TRUE(eventually([&] { return status().state == SourceState::kWaiting; }));
  EXPECT_TRUE(eventually([&] { return status().retry_in.has_value(); }));
  api_.story(5, "after the outage");
  down->store(false);
  EXPECT_TRUE(comes(5));
}

TEST_F(HackerNewsTest, ARequestToSlowDownIsObeyed) {
  const auto asked = std::make_shared<std::atomic<int>>(0);
  api_.set_fault([asked](const ServerRequest& request, Reply& reply) {
    if (!request.target.starts_with("/v0/item/") || asked->fetch_add(1) > 0) return false;
    return reply.send(429, "slow down");
  });
  start();
  ASSERT_TRUE(comes(4));
  EXPECT_NE(status().last_error.find("slow down"), std::string::npos) << status().last_error;
}

TEST_F(HackerNewsTest, NonsenseIsRejectedAndTheRestIsRead) {
  api_.set_fault([](const ServerRequest& request, Reply& reply) {
    if (request.target == "/v0/item/2.json") return reply.send(200, "<html>");
    if (request.target == "/v0/item/3.json")
      return reply.send(200, R"({"id":77,"text":"another item","time":5})");
    return false;
  });
  start();
  ASSERT_TRUE(comes(4));
  ASSERT_TRUE(eventually([&] { return cursor() == "4"; }));
  EXPECT_TRUE(has(1));
  EXPECT_FALSE(has(2));
  EXPECT_FALSE(has(77));
  EXPECT_GE(status().rejected, 2u);
}

TEST_F(HackerNewsTest, SlowAnswersEndAtTheTimeoutAndStopDoesNotWaitForThem) {
  options_.timeout = 30s;
  const auto hanging = std::make_shared<std::atomic<int>>(0);
  api_.set_fault([hanging](const ServerRequest& request, Reply& reply) {
    if (!request.target.starts_with("/v0/item/")) return false;
    hanging->fetch_add(1);
    reply.hang();
    return true;
  });
  start();
  ASSERT_TRUE(eventually([&] { return hanging->load() > 0; }));
  const auto begin = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(HackerNewsTest, StopEndsStreamsPromptly) {
  options_.stream = true;
  start();
  ASSERT_TRUE(eventually([&] { return api_.open_streams() == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_TRUE(eventually([&] { return api_.open_streams() == 0; }));
}

TEST_F(HackerNewsTest, ReachableTellsWhetherTheApiAnswers) {
  EXPECT_TRUE(hackernews_reachable(options_, *transport_, 2s));
  api_.set_fault([](const ServerRequest&, Reply& reply) { return reply.send(500, ""); });
  EXPECT_FALSE(hackernews_reachable(options_, *transport_, 2s));
  api_.set_fault(
      [](const ServerRequest&, Reply& reply) { return reply.send(200, "<html>log in to this network"); });
  EXPECT_FALSE(hackernews_reachable(options_, *transport_, 2s));
  api_.set_fault([](const ServerRequest&, Reply& reply) { return reply.hang(), true; });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(hackernews_reachable(options_, *transport_, 100ms));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

}  // namespace
}  // namespace fathom::live
