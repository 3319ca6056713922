// The network of a machine: how chips are joined, what that takes, and how long a collective lasts on it.
//
// A chip reaches the others of its scale-up domain (NVLink, ICI) directly, all others through its card and the tiers of a
// scale-out network. Values; thread-safe for reading. Nothing allocates after build(): the search asks millions of times.
//
// Cost of a collective: the alpha-beta model (Hockney; Thakur, Rabenseifner and Gropp, 2005) a tier, the best of ring,
// tree and hierarchical (within the domain, then across), as NCCL chooses. Contention: `sharing` groups that cross the same
// tier at the same time share its links, and over-subscribed tiers divide further.
//
// Bandwidth: of a group with g members in a block of tier t - 1 (a domain, a leaf's hosts, a pod), what leaves the block
// goes out by g links at once, so a tier costs bytes * (blocks - 1) / blocks / (g * bytes_per_s), and the slowest tier
// counts, for the tiers work at the same time. All chips are taken to be in groups of the same kind.
// Latency: hops in a row along the ring or the tree, and once per collective what it takes to launch it.
// Invariants, on trees and dragonflies: more bandwidth is never slower; a larger group never faster; an all-reduce never
// takes longer than a reduce-scatter and an all-gather. (On a torus a larger group may be faster: it has more links.)
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "cluster/catalogue.h"

namespace fathom::cluster {

enum class Topology : uint8_t { kRailFatTree, kFatTree, kDragonfly, kTorus3d };
std::string_view to_string(Topology topology);
std::string_view key_of(Topology topology);  // as a scenario has it

/// Section [network] of a scenario.
struct NetworkSpec {
  Topology topology = Topology::kRailFatTree;
  std::string network_switch = "spectrum-sn5600";
  std::vector<std::string>
      tier_switches;  // from the first tier up, where they differ; missing: network_switch
  std::string cable = "osfp-400g-optic";  // between tiers and to hosts further than the copper reaches
  std::string copper =
      "osfp-400g-dac";  // host to first tier; empty (in a scenario "none"): `cable` throughout
  std::string nic;      // in place of the host's; empty: the host's
  uint32_t tiers = 0;   // 1 to 3; 0: as few as reach all chips
  std::vector<double> oversubscription;  // from the first tier up: down-links over up-links; missing: 1
  double nics_per_chip = 0;              // 0: as the host has them
  /// Separate trees, each joining its share of every host's cards (a rail, or several): chips of other planes are reached
  /// through the scale-up domain. Divides the host's cards.
  uint32_t planes = 1;
  uint64_t pod_chips = 0;  // chips below one set of spines, in three tiers; 0: as many as the ports allow
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
  /// To the rank `stride` away; all ranks at the same time. Within the domain where two such ranks fit into it.
  double send_s(double bytes, uint64_t stride) const;
  /// To the next of the group (a pipeline): the slowest of its sends.
  double send_s(double bytes, const Group& group) const;

  const std::vector<Tier>& tiers() const { return tiers_; }
  double bisection_bytes_per_s() const {
    return bisection_;
  }  // one direction, of the whole scale-out network
  const NetworkBill& bill() const { return bill_; }
  uint64_t chips() const { return chips_; }
  uint32_t domain() const { return domain_; }  // chips of a scale-up domain
  const NetworkSpec& spec() const { return spec_; }

 private:
  friend class NetworkBuilder;

  static constexpr uint32_t kMaxLevels = 5;
  /// A tier as the collectives see it; [0] is scale-up.
  struct Level {
    uint64_t reach = 1;  // chips within one block of it
    double seconds = 0;  // a byte, of one chip, at the rate that collectives reach
    double hop_s = 0;    // latency of one hop, software included
    double reduce_ratio =
        0;  // time of a reduction within the tier's switches over `seconds`; 0: they do not reduce
    uint32_t length = 1;  // of the ring, on a torus
  };
  /// How a group lies on the tiers, with all divisions done: [level].
  struct Spread {
    uint32_t top = 0;                          // the lowest level whose block holds all of the group
    std::array<uint64_t, kMaxLevels> members;  // of the group in one block of the level
    std::array<uint64_t, kMaxLevels> blocks;   // that the group has of the level below
    std::array<double, kMaxLevels> load;  // seconds a byte out of one block of the level below; 0: no traffic
    std::array<double, kMaxLevels> exchanged;  // (blocks - 1) / blocks
  };
  Spread spread(const Group& group) const;
  static double ring_bandwidth_s(const Spread& at);  // these two of one byte
  static double tree_bandwidth_s(const Spread& at);
  double ring_latency_s(const Spread& at) const;
  double tree_latency_s(const Spread& at) const;
  double in_network_all_reduce_s(double bytes, const Spread& at) const;
  double gather_s(double bytes, const Spread& at, const Group& group) const;
  double torus_gather_s(double bytes, const Spread& at, const Group& group) const;
  double torus_seconds(const Spread& at, const Group& group) const;
  double torus_all_to_all_s(double bytes, const Spread& at, const Group& group) const;
  double torus_send_s(double bytes, uint64_t stride) const;

  NetworkSpec spec_;
  uint64_t chips_ = 0;
  uint32_t domain_ = 1;
  std::vector<Tier> tiers_;  // [0]: scale-up
  std::array<Level, kMaxLevels> levels_{};
  uint32_t level_count_ = 1;
  bool torus_ = false;
  double bisection_ = 0;
  NetworkBill bill_;
};

}  // namespace fathom::cluster
