#include "answer/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fathom::answer {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

const Time kNow = *parse_time("2016-05-04T15:30:00Z");  // a Wednesday

Plan plan(std::string_view question) { return plan_question(question, kNow); }

std::vector<std::string> terms(const Plan& plan) {
  std::vector<std::string> out;
  for (const Term& term : plan.terms) out.push_back(term.word.folded);
  return out;
}

std::string since(std::string_view question) {
  const Plan p = plan(question);
  return p.window.since ? format_time(*p.window.since) : "";
}
std::string until(std::string_view question) {
  const Plan p = plan(question);
  return p.window.until ? format_time(*p.window.until) : "";
}

TEST(Plan, KeepsWhatTheQuestionIsAbout) {
  const Plan p = plan("Please tell me, how many people were killed in the Boston Marathon bombing?");
  EXPECT_EQ(p.ask, Ask::kHowMany);
  EXPECT_THAT(terms(p), ElementsAre("people", "killed", "boston", "marathon", "bombing"));
  EXPECT_TRUE(p.terms[0].weak);
  EXPECT_FALSE(p.terms[1].name);
  EXPECT_TRUE(p.terms[2].name);
  EXPECT_EQ(p.terms[2].run, p.terms[3].run);
}

TEST(Plan, KnowsWhatIsAskedFor) {
  EXPECT_EQ(plan("Who won the cup final?").ask, Ask::kWho);
  EXPECT_EQ(plan("Who said that the bridge is closed?").ask, Ask::kWhoSaid);
  EXPECT_EQ(plan("When does the ferry leave?").ask, Ask::kWhen);
  EXPECT_EQ(plan("What time does the ferry leave?").ask, Ask::kWhen);
  EXPECT_EQ(plan("Where did the helicopter crash?").ask, Ask::kWhere);
  EXPECT_EQ(plan("In which city did it crash?").ask, Ask::kWhere);
  EXPECT_EQ(plan("What is the magnitude of the quake?").ask, Ask::kHowMuch);
  EXPECT_EQ(plan("How much did the bridge cost?").ask, Ask::kHowMuch);
  EXPECT_EQ(plan("Why is the airport closed?").ask, Ask::kWhy);
  EXPECT_EQ(plan("Is the airport closed?").ask, Ask::kYesNo);
  EXPECT_EQ(plan("Which company bought the harbour?").ask, Ask::kWhat);
}

TEST(Plan, DigestAndSmallTalk) {
  for (const char* question : {"What's going on?", "what is happening right now", "What happened today?",
                               "any news?", "catch me up", "Summarize the news of the last 2 hours"}) {
    EXPECT_EQ(plan(question).ask, Ask::kDigest) << question;
  }
  for (const char* question : {"hi", "Hello!", "thanks a lot", "who are you?", "Good morning"}) {
    EXPECT_EQ(plan(question).ask, Ask::kSmallTalk) << question;
  }
  EXPECT_NE(plan("What is happening in Port Lund?").ask, Ask::kDigest);
  EXPECT_NE(plan("hello kitty store opening").ask, Ask::kSmallTalk);
}

TEST(Plan, TimesAreTheFeeds) {
  EXPECT_EQ(since("What happened today?"), "2016-05-04T00:00:00Z");
  EXPECT_EQ(since("Who spoke yesterday?"), "2016-05-03T00:00:00Z");
  EXPECT_EQ(until("Who spoke yesterday?"), "2016-05-04T00:00:00Z");
  EXPECT_EQ(since("Any fires in the last 2 hours?"), "2016-05-04T13:30:00Z");
  EXPECT_EQ(since("What was said since Monday about taxes?"), "2016-05-02T00:00:00Z");
  EXPECT_EQ(until("What was said since Monday about taxes?"), "");
  EXPECT_EQ(since("What exploded on 15 April 2013?"), "2013-04-15T00:00:00Z");
  EXPECT_EQ(since("What exploded on April 15, 2013?"), "2013-04-15T00:00:00Z");
  EXPECT_EQ(since("Who resigned in May 2015?"), "2015-05-01T00:00:00Z");
  EXPECT_EQ(until("Who resigned in May 2015?"), "2015-06-01T00:00:00Z");
  EXPECT_EQ(since("Who resigned in December?"), "2015-12-01T00:00:00Z");
  EXPECT_EQ(since("Who resigned in 2014?"), "2014-01-01T00:00:00Z");
  EXPECT_EQ(since("Who called this morning?"), "2016-05-04T04:00:00Z");
  EXPECT_EQ(since("3 days ago, who won?"), "2016-05-01T00:00:00Z");
  EXPECT_EQ(since("Who won the 2013 marathon?"), "");
  EXPECT_EQ(since("May I ask who won?"), "");
}

TEST(Plan, TimeWordsAreNoTerms) {
  EXPECT_THAT(terms(plan("What exploded in Boston on 15 April 2013?")), ElementsAre("exploded", "boston"));
  EXPECT_THAT(terms(plan("fires in the last 2 hours")), ElementsAre("fires"));
}

TEST(Plan, SpeakersAreAuthors) {
  const Plan handle = plan("What did @SenWarren say about student loans?");
  EXPECT_THAT(handle.speakers, ElementsAre("senwarren"));
  EXPECT_THAT(terms(handle), ElementsAre("student", "loans"));
  const Plan name = plan("What did Mayor Lena Ortiz say about the dam?");
  EXPECT_EQ(name.speaker_names.size(), 3U);
  EXPECT_THAT(terms(name), ElementsAre("dam"));
  EXPECT_TRUE(plan("What did the fire destroy?").speaker_names.empty());
}

TEST(Plan, QuotedPhrases) {
  EXPECT_THAT(plan("Who wrote \"we will rebuild\" yesterday?").phrases, ElementsAre("we will rebuild"));
}

Plan talk(std::vector<std::string> turns) {
  std::vector<infer::ChatMessage> messages;
  for (std::string& turn : turns) {
    messages.push_back({"user", std::move(turn)});
    messages.push_back({"assistant", "Some answer."});
  }
  return make_plan(messages, kNow);
}

TEST(FollowUp, TakesOverTheNames) {
  const Plan p = talk({"What happened at the Boston Marathon?", "How many people were injured?"});
  EXPECT_EQ(p.ask, Ask::kHowMany);
  EXPECT_THAT(terms(p), UnorderedElementsAre("people", "injured", "boston", "marathon"));
  EXPECT_TRUE(p.carried);
}

TEST(FollowUp, SwapsTheName) {
  const Plan p = talk({"How many people were injured in Boston?", "What about Glasgow?"});
  EXPECT_EQ(p.ask, Ask::kHowMany);
  EXPECT_THAT(terms(p), Contains("glasgow"));
  EXPECT_THAT(terms(p), Contains("injured"));
  EXPECT_THAT(terms(p), Not(Contains("boston")));
}

TEST(FollowUp, NewSubjectStandsAlone) {
  const Plan p = talk({"How many people were injured in Boston?", "Who won the election in Velis?"});
  EXPECT_THAT(terms(p), UnorderedElementsAre("won", "election", "velis"));
  EXPECT_FALSE(p.carried);
}

TEST(Plan, HostileQuestionsAreRead) {
  for (const std::string& question :
       {std::string("\xff\xfe\x80"), std::string(8000, '"'), std::string(8000, '9'),
        std::string("since since on in 32 April 99999999999 hours ago"), std::string("on 30 February 2013"),
        std::string("what did @ say @")}) {
    EXPECT_NO_THROW(plan(question));
  }
}

}  // namespace
}  // namespace fathom::answer
