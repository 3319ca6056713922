#include "cluster/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

constexpr double kMega = 1e6, kGiga = 1e9, kTera = 1e12, kPeta = 1e15, kGibi = 1073741824.0;
constexpr double kGigabit = 1e9 / 8;
constexpr double kMicro = 1e-6, kNano = 1e-9;

/// One entry of the catalogue: its figures, each with its source.
class Entry {
 public:
  explicit Entry(const TomlTable& table) : table_(table) {
    const TomlTable given = table.table("sources");
    for (const std::string& keys : given.keys()) {
      const std::string source = given.text(keys);
      for (const std::string_view part : split(keys, ',')) {
        const std::string key(trim(part));
        if (!table.has(key))
          given.error(keys, fmt::format("gives a source for '{}', which is not there", key));
        sources_[key] = source;
      }
    }
  }

  /// A number of the file times `unit`. Errors: missing, out of range, without a source.
  double figure(std::string_view key, double unit, double high, double low = 0) const {
    const double value = table_.number(key, low, high);
    require_source(key);
    return value * unit;
  }
  double figure_or(std::string_view key, double otherwise, double unit, double high, double low = 0) const {
    return table_.has(key) ? figure(key, unit, high, low) : otherwise;
  }
  /// A figure that is above zero.
  double size(std::string_view key, double unit, double high) const { return figure(key, unit, high, 1e-12); }
  uint32_t count(std::string_view key, int64_t low, int64_t high) const {
    const int64_t value = table_.integer(key, low, high);
    require_source(key);
    return static_cast<uint32_t>(value);
  }
  uint32_t count_or(std::string_view key, uint32_t otherwise, int64_t low, int64_t high) const {
    return table_.has(key) ? count(key, low, high) : otherwise;
  }

  const TomlTable& table() const { return table_; }
  const Sources& sources() const { return sources_; }

 private:
  void require_source(std::string_view key) const {
    if (sources_.find(std::string(key)) != sources_.end()) return;
    table_.error(
        key,
        "has no source; name it under 'sources' of the same entry (\"assumed: ...\" where it is a guess)");
  }

  const TomlTable& table_;
  Sources sources_;
};

struct PeakKey {
  std::string_view key;
  Precision precision;
};
constexpr std::array<PeakKey, kPrecisions> kPeakKeys{{{"fp32_tflops", Precision::kFp32},
                                                      {"tf32_tflops", Precision::kTf32},
                                                      {"bf16_tflops", Precision::kBf16},
                                                      {"fp16_tflops", Precision::kFp16},
                                                      {"fp8_tflops", Precision::kFp8},
                                                      {"fp4_tflops", Precision::kFp4}}};

Accelerator read_accelerator(const std::string& id, const TomlTable& table) {
  table.allow({"name",
               "family",
               "fp32_tflops",
               "tf32_tflops",
               "bf16_tflops",
               "fp16_tflops",
               "fp8_tflops",
               "fp4_tflops",
               "memory_gib",
               "memory_gb_per_s",
               "scale_up_gb_per_s",
               "scale_up_latency_us",
               "scale_up_fraction",
               "scale_up_chips",
               "scale_up_torus",
               "in_network_reduction",
               "power_w",
               "idle_power_w",
               "price_usd",
               "year",
               "efficiency",
               "sources"});
  const Entry entry(table);
  Accelerator out;
  out.id = id;
  out.name = table.text("name");
  out.family = table.text_or("family", id);
  for (const PeakKey& peak : kPeakKeys)
    out.peak_flops[static_cast<size_t>(peak.precision)] = entry.figure_or(peak.key, 0, kTera, 1e6);
  if (out.peak(Precision::kBf16) <= 0)
    table.error("gives no peak rate; bf16_tflops or fp16_tflops or fp32_tflops must be there");
  out.memory_bytes = entry.size("memory_gib", kGibi, 1e6);
  out.memory_bytes_per_s = entry.size("memory_gb_per_s", kGiga, 1e7);
  out.scale_up_bytes_per_s = entry.size("scale_up_gb_per_s", kGiga, 1e7);
  out.scale_up_latency_s = entry.figure("scale_up_latency_us", kMicro, 1e4);
  out.scale_up_fraction = entry.figure("scale_up_fraction", 1, 1, 0.01);
  out.scale_up_chips = entry.count("scale_up_chips", 1, 1 << 20);
  out.scale_up_torus = table.flag_or("scale_up_torus", false);
  out.in_network_reduction = table.flag_or("in_network_reduction", false);
  out.power_w = entry.size("power_w", 1, 1e5);
  out.idle_power_w = entry.figure("idle_power_w", 1, 1e5);
  if (out.idle_power_w > out.power_w) table.error("idle_power_w", "must not be above power_w");
  out.price_usd = entry.figure_or("price_usd", 0, 1, 1e7);
  out.year = static_cast<int>(entry.count("year", 1990, 2100));
  out.sources = entry.sources();
  return out;
}

