// The section [power] of a scenario.
#include <fmt/format.h>

#include "base/toml.h"
#include "cluster/power.h"

namespace fathom::cluster {
namespace {

constexpr size_t kMostSteps = 1'000;

std::vector<std::pair<std::chrono::sys_days, double>> read_steps(const TomlTable& power,
                                                                 std::string_view key) {
  std::vector<std::pair<std::chrono::sys_days, double>> out;
  for (const TomlTable& step : power.tables(key)) {
    step.allow({"from", "mw"});
    if (out.size() == kMostSteps) step.error(fmt::format("{} steps are enough", kMostSteps));
    const auto from = step.date("from");
    if (!out.empty() && from <= out.back().first)
      step.error("from", "must be later than that of the step before: write the steps in the order of time");
    out.emplace_back(from, step.number("mw", 0, 1e5));
  }
  return out;
}

}  // namespace

PowerSpec PowerSpec::read(const TomlTable& root) {
  const TomlTable table = root.table("power");
  table.allow({"region", "cooling", "pue", "chip_utilisation", "storage_and_rest_share", "battery_mwh",
               "battery_mw", "generator_usd_per_kwh", "generator_kg_per_kwh", "ramp_limit_mw_per_s", "grid",
               "generator"});
  PowerSpec spec;
  spec.region = table.text("region");
  spec.cooling = table.text_or("cooling", "");
  spec.pue = table.number_or("pue", 0, 0, 5);
  if (spec.pue != 0 && spec.pue < 1)
    table.error("pue", "must be 1 or more: the site draws at least what its computers draw");
  if (spec.pue == 0 && spec.cooling.empty()) table.error("name a 'cooling' of the catalogue, or give 'pue'");
  spec.chip_utilisation = table.number_or("chip_utilisation", spec.chip_utilisation, 0.01, 1);
  spec.storage_and_rest_share =
      table.number_or("storage_and_rest_share", spec.storage_and_rest_share, 0, 0.9);
  spec.battery_mwh = table.number_or("battery_mwh", 0, 0, 1e6);
  spec.battery_mw = table.number_or("battery_mw", 0, 0, 1e5);
  spec.generator_usd_per_kwh = table.number_or("generator_usd_per_kwh", spec.generator_usd_per_kwh, 0, 100);
  spec.generator_kg_per_kwh = table.number_or("generator_kg_per_kwh", spec.generator_kg_per_kwh, 0, 10);
  spec.ramp_limit_mw_per_s = table.number_or("ramp_limit_mw_per_s", 0, 0, 1e6);
  spec.grid_mw = read_steps(table, "grid");
  spec.generator_mw = read_steps(table, "generator");
  return spec;
}

}  // namespace fathom::cluster
