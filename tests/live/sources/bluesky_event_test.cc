#include "live/sources/bluesky_event.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr Time kNow = Time(std::chrono::seconds(1783175900));
constexpr int64_t kEventTime = 1783175888130414;
const std::string kDid = "did:plc:abcdefghijklmnopqrstuvwx";

json commit(const std::string& operation, const std::string& collection, const json& record,
            const std::string& key = "3mptbyp7lu223") {
  json body{{"rev", "3mptr"}, {"operation", operation}, {"collection", collection}, {"rkey", key}};
  if (!record.is_null()) {
    body["record"] = record;
    body["cid"] = "bafyr";
  }
  return {{"did", kDid}, {"time_us", kEventTime}, {"kind", "commit"}, {"commit", body}};
}

json record(const std::string& text) {
  return {{"$type", "app.bsky.feed.post"}, {"text", text}, {"createdAt", "2026-07-04T14:38:07.112Z"}};
}

BlueskyEvent event_of(const json& event) { return parse_bluesky_event(event.dump(), kNow); }

Post post_of(const json& fields) {
  const auto event = event_of(commit("create", "app.bsky.feed.post", fields));
  EXPECT_TRUE(event.post.has_value());
  return event.post.value_or(Post{});
}

json facet(size_t begin, size_t end, const json& feature) {
  return {{"index", {{"byteStart", begin}, {"byteEnd", end}}}, {"features", json::array({feature})}};
}
json link(const std::string& uri) { return {{"$type", "app.bsky.richtext.facet#link"}, {"uri", uri}}; }

TEST(BlueskyEvent, ACreatedPostHasTextTimeAndAddress) {
  json fields = record("Regen in K\xC3\xB6ln");
  fields["langs"] = {"de", "en"};
  fields["tags"] = {"wetter"};
  const BlueskyEvent event = event_of(commit("create", "app.bsky.feed.post", fields));
  const Post& post = *event.post;
  EXPECT_EQ(event.time, Time(Micros(kEventTime)));
  EXPECT_EQ(post.key(), "bluesky:" + kDid + "/3mptbyp7lu223");
  EXPECT_EQ(post.text, "Regen in K\xC3\xB6ln");
  EXPECT_EQ(post.author.handle, kDid);
  EXPECT_EQ(post.url, "https://bsky.app/profile/" + kDid + "/post/3mptbyp7lu223");
  EXPECT_EQ(post.lang, "de");
  EXPECT_EQ(post.tags, std::vector<std::string>{"wetter"});
  EXPECT_EQ(format_time(post.created_at), "2026-07-04T14:38:07.112000Z");
  EXPECT_EQ(post.received_at, kNow);
  EXPECT_FALSE(post.deleted || post.sensitive);
  EXPECT_EQ(event.counted, "");
}

TEST(BlueskyEvent, AClaimedTimeIsNeverAfterTheEvent) {
  json fields = record("t");
  const auto time_of = [&](const char* claimed) {
    fields["createdAt"] = claimed;
    return post_of(fields).created_at;
  };
  EXPECT_EQ(time_of("2031-01-01T00:00:00Z"), Time(Micros(kEventTime)));
  EXPECT_EQ(time_of("0001-01-01T00:00:00Z"), Time(Micros(kEventTime)));
  EXPECT_EQ(time_of("yesterday"), Time(Micros(kEventTime)));
  EXPECT_EQ(format_time(time_of("2019-05-01T10:00:00+02:00")), "2019-05-01T08:00:00Z");
}

TEST(BlueskyEvent, ChangesReplaceAndDeletionsRemove) {
  const auto changed = event_of(commit("update", "app.bsky.feed.post", record("better")));
  EXPECT_EQ(changed.post->text, "better");
  const auto deleted = event_of(commit("delete", "app.bsky.feed.post", nullptr));
  EXPECT_TRUE(deleted.post->deleted);
  EXPECT_EQ(deleted.post->key(), changed.post->key());
  EXPECT_EQ(deleted.post->created_at, Time(Micros(kEventTime)));
}

TEST(BlueskyEvent, LikesAndRepostsAndRepliesAreCounts) {
  const std::string uri = "at://did:plc:other/app.bsky.feed.post/3kabc";
  const json subject{{"subject", {{"uri", uri}, {"cid", "bafy"}}}, {"createdAt", "2026-07-04T14:38:07Z"}};
  const auto like = event_of(commit("create", "app.bsky.feed.like", subject));
  EXPECT_EQ(like.counted, "did:plc:other/3kabc");
  EXPECT_EQ(like.count.likes, 1);
  EXPECT_FALSE(like.post.has_value());
  const auto repost = event_of(commit("create", "app.bsky.feed.repost", subject));
  EXPECT_EQ(repost.count.reposts, 1);
  EXPECT_EQ(repost.count.likes, 0);
  EXPECT_EQ(event_of(commit("delete", "app.bsky.feed.like", nullptr)).counted, "");
  json fields = record("yes");
  fields["reply"] = {{"parent", {{"uri", uri}}},
                     {"root", {{"uri", "at://did:plc:root/app.bsky.feed.post/3k"}}}};
  const auto reply = event_of(commit("create", "app.bsky.feed.post", fields));
  EXPECT_EQ(reply.post->reply_to, "did:plc:other/3kabc");
  EXPECT_EQ(reply.counted, "did:plc:other/3kabc");
  EXPECT_EQ(reply.count.replies, 1);
  EXPECT_EQ(event_of(commit("update", "app.bsky.feed.post", fields)).counted,
            "");  // counted when it was made
}