/// Constants over those that `efficiency` has so far. A table has one source for all of them ("source"), and names the
/// rows that they were fitted on, if any.
void apply_efficiency(const TomlTable& table, ChipEfficiency& efficiency) {
  table.text("source");
  for (const std::string& key : table.keys()) {
    const auto share = [&] { return table.number(key, 1e-3, 1); };
    const auto whole = [&] { return static_cast<uint32_t>(table.integer(key, 1, 1 << 20)); };
    if (key == "source") continue;
    if (key == "fitted_on")
      efficiency.fitted_on = table.texts(key);
    else if (key == "gemm_peak_fraction")
      efficiency.gemm_peak_fraction = share();
    else if (key == "gemm_tile_m")
      efficiency.gemm_tile_m = whole();
    else if (key == "gemm_tile_n")
      efficiency.gemm_tile_n = whole();
    else if (key == "units")
      efficiency.units = whole();
    else if (key == "gemm_k_half")
      efficiency.gemm_k_half = table.number(key, 0, 1e6);
    else if (key == "attention_forward_fraction")
      efficiency.attention_forward_fraction = share();
    else if (key == "attention_backward_fraction")
      efficiency.attention_backward_fraction = share();
    else if (key == "memory_fraction")
      efficiency.memory_fraction = share();
    else if (key == "kernel_launch_us")
      efficiency.kernel_launch_s = table.number(key, 0, 1e4) * kMicro;
    else
      efficiency.more[key] = table.number(key, -1e12, 1e12);
  }
}

Host read_host(const std::string& id, const TomlTable& table) {
  table.allow({"name", "accelerator", "chips", "power_w", "price_usd", "price_includes_chips", "nics", "nic",
               "host_link_gb_per_s", "host_memory_gb", "rack_units", "scale_up_leaves_host", "sources"});
  const Entry entry(table);
  Host out;
  out.id = id;
  out.name = table.text("name");
  out.accelerator = table.text_or("accelerator", "");
  out.chips = entry.count("chips", 1, 4096);
  out.power_w = entry.figure("power_w", 1, 1e6);
  out.price_usd = entry.figure("price_usd", 1, 1e9);
  out.price_includes_chips = table.flag_or("price_includes_chips", true);
  out.nics = entry.count("nics", 0, 4096);
  out.nic = table.text_or("nic", "");
  if (out.nics > 0 && out.nic.empty()) table.error("nics", "needs a 'nic', the id of the card");
  out.host_link_bytes_per_s = entry.figure_or("host_link_gb_per_s", 0, kGiga, 1e6);
  out.host_memory_bytes = entry.figure_or("host_memory_gb", 0, kGiga, 1e9);
  out.rack_units = entry.figure("rack_units", 1, 1000);
  out.scale_up_leaves_host = table.flag_or("scale_up_leaves_host", false);
  out.sources = entry.sources();
  return out;
}

