// The planner's search measured: plans evaluated a second and the time for all plans of a machine.
//
//   search_bench                                   llama3-405b on 16,384 H100, grok-2 and llama3-405b on 100,000 and,
//                                                  with fp8, on up to 100,000
//   search_bench --model grok-2 --chips 100000 --batch 4000 --sequence 8192 --threads 2
//
// "considered" counts all plans of the space; "evaluated" only those whose time and memory were computed, whether they fit
// or not, and the rate is of these alone. CPU seconds stand beside wall seconds: they survive a busy machine. Beside it:
// Calculon's rate on such a machine is 178 executions a second and core.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cluster/search.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

struct Case {
  std::string model, accelerator, host;
  uint64_t chips = 0, sequence = 0, batch = 0;
  bool fp8 = false, fewer = false;
};

double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

nlohmann::json measure(const Case& what, const Catalogue& catalogue, const std::filesystem::path& models,
                       ThreadPool& pool) {
  const auto config = model::read_description(model::find_description(models, what.model));
  Machine machine;
  machine.chip = catalogue.accelerator(what.accelerator);
  machine.host = catalogue.host(what.host);
  machine.chips = what.chips;
  machine.network = Network::build(catalogue, NetworkSpec{}, machine.chip, machine.host, machine.chips);
  TrainingJob job;
  job.sequence = what.sequence;
  job.global_batch = what.batch;
  const StepModel model(config, machine, job);
  SearchSpace space;
  if (what.fp8) space.precision = {Precision::kBf16, Precision::kFp8};

  space.fewer_chips = what.fewer;

  const double cpu = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  SearchOptions options;
  options.remedy = false;
  const SearchResult result = search(model, space, pool, options);
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double used = cpu_seconds() - cpu;
  const auto evaluated = static_cast<double>(result.evaluated);
  std::printf(
      "%-14s %7llu chips  considered %11llu  evaluated %11llu  fit %11llu  %7.2f s  %5.2f M plans/s  %5.2f M "
      "plans/CPU-s\n",
      what.model.c_str(), static_cast<unsigned long long>(what.chips),
      static_cast<unsigned long long>(result.considered), static_cast<unsigned long long>(result.evaluated),
      static_cast<unsigned long long>(result.feasible), wall, evaluated / wall / 1e6, evaluated / used / 1e6);
  if (!result.best.empty()) {
    const RankedPlan& best = result.best.front();
    std::printf("  best: %s; %.2f s, %.1f %% MFU, %.1f GB; front of %zu\n", describe(best.plan).c_str(),
                best.cost.time.step_time, 100 * best.cost.mfu, best.cost.memory.total / 1e9,
                result.pareto.size());
  }
  return {{"model", what.model},
          {"chips", what.chips},
          {"considered", result.considered},
          {"evaluated", result.evaluated},
          {"feasible", result.feasible},
          {"wall_s", wall},
          {"cpu_s", used},
          {"plans_per_s", evaluated / wall}};
}

int run(int argc, char** argv) {
  CLI::App app("Measures the planner's search. Example: search_bench --threads 2 --json search.json");
  std::filesystem::path data = FATHOM_DATA_DIR;
  std::string json_path;
  size_t threads = 2;
  Case one{"", "h100-sxm", "dgx-h100", 100'000, 8192, 4000};
  app.add_option("--data", data, "folder with catalogue and models")->capture_default_str();
  app.add_option("--threads", threads, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--model", one.model, "one model of data/models instead of the five cases");
  app.add_option("--accelerator", one.accelerator, "its chip")->capture_default_str();
  app.add_option("--host", one.host, "its host")->capture_default_str();
  app.add_option("--chips", one.chips, "how many")->capture_default_str();
  app.add_option("--sequence", one.sequence, "tokens")->capture_default_str();
  app.add_option("--batch", one.batch, "sequences")->capture_default_str();
  app.add_flag("--fp8", one.fp8, "also in fp8");
  app.add_flag("--fewer", one.fewer, "also on three quarters of the chips and more");
  app.add_option("--json", json_path, "also write the results here");
  CLI11_PARSE(app, argc, argv);

  const Catalogue catalogue = Catalogue::read({data / "catalogue"});
  std::vector<Case> cases{{"llama3-405b", "h100-sxm", "dgx-h100", 16'384, 8192, 2048},
                          {"llama3-405b", "h100-sxm", "dgx-h100", 100'000, 8192, 4000},
                          {"grok-2", "h100-sxm", "dgx-h100", 100'000, 8192, 4000},
                          {"llama3-405b", "h100-sxm", "dgx-h100", 100'000, 8192, 4096, true, true},
                          {"grok-2", "h100-sxm", "dgx-h100", 100'000, 8192, 4096, true, true}};
  if (!one.model.empty()) cases = {one};
  ThreadPool pool(threads);
  nlohmann::json results = nlohmann::json::array();
  for (const Case& what : cases) results.push_back(measure(what, catalogue, data / "models", pool));
  if (!json_path.empty()) write_file_atomic(json_path, results.dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace fathom::cluster

int main(int argc, char** argv) {
  try {
    return fathom::cluster::run(argc, argv);
  } catch (const fathom::Error& error) {
    std::fprintf(stderr, "search_bench: %s\n", error.what());
    return 2;
  }
}
