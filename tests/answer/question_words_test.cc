// Questions in other languages: what the planner makes of them.
#include "answer/question_words.h"

#include <gtest/gtest.h>

#include "answer/plan.h"

namespace fathom::answer {
namespace {

Plan plan(std::string_view question) { return plan_question(question, Time{}); }

std::vector<std::string> terms(const Plan& plan) {
  std::vector<std::string> out;
  for (const Term& term : plan.terms) out.push_back(term.word.folded);
  return out;
}

TEST(QuestionWords, KeepWhatIsAskedAbout) {
  const PlannedWords read =
      read_question_words("Wie viele Menschen sitzen in der Seilbahn am Sonnfirn fest?");
  EXPECT_EQ(read.lang, "de");
  ASSERT_EQ(read.words.size(), read.english.size());
  EXPECT_EQ(read.english[0], "how");
  EXPECT_EQ(read.english[2], "people");
  EXPECT_EQ(read.words[2].folded, "menschen") << "searched for as posts write it";
  EXPECT_FALSE(read.words[6].capital) << "a German noun is no name for its capital";
}

TEST(QuestionWords, TellWhatIsAskedFor) {
  EXPECT_EQ(plan("Wie viele Züge sind bei Hollenau ausgefallen?").ask, Ask::kHowMany);
  EXPECT_EQ(plan("Combien de bateaux ont abandonné le Tour des Caps ?").ask, Ask::kHowMany);
  EXPECT_EQ(plan("¿Cuántos viajeros lleva hoy el tranvía de Almera?").ask, Ask::kHowMany);
  EXPECT_EQ(plan("Quante persone sono ancora a bordo del traghetto Alba Chiara?").ask, Ask::kHowMany);
  EXPECT_EQ(plan("Quantos voluntários ajudam a baleia em Marel?").ask, Ask::kHowMany);
  EXPECT_EQ(plan("Wo fährt der Ersatzbus in Hollenau ab?").ask, Ask::kWhere);
  EXPECT_EQ(plan("Qui est en tête du Tour des Caps ?").ask, Ask::kWho);
  EXPECT_EQ(plan("¿Cuándo abre la segunda línea del tranvía de Almera?").ask, Ask::kWhen);
  EXPECT_EQ(plan("水瀬線の運転再開は何時ですか?").ask, Ask::kWhen);
  EXPECT_EQ(plan("水瀬市で一番大きい避難所はどこですか?").ask, Ask::kWhere);
  EXPECT_EQ(plan("How many trains were cancelled at Hollenau?").ask, Ask::kHowMany);
}

TEST(QuestionWords, LeaveNoGrammarAmongTheTerms) {
  EXPECT_EQ(terms(plan("Combien de bateaux ont abandonné le Tour des Caps ?")),
            (std::vector<std::string>{"bateaux", "abandonne", "tour", "caps"}));
  for (const std::string& term : terms(plan("水瀬線の運転再開は何時ですか?")))
    EXPECT_TRUE(term != "の" && term != "は" && term != "す") << term;
}

TEST(QuestionWords, SplitElisions) {
  const auto words = split_words("l'arrivée d'Oriflan, dell'Alba; it's o'clock");
  std::vector<std::string> folded;
  for (const Word& word : words) folded.push_back(word.folded);
  EXPECT_EQ(folded,
            (std::vector<std::string>{"l", "arrivee", "d", "oriflan", "dell", "alba", "it", "o'clock"}));
}

TEST(Plan, ComparesWithATimeAndAsksAboutNow) {
  const Time now = *parse_time("2031-05-14T15:00:00Z");
  EXPECT_FALSE(plan_question("Are there more cases in Harrowick than this morning?", now).window.since);
  EXPECT_TRUE(plan_question("How many cases were there in Harrowick this morning?", now).window.since);
}

TEST(Plan, SeesTwoNamesOfWhichEitherWillDo) {
  EXPECT_TRUE(plan("Which country has more medals, Vela or Skarne?").either);
  EXPECT_FALSE(plan("Is the bridge of Skarne open or closed?").either);
}

}  // namespace
}  // namespace fathom::answer