Nic read_nic(const std::string& id, const TomlTable& table) {
  table.allow({"name", "gbit_per_s", "latency_us", "power_w", "price_usd", "sources"});
  const Entry entry(table);
  Nic out;
  out.id = id;
  out.name = table.text("name");
  out.bytes_per_s = entry.size("gbit_per_s", kGigabit, 1e6);
  out.latency_s = entry.figure("latency_us", kMicro, 1e5);
  out.power_w = entry.figure("power_w", 1, 1e4);
  out.price_usd = entry.figure("price_usd", 1, 1e7);
  out.sources = entry.sources();
  return out;
}

Switch read_switch(const std::string& id, const TomlTable& table) {
  table.allow({"name", "fabric", "ports", "port_gbit_per_s", "latency_ns", "power_w", "price_usd",
               "in_network_reduction", "efficiency", "sources"});
  const Entry entry(table);
  Switch out;
  out.id = id;
  out.name = table.text("name");
  out.fabric = table.choice("fabric", {"infiniband", "ethernet"}) == 0 ? "infiniband" : "ethernet";
  out.ports = entry.count("ports", 4, 65536);
  out.port_bytes_per_s = entry.size("port_gbit_per_s", kGigabit, 1e6);
  out.latency_s = entry.figure("latency_ns", kNano, 1e7);
  out.power_w = entry.figure("power_w", 1, 1e6);
  out.price_usd = entry.figure("price_usd", 1, 1e8);
  out.in_network_reduction = table.flag_or("in_network_reduction", false);
  out.efficiency = entry.figure("efficiency", 1, 1, 0.01);
  out.sources = entry.sources();
  return out;
}

Cable read_cable(const std::string& id, const TomlTable& table) {
  table.allow({"name", "kind", "gbit_per_s", "max_metres", "power_w", "price_usd", "sources"});
  const Entry entry(table);
  constexpr std::array<std::string_view, 3> kKinds{"dac", "aoc", "optic"};
  Cable out;
  out.id = id;
  out.name = table.text("name");
  out.kind = kKinds[table.choice("kind", {"dac", "aoc", "optic"})];
  out.bytes_per_s = entry.size("gbit_per_s", kGigabit, 1e6);
  out.max_metres = entry.size("max_metres", 1, 1e6);
  out.power_w = entry.figure("power_w", 1, 1e4);
  out.price_usd = entry.figure("price_usd", 1, 1e6);
  out.sources = entry.sources();
  return out;
}

Storage read_storage(const std::string& id, const TomlTable& table) {
  table.allow({"name", "petabytes", "write_gb_per_s", "read_gb_per_s", "power_w", "price_usd", "sources"});
  const Entry entry(table);
  Storage out;
  out.id = id;
  out.name = table.text("name");
  out.bytes = entry.size("petabytes", kPeta, 1e6);
  out.write_bytes_per_s = entry.size("write_gb_per_s", kGiga, 1e9);
  out.read_bytes_per_s = entry.size("read_gb_per_s", kGiga, 1e9);
  out.power_w = entry.figure("power_w", 1, 1e9);
  out.price_usd = entry.figure("price_usd", 1, 1e10);
  out.sources = entry.sources();
  return out;
}

Rack read_rack(const std::string& id, const TomlTable& table) {
  table.allow({"name", "power_kw", "units", "price_usd", "sources"});
  const Entry entry(table);
  Rack out;
  out.id = id;
  out.name = table.text("name");
  out.power_w = entry.size("power_kw", 1e3, 1e4);
  out.units = entry.size("units", 1, 1000);
  out.price_usd = entry.figure("price_usd", 1, 1e7);
  out.sources = entry.sources();
  return out;
}

Cooling read_cooling(const std::string& id, const TomlTable& table) {
  table.allow({"name", "pue", "price_usd_per_kw", "sources"});
  const Entry entry(table);
  Cooling out;
  out.id = id;
  out.name = table.text("name");
  out.pue = entry.figure("pue", 1, 4, 1);
  out.price_usd_per_w = entry.figure("price_usd_per_kw", 1e-3, 1e6);
  out.sources = entry.sources();
  return out;
}

