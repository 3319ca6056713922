#include "live/sources/nostr.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "live/sources/feed_support.h"
#include "live/sources/nostr_relay.h"
#include "live/sources/nostr_signer.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::eventually;
using test::FeedConnection;
using test::FeedServer;
using test::nostr_message;
using test::NostrSigner;

const Time kStart = *parse_time("2026-07-04T14:40:00Z");
const int64_t kStartSeconds = std::chrono::floor<std::chrono::seconds>(kStart).time_since_epoch().count();
constexpr const char* kEnd = R"(["EOSE","fathom"])";

std::string key(const NostrEvent& event) { return "nostr:" + event.id; }

/// A relay whose subscriptions are scripted.
class FakeRelay {
 public:
  using Script = std::function<void(FeedConnection&, int connection)>;

  explicit FakeRelay(Script script)
      : script_(std::move(script)), server_([this](FeedConnection& c) { serve(c); }) {}

  std::string url() const { return server_.ws_url("/"); }
  std::vector<json> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve(FeedConnection& c) {
    c.upgrade();
    const auto request = c.receive();
    if (!request) return;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(json::parse(*request));
      number = static_cast<int>(requests_.size()) - 1;
    }
    script_(c, number);
  }

  Script script_;
  mutable std::mutex mutex_;
  std::vector<json> requests_;
  FeedServer server_;  // last: ends before what its threads use
};

class NostrTest : public ::testing::Test {
 protected:
  NostrTest() { options_.retry_first = options_.retry_longest = 10ms; }

  void start(const std::vector<const FakeRelay*>& relays) {
    options_.relays.clear();
    for (const auto* relay : relays) options_.relays.push_back(relay->url());
    harness_.start(make_nostr_source(options_, *sockets_, clock_));
  }

  NostrSigner ada_{1}, bob_{2};
  NostrOptions options_;
  std::unique_ptr<WebSockets> sockets_ = make_web_sockets();
  test::PatientClock clock_{kStart};
  test::SourceHarness harness_{clock_};
};

TEST_F(NostrTest, NotesArriveFromAllRelaysOnce) {
  const auto both = ada_.event(1, kStartSeconds - 9, "on both"),
             one = bob_.event(1, kStartSeconds - 8, "on one");
  FakeRelay first([&](FeedConnection& c, int) {
    c.send(nostr_message(both));
    c.send(kEnd);
    c.hang();
  });
  FakeRelay second([&](FeedConnection& c, int) {
    c.send(nostr_message(both));
    c.send(nostr_message(one));
    c.send(kEnd);
    c.hang();
  });
  start({&first, &second});
  ASSERT_TRUE(harness_.comes(key(both)));
  ASSERT_TRUE(harness_.comes(key(one)));
  EXPECT_TRUE(eventually([&] { return harness_.status().state == SourceState::kLive; }));
  // The second relay may have sent both before the first was asked.
  ASSERT_TRUE(eventually([&] { return !first.requests().empty(); }));
  harness_.stop();
  EXPECT_EQ(harness_.times(key(both)), 1u);
  const json request = first.requests().at(0);
  EXPECT_EQ(request.at(0), "REQ");
  EXPECT_EQ(request.at(2), (json{{"kinds", {1}}, {"limit", 500}}));
  EXPECT_EQ(request.at(3).at("kinds"), json({5, 6, 7}));
}

TEST_F(NostrTest, FiltersAreSent) {
  options_.authors = {ada_.pubkey()};
  options_.tags = {"oslo", "bergen"};
  options_.counts = false;
  const json request = json::parse(nostr_request(options_, 1000));
  EXPECT_EQ(
      request.at(2),
      (json{{"kinds", {1}}, {"authors", {ada_.pubkey()}}, {"#t", {"oslo", "bergen"}}, {"since", 1000}}));
  EXPECT_EQ(request.at(3), (json{{"kinds", {5}}, {"since", 1000}}));
}

