// fathom plan: a machine, what it trains and serves, its power, money and date, from one scenario file.
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/plan_commands.h"
#include "cli/plan_show.h"
#include "cli/scenario_options.h"
#include "cluster/report.h"

namespace fathom::cli {
namespace {

struct Options {
  ScenarioOptions scenario;
  std::filesystem::path html;
  bool quick = false;
};

struct CompareOptions {
  ScenarioOptions a;
  std::string b;
};

struct Planned {
  cluster::Scenario scenario;
  cluster::Report report;
};

/// A bar for each stage of the work, the last one left standing.
class StageProgress {
 public:
  void operator()(std::string_view stage, double done) {
    if (!bar_ || stage != stage_) {
      bar_.reset();
      stage_ = stage;
      bar_.emplace(stage, kSteps, "");
    }
    bar_->update(static_cast<uint64_t>(done * kSteps));
  }

 private:
  static constexpr uint64_t kSteps = 1000;
  std::string stage_;
  std::optional<Progress> bar_;
};

Planned make_plan(const ScenarioOptions& options, const cluster::Catalogue& catalogue, bool quick) {
  Planned out{.scenario = read_scenario(options, catalogue), .report = {}};
  ThreadPool pool(std::max(1u, std::thread::hardware_concurrency()));
  StageProgress progress;
  cluster::ReportOptions report_options;
  report_options.quick = quick;
  report_options.progress = [&progress](std::string_view stage, double done) { progress(stage, done); };
  out.report = cluster::make_report(out.scenario, catalogue, pool, report_options);
  return out;
}

int plan(const Options& options) {
  const auto catalogue = read_catalogue(options.scenario.catalogues);
  const auto planned = make_plan(options.scenario, catalogue, options.quick);
  if (!options.html.empty()) {
    write_file_atomic(options.html, cluster::to_html(planned.report, planned.scenario));
    std::cerr << "The report is in " << options.html.string() << "\n";
  }
  if (options.scenario.json)
    std::cout << cluster::to_json(planned.report, planned.scenario).dump(2) << "\n";
  else if (options.html.empty())
    show_report(planned.report, planned.scenario);
  return 0;
}

int compare(const CompareOptions& options) {
  const auto catalogue = read_catalogue(options.a.catalogues);
  ScenarioOptions second = options.a;
  second.scenario = options.b;
  const auto a = make_plan(options.a, catalogue, false);
  const auto b = make_plan(second, catalogue, false);
  if (options.a.json)
    std::cout << nlohmann::json{{"a", cluster::to_json(a.report, a.scenario)},
                                {"b", cluster::to_json(b.report, b.scenario)}}
                     .dump(2)
              << "\n";
  else
    show_comparison(a.report, a.scenario, b.report, b.scenario);
  return 0;
}

void add_compare(CLI::App& plan_command, Run& run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = plan_command.add_subcommand("compare", "Two scenarios side by side");
  command->footer("Example:\n  fathom plan compare autumn-2025 oracle-rent\n");
  add_scenario_options(*command, options->a);
  command->add_option("other", options->b, "The second scenario")->required()->type_name("SCENARIO");
  command->callback([options, &run] { run = [options] { return compare(*options); }; });
}

}  // namespace

void add_plan(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("plan", "Design a cluster: plan, time, power, money and date");
  command->footer(
      "Examples:\n"
      "  fathom plan autumn-2025                       all of it, in the terminal\n"
      "  fathom plan autumn-2025 --html report.html    with drawings\n"
      "  fathom plan my-lab --set machine.chips=128 --json\n"
      "  fathom plan search llama3-405b                the best parallel layouts\n"
      "  fathom plan compare autumn-2025 oracle-rent\n"
      "  fathom plan validate                          the planner against published runs\n\n"
      "Scenarios that come along lie in data/scenarios; docs/planning.md describes the format.");
  command->require_subcommand(0, 1);
  add_scenario_options(*command, options->scenario);
  command->get_option("scenario")->required(false);
  command->add_option("--html", options->html, "Write the report, with drawings, as one page")
      ->type_name("FILE");
  command->add_flag("--quick", options->quick, "Fewer plans, runs and samples");
  add_compare(*command, run);
  add_plan_search(*command, run);
  add_plan_validate(*command, run);
  add_plan_track(*command, run);
  command->callback([options, command, &run] {
    if (!command->get_subcommands().empty()) return;
    if (options->scenario.scenario.empty())
      throw CLI::RequiredError("a SCENARIO, or one of: compare, search, track, validate");
    run = [options] { return plan(*options); };
  });
}

}  // namespace fathom::cli
