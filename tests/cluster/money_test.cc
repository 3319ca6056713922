#include "cluster/money.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

using testing::HasSubstr;

Catalogue plain_catalogue() {
  Catalogue out;
  Cloud cloud;
  cloud.id = cloud.name = "rentals";
  cloud.usd_per_chip_hour = 4;
  cloud.reserved_usd_per_chip_hour = 2.5;
  out.clouds["rentals"] = cloud;
  Cooling cooling;
  cooling.id = "fans";
  cooling.price_usd_per_w = 2;
  out.coolings["fans"] = cooling;
  Nic nic;
  nic.id = "card";
  nic.price_usd = 1000;
  out.nics["card"] = nic;
  return out;
}

/// 1,000 chips in 125 hosts of 300,000 USD.
Machine small_machine() {
  Machine machine;
  machine.chips = 1000;
  machine.host.chips = 8;
  machine.host.price_usd = 300e3;
  return machine;
}

PowerResult small_power() {
  PowerResult power;
  power.draw.it_w = 1e6;
  power.draw.facility_w = 1.2e6;
  power.draw.peak_facility_w = 1.5e6;
  power.usd_per_year = 1e6;
  for (int i = 0; i < 12; ++i) {
    PowerMonth month;
    month.energised = i < 6 ? 0 : i < 9 ? 0.5 : 1;
    power.months.push_back(month);
  }
  return power;
}

MoneySpec small_spec() {
  MoneySpec spec;
  spec.staff = 10;
  spec.staff_usd_per_year = 200e3;
  spec.maintenance_share = 0.02;
  spec.spare_share = 0.04;
  spec.contingency_share = 0.1;
  spec.building_usd_per_w = 10;
  spec.cloud = "rentals";
  return spec;
}

PowerSpec small_site() {
  PowerSpec power;
  power.cooling = "fans";
  power.battery_mwh = 2;
  power.generator_mw = {{std::chrono::sys_days{}, 0.5}};
  return power;
}

double line(const MoneyResult& result, const std::string& name) {
  for (const CostLine& item : result.lines)
    if (item.name == name) return item.usd;
  return 0;
}

MoneyResult plan(const Machine& machine, const MoneySpec& spec,
                 const Catalogue& catalogue = plain_catalogue()) {
  const PowerResult power = small_power();
  return plan_money(
      {.machine = machine, .power = power, .storage_usd = 1e6, .rack_usd = 0.5e6, .training_days = 30}, spec,
      small_site(), catalogue);
}

TEST(PlanMoney, AddsUpTheBill) {
  const MoneyResult result = plan(small_machine(), small_spec());
  EXPECT_NEAR(line(result, "hosts with chips"), 37.5e6, 1);
  EXPECT_NEAR(line(result, "storage"), 1e6, 1);
  EXPECT_NEAR(line(result, "racks"), 0.5e6, 1);
  EXPECT_NEAR(line(result, "spares"), 0.04 * 38.5e6, 1);
  EXPECT_NEAR(line(result, "building and power distribution"), 15e6, 1);
  EXPECT_NEAR(line(result, "cooling"), 2e6, 1);
  EXPECT_NEAR(line(result, "generators"), 0.5e6, 1);
  EXPECT_NEAR(line(result, "batteries"), 0.7e6, 1);
  const double bare = 37.5e6 + 1e6 + 0.5e6 + 1.54e6 + 15e6 + 2e6 + 0.5e6 + 0.7e6;
  EXPECT_NEAR(line(result, "contingency"), 0.1 * bare, 1);
  EXPECT_NEAR(result.capital_usd, 1.1 * bare, 1);
  EXPECT_NEAR(result.running_usd_per_year, 1e6 + 2e6 + 0.02 * 39e6, 1);
  EXPECT_NEAR(result.resale_usd, 0.1 * 39e6 + (1 - 4 / 15.0) * 17e6, 1);
  EXPECT_NEAR(result.total_usd,
              result.capital_usd - result.resale_usd + result.financing_usd + 4 * result.running_usd_per_year,
              1);
  EXPECT_NEAR(result.usd_per_chip_hour, result.total_usd / (1000 * 4 * 8760.0), 1e-9);
  EXPECT_NEAR(result.usd_per_training_run, result.usd_per_chip_hour * 1000 * 720, 1e-6);
  double sum = 0;
  for (const CostLine& item : result.lines) sum += item.group == "capital" ? item.usd : 0;
  EXPECT_NEAR(sum, result.capital_usd, 1);
}

