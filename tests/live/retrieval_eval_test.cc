// TREC's measures on rankings small enough to work out by hand, and what the readers refuse.
#include "live/retrieval_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"

namespace fathom::live {
namespace {

using ::testing::HasSubstr;

template <class Work>
std::string refusal(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    return error.what();
  }
  return "";
}

TEST(RetrievalEval, MeasuresByHand) {
  const auto grades = parse_qrels("1 0 a 1\n1 0 b 2\n1 0 c 0\n1 0 d 1\n", "qrels");
  // By score: c b x a; d is not found.
  const auto run = parse_run("1 Q0 b 9 3.5 t\n1 Q0 c 1 4 t\n1 Q0 a 2 1e-1 t\n1 Q0 x 3 2 t\n", "run");
  const RetrievalScores s = judge_run(grades, run);
  EXPECT_EQ(s.topics, 1u);
  EXPECT_EQ(s.relevant, 3u);
  EXPECT_EQ(s.found, 2u);
  EXPECT_DOUBLE_EQ(s.map, (1.0 / 2 + 2.0 / 4) / 3);
  EXPECT_DOUBLE_EQ(s.p5, 2.0 / 5);
  EXPECT_DOUBLE_EQ(s.p30, 2.0 / 30);
  EXPECT_DOUBLE_EQ(s.reciprocal_rank, 0.5);
  EXPECT_DOUBLE_EQ(s.recall, 2.0 / 3);
  const double gain = 2 / std::log2(3) + 1 / std::log2(5), ideal = 2 + 1 / std::log2(3) + 1 / std::log2(4);
  EXPECT_DOUBLE_EQ(s.ndcg10, gain / ideal);
  EXPECT_DOUBLE_EQ(s.ndcg, gain / ideal);
}

TEST(RetrievalEval, TopicsWithoutARelevantDocumentDoNotCount) {
  const auto grades = parse_qrels("1 0 a 1\n2 0 a 0\n3 0 a 1\n4 0 a -2\n", "qrels");
  const RetrievalScores s = judge_run(grades, parse_run("1 Q0 a 1 1 t\n2 Q0 a 1 1 t\n9 Q0 a 1 1 t\n", "run"));
  EXPECT_EQ(s.topics, 2u);  // 3 is missing in the run: a zero
  EXPECT_DOUBLE_EQ(s.map, 0.5);
  EXPECT_EQ(judge_run({}, {}).topics, 0u);
  const auto precisions = average_precisions(grades, {});
  EXPECT_EQ(precisions.size(), 2u);
  EXPECT_DOUBLE_EQ(precisions.at("1"), 0);
}

TEST(RetrievalEval, TiesFallByName) {
  const auto run = parse_run("1 Q0 a 1 5 t\n1 Q0 c 2 5 t\n1 Q0 b 3 5 t\n", "run");
  std::string order;
  for (const auto& document : run.at("1")) order += document.id;
  EXPECT_EQ(order, "cba");
}

TEST(RetrievalEval, RefusalsNameFileAndLine) {
  EXPECT_THAT(refusal([] { parse_run("1 Q0 a 1 2 t\n\n1 Q0 a\n", "my.run"); }), HasSubstr("my.run, line 3"));
  EXPECT_THAT(refusal([] { parse_run("1 Q0 a 1 high t\n", "my.run"); }), HasSubstr("'high'"));
  EXPECT_THAT(refusal([] { parse_run("1 Q0 a 1 nan t\n", "my.run"); }), HasSubstr("'nan'"));
  EXPECT_THAT(refusal([] { parse_run("1 Q0 a 1 2 t\n1 Q0 a 2 1 t\n", "my.run"); }),
              HasSubstr("ranks document a twice"));
  EXPECT_THAT(refusal([] { parse_qrels("1 0 a 1 more\n", "my.qrels"); }), HasSubstr("my.qrels, line 1"));
  EXPECT_THAT(refusal([] { parse_qrels("1 0 a 1.5\n", "my.qrels"); }), HasSubstr("'1.5'"));
}

TEST(RetrievalEval, ReadsFiles) {
  TempDir folder("fathom-eval-test");
  write_file_atomic(folder.path() / "a.run", "1\tQ0\ta\t1\t2\tt\r\n");
  EXPECT_EQ(read_run(folder.path() / "a.run").at("1").size(), 1u);
  write_file_atomic(folder.path() / "a.qrels", std::string(5000, 'x'));
  EXPECT_THAT(refusal([&] { read_qrels(folder.path() / "a.qrels"); }), HasSubstr("too long"));
  EXPECT_THROW(read_qrels(folder.path() / "none"), Error);
}

}  // namespace
}  // namespace fathom::live
