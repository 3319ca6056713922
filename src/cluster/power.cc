#include "cluster/power.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr double kMega = 1e6;
constexpr double kHoursPerYear = 8760;
/// In which the chips of a step that ends together fall from computing to waiting: capacitors of boards and supplies
/// bridge less than a period of the mains (assumed, a tenth of a second).
constexpr double kSwingSeconds = 0.1;
constexpr double kTurbineMw = 2.5;  // a mobile gas turbine, to say a gap in pieces
constexpr int kMonthsBeyond = 2;    // shown after the ramp
constexpr size_t kMostMonths = 600;

double pue_of(const PowerSpec& spec, const Catalogue& catalogue) {
  if (spec.pue > 0) return spec.pue;
  if (spec.cooling.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "the section [power] names neither 'pue' nor a 'cooling' of the catalogue; give one of them");
  return catalogue.cooling(spec.cooling).pue;
}

/// Share of a step in which the chips compute.
double busy_share(const StepTime& time) {
  if (!(time.step_time > 0)) return 1;
  const double busy = time.forward + time.backward + time.recompute + time.optimizer;
  return std::clamp(busy / time.step_time, 0.0, 1.0);
}

using Steps = std::vector<std::pair<sys_days, double>>;

double at(const Steps& steps, sys_days day) {
  double out = 0;
  for (const auto& [from, mw] : steps)
    if (from <= day) out = mw;
  return out;
}

/// What there is on a day, by the steps of the scenario and by the tasks of its schedule.
struct Supply {
  double grid_mw = 0, generator_mw = 0;
  double mw() const { return grid_mw + generator_mw; }
};

class Site {
 public:
  Site(const PowerDraw& draw, const PowerSpec& spec, const ScheduleResult& schedule,
       const Catalogue& catalogue, double chips)
      : draw_(draw), spec_(spec), schedule_(schedule), chips_(chips) {
    const Region& region = catalogue.region(spec.region);
    grid_usd_per_mwh_ = region.power_usd_per_kwh * 1e3;
    grid_kg_per_mwh_ = region.carbon_kg_per_kwh * 1e3;
  }

  PowerResult plan() {
    months();
    judge();
    year();
    if (spec_.battery_mwh > 0) {
      const double rating = spec_.battery_mw > 0 ? spec_.battery_mw : spec_.battery_mwh;
      result_.battery_minutes = 60 * spec_.battery_mwh / std::max(std::min(rating, peak_mw()), 1e-9);
    }
    const double swing_mw = draw_.swing_w / kMega;
    result_.ramp_within_limit = spec_.ramp_limit_mw_per_s <= 0 ||
                                draw_.swing_w_per_s / kMega <= spec_.ramp_limit_mw_per_s ||
                                spec_.battery_mw >= swing_mw;
    result_.draw = draw_;
    say();
    return std::move(result_);
  }

 private:
  double facility_mw() const { return draw_.facility_w / kMega; }
  double peak_mw() const { return draw_.peak_facility_w / kMega; }

  Supply supply(sys_days day) const {
    Supply out{at(spec_.grid_mw, day), at(spec_.generator_mw, day)};
    const ScheduleResult::Week* last = nullptr;
    for (const auto& week : schedule_.ramp)
      if (week.day <= day) last = &week;
    if (last) {
      out.generator_mw += last->generator_mw_p50;
      out.grid_mw += last->power_mw_p50 - last->generator_mw_p50;
    }
    return out;
  }
  /// Median share energised, a straight line between the weeks.
  double energised(sys_days day) const {
    const auto& ramp = schedule_.ramp;
    if (ramp.empty()) return 1;
    const auto next = std::upper_bound(ramp.begin(), ramp.end(), day,
                                       [](sys_days d, const ScheduleResult::Week& w) { return d < w.day; });
    if (next == ramp.begin()) return 0;
    if (next == ramp.end()) return ramp.back().energised_p50;
    const auto& before = *(next - 1);
    const double part = static_cast<double>((day - before.day).count()) /
                        static_cast<double>((next->day - before.day).count());
    return before.energised_p50 + part * (next->energised_p50 - before.energised_p50);
  }
  bool enough(const Supply& there, double share) const {
    return there.mw() >= share * facility_mw() && there.mw() + spec_.battery_mw >= share * peak_mw();
  }

  std::vector<sys_days> changes() const;
  void months();
  PowerMonth month(std::chrono::year_month which) const;
  void judge();
  void year();
  void say();
  std::string remedy(const Supply& there) const;
  std::string first_gap() const;

