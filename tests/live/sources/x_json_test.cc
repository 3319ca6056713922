#include "live/sources/x_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/x_backoff.h"
#include "live/sources/x_rules.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow = Time(std::chrono::seconds(1768000000));

Post post_of(std::string_view json) {
  const XMessage message = parse_x_message(json, kNow);
  EXPECT_EQ(message.posts.size(), 1u);
  return message.posts.empty() ? Post{} : message.posts.front();
}

// --- posts

TEST(XPost, HasTextAuthorTimeAndAddress) {
  const Post post =
      post_of(R"({"data":{"id":"1746800000000000001","text":"Tea &amp; trains &lt;3 \uD83D\uDE82",
      "author_id":"42","created_at":"2024-01-15T10:35:00.000Z","lang":"en",
      "edit_history_tweet_ids":["1746800000000000001"],"possibly_sensitive":true,
      "public_metrics":{"retweet_count":1,"reply_count":2,"like_count":3,"quote_count":4,"impression_count":5}},
      "includes":{"users":[{"id":"7","username":"other"},{"id":"42","username":"ada","name":"Ada L.",
      "public_metrics":{"followers_count":9}}]},"matching_rules":[{"id":"1","tag":"fathom/x"}]})");
  EXPECT_EQ(post.key(), "x:1746800000000000001");
  EXPECT_EQ(post.text, "Tea & trains <3 \xF0\x9F\x9A\x82");
  EXPECT_EQ(post.author.handle, "ada");
  EXPECT_EQ(post.author.id, "42");
  EXPECT_EQ(post.author.name, "Ada L.");
  EXPECT_EQ(post.author.followers, 9);
  EXPECT_EQ(format_time(post.created_at), "2024-01-15T10:35:00Z");
  EXPECT_EQ(post.received_at, kNow);
  EXPECT_EQ(post.url, "https://x.com/ada/status/1746800000000000001");
  EXPECT_EQ(post.lang, "en");
  EXPECT_TRUE(post.sensitive);
  EXPECT_EQ(post.metrics.likes, 3);
  EXPECT_EQ(post.metrics.reposts, 1);
  EXPECT_EQ(post.metrics.replies, 2);
  EXPECT_EQ(post.metrics.views, 5);
}

TEST(XPost, BothSpellingsGiveTheSamePost) {
  const Post old_names = post_of(R"({"data":{"id":"50","text":"cut...","author_id":"1",
      "note_tweet":{"text":"the whole long text"},"referenced_tweets":[{"type":"replied_to","id":"40"},
      {"type":"quoted","id":"30"}],"public_metrics":{"retweet_count":6}}})");
  const Post new_names = post_of(R"({"data":{"author_id":"1","public_metrics":{"repost_count":6},
      "referenced_posts":[{"id":"30","type":"quoted"},{"id":"40","type":"replied_to"}],
      "note_post":{"text":"the whole long text"},"text":"cut...","id":"50"}})");
  EXPECT_EQ(old_names.text, "the whole long text");
  EXPECT_EQ(old_names.reply_to, "40");
  EXPECT_EQ(old_names.quote_of, "30");
  EXPECT_EQ(old_names.metrics.reposts, 6);
  EXPECT_EQ(to_json(old_names), to_json(new_names));
}

TEST(XPost, AnUnknownAuthorHasANumberAndAnAddressAllTheSame) {
  const Post post = post_of(R"({"data":{"id":"50","text":"t","author_id":"77"}})");
  EXPECT_EQ(post.author.handle, "77");
  EXPECT_EQ(post.url, "https://x.com/i/status/50");
}

TEST(XPost, ItsIdTellsTheTimeWhereNothingElseDoes) {
  const Time time = x_time_of_id(1746800000000000000);
  EXPECT_EQ(format_time(std::chrono::floor<std::chrono::seconds>(time)), "2024-01-15T07:42:28Z");
  EXPECT_EQ(post_of(R"({"data":{"id":"1746800000000000000","text":"t"}})").created_at, time);
  EXPECT_EQ(post_of(R"({"data":{"id":"1746800000000000000","text":"t","created_at":"soon"}})").created_at,
            x_time_of_id(1746800000000000000));
}

