// Posts, search, models, status, metrics and the page.
#include <gtest/gtest.h>

#include "server/fakes.h"
#include "server/web_files.h"

namespace fathom::server {
namespace {

using nlohmann::json;

TEST(Posts, LinesArraysAndObjectsAreTaken) {
  TestServer server;
  const uint16_t port = server.start();
  const Answer lines =
      ask(port, "POST", "/v1/posts", {{"Content-Type", "application/x-ndjson"}},
          "{\"id\":\"1\",\"text\":\"a\"}\r\n\n{\"id\":\"2\",\"text\":\"b\"}\n{\"id\":\"1\",\"text\":\"a\"}");
  EXPECT_EQ(lines.status, 200);
  EXPECT_EQ(lines.json(),
            json({{"added", 2}, {"replaced", 0}, {"duplicates", 1}, {"deleted", 0}, {"last_sequence", 2}}));
  const Answer array = ask(port, "POST", "/v1/posts", {{"Content-Type", "application/json"}},
                           R"([{"id":"3","text":"c"}, {"id":"4","text":"d","source":"x"}])");
  EXPECT_EQ(array.json()["added"], 2);
  const Answer object = ask(port, "POST", "/v1/posts", {{"Content-Type", "application/json; charset=utf-8"}},
                            "{\n \"id\": \"5\",\n \"text\": \"e\"\n}");
  EXPECT_EQ(object.json()["last_sequence"], 5);
  EXPECT_EQ(server.store.find("api:3")->received_at, kNow);
  EXPECT_TRUE(server.store.find("x:4").has_value());
}

TEST(Posts, OneBadLineStoresNothingAndIsNamed) {
  TestServer server;
  const uint16_t port = server.start();
  const Answer answer =
      ask(port, "POST", "/v1/posts", {}, "{\"id\":\"1\",\"text\":\"a\"}\n\nnot json\n{\"id\":\"2\"}\n");
  EXPECT_EQ(answer.status, 400);
  const json error = answer.error();
  EXPECT_EQ(error["code"], "invalid_posts");
  ASSERT_EQ(error["lines"].size(), 2u);
  EXPECT_EQ(error["lines"][0]["line"], 3);
  EXPECT_EQ(error["lines"][1]["line"], 4);
  EXPECT_NE(error["message"].get<std::string>().find("line 3"), std::string::npos);
  EXPECT_EQ(server.store.stats().posts, 0u);
}

TEST(Posts, ManyBadLinesAreCountedNotListed) {
  TestServer server;
  std::string body;
  for (int i = 0; i < 900; ++i) body += "x\n";
  const Answer answer = ask(server.start(), "POST", "/v1/posts", {}, body);
  EXPECT_EQ(answer.error()["lines"].size(), 10u);
  EXPECT_NE(answer.error()["message"].get<std::string>().find("(899 more"), std::string::npos);
}

TEST(Posts, EmptyBodiesBadArraysAndTooManyPosts) {
  TestServer server;
  const uint16_t port = server.start();
  EXPECT_EQ(ask(port, "POST", "/v1/posts").error()["code"], "empty_body");
  EXPECT_EQ(ask(port, "POST", "/v1/posts", {}, "[]").error()["code"], "empty_body");
  const Answer cut = ask(port, "POST", "/v1/posts", {}, "[{\"id\":\"1\",");
  EXPECT_EQ(cut.status, 400);
  EXPECT_EQ(cut.error()["code"], "invalid_json");
  EXPECT_EQ(ask(port, "POST", "/v1/posts", {}, std::string(100'000, '[')).error()["code"], "invalid_json");
  std::string many;
  for (int i = 0; i <= 100'000; ++i) many += "{\"id\":\"" + std::to_string(i) + "\",\"text\":\"a\"}\n";
  const Answer refused = ask(port, "POST", "/v1/posts", {}, many);
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(refused.error()["code"], "too_many_posts");
  EXPECT_EQ(server.store.stats().posts, 0u);
}

TEST(Posts, AFullDiskIsSaidWithoutItsPath) {
  TestServer server;
  server.store.ingest_error = ErrorCode::kResourceExhausted;
  const uint16_t port = server.start();
  const Answer full = ask(port, "POST", "/v1/posts", {}, R"({"id":"1","text":"a"})");
  EXPECT_EQ(full.status, 507);
  EXPECT_EQ(full.body.find("secret"), std::string::npos);
  server.store.ingest_error = ErrorCode::kIo;
  const Answer broken =
      ask(port, "POST", "/v1/posts", {{"X-Request-Id", "find-me"}}, R"({"id":"1","text":"a"})");
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(broken.body.find("secret"), std::string::npos);
  EXPECT_NE(broken.body.find("find-me"), std::string::npos);
}

TEST(Posts, OnePostByKey) {
  TestServer server;
  server.store.ingest({make_post("a/b", "odd id")});
  const uint16_t port = server.start();
  for (const char* path : {"/v1/posts/x%3Aa%2Fb", "/v1/posts/x:a/b"}) {
    const Answer found = get(port, path);
    EXPECT_EQ(found.status, 200) << path;
    EXPECT_EQ(found.json()["key"], "x:a/b");
    EXPECT_EQ(found.json()["text"], "odd id");
  }
  const Answer missing = get(port, "/v1/posts/x:none");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.error()["code"], "post_not_found");
}

TEST(Search, PassesEveryParameterAndReturnsHits) {
  TestServer server;
  server.store.ingest(
      {make_post("1", "storm in town"), make_post("2", "calm"), make_post("3", "storm over")});
  const uint16_t port = server.start();
  const Answer answer = get(port,
                            "/v1/"
                            "search?q=storm&limit=1&order=newest&since=2026-01-01&until=2026-12-31T00:00:00Z&"
                            "source=x,world&source=api"
                            "&from=ada&lang=en&min_likes=3&min_views=4&all=1&fold=false"
                            "&after=5&through=9&expand=1&exact_count=1&recency_weight=0.5&half_life_hours=6"
                            "&engagement_weight=0.25&author_weight=1");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = answer.json();
  EXPECT_EQ(body["matched"], 2);
  ASSERT_EQ(body["hits"].size(), 1u);
  EXPECT_EQ(body["hits"][0]["post"]["key"], "x:1");
  EXPECT_EQ(body["hits"][0]["sequence"], 1);
  EXPECT_EQ(body["as_of"], "2026-11-23T07:00:00Z");
  const live::Query query = *server.store.last_query;
  EXPECT_EQ(query.order, live::Query::Order::kNewest);
  EXPECT_EQ(query.limit, 1u);
  EXPECT_EQ(query.since, parse_time("2026-01-01"));
  EXPECT_EQ(query.until, parse_time("2026-12-31"));
  EXPECT_EQ(query.sources, (std::vector<std::string>{"x", "world", "api"}));
  EXPECT_EQ(query.authors, std::vector<std::string>{"ada"});
  EXPECT_EQ(query.langs, std::vector<std::string>{"en"});
  EXPECT_EQ(query.min_likes, 3);
  EXPECT_EQ(query.min_views, 4);
  EXPECT_TRUE(query.require_all);
  EXPECT_EQ(query.after, 5u);
  EXPECT_EQ(query.through, 9u);
  EXPECT_TRUE(query.expand);
  EXPECT_TRUE(query.exact_count);
  EXPECT_EQ(query.weights.recency, 0.5);
  EXPECT_EQ(query.weights.half_life_hours, 6);
  EXPECT_EQ(query.weights.engagement, 0.25);
  EXPECT_EQ(query.weights.author, 1);
  EXPECT_FALSE(query.fold);
}

TEST(Search, BadParametersAreNamed) {
  TestServer server;
  const uint16_t port = server.start();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/v1/search", "q"},
      {"/v1/search?q=", "q"},
      {"/v1/search?q=a&limit=0", "limit"},
      {"/v1/search?q=a&limit=201", "limit"},
      {"/v1/search?q=a&limit=1x", "limit"},
      {"/v1/search?q=a&order=best", "order"},
      {"/v1/search?q=a&since=soon", "since"},
      {"/v1/search?q=a&fold=maybe", "fold"},
      {"/v1/search?q=a&min_likes=-1", "min_likes"},
      {"/v1/search?q=a&after=x", "after"},
      {"/v1/search?q=a&expand=maybe", "expand"},
      {"/v1/search?q=a&recency_weight=1.5", "recency_weight"},
      {"/v1/search?q=a&half_life_hours=nan", "half_life_hours"},
      {"/v1/search?q=a&engagement_weight=-1", "engagement_weight"},
      {"/v1/search?q=a&author_weight=much", "author_weight"},
      {"/v1/search?q=" + std::string(5000, 'a'), "q"}};
  for (const auto& [target, param] : cases) {
    const Answer answer = get(port, target);
    EXPECT_EQ(answer.status, 400) << target.substr(0, 60);
    EXPECT_EQ(answer.error()["param"], param) << target.substr(0, 60);
  }
  const Answer unreadable = get(port, "/v1/search?q=bad%22");
  EXPECT_EQ(unreadable.status, 400);
  EXPECT_NE(unreadable.body.find("a quote is not closed"), std::string::npos);
  const Answer damaged = get(port, "/v1/search?q=boom");
  EXPECT_EQ(damaged.status, 500);
  EXPECT_EQ(damaged.body.find("secret"), std::string::npos);
}

TEST(Models, ListsTheWritersAndTheModel) {
  TestServer server;
  const uint16_t port = server.start();
  const json list = get(port, "/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  std::vector<std::string> ids;
  for (const auto& model : list["data"]) {
    ids.push_back(model["id"]);
    EXPECT_EQ(model["object"], "model");
    EXPECT_TRUE(model["created"].is_number_integer());
    EXPECT_EQ(get(port, "/v1/models/" + ids.back()).json(), model);
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"fathom", "fathom-extract", "fathom-generate", "tiny-model"}));
  const Answer missing = get(port, "/v1/models/gpt-9");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.error()["code"], "model_not_found");
}

TEST(Models, WithoutAModelOnlyWhatCanAnswerIsListed) {
  TestServer server;
  const uint16_t port = server.start(false);
  EXPECT_EQ(get(port, "/v1/models").json()["data"].size(), 2u);
  EXPECT_EQ(get(port, "/v1/models/fathom-generate").status, 404);
}

TEST(Status, ShowsWhatThePageNeeds) {
  TestServer server;
  server.fiction = true;
  server.sources_status = [] { return json::array({{{"name", "world"}, {"state", "live"}}}); };
  server.store.ingest({make_post("1", "a")});
  const json status = get(server.start(), "/v1/status").json();
  EXPECT_EQ(status["version"], "1.2.3");
  EXPECT_EQ(status["feed_time"], "2026-11-23T07:00:00Z");
  EXPECT_EQ(status["fiction"], true);
  EXPECT_EQ(status["needs_key"], false);
  EXPECT_EQ(status["model"]["name"], "tiny-model");
  EXPECT_EQ(status["writers"], json::array({"fathom-extract", "fathom-generate"}));
  EXPECT_EQ(status["store"]["posts"], 1);
  EXPECT_EQ(status["store"]["by_source"]["x"], 1);
  EXPECT_EQ(status["sources"][0]["state"], "live");
}

TEST(Metrics, CountWhatHappened) {
  TestServer server;
  server.sources_status = [] {
    return json::array({{{"name", "world"},
                         {"state", "live"},
                         {"posts", 12},
                         {"lag_p99_seconds", 0.25},
                         {"errors", {{"network", 2}}}},
                        {{"name", "hackernews"}, {"state", "waiting"}}});
  };
  const uint16_t port = server.start();
  ask(port, "POST", "/v1/posts", {}, R"({"id":"1","text":"a"})");
  get(port, "/nowhere");
  server.chat(user_says("hello"));
  const std::vector<std::string> lines = {
      "fathom_http_requests_total{route=\"posts_write\",status=\"200\"} 1",
      "fathom_http_requests_total{route=\"none\",status=\"404\"} 1",
      "fathom_http_request_seconds_count{route=\"chat\"} 1",
      "fathom_posts_ingested_total{outcome=\"added\"} 1",
      "fathom_answers_total{writer=\"extract\"} 1",
      "fathom_tokens_total{kind=\"completion\"} 7",
      "fathom_tokens_total{kind=\"cached\"} 5",
      "fathom_first_text_seconds_count 1",
      "fathom_store_posts{source=\"x\"} 1",
      "fathom_source_live{source=\"world\"} 1",
      "fathom_source_live{source=\"hackernews\"} 0",
      "fathom_source_posts_total{source=\"world\"} 12",
      "fathom_source_lag_seconds{quantile=\"0.99\",source=\"world\"} 0.25",
      "fathom_source_errors_total{kind=\"network\",source=\"world\"} 2",
      "fathom_build_info{version=\"1.2.3\"} 1"};
  Answer answer = get(port, "/metrics");
  // A request counts when its answer has left, a moment after the client has it.
  for (int tries = 0; tries < 1000 && answer.body.find(lines[2]) == std::string::npos; ++tries)
    answer = get(port, "/metrics");
  EXPECT_EQ(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const auto& line : lines)
    EXPECT_NE(answer.body.find(line + "\n"), std::string::npos) << line << "\n" << answer.body;
}

TEST(Web, FilesAreServedWithTypesTagsAndPolicy) {
  TestServer server;
  const uint16_t port = server.start();
  ASSERT_FALSE(web_files().empty());
  for (const auto& file : web_files()) {
    const Answer answer = get(port, file.path);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, file.content) << file.path;
    EXPECT_NE(answer.header("content-type"), "application/octet-stream") << file.path;
    EXPECT_NE(answer.header("content-security-policy")
                  .find("default-src 'self'; img-src 'self' data:; object-src 'none'"),
              std::string::npos);
    EXPECT_EQ(answer.header("x-content-type-options"), "nosniff");
    EXPECT_EQ(answer.header("referrer-policy"), "no-referrer");
    const std::string tag = answer.header("etag");
    EXPECT_EQ(get(port, file.path, {{"If-None-Match", "\"old\", W/" + tag}}).status, 304);
    EXPECT_EQ(get(port, file.path, {{"If-None-Match", "\"old\""}}).status, 200);
  }
  EXPECT_EQ(get(port, "/").body, get(port, "/index.html").body);
  EXPECT_EQ(get(port, "/").header("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(get(port, "/../etc/passwd").status, 404);
  EXPECT_EQ(get(port, "/%2e%2e/index.html").status, 404);
}

}  // namespace
}  // namespace fathom::server
