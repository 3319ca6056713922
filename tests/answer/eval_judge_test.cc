#include "answer/eval_judge.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "answer/eval_run.h"
#include "answer/fakes.h"
#include "answer/generate.h"
#include "base/error.h"

namespace fathom::answer {
namespace {

using testing::make_post;

EvalQuestion question(std::vector<std::string> answers, std::vector<std::string> gold = {}) {
  EvalQuestion out;
  out.question = "How many flights were cancelled?";
  out.answers = std::move(answers);
  out.gold_posts = std::move(gold);
  return out;
}

const live::Post kRight = make_post("1", "osf", "Osterfell Bay", "2031-05-14T10:00:00Z",
                                    "104 flights at Osterfell Bay are cancelled.");
const live::Post kOther =
    make_post("2", "cat", "A cat", "2031-05-14T10:01:00Z", "The cat slept in seat 12 all day.");

TEST(Judge, CountsAnswersAndCitations) {
  JudgedAnswer answer;
  answer.text = "104 flights at Osterfell Bay are cancelled [1][2].";
  answer.marks = {{"104 flights at Osterfell Bay are cancelled", kRight},
                  {"104 flights at Osterfell Bay are cancelled", kOther}};
  const Verdict verdict = judge(question({"104"}), answer);
  EXPECT_TRUE(verdict.right);
  EXPECT_EQ(verdict.citations, 2U);
  EXPECT_EQ(verdict.right_citations, 1U);
  EXPECT_EQ(verdict.wrong_citations, 1U);
  EXPECT_FALSE(judge(question({"88"}), answer).right);
  EXPECT_EQ(judge(question({"88"}, {"2"}), answer).right_citations, 1U) << "a gold post counts by its id";
}

TEST(Judge, ReadsAQuotationWithoutItsAuthor) {
  JudgedAnswer answer;
  answer.text =
      "As of 10:00 UTC: \"104 flights at Osterfell Bay are cancelled.\" - Osterfell Bay (@osf) [1].";
  answer.marks = {{answer.text, kRight}};
  EXPECT_EQ(judge(question({"104"}), answer).wrong_citations, 0U);
}

TEST(Judge, TellsRightFromWrongRefusals) {
  JudgedAnswer refusal;
  refusal.refused = true;
  EXPECT_TRUE(judge(question({}), refusal).right);
  EXPECT_FALSE(judge(question({"104"}), refusal).right);
  Score score;
  score.add(judge(question({}), refusal));
  score.add(judge(question({"104"}), refusal));
  EXPECT_DOUBLE_EQ(score.right_refusal_rate(), 1);
  EXPECT_DOUBLE_EQ(score.wrong_refusal_rate(), 1);
  EXPECT_DOUBLE_EQ(score.answer_f1(), 0);
}

TEST(Judge, AddsUpToRates) {
  JudgedAnswer right, wrong;
  right.text = "104 flights are cancelled [1].";
  right.marks = {{"104 flights are cancelled", kRight}};
  wrong.text = "The cat slept [1].";
  wrong.marks = {{"The cat slept", kOther}};
  Score score;
  score.add(judge(question({"104"}), right));
  score.add(judge(question({"104"}), wrong));
  score.add(judge(question({}), wrong));  // it should have refused
  EXPECT_DOUBLE_EQ(score.answer_precision(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(score.answer_recall(), 1.0 / 2);
  EXPECT_DOUBLE_EQ(score.answer_f1(), 2.0 / 5);
  EXPECT_DOUBLE_EQ(score.citation_precision(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(score.citation_recall(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(score.well_cited_rate(), 1.0 / 2);
  EXPECT_EQ(to_json(score)["questions"], 3);
  EXPECT_DOUBLE_EQ(Score().answer_f1(), 0) << "nothing asked, nothing divided by";
}

TEST(Judge, EarlierValuesAreEntailedByTheirOwnPosts) {
  EvalQuestion asked = question({"104"});
  asked.provenance = {{{"61"}, {"7"}}};
  const live::Post earlier =
      make_post("7", "osf", "Osterfell Bay", "2031-05-14T09:00:00Z", "61 flights are off.");
  JudgedAnswer answer;
  answer.text = "61 flights are off [1]. The cat slept in seat 12 [2].";
  answer.marks = {
      {"61 flights are off", earlier}, {"The cat slept in seat 12", kOther}, {"88 are off", earlier}};
  const Verdict verdict = judge(asked, answer);
  EXPECT_EQ(verdict.right_citations, 1U) << "only what states the value that its post is known for";
  EXPECT_EQ(verdict.statements, 3U);
  EXPECT_EQ(verdict.right_statements, 1U);
  EXPECT_FALSE(verdict.well_cited) << "the value of now is not in them";
}

TEST(Judge, AQuotationMustStandInItsPost) {
  JudgedAnswer answer;
  answer.text = "x";
  answer.marks = {{"\"104 flights at Osterfell Bay are cancelled.\" - Osterfell Bay", kRight},
                  {"\"104 trains at Osterfell Bay are cancelled.\" - Osterfell Bay", kRight}};
  EXPECT_EQ(judge(question({"104"}), answer).wrong_citations, 1U);
}

TEST(Judge, CountsWhatIsStatedWithoutACitation) {
  const std::string text =
      "104 flights are off [1]. Then 88 were. It goes on. Velmarsund said so. He said Velmarsund.";
  EXPECT_EQ(count_uncited(text, {{0, 23}}), 2U) << "a number, and a name within a sentence";
  EXPECT_EQ(count_uncited(text, {{0, text.size()}}), 0U);
  JudgedAnswer answer;
  answer.text = text;
  answer.marks = {{"104 flights are off", kRight}};
  answer.uncited = 2;
  Score score;
  score.add(judge(question({"104"}), answer));
  EXPECT_DOUBLE_EQ(score.uncited_rate(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score.citation_recall(), 1.0 / 3);
}

TEST(TokenF1, IsSquads) {
  EXPECT_DOUBLE_EQ(token_f1("The Old Observatory", "Old Observatory"), 1);
  EXPECT_DOUBLE_EQ(token_f1("at the Old Observatory, Tarnholt", "Old Observatory"), 2.0 * 2 / 6);
  EXPECT_DOUBLE_EQ(token_f1("", "x"), 0);
}

TEST(ReadMarks, GivesEachMarkTheWordsBeforeIt) {
  const std::vector<live::Post> posts = {kRight, kOther};
  const JudgedAnswer answer = read_marks("It is so [1][2]. It sleeps [2]. See [9] or [x].", posts);
  ASSERT_EQ(answer.marks.size(), 3U);
  EXPECT_EQ(answer.marks[0].claim, "It is so");
  EXPECT_EQ(answer.marks[1].claim, "It is so");
  EXPECT_EQ(answer.marks[2].claim, "It sleeps");
  EXPECT_EQ(answer.marks[2].post.id, "2");
  EXPECT_FALSE(answer.refused);
  EXPECT_TRUE(read_marks(std::string(kNoAnswer), posts).refused);
  EXPECT_TRUE(read_marks("[18446744073709551617] [", posts).marks.empty());
}

TEST(EvalWriter, IsNamed) {
  EXPECT_EQ(parse_eval_writer("model"), EvalWriter::kModel);
  EXPECT_THROW(parse_eval_writer("poet"), Error);
}

}  // namespace
}  // namespace fathom::answer
