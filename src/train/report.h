// What a run's folder tells of it: figures, and a page with plots that stands by itself (no script, nothing fetched).
//
// Reads metrics.jsonl, events.jsonl, run.json and the list of checkpoints; a run may be at work meanwhile. Pure functions of
// the files; thread-safe. Lines that are damaged are passed over. Errors: kNotFound where the folder has no run, kIo.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fathom::train {

struct RunSummary {
  uint64_t steps = 0;  // done, as far as the metrics go
  uint64_t tokens = 0;
  double hours = 0;  // in steps
  double loss = 0;   // mean of the newest steps, at most 20
  double tokens_per_s = 0;
  double share_of_peak = 0;
  std::optional<double> held_out_loss;       // the newest
  std::optional<double> best_held_out_loss;  // the least
  uint64_t skipped = 0;
  size_t resumed = 0;      // starts from a checkpoint
  size_t rolled_back = 0;  // returns to one because of losses that were not finite
  std::vector<uint64_t> slow_ranks;
  bool finished = false;
  std::vector<std::string> checkpoints;  // names of whole ones
};

RunSummary summarise(const std::filesystem::path& folder);
nlohmann::ordered_json to_json(const RunSummary& summary);

/// The page: figures, plots of loss, held-out loss, learning rate, speed, norm of the gradient, with marks where training
/// was resumed, went back or passed over a batch; the events; the configuration.
std::string report_html(const std::filesystem::path& folder);

}  // namespace fathom::train
