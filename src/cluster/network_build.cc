// Which switches and cables join so many chips, in each topology, and what the collectives see of it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "cluster/network.h"

namespace fathom::cluster {
namespace {

/// Of a card's message beside the wire: posting, polling, the proxy's hand-over (NCCL's tuning table has 5 us a hop of its
/// low-latency protocol, card and switch included).
constexpr double kSoftwareHop = 3e-6;
constexpr double kMetreS = 5e-9;  // light in fibre
constexpr double kLeafMetres = 10, kSpineMetres = 40, kCoreMetres = 90;
/// NCCL with NVLink SHARP on 8 H100 reduces at 275 GB/s of 450 where its ring moves 370 (NVIDIA/nccl-tests issue 212).
constexpr double kDomainReduceShare = 275.0 / 370.0;
/// Of a port's rate that switches' own reduction reaches.
constexpr double kFabricReduceShare = 0.95;
/// Non-minimal routes take two global links (Valiant; Kim et al., 2008).
constexpr double kDragonflyGlobalShare = 0.5;
/// For copper: racks are 0.6 m wide, and 2 m of a cable go up and down within them.
constexpr double kRackWidth = 0.6, kInRackMetres = 2, kRackUnits = 44;

uint64_t divide_up(uint64_t a, uint64_t b) { return b == 0 ? 0 : a / b + (a % b != 0); }
uint64_t divide_up(uint64_t a, double b) {
  return static_cast<uint64_t>(std::ceil(static_cast<double>(a) / b - 1e-9));
}

/// Ports of one switch, down and up, at an over-subscription.
struct Split {
  uint64_t down = 0, up = 0;
};
Split split_ports(uint64_t ports, double over) {
  const auto down = static_cast<uint64_t>(std::floor(static_cast<double>(ports) * over / (1 + over) + 1e-9));
  Split out;
  out.down = std::clamp<uint64_t>(down, 1, ports - 1);
  out.up = std::max<uint64_t>(1, std::min(ports - out.down, divide_up(out.down, over)));
  return out;
}

/// Endpoints (cards' connections at a port's rate, or less) that a fat tree joins, in one plane.
struct TreeShape {
  uint64_t ports[3] = {0, 0, 0};  // of a switch of each tier
  double over[2] = {1, 1};
  double ports_per_endpoint = 1;
  uint64_t pod_endpoints = 0;  // at most; 0: as many as the ports allow

  uint64_t leaf_endpoints(uint32_t tiers) const {
    const uint64_t down = tiers == 1 ? ports[0] : split_ports(ports[0], over[0]).down;
    return std::max<uint64_t>(1,
                              static_cast<uint64_t>(static_cast<double>(down) / ports_per_endpoint + 1e-9));
  }
  uint64_t pod_leaves() const {
    const uint64_t by_ports = split_ports(ports[1], over[1]).down;
    if (pod_endpoints == 0) return by_ports;
    return std::clamp<uint64_t>(divide_up(pod_endpoints, leaf_endpoints(3)), 1, by_ports);
  }
  uint64_t capacity(uint32_t tiers) const {
    if (tiers == 1) return leaf_endpoints(1);
    if (tiers == 2) return leaf_endpoints(2) * ports[1];
    return leaf_endpoints(3) * pod_leaves() * ports[2];
  }
};

}  // namespace

class NetworkBuilder {
 public:
  NetworkBuilder(const Catalogue& catalogue, const NetworkSpec& spec, const Accelerator& chip,
                 const Host& host, uint64_t chips)
      : catalogue_(catalogue), spec_(spec), chip_(chip), host_(host), chips_(chips) {
    out_.spec_ = spec;
    out_.chips_ = chips;
  }

