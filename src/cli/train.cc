// fathom train: a model from text and a description, on one core, on the ranks of a machine, or under Slurm.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/process.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/scenario_options.h"
#include "cli/signal_stop.h"
#include "cli/train_commands.h"
#include "train/export.h"
#include "train/launcher.h"
#include "train/memory.h"
#include "train/monitor.h"
#include "train/mpi_comm.h"
#include "train/run_config.h"
#include "train/slurm.h"
#include "train/thread_comm.h"
#include "train/trainer.h"

namespace fathom::cli {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::filesystem::path run;
  std::vector<std::string> changes;
  std::string layout;
  size_t ranks = 0;    // 0: as many as the layout has
  size_t threads = 0;  // of each rank; 0: the cores shared out
  size_t restarts = 3;
  bool threads_as_ranks = false;
  bool dry_run = false;
  bool json = false;
  bool slurm = false;
  train::SlurmOptions slurm_options;
};

/// The run with the command line's changes; --ranks alone means that many data ranks.
train::RunConfig read(const Options& options) {
  auto changes = options.changes;
  if (!options.layout.empty()) changes.push_back("layout=" + options.layout);
  auto run = train::read_run(options.run, changes, models_folder());
  if (options.ranks == 0 || options.ranks == run.layout.ranks()) return run;
  if (run.layout.ranks() != 1)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the layout '{}' has {} ranks, not {}; change one of them", run.layout.line(),
                            run.layout.ranks(), options.ranks));
  changes.push_back(fmt::format("layout=data={}", options.ranks));
  return train::read_run(options.run, changes, models_folder());
}

size_t number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
}

/// The cores that this rank has for itself.
size_t threads_of(const Options& options, size_t ranks_here) {
  if (options.threads != 0) return options.threads;
  if (const size_t given = number_from("SLURM_CPUS_PER_TASK"); given != 0) return given;
  return std::max<size_t>(1, std::max(1U, std::thread::hardware_concurrency()) / ranks_here);
}

bool at_terminal() { return ::isatty(STDERR_FILENO) == 1; }

ordered_json to_json(const train::RunConfig& run, const train::TrainResult& result) {
  ordered_json out = {{"folder", run.folder.string()},
                      {"step", result.step},
                      {"steps", run.steps()},
                      {"stopped", result.stopped},
                      {"skipped", result.skipped}};
  if (result.loss) out["loss"] = *result.loss;
  if (result.held_out_loss) out["held_out_loss"] = *result.held_out_loss;
  return out;
}

int tell(const Options& options, const train::RunConfig& run, const train::TrainResult& result) {
  if (options.json)
    std::cout << to_json(run, result).dump() << "\n";
  else if (result.stopped)
    std::cout << fmt::format("Stopped after step {} of {} and saved; the same command goes on\n", result.step,
                             run.steps());
  else
    std::cout << fmt::format(
        "Done: step {}{}{}; {}\n", result.step,
        result.loss ? fmt::format(", loss {:.4f}", *result.loss) : std::string(" (nothing was left to do)"),
        result.held_out_loss ? fmt::format(", held out {:.4f}", *result.held_out_loss) : std::string(),
        run.folder.string());
  std::cout.flush();
  return result.stopped ? train::kStoppedExit : 0;
}

train::TrainResult train_here(const Options& options, const train::RunConfig& run,
                              std::unique_ptr<train::Communicator> world, size_t ranks_here,
                              const std::stop_token& stop, bool progress) {
  ThreadPool pool(threads_of(options, ranks_here));
  train::TrainOptions wanted;
  wanted.run = run;
  wanted.stop = stop;
  wanted.progress = progress;
  return train::train(wanted, std::move(world), pool);
}

/// As one rank among those that mpirun or srun started.
int run_as_rank(const Options& options, const train::RunConfig& run, const std::stop_token& stop) {
  if (std::getenv("FATHOM_LAUNCHER") != nullptr) train::end_with_parent();
  train::MpiSession session;
  auto world = session.world();
  const bool first = world->rank() == 0;
  const size_t local = number_from("OMPI_COMM_WORLD_LOCAL_SIZE");
  const bool progress = at_terminal() || std::getenv("FATHOM_PROGRESS") != nullptr;
  const auto result =
      train_here(options, run, std::move(world), local != 0 ? local : 1, stop, first && progress);
  return first ? tell(options, run, result) : (result.stopped ? train::kStoppedExit : 0);
}

