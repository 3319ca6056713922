#include "cluster/network.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/toml.h"

namespace fathom::cluster {
namespace {

/// What a collective costs beside its hops: launch, flags, the proxy's wake-up (NCCL's own tuning table has 6.6 us for its
/// low-latency protocols).
constexpr double kLaunch = 5e-6;
/// Share of the bandwidth that a tree reaches (NCCL's tuning table: 0.92 of the ring's across hosts), and that the
/// logarithmic all-gather and reduce-scatter do (NCCL's PAT).
constexpr double kTreeShare = 0.92;
constexpr double kLogShare = 0.85;
/// Between two messages of one rank to different peers, in an all-to-all.
constexpr double kMessageInDomain = 0.1e-6;
constexpr double kMessageAcross = 0.3e-6;

double log2_ceil(uint64_t blocks) { return std::bit_width(blocks - 1); }

/// Quotients of what fits into 32 bits, as nearly all does, at a third of the time.
uint64_t quotient(uint64_t a, uint64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

constexpr std::array<std::string_view, 4> kTopologyKeys{"rail", "fat-tree", "dragonfly", "torus"};

}  // namespace

std::string_view to_string(Topology topology) {
  switch (topology) {
    case Topology::kRailFatTree: return "rail-optimised fat tree";
    case Topology::kFatTree: return "fat tree";
    case Topology::kDragonfly: return "dragonfly";
    case Topology::kTorus3d: return "3-D torus";
  }
  return "?";
}

std::string_view key_of(Topology topology) { return kTopologyKeys[static_cast<size_t>(topology)]; }

NetworkSpec NetworkSpec::read(const TomlTable& table) {
  table.allow({"topology", "switch", "tier_switches", "cable", "copper", "nic", "tiers", "oversubscription",
               "nics_per_chip", "planes", "pod_chips", "in_network_reduction", "torus",
               "gbit_per_s_per_chip"});
  NetworkSpec out;
  out.topology = static_cast<Topology>(table.choice_or(
      "topology", 0, {kTopologyKeys[0], kTopologyKeys[1], kTopologyKeys[2], kTopologyKeys[3]}));
  out.network_switch = table.text_or("switch", out.network_switch);
  out.tier_switches = table.texts("tier_switches");
  if (out.tier_switches.size() > 3) table.error("tier_switches", "names at most three switches");
  out.cable = table.text_or("cable", out.cable);
  out.copper = table.text_or("copper", out.copper);
  if (out.copper == "none") out.copper.clear();
  out.nic = table.text_or("nic", "");
  out.tiers = static_cast<uint32_t>(table.integer_or("tiers", 0, 0, 3));
  out.oversubscription = table.numbers("oversubscription", 1, 64);
  if (out.oversubscription.size() > 2)
    table.error("oversubscription", "has at most two numbers: leaves, spines");
  out.nics_per_chip = table.number_or("nics_per_chip", 0, 0, 64);
  out.planes = static_cast<uint32_t>(table.integer_or("planes", 1, 1, 64));
  out.pod_chips = static_cast<uint64_t>(table.integer_or("pod_chips", 0, 0, 1 << 30));
  out.in_network_reduction = table.flag_or("in_network_reduction", false);
  const std::vector<double> sizes = table.numbers("torus", 1, 65536);
  if (!sizes.empty() && sizes.size() != 3) table.error("torus", "has three sizes: torus = [16, 16, 32]");
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != std::floor(sizes[i]))
      table.error("torus", "has three whole numbers: torus = [16, 16, 32]");
    out.torus[i] = static_cast<uint32_t>(sizes[i]);
  }
  if (out.nics_per_chip != 0 && out.nics_per_chip < 1.0 / 1024)
    table.error("nics_per_chip", "must be 0 or at least 1/1024");
  const double gbit = table.number_or("gbit_per_s_per_chip", 0, 0, 1e6);
  if (gbit != 0 && gbit < 1e-3) table.error("gbit_per_s_per_chip", "must be 0 or at least 0.001");
  out.bytes_per_s_per_chip = gbit * 1e9 / 8;
  return out;
}

Network::Spread Network::spread(const Group& group) const {
  Spread out;
  const uint64_t stride = std::max<uint64_t>(group.stride, 1);
  uint64_t below = 1;
  for (uint32_t level = 0; level < level_count_; ++level) {
    uint64_t members = std::clamp<uint64_t>(quotient(levels_[level].reach, stride), 1, group.size);
    // The last level joins whatever there is, even where rounding says that it does not.
    if (level + 1 == level_count_) members = group.size;
    out.members[level] = members;
    out.top = level;
    if (members == below) {  // a level that adds nothing to the one below has no traffic of its own
      out.blocks[level] = 1;
      out.load[level] = out.exchanged[level] = 0;
    } else {
      const uint64_t blocks = below == 1 ? group.size : quotient(group.size + below - 1, below);
      out.blocks[level] = blocks;
      out.load[level] = levels_[level].seconds / static_cast<double>(below);
      out.exchanged[level] = static_cast<double>(blocks - 1) / static_cast<double>(blocks);
    }
    if (members == group.size) break;
    below = members;
  }
  return out;
}