TEST(XPost, ShortAddressesGiveWayToWholeOnes) {
  const Post post = post_of(R"({"data":{"id":"50","text":"see https://t.co/a and https://t.co/b #Tea $TEA",
      "entities":{"urls":[{"url":"https://t.co/a","expanded_url":"https://example.org/long","start":4,"end":18},
      {"url":"https://t.co/b","expanded_url":"https://sho.rt/x","unwound_url":"https://example.net/x"},
      {"url":"https://t.co/c"},{"url":"x","expanded_url":"javascript:1"}],
      "hashtags":[{"tag":"Tea"},{"tag":"Tea"}],"cashtags":[{"tag":"TEA"}]}}})");
  EXPECT_EQ(post.text, "see https://example.org/long and https://example.net/x #Tea $TEA");
  EXPECT_EQ(post.links, (std::vector<std::string>{"https://example.org/long", "https://example.net/x"}));
  EXPECT_EQ(post.tags, std::vector<std::string>{"Tea"});
}

TEST(XPost, ARepostHasTheWholeTextOfWhatItRepeats) {
  const Post post = post_of(R"({"data":{"id":"50","text":"RT @ada: the begin...",
      "referenced_tweets":[{"type":"retweeted","id":"40"}]},
      "includes":{"tweets":[{"id":"40","text":"the beginning and the end"}]}})");
  EXPECT_EQ(post.text, "the beginning and the end");
  EXPECT_EQ(post.repost_of, "40");
  EXPECT_EQ(post.id, "50");
}

TEST(XPost, AnEditRemovesTheVersionsBeforeIt) {
  const XMessage message = parse_x_message(
      R"({"data":{"id":"1746800000000000300","text":"third","created_at":"2024-01-15T10:35:00Z",
      "edit_history_tweet_ids":["1746800000000000100","1746800000000000200","1746800000000000300"]}})",
      kNow);
  ASSERT_EQ(message.posts.size(), 3u);
  EXPECT_EQ(message.posts[0].id, "1746800000000000100");
  EXPECT_TRUE(message.posts[0].deleted && message.posts[1].deleted);
  EXPECT_GE(message.posts[0].created_at, x_time_of_id(1746800000000000300));
  EXPECT_EQ(message.posts[2].text, "third");
  EXPECT_EQ(message.newest_id, 1746800000000000300u);
}

TEST(XPost, PseudoLanguagesAreNone) {
  const auto lang = [](const std::string& code) {
    return post_of(R"({"data":{"id":"5","text":"t","lang":")" + code + "\"}}").lang;
  };
  EXPECT_EQ(lang("ja"), "ja");
  EXPECT_EQ(lang("und"), "");
  EXPECT_EQ(lang("zxx"), "");
  EXPECT_EQ(lang("qme"), "");
  EXPECT_EQ(lang("in"), "id");
  EXPECT_EQ(lang("iw"), "he");
}

TEST(XMessage, APageHasManyAndSaysWhereTheNextIs) {
  const XMessage message = parse_x_message(
      R"({"data":[{"id":"3","text":"c"},{"id":"5","text":"e"},{"text":"no id"},{"id":"4","text":""}],
      "meta":{"newest_id":"5","oldest_id":"3","result_count":2,"next_token":"b26v"}})",
      kNow);
  EXPECT_EQ(message.posts.size(), 2u);
  EXPECT_EQ(message.newest_id, 5u);
  EXPECT_EQ(message.next_token, "b26v");
  EXPECT_EQ(message.left_out.size(), 2u);
  EXPECT_FALSE(parse_x_message(R"({"meta":{"result_count":0}})", kNow).problem.has_value());
}

TEST(XMessage, AnIdFromTheFutureIsNoPlaceToGoOnFrom) {
  const XMessage message = parse_x_message(
      R"({"data":[{"id":"9223372036854775807","text":"far"},{"id":"5","text":"near"}]})", kNow);
  EXPECT_EQ(message.posts.size(), 2u);
  EXPECT_EQ(message.newest_id, 5u);
}

TEST(XMessage, DeletionsAreOrders) {
  for (const char* json :
       {R"({"data":{"delete":{"tweet":{"id":"77","author_id":"1"},"event_at":"2026-01-01T00:00:00Z"}}})",
        R"({"data":{"delete":{"post":{"id":"77"},"event_at":"2026-01-01T00:00:00Z"}}})",
        R"({"data":{"drop":{"tweet":{"id":"77"},"event_at":"2026-01-01T00:00:00Z"}}})"}) {
    const Post post = post_of(json);
    EXPECT_TRUE(post.deleted);
    EXPECT_EQ(post.key(), "x:77");
    EXPECT_EQ(format_time(post.created_at), "2026-01-01T00:00:00Z");
  }
}

