// The planner against measured runs: every row of a CSV replayed, predicted beside measured.
//
// data/validation/README.md documents the columns that a user's own CSV may have; validate_run.h says what is filled in
// where a row is silent. Thread-safe; deterministic.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/catalogue.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

struct ValidationRow {
  std::string set;       // the file's name without .csv
  size_t line = 0;       // in it
  std::string label;     // "llama3-70b on 64 h100-sxm, dp 2 tp 4 pp 8 ..."
  std::string machine;   // accelerator id
  std::string group;     // "a100 dense", "h100 dense", "moe", "inference"
  std::string quantity;  // "step s", "tokens/s/chip", "TFLOP/s/chip", ...
  bool rate = false;     // more of it is less time
  double measured = 0, predicted = 0;
  /// Of time, whatever was measured: (predicted - measured) / measured.
  double error() const;
  bool fitted = false;  // among the rows that the constants were fitted on
  bool fits = true;     // in memory, as the planner has it; the run shows that it did
  std::string skipped;  // why it cannot be replayed; else empty
  std::string reason;   // written reason for an error over 25 %
  ParallelPlan plan;    // training: as it was replayed, with what the rules filled in
  StepTime time;        // training: where the predicted step goes
};

struct ValidationGroup {
  std::string name;
  bool is_set = false;  // of one set within the group before it
  size_t rows = 0, skipped = 0, fitted = 0, over_25 = 0,
         unexplained = 0;  // unexplained: over 25 % without a reason
  double mean_absolute_error = 0, median_absolute_error = 0, bias = 0,
         worst = 0;  // shares; of all rows replayed, fitted on or not; worst has its sign
};

struct ValidationResult {
  std::vector<ValidationRow> rows;
  std::vector<ValidationGroup> groups;  // each group, and after it its sets
  std::vector<std::string> notes;       // columns that were passed over, by file
};

/// Replays the files. `reasons`: a TOML file of [[reason]] tables (data/validation/README.md); none: no reasons.
/// Errors: kInvalidArgument with file, line and column.
ValidationResult validate(const std::vector<std::filesystem::path>& files, const Catalogue& catalogue,
                          const std::filesystem::path& models, ThreadPool& pool,
                          const std::filesystem::path& reasons = {});

/// The tables of a folder, by name; of a file, itself. Errors: kNotFound.
std::vector<std::filesystem::path> validation_files(const std::filesystem::path& folder_or_file);

}  // namespace fathom::cluster
