// A scenario file: one machine, one model, one job, and everything that decides when it is ready and what it costs.
//
// data/scenarios/*.toml are examples; docs/planning.md lists every key. Sections: [model], [job], [machine], [network],
// [plan] (a fixed layout), [search] (of layouts), [run], [serving], [power], [money], [schedule] with [[task]], [[crew]], [[risk]].
// All but [model] and [machine] may be left out; what is left out is not planned. [machine] has accelerator and host (ids of
// the catalogue; the host may be left out), chips, and rack (an id, to count racks and pay for them).
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "cluster/catalogue.h"
#include "cluster/money.h"
#include "cluster/network.h"
#include "cluster/power.h"
#include "cluster/schedule.h"
#include "cluster/search.h"
#include "cluster/serving.h"
#include "cluster/simulate.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

struct Scenario {
  std::string file, title, about;
  model::ModelConfig model;
  Machine machine;
  double racks = 0,
         rack_usd = 0;  // [machine] rack = "ID": so many as its units and its power ask for, and their price
  TrainingJob job;
  std::optional<ParallelPlan> plan;  // fixed
  SearchSpace search;
  std::optional<RunSpec> run;
  std::optional<ServingSpec> serving;
  std::optional<PowerSpec> power;
  std::optional<MoneySpec> money;
  std::optional<ScheduleSpec> schedule;

  /// `models` is the folder of data/models (model::read_description), where [model] preset = "NAME" is looked for; [model]
  /// file = "PATH" names a GGUF file, a Hugging Face folder or a description, relative to the scenario.
  /// Errors: kInvalidArgument with "FILE:LINE: ..." for everything that is impossible: unknown keys and ids, negative
  /// prices, dates in the past of the project, chips that the topology cannot join, ...; the sentence says what would do.
  static Scenario read(const std::filesystem::path& file, const Catalogue& catalogue,
                       const std::filesystem::path& models);
  static Scenario parse(std::string_view text, const std::string& name, const Catalogue& catalogue,
                        const std::filesystem::path& models);
  /// Of a document that was read, and perhaps changed (TomlTable::changed): what the other two come to.
  static Scenario from(const TomlTable& document, const Catalogue& catalogue,
                       const std::filesystem::path& models);

  /// "FILE:LINE" of a section ("search"), for what turns out impossible later; of the file where there is no such section.
  std::string place(std::string_view section) const;
  std::map<std::string, std::string, std::less<>> places;
};

/// [plan], and plans that a user writes elsewhere: keys as the names of ParallelPlan. `data` may be left out: what
/// the other degrees leave of `chips`. Errors: kInvalidArgument with the line.
ParallelPlan read_plan(const TomlTable& table, uint64_t chips);

}  // namespace fathom::cluster
