#include "base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace fathom {
namespace {

constexpr size_t kMostOutput = size_t{1} << 20;

/// Until the other end is closed; what is beyond the most is read and dropped, so that the program does not wait.
std::string read_all(int file) {
  std::string out;
  std::array<char, 4096> piece{};
  for (;;) {
    const ssize_t n = ::read(file, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return out;
    if (out.size() < kMostOutput) out.append(piece.data(), static_cast<size_t>(n));
  }
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& command) {
  FATHOM_CHECK(!command.empty());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot make a pipe to '{}': {}", command[0], std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawnattr_t attributes;  // signals that this program holds back are the other's to take
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  ProcessResult result;
  if (failed == 0) result.out = read_all(ends[0]);
  ::close(ends[0]);
  if (failed != 0)
    throw Error(failed == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                fmt::format("cannot run '{}': {}", command[0], std::strerror(failed)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

std::optional<std::filesystem::path> find_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  if (path == nullptr) return std::nullopt;
  for (const std::string_view folder : split(path, ':')) {
    auto program = std::filesystem::path(folder) / name;
    if (!folder.empty() && ::access(program.c_str(), X_OK) == 0) return program;
  }
  return std::nullopt;
}

std::filesystem::path own_program() {
  std::error_code failed;
  auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed) throw Error(ErrorCode::kIo, fmt::format("cannot find this program: {}", failed.message()));
  return self;
}

}  // namespace fathom
