#include <nlohmann/json.hpp>

#include "base/toml.h"
#include "cluster/json.h"
#include "cluster/report.h"

namespace fathom::cluster {
namespace {

using nlohmann::json;

/// What was planned for, as far as tables and sliders show it.
json scenario_json(const Scenario& scenario) {
  const Machine& machine = scenario.machine;
  const auto& model = scenario.model;
  json out = {{"file", scenario.file},
              {"title", scenario.title},
              {"about", scenario.about},
              {"machine",
               {{"chips", machine.chips},
                {"accelerator", machine.chip.id},
                {"accelerator_name", machine.chip.name},
                {"host", machine.host.id},
                {"chips_per_host", machine.host.chips},
                {"racks", scenario.racks},
                {"network", machine.network}}},
              {"model",
               {{"name", model.name.empty() ? model.architecture : model.name},
                {"parameters", model.parameters()},
                {"active_parameters", model.active_parameters()},
                {"layers", model.layers},
                {"d_model", model.d_model}}},
              {"job",
               {{"sequence", scenario.job.sequence},
                {"global_batch", scenario.job.global_batch},
                {"tokens", scenario.job.tokens}}}};
  out["machine"]["network"]["oversubscription"] = machine.network.spec().oversubscription;
  if (scenario.schedule)
    out["schedule"] = {{"start", format_date(scenario.schedule->start)},
                       {"target", format_date(scenario.schedule->target)}};
  return out;
}

}  // namespace

json to_json(const Report& report, const Scenario& scenario) {
  json out = {{"title", report.title},
              {"scenario", scenario_json(scenario)},
              {"plan", report.plan},
              {"step", report.step},
              {"training_days", report.training_days}};
  if (report.search) out["search"] = *report.search;
  if (report.run) out["run"] = *report.run;
  if (report.serving) out["serving"] = *report.serving;
  if (report.schedule) out["schedule"] = *report.schedule;
  if (report.power) out["power"] = *report.power;
  if (report.money) out["money"] = *report.money;
  return out;
}

}  // namespace fathom::cluster
