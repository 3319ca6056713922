// The planner behind a page: the scenarios that come along, changed by sliders and planned while one waits.
//
// Thread-safe; one plan is made at a time. The pool is the caller's and outlives it. Files are read when it is made.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "base/toml.h"
#include "cluster/catalogue.h"
#include "cluster/report.h"

namespace fathom::cluster {

class Planner {
 public:
  /// `data` holds catalogue, scenarios and models; `catalogues` are further folders. Errors: as Catalogue::read.
  Planner(const std::filesystem::path& data, const std::vector<std::filesystem::path>& catalogues,
          ThreadPool& pool);

  /// {"scenarios": [{name, title, about}], "accelerators": [{id, name, host, year}], "models": [...], "topologies": [{id, name}]}.
  nlohmann::json choices() const;
  bool has(std::string_view scenario) const { return scenarios_.find(scenario) != scenarios_.end(); }

  /// The quick report of the scenario with these changes ("machine.chips", "50000"), as to_json(Report) gives it, and
  /// "drawings" by name as SVG. Errors: kNotFound (no such scenario); kInvalidArgument: a change that may not be made from
  /// afar (files), an impossible scenario, with what would make it possible, one that takes too long; kCancelled.
  nlohmann::json plan(std::string_view scenario,
                      const std::vector<std::pair<std::string, std::string>>& changes,
                      const std::stop_token& stop);

 private:
  class Turn;
  Report report_in_time(const Scenario& scenario, const std::stop_token& stop);

  Catalogue catalogue_;
  std::filesystem::path models_;
  std::map<std::string, TomlTable, std::less<>> scenarios_;
  ThreadPool& pool_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool busy_ = false;
};

}  // namespace fathom::cluster
