// fathom plan search: every parallel layout of a scenario's model on its machine, the best ones, and what they trade.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "cli/plan_commands.h"
#include "cli/scenario_options.h"
#include "cli/signal_stop.h"
#include "cluster/format.h"
#include "cluster/json.h"
#include "cluster/search.h"

namespace fathom::cli {
namespace {

using namespace cluster;

struct Options {
  ScenarioOptions scenario;
  size_t top = 10;
  uint64_t max_chips = 0, min_chips = 0;
  bool fewer_chips = false;
};

std::string whole(uint64_t value) { return format_number(static_cast<double>(value)); }

SearchSpace space_of(const Options& options, const Scenario& scenario) {
  SearchSpace space = scenario.search;
  if (options.max_chips != 0) space.max_chips = options.max_chips;
  if (options.min_chips != 0) space.min_chips = options.min_chips;
  if (options.fewer_chips || options.min_chips != 0) space.fewer_chips = true;
  if (space.max_chips != 0 && space.min_chips > space.max_chips)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--min-chips {} is more than --max-chips {}; lower it", space.min_chips,
                            space.max_chips));
  return space;
}

SearchResult search_all(const StepModel& model, const SearchSpace& space, size_t top,
                        const std::stop_token& stop) {
  ThreadPool pool(std::max(1U, std::thread::hardware_concurrency()));
  std::optional<Progress> bar;
  SearchOptions options;
  options.keep = top;
  options.stop = stop;
  options.progress = [&bar](uint64_t done, uint64_t total) {
    if (!bar) bar.emplace("searching plans", total, "plans");
    bar->update(done);
  };
  const auto start = std::chrono::steady_clock::now();
  SearchResult result = search(model, space, pool, options);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

double plans_per_s(const SearchResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.evaluated) / result.seconds : 0;
}

void show_head(const Scenario& scenario, const SearchResult& result) {
  const uint64_t impossible = result.considered - result.evaluated;
  std::cout << fmt::format("{}\n{} on {} x {}; batches of {} sequences of {} tokens\n\n", scenario.title,
                           scenario.model.name.empty() ? scenario.model.architecture : scenario.model.name,
                           whole(scenario.machine.chips), scenario.machine.chip.name,
                           whole(scenario.job.global_batch), whole(scenario.job.sequence));
  std::cout << fmt::format(
      "{}{} plans: {} fit, {} are too large for memory, {} cannot be (degrees that divide nothing)\n",
      result.stopped ? "Stopped after " : "", whole(result.considered), whole(result.feasible),
      whole(result.out_of_memory), whole(impossible));
  std::cout << fmt::format("{} evaluated in {}: {}\n", whole(result.evaluated),
                           format_seconds(result.seconds), format_rate(plans_per_s(result), "plans"));
}

void show_plans(const std::vector<const RankedPlan*>& plans) {
  std::cout << fmt::format("  {:>10} {:>7} {:>17} {:>10} {:>9}  {}\n", "step", "MFU", "speed", "memory",
                           "chips", "layout");
  for (const RankedPlan* ranked : plans)
    std::cout << fmt::format(
        "  {:>10} {:>7} {:>17} {:>10} {:>9}  {}\n", format_seconds(ranked->cost.time.step_time),
        format_share(ranked->cost.mfu), format_rate(ranked->cost.tokens_per_s, "tokens"),
        format_bytes(ranked->cost.memory.total), whole(ranked->plan.chips()), describe(ranked->plan));
}

/// At most `most` of them, evenly along the list, both ends included.
std::vector<const RankedPlan*> some_of(const std::vector<RankedPlan>& plans, size_t most) {
  std::vector<const RankedPlan*> out;
  const size_t shown = std::min(most, plans.size());
  for (size_t i = 0; i < shown; ++i)
    out.push_back(&plans[shown == 1 ? 0 : i * (plans.size() - 1) / (shown - 1)]);
  return out;
}

bool colours() { return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

/// From red (slow) over yellow to green (fast) in the terminal's palette of 256.
std::string coloured(const std::string& text, double share) {
  constexpr int kShades[] = {52, 88, 130, 136, 142, 106, 70, 34};
  const auto shade = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * (std::size(kShades) - 1) + 0.5);
  return fmt::format("\x1b[48;5;{}m\x1b[97m{}\x1b[0m", kShades[shade], text);
}

