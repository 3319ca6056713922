// fathom calibrate: this machine measured, as an entry of the catalogue.
#include "cluster/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cluster/catalogue.h"
#include "cluster/format.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kProgressSteps = 1000;
constexpr const char* kCollectivesSeconds = "120";  // after which mpirun gives up

struct Options {
  uint32_t ranks = 0;
  size_t threads = 0;
  std::string id = "this-machine";
  fs::path out, folder;
  double seconds = 0.1;
  bool json = false;
};

/// The program beside this one; empty where this build has none.
fs::path collectives_program() {
  std::error_code error;
  const fs::path program = own_program().parent_path() / "fathom_collectives";
  return fs::exists(program, error) ? program : fs::path();
}

/// Standard output of the program. Errors: kUnsupported where it does not end well.
std::string output_of(const std::vector<std::string>& command) {
  ProcessResult result = run_process(command);
  if (!result.ok()) throw Error(ErrorCode::kUnsupported, fmt::format("{} did not end well", command.front()));
  return std::move(result.out);
}

/// Collectives between `ranks` processes; a sentence in `left_out` where they cannot be measured.
std::vector<cluster::CollectiveSample> measure_collectives(uint32_t ranks, std::string& left_out) {
  const fs::path program = collectives_program();
  if (ranks < 2)
    left_out = "one rank has nobody to exchange with; name more with --ranks";
  else if (program.empty())
    left_out = "this build has no MPI: install libopenmpi-dev and openmpi-bin, and build again";
  if (!left_out.empty()) return {};
  // A container's only user is root; more ranks than cores are the user's wish.
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  try {
    return cluster::parse_collectives(
        output_of({"mpirun", "--oversubscribe", "--timeout", kCollectivesSeconds, "-n", std::to_string(ranks),
                   program.string()}));
  } catch (const Error& error) {
    left_out = error.what();
    return {};
  }
}

ordered_json to_json(const cluster::Measurements& m, const cluster::CalibrationFit& f,
                     const std::string& left_out) {
  ordered_json gemm = ordered_json::array(), attention = ordered_json::array(),
               collectives = ordered_json::array(), kinds = ordered_json::array();
  for (const auto& s : m.gemm)
    gemm.push_back({{"m", s.m},
                    {"n", s.n},
                    {"k", s.k},
                    {"seconds", s.seconds},
                    {"bf16_seconds", s.bf16_seconds},
                    {"operations_per_s", 2.0 * s.m * s.n * s.k / s.seconds}});
  for (const auto& s : m.attention)
    attention.push_back({{"sequences", s.batch},
                         {"heads", s.heads},
                         {"head_dim", s.head_dim},
                         {"length", s.length},
                         {"forward_s", s.forward_s},
                         {"backward_s", s.backward_s}});
  for (const auto& s : m.collectives)
    collectives.push_back(
        {{"kind", to_string(s.kind)}, {"ranks", s.ranks}, {"bytes", s.bytes}, {"seconds", s.seconds}});
  for (const auto& k : f.kinds)
    kinds.push_back({{"kind", to_string(k.kind)},
                     {"alpha_s", k.alpha_s},
                     {"bytes_per_s", k.bytes_per_s},
                     {"mean_error", k.error}});
  return {{"processor", m.processor},
          {"instruction_set", m.instruction_set},
          {"date", m.date},
          {"threads", m.threads},
          {"ranks", m.ranks},
          {"float_operations_per_s", m.float_peak},
          {"read_bytes_per_s", m.read_bytes_per_s},
          {"copy_bytes_per_s", m.copy_bytes_per_s},
          {"kernel_launch_s", m.kernel_launch_s},
          {"memory_bytes", m.memory_bytes},
          {"file_write_bytes_per_s", m.write_bytes_per_s},
          {"file_read_bytes_per_s", m.file_read_bytes_per_s},
          {"products", gemm},
          {"attention", attention},
          {"collectives", collectives},
          {"collectives_left_out", left_out},
          {"fit",
           {{"gemm_peak_fraction", f.gemm_peak_fraction},
            {"gemm_k_half", f.gemm_k_half},
            {"gemm_mean_error", f.gemm_error},
            {"bf16_speed", f.bf16_speed},
            {"attention_forward_fraction", f.attention_forward},
            {"attention_backward_fraction", f.attention_backward},
            {"attention_sequence_half", f.attention_sequence_half},
            {"attention_mean_error", f.attention_error},
            {"hop_s", f.hop_s},
            {"link_bytes_per_s", f.link_bytes_per_s},
            {"collective_mean_error", f.collective_error},
            {"kinds", kinds}}}};
}

