#include "cluster/power.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/error.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using testing::HasSubstr;

constexpr sys_days kStart = std::chrono::year(2024) / 5 / 1;

const Catalogue& real_catalogue() {
  static const Catalogue catalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue"});
  return catalogue;
}

/// A region and a cooling with round figures.
Catalogue plain_catalogue() {
  Catalogue out;
  Region region;
  region.id = "here";
  region.power_usd_per_kwh = 0.1;
  region.carbon_kg_per_kwh = 0.4;
  out.regions["here"] = region;
  Cooling cooling;
  cooling.id = "fans";
  cooling.pue = 1.25;
  out.coolings["fans"] = cooling;
  return out;
}

PowerSpec plain_spec() {
  PowerSpec spec;
  spec.region = "here";
  spec.cooling = "fans";
  return spec;
}

/// 1,000 chips of 1 kW in hosts of 8 with 2 kW more.
Machine small_machine() {
  Machine machine;
  machine.chips = 1000;
  machine.chip.power_w = 1000;
  machine.chip.idle_power_w = 200;
  machine.host.chips = 8;
  machine.host.power_w = 2000;
  return machine;
}

/// 100 MW of IT, 125 MW of facility, 140 at the peak.
PowerDraw hundred_megawatts() {
  PowerDraw draw;
  draw.chips_w = 70e6;
  draw.it_w = 100e6;
  draw.facility_w = 125e6;
  draw.peak_facility_w = 140e6;
  draw.swing_w = 60e6;
  draw.swing_w_per_s = 600e6;
  return draw;
}

/// Energised in a straight line over 20 weeks.
ScheduleResult straight_ramp() {
  ScheduleResult out;
  for (int week = 0; week <= 20; ++week) {
    ScheduleResult::Week at;
    at.day = kStart + days(7 * week);
    at.energised_p10 = at.energised_p50 = at.energised_p90 = week / 20.0;
    out.ramp.push_back(at);
  }
  return out;
}

TEST(PowerDraw, AddsUp) {
  PowerSpec spec = plain_spec();
  spec.chip_utilisation = 0.8;
  spec.storage_and_rest_share = 0.1;
  StepCost step;
  step.time.forward = 1;
  step.time.backward = 2;
  step.time.data_comm = 1;
  step.time.step_time = 4;
  const PowerDraw draw = power_draw(small_machine(), step, spec, plain_catalogue(), 30e3);
  EXPECT_DOUBLE_EQ(draw.chips_w, 1000 * (200 + 0.75 * 600));  // waits a quarter of the step
  EXPECT_DOUBLE_EQ(draw.hosts_w, 125 * 2000);
  EXPECT_DOUBLE_EQ(draw.storage_w, 30e3);
  EXPECT_NEAR(draw.it_w, (650e3 + 250e3 + 30e3) / 0.9, 1e-6);
  EXPECT_NEAR(draw.rest_w, 0.1 * draw.it_w, 1e-6);
  EXPECT_NEAR(draw.facility_w, 1.25 * draw.it_w, 1e-6);
  EXPECT_NEAR(draw.peak_facility_w, 1.25 * (draw.it_w + 350e3), 1e-6);
  EXPECT_NEAR(draw.idle_it_w, draw.it_w - 450e3, 1e-6);
  EXPECT_DOUBLE_EQ(draw.swing_w, 600e3);
  EXPECT_GT(draw.swing_w_per_s, draw.swing_w);
  // Without a step the chips compute throughout.
  EXPECT_DOUBLE_EQ(power_draw(small_machine(), {}, spec, plain_catalogue(), 0).chips_w, 800e3);
  spec.pue = 1.1;  // goes before the cooling's
  const PowerDraw lean = power_draw(small_machine(), {}, spec, plain_catalogue(), 0);
  EXPECT_NEAR(lean.facility_w / lean.it_w, 1.1, 1e-12);
}

