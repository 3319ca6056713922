// fathom simulate: the whole training run of a scenario, failure by failure.
#include "cluster/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/scenario_options.h"
#include "cluster/format.h"
#include "cluster/json.h"
#include "cluster/search.h"

namespace fathom::cli {
namespace {

using cluster::Interval;

constexpr uint64_t kProgressSteps = 1000;
constexpr size_t kBarWidth = 30;

struct Options {
  ScenarioOptions scenario;
  std::optional<double> days;
  std::optional<uint32_t> runs;
  std::optional<uint64_t> seed;
  std::filesystem::path trace;
  size_t threads = 0;
  bool sweep = false;
};

cluster::ParallelPlan choose_plan(const cluster::Scenario& scenario, const cluster::StepModel& model,
                                  ThreadPool& pool) {
  if (scenario.plan) return *scenario.plan;
  Progress progress("search", kProgressSteps, "");
  cluster::SearchOptions options;
  options.keep = 1;
  options.progress = [&](uint64_t done, uint64_t total) {
    progress.update(total == 0 ? 0 : done * kProgressSteps / total);
  };
  const cluster::SearchResult found = cluster::search(model, scenario.search, pool, options);
  if (found.best.empty())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: no parallel plan fits: {}", scenario.file, found.remedy));
  return found.best.front().plan;
}

std::string band(const Interval& interval, double scale, const char* unit, int digits) {
  return fmt::format("{:.{}f}{} (90 % of runs: {:.{}f} - {:.{}f}; errors {:.{}f}, {:.{}f}, {:.{}f})",
                     interval.middle * scale, digits, unit, interval.low * scale, digits,
                     interval.high * scale, digits, interval.middle_error * scale, digits + 1,
                     interval.low_error * scale, digits + 1, interval.high_error * scale, digits + 1);
}

void print_lost(const cluster::RunResult& result) {
  double most = 0;
  for (const auto& lost : result.lost) most = std::max(most, lost.share);
  std::cout << "\nWall time that is not useful, by cause\n";
  if (result.lost.empty()) std::cout << "  none\n";
  for (const auto& lost : result.lost) {
    const auto width = static_cast<size_t>(lost.share / most * static_cast<double>(kBarWidth) + 0.5);
    std::cout << fmt::format("  {:<22} {:>7.3f} %  {}\n", lost.cause, 100 * lost.share,
                             std::string(width, '#'));
  }
}

void print_failures(const cluster::RunResult& result) {
  if (result.failures.empty()) return;
  double expected = 0, mean = 0;
  std::cout << fmt::format("\n{:<40} {:>10} {:>10}\n", "Failures of a run", "expected", "simulated");
  for (const auto& failure : result.failures) {
    std::cout << fmt::format("  {:<38} {:>10.1f} {:>10.1f}\n", failure.name, failure.expected, failure.mean);
    expected += failure.expected;
    mean += failure.mean;
  }
  std::cout << fmt::format("  {:<38} {:>10.1f} {:>10.1f}\n", "all", expected, mean);
  std::cout << fmt::format("  one every {:.3g} h; {}\n", result.mean_hours_between_interruptions,
                           "a run had " + band(result.interruptions, 1, "", 0));
}

void print_checkpoints(const cluster::RunResult& result) {
  using cluster::format_seconds;
  std::cout << fmt::format(
      "\nCheckpoints: one blocks for {}, is durable {} later, is read back in {}; {:.0f} in a run\n",
      format_seconds(result.checkpoint_s), format_seconds(result.checkpoint_write_s),
      format_seconds(result.checkpoint_read_s), result.checkpoints);
  const auto line = [](const char* name, double seconds, const std::string& note) {
    std::cout << fmt::format("  {:<26} {:>12}  {}\n", name,
                             seconds > 0 ? format_seconds(seconds) : std::string("none"), note);
  };
  line("Young", result.interval_young_s, "");
  line("Daly", result.interval_daly_s, "");
  line("with recovery", result.interval_available_s, "arXiv 2410.18124");
  line("used", result.interval_used_s, fmt::format("{} steps", result.steps_between_checkpoints));
  if (result.interval_sweep.empty()) return;
  line("best by simulation", result.interval_simulated_s, "");
  for (const auto& [seconds, goodput] : result.interval_sweep)
    std::cout << fmt::format("    {:>24} {:>10.3f} % goodput\n", format_seconds(seconds), 100 * goodput);
}

void print_table(const cluster::Scenario& scenario, const cluster::ParallelPlan& plan,
                 const cluster::RunSpec& spec, const cluster::RunResult& result) {
  std::cout << fmt::format("{}\n{} chips, {}\n", scenario.title.empty() ? scenario.file : scenario.title,
                           cluster::format_number(static_cast<double>(plan.chips())), describe(plan));
  std::cout << fmt::format(
      "{} run{} of {}; a step {:.4f} s simulated, {:.4f} s in closed form ({:+.2f} %); {} events\n\n",
      spec.runs, spec.runs == 1 ? "" : "s",
      spec.days > 0 ? fmt::format("{:.4g} days", spec.days) : std::string("the whole job"), result.step_s,
      result.analytic_step_s, 100 * (result.step_s / result.analytic_step_s - 1),
      human_count(static_cast<double>(result.events)));
  std::cout << fmt::format("  {:<16} {}\n", "goodput", band(result.goodput, 100, " %", 2));
  std::cout << fmt::format("  {:<16} {}\n", "tokens", band(result.tokens, 1e-12, " T", 3));
  if (result.wall_days.middle > 0)
    std::cout << fmt::format("  {:<16} {}\n", "days", band(result.wall_days, 1, "", 2));
  std::cout << fmt::format("  {:<16} {}\n", "longest outage",
                           band(result.longest_outage_s, 1.0 / 60, " min", 1));
  print_lost(result);
  print_failures(result);
  print_checkpoints(result);
}

int simulate(const Options& options) {
  const auto catalogue = read_catalogue(options.scenario.catalogues);
  const cluster::Scenario scenario = read_scenario(options.scenario, catalogue);
  cluster::RunSpec spec = scenario.run.value_or(cluster::RunSpec{});
  spec.days = options.days.value_or(spec.days);
  spec.runs = options.runs.value_or(spec.runs);
  spec.seed = options.seed.value_or(spec.seed);
  ThreadPool pool(options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency()));
  const cluster::StepModel model(scenario.model, scenario.machine, scenario.job);
  const cluster::ParallelPlan plan = choose_plan(scenario, model, pool);