  Network build() {
    if (chips_ == 0) fail("a machine needs at least one chip");
    const bool own_torus = spec_.topology == Topology::kTorus3d && chip_.scale_up_torus;
    const uint64_t widest =
        host_.scale_up_leaves_host ? chip_.scale_up_chips : std::min(chip_.scale_up_chips, host_.chips);
    out_.domain_ = own_torus ? 1 : static_cast<uint32_t>(std::min(widest, chips_));
    add_scale_up();
    if (chips_ > out_.domain_) add_scale_out(own_torus);
    for (const BillLine& line : out_.bill_.lines) {
      out_.bill_.price_usd += line.unit_usd * static_cast<double>(line.count);
      out_.bill_.power_w += line.unit_w * static_cast<double>(line.count);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] static void fail(const std::string& sentence) {
    throw Error(ErrorCode::kInvalidArgument, sentence);
  }

  void add_scale_up() {
    const double rate = chip_.scale_up_bytes_per_s * chip_.scale_up_fraction;
    Network::Level& level = out_.levels_[0];
    level.reach = out_.domain_;
    level.seconds = 1 / rate;
    level.hop_s = chip_.scale_up_latency_s;
    level.reduce_ratio = chip_.in_network_reduction ? 1 / kDomainReduceShare : 0;
    out_.tiers_.push_back(
        {"scale-up", out_.domain_, 0, chip_.scale_up_bytes_per_s, chip_.scale_up_latency_s});
  }

  void add_scale_out(bool own_torus) {
    if (own_torus) {
      if (chips_ > chip_.scale_up_chips)
        fail(fmt::format(
            "a torus of {} joins at most {} chips, not {}; take topology = \"fat-tree\", which joins such "
            "tori by their hosts' cards",
            chip_.name, chip_.scale_up_chips, chips_));
      add_torus(chips_, 1, chip_.scale_up_bytes_per_s, chip_.scale_up_bytes_per_s * chip_.scale_up_fraction,
                chip_.scale_up_latency_s);
      return;
    }
    find_cards();
    if (spec_.topology == Topology::kTorus3d) {
      const uint64_t nodes = divide_up(chips_, uint64_t{out_.domain_});
      add_torus(nodes, out_.domain_, rate_, rate_ * 0.9, nic_latency_ + kSoftwareHop);
    } else if (spec_.topology == Topology::kDragonfly) {
      add_dragonfly();
    } else {
      add_fat_tree();
    }
  }

  /// The cards: how many endpoints there are, and how fast.
  void find_cards() {
    const std::string& id = spec_.nic.empty() ? host_.nic : spec_.nic;
    if (id.empty() && spec_.bytes_per_s_per_chip <= 0)
      fail(fmt::format("host '{}' has no network card, so {} chips cannot be joined; set [network] nic",
                       host_.id, chips_));
    per_chip_ = spec_.nics_per_chip > 0 ? spec_.nics_per_chip
                                        : static_cast<double>(host_.nics) / static_cast<double>(host_.chips);
    double card = spec_.bytes_per_s_per_chip;
    if (!id.empty()) {
      const Nic& nic = catalogue_.nic(id);
      card = nic.bytes_per_s;
      nic_latency_ = nic.latency_s;
      if (per_chip_ <= 0) per_chip_ = 1;
    } else {
      per_chip_ = 1;
    }
    rate_ = spec_.bytes_per_s_per_chip > 0 ? spec_.bytes_per_s_per_chip : card * per_chip_;
    card_rate_ = card;
    endpoints_ = divide_up(chips_, 1 / per_chip_);
    endpoints_per_host_ = std::max<uint64_t>(
        1, static_cast<uint64_t>(std::lround(per_chip_ * static_cast<double>(host_.chips))));
    hosts_ = divide_up(chips_, uint64_t{host_.chips});
  }

  const Switch& tier_switch(size_t tier) const {
    return catalogue_.network_switch(tier < spec_.tier_switches.size() ? spec_.tier_switches[tier]
                                                                       : spec_.network_switch);
  }
  double over(size_t tier) const {
    return tier < spec_.oversubscription.size() ? std::max(1.0, spec_.oversubscription[tier]) : 1;
  }
  /// A card faster than a port takes several; several slower ones share one by splitting cables.
  double ports_per_endpoint(const Switch& device) const {
    const double ratio = card_rate_ / device.port_bytes_per_s;
    if (ratio >= 1) return std::ceil(ratio - 1e-9);
    return 1 / std::clamp(std::floor(1 / ratio + 1e-9), 1.0, 4.0);
  }

  TreeShape tree_shape() const {
    TreeShape shape;
    for (size_t tier = 0; tier < 3; ++tier) shape.ports[tier] = tier_switch(tier).ports;
    shape.over[0] = over(0);
    shape.over[1] = over(1);
    shape.ports_per_endpoint = ports_per_endpoint(tier_switch(0));
    shape.pod_endpoints = divide_up(spec_.pod_chips, 1 / per_chip_) / std::max(1u, spec_.planes);
    return shape;
  }

  void add_fat_tree() {
    const uint64_t planes = spec_.planes;
    if (planes > 1 && endpoints_per_host_ % planes != 0)
      fail(
          fmt::format("[network] planes = {} does not divide the {} cards of host '{}'; each plane joins an "
                      "equal share of "
                      "every host's cards",
                      planes, endpoints_per_host_, host_.id));
    const TreeShape shape = tree_shape();
    const uint64_t plane_endpoints = divide_up(endpoints_, planes);
    uint32_t tiers = spec_.tiers;
    if (tiers == 0)
      for (tiers = 1; tiers < 3 && shape.capacity(tiers) < plane_endpoints;) ++tiers;
    if (shape.capacity(tiers) < plane_endpoints) fail_too_large(shape, tiers, planes);
    add_tree_tiers(shape, tiers, plane_endpoints, planes);
  }

  uint64_t tree_chips(const TreeShape& shape, uint32_t tiers, uint64_t planes) const {
    return static_cast<uint64_t>(static_cast<double>(shape.capacity(tiers) * planes) / per_chip_);
  }

  [[noreturn]] void fail_too_large(const TreeShape& shape, uint32_t tiers, uint64_t planes) const {
    std::string remedy;
    const auto offer = [&](const std::string& what) { remedy += (remedy.empty() ? "" : "; ") + what; };
    if (tiers < 3 && tree_chips(shape, 3, planes) >= chips_)
      offer(fmt::format("tiers = 3 joins {}", tree_chips(shape, 3, planes)));
    if (planes < endpoints_per_host_ && tree_chips(shape, tiers, endpoints_per_host_) >= chips_)
      offer(fmt::format("planes = {} (a tree for each card of a host) joins {}", endpoints_per_host_,
                        tree_chips(shape, tiers, endpoints_per_host_)));
    const Switch& now = tier_switch(0);
    for (const auto& [id, other] : catalogue_.switches) {
      if (other.port_bytes_per_s < now.port_bytes_per_s || other.ports <= now.ports) continue;
      TreeShape wider = shape;
      for (uint64_t& ports : wider.ports) ports = other.ports;
      wider.ports_per_endpoint = ports_per_endpoint(other);
      if (tree_chips(wider, tiers, planes) < chips_) continue;
      offer(fmt::format("switch = \"{}\" joins {}", id, tree_chips(wider, tiers, planes)));
      break;
    }
    if (remedy.empty()) remedy = "take fewer chips, fewer cards a chip, or switches with more ports";
    fail(fmt::format("a {} of {} tier{} of '{}' ({} ports{}) joins at most {} chips, not {}; {}",
                     to_string(spec_.topology), tiers, tiers == 1 ? "" : "s", now.id, now.ports,
                     planes > 1 ? fmt::format(", {} planes", planes) : "", tree_chips(shape, tiers, planes),
                     chips_, remedy));
  }

  void add_tree_tiers(const TreeShape& shape, uint32_t tiers, uint64_t plane_endpoints, uint64_t planes) {
    const bool rail = spec_.topology == Topology::kRailFatTree;
    const uint64_t leaf_endpoints = shape.leaf_endpoints(tiers);
    const uint64_t rails = rail ? endpoints_per_host_ / planes : 1;  // of one plane
    // A leaf of a rail has one card of each of its hosts; of a plain tree, whole hosts.
    uint64_t leaves = divide_up(plane_endpoints, leaf_endpoints);
    if (rail && tiers > 1) leaves = rails * divide_up(hosts_, leaf_endpoints);
    const uint64_t leaf_chips =
        rail ? leaf_endpoints * host_.chips
             : static_cast<uint64_t>(static_cast<double>(leaf_endpoints * planes) / per_chip_);
    const double hosts_per_leaf = static_cast<double>(leaf_chips) / static_cast<double>(host_.chips);
    add_tier("leaf", leaf_chips, leaves * planes, tier_switch(0), 1, 0, kLeafMetres, false);
    add_host_cables(hosts_per_leaf);
    bill_switch("leaf switch", tier_switch(0), leaves * planes);
    double rate = rate_;
    if (tiers > 1) {
      const uint64_t leaf_up = split_ports(shape.ports[0], shape.over[0]).up;
      const uint64_t up = leaves * leaf_up;
      rate /= shape.over[0];
      if (tiers == 2) {
        const uint64_t spines = divide_up(up, shape.ports[1]);
        add_tier("spine", chips_, spines * planes, tier_switch(1), shape.over[0], 1, kSpineMetres, true);
        bill_switch("spine switch", tier_switch(1), spines * planes);
        bill_cables("leaf to spine", spec_.cable, up * planes, tier_switch(0).port_bytes_per_s);
      } else {
        add_pods(shape, leaves, up, leaf_chips, planes);
        rate /= shape.over[1];
      }
    }
    out_.bisection_ = rate * static_cast<double>(chips_) / 2;
  }

  void add_pods(const TreeShape& shape, uint64_t leaves, uint64_t up, uint64_t leaf_chips, uint64_t planes) {
    const Split spine = split_ports(shape.ports[1], shape.over[1]);
    const uint64_t pod_leaves = shape.pod_leaves();
    const bool rail = spec_.topology == Topology::kRailFatTree;
    const uint64_t groups = rail ? endpoints_per_host_ / planes : 1;  // leaves that share leaf_chips
    const uint64_t pod_chips = std::max<uint64_t>(1, pod_leaves / std::max<uint64_t>(1, groups)) * leaf_chips;
    const uint64_t whole = leaves / pod_leaves, rest = leaves % pod_leaves;
    const uint64_t leaf_up = leaves == 0 ? 0 : up / leaves;
    const uint64_t spines =
        whole * divide_up(pod_leaves * leaf_up, spine.down) + divide_up(rest * leaf_up, spine.down);
    const uint64_t spine_up = divide_up(up, shape.over[1]);
    const uint64_t cores = divide_up(spine_up, shape.ports[2]);
    add_tier("spine", std::min(pod_chips, chips_), spines * planes, tier_switch(1), shape.over[0], 1,
             kSpineMetres, true);
    add_tier("core", chips_, cores * planes, tier_switch(2), shape.over[0] * shape.over[1], 2, kCoreMetres,
             true);
    bill_switch("spine switch", tier_switch(1), spines * planes);
    bill_switch("core switch", tier_switch(2), cores * planes);
    bill_cables("leaf to spine", spec_.cable, up * planes, tier_switch(0).port_bytes_per_s);
    bill_cables("spine to core", spec_.cable, spine_up * planes, tier_switch(1).port_bytes_per_s);
  }

  /// Balanced: p endpoints, a = 2p routers a group, h = p global links a router (Kim et al., 2008).
  void add_dragonfly() {
    const Switch& device = tier_switch(0);
    const uint64_t p = std::max<uint64_t>(1, (device.ports + 1) / 4), a = 2 * p, h = p;
    const auto router_endpoints = std::max<uint64_t>(
        1, static_cast<uint64_t>(static_cast<double>(p) / ports_per_endpoint(device) + 1e-9));
    const uint64_t routers = divide_up(endpoints_, router_endpoints);
    const uint64_t groups = divide_up(routers, a);
    const uint64_t most =
        static_cast<uint64_t>(static_cast<double>((a * h + 1) * a * router_endpoints) / per_chip_);
    if (groups > a * h + 1)
      fail(fmt::format(
          "a dragonfly of '{}' ({} ports) joins at most {} chips, not {}; take a switch with more ports, or "
          "topology = \"fat-tree\" with three tiers",
          device.id, device.ports, most, chips_));
    const auto chips_of = [&](uint64_t count) {
      return std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(count) / per_chip_));
    };
    add_tier("router", chips_of(router_endpoints), routers, device, 1, 0, kLeafMetres, false);
    add_host_cables(static_cast<double>(chips_of(router_endpoints)) / static_cast<double>(host_.chips));
    bill_switch("router", device, routers);
    const uint64_t last = routers - (groups - 1) * a;
    const uint64_t local = (groups - 1) * (a * (a - 1) / 2) + last * (last - 1) / 2;
    bill_cables("within the group", spec_.cable, local, device.port_bytes_per_s);
    add_tier("group", std::min(chips_, chips_of(a * router_endpoints)), 0, device, 1, 1, kSpineMetres, true);
    out_.bisection_ = rate_ * static_cast<double>(chips_) / 2;
    if (groups == 1) return;
    const uint64_t global = groups * a * h / 2;
    bill_cables("between groups", spec_.cable, global, device.port_bytes_per_s);
    add_tier("global", chips_, 0, device, 1 / kDragonflyGlobalShare, 2, kCoreMetres, true);
    // Half of the groups against the other half; every pair has its share of the global links.
    const double half = static_cast<double>(groups / 2), other = static_cast<double>(groups - groups / 2);
    const double pair = static_cast<double>(a * h) / static_cast<double>(groups - 1);
    out_.bisection_ = std::min(out_.bisection_, half * other * pair * device.port_bytes_per_s);
  }

