// Standing queries over a real store, their webhooks over a real server on loopback.
#include "live/trends/standing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "live/store_support.h"
#include "live/trends/standing_file.h"
#include "live/trends/term_map.h"
#include "support/http_server.h"

namespace fathom::live {
namespace {

using nlohmann::json;
using test::eventually;
using testing::make_delete;
using testing::make_post;
using testing::TestStore;

/// Takes deliveries; answers with the statuses it was given, then with 200.
class Receiver {
 public:
  explicit Receiver(std::vector<int> statuses = {}) : statuses_(std::move(statuses)) {}

  std::vector<test::ServerRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  /// The ids of the posts in all deliveries, in order.
  std::vector<std::string> posts() const {
    std::vector<std::string> out;
    for (const auto& request : requests()) {
      const json body = json::parse(request.body);
      for (const json& post : body["posts"]) out.push_back(post["id"]);
    }
    return out;
  }
  std::string url() const { return server_.url("/hook"); }

 private:
  int next_status() {
    const std::lock_guard lock(mutex_);
    return answered_ < statuses_.size() ? statuses_[answered_++] : 200;
  }

  mutable std::mutex mutex_;
  std::vector<int> statuses_;
  size_t answered_ = 0;
  std::vector<test::ServerRequest> requests_;
  test::HttpServer server_{[this](const test::ServerRequest& request, test::Reply& reply) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    reply.send(next_status(), "{}");
  }};
};

struct Fixture {
  StandingQueries::Options options() const {
    StandingQueries::Options out;
    out.file = feed.dir.path() / "standing.json";
    out.allow_private = allow_private;
    return out;
  }
  void open() {
    standing = std::make_unique<StandingQueries>(*feed.store, *transport, feed.clock, options());
  }

  StandingQuery add(std::string_view text, const std::string& webhook = "", const std::string& secret = "") {
    StandingQuery query;
    query.query.text = text;
    query.webhook = webhook;
    query.webhook_secret = secret;
    return standing->add(query);
  }
  uint64_t matched(const std::string& id) const { return standing->find(id)->matched; }

  TestStore feed;
  bool allow_private = true;
  std::unique_ptr<Transport> transport = make_transport();
  std::unique_ptr<StandingQueries> standing;
};

std::vector<std::string> ids_of(const StandingMatch& match) {
  std::vector<std::string> out;
  for (const Hit& hit : match.hits) out.push_back(hit.post.id);
  return out;
}

TEST(StandingQueries, TellsOfNewPostsThatMatchInOrder) {
  Fixture f;
  f.feed.store->ingest({make_post("old", "harbour fire from before")});
  f.open();
  const auto query = f.add("harbour fire");
  std::mutex mutex;
  std::vector<std::string> told;
  const auto handle = f.standing->listen(query.id, [&](const StandingMatch& match) {
    const std::lock_guard lock(mutex);
    for (const std::string& id : ids_of(match)) told.push_back(id);
  });
  f.feed.store->ingest({make_post("1", "a fire at the harbour"), make_post("2", "nothing to see"),
                        make_post("3", "the Harbour again")});
  f.feed.store->ingest({make_post("4", "fire brigade leaves")});
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return told == std::vector<std::string>{"1", "3", "4"};
  }));
  EXPECT_EQ(f.matched(query.id), 3u);
}

TEST(StandingQueries, FindsWhatTheSearchFinds) {
  Fixture f;
  f.open();
  std::map<std::string, std::vector<std::string>> expected = {
      {"\"power cut\" -test", {"2"}}, {"from:bob", {"4"}},        {"#storm", {"3", "4"}},
      {"+bridge +closed", {"5"}},     {"source:other", {"6"}},    {"lang:de", {"7"}},
      {"to:council", {"8"}},          {"has:link example", {"9"}}};
  std::map<std::string, std::string> ids;
  for (const auto& [text, posts] : expected) ids[text] = f.add(text).id;
  std::vector<Post> posts = {make_post("1", "power cut test"),
                             make_post("2", "a power cut"),
                             make_post("3", "so much #storm"),
                             make_post("4", "#Storm here too"),
                             make_post("5", "bridge was closed"),
                             make_post("6", "elsewhere"),
                             make_post("7", "Guten Tag"),
                             make_post("8", "@council please"),
                             make_post("9", "see https://example.com/x example")};
  posts[3].author.handle = "bob";
  posts[5].source = "other";
  posts[6].lang = "de";
  f.feed.store->ingest(posts);
  for (const auto& entry : expected) {
    const auto& text = entry.first;
    const auto& wanted = entry.second;
    EXPECT_TRUE(eventually([&] { return f.matched(ids[text]) == wanted.size(); })) << text;
    EXPECT_EQ(ids_of(*f.standing->matches(ids[text], 0)), wanted) << text;
  }
}

