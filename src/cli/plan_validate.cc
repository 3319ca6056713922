// fathom plan validate: published runs replayed, predicted beside measured.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "cli/own_runs.h"
#include "cli/plan_commands.h"
#include "cli/scenario_options.h"
#include "cli/show.h"
#include "cluster/validate.h"
#include "cluster/validate_plot.h"

namespace fathom::cli {
namespace {

using cluster::ValidationGroup;
using cluster::ValidationResult;
using cluster::ValidationRow;
using nlohmann::json;

struct Options {
  std::vector<std::filesystem::path> files, folders, catalogues;
  std::filesystem::path reasons, html;
  bool json = false, rows = false;
  bool own = false, check = false, quick = false;
  size_t steps = 3, rounds = 3;
};

std::filesystem::path own_tables() { return models_folder().parent_path() / "validation"; }

/// The runs of vTrain, where the data for tests lies beside the checkout; too many to be carried along.
std::vector<std::filesystem::path> vtrain_tables() {
  const auto folder = models_folder().parent_path().parent_path() / ".." / "shared" / "data" / "validation";
  std::vector<std::filesystem::path> out;
  if (!std::filesystem::is_directory(folder)) return out;
  for (auto& file : cluster::validation_files(folder))
    if (file.filename().string().starts_with("vtrain_")) out.push_back(std::move(file));
  return out;
}

std::vector<std::filesystem::path> files_of(const Options& options) {
  std::vector<std::filesystem::path> places = options.files;
  places.insert(places.end(), options.folders.begin(), options.folders.end());
  if (options.files.empty()) places.insert(places.begin(), own_tables());
  if (options.files.empty() && options.folders.empty())
    for (auto& table : vtrain_tables()) places.push_back(std::move(table));
  std::vector<std::filesystem::path> out;
  for (const auto& place : places)
    for (auto& file : cluster::validation_files(place)) out.push_back(std::move(file));
  if (out.empty())
    throw Error(ErrorCode::kNotFound,
                "there is no table to replay; name a CSV file, or a folder of them with --data");
  return out;
}

json row_json(const ValidationRow& row) {
  json out = {{"set", row.set},           {"line", row.line},          {"run", row.label},
              {"machine", row.machine},   {"group", row.group},        {"quantity", row.quantity},
              {"measured", row.measured}, {"predicted", row.predicted}};
  if (!row.skipped.empty()) {
    out["skipped"] = row.skipped;
    return out;
  }
  out["error"] = row.error();
  out["fitted"] = row.fitted;
  out["fits_memory"] = row.fits;
  if (!row.reason.empty()) out["reason"] = row.reason;
  const cluster::StepTime& t = row.time;
  if (t.step_time > 0)
    out["step_time"] = {{"forward", t.forward},         {"backward", t.backward},
                        {"recompute", t.recompute},     {"optimizer", t.optimizer},
                        {"tensor_comm", t.tensor_comm}, {"context_comm", t.context_comm},
                        {"expert_comm", t.expert_comm}, {"pipeline_comm", t.pipeline_comm},
                        {"data_comm", t.data_comm},     {"bubble", t.bubble},
                        {"offload", t.offload},         {"overhead", t.overhead},
                        {"step_time", t.step_time}};
  return out;
}

json group_json(const ValidationGroup& g) {
  return {{"name", g.name},
          {"is_set", g.is_set},
          {"rows", g.rows},
          {"skipped", g.skipped},
          {"fitted", g.fitted},
          {"over_25_percent", g.over_25},
          {"unexplained", g.unexplained},
          {"mean_absolute_error", g.mean_absolute_error},
          {"median_absolute_error", g.median_absolute_error},
          {"bias", g.bias},
          {"worst", g.worst}};
}

void print_json(const ValidationResult& result) {
  json out = {{"groups", json::array()}, {"rows", json::array()}, {"notes", result.notes}};
  for (const ValidationGroup& group : result.groups) out["groups"].push_back(group_json(group));
  for (const ValidationRow& row : result.rows) out["rows"].push_back(row_json(row));
  std::cout << out.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
}

std::string percent(double share, bool sign) {
  return sign ? fmt::format("{:+.1f} %", 100 * share) : fmt::format("{:.1f} %", 100 * share);
}

void print_groups(const ValidationResult& result) {
  std::cout << fmt::format("{:<32}{:>7}{:>9}{:>9}{:>9}{:>10}{:>7}{:>9}{:>8}\n", "error of time", "rows",
                           "mean", "median", "bias", "worst", ">25 %", "skipped", "fitted");
  for (const ValidationGroup& g : result.groups) {
    if (g.rows == 0) continue;
    std::cout << fmt::format("{:<32}{:>7}{:>9}{:>9}{:>9}{:>10}{:>7}{:>9}{:>8}\n",
                             (g.is_set ? "  " : "") + g.name, g.rows, percent(g.mean_absolute_error, false),
                             percent(g.median_absolute_error, false), percent(g.bias, true),
                             percent(g.worst, true), g.over_25, g.skipped, g.fitted);
  }
}

/// How the errors lie: a bar for each five per cent.
void print_histogram(const ValidationResult& result) {
  constexpr int kSide = 6, kWidth = 50;  // bins on each side of zero; the outermost hold all beyond
  std::array<size_t, 2 * kSide> bins{};
  for (const ValidationRow& row : result.rows) {
    if (!row.skipped.empty()) continue;
    const double at = std::clamp(std::floor(row.error() / 0.05), -1.0 * kSide, kSide - 1.0);
    ++bins[static_cast<size_t>(at + kSide)];
  }
  const size_t most = std::max<size_t>(1, *std::max_element(bins.begin(), bins.end()));
  std::cout << "\n";
  for (int i = 0; i < 2 * kSide; ++i) {
    const size_t count = bins[static_cast<size_t>(i)];
    const int low = 5 * (i - kSide);
    const std::string range = i == 0               ? fmt::format("below {} %", low + 5)
                              : i == 2 * kSide - 1 ? fmt::format("above {} %", low)
                                                   : fmt::format("{} to {} %", low, low + 5);
    std::cout << fmt::format("{:>16} {:>6}  {}\n", range, count,
                             std::string(count * kWidth / most + (count != 0 ? 1 : 0), '#'));
  }
}

void print_row(const ValidationRow& row) {
  const std::string place = fmt::format("{}#{}", row.set, row.line);
  if (!row.skipped.empty()) {
    std::cout << for_terminal(fmt::format("{}  {}  not replayed: {}", place, row.label, row.skipped)) << "\n";
    return;
  }
  std::cout << for_terminal(fmt::format("{}  {}  {}: measured {:.4g}, predicted {:.4g}, {}{}{}", place,
                                        row.label, row.quantity, row.measured, row.predicted,
                                        percent(row.error(), true), row.fitted ? ", fitted on" : "",
                                        row.fits ? "" : ", more memory than the chip has"))
            << "\n";
  if (!row.reason.empty()) std::cout << for_terminal("    " + row.reason) << "\n";
}

void print_skipped(const ValidationResult& result) {
  std::map<std::string, size_t> reasons;
  for (const ValidationRow& row : result.rows)
    if (!row.skipped.empty()) ++reasons[row.skipped];
  for (const auto& [reason, count] : reasons)
    std::cout << for_terminal(fmt::format("not replayed, {} rows: {}", count, reason)) << "\n";
}

void print_far(const ValidationResult& result) {
  std::map<std::string, std::pair<size_t, double>> reasons;  // rows, worst
  std::vector<const ValidationRow*> unexplained;
  for (const ValidationRow& row : result.rows) {
    if (std::abs(row.error()) <= 0.25) continue;
    if (row.reason.empty()) {
      unexplained.push_back(&row);
      continue;
    }
    auto& [count, worst] = reasons[row.reason];
    ++count;
    if (std::abs(row.error()) > std::abs(worst)) worst = row.error();
  }
  for (const auto& [reason, of] : reasons)
    std::cout << for_terminal(fmt::format("over 25 %, {} rows (worst {}): {}", of.first,
                                          percent(of.second, true), reason))
              << "\n";
  for (const ValidationRow* row : unexplained) print_row(*row);
}

void print_fitted(const cluster::Catalogue& catalogue) {
  std::map<std::string, std::vector<std::string>> by_family;
  for (const auto& [id, chip] : catalogue.accelerators)
    if (!chip.efficiency.fitted_on.empty()) by_family[chip.family] = chip.efficiency.fitted_on;
  for (const auto& [family, rows] : by_family)
    std::cout << fmt::format("constants of {} were fitted on {} rows: {}\n", family, rows.size(),
                             fmt::join(rows, ", "));
}

// ---- steps of fathom train on this machine

constexpr double kOwnBar = 0.10;
constexpr size_t kOwnRuns = 6;  // that have to be within it

json own_json(const OwnResult& r) {
  const cluster::StepTime& t = r.parts;
  return {{"run", r.run.name},
          {"layout", r.run.layout.line()},
          {"ranks", r.run.layout.ranks()},
          {"sequences", r.run.sequences},
          {"length", r.run.length},
          {"measured", r.measured},
          {"predicted", r.predicted},
          {"error", r.error()},
          {"step_time",
           {{"forward", t.forward},
            {"backward", t.backward},
            {"optimizer", t.optimizer},
            {"tensor_comm", t.tensor_comm},
            {"pipeline_comm", t.pipeline_comm},
            {"data_comm", t.data_comm},
            {"bubble", t.bubble},
            {"overhead", t.overhead}}}};
}

int validate_own(const Options& options) {
  OwnOptions own;
  own.steps = options.steps;
  own.rounds = options.rounds;
  own.smallest = options.quick;
  if (options.quick) own.calibrate_seconds = 0.002;
  if (!options.json)
    std::cout << fmt::format("{:<8} {:<44} {:>12} {:>12} {:>8}\n", "shape", "layout", "predicted", "measured",
                             "error");
  const auto told = [&](const OwnResult& r) {
    if (options.json) return;
    std::cout << fmt::format("{:<8} {:<44} {:>9.2f} ms {:>9.2f} ms {:>8}\n", r.run.name, r.run.layout.line(),
                             1e3 * r.predicted, 1e3 * r.measured, percent(r.error(), true))
              << std::flush;
  };
  const std::vector<OwnResult> results = compare_own_runs(own, told);
  double sum = 0;
  size_t within = 0;
  for (const OwnResult& r : results) {
    sum += std::abs(r.error());
    within += std::abs(r.error()) <= kOwnBar ? 1 : 0;
  }
  const double mean = sum / static_cast<double>(results.size());
  if (options.json) {
    json rows = json::array();
    for (const OwnResult& r : results) rows.push_back(own_json(r));
    std::cout << json{{"runs", rows}, {"mean_absolute_error", mean}, {"within_10_percent", within}}.dump(2)
              << "\n";
  } else {
    std::cout << fmt::format("\n{} of {} within 10 %, mean absolute error {}\n", within, results.size(),
                             percent(mean, false));
  }
  return options.check && within < kOwnRuns ? 1 : 0;
}

int validate(const Options& options) {
  if (options.own) return validate_own(options);
  const cluster::Catalogue catalogue = read_catalogue(options.catalogues);
  std::filesystem::path reasons = options.reasons;
  if (reasons.empty() && std::filesystem::exists(own_tables() / "reasons.toml"))
    reasons = own_tables() / "reasons.toml";
  ThreadPool pool(std::max(1U, std::thread::hardware_concurrency()));
  const ValidationResult result =
      cluster::validate(files_of(options), catalogue, models_folder(), pool, reasons);
  if (!options.html.empty()) write_file_atomic(options.html, cluster::validation_html(result));
  if (options.json) {
    print_json(result);
    return 0;
  }
  if (options.rows) {
    for (const ValidationRow& row : result.rows) print_row(row);
    std::cout << "\n";
  }
  print_groups(result);
  print_histogram(result);
  std::cout << "\n";
  if (!options.rows) print_far(result);
  print_skipped(result);
  print_fitted(catalogue);
  for (const std::string& note : result.notes) std::cout << for_terminal(note) << "\n";
  return 0;
}

}  // namespace

void add_plan_validate(CLI::App& plan, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      plan.add_subcommand("validate", "Replay measured runs and show how far predictions are off");
  command->footer(
      "Examples:\n  fathom plan validate\n  fathom plan validate my-runs.csv --rows\n  fathom plan validate "
      "--own\n  fathom plan validate "
      "--data "
      "../shared/data/validation --html errors.html\n\nWithout FILES, the published figures in "
      "data/validation are "
      "replayed. data/validation/README.md has the columns of a table.");
  command->add_option("FILES", options->files, "Tables of runs (CSV), or folders of them");
  command->add_option("--data", options->folders, "Further folders of tables, replayed too");
  command->add_option("--catalogue", options->catalogues,
                      "Folders of catalogue entries, on top of data/catalogue");
  command->add_option("--reasons", options->reasons, "TOML file with the reasons for rows over 25 %");
  command->add_option("--html", options->html, "Write a page with the plot of predicted against measured");
  command->add_flag("--rows", options->rows, "List every row");
  CLI::Option* own = command->add_flag(
      "--own", options->own, "Calibrate this machine, run steps of fathom train on it and compare those");
  command->add_option("--steps", options->steps, "Of each round of --own; the fastest counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->needs(own);
  command
      ->add_option("--rounds", options->rounds,
                   "Of calibration and steps for each run of --own; the middle one counts")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->needs(own);
  command->add_flag("--quick", options->quick, "With --own: shapes and times that show only that it runs")
      ->needs(own);
  command->add_flag("--check", options->check, "With --own: fail unless six runs are within 10 %")
      ->needs(own);
  command->add_flag("--json", options->json, "Print everything as JSON");
  command->callback([options, &run] { run = [options] { return validate(*options); }; });
}

}  // namespace fathom::cli