TEST(BlueskyEvent, FacetsCountBytes) {
  const std::string text = "\xE6\x97\xA5\xE6\x9C\xAC example.org/very/lo... #\xE6\x9C\xAC and example.net";
  json fields = record(text);
  const size_t first = text.find("example.org"),
               first_end = first + std::string("example.org/very/lo...").size();
  const size_t tag = text.find('#'), second = text.find("example.net");
  fields["facets"] = {
      facet(second, second + 11, link("https://example.net")),
      facet(first, first_end, link("https://example.org/very/long/address")),
      facet(tag, tag + 4, {{"$type", "app.bsky.richtext.facet#tag"}, {"tag", "\xE6\x9C\xAC"}}),
      facet(0, 3, {{"$type", "app.bsky.richtext.facet#mention"}, {"did", "did:plc:x"}})};
  const Post post = post_of(fields);
  EXPECT_EQ(post.text,
            "\xE6\x97\xA5\xE6\x9C\xAC https://example.org/very/long/address #\xE6\x9C\xAC and example.net");
  EXPECT_EQ(post.links,
            (std::vector<std::string>{"https://example.net", "https://example.org/very/long/address"}));
  EXPECT_EQ(post.tags, std::vector<std::string>{"\xE6\x9C\xAC"});
}

TEST(BlueskyEvent, FacetsThatFitNoTextAreIgnored) {
  json fields = record("\xE6\x97\xA5 text...");
  const json target = link("https://example.org/text/x");
  fields["facets"] = {facet(1, 3, target),  // in the middle of a character
                      facet(0, 99, target),
                      facet(5, 5, target),
                      facet(7, 4, target),
                      json{{"index", {{"byteStart", -1}, {"byteEnd", 3}}}, {"features", {target}}},
                      json{{"index", 7}},
                      8,
                      json{{"index", {{"byteStart", 0}, {"byteEnd", 3}}}, {"features", 3}}};
  const Post post = post_of(fields);
  EXPECT_EQ(post.text, "\xE6\x97\xA5 text...");
  EXPECT_TRUE(post.links.empty());
}

TEST(BlueskyEvent, OverlappingLinksReplaceOnce) {
  json fields = record("abcdefghi...");
  fields["facets"] = {facet(0, 12, link("https://abcdefghi.example/1")),
                      facet(3, 12, link("https://defghi.example/2"))};
  EXPECT_EQ(post_of(fields).text, "https://abcdefghi.example/1");
}

TEST(BlueskyEvent, EmbedsGiveQuotesAndLinks) {
  json fields = record("look");
  const json quoted{{"uri", "at://did:plc:q/app.bsky.feed.post/3kq"}, {"cid", "c"}};
  fields["embed"] = {{"$type", "app.bsky.embed.record"}, {"record", quoted}};
  EXPECT_EQ(post_of(fields).quote_of, "did:plc:q/3kq");
  const json external{
      {"uri", "https://example.org/news"}, {"title", "A title"}, {"description", "What it says"}};
  fields["embed"] = {{"$type", "app.bsky.embed.recordWithMedia"},
                     {"record", {{"record", quoted}}},
                     {"media", {{"$type", "app.bsky.embed.external"}, {"external", external}}}};
  Post post = post_of(fields);
  EXPECT_EQ(post.quote_of, "did:plc:q/3kq");
  EXPECT_EQ(post.links, std::vector<std::string>{"https://example.org/news"});
  EXPECT_EQ(post.text, "look");
  fields = record("");
  fields["embed"] = {{"$type", "app.bsky.embed.external"}, {"external", external}};
  EXPECT_EQ(post_of(fields).text, "A title\nWhat it says");
  fields["embed"] = {{"$type", "app.bsky.embed.images"},
                     {"images", {{{"alt", "A red bridge"}}, {{"alt", ""}}}}};
  EXPECT_EQ(post_of(fields).text, "A red bridge");
  fields["embed"]["images"] = {{{"alt", ""}}};
  EXPECT_FALSE(event_of(commit("create", "app.bsky.feed.post", fields)).post.has_value());
}

TEST(BlueskyEvent, LabelsOfTheAuthorsOwnWarn) {
  json fields = record("t");
  fields["labels"] = {{"$type", "com.atproto.label.defs#selfLabels"},
                      {"values", {{{"val", "!no-unauthenticated"}}}}};
  EXPECT_FALSE(post_of(fields).sensitive);
  fields["labels"]["values"].push_back({{"val", "graphic-media"}});
  EXPECT_TRUE(post_of(fields).sensitive);
}

