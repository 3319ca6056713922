#include "cluster/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "cluster/drawings.h"
#include "cluster/report.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLongestKey = 128;
constexpr auto kLongestPlan = std::chrono::seconds(20);

/// What a request may change: no files, and nothing that makes the work long.
bool may_change(std::string_view key) {
  // Nothing that a document's reader would take for something else: blanks, '=' and '#', endless names.
  const bool plain = key.size() <= kLongestKey && std::all_of(key.begin(), key.end(), [](unsigned char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                              c == '_' || c == '-' || c == '.';
                     });
  if (!plain) return false;
  static constexpr std::array<std::string_view, 10> kSections = {
      "machine.", "network.", "job.",   "model.preset", "run.",
      "serving.", "power.",   "money.", "schedule.",    "task."};
  static constexpr std::array<std::string_view, 3> kNever = {"run.runs", "run.days", "schedule.samples"};
  if (std::find(kNever.begin(), kNever.end(), key) != kNever.end()) return false;
  return std::any_of(kSections.begin(), kSections.end(), [&](std::string_view section) {
    return section.ends_with('.') ? key.starts_with(section) : key == section;
  });
}

std::vector<fs::path> with_shipped(const fs::path& shipped, const std::vector<fs::path>& further) {
  std::vector<fs::path> all{shipped};
  all.insert(all.end(), further.begin(), further.end());
  return all;
}

}  // namespace

Planner::Planner(const fs::path& data, const std::vector<fs::path>& catalogues, ThreadPool& pool)
    : catalogue_(Catalogue::read(with_shipped(data / "catalogue", catalogues))),
      models_(data / "models"),
      pool_(pool) {
  for (const auto& file : files_of(data / "scenarios", ".toml"))
    scenarios_.emplace(file.stem().string(), TomlTable::read(file));
}

json Planner::choices() const {
  json scenarios = json::array(), accelerators = json::array(), topologies = json::array();
  for (const auto& [name, document] : scenarios_)
    scenarios.push_back({{"name", name},
                         {"title", document.text_or("title", name)},
                         {"about", document.text_or("about", "")}});
  for (const auto& entry : catalogue_.accelerators) {
    const Accelerator& chip = entry.second;
    const auto host = std::find_if(catalogue_.hosts.begin(), catalogue_.hosts.end(),
                                   [&](const auto& one) { return one.second.accelerator == chip.id; });
    if (host == catalogue_.hosts.end()) continue;
    accelerators.push_back(
        {{"id", chip.id}, {"name", chip.name}, {"host", host->first}, {"year", chip.year}});
  }
  for (const auto topology :
       {Topology::kRailFatTree, Topology::kFatTree, Topology::kDragonfly, Topology::kTorus3d})
    topologies.push_back({{"id", key_of(topology)}, {"name", to_string(topology)}});
  return {{"scenarios", std::move(scenarios)},
          {"accelerators", std::move(accelerators)},
          {"models", model::description_names(models_)},
          {"topologies", std::move(topologies)}};
}

/// One plan at a time; who waits for his turn leaves when nobody waits for him.
class Planner::Turn {
 public:
  Turn(Planner& planner, const std::stop_token& stop) : planner_(planner) {
    std::unique_lock lock(planner_.mutex_);
    if (!planner_.changed_.wait(lock, stop, [this] { return !planner_.busy_; }))
      throw Error(ErrorCode::kCancelled, "nobody waits for this plan any more");
    planner_.busy_ = true;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    {
      std::lock_guard lock(planner_.mutex_);
      planner_.busy_ = false;
    }
    planner_.changed_.notify_one();
  }

 private:
  Planner& planner_;
};

/// The quick report; given up when nobody waits for it, and when it takes too long.
Report Planner::report_in_time(const Scenario& scenario, const std::stop_token& stop) {
  std::stop_source limit;
  const std::stop_callback gone(stop, [&limit] { limit.request_stop(); });
  std::atomic<bool> late{false};
  const auto check = [&] {
    if (late)
      throw Error(ErrorCode::kInvalidArgument,
                  "this takes too long to be planned here: ask for fewer chips, failures or stragglers, or "
                  "use fathom plan");
    if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "nobody waits for this plan any more");
  };
  const std::jthread clock([&](const std::stop_token& ended) {
    std::mutex mutex;
    std::condition_variable_any condition;
    std::unique_lock lock(mutex);
    condition.wait_for(lock, ended, kLongestPlan, [] { return false; });
    if (ended.stop_requested()) return;
    late = true;
    limit.request_stop();
  });
  ReportOptions options;
  options.quick = true;
  options.stop = limit.get_token();
  try {
    Report report = make_report(scenario, catalogue_, pool_, options);
    check();
    return report;
  } catch (const Error&) {
    check();
    throw;
  }
}

json Planner::plan(std::string_view name, const std::vector<std::pair<std::string, std::string>>& changes,
                   const std::stop_token& stop) {
  const auto found = scenarios_.find(name);
  if (found == scenarios_.end())
    throw Error(ErrorCode::kNotFound, fmt::format("there is no scenario '{}'", name));
  std::vector<std::string> applied;
  for (const auto& [key, value] : changes) {
    if (!may_change(key))
      throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' cannot be changed from here", key));
    applied.push_back(key + "=" + value);
  }
  const Turn turn(*this, stop);
  const Scenario scenario = Scenario::from(found->second.changed(applied), catalogue_, models_);
  const Report report = report_in_time(scenario, stop);
  json out = to_json(report, scenario);
  for (const auto& drawing : drawings(report, scenario))
    out["drawings"].push_back({{"name", drawing.name}, {"title", drawing.title}, {"svg", drawing.svg}});
  return out;
}

}  // namespace fathom::cluster