TEST(PowerDraw, IsThatOfPublishedClusters) {
  // 100,000 H100: 1,275 W a chip with its server, a tenth more for network and storage: about 140 MW of IT, over 150 MW of
  // site, 1.59 TWh and 123.9 million USD a year at 0.078 USD/kWh (SemiAnalysis, by naddod.com).
  const Catalogue& catalogue = real_catalogue();
  Machine machine;
  machine.chips = 100'000;
  machine.chip = catalogue.accelerator("h100-sxm");
  machine.host = catalogue.host("dgx-h100");
  machine.network = Network::build(catalogue, NetworkSpec{}, machine.chip, machine.host, machine.chips);
  PowerSpec spec;
  spec.region = "us-mean";
  spec.pue = 1.29;  // of the published energy over the published IT power
  spec.chip_utilisation = 1;
  spec.storage_and_rest_share = 0.02;
  const PowerDraw draw = power_draw(machine, {}, spec, catalogue, 2e6);
  EXPECT_NEAR(draw.it_w, 140e6, 0.05 * 140e6);
  EXPECT_GT(draw.facility_w, 150e6);
  const PowerResult result = plan_power(draw, spec, {}, catalogue, 100'000);
  EXPECT_NEAR(result.mwh_per_year, 1.59e6, 0.05 * 1.59e6);
  EXPECT_NEAR(result.usd_per_year, 123.9e6, 0.05 * 123.9e6);
}

TEST(PlanPower, GoesMonthByMonth) {
  PowerSpec spec = plain_spec();
  spec.grid_mw = {{kStart, 50}, {kStart + days(100), 150}};
  spec.generator_mw = {{kStart + days(40), 30}};
  spec.battery_mw = 20;
  spec.battery_mwh = 40;
  const PowerResult result = plan_power(hundred_megawatts(), spec, straight_ramp(), plain_catalogue(), 1000);
  ASSERT_GE(result.months.size(), 7u);
  const PowerMonth& may = result.months[0];
  EXPECT_EQ(may.month, kStart);
  EXPECT_NEAR(may.energised, 30 / 140.0, 1e-9);
  EXPECT_NEAR(may.facility_mw, 125 * may.energised, 1e-9);
  EXPECT_NEAR(may.peak_mw, 140 * may.energised, 1e-9);
  EXPECT_EQ(may.grid_mw, 50);
  EXPECT_EQ(may.generator_mw, 0);
  EXPECT_EQ(may.shortfall_mw, 0);
  EXPECT_NEAR(may.mwh, 125 * 24 * (30.0 * 31 / 2) / 140, 1e-6);  // the days' shares: 0 to 30 parts of 140
  EXPECT_NEAR(may.usd, may.mwh * 100, 1e-6);
  EXPECT_NEAR(may.tonnes_co2, may.mwh * 0.4, 1e-6);
  // June: generators from the 10th; July: 91 parts of 140, 80 MW are there.
  const PowerMonth& july = result.months[2];
  EXPECT_EQ(july.generator_mw, 30);
  EXPECT_NEAR(july.shortfall_mw, 125 * 91 / 140.0 - 80, 1e-9);  // batteries are no source
  EXPECT_GT(july.generator_mwh, 0);
  EXPECT_NEAR(july.mwh, july.grid_mwh + july.generator_mwh, 1e-9);
  EXPECT_NEAR(july.usd, july.grid_mwh * 100 + july.generator_mwh * 120, 1e-6);
  EXPECT_TRUE(result.enough);
  EXPECT_EQ(result.enough_from, kStart + days(100));
  EXPECT_EQ(result.chips_powered, 1000);
  EXPECT_NEAR(result.battery_minutes, 120, 1e-9);
  EXPECT_NEAR(result.mwh_per_year, 125 * 8760, 1e-6);
  EXPECT_THAT(result.sentence, HasSubstr("enough from 2024-08-09"));
  EXPECT_THAT(result.sentence, HasSubstr("short by up to"));
  EXPECT_THAT(result.sentence, HasSubstr("in 2024-08"));
}

TEST(PlanPower, SaysWhatIsMissing) {
  PowerSpec spec = plain_spec();
  spec.grid_mw = {{kStart, 100}};
  spec.ramp_limit_mw_per_s = 50;
  PowerResult result = plan_power(hundred_megawatts(), spec, straight_ramp(), plain_catalogue(), 1000);
  EXPECT_FALSE(result.enough);
  EXPECT_EQ(result.enough_from, sys_days{});
  EXPECT_EQ(result.chips_powered, std::floor(1000 * 100 / 140.0));
  EXPECT_THAT(result.sentence, HasSubstr("714 of 1000 chips can run"));
  EXPECT_THAT(result.sentence, HasSubstr("40 MW more of grid, or 16 turbines of 2.5 MW"));
  EXPECT_THAT(result.sentence, HasSubstr("chips held to 54 % of their power"));
  EXPECT_FALSE(result.ramp_within_limit);
  EXPECT_THAT(result.sentence, HasSubstr("batteries of 60 MW would take it up"));
  // Batteries take up both the swing and the peak; the mean needs a source.
  spec.battery_mw = 60;
  result = plan_power(hundred_megawatts(), spec, straight_ramp(), plain_catalogue(), 1000);
  EXPECT_TRUE(result.ramp_within_limit);
  EXPECT_FALSE(result.enough);
  EXPECT_EQ(result.chips_powered, 800);
  spec.grid_mw[0].second = 130;
  EXPECT_TRUE(plan_power(hundred_megawatts(), spec, straight_ramp(), plain_catalogue(), 1000).enough);
  // What the sentence asks for is enough.
  spec = plain_spec();
  spec.grid_mw = {{kStart, 100 + 40}};
  EXPECT_TRUE(plan_power(hundred_megawatts(), spec, straight_ramp(), plain_catalogue(), 1000).enough);
}

TEST(PlanPower, CountsWhatTheScheduleBrings) {
  ScheduleResult schedule = straight_ramp();
  for (size_t week = 10; week < schedule.ramp.size(); ++week) {
    schedule.ramp[week].power_mw_p50 = 150;
    schedule.ramp[week].generator_mw_p50 = 35;
  }
  const PowerResult result = plan_power(hundred_megawatts(), plain_spec(), schedule, plain_catalogue(), 1000);
  EXPECT_TRUE(result.enough);
  EXPECT_EQ(result.enough_from, kStart + days(70));
  EXPECT_EQ(result.months.back().grid_mw, 115);
  EXPECT_EQ(result.months.back().generator_mw, 35);
  EXPECT_NEAR(result.tonnes_per_year, 8760 * (115 * 0.4 + 10 * 0.5), 1e-6);
}

TEST(PlanPower, WithoutASourceSaysSo) {
  const PowerResult result = plan_power(hundred_megawatts(), plain_spec(), {}, plain_catalogue(), 1000);
  EXPECT_FALSE(result.enough);
  EXPECT_TRUE(result.months.empty());
  EXPECT_NEAR(result.usd_per_year, 125 * 8760 * 100, 1e-3);
  EXPECT_THAT(result.sentence, HasSubstr("names no source of power"));
  PowerSpec spec = plain_spec();
  spec.region = "nowhere";
  EXPECT_THROW(plan_power(hundred_megawatts(), spec, {}, plain_catalogue(), 1000), Error);
}

TEST(PowerSpec, IsReadWithTheLinesOfItsErrors) {
  const std::string text =
      "[power]\nregion = \"us-tennessee\"\ncooling = \"liquid-direct\"\nbattery_mwh = 150\n"
      "[[power.grid]]\nfrom = 2024-08-01\nmw = 8\n[[power.grid]]\nfrom = 2025-03-01\nmw = 150\n"
      "[[power.generator]]\nfrom = 2024-07-01\nmw = 35\n";
  const PowerSpec spec = PowerSpec::read(TomlTable::parse(text, "s.toml"));
  ASSERT_EQ(spec.grid_mw.size(), 2u);
  EXPECT_EQ(spec.grid_mw[1].second, 150);
  EXPECT_EQ(spec.generator_mw.size(), 1u);
  EXPECT_EQ(spec.battery_mwh, 150);
  EXPECT_EQ(spec.chip_utilisation, 0.9);
  const auto why = [](const std::string& bad) -> std::string {
    try {
      PowerSpec::read(TomlTable::parse(bad, "s.toml"));
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(why("[power]\nregion = \"a\"\npue = 0.9\n"), HasSubstr("s.toml:3"));
  EXPECT_THAT(why("[power]\nregion = \"a\"\n"), HasSubstr("name a 'cooling'"));
  EXPECT_THAT(why("[power]\nregion = \"a\"\npue = 1.2\nbattery_mw = -1\n"), HasSubstr("s.toml:4"));
  EXPECT_THAT(
      why("[power]\nregion = \"a\"\npue = 1.2\n[[power.grid]]\nfrom = 2025-01-01\nmw = 1\n[[power.grid]]\n"
          "from = 2024-01-01\nmw = 2\n"),
      testing::AllOf(HasSubstr("s.toml:8"), HasSubstr("order of time")));
  EXPECT_THAT(why("[power]\nregion = \"a\"\npue = 1.2\nwatts = 3\n"), HasSubstr("unknown key 'watts'"));
}

}  // namespace
}  // namespace fathom::cluster