  std::ofstream trace;
  cluster::SimulateOptions run;
  run.sweep_interval = options.sweep;
  if (!options.trace.empty()) {
    trace.open(options.trace, std::ios::binary);
    run.trace = &trace;
  }
  cluster::RunResult result;
  {
    Progress progress("simulate", kProgressSteps, "");
    run.progress = [&](double done) {
      progress.update(static_cast<uint64_t>(done * static_cast<double>(kProgressSteps)));
    };
    result = cluster::simulate(model, plan, spec, catalogue, pool, run);
  }
  if (!options.trace.empty()) {
    trace.close();
    if (!trace)
      throw Error(ErrorCode::kIo,
                  fmt::format("the trace could not be written to {}; choose another place with --trace",
                              options.trace.string()));
    std::cerr << fmt::format("The trace is in {}: open it at https://ui.perfetto.dev\n",
                             options.trace.string());
  }
  if (options.scenario.json) {
    nlohmann::json out = result;
    out["plan"] = plan;
    out["scenario"] = scenario.file;
    out["chips"] = plan.chips();
    std::cout << out.dump(2) << "\n";
  } else {
    print_table(scenario, plan, spec, result);
  }
  return 0;
}

}  // namespace

void add_simulate(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("simulate", "Simulate a training run: failures, stragglers, checkpoints");
  command->footer(
      "Examples:\n"
      "  fathom simulate autumn-2025\n"
      "  fathom simulate llama3-405b --days 54 --runs 100 --sweep\n"
      "  fathom simulate autumn-2025 --trace run.json          open it at ui.perfetto.dev\n"
      "  fathom simulate my-lab --set run.spare_nodes=2 --json\n\n"
      "Without a [plan] in the scenario the best one is searched for first. A band is where 90 % of the runs "
      "lie;\n"
      "'errors' are the standard errors of the median and of the band's ends, from so many runs.");
  add_scenario_options(*command, options->scenario);
  command->add_option("--days", options->days, "Days to simulate; 0: until job.tokens are trained")
      ->check(CLI::Range(0.0, 36500.0));
  command->add_option("--runs", options->runs, "Runs, for the band")->check(CLI::Range(1, 100000));
  command->add_option("--seed", options->seed, "Of the random numbers");
  command->add_option("--trace", options->trace, "Write the first run as Chrome trace events")
      ->type_name("FILE");
  command->add_option("--threads", options->threads, "Threads; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--sweep", options->sweep,
                    "Look for the best interval between checkpoints by simulation");
  command->callback([options, &run] { run = [options] { return simulate(*options); }; });
}

}  // namespace fathom::cli