TEST(PlanMoney, FinancingIsAnAnnuity) {
  MoneySpec spec = small_spec();
  spec.residual_share = 0;
  spec.building_years = 4;
  spec.debt_share = 1;
  spec.interest = 0.08;
  const MoneyResult result = plan(small_machine(), spec);
  // 4 equal payments at 8 %: 0.301921 of the sum each.
  EXPECT_NEAR(result.financing_usd / result.capital_usd, 4 * 0.3019208 - 1, 1e-6);
  spec.interest = 0;
  EXPECT_NEAR(plan(small_machine(), spec).financing_usd, 0, 1e-3);
  // What is paid in equal sums is worth the capital today, less the sale's present value.
  spec = small_spec();
  const MoneyResult sold = plan(small_machine(), spec);
  const double rate = 0.5 * 0.09 + 0.5 * 0.15;
  const double yearly = (sold.capital_usd - sold.resale_usd + sold.financing_usd) / 4;
  double present = sold.resale_usd / std::pow(1 + rate, 4);
  for (int year = 1; year <= 4; ++year) present += yearly / std::pow(1 + rate, year);
  EXPECT_NEAR(present, sold.capital_usd, 1);
}

TEST(PlanMoney, OwnsRentsOrBoth) {
  const MoneyResult result = plan(small_machine(), small_spec());
  ASSERT_EQ(result.options.size(), 3u);
  const Option &own = result.options[0], &rent = result.options[1], &both = result.options[2];
  EXPECT_EQ(own.months_until_first_chips, 6);
  EXPECT_EQ(own.usd_over_years, result.total_usd);
  EXPECT_EQ(rent.months_until_first_chips, 0);
  EXPECT_THAT(rent.name, HasSubstr("rentals, reserved"));
  EXPECT_NEAR(rent.usd_over_years, 2.5 * 1000 * 4 * 8760, 1);
  EXPECT_LT(rent.net_present_usd, rent.usd_over_years);
  // Six months without chips and three with half of them.
  EXPECT_NEAR(both.usd_over_years - own.usd_over_years, 2.5 * 730 * (6000 + 1500), 1);
  EXPECT_EQ(both.months_until_first_chips, 0);
  // Break-even: present values meet there.
  const double rate = 0.12, years = result.breakeven_years;
  ASSERT_GT(years, 0);
  const double lasting = (1 - std::pow(1 + rate, -years)) / rate;
  EXPECT_NEAR(result.capital_usd + result.running_usd_per_year * lasting, 2.5 * 8.76e6 * lasting,
              2.5 * 8.76e6 / 12 + 1);

  MoneySpec spec = small_spec();
  spec.rent_reserved = false;
  spec.rented_chips = 200;
  const MoneyResult some = plan(small_machine(), spec);
  EXPECT_NEAR(some.options[1].usd_per_chip_hour, 4, 1e-12);
  EXPECT_NEAR(some.options[2].usd_over_years - some.options[0].usd_over_years, 4 * 730 * 9 * 200, 1);
  EXPECT_LT(some.breakeven_years, result.breakeven_years);

  Catalogue cheap = plain_catalogue();
  cheap.clouds["rentals"].reserved_usd_per_chip_hour = 0.3;
  cheap.clouds["rentals"].max_chips = 400;
  const MoneyResult scarce = plan(small_machine(), small_spec(), cheap);
  EXPECT_EQ(scarce.breakeven_years, 0);
  EXPECT_THAT(scarce.options[1].name, HasSubstr("400 chips, all there are"));
  spec.cloud.clear();
  EXPECT_EQ(plan(small_machine(), spec).options.size(), 1u);
  spec.cloud = "nobody";
  EXPECT_THROW(plan(small_machine(), spec), Error);
}