/// Until every rank has what the others had: the slowest of the tiers.
double Network::ring_bandwidth_s(const Spread& at) {
  double worst = 0;
  for (uint32_t level = 0; level <= at.top; ++level)
    worst = std::max(worst, at.exchanged[level] * at.load[level]);
  return worst;
}

/// Up and down two binary trees that carry half each (Sanders, Speck and Traeff, 2009); a chain within the domain.
double Network::tree_bandwidth_s(const Spread& at) {
  double worst = 2 * kTreeShare * at.load[0];
  for (uint32_t level = 1; level <= at.top; ++level) worst = std::max(worst, 2 * at.load[level]);
  return worst / kTreeShare;
}

/// Once around: most hops are within the domain, one leaves each block of every level.
double Network::ring_latency_s(const Spread& at) const {
  double total = 0;
  uint64_t higher = 1;  // hops that cross a level above; the ring need not close
  for (uint32_t level = at.top + 1; level-- > 0;) {
    if (at.load[level] == 0) continue;
    total += static_cast<double>(at.blocks[level] - higher) * levels_[level].hop_s;
    higher = at.blocks[level];
  }
  return total;
}

/// From the leaves of a binary tree to its root: level by level, logarithmic in each.
double Network::tree_latency_s(const Spread& at) const {
  double total = 0;
  uint64_t below = 1;
  for (uint32_t level = 0; level <= at.top; ++level) {
    if (at.load[level] == 0) continue;
    const uint64_t joined = below == 1 ? at.members[level] : quotient(at.members[level] + below - 1, below);
    total += log2_ceil(joined) * levels_[level].hop_s;
    below = at.members[level];
  }
  return total;
}

/// Every chip sends its bytes to the switches once and has the sum back (NVLink SHARP, Quantum SHARP), in the tiers that
/// can; by rings in the others. Infinite where none can.
double Network::in_network_all_reduce_s(double bytes, const Spread& at) const {
  double worst = 0, latency = 0;
  bool any = false;
  for (uint32_t level = 0; level <= at.top; ++level) {
    if (at.load[level] == 0) continue;
    const Level& tier = levels_[level];
    const double ring = 2 * at.exchanged[level];
    const bool can = tier.reduce_ratio > 0;
    worst = std::max(worst, at.load[level] * (can ? std::min(ring, tier.reduce_ratio) : ring));
    if (can) any = true;
    const double rounds = can          ? 1
                          : level == 0 ? static_cast<double>(at.members[0] - 1)
                                       : log2_ceil(at.blocks[level]);
    latency += 2 * rounds * tier.hop_s;
  }
  return any ? bytes * worst + latency : HUGE_VAL;
}

double Network::gather_s(double bytes, const Spread& at, const Group& group) const {
  if (torus_ && at.top > 0) return torus_gather_s(bytes, at, group);
  const double bandwidth = bytes * ring_bandwidth_s(at) * group.sharing;
  return std::min(bandwidth + ring_latency_s(at), bandwidth * (1 / kLogShare) + tree_latency_s(at));
}

/// Rings along each dimension that the group spans, both ways round, all at the same time.
double Network::torus_gather_s(double bytes, const Spread& at, const Group& group) const {
  const double near = static_cast<double>(at.members[0]);
  const double blocks = std::ceil(static_cast<double>(group.size) / near);
  const double across = (blocks - 1) / blocks * torus_seconds(at, group) / near;
  double hops = (near - 1) * levels_[0].hop_s;
  for (uint32_t level = 1; level <= at.top; ++level)
    hops += static_cast<double>(at.members[level] / at.members[level - 1]) / 2 * levels_[level].hop_s;
  return bytes * std::max(at.exchanged[0] * at.load[0], across) * group.sharing + hops;
}

double Network::all_gather_s(double bytes, const Group& group) const {
  if (group.size <= 1 || bytes <= 0) return 0;
  return kLaunch + gather_s(bytes, spread(group), group);
}

double Network::reduce_scatter_s(double bytes, const Group& group) const {
  return all_gather_s(bytes, group);
}

double Network::all_reduce_s(double bytes, const Group& group) const {
  if (group.size <= 1 || bytes <= 0) return 0;
  const Spread at = spread(group);
  double best = 2 * gather_s(bytes, at, group);
  if (!torus_ || at.top == 0) {
    const double shared = bytes * group.sharing;
    best = std::min(best, shared * tree_bandwidth_s(at) + 2 * tree_latency_s(at));
    best = std::min(best, in_network_all_reduce_s(shared, at));
  }
  return kLaunch + best;
}