void print_table(const cluster::Measurements& m, const cluster::CalibrationFit& f,
                 const std::string& left_out) {
  using cluster::format_bytes;
  std::cout << fmt::format("{}, {}, {} thread{}, {} rank{}\n", m.processor, m.instruction_set, m.threads,
                           m.threads == 1 ? "" : "s", m.ranks, m.ranks == 1 ? "" : "s");
  std::cout << fmt::format(
      "  float peak {:.1f} GFLOP/s; reads {}/s, copies {}/s; an empty kernel {:.2f} us\n", m.float_peak / 1e9,
      format_bytes(m.read_bytes_per_s), format_bytes(m.copy_bytes_per_s), m.kernel_launch_s * 1e6);
  std::cout << fmt::format("  files: written and synced {}/s, read back {}/s\n",
                           format_bytes(m.write_bytes_per_s), format_bytes(m.file_read_bytes_per_s));
  std::cout << fmt::format("\n  {:>6} {:>6} {:>6} {:>12} {:>10} {:>12}\n", "m", "n", "k", "GFLOP/s",
                           "of peak", "BF16 faster");
  for (const auto& s : m.gemm) {
    const double rate = 2.0 * s.m * s.n * s.k / s.seconds;
    std::cout << fmt::format("  {:>6} {:>6} {:>6} {:>12.1f} {:>8.0f} % {:>12}\n", s.m, s.n, s.k, rate / 1e9,
                             100 * rate / m.float_peak,
                             s.bf16_seconds > 0 ? fmt::format("{:.2f}", s.seconds / s.bf16_seconds) : "");
  }
  std::cout << fmt::format("  fitted: {:.0f} % of the peak, half of it at k = {:.0f}; mean error {:.1f} %\n",
                           100 * f.gemm_peak_fraction, f.gemm_k_half, 100 * f.gemm_error);
  if (f.attention_forward > 0)
    std::cout << fmt::format(
        "  attention: forward {:.0f} %, backward {:.0f} % of the peak of products; mean error {:.1f} %\n",
        100 * f.attention_forward, 100 * f.attention_backward, 100 * f.attention_error);
  if (!left_out.empty()) {
    std::cout << fmt::format("\n  Collectives are left out: {}\n", left_out);
    return;
  }
  std::cout << "\n  Collectives: seconds = alpha + bytes / beta\n";
  for (const auto& k : f.kinds)
    std::cout << fmt::format("  {:<12} alpha {:>8.1f} us  beta {:>10}/s  mean error {:.0f} %\n",
                             to_string(k.kind), k.alpha_s * 1e6, format_bytes(k.bytes_per_s), 100 * k.error);
  std::cout << fmt::format("  as rings: {:.2f} us a hop, links of {}/s; mean error {:.0f} %\n", f.hop_s * 1e6,
                           format_bytes(f.link_bytes_per_s), 100 * f.collective_error);
}

/// Only what the catalogue takes is left behind.
void write_entry(const fs::path& path, const std::string& toml) {
  TempDir folder("fathom-calibrate");
  write_file_atomic(folder.path() / "entry.toml", toml);
  cluster::Catalogue::read({folder.path()});
  write_file_atomic(path, toml);
  std::cerr << fmt::format("The entry is in {}; --catalogue {} lets the planning commands read it\n",
                           path.string(), path.has_parent_path() ? path.parent_path().string() : ".");
}

void check_id(const std::string& id) {
  const bool plain = !id.empty() && id.size() <= 60 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!plain)
    throw Error(ErrorCode::kInvalidArgument, "--id takes small letters, digits and '-', as in my-machine");
}

int calibrate(const Options& options) {
  check_id(options.id);
  const size_t threads =
      options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  cluster::MeasureOptions measure;
  measure.ranks = options.ranks != 0 ? options.ranks : static_cast<uint32_t>(threads);
  measure.threads = static_cast<uint32_t>(std::max<size_t>(1, threads / measure.ranks));
  measure.seconds = options.seconds;
  measure.folder = options.folder.empty() ? fs::temp_directory_path() : options.folder;
  if (!fs::is_directory(measure.folder))
    throw Error(ErrorCode::kNotFound,
                fmt::format("there is no folder {}; --folder names the one for checkpoints",
                            measure.folder.string()));
  if (const fs::path parent = options.out.parent_path(); !parent.empty() && !fs::is_directory(parent))
    throw Error(ErrorCode::kNotFound, fmt::format("there is no folder {} for --out", parent.string()));
  const auto seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  cluster::Measurements measured;
  {
    Progress progress("calibrate", kProgressSteps, "");
    measured = cluster::measure_machine(measure, seconds, [&](double done) {
      progress.update(static_cast<uint64_t>(done * static_cast<double>(kProgressSteps)));
    });
  }
  measured.date = format_time(SystemClock().now()).substr(0, 10);
  std::string left_out;
  measured.collectives = measure_collectives(measure.ranks, left_out);
  const cluster::CalibrationFit fitted = cluster::fit(measured);
  if (options.json)
    std::cout << to_json(measured, fitted, left_out).dump(2) << "\n";
  else
    print_table(measured, fitted, left_out);
  if (!options.out.empty()) write_entry(options.out, to_toml(measured, fitted, options.id));
  return 0;
}

}  // namespace

void add_calibrate(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("calibrate", "Measure this machine for the planner's catalogue");
  command->footer(
      "Examples:\n"
      "  fathom calibrate\n"
      "  fathom calibrate --ranks 4 --id my-lab --out my-lab.toml\n\n"
      "Measures products of matrices, memory, kernels, files and, where MPI is there, collectives between "
      "processes,\n"
      "fits the constants that the planner uses and writes them as entries that --catalogue reads.");
  command
      ->add_option("--ranks", options->ranks,
                   "Processes that exchange, each a chip of the plan; 0: one a thread")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--out", options->out, "Write the entry to this file")->type_name("FILE.toml");
  command->add_option("--id", options->id, "Of the entry")->capture_default_str();
  command->add_option("--folder", options->folder, "Where checkpoints would go; none: the temporary folder")
      ->type_name("DIR");
  command->add_option("--seconds", options->seconds, "Of each measurement")
      ->check(CLI::Range(0.001, 60.0))
      ->capture_default_str();
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return calibrate(*options); }; });
}

}  // namespace fathom::cli
