#include "train/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/process.h"

namespace fathom::train {
namespace {

constexpr int kPollMilliseconds = 100;
constexpr std::chrono::seconds kAskAgain{2};
constexpr size_t kMostMessages = size_t{64} << 10;

/// A pipe's two ends, closed with it.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0)
      throw Error(ErrorCode::kIo, fmt::format("cannot make a pipe to mpirun: {}", std::strerror(errno)));
  }
  ~Pipe() {
    close_write();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_write() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }

 private:
  std::array<int, 2> ends_{};
};

/// In a process group of its own, so that Ctrl-C reaches this process alone, which passes it on in its own way.
[[noreturn]] void become(char* const* arguments, int error_output, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int empty = ::open("/dev/null", O_RDONLY);
  ::dup2(empty, STDIN_FILENO);
  ::dup2(error_output, STDERR_FILENO);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

pid_t start(const std::vector<std::string>& command, int error_output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error(ErrorCode::kIo, fmt::format("cannot start mpirun: {}", std::strerror(errno)));
  if (child == 0) become(arguments.data(), error_output, parent);
  return child;
}

/// Passes on what the job says, and keeps the end of it.
class Messages {
 public:
  /// False once the job has closed its end.
  bool pass_on(int from) {
    std::array<char, 4096> piece{};
    const ssize_t n = ::read(from, piece.data(), piece.size());
    if (n < 0) return errno == EINTR;
    if (n == 0) return false;
    const std::string_view text(piece.data(), static_cast<size_t>(n));
    kept_ += text;
    if (kept_.size() > 2 * kMostMessages) kept_.erase(0, kept_.size() - kMostMessages);
    for (size_t done = 0; done < text.size();) {
      const ssize_t written = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
      if (written <= 0 && errno != EINTR) break;
      done += static_cast<size_t>(std::max<ssize_t>(written, 0));
    }
    return true;
  }
  const std::string& kept() const { return kept_; }

 private:
  std::string kept_;
};

struct JobEnd {
  int code = 0;
  std::optional<RankDeath> death;
};

JobEnd run_once(const std::vector<std::string>& command, const std::stop_token& stop) {
  Pipe errors;
  const pid_t job = start(command, errors.write_end());
  errors.close_write();
  Messages messages;
  auto told = std::chrono::steady_clock::time_point::min();
  for (bool open = true; open;) {
    // More than once: what comes while the ranks are being started reaches none of them.
    if (const auto now = std::chrono::steady_clock::now(); stop.stop_requested() && now > told + kAskAgain) {
      ::kill(job, SIGUSR1);
      told = now;
    }
    pollfd wait{errors.read_end(), POLLIN, 0};
    if (::poll(&wait, 1, kPollMilliseconds) > 0) open = messages.pass_on(errors.read_end());
  }
  int status = 0;
  while (::waitpid(job, &status, 0) < 0 && errno == EINTR) {
  }
  JobEnd end;
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (stop.stop_requested() && WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1)
    end.code = kStoppedExit;  // before mpirun was ready for it
  if (end.code != 0) end.death = find_rank_death(messages.kept());
  return end;
}

std::string reason(const JobEnd& end) {
  if (end.death)
    return fmt::format("rank {} was ended by signal {} ({})", end.death->rank, end.death->signal,
                       ::strsignal(end.death->signal));
  return fmt::format("the job ended with code {}", end.code);
}

std::vector<std::string> under_mpirun(const LaunchOptions& options) {
  const auto mpirun = find_program("mpirun");
  if (!mpirun)
    throw Error(
        ErrorCode::kNotFound,
        "there is no mpirun: install openmpi-bin, or run the ranks as threads with --threads-as-ranks");
  // More ranks than cores are the user's wish; each rank's threads share out the cores themselves.
  std::vector<std::string> out = {
      mpirun->string(), "--oversubscribe", "--bind-to", "none", "-n", std::to_string(options.ranks)};
  out.insert(out.end(), options.command.begin(), options.command.end());
  return out;
}

}  // namespace

std::optional<RankDeath> find_rank_death(std::string_view messages) {
  constexpr std::string_view kRank = "process rank ", kSignal = "exited on signal ";
  const size_t rank = messages.find(kRank);
  if (rank == std::string_view::npos) return std::nullopt;
  const size_t signal = messages.find(kSignal, rank);
  if (signal == std::string_view::npos) return std::nullopt;
  RankDeath out;
  const char* end = messages.data() + messages.size();
  const auto first = std::from_chars(messages.data() + rank + kRank.size(), end, out.rank);
  const auto second = std::from_chars(messages.data() + signal + kSignal.size(), end, out.signal);
  if (first.ec != std::errc() || second.ec != std::errc()) return std::nullopt;
  return out;
}

void end_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

int launch_ranks(const LaunchOptions& options) {
  // A container's only user is root.
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  const auto command = under_mpirun(options);
  for (size_t deaths = 0;; ++deaths) {
    const JobEnd end = run_once(command, options.stop);
    if (end.code == 0 || end.code == kStoppedExit || end.code == kRefusedExit) return end.code;
    const std::string why = reason(end);
    if (options.stop.stop_requested() || deaths == options.restarts) {
      log().error("{}; the job is not started again", why);
      return 1;
    }
    log().warn("{}; starting again from the last good checkpoint ({} of {} restarts)", why, deaths + 1,
               options.restarts);
  }
}

}  // namespace fathom::train
