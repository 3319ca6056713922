// The network of a machine: how chips are joined, what that takes, and how long a collective lasts on it.
//
// A chip reaches the others of its scale-up domain (NVLink, ICI) directly, all others through its card and the tiers of a
// scale-out network. Values; thread-safe for reading. Nothing allocates after build(): the search asks millions of times.
//
// Cost of a collective: the alpha-beta model (Hockney; Thakur, Rabenseifner and Gropp, 2005) a tier, the best of ring,
// tree and hierarchical (within the domain, then across), as NCCL chooses. Contention: `sharing` groups that cross the same
// tier at the same time share its links, and over-subscribed tiers divide further.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/catalogue.h"

namespace fathom::cluster {

enum class Topology : uint8_t { kRailFatTree, kFatTree, kDragonfly, kTorus3d };
std::string_view to_string(Topology topology);

/// Section [network] of a scenario.
struct NetworkSpec {
  Topology topology = Topology::kRailFatTree;
  std::string network_switch = "spectrum-sn5600";
  std::string cable = "osfp-400g-optic";  // between tiers and to hosts further than the copper reaches
  std::string copper = "osfp-400g-dac";   // host to first tier; empty: `cable` throughout
  uint32_t tiers = 0;                     // 2 or 3; 0: as few as reach all chips
  std::vector<double> oversubscription;   // from the first tier up: down-links over up-links; missing: 1
  double nics_per_chip = 1;
  bool in_network_reduction = false;  // where the switches can
  std::array<uint32_t, 3> torus{};    // sizes; zeros: as near to a cube as may be
  /// Of the rate that a card gives its chip, in place of nics * rate of the host; 0: from the host. For machines that
  /// publish only this ("1600 Gb/s a node").
  double bytes_per_s_per_chip = 0;

  static NetworkSpec read(const TomlTable& table);
};

/// A communicator: `size` ranks, `stride` ranks from each to the next (ranks are numbered within a domain first, then
/// host by host). `sharing`: how many such groups send at the same time through one chip's links (1 unless parallel
/// dimensions overlap in time).
struct Group {
  uint64_t size = 1;
  uint64_t stride = 1;
  double sharing = 1;
};

/// What to buy, and what it draws.
struct BillLine {
  std::string item;  // id in the catalogue, or a name
  std::string what;  // "leaf switch", "host cable"
  uint64_t count = 0;
  double unit_usd = 0;
  double unit_w = 0;
};
struct NetworkBill {
  std::vector<BillLine> lines;
  double price_usd = 0;
  double power_w = 0;
  uint64_t switches = 0;
  uint64_t cables = 0;
};

/// One tier of the network, for the drawing and for contention.
struct Tier {
  std::string name;    // "NVLink", "leaf", "spine", "core"
  uint64_t reach = 1;  // chips that it joins without a higher tier
  uint64_t switches = 0;
  double bytes_per_s = 0;  // per chip, one direction, after over-subscription
  double latency_s = 0;    // one way, chip to chip through it
};

class Network {
 public:
  /// For `chips` chips of `host`. Errors: kInvalidArgument where the topology cannot join so many (the sentence says how
  /// many it can, and what would).
  static Network build(const Catalogue& catalogue, const NetworkSpec& spec, const Accelerator& chip,
                       const Host& host, uint64_t chips);

  /// Seconds until all of the group are done; 0 for a group of one or no bytes. `bytes`: what each rank has at the end
  /// (all-gather), has at the start (reduce-scatter, all-reduce, all-to-all) or sends (point-to-point).
  double all_reduce_s(double bytes, const Group& group) const;
  double reduce_scatter_s(double bytes, const Group& group) const;
  double all_gather_s(double bytes, const Group& group) const;
  double all_to_all_s(double bytes, const Group& group) const;
  double broadcast_s(double bytes, const Group& group) const;
  /// To the rank `stride` away.
  double send_s(double bytes, uint64_t stride) const;

  const std::vector<Tier>& tiers() const { return tiers_; }
  double bisection_bytes_per_s() const {
    return bisection_;
  }  // one direction, of the whole scale-out network
  const NetworkBill& bill() const { return bill_; }
  uint64_t chips() const { return chips_; }
  uint32_t domain() const { return domain_; }  // chips of a scale-up domain
  const NetworkSpec& spec() const { return spec_; }

 private:
  NetworkSpec spec_;
  uint64_t chips_ = 0;
  uint32_t domain_ = 1;
  std::vector<Tier> tiers_;  // [0]: scale-up
  double scale_up_fraction_ = 1, scale_out_fraction_ = 1;
  double bisection_ = 0;
  NetworkBill bill_;
};

}  // namespace fathom::cluster
