// Starts the ranks of a job on this machine under mpirun, watches them, and starts them again from the last good checkpoint
// when one dies.
//
// mpirun and its ranks end when this process ends, however it ends (PR_SET_PDEATHSIG). A stop goes to the ranks as SIGUSR1,
// which mpirun passes on: they finish their step and save.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::train {

/// Exit code of a job that was stopped, saved its state and goes on when it is started again (EX_TEMPFAIL of sysexits.h).
inline constexpr int kStoppedExit = 75;
/// Exit code of an error in what the user asked for: starting again would not help.
inline constexpr int kRefusedExit = 2;

struct LaunchOptions {
  std::vector<std::string> command;  // of a rank: the program and its arguments
  size_t ranks = 1;
  size_t restarts = 3;
  std::stop_token stop;
};

/// The job's exit code: 0, kStoppedExit, kRefusedExit, or another where it died more often than `restarts`. Why it died is
/// logged, naming rank and signal. Errors: kNotFound (no mpirun), kIo.
int launch_ranks(const LaunchOptions& options);

/// Ends this rank when the launcher that started it ends.
void end_with_parent();

struct RankDeath {
  size_t rank = 0;
  int signal = 0;
};
/// What mpirun's messages say of the first rank that a signal ended.
std::optional<RankDeath> find_rank_death(std::string_view messages);

}  // namespace fathom::train