TEST_F(NostrTest, WhatIsNotSignedByItsAuthorIsLeftOut) {
  auto forged = ada_.event(1, kStartSeconds, "never said");
  forged.sig = bob_.sign(forged.id);
  auto changed = ada_.event(1, kStartSeconds, "said");
  changed.content = "said otherwise";
  const auto good = ada_.event(1, kStartSeconds, "said indeed");
  FakeRelay relay([&](FeedConnection& c, int) {
    for (const auto& event : {forged, changed, good}) c.send(nostr_message(event));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(good)));
  EXPECT_FALSE(harness_.has(key(forged)));
  EXPECT_FALSE(harness_.has(key(changed)));
  EXPECT_EQ(harness_.status().rejected, 2u);
}

TEST_F(NostrTest, OnlyAuthorsDeleteTheirNotes) {
  const auto mine = ada_.event(1, kStartSeconds - 9, "mine"), kept = ada_.event(1, kStartSeconds - 8, "kept");
  const auto removal = ada_.event(5, kStartSeconds - 7, "", {{"e", mine.id}});
  const auto attack = bob_.event(5, kStartSeconds - 7, "", {{"e", kept.id}});
  const auto end = ada_.event(1, kStartSeconds, "end");
  FakeRelay relay([&](FeedConnection& c, int) {
    for (const auto& event : {mine, kept, removal, attack, end}) c.send(nostr_message(event));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(end)));
  EXPECT_TRUE(harness_.goes(key(mine)));
  EXPECT_TRUE(harness_.has(key(kept)));
}

TEST_F(NostrTest, DeletionsFindTheirNotesAfterARestartAndBeforeTheyCome) {
  const auto old_note = ada_.event(1, kStartSeconds - 9, "old"),
             late = ada_.event(1, kStartSeconds - 8, "late");
  const auto bobs = bob_.event(1, kStartSeconds - 8, "his own");
  const auto end = ada_.event(1, kStartSeconds, "end");
  FakeRelay relay([&](FeedConnection& c, int connection) {
    if (connection == 0) c.send(nostr_message(old_note));
    if (connection == 1) {
      c.send(nostr_message(
          ada_.event(5, kStartSeconds, "", {{"e", old_note.id}, {"e", late.id}, {"e", bobs.id}})));
      for (const auto& event : {late, bobs, end}) c.send(nostr_message(event));
    }
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(old_note)));
  harness_.stop();
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(end)));
  EXPECT_TRUE(harness_.goes(key(old_note)));
  EXPECT_FALSE(harness_.has(key(late)));
  EXPECT_TRUE(harness_.has(key(bobs)));
}

TEST_F(NostrTest, ReactionsRepostsAndRepliesAreCounted) {
  const auto note = ada_.event(1, kStartSeconds - 9, "count me");
  const std::string other(64, 'c');
  std::vector<NostrEvent> events{note,
                                 bob_.event(7, kStartSeconds - 8, "+", {{"e", other}, {"e", note.id}}),
                                 ada_.event(7, kStartSeconds - 8, "\xF0\x9F\x92\x9C", {{"e", note.id}}),
                                 bob_.event(7, kStartSeconds - 7, "-", {{"e", note.id}}),
                                 bob_.event(6, kStartSeconds - 6, "", {{"e", note.id}}),
                                 bob_.event(1, kStartSeconds - 5, "yes", {{"e", note.id, "", "reply"}}),
                                 ada_.event(1, kStartSeconds, "end")};
  FakeRelay relay([&](FeedConnection& c, int) {
    for (int i = 0; i < 2; ++i)  // counted once
      for (const auto& event : events) c.send(nostr_message(event));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(events.back())));
  EXPECT_TRUE(eventually([&] { return harness_.post(key(note)).metrics.replies == 1; }));
  EXPECT_EQ(harness_.post(key(note)).metrics.likes, 2);
  EXPECT_EQ(harness_.post(key(note)).metrics.reposts, 1);
}

