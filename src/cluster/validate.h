// The planner against measured runs: every row of a CSV replayed, predicted beside measured.
//
// docs/planning.md documents the columns that a user's own CSV may have. Thread-safe; deterministic.
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
  std::string label;     // "GPT 175B, 1024 A100, tp 8 pp 8"
  std::string machine;   // accelerator id
  std::string group;     // "a100 dense", "h100 dense", "moe", "inference"
  std::string quantity;  // "step time s", "tokens/s/chip", "TFLOP/s/chip", "memory GB"
  double measured = 0, predicted = 0;
  double error() const;  // of time: (predicted - measured) / measured, of rates turned into time first
  bool fitted = false;   // among the rows that the constants were fitted on
  std::string skipped;   // why it cannot be replayed; else empty
  std::string reason;    // written reason for an error over 25 %
};

struct ValidationGroup {
  std::string name;
  size_t rows = 0, skipped = 0, fitted = 0, over_25 = 0;
  double mean_absolute_error = 0, median_absolute_error = 0, bias = 0,
         worst = 0;  // shares; of rows not fitted on too
};

struct ValidationResult {
  std::vector<ValidationRow> rows;
  std::vector<ValidationGroup> groups;  // by group, then by set
};

/// Replays the files. Errors: kInvalidArgument with file, line and column.
ValidationResult validate(const std::vector<std::filesystem::path>& files, const Catalogue& catalogue,
                          const std::filesystem::path& models, ThreadPool& pool);

}  // namespace fathom::cluster
