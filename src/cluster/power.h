// Electricity: how much the machine draws, month by month as racks are energised, whether there is enough, what bridges
// the gap, what the training's swings do, and what it emits. Pure functions; thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/schedule.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Section [power] of a scenario: keys as the names below, and the steps as [[power.grid]] and [[power.generator]] with
/// from = 2025-01-01 and mw = 150: what there is in all from that day on, until the next step. What tasks of the schedule
/// bring (power_mw of a [[task]]) is added to these steps: say each source once.
struct PowerSpec {
  std::string region;                    // id
  std::string cooling;                   // id
  double pue = 0;                        // 0: of the cooling
  double chip_utilisation = 0.9;         // of the chip's power while a step runs
  double storage_and_rest_share = 0.03;  // of IT power, beyond hosts, network and storage units
  double battery_mwh = 0, battery_mw = 0;
  double generator_usd_per_kwh = 0.12;  // fuel
  double generator_kg_per_kwh = 0.5;
  std::vector<std::pair<std::chrono::sys_days, double>> grid_mw;       // steps: available from that day on
  std::vector<std::pair<std::chrono::sys_days, double>> generator_mw;  // the same, brought in
  double ramp_limit_mw_per_s = 0;                                      // that the grid bears; 0: not said
  /// From the scenario's root. Errors: kInvalidArgument with the line. Ids are looked up when they are used.
  static PowerSpec read(const TomlTable& root);
};

struct PowerDraw {  // of the whole machine, watts
  double chips_w = 0, hosts_w = 0, network_w = 0, storage_w = 0, rest_w = 0;
  double it_w = 0, facility_w = 0, peak_facility_w = 0;
  double idle_it_w = 0;
  double swing_w = 0;        // between computing and waiting, all chips in step
  double swing_w_per_s = 0;  // steepest, when a step ends together
};

struct PowerMonth {
  std::chrono::sys_days month;
  double energised = 0;  // share, median
  double it_mw = 0, facility_mw = 0, peak_mw = 0;
  double grid_mw = 0, generator_mw = 0, battery_mw = 0;
  double shortfall_mw = 0;  // what is missing at the peak
  double mwh = 0, grid_mwh = 0, generator_mwh = 0;
  double tonnes_co2 = 0, usd = 0;
};

struct PowerResult {
  PowerDraw draw;
  std::vector<PowerMonth> months;
  bool enough = false;                  // for the whole machine, at the end
  std::chrono::sys_days enough_from{};  // the first day with enough for all; epoch: never
  double chips_powered = 0;             // at the end
  std::string sentence;                 // enough or not, when, and what would make it so
  double mwh_per_year = 0, usd_per_year = 0, tonnes_per_year = 0;
  double battery_minutes = 0;  // that the batteries carry the peak, or their own rating where that is less
  bool ramp_within_limit = true;
};
/// While it trains: chips compute for the share of the step that is computing, and wait else. `step` without a time: they
/// compute throughout. Errors: kNotFound (an id of the catalogue).
PowerDraw power_draw(const Machine& machine, const StepCost& step, const PowerSpec& spec,
                     const Catalogue& catalogue, double storage_w);
/// Month by month from the schedule's ramp (without one: the whole machine from the first step on). Batteries fill what
/// peaks exceed the mean by; they are no source. Errors: kNotFound (the region).
PowerResult plan_power(const PowerDraw& draw, const PowerSpec& spec, const ScheduleResult& schedule,
                       const Catalogue& catalogue, double chips);

}  // namespace fathom::cluster
