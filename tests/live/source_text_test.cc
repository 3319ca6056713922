#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "live/source_html.h"
#include "live/source_sse.h"

namespace fathom::live {
namespace {

std::string text_of(std::string_view html) { return html_to_text(html).text; }

TEST(Html, ParagraphsAndBreaks) {
  EXPECT_EQ(text_of("One.<p>Two.<p>Three."), "One.\n\nTwo.\n\nThree.");
  EXPECT_EQ(text_of("<p>One.</p>\n<p>Two.</p>\n"), "One.\n\nTwo.");
  EXPECT_EQ(text_of("a<br>b<br/>c<BR />d"), "a\nb\nc\nd");
  EXPECT_EQ(text_of("a<br><br><br>b"), "a\n\nb");
  EXPECT_EQ(text_of("<div><div><div>a</div></div></div><div>b</div>"), "a\n\nb");
}

TEST(Html, InlineMarkupVanishes) {
  EXPECT_EQ(text_of("an <i>apt</i> <b class=\"x\">word</b>, <em>so</em>"), "an apt word, so");
}

TEST(Html, WhiteSpaceIsCollapsed) {
  EXPECT_EQ(text_of("  a \n\t b&nbsp; c  "), "a b c");
  EXPECT_EQ(text_of("a <p> b"), "a\n\nb");
  EXPECT_EQ(text_of(" \n<p> </p>"), "");
}

TEST(Html, PreformattedTextKeepsItsSpaces) {
  EXPECT_EQ(text_of("Look:<p><pre><code>if (a &lt; b)\n    go();\n</code></pre>done  now"),
            "Look:\n\nif (a < b)\n    go();\n\ndone now");
}

TEST(Html, ListsHaveMarks) {
  EXPECT_EQ(text_of("Two:<ul><li>one</li><li>two</li></ul>end"), "Two:\n\n- one\n- two\n\nend");
}

TEST(Html, CharacterReferences) {
  EXPECT_EQ(text_of("&lt;b&gt; &amp;amp; &quot;x&quot; it&#x27;s it&#39;s"), "<b> &amp; \"x\" it's it's");
  EXPECT_EQ(text_of("&eacute;&#233;&#xE9;&#XE9;"), "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9");
  EXPECT_EQ(text_of("&mdash;&hellip;&rsquo;&euro;"), "\xE2\x80\x94\xE2\x80\xA6\xE2\x80\x99\xE2\x82\xAC");
  EXPECT_EQ(text_of("&#150;"), "\xE2\x80\x93");  // meant as Windows-1252
  EXPECT_EQ(text_of("&#x1F600;"), "\xF0\x9F\x98\x80");
}

TEST(Html, WhatIsNoReferenceStays) {
  EXPECT_EQ(text_of("AT&T & co; &nosuchname; &; &#; &#x; &#xZZ; R&D"),
            "AT&T & co; &nosuchname; &; &#; &#x; &#xZZ; R&D");
  EXPECT_EQ(text_of("a&"), "a&");
  EXPECT_EQ(text_of("&#xD800; &#1114112; &#99999999999999; &#0;"),
            "\xEF\xBF\xBD \xEF\xBF\xBD \xEF\xBF\xBD \xEF\xBF\xBD");
}

TEST(Html, ALoneAngleBracketIsText) {
  EXPECT_EQ(text_of("1 < 2 and 3 > 2, x<5 <"), "1 < 2 and 3 > 2, x<5 <");
}

TEST(Html, LinksAreCollected) {
  const auto found = html_to_text(
      "<a href=\"https://a.example/x?a=1&amp;b=2\" rel=nofollow>one</a> <A HREF='http://b.example'>two</A> "
      "<a href=https://c.example/>three</a> <a href=\"https://b.example\">four</a> <a "
      "href='http://b.example'>five</a>"
      "<a href=\"javascript:alert(1)\">six</a> <a href=\"/rel\">seven</a> <a name=x>eight</a>");
  EXPECT_EQ(found.text, "one two three four fivesix seven eight");
  EXPECT_EQ(found.links, (std::vector<std::string>{"https://a.example/x?a=1&b=2", "http://b.example",
                                                   "https://c.example/", "https://b.example"}));
}

TEST(Html, AnAddressOfWhichNothingIsLeftIsNoLink) {
  const auto found = html_to_text("<a href=\"http://\v\">empty</a> <a href=\"https://a.example\">a</a>");
  EXPECT_EQ(found.text, "empty a");
  EXPECT_EQ(found.links, (std::vector<std::string>{"https://a.example"}));
}

TEST(Html, ShortenedAddressesBecomeWhole) {
  EXPECT_EQ(text_of("see <a href=\"https://a.example/long/path\">https://a.example/lo...</a> now"),
            "see https://a.example/long/path now");
  EXPECT_EQ(text_of("<a href=\"https://a.example/long/path\">a.example/lo\xE2\x80\xA6</a>"),
            "https://a.example/long/path");
  EXPECT_EQ(text_of("<a href=\"https://evil.example/\">https://bank.example/lo...</a>"),
            "https://bank.example/lo...");  // does not begin like the address: shown as written
  EXPECT_EQ(text_of("<a href=\"https://a.example/\">...</a>"), "...");
}

TEST(Html, CommentsScriptsAndStylesAreLeftOut) {
  EXPECT_EQ(text_of("a<!-- <b>x</b> -->b<script>alert('</b>')</script>c<STYLE>p{}</STYLE>d"), "abcd");
  EXPECT_EQ(text_of("a<!-- never closed"), "a");
  EXPECT_EQ(text_of("a<script>never closed"), "a");
  EXPECT_EQ(text_of("<!DOCTYPE html><?xml?>a</ b>b</>c"), "abc");
  EXPECT_EQ(text_of("a<svg/>b<svg><text>x</text></svg>c"), "abc");
  EXPECT_EQ(text_of("<![CDATA[a < b &amp; <i>]]>c"), "a < b &amp; <i>c");
  EXPECT_EQ(text_of("<![CDATA[open"), "open");
}

TEST(Html, BrokenTagsDoNotLeak) {
  EXPECT_EQ(text_of("a<b"), "a");
  EXPECT_EQ(text_of("a<b href=\"never closed"), "a");
  EXPECT_EQ(text_of("a<b =\"x\" = y z=>b"), "ab");
  EXPECT_EQ(text_of("a<img alt=\"1 > 2\" src=x onerror=alert(1)>b"), "ab");
  EXPECT_EQ(text_of("a<b/><i/ >b"), "ab");
}

TEST(Html, ControlsAndDirectionOverridesAreLeftOut) {
  EXPECT_EQ(text_of(std::string_view("a\0b\x01\x7F", 5)), "ab");
  EXPECT_EQ(text_of("a\xE2\x80\xAE"
                    "b&#x202E;c&shy;d"),
            "abcd");
}

TEST(Html, IllFormedTextBecomesValid) {
  EXPECT_EQ(text_of("a\xFF\xC3"), "a\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_TRUE(is_valid_utf8(text_of("<![CDATA[\xE2\x80]]>\x80<a href='http://\xFF/'>x")));
}

TEST(Html, RandomMarkupGivesValidTextInBoundedSize) {
  const std::vector<std::string_view> pieces = {
      "<",         ">",   "a",        "</",        "<a href=\"http://x.example/",
      "\"",        "'",   "&",        "amp;",      "#x",
      ";",         "<p>", "...",      "<pre>",     "</pre>",
      "<!--",      "-->", "<script>", "</script>", "\xC3",
      "\xA9",      "\n",  " ",        "<li>",      "=",
      "<![CDATA[", "]]>", "<br>",     "&lt;"};
  Random random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string html;
    for (uint64_t i = random.below(40); i > 0; --i) html += pieces[random.below(pieces.size())];
    const auto found = html_to_text(html);
    EXPECT_TRUE(is_valid_utf8(found.text)) << html;
    EXPECT_LE(found.text.size(), 3 * html.size() + 64) << html;
    EXPECT_FALSE(found.text.ends_with(' ') || found.text.ends_with('\n')) << html;
  }
}

TEST(Html, LengthIsPaidOnce) {  // quadratic work would not end in the test's time
  const auto repeat = [](std::string_view piece) {
    std::string all;
    while (all.size() < 2'000'000) all += piece;
    return all;
  };
  for (const char* piece : {"<", "&", "<a href=\"http://x.example/\">y...", "<!--", "<script>", "</", "<b ",
                            "<p>", "<a b='", "&#", "<![CDATA[", "<li>", "\xC3"})
    EXPECT_LE(html_to_text(repeat(piece)).text.size(), 7'000'000u) << piece;
}

TEST(Html, TitlesKeepWhatLooksLikeTags) {
  EXPECT_EQ(decode_html_references(" std::vector<T> &amp; &lt;b&gt;\n it&#x27;s\x01 "),
            "std::vector<T> & <b> it's");
}

// --- server-sent events

std::vector<SseEvent> events_of(const std::vector<std::string>& pieces) {
  SseParser parser;
  std::vector<SseEvent> events;
  for (const auto& piece : pieces)
    parser.feed(piece, [&](const SseEvent& event) { events.push_back(event); });
  return events;
}

TEST(Sse, ReadsEvents) {
  const auto events = events_of({"event: put\nid: 7\ndata: one\ndata: two\n\ndata:three\n\n"});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type, "put");
  EXPECT_EQ(events[0].id, "7");
  EXPECT_EQ(events[0].data, "one\ntwo");
  EXPECT_EQ(events[1].type, "message");
  EXPECT_EQ(events[1].data, "three");
  EXPECT_EQ(events[1].id, "7");
}

TEST(Sse, EveryCutGivesTheSame) {
  const std::string stream =
      "\xEF\xBB\xBF: comment\r\nevent: a\r\ndata: x\r\n\r\ndata\r\rdata:  y\ndata:\n\nretry: 5\nevent: "
      "lost\n\ndata: z\n\n"
      "data: unfinished\n";
  const auto whole = events_of({stream});
  ASSERT_EQ(whole.size(), 4u);
  EXPECT_EQ(whole[0].data, "x");
  EXPECT_EQ(whole[1].data, "");
  EXPECT_EQ(whole[2].data, " y\n");
  EXPECT_EQ(whole[3].type, "message");
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    const auto parts = events_of({stream.substr(0, cut), stream.substr(cut)});
    ASSERT_EQ(parts.size(), whole.size()) << cut;
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(parts[i].type, whole[i].type) << cut;
      EXPECT_EQ(parts[i].data, whole[i].data) << cut;
    }
  }
}

TEST(Sse, AnEndlessEventIsRefused) {
  SseParser parser(1000);
  const std::string line = "data: " + std::string(100, 'x') + "\n";
  EXPECT_THROW(
      {
        for (int i = 0; i < 20; ++i) parser.feed(line, [](const SseEvent&) {});
      },
      Error);
  SseParser empty(1000);  // lines without content grow an event too
  EXPECT_THROW(
      {
        for (int i = 0; i < 5000; ++i) empty.feed("data\n", [](const SseEvent&) {});
      },
      Error);
}

}  // namespace
}  // namespace fathom::live
