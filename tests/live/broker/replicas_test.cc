#include "live/broker/replicas.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "live/query_json.h"

namespace fathom::live {
namespace {

Post make_post(std::string id, std::string text, int64_t second) {
  Post post;
  post.id = std::move(id);
  post.source = "test";
  post.text = std::move(text);
  post.author.handle = "someone";
  post.created_at = post.received_at = Time(std::chrono::seconds(1'700'000'000 + second));
  return post;
}

/// Another replica behind the wire format: what POST /v1/search and GET /v1/posts/{key} do.
class OtherReplica final : public Transport {
 public:
  explicit OtherReplica(Store& store) : store_(store) {}

  HttpResponse fetch(const HttpRequest& request, const std::stop_token&) override {
    if (down) throw Error(ErrorCode::kNetwork, "it is down");
    HttpResponse response;
    response.status = 200;
    if (request.method == "POST") {
      asked.push_back(request);
      response.body =
          garbage
              ? "{\"hits\": [{}]}"
              : result_to_json(store_.search(query_from_json(nlohmann::json::parse(request.body)))).dump();
      return response;
    }
    const auto post = store_.find("test:far");
    response.status = post && request.url.find("test%3Afar") != std::string::npos ? 200 : 404;
    if (response.status == 200) response.body = to_json(*post).dump();
    return response;
  }
  HttpResponse stream(const HttpRequest&, const std::function<bool(std::string_view)>&,
                      const std::stop_token&) override {
    throw Error(ErrorCode::kUnsupported, "no streams here");
  }

  bool down = false, garbage = false;
  std::vector<HttpRequest> asked;

 private:
  Store& store_;
};

class ReplicasTest : public ::testing::Test {
 protected:
  ReplicasTest() {
    own_->ingest(
        {make_post("near", "the ferry left the harbour", 1), make_post("both", "a ferry in two shares", 5)});
    far_->ingest({make_post("far", "the ferry came back to the harbour at dusk", 9),
                  make_post("same", "the ferry left the harbour", 3),
                  make_post("both", "a ferry in two shares", 5)});
  }

  std::unique_ptr<Store> open(const char* name) {
    StoreOptions options;
    options.folder = folder_.path() / name;
    options.sync = false;
    return Store::open(options, clock_);
  }

  TempDir folder_;
  ManualClock clock_{Time(std::chrono::seconds(1'700'000'100))};
  std::unique_ptr<Store> own_ = open("own"), far_ = open("far");
  OtherReplica wire_{*far_};
  Replicas replicas_{
      *own_, wire_, {.urls = {"http://far:1"}, .api_key = "k", .patience = std::chrono::seconds(1)}};
};

std::vector<std::string> ids(const SearchResult& result) {
  std::vector<std::string> ids;
  for (const Hit& hit : result.hits) ids.push_back(hit.post.id);
  return ids;
}

TEST_F(ReplicasTest, ASearchFindsThePostsOfAllSharesOnce) {
  Query query;
  query.text = "ferry";
  query.order = Query::Order::kNewest;
  const SearchResult result = replicas_.search(query);
  EXPECT_EQ(ids(result), (std::vector<std::string>{"far", "both", "same"}));
  EXPECT_EQ(result.hits[2].folded, std::vector<std::string>{"test:near"});  // the same statement
  EXPECT_TRUE(result.missing.empty());
  EXPECT_EQ(result.matched, 5u);
  EXPECT_EQ(result.terms, (std::vector<std::pair<std::string, size_t>>{{"ferri", 5}}));
  EXPECT_EQ(replicas_.feed_time(), far_->feed_time());
  EXPECT_EQ(wire_.asked.at(0).headers.at("Authorization"), "Bearer k");
}

TEST_F(ReplicasTest, AReplicaThatIsDownOrTalksNonsenseIsNamed) {
  Query query;
  query.text = "ferry";
  for (bool* fault : {&wire_.down, &wire_.garbage}) {
    *fault = true;
    const SearchResult result = replicas_.search(query);
    EXPECT_EQ(result.hits.size(), 2u);
    EXPECT_EQ(result.missing, std::vector<std::string>{"http://far:1"});
    EXPECT_FALSE(result.matched_exact);
    *fault = false;
  }
}

TEST_F(ReplicasTest, APostIsFoundWhereverItLies) {
  EXPECT_EQ(replicas_.find("test:near")->text, "the ferry left the harbour");
  EXPECT_EQ(replicas_.find("test:far")->text, "the ferry came back to the harbour at dusk");
  EXPECT_FALSE(replicas_.find("test:nowhere"));
  wire_.down = true;
  EXPECT_FALSE(replicas_.find("test:far"));
}

TEST(QueryJson, AQueryComesThroughWhole) {
  Query query;
  query.text = "\"a phrase\" from:me";
  query.order = Query::Order::kNewest;
  query.limit = 7;
  query.fold = false;
  query.require_all = query.expand = query.exact_count = true;
  query.since = Time(std::chrono::seconds(5));
  query.until = Time(std::chrono::seconds(9));
  query.authors = {"a"};
  query.not_authors = {"b"};
  query.sources = {"x"};
  query.langs = {"en", "de"};
  query.min_likes = 3;
  query.min_views = 4;
  query.after = 11;
  query.weights = {.recency = 0.5, .half_life_hours = 2, .engagement = 0.25, .author = 0.75};
  const Query read = query_from_json(query_to_json(query));
  EXPECT_EQ(query_to_json(read), query_to_json(query));
  EXPECT_EQ(read.weights.author, 0.75);
  EXPECT_EQ(read.until, query.until);
  EXPECT_THROW(query_from_json(nlohmann::json::parse(R"({"limit": "many"})")), Error);
  EXPECT_THROW(query_from_json(nlohmann::json::parse("[]")), Error);
}

}  // namespace
}  // namespace fathom::live