TEST(XMessage, ProblemsInTheStreamAreTold) {
  const auto problem =
      parse_x_message(
          R"({"errors":[{"title":"operational-disconnect","disconnect_type":"UpstreamOperationalDisconnect",
      "detail":"This stream has been disconnected upstream.","type":"https://api.x.com/2/problems/operational-disconnect"}]})",
          kNow)
          .problem;
  ASSERT_TRUE(problem.has_value());
  EXPECT_EQ(problem->title, "operational-disconnect");
  EXPECT_FALSE(problem->too_many_connections);
  EXPECT_TRUE(
      parse_x_message(
          R"({"title":"ConnectionException","connection_issue":"TooManyConnections","detail":"d"})", kNow)
          .problem->too_many_connections);
  EXPECT_FALSE(parse_x_message(R"({"new_kind":{"of":"message"}})", kNow).problem.has_value());
  EXPECT_FALSE(
      parse_x_message(R"({"data":{"id":"5","text":"t"},"errors":[{"title":"Not Found Error"}]})", kNow)
          .problem.has_value());
  EXPECT_EQ(x_problem_sentence(R"({"title":"Unauthorized","detail":"wrong token","status":401})"),
            "Unauthorized: wrong token");
  EXPECT_EQ(x_problem_sentence("<html>"), "");
}

TEST(XMessage, RefusesWhatIsNoObjectAndSurvivesTheRest) {
  for (const char* text : {"", "{", "[]", "7", "\"x\"", "null", "{\"data\":\"\xFF\"}"})
    EXPECT_THROW(parse_x_message(text, kNow), Error) << text;
  for (const char* text :
       {"{}", R"({"data":7})", R"({"data":[1,null,{}]})", R"({"data":{"id":7,"text":[]}})",
        R"({"data":{"id":"-5","text":"t"}})", R"({"data":{"id":"99999999999999999999","text":"t"}})",
        R"({"data":{"id":"5x","text":"t"}})", R"({"includes":[],"data":{"id":"","text":"t"},"meta":[]})"})
    EXPECT_TRUE(parse_x_message(text, kNow).posts.empty()) << text;
}

TEST(XMessage, ReplacementsThatWouldSwellATextAreNotMade) {
  const std::string url = "https";
  std::string text;
  for (int i = 0; i < 10000; ++i) text += url;
  const Post post = post_of(R"({"data":{"id":"5","text":")" + text +
                            R"(","entities":{"urls":[{"url":"https","expanded_url":"https://)" +
                            std::string(3000, 'x') + R"("}]}}})");
  EXPECT_LE(post.text.size(), kMaxTextBytes);
  EXPECT_TRUE(is_valid_utf8(post.text));
}

// --- frames

std::vector<std::string> frames_of(std::string_view stream, size_t step, size_t limit = 1000) {
  XFrames frames(limit);
  size_t left_out = 0;
  std::vector<std::string> found;
  for (size_t at = 0; at < stream.size(); at += step) {
    left_out += frames.feed(stream.substr(at, step), [&](std::string_view frame) {
      found.emplace_back(frame);
      return true;
    });
  }
  for (size_t i = 0; i < left_out; ++i) found.emplace_back("left out");
  return found;
}

TEST(XFrames, EndWithCarriageReturnAndLineFeedHoweverTheyArrive) {
  const std::string stream = "{\"a\":1}\r\n\r\n\r\n{\"b\":\"x\\n\"}\r\n{\"unfinished\"";
  for (size_t step = 1; step <= stream.size(); ++step)
    EXPECT_EQ(frames_of(stream, step), (std::vector<std::string>{"{\"a\":1}", "{\"b\":\"x\\n\"}"})) << step;
}

TEST(XFrames, OneThatIsTooLongIsLeftOutWhole) {
  const std::string stream = "first\r\n" + std::string(5000, 'x') + "\r\nlast\r\n";
  for (const size_t step : {1ul, 7ul, 100000ul})
    EXPECT_EQ(frames_of(stream, step), (std::vector<std::string>{"first", "last", "left out"})) << step;
}

// --- waits

