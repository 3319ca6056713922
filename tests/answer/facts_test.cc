#include "answer/facts.h"

#include <gtest/gtest.h>

namespace fathom::answer {
namespace {

std::vector<std::string> keys(std::string_view text) {
  std::vector<std::string> out;
  for (const Fact& fact : find_facts(text, split_words(text))) out.push_back(fact.key);
  return out;
}
using Keys = std::vector<std::string>;

TEST(Facts, OneFormForEachNumber) {
  EXPECT_EQ(keys("1,200 people"), (Keys{"n:1200"}));
  EXPECT_EQ(keys("1.2 thousand people"), (Keys{"n:1200"}));
  EXPECT_EQ(keys("twelve hundred people"), (Keys{"n:1200"}));
  EXPECT_EQ(keys("twenty-three hurt, two hundred and six safe"), (Keys{"n:23", "n:206"}));
  EXPECT_EQ(keys("five million three hundred thousand"), (Keys{"n:5300000"}));
  EXPECT_EQ(keys("a dozen"), (Keys{"n:12"}));
  EXPECT_EQ(keys("51.2M sold"), (Keys{"n:51200000"}));
  EXPECT_EQ(keys("no one knows, one said"), Keys{});
}

TEST(Facts, AmountsAndShares) {
  EXPECT_EQ(keys("$50.6 billion"), (Keys{"m$:50600000000"}));
  EXPECT_EQ(keys("50.6bn dollars"), (Keys{"m$:50600000000"}));
  EXPECT_EQ(keys("up 13% or 13 per cent or 13 percent"), (Keys{"p:13", "p:13", "p:13"}));
  EXPECT_EQ(keys("\xE2\x82\xAC"
                 "5 and 5 euros"),
            (Keys{"me:5", "me:5"}));
}

TEST(Facts, TimesAndDates) {
  EXPECT_EQ(keys("7 pm, 7pm, 19:00, 7:00 p.m."), (Keys{"t:19:00", "t:19:00", "t:19:00", "t:19:00"}));
  EXPECT_EQ(keys("12 am, noon, 12:30pm"), (Keys{"t:00:00", "t:12:00", "t:12:30"}));
  EXPECT_EQ(keys("15 April, April 15th, 15th of April 2013"),
            (Keys{"d:04-15", "d:04-15", "d:04-15", "n:2013"}));
  EXPECT_EQ(keys("2013-04-15"), (Keys{"n:2013", "d:04-15"}));
  EXPECT_EQ(keys("it may 5 times"), (Keys{"n:5"}));
}

TEST(Facts, TimesAsTheyAreWrittenElsewhere) {
  EXPECT_EQ(keys("à 21h30, um 9 Uhr"), (Keys{"t:21:30", "t:09:00"}));
  EXPECT_EQ(keys("20時30分から、15時まで"), (Keys{"t:20:30", "t:15:00"}));
  EXPECT_EQ(keys("2 huge dogs"), (Keys{"n:2"}));
  for (const std::string_view text : {"99h99", "1h", "24時99分", "9時999999999999分", "3h3x"})
    EXPECT_NO_THROW(keys(text)) << text;
  EXPECT_EQ(weekday_number("samstag"), 6);
  EXPECT_EQ(weekday_number("lundi"), 1);
}

TEST(Facts, NamesWithDigitsAreNotJustNumbers) {
  EXPECT_EQ(keys("the 737max"), (Keys{"w:737max", "n:737"}));
  EXPECT_EQ(keys("40kg"), (Keys{"w:40kg", "n:40"}));
}

TEST(Facts, HostileNumbersAreRead) {
  for (const std::string_view text : {"99999999999999999999999999999999", "1,,,2", "1:99", "25:61:61",
                                      "1.2.3.4", "5,", "1e999", "0x12", "00000000000", "12:3"}) {
    EXPECT_NO_THROW(keys(text)) << text;
  }
}

TEST(Facts, ThePostsOwnTimeIsKnown) {
  const std::string_view text = "$5 off";
  const auto known = known_facts(find_facts(text, split_words(text)), *parse_time("2013-04-15T14:32:10Z"));
  for (const char* key : {"m$:5", "n:5", "d:04-15", "n:2013", "t:14:32"})
    EXPECT_TRUE(known.contains(key)) << key;
  EXPECT_FALSE(known.contains("n:15"));
}

}  // namespace
}  // namespace fathom::answer
