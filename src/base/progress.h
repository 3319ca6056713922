// A progress bar on standard error for work that takes more than a second; nothing when that is not a terminal.
//
// Owned by the command that shows it; `update` is cheap (redraws at most ten times a second) and not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

class Progress {
 public:
  /// `total` 0 means unknown: a count and a rate are shown instead of a bar. `unit` as in "posts" or "B".
  Progress(std::string_view label, uint64_t total, std::string_view unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(uint64_t done);

 private:
  void draw(std::chrono::steady_clock::time_point now);

  std::string label_;
  std::string unit_;
  uint64_t total_;
  uint64_t done_ = 0;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

/// 1234567 as "1.2 M", with at most one decimal: for people, not for machines.
std::string human_count(double value);

}  // namespace fathom