Region read_region(const std::string& id, const TomlTable& table) {
  table.allow({"name", "power_usd_per_mwh", "carbon_kg_per_mwh", "sources"});
  const Entry entry(table);
  Region out;
  out.id = id;
  out.name = table.text("name");
  out.power_usd_per_kwh = entry.figure("power_usd_per_mwh", 1e-3, 1e5);
  out.carbon_kg_per_kwh = entry.figure("carbon_kg_per_mwh", 1e-3, 1e4);
  out.sources = entry.sources();
  return out;
}

Cloud read_cloud(const std::string& id, const TomlTable& table) {
  table.allow({"name", "accelerator", "usd_per_chip_hour", "reserved_usd_per_chip_hour", "reserved_years",
               "max_chips", "sources"});
  const Entry entry(table);
  Cloud out;
  out.id = id;
  out.name = table.text("name");
  out.accelerator = table.text("accelerator");
  out.usd_per_chip_hour = entry.size("usd_per_chip_hour", 1, 1e4);
  out.reserved_usd_per_chip_hour =
      entry.figure_or("reserved_usd_per_chip_hour", out.usd_per_chip_hour, 1, 1e4, 1e-6);
  out.reserved_years = entry.figure_or("reserved_years", 1, 1, 20, 1e-3);
  out.max_chips = entry.figure_or("max_chips", 0, 1, 1e8);
  out.sources = entry.sources();
  return out;
}

/// Rates come as counts over the set's chip_hours, or outright.
FailureKind read_failure(const std::string& id, const TomlTable& table, double chip_hours) {
  table.allow({"name", "count", "per_million_chip_hours", "needs_spare", "repair_hours", "sources"});
  const Entry entry(table);
  FailureKind out;
  out.id = id;
  out.name = table.text("name");
  if (table.has("count") == table.has("per_million_chip_hours"))
    table.error("needs either 'count' or 'per_million_chip_hours'");
  if (table.has("count")) {
    if (chip_hours <= 0) table.error("count", "needs 'chip_hours' in the set");
    out.per_chip_hour = entry.figure("count", 1, 1e9) / chip_hours;
  } else {
    out.per_chip_hour = entry.figure("per_million_chip_hours", 1 / kMega, 1e6);
  }
  out.needs_spare = table.flag_or("needs_spare", false);
  out.repair_hours = entry.figure_or("repair_hours", 0, 1, 1e5);
  if (out.needs_spare && out.repair_hours <= 0) table.error("needs_spare", "needs 'repair_hours'");
  out.sources = entry.sources();
  return out;
}

std::vector<FailureKind> read_failures(const TomlTable& table) {
  table.allow({"chip_hours", "kind", "sources"});
  const Entry entry(table);
  const double chip_hours = entry.figure_or("chip_hours", 0, 1, 1e15, 1);
  std::vector<FailureKind> out;
  const TomlTable kinds = table.table("kind");
  for (const std::string& id : kinds.keys()) out.push_back(read_failure(id, kinds.table(id), chip_hours));
  if (out.empty()) table.error("names no kind of failure; add [failures.SET.kind.ID]");
  return out;
}

/// Reads documents one after the other, then settles what goes across them.
class Reader {
 public:
  explicit Reader(Catalogue& out) : out_(out) {}

