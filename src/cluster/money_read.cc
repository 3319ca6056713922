// The section [money] of a scenario.
#include "base/toml.h"
#include "cluster/money.h"

namespace fathom::cluster {

MoneySpec MoneySpec::read(const TomlTable& root) {
  const TomlTable table = root.table("money");
  table.allow({"discount", "building_usd_per_w", "grid_connection_usd", "generator_usd_per_w",
               "battery_usd_per_wh", "staff", "staff_usd_per_year", "maintenance_share", "spare_share",
               "contingency_share", "debt_share", "interest", "equity_return", "years", "building_years",
               "residual_share", "cloud", "rented_chips", "rent_reserved"});
  MoneySpec spec;
  const auto read = [&](double& value, std::string_view key, double low, double high) {
    value = table.number_or(key, value, low, high);
  };
  read(spec.discount, "discount", 0, 0.9);
  read(spec.building_usd_per_w, "building_usd_per_w", 0, 1e3);
  read(spec.grid_connection_usd, "grid_connection_usd", 0, 1e12);
  read(spec.generator_usd_per_w, "generator_usd_per_w", 0, 1e3);
  read(spec.battery_usd_per_wh, "battery_usd_per_wh", 0, 1e3);
  read(spec.staff, "staff", 0, 1e6);
  read(spec.staff_usd_per_year, "staff_usd_per_year", 0, 1e8);
  read(spec.maintenance_share, "maintenance_share", 0, 1);
  read(spec.spare_share, "spare_share", 0, 1);
  read(spec.contingency_share, "contingency_share", 0, 1);
  read(spec.debt_share, "debt_share", 0, 1);
  read(spec.interest, "interest", 0, 1);
  read(spec.equity_return, "equity_return", 0, 1);
  read(spec.years, "years", 0.5, 30);
  read(spec.building_years, "building_years", 1, 100);
  read(spec.residual_share, "residual_share", 0, 1);
  spec.cloud = table.text_or("cloud", "");
  read(spec.rented_chips, "rented_chips", 0, 1e8);
  spec.rent_reserved = table.flag_or("rent_reserved", spec.rent_reserved);
  return spec;
}

}  // namespace fathom::cluster