  /// As near to a cube as a product close to `nodes` may be.
  std::array<uint32_t, 3> torus_sizes(uint64_t nodes) const {
    if (spec_.torus[0] != 0) {
      const uint64_t product = uint64_t{spec_.torus[0]} * spec_.torus[1] * spec_.torus[2];
      if (product != nodes)
        fail(
            fmt::format("a torus of {} x {} x {} has {} nodes, and the machine has {} ({} chips each); leave "
                        "out torus, or "
                        "set {} chips",
                        spec_.torus[0], spec_.torus[1], spec_.torus[2], product, nodes, out_.domain_,
                        product * out_.domain_));
      return spec_.torus;
    }
    const auto edge = static_cast<uint64_t>(std::llround(std::cbrt(static_cast<double>(nodes))));
    std::array<uint32_t, 3> best{1, 1, 1};
    double least = std::numeric_limits<double>::infinity();
    for (uint64_t x = std::max<uint64_t>(1, edge / 2); x <= edge + 1; ++x) {
      const auto rest = static_cast<double>(nodes) / static_cast<double>(x);
      for (uint64_t y = x; static_cast<double>(y) <= std::sqrt(rest) + 1; ++y) {
        const uint64_t z = divide_up(nodes, x * y);
        const auto waste = static_cast<double>(x * y * z - nodes) / static_cast<double>(nodes);
        const double cost = waste * 20 + static_cast<double>(z) / static_cast<double>(x);
        if (cost >= least) continue;
        least = cost;
        best = {static_cast<uint32_t>(x), static_cast<uint32_t>(y), static_cast<uint32_t>(z)};
      }
    }
    return best;
  }

