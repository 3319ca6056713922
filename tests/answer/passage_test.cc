// What counts as an answer: a score, a name beside the verb, a part and not the whole, a phrase of news, a denial.
#include "answer/passage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "answer/cues.h"
#include "answer/facts.h"
#include "answer/fakes.h"

namespace fathom::answer {
namespace {

using testing::at;
using testing::make_post;

Quote quote_of(const std::string& question, const std::string& text) {
  const Plan plan = plan_question(question, at("2031-05-14T18:00:00Z"));
  const Relevance relevance(plan, {}, 1000);
  const Evidence evidence = prepare(make_post("1", "desk", "Desk", "2031-05-14T17:00:00Z", text));
  return best_passage(plan, relevance, evidence).value_or(Quote{});
}

TEST(Passage, AScoreIsTwoNumbersAndNoDateOrTime) {
  const auto keys = [](const std::string& text) {
    std::vector<std::string> out;
    for (const Fact& fact : find_scores(text, split_words(text))) out.push_back(fact.key);
    return out;
  };
  EXPECT_EQ(keys("Rovers 2-1 Athletic"), std::vector<std::string>{"s:2-1"});
  EXPECT_EQ(keys("Storm 27:29 United"), std::vector<std::string>{"s:27-29"});
  EXPECT_EQ(keys("3 \xE2\x80\x93 0 in the end"), std::vector<std::string>{"s:3-0"});
  EXPECT_TRUE(keys("on 12-05-2031, between 4 and 5").empty());
  EXPECT_TRUE(keys("99999999999999999999-1 and 5").empty());
  EXPECT_EQ(
      quote_of("What is the score in the Lantern Cup final?", "Lantern Cup final: Rovers 2-2 Athletic").value,
      "s:2-2");
}

TEST(Passage, AScoreIsNotTheTimeOfThePost) {
  EXPECT_EQ(
      quote_of("What is the score in the Lantern Cup final?", "Lantern Cup final at 16:59: kick-off soon")
          .value,
      "");
}

TEST(Passage, ThePartIsCountedNotTheWhole) {
  EXPECT_EQ(quote_of("How many runners have finished the Velis Marathon?",
                     "3,200 of 9,000 runners have finished the Velis Marathon")
                .value,
            "n:3200");
}

TEST(Passage, NoneIsANumberToo) {
  EXPECT_EQ(quote_of("How many tickets are left for Moonfield?", "Moonfield: no tickets left").value, "n:0");
}

TEST(Passage, SharesMayBeWords) {
  EXPECT_EQ(quote_of("What share of Vale trains are running?", "Half of all Vale trains are running").value,
            "v:half");
}

TEST(Passage, WhoNeedsANameOrAScore) {
  const std::string question = "Who won the Lantern Cup final?";
  EXPECT_FALSE(quote_of(question, "the Lantern Cup final is won in midfield").answers);
  EXPECT_TRUE(quote_of(question, "The Lantern Cup final was won by Tarnholt Rovers").answers);
  EXPECT_TRUE(quote_of(question, "Full time in the Lantern Cup final: Rovers 3-2 Athletic").answers);
}

TEST(Passage, ADashEndsTheNeighbourhoodOfAName) {
  const std::string question = "Who shot the officer in Velis?";
  const double beside = quote_of(question, "In Velis the officer was shot by Paul Ormley today").score;
  const double apart = quote_of(question, "In Velis an officer was shot today - Lake Tribune").score;
  EXPECT_GT(beside, apart);
}

TEST(Passage, TheTimeOfACountIsNotTheTimeAskedFor) {
  const std::string question = "At what time do flights resume at Osterfell?";
  EXPECT_FALSE(quote_of(question, "Count at 16:55: 23 flights off at Osterfell").answers);
  EXPECT_EQ(quote_of(question, "Flights at Osterfell resume at 19:00").value, "t:19:00");
}

TEST(Passage, AnotherYearLooksBack) {
  const Evidence evidence =
      prepare(make_post("1", "a", "A", "2031-05-14T17:00:00Z", "In 1988 six were killed. Now two."));
  EXPECT_TRUE(tells_of_other_year(evidence, evidence.sentences[0]));
  EXPECT_FALSE(tells_of_other_year(evidence, evidence.sentences[1]));
}

TEST(Cues, PhrasesStandForWords) {
  const auto related_to = [](const std::string& text, const std::string& word) {
    const std::vector<Word> single = split_words(word);
    const std::vector<Word> words = split_words(text);
    return std::ranges::any_of(words, [&](const Word& w) { return related(w, single[0]); });
  };
  EXPECT_TRUE(related_to("The match was called off", "cancelled"));
  EXPECT_FALSE(related_to("She called her mother", "cancelled"));
  EXPECT_TRUE(related_to("They had to leave their homes", "evacuated"));
  EXPECT_TRUE(related_to("41,000 without power", "blackout"));
  EXPECT_TRUE(related_to("The mayor stepped down", "resigned"));
}

TEST(Cues, ADenialIsOfWhatIsAsked) {
  const Plan plan =
      plan_question("How many people were hurt in the crash at Velis?", at("2031-05-14T18:00:00Z"));
  const auto denied = [&](const std::string& text) {
    const Evidence evidence = prepare(make_post("1", "a", "A", "2031-05-14T17:00:00Z", text));
    return denies_asked(plan, evidence, {0, text.size()});
  };
  EXPECT_TRUE(denied("There was no crash at Velis."));
  EXPECT_FALSE(denied("No trains to Velis after the crash."));
  EXPECT_FALSE(denied("A crash at Velis."));
}

TEST(Cues, AdvertisingIsNeverTrusted) {
  EXPECT_LT(prepare(make_post("1", "a", "A", "2031-05-14T17:00:00Z",
                              "Chess final! Retweet + follow to win tickets"))
                .trust,
            kMinTrust);
  EXPECT_GE(prepare(make_post("1", "a", "A", "2031-05-14T17:00:00Z", "Dostane wins the chess final")).trust,
            kMinTrust);
}

}  // namespace
}  // namespace fathom::answer
