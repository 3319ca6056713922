// Money: what the machine costs to buy and to run, to finance, or to rent instead; what one training run and a million
// tokens cost; which assumption moves the total most. US dollars, nominal. Pure functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/network.h"
#include "cluster/power.h"

namespace fathom::cluster {

/// Section [money] of a scenario: keys as the names below.
struct MoneySpec {
  double discount = 0;             // off list, chips and hosts
  double building_usd_per_w = 10;  // of facility power: shell, power distribution, without cooling
  double grid_connection_usd = 0;
  double generator_usd_per_w = 1, battery_usd_per_wh = 0.35;
  double staff = 100, staff_usd_per_year = 250e3;
  double maintenance_share = 0.03;  // of the hardware's price a year
  double spare_share = 0.02;        // hardware bought beside
  double contingency_share = 0.1;
  double debt_share = 0.5, interest = 0.09, equity_return = 0.15;
  double years = 4;  // straight-line depreciation of hardware; building over building_years
  double building_years = 15;
  double residual_share = 0.1;
  std::string cloud;        // id, for renting
  double rented_chips = 0;  // of a hybrid; 0: as many as are not ready
  bool rent_reserved = true;
  /// From the scenario's root. Errors: kInvalidArgument with the line (a negative price, a share above 1, ...).
  static MoneySpec read(const TomlTable& root);
};

// A line of the bill; the parts of a MoneyResult add up: total = capital + running * years + financing - resale.
struct CostLine {
  std::string name, group;  // group: "capital" or "running"
  double usd = 0;           // capital: once; running: a year
};
struct Option {  // own, rent, hybrid (own, and rent until it is ready)
  std::string name;
  double usd_over_years = 0, usd_per_chip_hour = 0;
  double net_present_usd = 0;  // of all payments (costs are positive), at the cost of capital
  double months_until_first_chips = 0;
};
struct Sensitivity {
  std::string name;                  // "price of a chip"
  double low_usd = 0, high_usd = 0;  // of the total over the years, at -20 % and +20 %
};
struct MoneyResult {
  std::vector<CostLine> lines;
  double capital_usd = 0, running_usd_per_year = 0, financing_usd = 0, resale_usd = 0, total_usd = 0;
  double usd_per_chip_hour = 0;     // all in, at the utilisation of goodput 1
  double usd_per_training_run = 0;  // 0 where no tokens are given
  std::vector<Option> options;
  std::vector<Sensitivity> sensitivity;  // widest first
  double breakeven_years = 0;            // own against rent; 0: never within 15 years
};

struct MoneyInput {
  const Machine& machine;
  const PowerResult& power;
  double storage_usd = 0;
  double rack_usd = 0;
  double training_days = 0;  // of one run, with goodput
  double goodput = 1;
};
/// Financing: debt and equity alike are paid back by equal yearly sums over the years at their weighted cost, less what the
/// machine is still worth at the end. Renting pays per chip and hour for as long. Break-even compares present values of what
/// is paid until then, without a sale. Errors: kNotFound (the cloud, the cooling, the host's card).
MoneyResult plan_money(const MoneyInput& input, const MoneySpec& spec, const PowerSpec& power,
                       const Catalogue& catalogue);

}  // namespace fathom::cluster