  const PowerDraw& draw_;
  const PowerSpec& spec_;
  const ScheduleResult& schedule_;
  const double chips_;
  double grid_usd_per_mwh_ = 0, grid_kg_per_mwh_ = 0;
  Supply last_;
  PowerResult result_;
};

/// Days on which the supply may change, in order.
std::vector<sys_days> Site::changes() const {
  std::set<sys_days> out;
  for (const Steps* steps : {&spec_.grid_mw, &spec_.generator_mw})
    for (const auto& [from, mw] : *steps) out.insert(from);
  for (const auto& week : schedule_.ramp) out.insert(week.day);
  return {out.begin(), out.end()};
}

PowerMonth Site::month(std::chrono::year_month which) const {
  PowerMonth out;
  out.month = sys_days(which / 1);
  const sys_days end = sys_days((which + std::chrono::months(1)) / 1);
  double share_sum = 0;
  for (sys_days day = out.month; day < end; day += days(1)) {
    const double share = energised(day);
    const Supply there = supply(day);
    const double drawn = std::min(share * facility_mw(), there.mw()) * 24;
    const double from_grid = std::min(drawn, there.grid_mw * 24);
    out.grid_mwh += from_grid;
    out.generator_mwh += drawn - from_grid;
    out.shortfall_mw = std::max({out.shortfall_mw, share * facility_mw() - there.mw(),
                                 share * peak_mw() - there.mw() - spec_.battery_mw});
    share_sum += share;
  }
  out.energised = energised(end - days(1));
  out.it_mw = out.energised * draw_.it_w / kMega;
  out.facility_mw = out.energised * facility_mw();
  out.peak_mw = out.energised * peak_mw();
  const Supply there = supply(end - days(1));
  out.grid_mw = there.grid_mw;
  out.generator_mw = there.generator_mw;
  out.battery_mw = share_sum > 0 ? spec_.battery_mw : 0;
  out.mwh = out.grid_mwh + out.generator_mwh;
  out.tonnes_co2 =
      (out.grid_mwh * grid_kg_per_mwh_ + out.generator_mwh * spec_.generator_kg_per_kwh * 1e3) / 1e3;
  out.usd = out.grid_mwh * grid_usd_per_mwh_ + out.generator_mwh * spec_.generator_usd_per_kwh * 1e3;
  return out;
}

void Site::months() {
  const std::vector<sys_days> all = changes();
  if (all.empty()) return;
  const sys_days first = schedule_.ramp.empty() ? all.front() : schedule_.ramp.front().day;
  const auto month_of = [](sys_days day) {
    const std::chrono::year_month_day date(day);
    return date.year() / date.month();
  };
  const auto last = month_of(all.back()) + std::chrono::months(kMonthsBeyond);
  for (auto at_month = month_of(first); at_month <= last && result_.months.size() < kMostMonths;
       at_month += std::chrono::months(1))
    result_.months.push_back(month(at_month));
}

void Site::judge() {
  const std::vector<sys_days> all = changes();
  if (all.empty()) return;  // nothing is said of power: none is there
  last_ = supply(all.back());
  result_.enough = enough(last_, 1);
  for (size_t i = all.size(); i-- > 0 && enough(supply(all[i]), 1);) result_.enough_from = all[i];
  const double by_mean = last_.mw() / std::max(facility_mw(), 1e-9);
  const double by_peak = (last_.mw() + spec_.battery_mw) / std::max(peak_mw(), 1e-9);
  result_.chips_powered = std::floor(chips_ * std::clamp(std::min(by_mean, by_peak), 0.0, 1.0));
}

/// A year of the whole machine on what there is at the end; where nothing is said, on the grid.
void Site::year() {
  const bool known = last_.mw() > 0;
  const double drawn = known ? std::min(facility_mw(), last_.mw()) : facility_mw();
  const double from_grid = known ? std::min(drawn, last_.grid_mw) : drawn;
  const double grid_mwh = from_grid * kHoursPerYear, generator_mwh = (drawn - from_grid) * kHoursPerYear;
  result_.mwh_per_year = grid_mwh + generator_mwh;
  result_.usd_per_year = grid_mwh * grid_usd_per_mwh_ + generator_mwh * spec_.generator_usd_per_kwh * 1e3;
  result_.tonnes_per_year =
      (grid_mwh * grid_kg_per_mwh_ + generator_mwh * spec_.generator_kg_per_kwh * 1e3) / 1e3;
}

