#include "cluster/scenario_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cluster/format.h"

namespace fathom::cluster {
namespace {

std::string count(double value) { return format_number(std::floor(value)); }

/// Ids that sections name and look up only when they are used.
void check_ids(const Scenario& scenario, const TomlTable& document, const Catalogue& catalogue) {
  const auto look = [&](std::string_view section, std::string_view key, const auto& find) {
    at_place(document.table(section).place(key), find);
  };
  if (scenario.run) {
    look("run", "failures", [&] { catalogue.failures(scenario.run->failures); });
    if (!scenario.run->storage.empty())
      look("run", "storage", [&] { catalogue.storage(scenario.run->storage); });
  }
  if (scenario.power) {
    look("power", "region", [&] { catalogue.region(scenario.power->region); });
    if (!scenario.power->cooling.empty())
      look("power", "cooling", [&] { catalogue.cooling(scenario.power->cooling); });
  }
  if (scenario.money && !scenario.money->cloud.empty())
    look("money", "cloud", [&] { catalogue.cloud(scenario.money->cloud); });
}

void check_spares(const Scenario& scenario, const TomlTable& document) {
  if (!scenario.run) return;
  const double hosts =
      static_cast<double>(scenario.machine.chips) / std::max(1U, scenario.machine.host.chips);
  if (scenario.run->spare_nodes > hosts)
    document.table("run").error(
        "spare_nodes",
        fmt::format("is more than the machine's {} hosts; the spares stand beside them", count(hosts)));
}

/// Chips that are not sold yet when the machine has to be ready.
void check_dates(const Scenario& scenario, const TomlTable& document) {
  if (!scenario.schedule) return;
  const std::chrono::year_month_day target(scenario.schedule->target);
  const Accelerator& chip = scenario.machine.chip;
  if (chip.year > static_cast<int>(target.year()))
    document.table("machine").error(
        "accelerator",
        fmt::format("is '{}', delivered in numbers from {}, but the target is {}; take an earlier chip "
                    "or a later target",
                    chip.id, chip.year, format_date(scenario.schedule->target)));
}

/// The most that grid, generators and the tasks that bring power ever give, MW; nothing where none is said.
std::optional<double> most_power(const Scenario& scenario) {
  double most = 0;
  bool said = false;
  const auto add_steps = [&](const auto& steps) {
    double highest = 0;
    for (const auto& [from, megawatts] : steps) highest = std::max(highest, megawatts);
    said = said || !steps.empty();
    most += highest;
  };
  add_steps(scenario.power->grid_mw);
  add_steps(scenario.power->generator_mw);
  if (scenario.schedule)
    for (const Task& task : scenario.schedule->tasks) {
      said = said || task.power_mw > 0;
      most += task.power_mw;
    }
  return said ? std::optional(most) : std::nullopt;
}

/// What chips, hosts and network draw at the least, storage and all else left out. What is too little for this is too
/// little in every case; whether it is enough the report says.
double least_power(const Scenario& scenario, const Catalogue& catalogue) {
  const Machine& machine = scenario.machine;
  const auto chips = static_cast<double>(machine.chips);
  const double hosts = chips / std::max(1U, machine.host.chips);
  const double it = chips * machine.chip.power_w * scenario.power->chip_utilisation +
                    hosts * machine.host.power_w + machine.network.bill().power_w;
  const double pue =
      scenario.power->pue > 0 ? scenario.power->pue : catalogue.cooling(scenario.power->cooling).pue;
  return it * pue / 1e6;
}

void check_power(const Scenario& scenario, const TomlTable& document, const Catalogue& catalogue) {
  if (!scenario.power) return;
  const auto most = most_power(scenario);
  if (!most) return;
  const double need = least_power(scenario, catalogue);
  if (*most + scenario.power->battery_mw >= need) return;  // batteries may carry peaks
  const auto chips = static_cast<double>(scenario.machine.chips);
  document.table("power").error(
      fmt::format("chips, hosts and network alone draw {}, but grid and generators come to {} at the most: "
                  "add {} by [[power.grid]], "
                  "[[power.generator]] or a task with power_mw, or plan for {} chips",
                  format_watts(need * 1e6), format_watts(*most * 1e6), format_watts((need - *most) * 1e6),
                  count(chips * *most / need)));
}

void check_plan(const Scenario& scenario, const TomlTable& document) {
  if (!scenario.plan) return;
  const StepModel model(scenario.model, scenario.machine, scenario.job);
  const StepCost cost = model.evaluate(*scenario.plan);
  if (cost.feasible()) return;
  const TomlTable table = document.table("plan");
  if (cost.fault == PlanFault::kMemory)
    table.error(fmt::format(
        "the layout ({}) needs {} where a chip has {}: more recomputation, a higher ZeRO stage, "
        "higher tensor or pipeline degrees or offloading take less; without [plan] the best "
        "that fits is searched for",
        describe(*scenario.plan), format_bytes(cost.memory.total), format_bytes(cost.memory.capacity)));
  table.error(fmt::format("the layout ({}) cannot be: {}; without [plan] the best is searched for",
                          describe(*scenario.plan), to_string(cost.fault)));
}

}  // namespace

void check_scenario(const Scenario& scenario, const TomlTable& document, const Catalogue& catalogue) {
  check_ids(scenario, document, catalogue);
  check_spares(scenario, document);
  check_dates(scenario, document);
  check_power(scenario, document, catalogue);
  check_plan(scenario, document);
}

}  // namespace fathom::cluster
