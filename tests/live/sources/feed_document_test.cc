#include "live/sources/feed_document.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "live/sources/feed_http.h"
#include "live/sources/feed_xml.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;

constexpr const char* kAddress = "https://www.site.example/blog/feed.xml";

FeedDocument feed_of(std::string_view text) { return parse_feed(text, "", kAddress); }

std::string rss(std::string_view items, std::string_view channel = "") {
  return fmt::format(R"(<?xml version="1.0"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"
      xmlns:c="http://purl.org/rss/1.0/modules/content/"><channel><title>The &amp; News</title>
      <link>https://www.site.example/blog/</link>{}{}</channel></rss>)",
                     channel, items);
}

FeedEntry only_entry(std::string_view text) {
  const FeedDocument feed = feed_of(text);
  EXPECT_EQ(feed.entries.size(), 1u);
  return feed.entries.empty() ? FeedEntry{} : feed.entries[0];
}

Post only_post(std::string_view text) {
  const FeedDocument feed = feed_of(text);
  EXPECT_EQ(feed.entries.size(), 1u);
  const Post post = feed_post(feed.entries.at(0), feed, kAddress, Time(9s));
  validate(post);
  return post;
}

// --- dates

TEST(FeedDate, IsReadInAllTheFormsThatAreMet) {
  constexpr const char* kForms[] = {"Mon, 23 Nov 2026 06:35:00 GMT",
                                    "Mon, 23 Nov 2026 06:35:00 +0000",
                                    "23 Nov 2026 06:35 UT",
                                    "Mon, 23 November 2026 06:35:00Z",
                                    "Tue, 23 Nov 2026 06:35:00 GMT",
                                    "Mon, 23 Nov 26 01:35:00 EST",
                                    "Monday, 23-Nov-26 06:35:00 GMT",
                                    "Mon Nov 23 06:35:00 2026",
                                    "Mon Nov 23 06:35:00 UTC 2026",
                                    "Mon, 23 Nov 2026 07:35:00 +01:00",
                                    "Mon, 23 Nov 2026 06:35:00 +0000 (UTC)",
                                    "2026-11-23T06:35:00Z",
                                    "2026-11-23T06:35:00.000Z",
                                    "2026-11-23T07:35+01:00",
                                    "2026-11-23 06:35:00",
                                    "2026-11-23 07:35:00 +0100",
                                    "2026/11/23 06:35:00",
                                    "November 23, 2026 06:35 am",
                                    "Nov 23, 2026, 6:35 AM",
                                    "20261123T063500Z",
                                    "1795415700",
                                    "1795415700000",
                                    "  Mon,23 Nov 2026 06:35:00 GMT ",
                                    "Mon, 23rd Nov 2026 06:35:00 GMT",
                                    "lun, 23 nov 2026 06:35:00 GMT",
                                    "Sun, 22 Nov 2026 22:35:00 PST",
                                    "Mon, 23 Nov 2026 06:35:00 GMT+00:00"};
  for (const char* form : kForms) {
    const auto time = parse_feed_date(form);
    ASSERT_TRUE(time.has_value()) << form;
    EXPECT_EQ(format_time(*time), "2026-11-23T06:35:00Z") << form;
  }
  EXPECT_EQ(format_time(*parse_feed_date("2026-11-23")), "2026-11-23T00:00:00Z");
  EXPECT_EQ(format_time(*parse_feed_date("2026-11")), "2026-11-01T00:00:00Z");
  EXPECT_EQ(format_time(*parse_feed_date("2026")), "2026-01-01T00:00:00Z");
  EXPECT_EQ(format_time(*parse_feed_date("23 Nov 2026 12:30 am")), "2026-11-23T00:30:00Z");
  EXPECT_EQ(format_time(*parse_feed_date("23 Nov 99 11:00 pm")), "1999-11-23T23:00:00Z");
}

TEST(FeedDate, WhatIsNoneIsRefused) {
  for (const char* text :
       {"", "yesterday", "11/12/2026", "32 Nov 2026", "2026-13-01", "23 Nov", "06:35", "99:99 23 Nov 2026",
        "2026-11-23T06:35:00+99:99", "0000-00-00 00:00:00", "1 2 3 4 5 6", "-", "+", ":",
        "23 Nov 2026 :", "6+5:00", "6z5:00", "99999999999999999999"})
    EXPECT_FALSE(parse_feed_date(text).has_value()) << text;
  EXPECT_FALSE(parse_feed_date(std::string(5000, '1')).has_value());
}

