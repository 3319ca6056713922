#include "cluster/money.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fathom::cluster {
namespace {

constexpr double kMega = 1e6;
constexpr double kHoursPerYear = 8760;
constexpr double kHoursPerMonth = kHoursPerYear / 12;
constexpr double kMostYears = 15;  // that a break-even is looked for
constexpr double kSwing = 0.2;     // of each assumption, for its sensitivity

/// What a sensitivity multiplies.
struct Factors {
  double hosts = 1, network = 1, storage = 1, site = 1, draw = 1, electricity = 1, labour = 1,
         capital_cost = 1;
};

/// Yearly sum that pays back 1 over `years` at `rate`.
double annuity(double rate, double years) {
  return rate > 1e-9 ? rate / (1 - std::pow(1 + rate, -years)) : 1 / years;
}
/// What 1 a year for `years` is worth today.
double present(double rate, double years) {
  return rate > 1e-9 ? (1 - std::pow(1 + rate, -years)) / rate : years;
}

struct Totals {
  std::vector<CostLine> lines;
  double capital = 0, running = 0, resale = 0, financing = 0, total = 0;
  double rate = 0;
};

class Budget {
 public:
  Budget(const MoneyInput& input, const MoneySpec& spec, const PowerSpec& power, const Catalogue& catalogue)
      : input_(input),
        spec_(spec),
        power_(power),
        catalogue_(catalogue),
        chips_(static_cast<double>(input.machine.chips)) {}

  MoneyResult plan() {
    const Totals totals = add_up({});
    result_.lines = totals.lines;
    result_.capital_usd = totals.capital;
    result_.running_usd_per_year = totals.running;
    result_.financing_usd = totals.financing;
    result_.resale_usd = totals.resale;
    result_.total_usd = totals.total;
    const double chip_hours = std::max(chips_ * spec_.years * kHoursPerYear, 1.0);
    result_.usd_per_chip_hour = totals.total / chip_hours;
    result_.usd_per_training_run = result_.usd_per_chip_hour * chips_ * input_.training_days * 24;
    options(totals);
    sensitivities();
    return std::move(result_);
  }

 private:
  Totals add_up(const Factors& factor) const;
  double hardware(Totals& totals, const Factors& factor) const;
  double site(Totals& totals, const Factors& factor) const;
  void running(Totals& totals, const Factors& factor, double hardware_usd) const;
  double host_usd() const;
  double generators_mw() const;
  void options(const Totals& own);
  double rented_share_months() const;
  double months_until_chips() const;
  void break_even(const Totals& own, double rent_per_year);
  void sensitivities();
  static void line(Totals& totals, std::string name, std::string group, double usd) {
    if (usd != 0) totals.lines.push_back({std::move(name), std::move(group), usd});
  }