TEST(BlueskyEvent, AccountsThatGoAreNamed) {
  const auto account = [](bool active) {
    return event_of({{"did", kDid},
                     {"time_us", kEventTime},
                     {"kind", "account"},
                     {"account", {{"active", active}, {"did", kDid}, {"status", "deleted"}, {"seq", 7}}}});
  };
  EXPECT_EQ(account(false).gone, kDid);
  EXPECT_EQ(account(true).gone, "");
  const auto identity = event_of({{"did", kDid},
                                  {"time_us", kEventTime},
                                  {"kind", "identity"},
                                  {"identity", {{"did", kDid}, {"handle", "a.example"}, {"seq", 7}}}});
  EXPECT_TRUE(identity.gone.empty() && !identity.post && identity.counted.empty());
  EXPECT_EQ(identity.renamed, kDid);
  EXPECT_EQ(identity.handle, "a.example");
}

TEST(BlueskyEvent, WhatWithdrawsALikeNamesTheLike) {
  for (const char* collection : {"app.bsky.feed.like", "app.bsky.feed.repost"}) {
    const bool like = std::string_view(collection).ends_with("like");
    const std::string uri = "at://" + std::string(kDid) + "/app.bsky.feed.post/3k";
    const BlueskyEvent given =
        event_of(commit("create", collection, json{{"subject", {{"uri", uri}}}}, "3l"));
    EXPECT_EQ(given.counted, std::string(kDid) + "/3k");
    EXPECT_EQ(like ? given.count.likes : given.count.reposts, 1);
    json event = commit("delete", collection, nullptr, "3l");
    event["commit"].erase("record");
    const BlueskyEvent taken = event_of(event);
    EXPECT_EQ(taken.counting, given.counting);
    EXPECT_EQ(taken.counted, "");
    EXPECT_EQ(like ? taken.count.likes : taken.count.reposts, -1);
  }
}

TEST(BlueskyEvent, Version2SaysTheSame) {
  const json first = commit("create", "app.bsky.feed.post", record("hello"));
  json payload = first["commit"];
  payload["$type"] = "network.bsky.jetstream.subscribeEvents#commit";
  payload["seq"] = 4711;
  payload["did"] = kDid;
  payload["time"] = "2026-07-04T14:38:08.130414Z";
  const BlueskyEvent event = event_of({{"$type", "message"}, {"payload", payload}});
  EXPECT_EQ(event.sequence, 4711u);
  EXPECT_EQ(event.time, Time(Micros(kEventTime)));
  EXPECT_EQ(to_json(*event.post), to_json(*event_of(first).post));
  const BlueskyEvent gone = event_of({{"payload",
                                       {{"$type", "x#account"},
                                        {"seq", 1},
                                        {"did", kDid},
                                        {"time", "2026-07-04T14:38:08Z"},
                                        {"active", false}}}});
  EXPECT_EQ(gone.gone, kDid);
}

TEST(BlueskyEvent, RefusesWhatIsNoEvent) {
  json nobody = commit("create", "app.bsky.feed.post", record("t"));
  nobody["did"] = "mallory";
  json keyless = commit("create", "app.bsky.feed.post", record("t"), "a/../b");
  json timeless = commit("create", "app.bsky.feed.post", record("t"));
  timeless["time_us"] = "soon";
  json late = timeless;
  late["time_us"] = INT64_MAX;
  for (const json& event : {nobody, keyless, timeless, late, json(7), json::array(), json::object()})
    EXPECT_THROW(event_of(event), Error) << event;
  EXPECT_THROW(parse_bluesky_event("", kNow), Error);
  EXPECT_THROW(parse_bluesky_event("{\"did\":\"\xFF\"}", kNow), Error);
}

TEST(BlueskyEvent, OddRecordsGiveWhatTheyHave) {
  json fields = record("text");
  fields["langs"] = 7;
  fields["tags"] = {1, "ok", nullptr};
  fields["facets"] = "none";
  fields["reply"] = {{"parent", {{"uri", "https://example.org"}}}};
  fields["embed"] = json::array();
  fields["labels"] = "x";
  const Post post = post_of(fields);
  EXPECT_EQ(post.text, "text");
  EXPECT_EQ(post.tags, std::vector<std::string>{"ok"});
  EXPECT_EQ(post.reply_to, "");
  EXPECT_FALSE(event_of(commit("create", "app.bsky.feed.post", nullptr)).post.has_value());
  EXPECT_FALSE(event_of(commit("create", "app.bsky.graph.follow", fields)).post.has_value());
  EXPECT_EQ(bluesky_post_id("at://did:plc:a/app.bsky.feed.generator/x"), "");
  EXPECT_EQ(bluesky_post_id("at://handle.example/app.bsky.feed.post/x"), "");
}

}  // namespace
}  // namespace fathom::live
