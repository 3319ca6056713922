// Covers live/retrieval_eval.h and parse_topics of live/microblog_eval.h: any bytes as a run, as qrels and as topics.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "live/microblog_eval.h"
#include "live/retrieval_eval.h"

namespace {

template <class Work>
void try_parse(Work&& work) {
  try {
    work();
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kCorrupt) std::abort();
  }
}

void check_share(double share) {
  if (!(share >= 0 && share <= 1 + 1e-9)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::live;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  RetrievalRun run;
  RelevanceGrades grades;
  try_parse([&] { run = parse_run(text, "run"); });
  try_parse([&] { grades = parse_qrels(text, "qrels"); });
  // Half as judgements, half as a ranking.
  const size_t half = text.find("\n\n");
  if (half != text.npos) {
    try_parse([&] { grades = parse_qrels(text.substr(0, half), "qrels"); });
    try_parse([&] { run = parse_run(text.substr(half), "run"); });
  }
  const RetrievalScores scores = judge_run(grades, run);
  for (const double share :
       {scores.map, scores.p30, scores.ndcg, scores.ndcg10, scores.reciprocal_rank, scores.recall})
    check_share(share);
  try_parse([&] { parse_topics(text, "topics"); });
  restore_text(text.substr(0, 4096));
  return 0;
}
