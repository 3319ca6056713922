// What a running job tells: a line of JSON a step, the history of what went wrong, the figures that Prometheus scrapes, a
// progress line at a terminal, and the name of a rank that holds the others up.
//
//   FOLDER/metrics.jsonl  one object a step (StepMetrics; names shared with the planner's: step_time, exposed_comm, goodput)
//   FOLDER/events.jsonl   one object an event: {"event", "step", "time", ...}; never cut
//   FOLDER/metrics.prom   the newest figures, replaced every few seconds: point node_exporter's textfile collector at it
//
// Rank 0's. Not thread-safe. Errors: kIo, kResourceExhausted where a file cannot be begun; later ones are logged once, for a
// full disk must not end training.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::train {

struct StepMetrics {
  uint64_t step = 0;
  double loss = 0;
  double balance = 0;
  double dropped = 0;
  double learning_rate = 0;
  double grad_norm = 0;
  uint64_t tokens = 0;      // of all steps so far
  double tokens_per_s = 0;  // of this step
  double flops = 0;         // a second: the model's operations alone, recomputation not counted
  double share_of_peak = 0;
  double step_time = 0;     // seconds, without checkpoint and evaluation
  double exposed_comm = 0;  // of them waiting for gradients
  double checkpoint_s = 0;  // for which training stood still to save
  double goodput = 0;       // of the time since the process began, the share spent in steps that count
  uint64_t skipped = 0;     // batches so far
  std::optional<double> held_out_loss;
  std::optional<double> held_out_perplexity;
};

nlohmann::ordered_json to_json(const StepMetrics& metrics);

/// Objects of a file of lines, in order; lines that are no JSON objects (the last, after a crash) are passed over. Empty
/// where there is no such file.
std::vector<nlohmann::ordered_json> read_json_lines(const std::filesystem::path& file);

/// In Prometheus' text format (version 0.0.4).
std::string prometheus_text(const StepMetrics& metrics, std::string_view run);

/// "step 120/1000  loss 3.412  31.2 k tokens/s  71 % of peak  4 min left".
std::string progress_line(const StepMetrics& metrics, uint64_t steps, double seconds_left);

/// What a run is called: its folder's name, with or without a slash behind it.
std::string run_name(const std::filesystem::path& folder);

/// "4 min", "2 h 10 min", "3 d 4 h".
std::string format_duration(double seconds);

class Monitor {
 public:
  /// `progress`: draw a line on standard error.
  Monitor(const std::filesystem::path& folder, uint64_t steps, bool progress);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// Training goes on behind `step`: later lines of metrics.jsonl, which will be made again, are cut off.
  void resume(uint64_t step);
  void step(const StepMetrics& metrics);
  /// `fields`: an object whose members are added to the event's.
  void event(std::string_view name, uint64_t step, const nlohmann::json& fields);

 private:
  void append(int file, const std::string& line);
  void draw(const StepMetrics& metrics);

  std::filesystem::path folder_;
  uint64_t steps_;
  bool progress_;
  bool drawn_ = false;
  bool failed_ = false;  // a failure to write has been logged
  int metrics_ = -1;
  int events_ = -1;
  std::chrono::steady_clock::time_point last_scraped_;
  double mean_step_ = 0;  // seconds from step to step, weighted towards the newest
  std::chrono::steady_clock::time_point last_step_{};
};

/// Finds the rank that the others wait for: one whose own work took more than 1.5 times the median's, several steps in a
/// row, and so much longer that it is no chance of a busy machine.
class SlowRankWatch {
 public:
  static constexpr double kFactor = 1.5;
  static constexpr size_t kSteps = 5;
  static constexpr double kLeastSeconds = 0.05;  // longer than the median

  explicit SlowRankWatch(size_t ranks) : in_a_row_(ranks, 0) {}
  /// `seconds`: of each rank, in this step. The rank, once each time that it becomes slow.
  std::optional<size_t> see(std::span<const float> seconds);

 private:
  std::vector<size_t> in_a_row_;
};

}  // namespace fathom::train
