// The batch script of a training job under Slurm, and its submission.
//
// The script asks to be warned two minutes before its time is over: the ranks then save and end, and it puts itself back in
// the queue, as it does when a rank or a node dies. Pure but for `submit`; thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fathom::train {

struct SlurmOptions {
  std::string name = "fathom-train";
  std::vector<std::string> command;  // of a rank
  std::filesystem::path folder;      // of the script and of what the job says
  size_t nodes = 1;
  size_t ranks = 1;
  size_t cpus_per_rank = 1;
  std::string time;       // as sbatch takes it, "1-12:00:00"; empty: the partition's
  std::string partition;  // empty: the cluster's default
  std::string account;    // empty: the user's
  size_t restarts = 3;    // times that the job puts itself back because something died
};

/// Errors: kInvalidArgument for texts that would not stay on their line of the script.
std::string slurm_script(const SlurmOptions& options);

/// Writes FOLDER/job.sbatch and submits it; the job's id. Errors: kNotFound (no sbatch), kUnsupported (sbatch refused; its
/// reason is on standard error), kIo.
std::string submit(const SlurmOptions& options);

/// For a shell, whatever it holds.
std::string shell_quoted(const std::string& word);

}  // namespace fathom::train