  const MoneyInput& input_;
  const MoneySpec& spec_;
  const PowerSpec& power_;
  const Catalogue& catalogue_;
  const double chips_;
  MoneyResult result_;
};

/// One host with its chips and cards, off list.
double Budget::host_usd() const {
  const Host& host = input_.machine.host;
  double usd = host.price_usd;
  if (!host.price_includes_chips) {
    usd += host.chips * input_.machine.chip.price_usd;
    if (!host.nic.empty()) usd += host.nics * catalogue_.nic(host.nic).price_usd;
  }
  return usd * (1 - spec_.discount);
}

/// Returns what maintenance and spares are reckoned of.
double Budget::hardware(Totals& totals, const Factors& factor) const {
  const double hosts = std::ceil(chips_ / std::max<double>(input_.machine.host.chips, 1));
  const double servers = hosts * host_usd() * factor.hosts;
  const double network = input_.machine.network.bill().price_usd * factor.network;
  const double storage = input_.storage_usd * factor.storage;
  line(totals, "hosts with chips", "capital", servers);
  line(totals, "network", "capital", network);
  line(totals, "storage", "capital", storage);
  line(totals, "racks", "capital", input_.rack_usd);
  line(totals, "spares", "capital", spec_.spare_share * (servers + network + storage));
  return servers + network + storage + input_.rack_usd;
}

double Budget::generators_mw() const {
  double out = 0;
  for (const PowerMonth& month : input_.power.months) out = std::max(out, month.generator_mw);
  for (const auto& [from, mw] : power_.generator_mw) out = std::max(out, mw);
  return out;
}

/// Returns the part that lasts as long as a building.
double Budget::site(Totals& totals, const Factors& factor) const {
  const PowerDraw& draw = input_.power.draw;
  const double building = draw.peak_facility_w * factor.draw * spec_.building_usd_per_w * factor.site;
  const double cooling = power_.cooling.empty() ? 0
                                                : catalogue_.cooling(power_.cooling).price_usd_per_w *
                                                      draw.it_w * factor.draw * factor.site;
  const double grid = spec_.grid_connection_usd * factor.site;
  line(totals, "building and power distribution", "capital", building);
  line(totals, "cooling", "capital", cooling);
  line(totals, "grid connection", "capital", grid);
  line(totals, "generators", "capital", generators_mw() * kMega * spec_.generator_usd_per_w * factor.site);
  line(totals, "batteries", "capital", power_.battery_mwh * kMega * spec_.battery_usd_per_wh * factor.site);
  return building + cooling + grid;
}

void Budget::running(Totals& totals, const Factors& factor, double hardware_usd) const {
  line(totals, "electricity", "running", input_.power.usd_per_year * factor.draw * factor.electricity);
  line(totals, "staff", "running", spec_.staff * spec_.staff_usd_per_year * factor.labour);
  line(totals, "maintenance", "running", spec_.maintenance_share * hardware_usd * factor.labour);
}

Totals Budget::add_up(const Factors& factor) const {
  Totals out;
  const double hardware_usd = hardware(out, factor);
  const double building_usd = site(out, factor);
  double capital = 0;
  for (const CostLine& item : out.lines) capital += item.usd;
  line(out, "contingency", "capital", spec_.contingency_share * capital);
  out.capital = capital * (1 + spec_.contingency_share);
  running(out, factor, hardware_usd);
  for (const CostLine& item : out.lines)
    if (item.group == "running") out.running += item.usd;

  out.rate = (spec_.debt_share * spec_.interest + (1 - spec_.debt_share) * spec_.equity_return) *
             factor.capital_cost;
  const double building_left = std::max(0.0, 1 - spec_.years / spec_.building_years);
  out.resale = spec_.residual_share * hardware_usd + building_left * building_usd;
  const double repaid = out.capital - out.resale * std::pow(1 + out.rate, -spec_.years);
  const double paid = repaid * annuity(out.rate, spec_.years) * spec_.years;
  out.financing = paid - (out.capital - out.resale);
  out.total = out.capital - out.resale + out.financing + out.running * spec_.years;
  return out;
}

double Budget::months_until_chips() const {
  const auto& months = input_.power.months;
  for (size_t i = 0; i < months.size(); ++i)
    if (months[i].energised > 0) return static_cast<double>(i);
  return static_cast<double>(months.size());
}

/// Chip-months to rent until all own chips are energised.
double Budget::rented_share_months() const {
  const double most = spec_.rented_chips > 0 ? spec_.rented_chips : chips_;
  const Cloud& cloud = catalogue_.cloud(spec_.cloud);
  const double there = cloud.max_chips > 0 ? cloud.max_chips : chips_;
  double out = 0;
  for (const PowerMonth& month : input_.power.months)
    out += std::min({most, there, chips_ * (1 - std::clamp(month.energised, 0.0, 1.0))});
  return out;
}

void Budget::options(const Totals& own) {
  const double years = spec_.years, hours = kHoursPerYear * years;
  const double lasting = present(own.rate, years);
  const double own_present =
      own.capital + own.running * lasting - own.resale * std::pow(1 + own.rate, -years);
  result_.options.push_back({"own", own.total, result_.usd_per_chip_hour, own_present, months_until_chips()});
  if (spec_.cloud.empty()) return;

  const Cloud& cloud = catalogue_.cloud(spec_.cloud);
  const bool reserved = spec_.rent_reserved && cloud.reserved_usd_per_chip_hour > 0;
  const double price = reserved ? cloud.reserved_usd_per_chip_hour : cloud.usd_per_chip_hour;
  const double rentable = cloud.max_chips > 0 ? std::min(chips_, cloud.max_chips) : chips_;
  const double rent_per_year = price * rentable * kHoursPerYear;
  const std::string of = rentable < chips_ ? fmt::format(" ({:.0f} chips, all there are)", rentable) : "";
  result_.options.push_back({fmt::format("rent: {}{}{}", cloud.name, reserved ? ", reserved" : "", of),
                             price * rentable * hours, price, rent_per_year * lasting, 0});

  const double chip_months = rented_share_months();
  const double bridge = chip_months * kHoursPerMonth * price;
  const double chip_hours = chips_ * hours + chip_months * kHoursPerMonth;
  result_.options.push_back({"hybrid: own, and rent until it is ready", own.total + bridge,
                             (own.total + bridge) / std::max(chip_hours, 1.0), own_present + bridge, 0});
  break_even(own, price * chips_ * kHoursPerYear);
}

void Budget::break_even(const Totals& own, double rent_per_year) {
  for (int month = 1; month <= kMostYears * 12; ++month) {
    const double lasting = present(own.rate, month / 12.0);
    if (own.capital + own.running * lasting > rent_per_year * lasting) continue;
    result_.breakeven_years = month / 12.0;
    return;
  }
}

void Budget::sensitivities() {
  const std::pair<const char*, double Factors::*> all[] = {
      {"price of hosts and chips", &Factors::hosts},
      {"price of the network", &Factors::network},
      {"price of the storage", &Factors::storage},
      {"price of building, cooling and power plant", &Factors::site},
      {"power drawn", &Factors::draw},
      {"price of electricity", &Factors::electricity},
      {"staff and maintenance", &Factors::labour},
      {"cost of capital", &Factors::capital_cost}};
  for (const auto& [name, factor] : all) {
    Factors low, high;
    low.*factor = 1 - kSwing;
    high.*factor = 1 + kSwing;
    const Sensitivity found{name, add_up(low).total, add_up(high).total};
    if (found.low_usd != found.high_usd) result_.sensitivity.push_back(found);
  }
  std::stable_sort(result_.sensitivity.begin(), result_.sensitivity.end(),
                   [](const Sensitivity& a, const Sensitivity& b) {
                     return std::abs(a.high_usd - a.low_usd) > std::abs(b.high_usd - b.low_usd);
                   });
}

}  // namespace

MoneyResult plan_money(const MoneyInput& input, const MoneySpec& spec, const PowerSpec& power,
                       const Catalogue& catalogue) {
  return Budget(input, spec, power, catalogue).plan();
}

}  // namespace fathom::cluster