// --- what is said in headers

TEST(FeedHttp, TellsWhenToComeBack) {
  const Time now = *parse_time("2026-11-23T06:00:00Z");
  const auto with = [](const std::string& name, const std::string& value) {
    return HttpResponse{.status = 200, .headers = {{name, value}}, .body = ""};
  };
  EXPECT_EQ(retry_after(with("retry-after", "120"), now), 120s);
  EXPECT_EQ(retry_after(with("retry-after", "Mon, 23 Nov 2026 06:01:00 GMT"), now), 60s);
  EXPECT_EQ(retry_after(with("x-ratelimit-reset", "2026-11-23T06:05:00.000Z"), now), 300s);
  EXPECT_EQ(retry_after(with("retry-after", "999999999"), now), 24h);
  EXPECT_EQ(retry_after(with("retry-after", "-5"), now), std::nullopt);
  EXPECT_EQ(retry_after(with("etag", "x"), now), std::nullopt);
  EXPECT_EQ(fresh_for(with("cache-control", "public, max-age=600"), now), 600s);
  EXPECT_EQ(
      fresh_for({.status = 200, .headers = {{"cache-control", "max-age=600"}, {"age", "100"}}, .body = ""},
                now),
      500s);
  EXPECT_EQ(fresh_for(with("expires", "Mon, 23 Nov 2026 07:00:00 GMT"), now), 3600s);
  EXPECT_EQ(fresh_for(with("expires", "0"), now), std::nullopt);
  EXPECT_EQ(fresh_for(with("cache-control", "no-cache"), now), std::nullopt);
}

// --- RSS

TEST(Rss, AnItemBecomesAPost) {
  const Post post =
      only_post(rss(R"(<item><title>Looms &amp;amp; cards</title><link>/a/../b?x=1&amp;y=2</link>
      <description>&lt;p&gt;A &lt;a href="https://o.example/"&gt;loom&lt;/a&gt;.&lt;/p&gt;</description>
      <guid isPermaLink="false">7</guid><pubDate>Mon, 23 Nov 2026 06:35:00 GMT</pubDate><dc:creator>Ada</dc:creator>
      <category>Weaving</category><enclosure url="/a.mp3" type="audio/mpeg"/></item>)",
                    "<language>en-gb</language>"));
  EXPECT_EQ(post.source, "rss");
  EXPECT_EQ(post.id.size(), 32u);
  EXPECT_EQ(post.text, "Looms & cards\n\nA loom.");
  EXPECT_EQ(post.url, "https://www.site.example/b?x=1&y=2");
  EXPECT_EQ(post.author.handle, "site.example");
  EXPECT_EQ(post.author.name, "Ada");
  EXPECT_EQ(post.lang, "en-gb");
  EXPECT_EQ(post.tags, std::vector<std::string>{"Weaving"});
  EXPECT_EQ(post.links, (std::vector<std::string>{"https://o.example/", "https://www.site.example/a.mp3"}));
  EXPECT_EQ(format_time(post.created_at), "2026-11-23T06:35:00Z");
  EXPECT_EQ(post.received_at, Time(9s));
}

TEST(Rss, TheSummaryIsTakenElseTheContent) {
  EXPECT_EQ(
      only_post(
          rss("<item><title>T</title><description>short</description><c:encoded>long</c:encoded></item>"))
          .text,
      "T\n\nshort");
  EXPECT_EQ(
      only_post(rss("<item><title>T</title><c:encoded><![CDATA[<p>A & B &amp; C</p>]]></c:encoded></item>"))
          .text,
      "T\n\nA & B & C");
  EXPECT_EQ(only_post(rss("<item><title>A loom</title><description>A loom, again</description></item>")).text,
            "A loom, again");
}

TEST(Rss, IdsComeFromTheGuidElseTheLinkElseTheWords) {
  const auto id = [](std::string_view item) { return only_entry(rss(item)).id; };
  EXPECT_EQ(id("<item><guid>g</guid><link>https://a.example/</link></item>"), "g");
  EXPECT_EQ(id("<item><link>https://a.example/x</link></item>"), "https://a.example/x");
  EXPECT_EQ(id("<item><title>T</title></item>"), id("<item><title>T</title></item>"));
  EXPECT_NE(id("<item><title>T</title></item>"), id("<item><title>U</title></item>"));
  const FeedEntry permalink = only_entry(rss("<item><guid>https://a.example/p</guid></item>"));
  EXPECT_EQ(permalink.link, "https://a.example/p");
  EXPECT_EQ(only_entry(rss("<item><guid isPermaLink=\"false\">https://a.example/p</guid></item>")).link, "");
}