int run_as_threads(const Options& options, const train::RunConfig& run, const std::stop_token& stop) {
  std::mutex mutex;
  train::TrainResult result;
  const size_t ranks = run.layout.ranks();
  train::run_ranks(ranks, [&](std::unique_ptr<train::Communicator> world) {
    const bool first = world->rank() == 0;
    const auto mine = train_here(options, run, std::move(world), ranks, stop, first && at_terminal());
    const std::lock_guard lock(mutex);
    if (first) result = mine;
  });
  return tell(options, run, result);
}

/// What each rank is started with: this command without what is the launcher's.
std::vector<std::string> rank_command(const Options& options, const train::RunConfig& run) {
  std::vector<std::string> out = {own_program().string(), "train", run.file.string()};
  for (const std::string& change : options.changes) {
    out.push_back("--set");
    out.push_back(change);
  }
  out.insert(out.end(), {"--layout", run.layout.line()});
  if (options.threads != 0) out.insert(out.end(), {"--threads", std::to_string(options.threads)});
  if (options.json) out.push_back("--json");
  return out;
}

int run_under_mpirun(const Options& options, const train::RunConfig& run, const std::stop_token& stop) {
  ::setenv("FATHOM_LAUNCHER", "1", 1);
  if (at_terminal()) ::setenv("FATHOM_PROGRESS", "1", 1);
  return train::launch_ranks({rank_command(options, run), run.layout.ranks(), options.restarts, stop});
}

int submit_to_slurm(const Options& options, const train::RunConfig& run) {
  train::SlurmOptions wanted = options.slurm_options;
  wanted.name = train::run_name(run.folder);
  for (char& c : wanted.name)  // what Slurm's scripts take
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  wanted.command = rank_command(options, run);
  wanted.folder = run.folder;
  wanted.ranks = run.layout.ranks();
  wanted.restarts = options.restarts;
  const std::string id = train::submit(wanted);
  if (options.json)
    std::cout << ordered_json{{"job", id}, {"script", (run.folder / "job.sbatch").string()}}.dump() << "\n";
  else
    std::cout << fmt::format("Submitted as job {}; the script is {}\n", id,
                             (run.folder / "job.sbatch").string());
  return 0;
}

/// What a checkpoint takes while it is written: the rank's part of weights and optimiser, once more.
uint64_t snapshot_bytes(const train::Layout& layout, const train::MemoryNeed& memory) {
  return memory.weights / layout.data + memory.optimiser / (layout.zero == 0 ? layout.data : 1);
}

int show_plan(const Options& options, const train::RunConfig& run) {
  const auto& c = run.model;
  const train::MemoryNeed memory =
      train::memory_need(c, run.layout, train::Place::of(run.layout, 0), train::decoder_options(run),
                         run.optimiser, threads_of(options, run.layout.ranks()));
  ordered_json plan = {{"model", c.name},
                       {"architecture", c.architecture},
                       {"parameters", c.parameters()},
                       {"active_parameters", c.active_parameters()},
                       {"steps", run.steps()},
                       {"tokens_per_step", run.tokens_per_step()},
                       {"tokens", run.steps() * run.tokens_per_step()},
                       {"layout", run.layout.line()},
                       {"ranks", run.layout.ranks()},
                       {"micro_batches", run.micro_batches()},
                       {"precision", run.precision == tensor::Precision::kBF16 ? "bf16" : "f32"},
                       {"memory_bytes",
                        {{"weights", memory.weights},
                         {"gradients", memory.gradients},
                         {"optimiser", memory.optimiser},
                         {"activations", memory.activations},
                         {"scratch", memory.scratch},
                         {"total", memory.total()},
                         {"checkpoint", snapshot_bytes(run.layout, memory)}}},
                       {"folder", run.folder.string()}};
  if (options.json) {
    std::cout << plan.dump(2) << "\n";
    return 0;
  }
  const auto count = [](uint64_t n) { return human_count(static_cast<double>(n)); };
  std::cout << fmt::format("{}: {} parameters, {} of them active ({})\n", c.name, count(c.parameters()),
                           count(c.active_parameters()), c.architecture);
  std::cout << fmt::format("{} steps of {} tokens: {} tokens\n", run.steps(), count(run.tokens_per_step()),
                           count(run.steps() * run.tokens_per_step()));
  std::cout << fmt::format("Layout {}: {} ranks, {} micro-batches of {} sequences of {} tokens each\n",
                           run.layout.line(), run.layout.ranks(), run.micro_batches(), run.micro, run.length);
  std::cout << fmt::format(
      "Memory of rank 0: {}B (weights {}B, gradients {}B, optimiser {}B, activations {}B, scratch {}B), and "
      "{}B while it "
      "saves\n",
      count(memory.total()), count(memory.weights), count(memory.gradients), count(memory.optimiser),
      count(memory.activations), count(memory.scratch), count(snapshot_bytes(run.layout, memory)));
  std::cout << fmt::format("Folder {}\n", run.folder.string());
  return 0;
}

