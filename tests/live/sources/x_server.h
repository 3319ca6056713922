// A small X on loopback, and what tests of its streams and its search share.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "live/sources/feed_support.h"
#include "live/sources/x.h"
#include "live/sources/x_json.h"

namespace fathom::test::x {

using live::make_x_source;
using live::x_time_of_id;
using live::XMode;
using live::XOptions;
using nlohmann::json;
using namespace std::chrono_literals;

inline const Time kStart = *parse_time("2026-03-01T12:00:00Z");

/// An id of that time; `number` sets posts of one moment apart.
inline uint64_t id_at(Time time, uint64_t number = 0) {
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time - x_time_of_id(0)).count();
  return (static_cast<uint64_t>(milliseconds) << 22) + number;
}

inline std::string key(uint64_t id) { return fmt::format("x:{}", id); }

inline std::string post_json(uint64_t id, const std::string& text) {
  return json{{"id", std::to_string(id)},
              {"text", text},
              {"author_id", "1"},
              {"created_at", format_time(std::chrono::floor<std::chrono::seconds>(x_time_of_id(id)))}}
      .dump();
}

inline std::string frame(uint64_t id, const std::string& text) {
  return fmt::format(R"({{"data":{},"includes":{{"users":[{{"id":"1","username":"ada"}}]}},)"
                     R"("matching_rules":[{{"id":"1"}}]}})"
                     "\r\n",
                     post_json(id, text));
}

/// A small X: one account with rules, streams that are scripted, and a search over what was put into it.
class FakeX {
 public:
  using Script = std::function<void(FeedConnection&, int connection)>;

  FakeX() {
    server_.emplace([this](FeedConnection& c) { answer(c); });
  }

  std::string url() const { return server_->url(); }
  /// Returns when no script runs any more.
  void stop() { server_.reset(); }
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
  std::optional<FeedServer> server_;  // last: ends before what its threads use
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

  /// Scripts use what derived classes hold.
  void TearDown() override {
    harness_.stop();
    x_.stop();
  }

  void start() { harness_.start(make_x_source(options_, *transport_, clock_)); }

  FakeX x_;
  XOptions options_;
  std::unique_ptr<Transport> transport_ = make_transport();
  PatientClock clock_{kStart};
  SourceHarness harness_{clock_};
};

}  // namespace fathom::test::x