TEST(Rss, FeedsOfOneSiteShareAnEntryAndThoseOfOthersDoNot) {
  const FeedDocument feed =
      feed_of(rss("<item><guid>https://a.example/p</guid><title>T</title></item>"
                  "<item><guid>17</guid><title>U</title></item>"));
  const auto id = [&](size_t entry, const char* address) {
    return feed_post(feed.entries.at(entry), feed, address, {}).id;
  };
  EXPECT_EQ(id(0, "https://s.example/a"), id(0, "https://s.example/b"));
  EXPECT_NE(id(0, "https://s.example/a"), id(0, "https://t.example/a"));  // nobody replaces another's posts
  EXPECT_NE(id(1, "https://s.example/a"), id(1, "https://s.example/b"));
}

TEST(Rss, TheScheduleIsRead) {
  const FeedDocument feed =
      feed_of(rss("<item><title>x</title></item>",
                  "<ttl>90</ttl><skipHours><hour>0</hour><hour>24</hour><hour>5</hour><hour>77</hour>"
                  "</skipHours><skipDays><day>Sunday</day><day>saturday</day></skipDays>"));
  EXPECT_EQ(feed.ttl, 90min);
  EXPECT_EQ(feed.skip_hours.count(), 2u);
  EXPECT_TRUE(feed.skip_hours.test(5) && feed.skip_hours.test(0));
  EXPECT_TRUE(feed.skip_days.test(0) && feed.skip_days.test(6));
  const FeedDocument sy =
      feed_of(rss("<item><title>x</title></item>",
                  R"(<s:updatePeriod xmlns:s="http://purl.org/rss/1.0/modules/syndication/">daily
      </s:updatePeriod><s:updateFrequency xmlns:s="http://purl.org/rss/1.0/modules/syndication/">4</s:updateFrequency>)"));
  EXPECT_EQ(sy.ttl, 360min);
}

TEST(Rss, RdfHasItsItemsBesideTheChannel) {
  const FeedDocument feed = feed_of(R"(<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
      xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
      <channel rdf:about="https://s.example/"><title>T</title><link>https://s.example/</link></channel>
      <item rdf:about="https://s.example/1"><title>One</title><link>https://s.example/1</link>
      <dc:date>2026-11-23T06:35:00+00:00</dc:date></item><item><title>Two</title></item></rdf:RDF>)");
  ASSERT_EQ(feed.entries.size(), 2u);
  EXPECT_EQ(feed.title, "T");
  EXPECT_EQ(feed.entries[0].id, "https://s.example/1");
  EXPECT_EQ(format_time(*feed.entries[0].published), "2026-11-23T06:35:00Z");
}

// --- Atom

TEST(Atom, AnEntryBecomesAPost) {
  const std::string text =
      R"(<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de" xml:base="https://b.example/x/">
      <title type="html">A &amp;amp; B</title><link rel="self" href="self"/><link href="/"/>
      <author><name>Feed</name></author>
      <entry><id>urn:uuid:1</id><title>One</title><link rel="replies" href="r"/><link rel="alternate" href="one"/>
      <published>2026-11-23T06:35:00Z</published><updated>2026-11-24T00:00:00Z</updated>
      <category term="t1"/><summary type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>A <b>bold</b> &lt;word&gt;</p>
      <p>two</p></div></summary></entry></feed>)";
  const Post post = only_post(text);
  EXPECT_EQ(post.text, "One\n\nA bold <word>\n\ntwo");
  EXPECT_EQ(post.url, "https://b.example/x/one");
  EXPECT_EQ(post.author.name, "Feed");
  EXPECT_EQ(post.author.handle, "b.example");
  EXPECT_EQ(post.lang, "de");
  EXPECT_EQ(post.tags, std::vector<std::string>{"t1"});
  EXPECT_EQ(format_time(post.created_at), "2026-11-23T06:35:00Z");
  EXPECT_EQ(feed_of(text).title, "A & B");
}

