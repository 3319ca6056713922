// The parts below the endpoints: targets, routes, workers.
#include <gtest/gtest.h>

#include <atomic>

#include "server/fakes.h"
#include "server/http.h"
#include "server/json_body.h"
#include "server/posts_body.h"
#include "server/router.h"
#include "server/workers.h"

namespace fathom::server {
namespace {

TEST(Target, SplitsAndDecodes) {
  const auto target = parse_target("/a%20b/c?x=1&y=a+b%26c&&flag&x=2#part");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->path, "/a%20b/c");
  const Fields expected = {{"x", "1"}, {"y", "a b&c"}, {"flag", ""}, {"x", "2"}};
  EXPECT_EQ(target->query, expected);
}

TEST(Target, RefusesWhatIsNoPath) {
  for (const char* bad : {"", "*", "a/b", "/%", "/%1", "/%gg", "/a%00", "/a?b=%2", "/a?%00=b"})
    EXPECT_FALSE(parse_target(bad).has_value()) << bad;
}

TEST(JsonEntries, AreHandedOverOneByOne) {
  std::vector<nlohmann::json> entries;
  const auto keep = [&](const nlohmann::json& entry) { entries.push_back(entry); };
  parse_json_entries(R"([ {"a":{"b":[1,2]}}, [3,[4]], "five", 6, null, {} ])", keep);
  const nlohmann::json expected = {{{"a", {{"b", {1, 2}}}}}, {3, {4}}, "five", 6, nullptr,
                                   nlohmann::json::object()};
  EXPECT_EQ(nlohmann::json(entries), expected);
  EXPECT_THROW(parse_json_entries(R"([{"a":1},)", keep), ApiError);
  EXPECT_THROW(parse_json_entries(std::string(1000, '['), keep), ApiError);
}

TEST(PostsBody, GivesUpOnABodyThatIsAllWrong) {
  std::string numbers = "[0";
  for (int i = 0; i < 1'000'000; ++i) numbers += ",0";
  try {
    parse_posts(numbers + "]", true, kNow);
    FAIL() << "took numbers for posts";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.code, "invalid_posts");
    EXPECT_NE(std::string(error.what()).find("at least 999 more"), std::string::npos) << error.what();
  }
}

TEST(JsonBody, ErrorsStayShort) {
  try {
    parse_json("{\"model\": \"" + std::string(1'000'000, 'a'));
    FAIL() << "took half a document";
  } catch (const ApiError& error) {
    EXPECT_LT(std::string(error.what()).size(), 400u);
  }
}

Route route(const std::string& method, const std::string& pattern) {
  Route out;
  out.method = method;
  out.pattern = out.name = pattern;
  return out;
}

TEST(Router, FindsByMethodAndPath) {
  Router router;
  for (const auto& [method, pattern] : {std::pair{"GET", "/"},
                                        {"GET", "/v1/posts/{key}"},
                                        {"POST", "/v1/posts"},
                                        {"GET", "/v1/{kind}/x"},
                                        {"GET", "/v1/posts"}})
    router.add(route(method, pattern));
  EXPECT_EQ(router.find("GET", "/").route->name, "/");
  EXPECT_EQ(router.find("HEAD", "/v1/posts").route->method, "GET");
  EXPECT_EQ(router.find("POST", "/v1/posts").route->method, "POST");
  EXPECT_EQ(router.find("GET", "/v1/posts/a%2Fb/c").captures[0].second, "a/b/c");
  EXPECT_EQ(router.find("GET", "/v1/models/x").captures[0].second, "models");
  EXPECT_EQ(router.find("PUT", "/v1/posts").allow, "POST, GET, HEAD, OPTIONS");
  for (const char* unknown : {"", "x", "/v1", "/v1/", "/v1/posts/", "/v1/models/y", "//", "/v1/models/x/y"}) {
    const auto match = router.find("GET", unknown);
    EXPECT_EQ(match.route, nullptr) << unknown;
    EXPECT_EQ(match.allow, "") << unknown;
  }
}

TEST(Workers, BoundWhatWaitsAndRunWhatWasTaken) {
  Gate release;
  std::atomic<int> done{0};
  Workers workers(1, 2);
  const auto job = [&] {
    release.wait();
    ++done;
  };
  EXPECT_TRUE(workers.submit(job));
  while (workers.running() == 0) std::this_thread::yield();
  EXPECT_TRUE(workers.submit(job));
  EXPECT_TRUE(workers.submit(job));
  EXPECT_FALSE(workers.submit(job));
  EXPECT_EQ(workers.waiting(), 2u);
  release.open();
  workers.join();
  EXPECT_EQ(done, 3);
  EXPECT_FALSE(workers.submit(job));
}

}  // namespace
}  // namespace fathom::server
