// Everything that a scenario leads to, in one value: computed here, printed by the command, drawn by the page.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "base/thread_pool.h"
#include "cluster/scenario.h"

namespace fathom::cluster {

struct Report {
  std::string title;
  ParallelPlan plan;
  StepCost step;
  double training_days = 0;  // of job.tokens, with the goodput of the run; 0: no tokens given
  std::optional<SearchResult> search;
  std::optional<RunResult> run;
  std::optional<ServingResult> serving;
  std::optional<ScheduleResult> schedule;
  std::optional<PowerResult> power;
  std::optional<MoneyResult> money;
};

struct ReportOptions {
  std::function<void(std::string_view stage, double done)> progress;
  std::stop_token stop;
  bool quick = false;  // fewer samples and runs: for the page's sliders
};

/// Errors: kInvalidArgument where no plan fits: the sentence says what would make one fit.
Report make_report(const Scenario& scenario, const Catalogue& catalogue, ThreadPool& pool,
                   const ReportOptions& options);

nlohmann::json to_json(const Report& report, const Scenario& scenario);
/// One self-contained page: no scripts or pictures from elsewhere.
std::string to_html(const Report& report, const Scenario& scenario);

}  // namespace fathom::cluster