TEST(PlanMoney, ChipsMayBeSoldBesideTheirHosts) {
  Machine machine = small_machine();
  machine.host.price_includes_chips = false;
  machine.host.price_usd = 50e3;
  machine.host.nics = 8;
  machine.host.nic = "card";
  machine.chip.price_usd = 25e3;
  MoneySpec spec = small_spec();
  spec.discount = 0.1;
  EXPECT_NEAR(line(plan(machine, spec), "hosts with chips"), 125 * 0.9 * (50e3 + 8 * 25e3 + 8e3), 1);
}

TEST(PlanMoney, TellsWhatMovesTheTotal) {
  const MoneyResult result = plan(small_machine(), small_spec());
  ASSERT_GE(result.sensitivity.size(), 5u);
  EXPECT_EQ(result.sensitivity[0].name, "price of hosts and chips");
  double width = std::numeric_limits<double>::infinity();
  for (const Sensitivity& row : result.sensitivity) {
    EXPECT_LT(row.low_usd, result.total_usd) << row.name;
    EXPECT_GT(row.high_usd, result.total_usd) << row.name;
    EXPECT_LE(row.high_usd - row.low_usd, width * (1 + 1e-12)) << row.name;
    width = row.high_usd - row.low_usd;
    EXPECT_NE(row.name, "price of the network");  // there is none to pay for
  }
}

TEST(PlanMoney, IsThatOfPublishedClusters) {
  // Servers of 100,000 H100 cost over 4 billion USD (SemiAnalysis, by naddod.com); with their InfiniBand 51,600 USD a chip
  // at 32,768 and more (the sheet of tech-talk-cto).
  const Catalogue catalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue"});
  Machine machine;
  machine.chips = 32'768;
  machine.chip = catalogue.accelerator("h100-sxm");
  machine.host = catalogue.host("dgx-h100");
  NetworkSpec infiniband;
  infiniband.network_switch = "quantum-qm9700";
  machine.network = Network::build(catalogue, infiniband, machine.chip, machine.host, machine.chips);
  const PowerResult power;
  MoneySpec spec;
  spec.cloud = "";
  const MoneyResult result = plan_money({.machine = machine, .power = power}, spec, PowerSpec{}, catalogue);
  EXPECT_NEAR((line(result, "hosts with chips") + line(result, "network")) / 32'768, 51.6e3, 0.15 * 51.6e3);
  // The catalogue's list prices of switches and optics give 13 % less than the sheet.
  machine.chips = 100'000;
  machine.network = Network::build(catalogue, NetworkSpec{}, machine.chip, machine.host, machine.chips);
  const MoneyResult large = plan_money({.machine = machine, .power = power}, spec, PowerSpec{}, catalogue);
  EXPECT_GT(line(large, "hosts with chips") + line(large, "network"), 4e9);
}

TEST(MoneySpec, IsReadWithTheLinesOfItsErrors) {
  const MoneySpec spec = MoneySpec::read(
      TomlTable::parse("[money]\ndiscount = 0.15\nyears = 5\ncloud = \"oci-h100\"\n", "s.toml"));
  EXPECT_EQ(spec.discount, 0.15);
  EXPECT_EQ(spec.years, 5);
  EXPECT_EQ(spec.cloud, "oci-h100");
  EXPECT_EQ(spec.interest, 0.09);
  const auto why = [](const std::string& bad) -> std::string {
    try {
      MoneySpec::read(TomlTable::parse(bad, "s.toml"));
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(why("[money]\nbuilding_usd_per_w = -1\n"), HasSubstr("s.toml:2"));
  EXPECT_THAT(why("[money]\ndebt_share = 1.5\n"), HasSubstr("must be from 0 to 1"));
  EXPECT_THAT(why("[money]\nprice = 3\n"), HasSubstr("unknown key 'price'"));
}

}  // namespace
}  // namespace fathom::cluster
