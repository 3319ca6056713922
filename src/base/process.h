// Other programs, run to their end. Functions are thread-safe. Errors: kNotFound (no such program on the PATH), kIo.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct ProcessResult {
  int exit_code = 0;  // where it ended by itself
  int signal = 0;     // that ended it; 0: none
  std::string out;    // its standard output, cut at 1 MiB

  bool ok() const { return exit_code == 0 && signal == 0; }
};

/// `command`: the program, by its path or as found on the PATH, and its arguments. Standard error is this process's.
ProcessResult run_process(const std::vector<std::string>& command);

/// Where the PATH has the program.
std::optional<std::filesystem::path> find_program(std::string_view name);

/// The file of this very program.
std::filesystem::path own_program();

}  // namespace fathom