double Network::all_to_all_s(double bytes, const Group& group) const {
  if (group.size <= 1 || bytes <= 0) return 0;
  const Spread at = spread(group);
  const double size = static_cast<double>(group.size), near = static_cast<double>(at.members[0]);
  double worst = (size - 1) / size * at.load[0];
  if (torus_ && at.top > 0) {
    worst = std::max(worst, torus_all_to_all_s(1, at, group));
  } else {
    for (uint32_t level = 1; level <= at.top; ++level) {
      if (at.load[level] == 0) continue;
      const double leaving = (size - static_cast<double>(at.members[level - 1])) / size;
      worst = std::max(worst, leaving * levels_[level].seconds);
    }
  }
  const double messages = (near - 1) * kMessageInDomain + (size - near) * kMessageAcross;
  return kLaunch + bytes * worst * group.sharing + levels_[at.top].hop_s + messages;
}

double Network::broadcast_s(double bytes, const Group& group) const {
  if (group.size <= 1 || bytes <= 0) return 0;
  const Spread at = spread(group);
  double worst = at.load[0];
  if (torus_ && at.top > 0) {
    worst = std::max(worst, torus_seconds(at, group) / static_cast<double>(at.members[0]));
  } else {
    for (uint32_t level = 1; level <= at.top; ++level) worst = std::max(worst, at.load[level]);
  }
  return kLaunch + bytes * worst * group.sharing + tree_latency_s(at);
}

double Network::send_s(double bytes, uint64_t stride) const { return send_s(bytes, Group{2, stride, 1}); }

double Network::send_s(double bytes, const Group& group) const {
  if (group.size <= 1 || bytes <= 0) return 0;
  const Spread at = spread(group);
  if (at.top == 0) return kLaunch + levels_[0].hop_s + bytes * levels_[0].seconds * group.sharing;
  if (torus_) return kLaunch + torus_send_s(bytes, group.stride) * group.sharing;
  // One card a chip; of a block of `reach` chips, `stride` send out of it at the same time.
  double worst = levels_[1].seconds;
  for (uint32_t level = 2; level <= at.top; ++level)
    worst = std::max(
        worst, levels_[level].seconds * std::min(1.0, static_cast<double>(group.stride) /
                                                          static_cast<double>(levels_[level - 1].reach)));
  return kLaunch + levels_[at.top].hop_s + bytes * worst * group.sharing;
}

/// Seconds a byte of one chip into the rings that the group has: two of six links a dimension that it spans. Groups that
/// are interleaved along a dimension share its links; one that does not close the ring has half.
double Network::torus_seconds(const Spread& at, const Group& group) const {
  double rate = 0;
  for (uint32_t level = 1; level <= at.top; ++level) {
    const double along = static_cast<double>(at.members[level]) / static_cast<double>(at.members[level - 1]);
    if (along <= 1) continue;
    const double below = static_cast<double>(levels_[level - 1].reach);
    const double apart = std::max(1.0, static_cast<double>(group.stride) / below);
    const double length = static_cast<double>(levels_[level].length);
    const double closed = along * apart + 0.5 >= length || length <= 2 ? 1 : 0.5;
    rate += closed / (3 * levels_[level].seconds * apart);
  }
  return rate > 0 ? 1 / rate : 3 * levels_[1].seconds;
}

/// A byte travels a quarter of each ring on average, over two of a node's six links a dimension.
double Network::torus_all_to_all_s(double bytes, const Spread& at, const Group& group) const {
  double worst = 0;
  for (uint32_t level = 1; level <= at.top; ++level) {
    const double along = static_cast<double>(at.members[level]) / static_cast<double>(at.members[level - 1]);
    if (along <= 1) continue;
    const double apart =
        std::max(1.0, static_cast<double>(group.stride) / static_cast<double>(levels_[level - 1].reach));
    worst = std::max(worst, bytes * along * apart / 4 * 3 * levels_[level].seconds);
  }
  return worst;
}

/// All ranks shift by `stride`: as many share each link as it is hops away along its dimension.
double Network::torus_send_s(double bytes, uint64_t stride) const {
  uint32_t level = 1;
  while (level + 1 < level_count_ && levels_[level].reach <= stride) ++level;
  const uint64_t below = levels_[level - 1].reach;
  const double apart = static_cast<double>(std::max<uint64_t>(1, stride / std::max<uint64_t>(below, 1)));
  const double hops = std::min(apart, std::max(1.0, static_cast<double>(levels_[level].length) - apart));
  return hops * levels_[level].hop_s + bytes * hops * 6 * levels_[level].seconds;
}

}  // namespace fathom::cluster
