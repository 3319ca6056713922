// The replay of the Microblog track on a track of two topics: nothing later is known, reposts and what is not found come last.
// With ../shared/data/microblog beside the checkout, the published figures too.
#include "live/microblog_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"

namespace fathom::live {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::vector<std::string> ids(const std::vector<ScoredDocument>& documents) {
  std::vector<std::string> out;
  for (const auto& document : documents) out.push_back(document.id);
  return out;
}

TEST(Microblog, TopicsAreRead) {
  constexpr std::string_view kTopics =
      "<top>\n<num> Number: MB001 </num>\n<title> a </title>\n<querytweettime> 42 </querytweettime>\n</top>\n"
      "<top>\n<num> Number: MB020 </num>\n<querytweettime>7</querytweettime>\n</top>\n";
  EXPECT_THAT(parse_topics(kTopics, "topics"), ElementsAre(Pair("1", 42), Pair("20", 7)));
  EXPECT_THROW(parse_topics("<querytweettime> 7 </querytweettime>", "topics"), Error);
  EXPECT_THROW(parse_topics("<num> 1 </num>\n<querytweettime> soon </querytweettime>", "topics"), Error);
}

TEST(Microblog, SignsAreRestored) { EXPECT_EQ(restore_text("-LRB- `` it 's '' -RRB-"), "( \" it's \" )"); }

TEST(Microblog, RanksWhatWasKnownThen) {
  const PoolTopic first{
      "1",
      "storm surge",
      300,
      {{"100", "calm sea"}, {"200", "rt storm surge"}, {"150", "storm surge now"}, {"160", "storm"}}};
  const PoolTopic second{"2", "storm", 250, {{"160", "storm"}, {"240", "a storm, a storm"}}};
  const RetrievalRun run = rerank({first, second}, false);
  EXPECT_THAT(ids(run.at("1")), ElementsAre("150", "160", "100", "200"));
  EXPECT_THAT(ids(run.at("2")), ElementsAre("240", "160"));
  const auto& scores = run.at("1");
  for (size_t i = 1; i < scores.size(); ++i) EXPECT_GT(scores[i - 1].score, scores[i].score);
}

TEST(Microblog, PublishedFigures) {
  const std::filesystem::path folder = std::filesystem::path(FATHOM_SOURCE_DIR) / "../shared/data/microblog";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no ../shared/data/microblog";
  struct Published {
    std::string year;
    double ql_map, ql_p30, neural_map, neural_p30;
  };
  for (const auto& [year, ql_map, ql_p30, neural_map, neural_p30] :
       {Published{"2011", 0.3576, 0.4000, 0.3832, 0.4075},
        Published{"2012", 0.2091, 0.3311, 0.2337, 0.3689}}) {
    const auto grades = read_qrels(folder / (year + ".qrels.zst"));
    const RetrievalScores ql = judge_run(grades, read_run(folder / (year + ".id.zst")));
    EXPECT_NEAR(ql.map, ql_map, 5e-5);
    EXPECT_NEAR(ql.p30, ql_p30, 5e-5);
    const RetrievalScores neural = judge_run(grades, read_run(folder / (year + ".mphcnn.zst")));
    EXPECT_NEAR(neural.map, neural_map, 5e-5);
    EXPECT_NEAR(neural.p30, neural_p30, 5e-5);
    // And ours, with room for a word more or less in the analysis.
    const auto topics = read_pool(folder, year);
    const RetrievalScores plain = judge_run(grades, rerank(topics, false));
    EXPECT_GT(plain.map, ql_map);
    EXPECT_GT(plain.p30, ql_p30 - 0.005);
    const RetrievalScores expanded = judge_run(grades, rerank(topics, true));
    EXPECT_GT(expanded.map, neural_map);
    EXPECT_GT(expanded.p30, neural_p30);
  }
}

}  // namespace
}  // namespace fathom::live