TEST(StandingQueries, GoesOnFromAPlace) {
  Fixture f;
  f.open();
  const std::string id = f.add("fire").id;
  f.feed.store->ingest(
      {make_post("1", "fire one"), make_post("2", "fire two"), make_post("3", "fire three")});
  ASSERT_TRUE(eventually([&] { return f.matched(id) == 3; }));
  const auto all = f.standing->matches(id, 0);
  ASSERT_EQ(ids_of(*all), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(ids_of(*f.standing->matches(id, all->hits[0].sequence)), (std::vector<std::string>{"2", "3"}));
  EXPECT_TRUE(f.standing->matches(id, all->sequence)->hits.empty());
  EXPECT_FALSE(f.standing->matches("sq_none", 0));
}

TEST(StandingQueries, ListsRemovesAndKeepsThem) {
  Fixture f;
  f.open();
  const auto first = f.add("one"), second = f.add("two", "https://hooks.example.com/x", "hush");
  ASSERT_EQ(f.standing->list().size(), 2u);
  EXPECT_TRUE(f.standing->remove(first.id));
  EXPECT_FALSE(f.standing->remove(first.id));
  const auto permissions = [&](const char* end) {
    struct stat status {};
    return ::stat((f.options().file.string() + end).c_str(), &status) == 0 ? status.st_mode & 0777 : 0u;
  };
  EXPECT_EQ(permissions(".new"), 0600u);
  f.standing.reset();
  EXPECT_EQ(permissions(""), 0600u);
  f.open();
  const auto left = f.standing->list();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].id, second.id);
  EXPECT_EQ(left[0].query.text, "two");
  EXPECT_EQ(left[0].webhook_secret, "hush");
  EXPECT_EQ(left[0].created, second.created);
}

TEST(StandingQueries, ARemovedQueryEndsItsListeners) {
  Fixture f;
  f.open();
  const std::string id = f.add("one").id;
  std::atomic<int> calls{0};
  auto handle =
      f.standing->listen(id, [&](const StandingMatch& match) { calls += match.hits.empty() ? 1 : 100; });
  f.standing->remove(id);
  EXPECT_EQ(calls, 1);
  handle.reset();
}

TEST(StandingQueries, RefusesWhatCannotWork) {
  Fixture f;
  f.allow_private = false;
  f.open();
  EXPECT_THROW(f.add("since:2026-02-02 until:2026-01-01"), Error);
  EXPECT_THROW(f.add("since:yesterday-ish"), Error);
  for (const char* webhook : {"ftp://example.com/", "example.com", "http://localhost/", "http://127.0.0.1/x",
                              "http://[::1]/", "http://10.1.2.3/", "http://192.168.0.1:8080/"})
    EXPECT_THROW(f.add("fire", webhook), Error) << webhook;
  EXPECT_THROW(f.add("fire", "", "secret without a webhook"), Error);
  EXPECT_TRUE(f.standing->list().empty());
}

TEST(StandingQueries, NamesADamagedFile) {
  Fixture f;
  write_file_atomic(f.options().file, "{\"queries\": 7}");
  try {
    f.open();
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("standing.json"), std::string::npos);
  }
}