TEST(Atom, TextIsTextAndHtmlIsHtml) {
  const auto text = [](std::string_view type) {
    return only_post(fmt::format(R"(<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>1</id>
        <content {}>a &lt;b&gt;c&lt;/b&gt; &amp;amp; d</content></entry></feed>)",
                                 type))
        .text;
  };
  EXPECT_EQ(text(""), "a <b>c</b> &amp; d");
  EXPECT_EQ(text("type=\"html\""), "a c & d");
  EXPECT_EQ(only_entry("<feed><entry><id>1</id><title>no namespace</title></entry></feed>").title,
            "no namespace");
}

// --- JSON Feed

TEST(JsonFeed, IsReadToo) {
  const Post post = only_post(
      R"({"version":"https://jsonfeed.org/version/1.1","title":"J","home_page_url":"https://j.example",
      "items":[{"id":7,"url":"/seven","external_url":"https://o.example/","title":"Seven","content_html":"<p>x &amp; y</p>",
      "date_published":"2026-11-23T06:35:00Z","tags":["t"],"authors":[{"name":"Ada"}]}]})");
  EXPECT_EQ(post.text, "Seven\n\nx & y");
  EXPECT_EQ(post.url, "https://www.site.example/seven");
  EXPECT_EQ(post.author.name, "Ada");
  EXPECT_EQ(post.links, std::vector<std::string>{"https://o.example/"});
  EXPECT_THROW(feed_of("{}"), Error);
  EXPECT_THROW(feed_of("{\"items\":"), Error);
}

// --- what goes wrong

TEST(FeedXml, NothingExpands) {
  std::string lol = "<?xml version=\"1.0\"?><!DOCTYPE rss [<!ENTITY a \"lol\">";
  for (char c = 'b'; c < 'k'; ++c)
    lol += fmt::format("<!ENTITY {} \"&{};&{};&{};&{};&{};&{};&{};&{};&{};&{};\">", c, c - 1, c - 1, c - 1,
                       c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
  lol += "]><rss><channel><item><title>&j;</title></item></channel></rss>";
  EXPECT_THROW(feed_of(lol), Error);
  EXPECT_THROW(
      feed_of(
          "<!DOCTYPE rss [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><rss><channel><item><title>&x;</title>"
          "</item></channel></rss>"),
      Error);
  EXPECT_THROW(feed_of("<!DOCTYPE rss [<!ENTITY % p \"<!ENTITY q 'x'>\">%p;]><rss/>"), Error);
  // An old DTD by name alone is met, and never fetched.
  EXPECT_EQ(only_entry(
                "<!DOCTYPE rss PUBLIC \"-//Netscape Communications//DTD RSS 0.91//EN\" "
                "\"http://my.netscape.example/rss-0.91.dtd\"><rss version=\"0.91\"><channel><item><title>old "
                "&eacute;</title></item></channel></rss>")
                .title,
            "old é");
}

TEST(FeedXml, WhatIsNotQuiteXmlIsReadAllTheSame) {
  EXPECT_EQ(
      only_entry(rss("<item><title>AT&T &nbsp;&copy; &unknown; a&b=c &#1; &#x41;</title></item>")).title,
      "AT&T © &unknown; a&b=c A");
  EXPECT_EQ(only_entry("\n\n  \xEF\xBB\xBF" + rss("<item><title>late\x01 start</title></item>")).title,
            "late start");
  EXPECT_EQ(
      only_entry("<rss><channel><item><title>x</title><dc:creator>Ada</dc:creator></item></channel></rss>")
          .author,
      "Ada");
  EXPECT_EQ(only_entry("<?php warning ?><rss><channel><item><title>x</title></item></channel></rss>").title,
            "x");
}

TEST(FeedXml, WhatCameBeforeABreakIsKept) {
  const FeedDocument feed = feed_of("<rss><channel><item><title>whole</title></item><item><title>ha");
  ASSERT_EQ(feed.entries.size(), 1u);
  EXPECT_EQ(feed.entries[0].title, "whole");
  EXPECT_FALSE(feed.problem.empty());
  EXPECT_THROW(feed_of("<rss><channel><item><title>ha"), Error);
}

TEST(FeedXml, CharsetsAreToldByWhatTheBytesAre) {
  const auto title = [](std::string_view bytes, std::string_view type) {
    const auto feed = parse_feed(bytes, type, kAddress);
    return feed.entries.at(0).title;
  };
  const std::string body = "<rss><channel><item><title>caf\xE9 \x93x\x94</title></item></channel></rss>";
  const std::string expected = "café “x”";
  EXPECT_EQ(title(body, ""), expected);
  EXPECT_EQ(title("<?xml version='1.0' encoding='ISO-8859-1'?>" + body, ""), expected);
  EXPECT_EQ(title("<?xml version='1.0' encoding='no-such-charset'?>" + body, "text/xml; charset=utf-16"),
            expected);
  const std::string utf8 = "<rss><channel><item><title>café</title></item></channel></rss>";
  EXPECT_EQ(title("<?xml version='1.0' encoding='ISO-8859-1'?>" + utf8, "text/xml; charset=us-ascii"),
            "café");
  EXPECT_EQ(title("<?xml version='1.0' "
                  "encoding='windows-1251'?><rss><channel><item><title>\xCC\xE8\xF0</title></item>"
                  "</channel></rss>",
                  ""),
            "Мир");
  EXPECT_EQ(title("<rss><channel><item><title>\x82\xB1</title></item></channel></rss>",
                  "text/xml; charset=\"Shift_JIS\""),
            "こ");
  std::string utf16 = "\xFF\xFE";
  for (const char c : std::string_view("<rss><channel><item><title>wide</title></item></channel></rss>"))
    utf16 += {c, '\0'};
  EXPECT_EQ(title(utf16, ""), "wide");
}

TEST(FeedXml, DepthAndNumbersAreBounded) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  EXPECT_THROW(feed_of(deep), Error);
  EXPECT_THROW(feed_of(rss("<item>" + deep)), Error);
  std::string many;
  for (int i = 0; i < 3000; ++i) many += "<item><title>x</title></item>";
  EXPECT_EQ(feed_of(rss(many)).entries.size(), 2000u);
}