TEST(XBackoff, FollowsTheProtocol) {
  XBackoff backoff;
  for (int i = 1; i <= 64; ++i) EXPECT_EQ(backoff.after_network_failure(), 250ms * i);
  EXPECT_EQ(backoff.after_network_failure(), 16s);
  for (const auto wait : {5s, 10s, 20s, 40s, 80s, 160s, 320s, 320s}) EXPECT_EQ(backoff.after_refusal(), wait);
  for (const auto wait : {60s, 120s, 240s}) EXPECT_EQ(backoff.after_rate_limit(kNow, {}), wait);
  backoff.reset();
  EXPECT_EQ(backoff.after_network_failure(), 250ms);
  EXPECT_EQ(backoff.after_refusal(), 5s);
  EXPECT_EQ(backoff.after_rate_limit(kNow, kNow + 300s), 300s);
  EXPECT_EQ(backoff.after_rate_limit(kNow, kNow + 5s), 120s);   // the later of both
  EXPECT_EQ(backoff.after_rate_limit(kNow, kNow - 5s), 240s);   // over already
  EXPECT_EQ(backoff.after_rate_limit(kNow, kNow + 48h), 480s);  // not believed
}

// --- rules

TEST(XRules, AreChecked) {
  EXPECT_EQ(check_x_rules({" cat ", "dog", "cat"}), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_NO_THROW(check_x_rules({std::string(1024, 'x')}));
  std::string umlauts;
  for (int i = 0; i < 1024; ++i) umlauts += "\xC3\xA4";  // characters are counted, not bytes
  EXPECT_NO_THROW(check_x_rules({umlauts}));
  EXPECT_THROW(check_x_rules({std::string(1025, 'x')}), Error);
  EXPECT_THROW(check_x_rules({}), Error);
  EXPECT_THROW(check_x_rules({"cat", " "}), Error);
  std::vector<std::string> many;
  for (int i = 0; i < 1001; ++i) many.push_back(std::to_string(i));
  EXPECT_THROW(check_x_rules(many), Error);
}

TEST(XRules, OnlyOurOwnAreRemoved) {
  const std::vector<XRule> present{{"1", "cat", "fathom/x"},
                                   {"2", "old", "fathom/x"},
                                   {"3", "theirs", "someone"},
                                   {"4", "shared", "someone"},
                                   {"5", "old", "fathom/x2"}};
  const XRulesChange change = plan_x_rules({"cat", "new", "shared"}, present, "fathom/x");
  EXPECT_EQ(change.add, std::vector<std::string>{"new"});
  EXPECT_EQ(change.remove, std::vector<std::string>{"2"});
  const XRulesChange nothing = plan_x_rules({"cat", "old"}, present, "fathom/x");
  EXPECT_TRUE(nothing.add.empty() && nothing.remove.empty());
}

TEST(XRules, AnAccountThatIsFullIsNamed) {
  std::vector<XRule> present;
  for (int i = 0; i < 1000; ++i) present.push_back({std::to_string(i), "r" + std::to_string(i), "someone"});
  EXPECT_THROW(plan_x_rules({"one more"}, present, "fathom/x"), Error);
  present[0].tag = "fathom/x";
  EXPECT_NO_THROW(plan_x_rules({"one more"}, present, "fathom/x"));
}

TEST(XRules, AreReadAndWritten) {
  const auto page = parse_x_rules(
      R"({"data":[{"id":"1","value":"cat","tag":"t"},{"id":"2","value":"dog"},{"value":"no id"},7],
      "meta":{"sent":"2026-01-01T00:00:00Z","next_token":"n"}})");
  ASSERT_EQ(page.rules.size(), 2u);
  EXPECT_EQ(page.rules[0].tag, "t");
  EXPECT_EQ(page.next_token, "n");
  EXPECT_TRUE(parse_x_rules(R"({"meta":{}})").rules.empty());
  EXPECT_THROW(parse_x_rules("<html>"), Error);
  EXPECT_EQ(x_rules_to_add({"cat \"x\""}, "fathom/x"), R"({"add":[{"tag":"fathom/x","value":"cat \"x\""}]})");
  EXPECT_EQ(x_rules_to_remove({"1", "2"}), R"({"delete":{"ids":["1","2"]}})");
}

TEST(XRules, RefusedOnesAreNamed) {
  EXPECT_EQ(x_rules_refused(R"({"meta":{"summary":{"created":1}}})"), "");
  EXPECT_EQ(x_rules_refused(R"({"errors":[{"value":"cat","title":"DuplicateRule"}]})"), "");
  const auto sentence = x_rules_refused(
      R"({"errors":[{"value":"cat (","details":["missing ')' at position 5"],"title":"UnprocessableEntity"}]})");
  EXPECT_NE(sentence.find("'cat ('"), std::string::npos) << sentence;
  EXPECT_NE(sentence.find("position 5"), std::string::npos) << sentence;
}

}  // namespace
}  // namespace fathom::live
