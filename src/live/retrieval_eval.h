// How good a ranking is, by people's judgements: TREC runs against TREC qrels.
//
// Formats (trec.nist.gov/trec_eval), one line an entry, fields apart by white space, zstd files too:
//   run    topic Q0 document rank score tag     the order is that of the scores, ties by document, both falling; `rank` is not read
//   qrels  topic 0 document grade               relevant from grade 1 on; one below 0 counts as 0
//
// Measures, each the mean over the topics that have a relevant document; a topic that the run lacks counts as 0:
//   average precision, precision at k, reciprocal rank (of the first relevant), recall of all that is returned (Manning, Raghavan and
//   Schuetze, Introduction to Information Retrieval, 2008, chapter 8); nDCG with gain = grade and discount log2(1 + rank)
//   (Jaervelin and Kekaelaeinen, 2002), at k and over all.
//
// Pure functions but for the readers. Errors: kNotFound, kIo, kCorrupt (names file and line).
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fathom::live {

struct ScoredDocument {
  std::string id;
  double score = 0;
};

using RetrievalRun = std::map<std::string, std::vector<ScoredDocument>>;              // by topic, best first
using RelevanceGrades = std::map<std::string, std::unordered_map<std::string, int>>;  // by topic and document

RetrievalRun read_run(const std::filesystem::path& path);
RelevanceGrades read_qrels(const std::filesystem::path& path);

/// The same of one text, for tests and fuzzing; `name` stands for the file in errors.
RetrievalRun parse_run(std::string_view text, std::string_view name);
RelevanceGrades parse_qrels(std::string_view text, std::string_view name);

/// Puts one topic's documents in the order that counts.
void sort_by_score(std::vector<ScoredDocument>& documents);

struct RetrievalScores {
  size_t topics = 0;
  size_t relevant = 0, found = 0;  // relevant documents: judged so; and returned
  double map = 0;                  // mean average precision
  double p5 = 0, p10 = 0, p30 = 0;
  double ndcg = 0, ndcg10 = 0, ndcg30 = 0;
  double reciprocal_rank = 0;
  double recall = 0;
};

RetrievalScores judge_run(const RelevanceGrades& grades, const RetrievalRun& run);

/// Average precision of each topic that has a relevant document, for a comparison topic by topic.
std::map<std::string, double> average_precisions(const RelevanceGrades& grades, const RetrievalRun& run);

}  // namespace fathom::live