TEST(FeedDocument, WhatIsNoFeedIsRefused) {
  for (const char* text : {"", "hello", "<html></html>", "<svg/>", "[]", "{", "\xFF\xFE", "<", "<?xml", "&"})
    EXPECT_THROW(feed_of(text), Error) << text;
}

// --- pages and addresses

TEST(FeedDiscovery, APageNamesItsFeed) {
  EXPECT_EQ(
      discover_feed(R"(<html><head><LINK rel=stylesheet href=a.css><link type="application/rss+xml" title='x'
      href="../feed?a=1&amp;b=2" rel="alternate home"></head>)",
                    "https://s.example/a/b/"),
      "https://s.example/a/feed?a=1&b=2");
  EXPECT_EQ(
      discover_feed("<link rel='alternate' type='application/atom+xml' href='/atom'/>", "https://s.example/"),
      "https://s.example/atom");
  for (const char* html :
       {"", "<link", "<link rel=alternate type=text/html href=/x>", "<link type=application/rss+xml href=/x>",
        "<link rel=alternate type=application/rss+xml href='javascript:x'>",
        "<link rel=alternate type=application/rss+xml href=>"})
    EXPECT_EQ(discover_feed(html, "https://s.example/"), "") << html;
  EXPECT_TRUE(is_web_page("  <!DOCTYPE html><html>", ""));
  EXPECT_TRUE(is_web_page("<p>x", "text/html; charset=utf-8"));
  EXPECT_FALSE(is_web_page("<?xml version='1.0'?><rss>", "text/html"));
}

TEST(FeedLinks, AreResolvedAndOnlyWebAddresses) {
  const std::string base = "https://s.example/a/b?q#f";
  EXPECT_EQ(resolve_link(base, "c"), "https://s.example/a/c");
  EXPECT_EQ(resolve_link(base, "../../../c/./d/.."), "https://s.example/c/");
  EXPECT_EQ(resolve_link(base, "//t.example"), "https://t.example/");
  EXPECT_EQ(resolve_link(base, "HTTP://T.example:80/x#y"), "http://t.example/x#y");
  EXPECT_EQ(resolve_link(base, " /two words\n"), "https://s.example/two%20words");
  for (const char* link :
       {"", "mailto:a@b", "javascript:alert(1)", "data:x", "http://", "https://user@h/", "ftp://x/"})
    EXPECT_EQ(resolve_link(base, link), "") << link;
}

}  // namespace
}  // namespace fathom::live
