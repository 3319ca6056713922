// The options of commands that read documents: which files, and what of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/command.h"
#include "train/documents.h"

namespace fathom::cli {

/// Adds INPUT... and --field, --format, --lines, --chat, --prompt-field, --answer-field.
void add_document_options(CLI::App& command, train::DocumentOptions& options);

/// Names on standard error what was refused: the first ones, and how many there are.
void tell_problems(const std::vector<std::string>& problems, uint64_t refused);

/// A bar whose total is known once the work has begun.
class LateProgress {
 public:
  LateProgress(std::string label, std::string unit) : label_(std::move(label)), unit_(std::move(unit)) {}
  void update(uint64_t done, uint64_t total) {
    if (!progress_) progress_ = std::make_unique<Progress>(label_, total, unit_);
    progress_->update(done);
  }
  void end() { progress_.reset(); }

 private:
  std::string label_, unit_;
  std::unique_ptr<Progress> progress_;
};

}  // namespace fathom::cli
