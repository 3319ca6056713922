#include "live/sources/x.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "live/sources/feed_support.h"
#include "live/sources/x_json.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;
using test::FeedServer;

const Time kStart = *parse_time("2026-03-01T12:00:00Z");

/// An id of that time; `number` sets posts of one moment apart.
uint64_t id_at(Time time, uint64_t number = 0) {
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time - x_time_of_id(0)).count();
  return (static_cast<uint64_t>(milliseconds) << 22) + number;
}

std::string key(uint64_t id) { return fmt::format("x:{}", id); }

std::string post_json(uint64_t id, const std::string& text) {
  return json{{"id", std::to_string(id)},
              {"text", text},
              {"author_id", "1"},
              {"created_at", format_time(std::chrono::floor<std::chrono::seconds>(x_time_of_id(id)))}}
      .dump();
}

std::string frame(uint64_t id, const std::string& text) {
  return fmt::format(R"({{"data":{},"includes":{{"users":[{{"id":"1","username":"ada"}}]}},)"
                     R"("matching_rules":[{{"id":"1"}}]}})"
                     "\r\n",
                     post_json(id, text));
}

/// A small X: one account with rules, streams that are scripted, and a search over what was put into it.
class FakeX {
 public:
  using Script = std::function<void(FeedConnection&, int connection)>;

  FakeX() : server_([this](FeedConnection& c) { answer(c); }) {}

  std::string url() const { return server_.url(); }
  void on_stream(Script script) { set(stream_, std::move(script)); }
  void on_search(Script script) { set(search_, std::move(script)); }
  void add_rule(const std::string& id, const std::string& value, const std::string& tag) {
    const std::lock_guard lock(mutex_);
    rules_[id] = {{"id", id}, {"value", value}, {"tag", tag}};
  }
  /// value -> tag
  std::map<std::string, std::string> rules() const {
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::string> all;
    for (const auto& [id, rule] : rules_) all[rule["value"]] = rule["tag"];
    return all;
  }
  std::vector<std::string> targets() const {
    const std::lock_guard lock(mutex_);
    return targets_;
  }
  int streams() const { return streams_.load(); }

 private:
  void set(Script& which, Script script) {
    const std::lock_guard lock(mutex_);
    which = std::move(script);
  }

  void answer(FeedConnection& c) {
    const auto& request = c.request();
    if (request.header("authorization") != "Bearer s3cret")
      return void(c.answer(401, R"({"title":"Unauthorized","detail":"Unauthorized","status":401})"));
    const std::string path = request.target.substr(0, request.target.find('?'));
    if (path == "/2/tweets/search/stream/rules") return answer_rules(c);
    Script script;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      targets_.push_back(request.target);
      script = path == "/2/tweets/search/recent" ? search_ : stream_;
      number = path == "/2/tweets/search/recent" ? searches_++ : streams_++;
    }
    script(c, number);
  }

  void answer_rules(FeedConnection& c) {
    const std::lock_guard lock(mutex_);
    if (c.request().method == "GET") {
      json data = json::array();
      for (const auto& [id, rule] : rules_) data.push_back(rule);
      return void(c.answer(200, json{{"data", data}, {"meta", json::object()}}.dump()));
    }
    const json body = json::parse(c.request().body);
    for (const auto& id : body.value("delete", json::object()).value("ids", json::array()))
      rules_.erase(id.get<std::string>());
    json errors = json::array();
    for (const auto& rule : body.value("add", json::array())) {
      if (rule["value"] == "(") {
        errors.push_back({{"value", "("}, {"title", "UnprocessableEntity"}, {"details", {"missing )"}}});
        continue;
      }
      const std::string id = std::to_string(next_rule_++);
      rules_[id] = rule;
      rules_[id]["id"] = id;
    }
    c.answer(201, json{{"meta", json::object()}, {"errors", errors}}.dump());
  }

  mutable std::mutex mutex_;
  Script stream_, search_;
  std::map<std::string, json> rules_;
  std::vector<std::string> targets_;
  int next_rule_ = 100, searches_ = 0;
  std::atomic<int> streams_{0};
  FeedServer server_;  // last: ends before what its threads use
};

class XTest : public ::testing::Test {
 protected:
  XTest() {
    options_.api_url = x_.url();
    options_.bearer_token = "s3cret";
    options_.mode = XMode::kSampled;
    options_.silence = 5s;
    options_.timeout = 5s;
  }

  void start() { harness_.start(make_x_source(options_, *transport_, clock_)); }

  FakeX x_;
  XOptions options_;
  std::unique_ptr<Transport> transport_ = make_transport();
  test::PatientClock clock_{kStart};
  test::SourceHarness harness_{clock_};
};

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

// --- search

/// The value of a parameter of a target; empty when it is not there.
std::string parameter(const std::string& target, const std::string& name) {
  const size_t at = target.find(name + "=");
  if (at == std::string::npos) return {};
  const size_t begin = at + name.size() + 1;
  return target.substr(begin, target.find('&', begin) - begin);
}

class XSearchTest : public XTest {
 protected:
  XSearchTest() {
    options_.mode = XMode::kSearch;
    options_.query = "tea lang:en";
    x_.on_search([this](FeedConnection& c, int) { c.answer(200, page(c.request().target), headers_); });
  }

  void put(uint64_t id) {
    const std::lock_guard lock(mutex_);
    ids_.push_back(id);
  }

