// What the planning commands share: how a scenario is named, found, changed and read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cluster/scenario.h"

namespace fathom::cli {

struct ScenarioOptions {
  std::string scenario;                           // a file, or the name of one in data/scenarios
  std::vector<std::filesystem::path> catalogues;  // folders, on top of data/catalogue
  std::vector<std::string> changes;               // "machine.chips=50000"
  bool json = false;
};

/// The positional SCENARIO, --catalogue, --set and --json.
void add_scenario_options(CLI::App& command, ScenarioOptions& options);

/// The file, or the one of that name in data/scenarios. Errors: kNotFound, naming the scenarios there are.
std::filesystem::path find_scenario(const std::string& named);

/// data/catalogue and then the user's folders. Errors: as Catalogue::read.
cluster::Catalogue read_catalogue(const std::vector<std::filesystem::path>& folders);

/// Errors: kNotFound, naming the scenarios there are; as Scenario::read.
cluster::Scenario read_scenario(const ScenarioOptions& options, const cluster::Catalogue& catalogue);

/// Where the descriptions of models lie that [model] preset names.
std::filesystem::path models_folder();

}  // namespace fathom::cli