/// What would close the gap: more supply, or chips that draw less.
std::string Site::remedy(const Supply& there) const {
  const double mean_gap = facility_mw() - there.mw();
  const double peak_gap = peak_mw() - there.mw() - spec_.battery_mw;
  std::string out;
  if (mean_gap <= 0) {
    out = fmt::format("{:.0f} MW more of batteries or of grid", std::ceil(peak_gap));
  } else {
    const double gap = std::ceil(std::max(mean_gap, peak_gap));
    out = fmt::format("{:.0f} MW more of grid, or {:.0f} turbines of {:.1f} MW", gap,
                      std::ceil(gap / kTurbineMw), kTurbineMw);
  }
  const double pue = draw_.facility_w / std::max(draw_.it_w, 1.0);
  const double chips_mw = draw_.chips_w * pue / kMega;
  const double capped = 1 - std::max(mean_gap, peak_gap) / std::max(chips_mw, 1e-9);
  if (capped > 0.5)
    out += fmt::format(", or chips held to {:.0f} % of their power", std::floor(100 * capped));
  return out + " would make it enough";
}

/// The first month in which something is missing although it is enough in the end, or in which most is.
std::string Site::first_gap() const {
  const PowerMonth* most = nullptr;
  for (const PowerMonth& m : result_.months)
    if (m.shortfall_mw > 0.5 && (!most || m.shortfall_mw > most->shortfall_mw)) most = &m;
  if (!most) return "";
  return fmt::format(
      "; on the way there it is short by up to {:.0f} MW in {}, when {:.0f} % of the machine are "
      "energised: {:.0f} MW of generators until then would bridge it",
      most->shortfall_mw, format_date(most->month).substr(0, 7), 100 * most->energised,
      std::ceil(most->shortfall_mw));
}

void Site::say() {
  result_.sentence =
      fmt::format("The whole machine draws {:.1f} MW, {:.1f} MW at its peak", facility_mw(), peak_mw());
  if (result_.months.empty()) {
    result_.sentence += "; the scenario names no source of power: say in [[power.grid]] what there is";
  } else {
    result_.sentence += fmt::format(
        "; in the end there are {:.0f} MW of grid and {:.0f} MW of generators{}", last_.grid_mw,
        last_.generator_mw,
        spec_.battery_mw > 0 ? fmt::format(", and {:.0f} MW of batteries for the peaks", spec_.battery_mw)
                             : "");
    if (result_.enough)
      result_.sentence += fmt::format(": enough from {}{}", format_date(result_.enough_from), first_gap());
    else
      result_.sentence += fmt::format(": not enough, {:.0f} of {:.0f} chips can run; {}",
                                      result_.chips_powered, chips_, remedy(last_));
  }
  if (!result_.ramp_within_limit)
    result_.sentence += fmt::format(
        "; a step that ends together swings {:.0f} MW at {:.0f} MW/s, where the grid bears "
        "{:.0f} MW/s: batteries of {:.0f} MW would take it up",
        draw_.swing_w / kMega, draw_.swing_w_per_s / kMega, spec_.ramp_limit_mw_per_s,
        std::ceil(draw_.swing_w / kMega));
  result_.sentence += ".";
}

}  // namespace

PowerDraw power_draw(const Machine& machine, const StepCost& step, const PowerSpec& spec,
                     const Catalogue& catalogue, double storage_w) {
  const double pue = pue_of(spec, catalogue);
  const auto chips = static_cast<double>(machine.chips);
  const double hosts = std::ceil(chips / std::max<double>(machine.host.chips, 1));
  const double idle = machine.chip.idle_power_w;
  const double busy = std::max(idle, machine.chip.power_w * spec.chip_utilisation);
  PowerDraw out;
  out.chips_w = chips * (idle + (busy - idle) * busy_share(step.time));
  out.hosts_w = hosts * machine.host.power_w;
  out.network_w = machine.network.bill().power_w;
  out.storage_w = storage_w;
  const double steady = out.hosts_w + out.network_w + out.storage_w;
  out.rest_w = (out.chips_w + steady) * spec.storage_and_rest_share / (1 - spec.storage_and_rest_share);
  out.it_w = out.chips_w + steady + out.rest_w;
  out.facility_w = out.it_w * pue;
  out.peak_facility_w = (chips * machine.chip.power_w + steady + out.rest_w) * pue;
  out.idle_it_w = chips * idle + steady + out.rest_w;
  out.swing_w = chips * (busy - idle);
  out.swing_w_per_s = out.swing_w / kSwingSeconds;
  return out;
}

PowerResult plan_power(const PowerDraw& draw, const PowerSpec& spec, const ScheduleResult& schedule,
                       const Catalogue& catalogue, double chips) {
  return Site(draw, spec, schedule, catalogue, chips).plan();
}

}  // namespace fathom::cluster