/// What is on the disk at this moment, as a process that was killed now would leave it.
std::vector<std::string> names_on_disk(const std::filesystem::path& file) {
  std::vector<std::string> names;
  for (const KeptQuery& kept : read_standing(file)) names.push_back(kept.query.query.text);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(StandingQueries, WhatIsAddedAndRemovedIsOnTheDiskAtOnce) {
  Fixture f;
  f.open();
  const std::string one = f.add("one").id;
  EXPECT_EQ(names_on_disk(f.options().file), (std::vector<std::string>{"one"}));
  f.add("two");
  f.add("three");
  EXPECT_EQ(names_on_disk(f.options().file), (std::vector<std::string>{"one", "three", "two"}));
  f.standing->remove(one);
  EXPECT_EQ(names_on_disk(f.options().file), (std::vector<std::string>{"three", "two"}));
  f.standing.reset();  // writes it as a whole
  EXPECT_FALSE(std::filesystem::exists(f.options().file.string() + ".new"));
  EXPECT_EQ(names_on_disk(f.options().file), (std::vector<std::string>{"three", "two"}));
}

TEST(StandingQueries, AJournalIsReplayedOverAFileThatHoldsItAlready) {
  const TempDir dir;
  const auto file = dir.path() / "standing.json";
  KeptQuery a, b;
  a.query.id = a.query.query.text = "a";
  b.query.id = b.query.query.text = "b";
  append_added(file, a);
  append_added(file, b);
  append_removed(file, "a");
  const std::string journal = read_file(file.string() + ".new");
  b.place = 7;
  write_standing(file, {b});
  EXPECT_FALSE(std::filesystem::exists(file.string() + ".new"));
  write_file_atomic(file.string() + ".new", journal);  // killed before the journal was removed
  const auto kept = read_standing(file);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].query.id, "b");
  EXPECT_EQ(kept[0].place, 7u);
}

TEST(StandingQueries, ALineThatWasCutOffSpoilsNoOther) {
  const TempDir dir;
  const auto file = dir.path() / "standing.json";
  KeptQuery kept;
  kept.query.id = kept.query.query.text = "a";
  append_added(file, kept);
  const std::string journal = read_file(file.string() + ".new");
  for (size_t cut = 0; cut < journal.size(); cut += 41) {
    write_file_atomic(file.string() + ".new", journal + journal.substr(0, cut));
    kept.query.id = kept.query.query.text = "b";
    append_added(file, kept);
    EXPECT_EQ(names_on_disk(file), (std::vector<std::string>{"a", "b"})) << cut;
  }
}

TEST(StandingQueries, WhatCannotBeKeptIsNotAdded) {
  Fixture f;
  f.open();
  const std::string one = f.add("one").id;
  f.standing.reset();
  f.open();
  std::filesystem::create_directory(f.options().file.string() + ".new");  // where the journal should be
  EXPECT_THROW(f.add("two"), Error);
  EXPECT_THROW(f.standing->remove(one), Error);
  ASSERT_EQ(f.standing->list().size(), 1u);
  EXPECT_EQ(f.standing->list()[0].id, one);
  std::filesystem::remove(f.options().file.string() + ".new");
  EXPECT_TRUE(f.standing->remove(one));
}

TEST(StandingQueries, DeliversSigned) {
  Fixture f;
  Receiver receiver;
  f.open();
  const std::string id = f.add("fire", receiver.url(), "hush").id;
  f.feed.store->ingest({make_post("1", "fire one"), make_post("x", "water")});
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->delivered == 1; }));
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].header("x-fathom-query"), id);
  EXPECT_EQ(requests[0].header("content-type"), "application/json");
  EXPECT_EQ(requests[0].header("x-fathom-signature"), "sha256=" + hmac_sha256("hush", requests[0].body));
  const json body = json::parse(requests[0].body);
  EXPECT_EQ(body["id"], requests[0].header("x-fathom-delivery"));
  EXPECT_EQ(body["query"]["q"], "fire");
  EXPECT_EQ(body["posts"][0]["key"], "test:1");
}

TEST(StandingQueries, TriesAgainLaterAndLaterWithTheSameDelivery) {
  Fixture f;
  Receiver receiver({500, 404});
  f.open();
  const std::string id = f.add("fire", receiver.url()).id;
  f.feed.store->ingest({make_post("1", "fire one")});
  ASSERT_TRUE(eventually([&] { return receiver.requests().size() == 1; }));
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->last_error.find("500") != std::string::npos; }));
  f.feed.store->ingest({make_post("2", "fire two")});  // waits for its turn
  f.feed.clock.set(f.feed.clock.now() + std::chrono::seconds(1));
  ASSERT_TRUE(eventually([&] { return receiver.requests().size() == 2; }));
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->last_error.find("404") != std::string::npos; }));
  f.feed.clock.set(f.feed.clock.now() + std::chrono::seconds(2));
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->delivered == 2; }));
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].body, requests[1].body);
  EXPECT_EQ(requests[0].body, requests[2].body);
  EXPECT_EQ(requests[0].header("x-fathom-delivery"), requests[2].header("x-fathom-delivery"));
  EXPECT_NE(requests[0].header("x-fathom-delivery"), requests[3].header("x-fathom-delivery"));
  EXPECT_EQ(f.standing->find(id)->last_error, "");
}

