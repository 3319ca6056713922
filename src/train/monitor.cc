#include "train/monitor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr auto kScrape = std::chrono::seconds(5);
constexpr double kNewest = 0.05;  // weight of the newest step in the mean
constexpr const char* kMetrics = "metrics.jsonl";
constexpr const char* kEvents = "events.jsonl";

int open_to_append(const fs::path& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0)
    throw Error(ErrorCode::kIo, fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
  return file;
}

/// A crash may have cut the last line short: what follows begins a line of its own.
void end_last_line(int file, const fs::path& path) {
  struct stat info {};
  if (::fstat(file, &info) != 0 || info.st_size == 0) return;
  const std::string content = read_file(path);
  if (!content.empty() && content.back() != '\n' && ::write(file, "\n", 1) != 1) return;
}

/// JSON has no infinities; a loss that is none of the finite numbers is null.
ordered_json finite(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

std::string escaped_label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

}  // namespace

ordered_json to_json(const StepMetrics& m) {
  ordered_json out = {{"step", m.step},
                      {"loss", finite(m.loss)},
                      {"balance", finite(m.balance)},
                      {"dropped", m.dropped},
                      {"learning_rate", m.learning_rate},
                      {"grad_norm", finite(m.grad_norm)},
                      {"tokens", m.tokens},
                      {"tokens_per_s", m.tokens_per_s},
                      {"flops", m.flops},
                      {"share_of_peak", m.share_of_peak},
                      {"step_time", m.step_time},
                      {"exposed_comm", m.exposed_comm},
                      {"checkpoint_s", m.checkpoint_s},
                      {"goodput", m.goodput},
                      {"skipped", m.skipped}};
  if (m.held_out_loss) out["held_out_loss"] = finite(*m.held_out_loss);
  if (m.held_out_perplexity) out["held_out_perplexity"] = finite(*m.held_out_perplexity);
  return out;
}

std::vector<ordered_json> read_json_lines(const fs::path& file) {
  std::vector<ordered_json> out;
  std::error_code unreadable;
  if (!fs::exists(file, unreadable)) return out;
  const std::string text = read_file(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    ordered_json line = ordered_json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (line.is_object()) out.push_back(std::move(line));
    begin = end + 1;
  }
  return out;
}

std::string prometheus_text(const StepMetrics& m, std::string_view run) {
  std::string out;
  const std::string label = fmt::format("{{run=\"{}\"}}", escaped_label(run));
  const auto add = [&](std::string_view name, std::string_view type, std::string_view help, double value) {
    out += fmt::format("# HELP fathom_train_{0} {1}\n# TYPE fathom_train_{0} {2}\nfathom_train_{0}{3} {4}\n",
                       name, help, type, label, value);
  };
  add("step", "counter", "Steps done.", static_cast<double>(m.step));
  add("tokens_total", "counter", "Tokens trained on.", static_cast<double>(m.tokens));
  add("skipped_batches_total", "counter", "Batches left out because their loss was not finite.",
      static_cast<double>(m.skipped));
  add("loss", "gauge", "Mean cross-entropy of the newest batch, in nats.", m.loss);
  add("grad_norm", "gauge", "Global norm of the gradient before clipping.", m.grad_norm);
  add("learning_rate", "gauge", "Learning rate of the newest step.", m.learning_rate);
  add("tokens_per_second", "gauge", "Tokens a second of the newest step.", m.tokens_per_s);
  add("share_of_peak", "gauge", "Model operations over the measured peak of the processors.",
      m.share_of_peak);
  add("step_seconds", "gauge", "Duration of the newest step.", m.step_time);
  add("exposed_comm_seconds", "gauge", "Of it, waiting for communication that nothing hid.", m.exposed_comm);
  add("goodput", "gauge", "Share of the time since the start that went into steps that count.", m.goodput);
  if (m.held_out_loss)
    add("held_out_loss", "gauge", "Mean cross-entropy on held-out text.", *m.held_out_loss);
  return out;
}

std::string run_name(const std::filesystem::path& folder) {
  const auto path = std::filesystem::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::clamp(seconds, 0.0, 1e12) + 0.5);
  const uint64_t days = whole / 86'400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
  if (days > 0) return fmt::format("{} d {} h", days, hours);
  if (hours > 0) return fmt::format("{} h {} min", hours, minutes);
  return minutes > 0 ? fmt::format("{} min", minutes) : fmt::format("{} s", whole);
}

