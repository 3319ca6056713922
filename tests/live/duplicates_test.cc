// Near-duplicates: what is one statement, what is not, and that the sketch lets the first kind through.
#include "live/duplicates.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace fathom::live {
namespace {

bool same(std::string_view a, std::string_view b) { return Statement(a).same_as(Statement(b)); }

uint64_t sketch_of(std::string_view text) {
  TokenList tokens;
  analyze(text, tokens);
  return sketch(tokens);
}

constexpr std::string_view kFlood =
    "Water is rising fast in the old town of Orvik, stay away from the river tonight";

TEST(Duplicates, RepostsLinksTagsAndMentions) {
  const std::string text(kFlood);
  for (const std::string& other : {"RT @ann: " + text, text + " http://t.co/abc", text + " #flood",
                                   "@bob " + text + "!!", "Breaking: " + text}) {
    EXPECT_TRUE(same(text, other)) << other;
    EXPECT_TRUE(same(other, text)) << other;
    EXPECT_GE(sketch_agreement(sketch_of(text), sketch_of(other)), kAlikeAgreement) << other;
  }
}

TEST(Duplicates, ACutRepost) {
  const std::string cut = "RT @ann: " + std::string(kFlood.substr(0, 60)) + "\xE2\x80\xA6";
  EXPECT_TRUE(same(kFlood, cut));
  EXPECT_GE(sketch_agreement(sketch_of(kFlood), sketch_of(cut)), kAlikeAgreement);
}

TEST(Duplicates, OtherFactsAreOtherStatements) {
  EXPECT_FALSE(
      same("Officials say 12 people were hurt in Orvik", "Officials say 15 people were hurt in Orvik"));
  EXPECT_FALSE(same("The bridge at Orvik is closed", "The bridge at Orvik is not closed"));
  EXPECT_FALSE(same("Reports that the mayor resigned today", "False: reports that the mayor resigned today"));
  EXPECT_FALSE(same("Marnes beat Orvik in the final tonight", "Orvik beat Marnes in the final tonight"));
  EXPECT_FALSE(same("The mayor of Orvik spoke at noon", "The mayor of Marnes spoke at noon"));
  EXPECT_FALSE(
      same("Water rising", "Water rising in the old town of Orvik, stay away from the river tonight"));
}

TEST(Duplicates, TextsWithoutWords) {
  EXPECT_EQ(sketch_of(""), 0u);
  EXPECT_EQ(sketch_agreement(0, 0), 0u);
  EXPECT_FALSE(same("", ""));
  EXPECT_FALSE(same("!!!", kFlood));
  EXPECT_TRUE(same("Goal!", "goal"));
}

TEST(Duplicates, UnrelatedTextsSeldomReachTheComparison) {
  Random random(1);
  size_t passed = 0, pairs = 0;
  std::vector<uint64_t> sketches;
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (int j = 0; j < 15; ++j) text += " w" + std::to_string(random.below(100));
    sketches.push_back(sketch_of(text));
  }
  for (size_t i = 0; i < sketches.size(); ++i)
    for (size_t j = 0; j < i; ++j, ++pairs)
      passed += sketch_agreement(sketches[i], sketches[j]) >= kAlikeAgreement ? 1 : 0;
  EXPECT_LT(static_cast<double>(passed), 0.05 * static_cast<double>(pairs));
}

}  // namespace
}  // namespace fathom::live