TEST(StandingQueries, GivesUpAfterADayAndGoesOn) {
  Fixture f;
  Receiver receiver({500, 500});
  f.open();
  const std::string id = f.add("fire", receiver.url()).id;
  f.feed.store->ingest({make_post("1", "fire one")});
  ASSERT_TRUE(eventually([&] { return !f.standing->find(id)->last_error.empty(); }));
  f.feed.clock.set(f.feed.clock.now() + std::chrono::hours(25));
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->failed == 1; }));
  f.feed.store->ingest({make_post("2", "fire two")});
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->delivered == 1; }));
  EXPECT_EQ(receiver.posts(), (std::vector<std::string>{"1", "1", "2"}));
}

TEST(StandingQueries, ARestartLeavesNothingOut) {
  Fixture f;
  Receiver receiver({503});
  f.open();
  const std::string id = f.add("fire", receiver.url()).id;
  f.feed.store->ingest({make_post("1", "fire one")});
  ASSERT_TRUE(eventually([&] { return !f.standing->find(id)->last_error.empty(); }));
  f.standing.reset();
  f.feed.store->ingest({make_post("2", "fire two"), make_post("3", "water")});  // while nobody looks
  f.feed.reopen();
  f.feed.clock.set(f.feed.clock.now() + std::chrono::minutes(1));
  f.open();
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->delivered == 2; }));
  EXPECT_EQ(receiver.posts(), (std::vector<std::string>{"1", "1", "2"}));
}

TEST(StandingQueries, ADeletedPostIsNotDelivered) {
  Fixture f;
  Receiver receiver({500});
  f.open();
  const std::string id = f.add("fire", receiver.url()).id;
  f.feed.store->ingest({make_post("1", "fire one"), make_post("2", "fire two")});
  ASSERT_TRUE(eventually([&] { return !f.standing->find(id)->last_error.empty(); }));
  f.feed.store->ingest({make_delete("1", testing::kStart + std::chrono::hours(1))});
  f.feed.clock.set(f.feed.clock.now() + std::chrono::minutes(1));
  ASSERT_TRUE(eventually([&] { return f.standing->find(id)->delivered == 1; }));
  EXPECT_EQ(receiver.posts(), (std::vector<std::string>{"1", "2", "2"}));
}

TEST(StandingQueries, ANameThatLeadsHereIsRefusedAfterResolving) {
  Fixture f;
  Receiver receiver;
  f.allow_private = false;
  f.open();
  // "localhost." passes a look at the name and resolves to this machine.
  const std::string port = receiver.url().substr(receiver.url().rfind(':'));
  const std::string id = f.add("fire", "http://localhost." + port).id;
  f.feed.store->ingest({make_post("1", "fire one")});
  ASSERT_TRUE(eventually([&] { return !f.standing->find(id)->last_error.empty(); }));
  EXPECT_TRUE(receiver.requests().empty());
}

TEST(TermMap, AsksOnlyQueriesThatNewPostsMayConcern) {
  TermMap map;
  const auto add = [&map](const std::string& id, std::string_view text) {
    Query query;
    query.text = text;
    map.add(id, parse_query(query));
  };
  for (int i = 0; i < 1000; ++i) add(fmt::format("other{}", i), fmt::format("subject{} +topic{}", i, i));
  add("any", "fire water");
  add("both", "+harbour +fire");
  add("filter", "lang:de");
  PreparedBatch batch;
  batch.add(make_post("1", "a fire in town"));
  using Candidates = std::vector<TermMap::Candidate>;
  EXPECT_EQ(map.candidates(batch), (Candidates{{"any", 0, 0}, {"filter", 0, 0}}));
  batch.add(make_post("2", "the harbour"));
  EXPECT_EQ(map.candidates(batch), (Candidates{{"any", 0, 0}, {"filter", 0, 1}}));
  batch.add(make_post("3", "a fire at the harbour"));
  batch.add(make_post("4", "nothing"));
  EXPECT_EQ(map.candidates(batch), (Candidates{{"any", 0, 2}, {"both", 2, 2}, {"filter", 0, 3}}));
  map.remove("any");
  map.remove("filter");
  EXPECT_EQ(map.candidates(batch), (Candidates{{"both", 2, 2}}));
  add("again", "harbour from:ann");
  EXPECT_EQ(map.candidates(batch), (Candidates{{"again", 1, 2}, {"both", 2, 2}}));
}

}  // namespace
}  // namespace fathom::live