int train_model(const Options& options) {
  // SIGUSR1 is how a launcher asks its ranks to stop: mpirun passes it on.
  static SignalStop signals({SIGINT, SIGTERM, SIGUSR1});  // its thread may outlive this function
  const auto run = read(options);
  if (options.dry_run) return show_plan(options, run);
  train::check_exportable(run.model);
  if (options.slurm) return submit_to_slurm(options, run);
  signals.listen();
  if (train::MpiSession::launched()) return run_as_rank(options, run, signals.token());
  if (run.layout.ranks() > 1 && !options.threads_as_ranks)
    return run_under_mpirun(options, run, signals.token());
  return run_as_threads(options, run, signals.token());
}

void add_slurm_options(CLI::App& command, Options& options) {
  auto& slurm = options.slurm_options;
  command.add_flag("--slurm", options.slurm, "Write the batch script and submit it")->group("Slurm");
  const auto add = [&](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help)->group("Slurm");
  };
  add("--nodes", slurm.nodes, "Nodes")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  add("--cpus-per-rank", slurm.cpus_per_rank, "Cores of each rank")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  add("--time", slurm.time, "Time limit, as sbatch takes it")->type_name("TIME");
  add("--partition", slurm.partition, "Partition")->type_name("NAME");
  add("--account", slurm.account, "Account")->type_name("NAME");
}

}  // namespace

void add_train(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "Train a model, from nothing or from another one");
  command->footer(
      "Examples:\n"
      "  fathom train starter.toml                     until it is done; the same command goes on after a "
      "stop\n"
      "  fathom train starter.toml --dry-run           what it will be: parameters, tokens, layout\n"
      "  fathom train starter.toml --set schedule.steps=200 --set optimiser.weight_decay=0\n"
      "  fathom train starter.toml --ranks 4 --layout \"data=2 tensor=2 zero=1\"\n"
      "  fathom train starter.toml --slurm --nodes 4 --cpus-per-rank 16 --time 1-00:00:00 --layout data=32\n"
      "  fathom train show starter/                    where it stands\n"
      "  fathom train report starter/                  a page with plots\n"
      "  fathom train export starter/ --out starter.gguf\n\n"
      "RUN.toml names model, data, batch and schedule; docs/training.md and src/train/run_config.h have its "
      "keys.\n"
      "SIGTERM and Ctrl-C save after the step and leave with code 75.");
  command->require_subcommand(0, 1);
  command->add_option("run", options->run, "The run's TOML file")->type_name("RUN.toml");
  command->add_option("--set", options->changes, "Change a value of the file")
      ->type_name("SECTION.KEY=VALUE");
  command->add_option("--layout", options->layout, "How the job is spread over its ranks")
      ->type_name("\"data=2 tensor=2\"");
  command->add_option("--ranks", options->ranks, "Ranks on this machine; without --layout so many data ranks")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--threads", options->threads, "Threads of each rank; 0: the cores shared out")
      ->capture_default_str();
  command->add_option("--restarts", options->restarts, "Times that ranks are started again after one died")
      ->capture_default_str();
  command->add_flag("--threads-as-ranks", options->threads_as_ranks, "Ranks as threads of one process");
  command->add_flag("--dry-run", options->dry_run, "Show what would be done");
  command->add_flag("--json", options->json, "Results as JSON");
  add_slurm_options(*command, *options);
  add_train_show(*command, run);
  add_train_report(*command, run);
  add_train_export(*command, run);
  command->callback([options, command, &run] {
    if (!command->get_subcommands().empty()) return;
    if (options->run.empty()) throw CLI::RequiredError("RUN.toml, or one of: export, report, show");
    run = [options] { return train_model(*options); };
  });
}

}  // namespace fathom::cli
