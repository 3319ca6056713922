// Written reasons for rows that are predicted badly: rules over what a row is, never over how far it is off.
//
// data/validation/README.md has the format of the file. Values; thread-safe for reading.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/validate.h"
#include "cluster/validate_run.h"

namespace fathom::cluster {

class ValidationReasons {
 public:
  ValidationReasons() = default;
  /// Errors: kNotFound, kIo; kInvalidArgument with file and line.
  static ValidationReasons read(const std::filesystem::path& path);
  static ValidationReasons parse(std::string_view text, const std::string& name);

  /// The reason of the first rule that holds; empty where none does.
  std::string find(const ValidationRow& row, const MeasuredRun& run) const;

 private:
  struct Rule {
    std::string text;
    std::vector<std::string> sets, groups, machines, models, notes;  // any of each; empty: all
    std::vector<std::pair<std::string, std::pair<double, double>>> ranges;
  };
  std::vector<Rule> rules_;
};

}  // namespace fathom::cluster
