// The analyser: word boundaries, folding, stems, tags, numbers, addresses, scripts without spaces, hostile bytes.
#include "live/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "base/text.h"

namespace fathom::live {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::vector<std::string> terms(std::string_view text, bool extra = false) {
  std::vector<std::string> out;
  for (const auto& term : analyze(text))
    if (term.extra == extra) out.push_back(term.term);
  return out;
}

std::vector<std::string> all(std::string_view text) {
  std::vector<std::string> out;
  for (const auto& term : analyze(text)) out.push_back(term.term);
  return out;
}

TEST(Analysis, SplitsFoldsAndStems) {
  EXPECT_THAT(terms("The Floods, flooding -- FLOODED!"), ElementsAre("the", "flood", "flood", "flood"));
  EXPECT_EQ(terms("running ponies"), terms("runs pony"));
  EXPECT_THAT(terms("covid-19 MH370"), ElementsAre("covid", "19", "mh370"));
}

TEST(Analysis, OffsetsPointIntoTheText) {
  const std::string text = "Caf\xC3\xA9s in Br\xC3\xA9sil: #BigGame, it's 1,200 m\xC2\xB2 http://a.example/x";
  for (const auto& term : analyze(text)) {
    ASSERT_LE(term.begin, term.end);
    ASSERT_LE(term.end, text.size());
  }
  const auto found = analyze(text);
  EXPECT_EQ(text.substr(found[0].begin, found[0].end - found[0].begin), "Caf\xC3\xA9s");
  EXPECT_EQ(found[0].term, "cafe");
}

TEST(Analysis, FoldsAccentsAndCaseOfAnyScript) {
  EXPECT_EQ(terms("\xC3\x89L\xC3\x89VATION"), terms("elevation"));  // E acute
  EXPECT_EQ(terms("Stra\xC3\x9F"
                  "e"),
            terms("STRASSE"));  // sharp s
  EXPECT_EQ(terms("e\xCC\x81"
                  "clair"),
            terms("\xC3\xA9"
                  "clair"));                                               // combining against composed
  EXPECT_EQ(terms("\xEF\xBC\xA1\xEF\xBC\xA2\xEF\xBC\xA3"), terms("abc"));  // full-width
  EXPECT_EQ(
      terms("\xD0\x9C\xD0\x9E\xD0\xA1\xD0\x9A\xD0\x92\xD0\x90"),
      terms("\xD0\xBC\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0"));  // Moscow in capitals and small letters
  EXPECT_EQ(
      terms("\xD0\xBC\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD1\x8B"),
      terms("\xD0\xBC\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0"));  // Moscow's and Moscow: a Russian stem
  EXPECT_EQ(terms("\xC5\x81\xC3\xB3"
                  "d\xC5\xBA"),
            terms("lodz"));
  EXPECT_EQ(terms("\xD9\xA1\xD9\xA2"), terms("12"));  // Arabic-Indic digits
  EXPECT_EQ(fold("Caf\xC3\xA9"), fold("CAFE"));
}

TEST(Analysis, KeepsMarksThatAreLetters) {
  EXPECT_NE(terms("\xE3\x81\x8B"), terms("\xE3\x81\x8C"));  // hiragana ka and ga
  // Devanagari vowel signs tell words apart.
  EXPECT_NE(terms("\xE0\xA4\x95\xE0\xA4\xBF"), terms("\xE0\xA4\x95\xE0\xA5\x80"));
}

TEST(Analysis, NumbersStayWhole) {
  EXPECT_THAT(terms("7.2 quake, 1,200 homes, 1,234,567.5 and 3,14"),
              IsSupersetOf({"7.2", "1200", "1234567.5"}));
  EXPECT_THAT(terms("costs $5.2bn"), ElementsAre("cost", "5.2bn"));
  EXPECT_THAT(terms("costs $5.2bn", true), ElementsAre("5.2"));
  EXPECT_THAT(terms("M7.2", true), ElementsAre("7.2"));
  EXPECT_THAT(terms("won 3-2."), ElementsAre("won", "3", "2"));
}

TEST(Analysis, Apostrophes) {
  EXPECT_THAT(terms("Trump's don't O'Brien"), ElementsAre("trump", "dont", "obrien"));
  EXPECT_THAT(terms("Trump\xE2\x80\x99s"), ElementsAre("trump"));
  EXPECT_THAT(all("L'Aquila"), ElementsAre("aquila", "laquila"));
  EXPECT_TRUE(analyze("don't")[0].stop);
}

TEST(Analysis, HashtagsAreTagsAndWords) {
  EXPECT_THAT(terms("#BostonMarathon"), ElementsAre("#bostonmarathon"));
  EXPECT_THAT(terms("#BostonMarathon", true), IsSupersetOf({"bostonmarathon", "boston", "marathon"}));
  EXPECT_THAT(terms("#USElection2016", true), IsSupersetOf({"us", "elect", "2016"}));
  EXPECT_THAT(terms("#big_game", true), IsSupersetOf({"biggam", "big", "game"}));
  EXPECT_THAT(terms("#caf\xC3\xA9"), ElementsAre("#cafe"));
  EXPECT_THAT(terms("#1 hit"), ElementsAre("1", "hit"));
  EXPECT_THAT(all("C# and F#"), Contains("c#"));
}

TEST(Analysis, MentionsTickersAndAddresses) {
  EXPECT_THAT(terms("@Bob_1: hi"), ElementsAre("@bob_1", "hi"));
  EXPECT_THAT(terms("mail bob@site.org"), Not(Contains("@site")));
  EXPECT_THAT(terms("@ann.bsky.social", true), IsSupersetOf({"@ann", "ann"}));
  EXPECT_THAT(terms("$AAPL $BRK.B $5"), ElementsAre("$aapl", "$brk.b", "5"));
  EXPECT_THAT(terms("see https://www.Example.com/a?b=c now"), ElementsAre("see", "example.com", "now"));
  EXPECT_THAT(terms("at example.org/x, ok"), ElementsAre("at", "example.org", "ok"));
  EXPECT_THAT(terms("Ended.In other"), ElementsAre("end", "in", "other"));
  EXPECT_THAT(terms("http://t.co/abc x"), ElementsAre("x"));
  EXPECT_THAT(terms("http://"), ElementsAre());
}

TEST(Analysis, ShortNames) {
  EXPECT_THAT(terms("U.S. and U.S.A. and US"), ElementsAre("u.s", "and", "u.s", "and", "u.s"));
  EXPECT_TRUE(analyze("give us")[1].stop);
  EXPECT_THAT(terms("AT&T S&amp;P 500"), ElementsAre("at&t", "s&p", "500"));
  EXPECT_THAT(terms("C++ &amp; C"), ElementsAre("c++", "c"));
}

TEST(Analysis, ScriptsWithoutSpaces) {
  // "Tokyo" within "Tokyo metropolis": the pair is indexed whatever the dictionary cut.
  EXPECT_THAT(all("\xE6\x9D\xB1\xE4\xBA\xAC\xE9\x83\xBD\xE3\x81\xA7\xE5\x9C\xB0\xE9\x9C\x87"),
              IsSupersetOf({"\xE6\x9D\xB1\xE4\xBA\xAC", "\xE5\x9C\xB0\xE9\x9C\x87"}));
  // Thai "flood" twice, cut by the dictionary: more than one term for a run without spaces.
  EXPECT_GT(
      terms("\xE0\xB8\x99\xE0\xB9\x89\xE0\xB8\xB3\xE0\xB8\x97\xE0\xB9\x88\xE0\xB8\xA7\xE0\xB8\xA1\xE0\xB8\x81"
            "\xE0\xB8\xA3\xE0\xB8\xB8\xE0\xB8\x87\xE0\xB9\x80\xE0\xB8\x97\xE0\xB8\x9E")
          .size(),
      1u);
  // Korean: the name is found within the word that carries a particle.
  EXPECT_THAT(all("\xEC\x84\x9C\xEC\x9A\xB8\xEC\x97\x90\xEC\x84\x9C"), Contains("\xEC\x84\x9C\xEC\x9A\xB8"));
}

TEST(Analysis, AnyBytesGiveValidTermsWithinTheText) {
  Random random(7);
  constexpr std::string_view kPieces[] = {"#",
                                          "@",
                                          "$",
                                          "http://",
                                          "www.",
                                          "&amp;",
                                          ".",
                                          "'",
                                          "\xE2\x80\x99",
                                          "\xE6\x9D\xB1",
                                          "\xF0\x9F\x98\x80",
                                          "\xFF",
                                          "\xE2",
                                          "a",
                                          "B",
                                          "7",
                                          ",",
                                          "_",
                                          "-",
                                          " ",
                                          "com",
                                          "+",
                                          "\xCC\x81"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t n = random.below(40); n > 0; --n) text += kPieces[random.below(std::size(kPieces))];
    size_t last = 0;
    for (const auto& term : analyze(text)) {
      ASSERT_LE(term.begin, term.end) << text;
      ASSERT_LE(term.end, text.size()) << text;
      ASSERT_FALSE(term.term.empty()) << text;
      ASSERT_LE(term.term.size(), kMaxTermBytes) << text;
      ASSERT_TRUE(is_valid_utf8(term.term)) << text;
      if (!term.extra) {
        ASSERT_GE(term.begin, last) << text;
        last = term.begin;
      }
    }
  }
}

TEST(Analysis, LongWordsAreCutAlike) {
  const std::string word(10000, 'x');
  for (const auto& term : analyze(word)) EXPECT_LE(term.term.size(), kMaxTermBytes);
  EXPECT_EQ(terms(word), terms(word));
}

}  // namespace
}  // namespace fathom::live