TEST_F(NostrTest, ARestartAsksForSomeMinutesBeforeItsCursor) {
  const auto note = ada_.event(1, kStartSeconds - 60, "note"),
             ahead = bob_.event(1, kStartSeconds + 99999, "soon");
  FakeRelay relay([&](FeedConnection& c, int) {
    c.send(nostr_message(note));
    c.send(nostr_message(ahead));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(ahead)));
  ASSERT_TRUE(eventually([&] { return !harness_.cursor().empty(); }));
  harness_.stop();
  start({&relay});
  ASSERT_TRUE(eventually([&] { return relay.requests().size() == 2; }));
  EXPECT_EQ(relay.requests().at(1).at(2).at("since"), kStartSeconds - 660);
}

TEST_F(NostrTest, ARelayThatBreaksIsTakenUpWhileOthersGoOn) {
  const auto early = ada_.event(1, kStartSeconds - 9, "early"),
             late = ada_.event(1, kStartSeconds - 3, "late");
  FakeRelay steady([&](FeedConnection& c, int) {
    c.send(kEnd);
    c.hang();
  });
  FakeRelay broken([&](FeedConnection& c, int connection) {
    c.send(nostr_message(connection == 0 ? early : late));
    if (connection == 0) return void(c.close(1011, "oops"));
    c.hang();
  });
  start({&steady, &broken});
  ASSERT_TRUE(harness_.comes(key(late)));
  EXPECT_EQ(steady.requests().size(), 1u);
  EXPECT_EQ(broken.requests().at(1).at(2).at("since"), kStartSeconds - 609);
}

TEST_F(NostrTest, WhenNoRelayIsLeftTheRunnerWaits) {
  const auto note = ada_.event(1, kStartSeconds, "back");
  FakeRelay relay([&](FeedConnection& c, int connection) {
    if (connection < 2) return void(c.send(R"(["CLOSED","fathom","auth-required: members only"])"));
    c.send(nostr_message(note));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(note)));
  EXPECT_NE(harness_.status().last_error.find("members only"), std::string::npos);
  EXPECT_GE(harness_.status().reconnects, 1u);
}

TEST_F(NostrTest, GarbageIsLeftOutAndNoticesAreTold) {
  const auto note = ada_.event(1, kStartSeconds, "good");
  FakeRelay relay([&](FeedConnection& c, int) {
    for (const char* text : {"", "{", "{}", R"(["EVENT","fathom",{"id":7}])", R"(["COUNT","x",{}])"})
      c.send(text);
    c.send(R"(["NOTICE","be gentle"])");
    c.send(nostr_message(note));
    c.hang();
  });
  start({&relay});
  ASSERT_TRUE(harness_.comes(key(note)));
  EXPECT_EQ(harness_.status().rejected, 4u);
  EXPECT_NE(harness_.status().last_error.find("be gentle"), std::string::npos);
}

TEST_F(NostrTest, StopEndsAllRelaysPromptly) {
  options_.silence = 1h;
  const auto quiet = [](FeedConnection& c, int) {
    c.send(kEnd);
    c.hang();
  };
  FakeRelay first(quiet), second(quiet);
  start({&first, &second});
  ASSERT_TRUE(eventually([&] { return harness_.status().state == SourceState::kLive; }));
  const auto begin = std::chrono::steady_clock::now();
  harness_.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(NostrTest, RefusesOptionsThatCannotWork) {
  const auto make = [&] { make_nostr_source(options_, *sockets_, clock_); };
  EXPECT_NO_THROW(make());
  options_.authors = {"npub1xyz"};
  EXPECT_THROW(make(), Error);
  options_.authors.clear();
  options_.relays = {"https://relay.example"};
  EXPECT_THROW(make(), Error);
  options_.relays.clear();
  EXPECT_THROW(make(), Error);
}

}  // namespace
}  // namespace fathom::live