  /// Two posts a page, newest first.
  std::string page(const std::string& target) {
    const std::lock_guard lock(mutex_);
    const uint64_t since = parse_x_id(parameter(target, "since_id"));
    const size_t skip = parse_x_id(parameter(target, "next_token"));
    std::vector<uint64_t> matches;
    for (auto id = ids_.rbegin(); id != ids_.rend(); ++id)
      if (*id > since) matches.push_back(*id);
    json data = json::array();
    for (size_t i = skip; i < std::min(matches.size(), skip + 2); ++i)
      data.push_back(json::parse(post_json(matches[i], "found")));
    json meta{{"result_count", data.size()}};
    if (skip + 2 < matches.size()) meta["next_token"] = std::to_string(skip + 2);
    return (data.empty() ? json{{"meta", meta}} : json{{"data", data}, {"meta", meta}}).dump();
  }

  std::mutex mutex_;
  std::vector<uint64_t> ids_;
  std::map<std::string, std::string> headers_;
};

TEST_F(XSearchTest, EachPollTakesWhatIsNew) {
  for (uint64_t i = 1; i <= 5; ++i) put(id_at(kStart - 60s, i));
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart - 60s, 5))));
  EXPECT_FALSE(harness_.has(key(id_at(kStart - 60s, 3))));  // one page at the first start
  for (uint64_t i = 6; i <= 10; ++i) put(id_at(kStart - 30s, i));
  for (uint64_t i = 6; i <= 10; ++i) EXPECT_TRUE(harness_.comes(key(id_at(kStart - 30s, i)))) << i;
  harness_.stop();
  for (uint64_t i = 6; i <= 10; ++i) EXPECT_EQ(harness_.times(key(id_at(kStart - 30s, i))), 1u) << i;
  const std::string first = x_.targets().at(0);
  EXPECT_EQ(parameter(first, "query"), "tea%20lang%3Aen");
  EXPECT_EQ(parameter(first, "max_results"), "100");
  EXPECT_NE(first.find("post.fields="), std::string::npos);
  EXPECT_EQ(clock_.slept().at(0), 15s);
}

TEST_F(XSearchTest, ARestartGoesOnWhereItStopped) {
  put(id_at(kStart - 60s, 1));
  start();
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  put(id_at(kStart - 50s, 2));
  const size_t before = x_.targets().size();
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart - 50s, 2))));
  EXPECT_EQ(parameter(x_.targets().at(before), "since_id"), std::to_string(id_at(kStart - 60s, 1)));
  EXPECT_EQ(harness_.times(key(id_at(kStart - 60s, 1))), 1u);
}

TEST_F(XSearchTest, AnotherQueryStartsAnew) {
  put(id_at(kStart - 60s, 1));
  start();
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  const size_t before = x_.targets().size();
  options_.query = "coffee";
  start();
  ASSERT_TRUE(eventually([&] { return x_.targets().size() > before; }));
  EXPECT_EQ(parameter(x_.targets().at(before), "since_id"), "");
}

TEST_F(XSearchTest, AGapLongerThanTheArchiveIsReadFromItsBeginning) {
  put(id_at(kStart - 24h * 9, 1));
  start();
  ASSERT_TRUE(eventually([&] { return x_.targets().size() >= 2; }));
  EXPECT_EQ(parameter(x_.targets().at(1), "since_id"), "");
  EXPECT_EQ(parameter(x_.targets().at(1), "start_time"), "2026-02-22T13%3A00%3A15Z");
}

TEST_F(XSearchTest, APollThatFailsIsRepeatedWhole) {
  put(id_at(kStart - 60s, 1));
  const auto failures = std::make_shared<std::atomic<int>>(0);
  x_.on_search([this, failures](FeedConnection& c, int) {
    const bool second_page = !parameter(c.request().target, "next_token").empty();
    if (second_page && failures->fetch_add(1) == 0) return void(c.answer(200, "<html>"));
    c.answer(200, page(c.request().target));
  });
  start();
  ASSERT_TRUE(harness_.comes(key(id_at(kStart - 60s, 1))));
  {
    const std::lock_guard lock(mutex_);
    for (uint64_t i = 2; i <= 5; ++i) ids_.push_back(id_at(kStart - 50s, i));
  }
  for (uint64_t i = 2; i <= 5; ++i) EXPECT_TRUE(harness_.comes(key(id_at(kStart - 50s, i)))) << i;
}

TEST_F(XSearchTest, MoreThanAPollTakesIsTold) {
  options_.max_pages = 2;
  put(id_at(kStart - 60s, 1));
  start();
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  {
    const std::lock_guard lock(mutex_);
    for (uint64_t i = 2; i <= 12; ++i) ids_.push_back(id_at(kStart - 50s, i));
  }
  ASSERT_TRUE(harness_.comes(key(id_at(kStart - 50s, 12))));
  EXPECT_TRUE(eventually([&] { return harness_.status().last_error.find("2 pages") != std::string::npos; }));
}

TEST_F(XSearchTest, AnExhaustedLimitIsWaitedFor) {
  const auto reset = std::chrono::floor<std::chrono::seconds>(kStart + 700s).time_since_epoch().count();
  headers_ = {{"x-rate-limit-remaining", "0"}, {"x-rate-limit-reset", std::to_string(reset)}};
  start();
  ASSERT_TRUE(eventually([&] { return !clock_.slept().empty(); }));
  EXPECT_EQ(clock_.slept().at(0), 700s);
}

}  // namespace
}  // namespace fathom::live
