// fathom eval retrieval: rankings judged by TREC's measures, and this program's own ranking on the TREC Microblog track.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/eval_commands.h"
#include "live/microblog_eval.h"
#include "live/retrieval_eval.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Options {
  std::vector<fs::path> files;  // qrels, runs
  fs::path microblog;
  std::vector<std::string> years = {"2011", "2012"};
  bool json = false;
};

struct Row {
  std::string name;
  live::RetrievalScores scores;
};

json row_json(const Row& row) {
  const live::RetrievalScores& s = row.scores;
  return {{"run", row.name},    {"topics", s.topics}, {"relevant", s.relevant},
          {"found", s.found},   {"map", s.map},       {"p5", s.p5},
          {"p10", s.p10},       {"p30", s.p30},       {"ndcg10", s.ndcg10},
          {"ndcg30", s.ndcg30}, {"ndcg", s.ndcg},     {"reciprocal_rank", s.reciprocal_rank},
          {"recall", s.recall}};
}

void print(const std::vector<Row>& rows, bool as_json) {
  if (as_json) {
    json out = json::array();
    for (const Row& row : rows) out.push_back(row_json(row));
    std::cout << out.dump(2) << "\n";
    return;
  }
  std::cout << fmt::format("{:<28} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}\n", "run", "topics", "MAP",
                           "P@5", "P@10", "P@30", "nDCG@10", "recip.", "recall");
  for (const Row& row : rows) {
    const live::RetrievalScores& s = row.scores;
    std::cout << fmt::format("{:<28} {:>6} {:>7.4f} {:>7.4f} {:>7.4f} {:>7.4f} {:>7.4f} {:>7.4f} {:>7.4f}\n",
                             row.name, s.topics, s.map, s.p5, s.p10, s.p30, s.ndcg10, s.reciprocal_rank,
                             s.recall);
  }
}

int judge_files(const Options& options) {
  if (options.files.size() < 2)
    throw Error(ErrorCode::kInvalidArgument, "give the qrels and at least one run, or --microblog DIR");
  const live::RelevanceGrades grades = live::read_qrels(options.files.front());
  std::vector<Row> rows;
  for (auto file = options.files.begin() + 1; file != options.files.end(); ++file)
    rows.push_back({file->filename().string(), live::judge_run(grades, live::read_run(*file))});
  print(rows, options.json);
  return 0;
}

int judge_microblog(const Options& options) {
  std::vector<live::PoolTopic> topics;
  for (const auto& year : options.years)
    std::ranges::move(live::read_pool(options.microblog, year), std::back_inserter(topics));
  const live::RetrievalRun plain = live::rerank(topics, false), expanded = live::rerank(topics, true);
  std::vector<Row> rows;
  for (const auto& year : options.years) {
    const auto file = [&](std::string_view what) {
      return options.microblog / fmt::format("{}.{}.zst", year, what);
    };
    const live::RelevanceGrades grades = live::read_qrels(file("qrels"));
    rows.push_back({year + " query likelihood", live::judge_run(grades, live::read_run(file("id")))});
    if (fs::exists(file("mphcnn")))
      rows.push_back({year + " MP-HCNN", live::judge_run(grades, live::read_run(file("mphcnn")))});
    rows.push_back({year + " fathom", live::judge_run(grades, plain)});
    rows.push_back({year + " fathom, expanded", live::judge_run(grades, expanded)});
  }
  print(rows, options.json);
  return 0;
}

}  // namespace

void add_eval_retrieval(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("retrieval", "Judge rankings by TREC's measures");
  command->footer(
      "Runs have lines 'topic Q0 document rank score tag', qrels 'topic 0 document grade'; zstd files are "
      "read too. All figures\n"
      "are means over the topics that have a relevant document (grade 1 on). Examples:\n"
      "  fathom eval retrieval qrels.txt first.run second.run\n"
      "  fathom eval retrieval --microblog ../shared/data/microblog");
  command->add_option("files", options->files, "The qrels and the runs")->type_name("QRELS RUN...");
  command
      ->add_option("--microblog", options->microblog,
                   "Re-rank the pools of the TREC Microblog track in this folder, each topic at its time")
      ->type_name("DIR")
      ->excludes("files");
  command->add_option("--years", options->years, "Years of it")->delimiter(',')->capture_default_str();
  command->add_flag("--json", options->json, "The figures as JSON");
  command->callback([options, &run] {
    run = [options] {
      return options->microblog.empty() ? judge_files(*options) : judge_microblog(*options);
    };
  });
}

}  // namespace fathom::cli
