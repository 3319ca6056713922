// What a cluster is made of: chips, hosts, network cards, switches, links, storage, racks, cooling, power and cloud prices.
//
// Read from the TOML files of a folder (data/catalogue/*.toml, then a user's own, which add and override by id); every
// figure there has its source beside it: data/catalogue/README.md has the format. Plain values, thread-safe for reading.
// Units are in the names; bandwidths are bytes a second in ONE direction, rates of arithmetic are of dense operations.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {
class TomlTable;
}

namespace fathom::cluster {

enum class Precision : uint8_t { kFp32, kTf32, kBf16, kFp16, kFp8, kFp4 };
inline constexpr size_t kPrecisions = 6;
std::string_view to_string(Precision precision);  // "bf16"
/// Bytes of one element as a matrix product reads it.
double bytes_of(Precision precision);

/// Where a figure comes from: a paper, a data sheet, "derived: ...", "assumed: ...".
using Sources = std::map<std::string, std::string>;  // key of the TOML entry -> source

/// How far a chip comes of its peaks: one set for a chip, whatever runs on it (step_cost.h says how each is used). Fitted
/// on the rows that the catalogue entry names; `fathom calibrate` measures them on the machine at hand.
struct ChipEfficiency {
  double gemm_peak_fraction = 0.8;  // of the peak, by a large product of matrices, power limit included
  uint32_t gemm_tile_m = 128;       // a tile of the output that one unit computes at a time
  uint32_t gemm_tile_n = 256;
  uint32_t units = 108;                     // that compute tiles (streaming multiprocessors, cores)
  double gemm_k_half = 256;                 // inner dimension at which half of the fraction is reached
  double attention_forward_fraction = 0.5;  // of the peak, fused attention
  double attention_backward_fraction = 0.4;
  double memory_fraction = 0.8;        // of the memory bandwidth, element-wise kernels
  double kernel_launch_s = 4e-6;       // between two dependent kernels
  std::map<std::string, double> more;  // further constants, by name, of step_cost.cc
  std::vector<std::string> fitted_on;  // rows of data/validation ("file#line")
};

struct Accelerator {
  std::string id;      // "h100-sxm"
  std::string name;    // "NVIDIA H100 SXM5 80 GB"
  std::string family;  // "a100", "h100", "b200": variants of one chip share constants
  std::array<double, kPrecisions> peak_flops{};  // by Precision; 0: not in hardware
  double memory_bytes = 0;
  double memory_bytes_per_s = 0;
  double scale_up_bytes_per_s =
      0;  // of the links within a domain (NVLink, ICI), in one direction, all links of the chip
  double scale_up_latency_s = 0;
  double scale_up_fraction = 0.8;  // of it that collectives reach
  uint32_t scale_up_chips = 8;     // of the largest domain
  bool scale_up_torus =
      false;  // a torus of chips without switches (TPU); else every chip reaches every other
  bool in_network_reduction = false;  // within the domain (NVLink SHARP)
  double power_w = 0;                 // sustained in training
  double idle_power_w = 0;
  double price_usd = 0;  // 0: sold only in its host
  int year = 0;          // from which it is delivered in numbers
  ChipEfficiency efficiency;
  Sources sources;