  /// `rate`: of one chip into all six links of its node; `reached`: by collectives.
  void add_torus(uint64_t nodes, uint64_t node_chips, double rate, double reached, double hop_s) {
    const std::array<uint32_t, 3> sizes = torus_sizes(nodes);
    out_.spec_.torus = sizes;
    out_.torus_ = true;
    constexpr std::array<const char*, 3> kNames{"torus x", "torus y", "torus z"};
    uint64_t reach = node_chips, links = 0;
    for (size_t i = 0; i < 3; ++i) {
      reach *= sizes[i];
      Network::Level& level = out_.levels_[out_.level_count_++];
      level.reach = i == 2 ? std::max(reach, chips_) : reach;
      level.seconds = 1 / reached;
      level.hop_s = hop_s;
      level.length = sizes[i];
      out_.tiers_.push_back({kNames[i], level.reach, 0, rate / 3, hop_s});
      links += sizes[i] > 2 ? nodes : sizes[i] == 2 ? nodes / 2 : 0;
    }
    const double link_rate = rate * static_cast<double>(node_chips) / 6;
    bill_cables("torus link", spec_.cable, links, link_rate);
    const uint32_t longest = *std::max_element(sizes.begin(), sizes.end());
    const double across = static_cast<double>(nodes) / longest * (longest > 2 ? 2 : 1);
    out_.bisection_ = across * link_rate;
  }