  void add(const TomlTable& root) {
    root.allow({"accelerator", "efficiency", "host", "nic", "switch", "cable", "storage", "rack", "cooling",
                "region", "cloud", "failures"});
    each(root, "accelerator", [&](const std::string& id, const TomlTable& table) {
      out_.accelerators[id] = read_accelerator(id, table);
      own_efficiency_.insert_or_assign(id, table.table("efficiency"));
    });
    each(root, "efficiency", [&](const std::string& family, const TomlTable& table) {
      family_efficiency_.insert_or_assign(family, table);
    });
    each(root, "host", [&](const std::string& id, const TomlTable& table) {
      out_.hosts[id] = read_host(id, table);
      tables_.insert_or_assign("host " + id, table);
    });
    each(root, "nic", [&](const auto& id, const auto& table) { out_.nics[id] = read_nic(id, table); });
    each(root, "switch",
         [&](const auto& id, const auto& table) { out_.switches[id] = read_switch(id, table); });
    each(root, "cable", [&](const auto& id, const auto& table) { out_.cables[id] = read_cable(id, table); });
    each(root, "storage",
         [&](const auto& id, const auto& table) { out_.storages[id] = read_storage(id, table); });
    each(root, "rack", [&](const auto& id, const auto& table) { out_.racks[id] = read_rack(id, table); });
    each(root, "cooling",
         [&](const auto& id, const auto& table) { out_.coolings[id] = read_cooling(id, table); });
    each(root, "region",
         [&](const auto& id, const auto& table) { out_.regions[id] = read_region(id, table); });
    each(root, "cloud", [&](const std::string& id, const TomlTable& table) {
      out_.clouds[id] = read_cloud(id, table);
      tables_.insert_or_assign("cloud " + id, table);
    });
    each(root, "failures",
         [&](const auto& id, const auto& table) { out_.failure_sets[id] = read_failures(table); });
  }

  /// Constants of each chip, and references from entry to entry.
  void finish() {
    for (auto& [id, chip] : out_.accelerators) {
      if (const auto shared = family_efficiency_.find(chip.family); shared != family_efficiency_.end())
        apply_efficiency(shared->second, chip.efficiency);
      const TomlTable& own = own_efficiency_.at(id);
      if (!own.keys().empty()) apply_efficiency(own, chip.efficiency);
    }
    for (const auto& [id, host] : out_.hosts) {
      const TomlTable& table = tables_.at("host " + id);
      if (!host.nic.empty()) refer(table, "nic", host.nic, "nic", out_.nics.count(host.nic) > 0);
      if (!host.accelerator.empty())
        refer(table, "accelerator", host.accelerator, "accelerator",
              out_.accelerators.count(host.accelerator) > 0);
    }
    for (const auto& [id, cloud] : out_.clouds)
      refer(tables_.at("cloud " + id), "accelerator", cloud.accelerator, "accelerator",
            out_.accelerators.count(cloud.accelerator) > 0);
  }

 private:
  static void each(const TomlTable& root, std::string_view section,
                   const std::function<void(const std::string&, const TomlTable&)>& take) {
    for (const auto& [id, table] : root.table(section).named_tables()) take(id, table);
  }
  void refer(const TomlTable& table, std::string_view key, const std::string& id, std::string_view kind,
             bool there) const {
    if (there) return;
    table.error(key, fmt::format("is '{}', and there is no such {}; there are: {}", id, kind,
                                 fmt::join(out_.ids(kind), ", ")));
  }

  Catalogue& out_;
  std::map<std::string, TomlTable> own_efficiency_, family_efficiency_, tables_;
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

template <class Map>
const typename Map::mapped_type& find(const Map& map, std::string_view kind, std::string_view id) {
  if (const auto found = map.find(id); found != map.end()) return found->second;
  const std::string shown(id.substr(0, 80));
  if (map.empty())
    throw Error(ErrorCode::kNotFound,
                fmt::format("the catalogue has no {} at all, so none called '{}'", kind, shown));
  std::string known, closest;
  size_t least = SIZE_MAX;
  for (const auto& [name, value] : map) {
    known += (known.empty() ? "" : ", ") + name;
    const size_t distance = edit_distance(to_lower_ascii(shown), to_lower_ascii(name));
    if (distance < least) {
      least = distance;
      closest = name;
    }
  }
  throw Error(ErrorCode::kNotFound,
              fmt::format("the catalogue has no {} '{}'; the closest is '{}', and there are: {}", kind, shown,
                          closest, known));
}

template <class Map>
std::vector<std::string> keys_of(const Map& map) {
  std::vector<std::string> out;
  for (const auto& [key, value] : map) out.push_back(key);
  return out;
}

}  // namespace

