#include "cli/scenario_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/toml.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;

const fs::path kData = FATHOM_DATA_DIR;

std::vector<std::string> known_scenarios() {
  std::vector<std::string> names;
  for (const auto& file : files_of(kData / "scenarios", ".toml")) names.push_back(file.stem().string());
  return names;
}

}  // namespace

fs::path find_scenario(const std::string& named) {
  if (fs::is_regular_file(named)) return named;
  const fs::path shipped = kData / "scenarios" / (named + ".toml");
  const bool plain = named.find('/') == std::string::npos;
  if (plain && fs::is_regular_file(shipped)) return shipped;
  throw Error(ErrorCode::kNotFound, fmt::format("there is no scenario '{}'; name a file, or one of: {}",
                                                named, fmt::join(known_scenarios(), ", ")));
}

void add_scenario_options(CLI::App& command, ScenarioOptions& options) {
  command.add_option("scenario", options.scenario, "A scenario file, or the name of one that comes along")
      ->required()
      ->type_name("SCENARIO");
  command.add_option("--catalogue", options.catalogues, "Folder of catalogue files of your own, read last")
      ->type_name("DIR");
  command
      .add_option("--set", options.changes,
                  "Change a value of the scenario: --set machine.chips=50000 --set task.racks.units=1600")
      ->type_name("KEY=VALUE");
  command.add_flag("--json", options.json, "As JSON");
}

cluster::Catalogue read_catalogue(const std::vector<fs::path>& folders) {
  std::vector<fs::path> all{kData / "catalogue"};
  all.insert(all.end(), folders.begin(), folders.end());
  return cluster::Catalogue::read(all);
}

cluster::Scenario read_scenario(const ScenarioOptions& options, const cluster::Catalogue& catalogue) {
  const TomlTable document = TomlTable::read(find_scenario(options.scenario));
  return cluster::Scenario::from(options.changes.empty() ? document : document.changed(options.changes),
                                 catalogue, models_folder());
}

fs::path models_folder() { return kData / "models"; }

}  // namespace fathom::cli
