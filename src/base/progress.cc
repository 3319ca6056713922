#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace fathom {
namespace {
constexpr auto kQuiet = std::chrono::seconds(1);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr size_t kBarWidth = 28;
}  // namespace

Progress::Progress(std::string_view label, uint64_t total, std::string_view unit)
    : label_(label),
      unit_(unit),
      total_(total),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (!drawn_) return;
  draw(std::chrono::steady_clock::now());
  std::fputc('\n', stderr);
}

void Progress::update(uint64_t done) {
  done_ = done;
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - start_ < kQuiet || now - last_ < kRedraw) return;
  last_ = now;
  draw(now);
}

void Progress::draw(std::chrono::steady_clock::time_point now) {
  drawn_ = true;
  const double seconds = std::max(1e-9, std::chrono::duration<double>(now - start_).count());
  const double rate = static_cast<double>(done_) / seconds;
  std::string line;
  if (total_ == 0) {
    line = fmt::format("{}: {} {} ({}/s)", label_, human_count(static_cast<double>(done_)), unit_,
                       human_count(rate));
  } else {
    const double share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    const auto filled = static_cast<size_t>(share * kBarWidth);
    const double left = rate > 0 ? static_cast<double>(total_ - std::min(total_, done_)) / rate : 0;
    line = fmt::format("{} [{:#<{}}{:.<{}}] {:3.0f}%  {} {}/s  {:.0f} s left", label_, "", filled, "",
                       kBarWidth - filled, share * 100, human_count(rate), unit_, left);
  }
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
}

std::string human_count(double value) {
  static constexpr const char* kScale[] = {"", " k", " M", " G", " T"};
  size_t step = 0;
  while (value >= 999.5 && step + 1 < std::size(kScale)) {
    value /= 1000;
    ++step;
  }
  return step == 0 ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}{}", value, kScale[step]);
}

}  // namespace fathom
