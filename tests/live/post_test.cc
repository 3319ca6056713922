// parse_post, validate and to_json: both accepted forms, repairs, refusals, round trips.
#include "live/post.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::live {
namespace {

using std::chrono::sys_days;
using namespace std::chrono_literals;

const Time kNow = sys_days{std::chrono::year{2026} / 1 / 2} + 3h;

std::string refusal(std::string_view json) {
  try {
    parse_post(json, kNow);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(Post, ReadsTheFlatForm) {
  const Post post = parse_post(
      R"({"id": "7", "author": "@ann", "author_name": "Ann B", "followers": 12, "created_at": "2024-05-06T07:08:09.5Z",
          "text": "Caf\u00e9 \ud83d\ude00", "url": "https://x.example/7", "lang": "en", "likes": 3, "reposts": 4,
          "replies": 5, "views": 6, "link": "http://a.example/b", "in_reply_to": 9, "repost_of": "8", "source": "x",
          "tags": ["#One", "two"], "event": {"deep": [1, 2, {"x": null}]}, "label": null})",
      kNow);
  EXPECT_EQ(post.key(), "x:7");
  EXPECT_EQ(post.author.handle, "ann");
  EXPECT_EQ(post.author.name, "Ann B");
  EXPECT_EQ(post.author.followers, 12);
  EXPECT_EQ(format_time(post.created_at), "2024-05-06T07:08:09.500000Z");
  EXPECT_EQ(post.received_at, kNow);
  EXPECT_EQ(post.text, "Caf\xC3\xA9 \xF0\x9F\x98\x80");
  EXPECT_EQ(post.metrics.likes, 3);
  EXPECT_EQ(post.metrics.views, 6);
  EXPECT_EQ(post.links, std::vector<std::string>{"http://a.example/b"});
  EXPECT_EQ(post.reply_to, "9");
  EXPECT_EQ(post.repost_of, "8");
  EXPECT_EQ(post.tags, (std::vector<std::string>{"One", "two"}));
}

TEST(Post, RoundTripsItsNormalisedForm) {
  Post post;
  post.id = "a:b";
  post.source = "world";
  post.author = {"h", "did:1", "Name \"q\"", 77};
  post.text = "line\nbreak \\ and \t tab";
  post.lang = "pt-BR";
  post.created_at = kNow - 5min;
  post.received_at = kNow;
  post.url = "https://e.example/p";
  post.reply_to = "1";
  post.repost_of = "2";
  post.quote_of = "3";
  post.links = {"https://l.example/"};
  post.tags = {"tag"};
  post.metrics = {1, 2, 3, std::nullopt};
  post.sensitive = post.deleted = post.fiction = true;
  const Post back = parse_post(to_json(post).dump(), {}, "other");
  EXPECT_EQ(to_json(back), to_json(post));
  EXPECT_FALSE(back.metrics.views.has_value());
}

TEST(Post, DefaultsSourceAndTime) {
  const Post post = parse_post(R"({"id":1,"text":""})", kNow, "file");
  EXPECT_EQ(post.key(), "file:1");
  EXPECT_EQ(post.created_at, kNow);
  EXPECT_TRUE(parse_post(R"({"id":"1","deleted":true})", kNow).deleted);
}

TEST(Post, RepairsIllFormedText) {
  EXPECT_EQ(parse_post("{\"id\":\"1\",\"text\":\"a\xFFz\"}", kNow).text, "a\xEF\xBF\xBDz");
  EXPECT_EQ(parse_post(R"({"id":"1","text":"a\ud800z \udc00 \ud83d\ude00"})", kNow).text,
            "a\xEF\xBF\xBDz \xEF\xBF\xBD \xF0\x9F\x98\x80");
  EXPECT_NE(refusal(R"({"id":"1","text":"\q"})"), "");
}

TEST(Post, RefusalsNameTheField) {
  const std::pair<std::string, std::string> cases[] = {
      {R"("text":"a")", "'id'"},
      {R"("id":"1")", "'text'"},
      {R"("id":"1","text":5)", "'text'"},
      {R"("id":"1","text":"a","likes":-1)", "'likes'"},
      {R"("id":"1","text":"a","likes":1.5)", "'likes'"},
      {R"("id":"1","text":"a","created_at":"yesterday")", "'created_at'"},
      {R"("id":"1","text":"a","source":"A b")", "'source'"},
      {R"json("id":"1","text":"a","url":"javascript:alert(1)")json", "'url'"},
      {R"("id":"1","text":"a","links":["ftp://x"])", "'links'"},
      {R"("id":"1","text":"a","author":{"followers":"many"})", "'author.followers'"},
      {R"("id":"a\u0000b","text":"a")", "'id'"},
      {R"("id":"1","text":")" + std::string(kMaxTextBytes + 1, 'a') + "\"", "'text'"},
  };
  for (const auto& [fields, name] : cases) {
    const std::string sentence = refusal("{" + fields + "}");
    EXPECT_NE(sentence.find(name), std::string::npos) << fields.substr(0, 80) << " -> " << sentence;
  }
}

TEST(Post, RefusesWhatIsNotOneObject) {
  for (const char* json :
       {"", "   ", "[]", "null", "{", "{}{}", "\"a\"", R"({"id":"1","text":"a"} x)",
        R"({"id":"1","text":"a")", R"({"id":"1" "text":"a"})", "{\"id\":\"1\",\"text\":\"a"})
    EXPECT_NE(refusal(json), "") << json;
}

}  // namespace
}  // namespace fathom::live
