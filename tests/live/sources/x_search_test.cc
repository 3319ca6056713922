#include "live/sources/x_server.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using namespace test::x;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;

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

  /// The first search for `query`, once there is one. The server may still come to read what was asked before a stop,
  /// so that the order of targets does not tell who asked.
  std::string first_search_for(const std::string& query) {
    std::string first;
    eventually([&] {
      const auto targets = x_.targets();
      const auto it = std::ranges::find_if(
          targets, [&](const std::string& target) { return parameter(target, "query") == query; });
      if (it != targets.end()) first = *it;
      return it != targets.end();
    });
    return first;
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
  options_.query = "coffee";
  start();
  const std::string first = first_search_for("coffee");
  ASSERT_FALSE(first.empty());
  EXPECT_EQ(parameter(first, "since_id"), "");
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