std::string progress_line(const StepMetrics& m, uint64_t steps, double seconds_left) {
  std::string line =
      fmt::format("step {}/{}  loss {:.4f}  {} tokens/s", m.step, steps, m.loss, human_count(m.tokens_per_s));
  if (m.share_of_peak > 0) line += fmt::format("  {:.0f} % of peak", 100 * m.share_of_peak);
  if (m.skipped > 0) line += fmt::format("  {} skipped", m.skipped);
  return line + fmt::format("  {} left", format_duration(seconds_left));
}

Monitor::Monitor(const fs::path& folder, uint64_t steps, bool progress)
    : folder_(folder), steps_(steps), progress_(progress) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  metrics_ = open_to_append(folder / kMetrics);
  end_last_line(metrics_, folder / kMetrics);
  events_ = open_to_append(folder / kEvents);
  end_last_line(events_, folder / kEvents);
}

Monitor::~Monitor() {
  if (drawn_) std::fputc('\n', stderr);
  if (metrics_ >= 0) ::close(metrics_);
  if (events_ >= 0) ::close(events_);
}

void Monitor::resume(uint64_t step) {
  std::string kept;
  for (const ordered_json& line : read_json_lines(folder_ / kMetrics))
    if (const auto at = line.find("step");
        at != line.end() && at->is_number_unsigned() && at->get<uint64_t>() <= step)
      kept += line.dump() + "\n";
  ::close(std::exchange(metrics_, -1));
  write_file_atomic(folder_ / kMetrics, kept);
  metrics_ = open_to_append(folder_ / kMetrics);
  last_step_ = {};
}

void Monitor::append(int file, const std::string& line) {
  const ssize_t written = ::write(file, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size()) || failed_) return;
  failed_ = true;
  log().warn("the metrics in '{}' cannot be written: {}; training goes on", folder_.string(),
             std::strerror(errno));
}

void Monitor::step(const StepMetrics& metrics) {
  append(metrics_, to_json(metrics).dump() + "\n");
  const auto now = std::chrono::steady_clock::now();
  if (last_step_.time_since_epoch().count() != 0) {
    const double seconds = std::chrono::duration<double>(now - last_step_).count();
    mean_step_ = mean_step_ == 0 ? seconds : mean_step_ + kNewest * (seconds - mean_step_);
  }
  last_step_ = now;
  if (now - last_scraped_ >= kScrape || metrics.step == steps_) {
    last_scraped_ = now;
    try {
      write_file_atomic(folder_ / "metrics.prom", prometheus_text(metrics, run_name(folder_)));
    } catch (const Error& error) {
      if (!failed_) log().warn("{}; training goes on", error.what());
      failed_ = true;
    }
  }
  draw(metrics);
}

void Monitor::draw(const StepMetrics& metrics) {
  if (!progress_) return;
  const double left = static_cast<double>(steps_ - std::min(steps_, metrics.step));
  std::fprintf(stderr, "\r\033[K%s", progress_line(metrics, steps_, left * mean_step_).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Monitor::event(std::string_view name, uint64_t step, const json& fields) {
  ordered_json line = {{"event", name}, {"step", step}, {"time", format_time(SystemClock().now())}};
  for (const auto& [key, value] : fields.items()) line[key] = value;
  append(events_, line.dump() + "\n");
}

std::optional<size_t> SlowRankWatch::see(std::span<const float> seconds) {
  if (seconds.size() < 2) return std::nullopt;
  std::vector<float> sorted(seconds.begin(), seconds.end());
  // Of an even number the lower middle: of two ranks the faster one is what the other is held against.
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const auto median = static_cast<double>(*middle);
  const double limit = std::max(kFactor * median, median + kLeastSeconds);
  std::optional<size_t> slow;
  for (size_t rank = 0; rank < seconds.size(); ++rank) {
    in_a_row_[rank] = static_cast<double>(seconds[rank]) > limit ? in_a_row_[rank] + 1 : 0;
    if (in_a_row_[rank] == kSteps) slow = rank;
  }
  return slow;
}

}  // namespace fathom::train
