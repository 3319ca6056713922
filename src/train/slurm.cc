#include "train/slurm.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "train/launcher.h"

namespace fathom::train {
namespace {

constexpr int kWarningSeconds = 120;

void require_plain(const std::string& what, const std::string& value) {
  const auto plain = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("-_.:,").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!std::all_of(value.begin(), value.end(), plain))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the {} '{}' holds more than letters, digits and any of - _ . : ,", what, value));
}

}  // namespace

std::string shell_quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string slurm_script(const SlurmOptions& o) {
  require_plain("job's name", o.name);
  require_plain("time", o.time);
  require_plain("partition", o.partition);
  require_plain("account", o.account);
  const std::string log = (o.folder / "slurm-%j.log").string();
  if (log.find_first_of("\n\"") != std::string::npos)
    throw Error(ErrorCode::kInvalidArgument,
                "the run's folder has a quotation mark or a line end in its name");
  std::string command;
  for (const std::string& word : o.command) command += " " + shell_quoted(word);
  std::string out = "#!/bin/bash\n";
  const auto ask = [&](std::string_view option, const std::string& value) {
    if (!value.empty()) out += fmt::format("#SBATCH --{}={}\n", option, value);
  };
  ask("job-name", o.name);
  ask("nodes", std::to_string(o.nodes));
  ask("ntasks", std::to_string(o.ranks));
  ask("cpus-per-task", std::to_string(o.cpus_per_rank));
  ask("time", o.time);
  ask("partition", o.partition);
  ask("account", o.account);
  ask("output", fmt::format("\"{}\"", log));
  ask("open-mode", "append");
  ask("signal", fmt::format("B:USR1@{}", kWarningSeconds));
  out += "#SBATCH --requeue\n\n";
  out += fmt::format(
      "# Asked to end (by USR1: srun answers TERM with KILL), the ranks finish their step, save and leave "
      "with {0}; "
      "the job\n# then goes back into the queue, unless it was cancelled.\n"
      "# So it does when a rank dies, which --kill-on-bad-exit turns into the end of all of them.\n"
      "trap 'asked=1; kill -USR1 \"$ranks\"' USR1\n"
      "trap 'cancelled=1' TERM\n"
      "srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task={1}{2} &\n"
      "ranks=$!\n"
      "wait \"$ranks\"\n"
      "code=$?\n"
      "while kill -0 \"$ranks\" 2> /dev/null; do wait \"$ranks\"; code=$?; done\n"
      "[ \"$code\" -eq 0 ] && exit 0\n"
      "[ \"$code\" -eq {3} ] && exit {3}\n"
      "[ -n \"${{cancelled:-}}\" ] && exit \"$code\"\n"
      "if [ \"$code\" -eq {0} ] || [ -n \"${{asked:-}}\" ] || [ \"${{SLURM_RESTART_COUNT:-0}}\" -lt {4} ]; "
      "then\n"
      "  echo \"fathom: the ranks ended with $code; the job goes back into the queue\" >&2\n"
      "  exec scontrol requeue \"$SLURM_JOB_ID\"\n"
      "fi\n"
      "exit \"$code\"\n",
      kStoppedExit, o.cpus_per_rank, command, kRefusedExit, o.restarts);
  return out;
}

std::string submit(const SlurmOptions& options) {
  if (!find_program("sbatch"))
    throw Error(ErrorCode::kNotFound,
                "there is no sbatch on this machine: run this where Slurm jobs are submitted");
  std::filesystem::create_directories(options.folder);
  const auto script = options.folder / "job.sbatch";
  write_file_atomic(script, slurm_script(options));
  const ProcessResult result = run_process({"sbatch", "--parsable", script.string()});
  if (!result.ok())
    throw Error(ErrorCode::kUnsupported,
                fmt::format("sbatch did not take the job; the script is in '{}'", script.string()));
  const std::string id(trim(result.out));
  return id.substr(0, id.find(';'));
}

}  // namespace fathom::train