  /// A tier that chips reach through 1 + 2 * `above` switches.
  void add_tier(const char* name, uint64_t reach, uint64_t switches, const Switch& device, double over,
                uint32_t above, double metres, bool joins_all) {
    const double rate = rate_ / over;
    const double latency = nic_latency_ + above * 2 * device.latency_s + 2 * metres * kMetreS;
    Network::Level& level = out_.levels_[out_.level_count_++];
    level.reach = joins_all ? reach : std::min(reach, chips_);
    level.seconds = 1 / (rate * device.efficiency);
    level.hop_s = latency + kSoftwareHop;
    if (spec_.in_network_reduction && device.in_network_reduction)
      level.reduce_ratio = 1 / kFabricReduceShare;
    out_.tiers_.push_back({name, level.reach, switches, rate, latency});
  }

  void bill_switch(const char* what, const Switch& device, uint64_t count) {
    if (count == 0) return;
    out_.bill_.lines.push_back({device.id, what, count, device.price_usd, device.power_w});
    out_.bill_.switches += count;
  }
  void bill_cables(const char* what, const std::string& id, uint64_t links, double link_rate) {
    if (links == 0) return;
    const Cable& cable = catalogue_.cable(id);
    const auto each = static_cast<uint64_t>(std::max(1.0, std::ceil(link_rate / cable.bytes_per_s - 1e-9)));
    out_.bill_.lines.push_back({cable.id, what, links * each, cable.price_usd, cable.power_w});
    out_.bill_.cables += links * each;
  }
  /// Copper to the hosts in the racks that it reaches from the leaf's, the other cable to those further away.
  void add_host_cables(double hosts_per_leaf) {
    uint64_t near = 0;
    if (!spec_.copper.empty()) {
      const double racks = std::max(1.0, hosts_per_leaf * std::max(1.0, host_.rack_units) / kRackUnits);
      const double metres = catalogue_.cable(spec_.copper).max_metres - kInRackMetres;
      const double reached = metres < 0 ? 0 : 1 + 2 * std::floor(metres / kRackWidth + 1e-9);
      near = static_cast<uint64_t>(static_cast<double>(endpoints_) * std::min(1.0, reached / racks));
      bill_cables("host cable", spec_.copper, near, card_rate_);
    }
    bill_cables("host cable", spec_.cable, endpoints_ - near, card_rate_);
  }

  const Catalogue& catalogue_;
  const NetworkSpec& spec_;
  const Accelerator& chip_;
  const Host& host_;
  const uint64_t chips_;
  Network out_;
  double per_chip_ = 1;        // endpoints
  double rate_ = 0;            // of one chip's cards
  double card_rate_ = 0;       // of one card
  double nic_latency_ = 2e-6;  // where no card is named
  uint64_t endpoints_ = 0, endpoints_per_host_ = 1, hosts_ = 0;
};

Network Network::build(const Catalogue& catalogue, const NetworkSpec& spec, const Accelerator& chip,
                       const Host& host, uint64_t chips) {
  return NetworkBuilder(catalogue, spec, chip, host, chips).build();
}

}  // namespace fathom::cluster