  /// Of the nearest precision that the hardware has: fp8 falls back to bf16, and so on; never 0.
  double peak(Precision precision) const;
};

struct Host {
  std::string id, name;
  std::string accelerator;  // id; empty: any
  uint32_t chips = 8;
  double power_w = 0;    // all but the chips: processors, memory, fans, cards, supplies' losses
  double price_usd = 0;  // with its chips and cards where price_includes_chips
  bool price_includes_chips = true;
  uint32_t nics = 8;                 // for the scale-out network
  std::string nic;                   // id
  double host_link_bytes_per_s = 0;  // chip to host memory, one direction (offload)
  double host_memory_bytes = 0;
  double rack_units = 8;
  bool scale_up_leaves_host = false;  // the domain spans hosts (NVL72); else it ends with the host
  Sources sources;
};

struct Nic {
  std::string id, name;
  double bytes_per_s = 0;  // one direction
  double latency_s = 0;    // end to end through one switch
  double power_w = 0;
  double price_usd = 0;
  Sources sources;
};

struct Switch {
  std::string id, name;
  std::string fabric;  // "infiniband", "ethernet"
  uint32_t ports = 0;  // at port_bytes_per_s
  double port_bytes_per_s = 0;
  double latency_s = 0;
  double power_w = 0;  // without optics
  double price_usd = 0;
  bool in_network_reduction = false;
  double efficiency = 0.9;  // of a port's rate that collectives reach when uncontended (routing, headers)
  Sources sources;
};

struct Cable {  // one link's two ends and what is between
  std::string id, name;
  std::string kind;  // "dac", "aoc", "optic"
  double bytes_per_s = 0;
  double max_metres = 0;
  double power_w = 0;  // both ends
  double price_usd = 0;
  Sources sources;
};

struct Storage {  // one unit: a server, or a rack of them
  std::string id, name;
  double bytes = 0;
  double write_bytes_per_s = 0;
  double read_bytes_per_s = 0;
  double power_w = 0;
  double price_usd = 0;
  Sources sources;
};

struct Rack {
  std::string id, name;
  double power_w = 0;  // that it can feed and cool
  double units = 48;
  double price_usd = 0;
  Sources sources;
};

struct Cooling {
  std::string id, name;
  double pue = 1.2;            // annual mean, facility over IT
  double price_usd_per_w = 0;  // of IT load
  Sources sources;
};

struct Region {
  std::string id, name;
  double power_usd_per_kwh = 0;
  double carbon_kg_per_kwh = 0;
  Sources sources;
};

struct Cloud {  // an offer to rent
  std::string id, name;
  std::string accelerator;
  double usd_per_chip_hour = 0;           // on demand
  double reserved_usd_per_chip_hour = 0;  // for reserved_years
  double reserved_years = 1;
  double max_chips = 0;  // 0: not said
  Sources sources;
};

/// Failures of one kind: Llama 3's table, and what each costs to mend.
struct FailureKind {
  std::string id, name;
  double per_chip_hour = 0;  // rate; of parts that are not per chip, spread over the chips
  bool needs_spare = false;  // the node leaves until repaired; else a restart in place suffices
  double repair_hours = 0;   // mean, until the node is back
  Sources sources;
};

class Catalogue {
 public:
  /// Reads all *.toml of each folder in turn, in the order of their names; a later entry of the same id replaces an
  /// earlier one. Errors: kNotFound (a folder), kInvalidArgument with file and line (unknown key, missing figure, missing
  /// source, out of range, reference to an id that is not there).
  static Catalogue read(const std::vector<std::filesystem::path>& folders);
  /// One document alone; `name` is how errors call it.
  static Catalogue parse(std::string_view text, const std::string& name);

  /// Errors: kNotFound, naming the ids there are and the closest to it.
  const Accelerator& accelerator(std::string_view id) const;
  const Host& host(std::string_view id) const;
  const Nic& nic(std::string_view id) const;
  const Switch& network_switch(std::string_view id) const;
  const Cable& cable(std::string_view id) const;
  const Storage& storage(std::string_view id) const;
  const Rack& rack(std::string_view id) const;
  const Cooling& cooling(std::string_view id) const;
  const Region& region(std::string_view id) const;
  const Cloud& cloud(std::string_view id) const;
  const std::vector<FailureKind>& failures(std::string_view set) const;  // "llama3-h100"
  /// "accelerator" -> all its ids. Errors: kNotFound for another kind.
  std::vector<std::string> ids(std::string_view kind) const;

  std::map<std::string, Accelerator, std::less<>> accelerators;
  std::map<std::string, Host, std::less<>> hosts;
  std::map<std::string, Nic, std::less<>> nics;
  std::map<std::string, Switch, std::less<>> switches;
  std::map<std::string, Cable, std::less<>> cables;
  std::map<std::string, Storage, std::less<>> storages;
  std::map<std::string, Rack, std::less<>> racks;
  std::map<std::string, Cooling, std::less<>> coolings;
  std::map<std::string, Region, std::less<>> regions;
  std::map<std::string, Cloud, std::less<>> clouds;
  std::map<std::string, std::vector<FailureKind>, std::less<>> failure_sets;
};

}  // namespace fathom::cluster