void show_heat(const SearchResult& result) {
  std::vector<uint32_t> tensors, pipelines;
  double fastest = 0;
  for (const auto& cell : result.heat) {
    tensors.push_back(cell.tensor);
    pipelines.push_back(cell.pipeline);
    if (cell.step_time > 0 && (fastest == 0 || cell.step_time < fastest)) fastest = cell.step_time;
  }
  for (auto* list : {&tensors, &pipelines}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  std::cout
      << "\nBest step for each tensor (across) and pipeline degree (down), in seconds; '-': none fits\n";
  std::cout << fmt::format("  {:>6}", "");
  for (const uint32_t tensor : tensors) std::cout << fmt::format(" {:>8}", fmt::format("tp {}", tensor));
  std::cout << "\n";
  const bool in_colour = colours();
  for (const uint32_t pipeline : pipelines) {
    std::cout << fmt::format("  {:>6}", fmt::format("pp {}", pipeline));
    for (const uint32_t tensor : tensors) {
      const auto cell = std::find_if(result.heat.begin(), result.heat.end(), [&](const auto& candidate) {
        return candidate.tensor == tensor && candidate.pipeline == pipeline;
      });
      const bool fits = cell != result.heat.end() && cell->step_time > 0;
      const std::string text = fits ? fmt::format("{:>8.3g}", cell->step_time) : fmt::format("{:>8}", "-");
      std::cout << " " << (in_colour && fits ? coloured(text, fastest / cell->step_time) : text);
    }
    std::cout << "\n";
  }
}

nlohmann::json as_json(const Scenario& scenario, const SearchResult& result) {
  nlohmann::json out = result;
  out["seconds"] = result.seconds;
  out["plans_per_s"] = plans_per_s(result);
  out["scenario"] = scenario.file;
  out["chips"] = scenario.machine.chips;
  return out;
}

int run_search(const Options& options) {
  SignalStop stop;
  stop.listen();
  const Catalogue catalogue = read_catalogue(options.scenario.catalogues);
  const Scenario scenario = read_scenario(options.scenario, catalogue);
  const StepModel model(scenario.model, scenario.machine, scenario.job);
  const SearchResult result = search_all(model, space_of(options, scenario), options.top, stop.token());
  if (result.best.empty() && result.stopped)
    throw Error(ErrorCode::kCancelled, "stopped before any plan that fits was found");
  if (result.best.empty() && !options.scenario.json)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: no plan fits {} chips: {}", scenario.place("machine"),
                            whole(scenario.machine.chips), result.remedy));
  if (options.scenario.json) {
    std::cout << as_json(scenario, result).dump(2) << "\n";
    return result.best.empty() ? 2 : 0;
  }
  show_head(scenario, result);
  std::cout << "\nBest layouts\n";
  show_plans(some_of(result.best, result.best.size()));
  std::cout << fmt::format("\nPareto front of time, memory and chips: {} layouts\n",
                           whole(result.pareto.size()));
  show_plans(some_of(result.pareto, std::max<size_t>(options.top, 2)));
  show_heat(result);
  return 0;
}

}  // namespace

void add_plan_search(CLI::App& plan, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = plan.add_subcommand("search", "The best parallel layouts for a model on a machine");
  command->footer(
      "Examples:\n"
      "  fathom plan search llama3-405b\n"
      "  fathom plan search autumn-2025 --fewer-chips --top 20\n"
      "  fathom plan search my-lab --set job.global_batch=512 --set 'search.precision=[\"bf16\", \"fp8\"]' "
      "--json\n\n"
      "Every layout is evaluated: tensor, pipeline, context, expert and data degrees, interleaving, "
      "micro-batch, ZeRO,\n"
      "recomputation, schedule, offloading and overlap. [search] in the scenario limits them. Ctrl-C shows "
      "what was\n"
      "found so far.");
  add_scenario_options(*command, options->scenario);
  command->add_option("--top", options->top, "Layouts to show")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--fewer-chips", options->fewer_chips,
                    "Also layouts that leave up to a quarter of the chips idle");
  command->add_option("--max-chips", options->max_chips, "Use at most this many chips")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--min-chips", options->min_chips, "With fewer chips, use at least this many")
      ->check(CLI::Range(1, 1 << 24));
  command->callback([options, &run] { run = [options] { return run_search(*options); }; });
}

}  // namespace fathom::cli
