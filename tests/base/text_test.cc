#include "base/text.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace fathom {
namespace {

std::string encode(char32_t c) {
  std::string out;
  append_utf8(out, c);
  return out;
}

TEST(Utf8, EveryCharacterGoesThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const auto text = encode(c);
    size_t at = 0;
    ASSERT_EQ(decode_utf8(text, at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_TRUE(is_valid_utf8(text));
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_FALSE(is_valid_utf8(text.substr(0, cut)));
      ASSERT_EQ(incomplete_utf8_tail(text.substr(0, cut)), cut);
    }
    ASSERT_EQ(incomplete_utf8_tail(text), 0u);
  }
}

TEST(Utf8, WhatIsNoCharacterIsReplaced) {
  EXPECT_EQ(encode(0xD800), "\xEF\xBF\xBD");
  EXPECT_EQ(encode(0xDFFF), "\xEF\xBF\xBD");
  EXPECT_EQ(encode(0x110000), "\xEF\xBF\xBD");
}

TEST(Utf8, RefusesOverlongSurrogateAndStrayForms) {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFE", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "a\xC3(", "\xC3\xA9\xA9"})
    EXPECT_FALSE(is_valid_utf8(text)) << text;
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_TRUE(is_valid_utf8(std::string_view("\0", 1)));
}

TEST(Utf8, OneReplacementForEachMaximalSubpart) {  // the example of Unicode 15, section 3.9, table 3-11
  const std::string fffd = "\xEF\xBF\xBD";
  EXPECT_EQ(sanitize_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(sanitize_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            fffd + fffd + fffd + fffd + fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(sanitize_utf8("a\xC3\xA9"), "a\xC3\xA9");
}

TEST(Utf8, RandomBytesBecomeValid) {
  Random random(2);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (uint64_t i = random.below(12); i > 0; --i) bytes += static_cast<char>(0x78 + random.below(0x88));
    const auto clean = sanitize_utf8(bytes);
    ASSERT_TRUE(is_valid_utf8(clean));
    ASSERT_EQ(is_valid_utf8(bytes), clean == bytes);
    const size_t tail = incomplete_utf8_tail(bytes);
    ASSERT_LE(tail, std::min<size_t>(3, bytes.size()));
    ASSERT_TRUE(tail == 0 || !is_valid_utf8(bytes.substr(bytes.size() - tail)));
  }
}

TEST(Utf8, ATailIsHeldBackOnlyWhileItCanBecomeACharacter) {
  EXPECT_EQ(incomplete_utf8_tail("abc"), 0u);
  EXPECT_EQ(incomplete_utf8_tail(""), 0u);
  EXPECT_EQ(incomplete_utf8_tail("a\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incomplete_utf8_tail("\x80\x80\x80"), 0u);
  EXPECT_EQ(incomplete_utf8_tail("\xE0\x80"), 0u);  // no character begins so
  EXPECT_EQ(incomplete_utf8_tail("\xFF"), 0u);
}

TEST(Text, TrimsAsciiWhiteSpace) {
  EXPECT_EQ(trim(" \t\r\n\f\va b \n"), "a b");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim("\xC2\xA0x"), "\xC2\xA0x");
}

TEST(Text, LowersAsciiOnly) {
  EXPECT_EQ(to_lower_ascii("AbZ[@\xC3\x89"), "abz[@\xC3\x89");
  EXPECT_TRUE(equals_ignore_case("Content-TYPE", "content-type"));
  EXPECT_FALSE(equals_ignore_case("a", "ab"));
  EXPECT_FALSE(equals_ignore_case("@", "`"));  // 32 apart, but no letters
  EXPECT_TRUE(equals_ignore_case("", ""));
}

TEST(Text, SplitKeepsEmptyPieces) {
  using Pieces = std::vector<std::string_view>;
  EXPECT_EQ(split("a,b,,c", ','), (Pieces{"a", "b", "", "c"}));
  EXPECT_EQ(split("", ','), (Pieces{""}));
  EXPECT_EQ(split(",", ','), (Pieces{"", ""}));
  EXPECT_EQ(split("abc", ','), (Pieces{"abc"}));
}

}  // namespace
}  // namespace fathom