std::string_view to_string(Precision precision) {
  switch (precision) {
    case Precision::kFp32: return "fp32";
    case Precision::kTf32: return "tf32";
    case Precision::kBf16: return "bf16";
    case Precision::kFp16: return "fp16";
    case Precision::kFp8: return "fp8";
    case Precision::kFp4: return "fp4";
  }
  return "?";
}

double bytes_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
    case Precision::kTf32: return 4;
    case Precision::kBf16:
    case Precision::kFp16: return 2;
    case Precision::kFp8: return 1;
    case Precision::kFp4: return 0.5;
  }
  return 4;
}

double Accelerator::peak(Precision precision) const {
  // From the precision asked for to ever wider ones, then to whatever there is.
  constexpr std::array<Precision, kPrecisions> kFallback{Precision::kFp4,  Precision::kFp8,
                                                         Precision::kBf16, Precision::kFp16,
                                                         Precision::kTf32, Precision::kFp32};
  const auto rate = [&](Precision of) { return peak_flops[static_cast<size_t>(of)]; };
  if (rate(precision) > 0) return rate(precision);
  if (precision == Precision::kFp16 && rate(Precision::kBf16) > 0) return rate(Precision::kBf16);
  const auto* from = std::find(kFallback.begin(), kFallback.end(), precision);
  for (const auto* wider = from; wider != kFallback.end(); ++wider)
    if (rate(*wider) > 0) return rate(*wider);
  for (const auto* narrower = from; narrower != kFallback.begin();)
    if (rate(*--narrower) > 0) return rate(*narrower);
  return 0;
}

Catalogue Catalogue::read(const std::vector<std::filesystem::path>& folders) {
  Catalogue out;
  Reader reader(out);
  for (const std::filesystem::path& folder : folders)
    for (const std::filesystem::path& file : files_of(folder, ".toml")) reader.add(TomlTable::read(file));
  reader.finish();
  return out;
}

Catalogue Catalogue::parse(std::string_view text, const std::string& name) {
  Catalogue out;
  Reader reader(out);
  reader.add(TomlTable::parse(text, name));
  reader.finish();
  return out;
}

const Accelerator& Catalogue::accelerator(std::string_view id) const {
  return find(accelerators, "accelerator", id);
}
const Host& Catalogue::host(std::string_view id) const { return find(hosts, "host", id); }
const Nic& Catalogue::nic(std::string_view id) const { return find(nics, "nic", id); }
const Switch& Catalogue::network_switch(std::string_view id) const { return find(switches, "switch", id); }
const Cable& Catalogue::cable(std::string_view id) const { return find(cables, "cable", id); }
const Storage& Catalogue::storage(std::string_view id) const { return find(storages, "storage", id); }
const Rack& Catalogue::rack(std::string_view id) const { return find(racks, "rack", id); }
const Cooling& Catalogue::cooling(std::string_view id) const { return find(coolings, "cooling", id); }
const Region& Catalogue::region(std::string_view id) const { return find(regions, "region", id); }
const Cloud& Catalogue::cloud(std::string_view id) const { return find(clouds, "cloud", id); }
const std::vector<FailureKind>& Catalogue::failures(std::string_view set) const {
  return find(failure_sets, "set of failures", set);
}

std::vector<std::string> Catalogue::ids(std::string_view kind) const {
  if (kind == "accelerator") return keys_of(accelerators);
  if (kind == "host") return keys_of(hosts);
  if (kind == "nic") return keys_of(nics);
  if (kind == "switch") return keys_of(switches);
  if (kind == "cable") return keys_of(cables);
  if (kind == "storage") return keys_of(storages);
  if (kind == "rack") return keys_of(racks);
  if (kind == "cooling") return keys_of(coolings);
  if (kind == "region") return keys_of(regions);
  if (kind == "cloud") return keys_of(clouds);
  if (kind == "failures") return keys_of(failure_sets);
  throw Error(
      ErrorCode::kNotFound,
      fmt::format(
          "the catalogue has no kind '{}'; there are: accelerator, host, nic, switch, cable, storage, "
          "rack, cooling, region, cloud, failures",
          kind.substr(0, 80)));
}

}  // namespace fathom::cluster
