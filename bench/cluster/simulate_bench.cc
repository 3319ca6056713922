// The planner's simulation measured: whole training runs of Llama 3 405B, seconds for one, for a band of 32 and for a sweep.
//
//   simulate_bench                                16,384 and 100,352 H100, 54 days
//   simulate_bench --threads 2 --days 54
//
// CPU seconds stand beside wall seconds: they survive a busy machine.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "base/error.h"
#include "cluster/simulate.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

constexpr uint32_t kBand = 32;

double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void measure(uint64_t chips, double days, size_t threads) {
  const std::filesystem::path data = FATHOM_DATA_DIR;
  const Catalogue catalogue = Catalogue::read({data / "catalogue"});
  const auto config = model::read_description(data / "models" / "llama3-405b.toml");
  Machine machine;
  machine.chip = catalogue.accelerator("h100-sxm");
  machine.host = catalogue.host("grand-teton");
  machine.chips = chips;
  machine.network = Network::build(catalogue, NetworkSpec{}, machine.chip, machine.host, chips);
  ParallelPlan plan;
  plan.tensor = 8;
  plan.pipeline = 16;
  plan.data = static_cast<uint32_t>(chips / 128);
  plan.recompute = Recompute::kFull;
  TrainingJob job;
  job.sequence = 8192;
  job.global_batch = uint64_t{16} * plan.data;
  const StepModel model(config, machine, job);
  RunSpec spec;
  spec.days = days;
  spec.storage = "tectonic-server";
  spec.storage_units = 7500;
  spec.spare_nodes = 0.02 * static_cast<double>(chips) / 8;
  ThreadPool pool(threads);
  const auto time = [&](const char* what, uint32_t runs, bool sweep) {
    spec.runs = runs;
    SimulateOptions options;
    options.sweep_interval = sweep;
    const double cpu = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    const RunResult result = simulate(model, plan, spec, catalogue, pool, options);
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto events = static_cast<double>(result.events);
    fmt::print(
        "{:>7} chips {:<22} {:>8.3f} s {:>8.3f} CPU-s {:>10.0f} events {:>6.2f} M events/CPU-s  goodput "
        "{:.2f} %\n",
        plan.chips(), what, wall, cpu_seconds() - cpu, events, events / 1e6 / (cpu_seconds() - cpu),
        100 * result.goodput.middle);
  };
  time("one run", 1, false);
  time("a band of 32 runs", kBand, false);
  time("with the sweep", kBand, true);
}

int run(int argc, char** argv) {
  size_t threads = 2;
  double days = 54;
  CLI::App app("The planner's simulation measured");
  app.add_option("--threads", threads)->check(CLI::Range(1, 1024));
  app.add_option("--days", days)->check(CLI::Range(0.1, 3650.0));
  CLI11_PARSE(app, argc, argv);
  for (const uint64_t chips : {uint64_t{16384}, uint64_t{100352}}) measure(chips, days, threads);
  return 0;
}

}  // namespace
}  // namespace fathom::cluster

int main(int argc, char** argv) {
  try {
    return fathom::cluster::run(argc, argv);
  } catch (const fathom::Error& error) {
    std::fprintf(stderr, "simulate_bench: %s\n", error.what());
    return 1;
  }
}
