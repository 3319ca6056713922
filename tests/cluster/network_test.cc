// The network: known sizes of known topologies, what collectives take against published figures, and properties that hold
// for every group on every machine.
#include "cluster/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

using ::testing::HasSubstr;

const Catalogue& catalogue() {
  static const Catalogue kCatalogue = Catalogue::read({FATHOM_SOURCE_DIR "/data/catalogue"});
  return kCatalogue;
}

Network build(const NetworkSpec& spec, const std::string& host, uint64_t chips) {
  const Host& of = catalogue().host(host);
  return Network::build(catalogue(), spec, catalogue().accelerator(of.accelerator), of, chips);
}

NetworkSpec spec_of(Topology topology, const std::string& device, uint32_t tiers = 0) {
  NetworkSpec spec;
  spec.topology = topology;
  spec.network_switch = device;
  spec.tiers = tiers;
  return spec;
}

uint64_t count(const Network& network, const std::string& what) {
  uint64_t total = 0;
  for (const BillLine& line : network.bill().lines)
    if (line.what == what) total += line.count;
  return total;
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

/// As nccl-tests prints it: bytes a second of the slowest link that a ring would need.
double bus_bandwidth(double seconds, double bytes, double ranks) {
  return bytes / seconds * 2 * (ranks - 1) / ranks;
}

TEST(NetworkSpecTest, ReadsEveryKeyAndRefusesOthers) {
  const NetworkSpec spec = NetworkSpec::read(TomlTable::parse(
      "topology = \"fat-tree\"\nswitch = \"quantum-qm9700\"\ntier_switches = [\"minipack2\"]\ncable = "
      "\"osfp-400g-aoc\"\n"
      "copper = \"none\"\nnic = \"connectx-7-400g\"\ntiers = 3\noversubscription = [2, 7]\nnics_per_chip = "
      "0.5\nplanes = 2\n"
      "pod_chips = 3072\nin_network_reduction = true\ntorus = [4, 4, 8]\ngbit_per_s_per_chip = 200\n",
      "s.toml"));
  EXPECT_EQ(spec.topology, Topology::kFatTree);
  EXPECT_EQ(spec.network_switch, "quantum-qm9700");
  EXPECT_EQ(spec.copper, "");
  EXPECT_EQ(spec.oversubscription, (std::vector<double>{2, 7}));
  EXPECT_EQ(spec.torus[2], 8u);
  EXPECT_EQ(spec.bytes_per_s_per_chip, 25e9);
  const auto wrong = [](const char* text) {
    return message_of([&] { NetworkSpec::read(TomlTable::parse(text, "s.toml")); });
  };
  EXPECT_THAT(wrong("topology = \"bus\"\n"), HasSubstr("none of: rail, fat-tree, dragonfly, torus"));
  EXPECT_THAT(wrong("oversubscription = [0.5]\n"), HasSubstr("s.toml:1: 'oversubscription'"));
  EXPECT_THAT(wrong("torus = [4, 4]\n"), HasSubstr("has three sizes"));
  EXPECT_THAT(wrong("tier = 2\n"), HasSubstr("unknown key 'tier'"));
}

// The sheet of an independent buyer (tech-talk-cto, August 2024) lists the switches of 64 ports for these machines; small
// ones are rails without spines, those up to 16,384 a tree for each rail, larger ones three tiers.
TEST(FatTreeTest, SwitchesAreThoseOfAPublishedSheet) {
  struct Row {
    uint64_t chips, switches;
    uint32_t planes, tiers;
  };
  for (const Row& row :
       {Row{512, 8, 8, 1}, Row{1024, 48, 1, 2}, Row{2048, 96, 1, 2}, Row{4096, 192, 8, 2},
        Row{8192, 384, 8, 2}, Row{16384, 768, 8, 2}, Row{32768, 2560, 1, 3}, Row{65536, 5120, 1, 3}}) {
    for (const Topology topology : {Topology::kRailFatTree, Topology::kFatTree}) {
      NetworkSpec spec = spec_of(topology, "quantum-qm9700");
      spec.planes = row.planes;
      const Network network = build(spec, "dgx-h100", row.chips);
      EXPECT_EQ(network.bill().switches, row.switches) << row.chips;
      EXPECT_EQ(network.tiers().size(), 1 + row.tiers) << row.chips;
      // A full tree has a link a chip below each tier.
      EXPECT_EQ(network.bill().cables, row.chips * row.tiers) << row.chips;
    }
  }
}

TEST(FatTreeTest, SixtyFourPortsReach2048InTwoTiersAnd65536InThree) {
  for (const Topology topology : {Topology::kRailFatTree, Topology::kFatTree}) {
    EXPECT_NO_THROW(build(spec_of(topology, "quantum-qm9700", 2), "dgx-h100", 2048));
    const std::string two =
        message_of([&] { build(spec_of(topology, "quantum-qm9700", 2), "dgx-h100", 2056); });
    EXPECT_THAT(two, HasSubstr("joins at most 2048 chips, not 2056"));
    EXPECT_THAT(two, HasSubstr("tiers = 3 joins 65536"));
    EXPECT_THAT(two, HasSubstr("planes = 8"));
    EXPECT_NO_THROW(build(spec_of(topology, "quantum-qm9700", 3), "dgx-h100", 65536));
    const std::string three =
        message_of([&] { build(spec_of(topology, "quantum-qm9700"), "dgx-h100", 100000); });
    EXPECT_THAT(three, HasSubstr("joins at most 65536 chips, not 100000"));
    EXPECT_THAT(three, HasSubstr("switch = \""));
  }
}

// xAI Colossus: 100,000 chips, 400 GbE each, SN5600; 64 hosts of eight chips share their eight leaves (512 GPUs).
TEST(FatTreeTest, ColossusIsThreeTiersOfSn5600InGroupsOf512) {
  const Network network =
      build(spec_of(Topology::kRailFatTree, "spectrum-sn5600"), "hgx-h100-liquid", 100000);
  ASSERT_EQ(network.tiers().size(), 4u);
  EXPECT_EQ(network.tiers()[1].reach, 512u);
  EXPECT_EQ(network.tiers()[1].switches, 1568u);  // 8 rails x ceil(12,500 hosts / 64)
  EXPECT_EQ(network.tiers()[2].switches, 1568u);
  EXPECT_EQ(network.tiers()[3].switches, 784u);
  EXPECT_EQ(count(network, "host cable"), 100000u);
  EXPECT_DOUBLE_EQ(network.bisection_bytes_per_s(), 100000 * 50e9 / 2);
  // Retold from SemiAnalysis: network and storage are about a tenth of the servers' 1,275 W a chip.
  EXPECT_GT(network.bill().power_w / 100000, 40);
  EXPECT_LT(network.bill().power_w / 100000, 128);
  // And H100 with node and network come to 51.6 thousand dollars a chip at this size, 38.8 of them the node.
  const double per_chip = network.bill().price_usd / 100000;
  EXPECT_GT(per_chip, 3000);
  EXPECT_LT(per_chip, 12800);
}

// Meta's 24k cluster: racks of 16 chips with a switch each, pods of 3,072, seven to one between pods.
TEST(FatTreeTest, Meta24kHas1536RacksAndEightPods) {
  NetworkSpec spec = spec_of(Topology::kFatTree, "arista-7800r3");
  spec.tier_switches = {"arista-7388x5", "arista-7800r3", "arista-7800r3"};
  spec.oversubscription = {1, 7};
  spec.pod_chips = 3072;
  const Network network = build(spec, "grand-teton", 24576);
  ASSERT_EQ(network.tiers().size(), 4u);
  EXPECT_EQ(network.tiers()[1].reach, 16u);
  EXPECT_EQ(network.tiers()[1].switches, 1536u);
  EXPECT_EQ(network.tiers()[2].reach, 3072u);
  EXPECT_EQ(network.tiers()[2].switches % 8, 0u);
  EXPECT_DOUBLE_EQ(network.tiers()[3].bytes_per_s, 50e9 / 7);
  EXPECT_DOUBLE_EQ(network.bisection_bytes_per_s(), 24576 * 50e9 / 7 / 2);
  // Groups along the ranks hardly feel it, for one member of a pod in many crosses; exchanges of all with all do.
  const Network full = build(spec_of(Topology::kFatTree, "spectrum-sn5600"), "grand-teton", 24576);
  const Group all{24576, 1, 1}, data{3072, 8, 1};
  EXPECT_GT(network.all_to_all_s(1e9, all), 3 * full.all_to_all_s(1e9, all));
  EXPECT_LT(network.all_reduce_s(4e9, data), 1.3 * full.all_reduce_s(4e9, data));
}

TEST(FatTreeTest, OverSubscriptionSavesSwitchesAndCostsBisection) {
  NetworkSpec spec = spec_of(Topology::kRailFatTree, "spectrum-sn5600");
  const Network full = build(spec, "dgx-h100", 32768);
  spec.oversubscription = {3, 1};
  const Network thin = build(spec, "dgx-h100", 32768);
  EXPECT_LT(thin.bill().switches, full.bill().switches);
  EXPECT_LT(thin.bill().price_usd, full.bill().price_usd);
  EXPECT_NEAR(thin.bisection_bytes_per_s() * 3, full.bisection_bytes_per_s(), 1);
}

TEST(FatTreeTest, CardsAndPortsOfDifferentRates) {
  // Two cards of 200G share a port of 400G; a card of 800G takes two.
  NetworkSpec slow = spec_of(Topology::kFatTree, "quantum-qm9700", 2);
  EXPECT_NO_THROW(build(slow, "hgx-a100", 4096));
  EXPECT_THROW(build(slow, "hgx-a100", 4104), Error);
  EXPECT_NO_THROW(build(slow, "dgx-b300", 1024));
  EXPECT_THROW(build(slow, "dgx-b300", 1032), Error);
  // Four cards for eight chips reach twice the chips and give each half.
  const Network four = build(slow, "hgx-a100-4nic", 8192);
  EXPECT_DOUBLE_EQ(four.tiers()[1].bytes_per_s, 12.5e9);
  slow.bytes_per_s_per_chip = 40e9;
  EXPECT_DOUBLE_EQ(build(slow, "hgx-a100", 4096).tiers()[1].bytes_per_s, 40e9);
}

TEST(FatTreeTest, AHostAloneNeedsNoNetwork) {
  const Network network = build(NetworkSpec{}, "dgx-h100", 8);
  EXPECT_EQ(network.tiers().size(), 1u);
  EXPECT_TRUE(network.bill().lines.empty());
  EXPECT_EQ(network.domain(), 8u);
  EXPECT_EQ(build(NetworkSpec{}, "dgx-h100", 4).domain(), 4u);
  EXPECT_EQ(build(NetworkSpec{}, "gb200-tray", 720).domain(), 72u);
  EXPECT_EQ(build(NetworkSpec{}, "hgx-h100-4", 64).domain(), 4u);
}

TEST(FatTreeTest, CopperGoesAsFarAsItReaches) {
  NetworkSpec spec = spec_of(Topology::kRailFatTree, "spectrum-sn5600");
  const auto of_kind = [](const Network& network, const std::string& item) {
    uint64_t total = 0;
    for (const BillLine& line : network.bill().lines)
      if (line.what == "host cable" && line.item == item) total += line.count;
    return total;
  };
  const Network rails = build(spec, "dgx-h100", 8192);
  EXPECT_GT(of_kind(rails, "osfp-400g-dac"), 0u);
  EXPECT_GT(of_kind(rails, "osfp-400g-optic"), of_kind(rails, "osfp-400g-dac"));
  spec.topology = Topology::kFatTree;  // the leaf stands among its own hosts
  EXPECT_GT(of_kind(build(spec, "dgx-h100", 8192), "osfp-400g-dac"), of_kind(rails, "osfp-400g-dac"));
  spec.copper.clear();
  EXPECT_EQ(of_kind(build(spec, "dgx-h100", 8192), "osfp-400g-optic"), 8192u);
}

TEST(DragonflyTest, BalancedSizesAndItsLimit) {
  // 64 ports: 16 endpoints, 15 + 16 local and 16 global links; groups of 32 routers, 513 groups.
  const Network network = build(spec_of(Topology::kDragonfly, "quantum-qm9700"), "dgx-h100", 16 * 32 * 513);
  EXPECT_EQ(network.bill().switches, 32u * 513u);
  EXPECT_EQ(count(network, "between groups"), 513u * 32u * 16u / 2u);
  EXPECT_EQ(count(network, "within the group"), 513u * 32u * 31u / 2u);
  EXPECT_EQ(network.tiers()[2].reach, 512u);
  const std::string message =
      message_of([] { build(spec_of(Topology::kDragonfly, "quantum-qm9700"), "dgx-h100", 262664); });
  EXPECT_THAT(message, HasSubstr("joins at most 262656 chips"));
  // Fewer switches than the tree of the same reach.
  EXPECT_LT(build(spec_of(Topology::kDragonfly, "spectrum-sn5600"), "dgx-h100", 100000).bill().switches,
            build(spec_of(Topology::kFatTree, "spectrum-sn5600"), "dgx-h100", 100000).bill().switches);
}

TEST(TorusTest, SizesLinksAndBisectionOfATpuPod) {
  NetworkSpec spec;
  spec.topology = Topology::kTorus3d;
  spec.torus = {16, 20, 28};
  const Network pod = build(spec, "tpu-v5p-host", 8960);  // Google's whole pod
  EXPECT_EQ(pod.domain(), 1u);
  EXPECT_EQ(pod.bill().switches, 0u);
  EXPECT_EQ(count(pod, "torus link") % 8960, 0u);
  EXPECT_DOUBLE_EQ(pod.bisection_bytes_per_s(), 2 * 16 * 20 * 100e9);
  spec.torus = {16, 16, 16};
  EXPECT_THAT(message_of([&] { build(spec, "tpu-v5p-host", 8960); }),
              HasSubstr("has 4096 nodes, and the machine has 8960"));
  spec.torus = {};
  EXPECT_THAT(message_of([&] { build(spec, "tpu-v5p-host", 10000); }), HasSubstr("joins at most 8960 chips"));
  const Network cube = build(spec, "tpu-v5p-host", 4096);
  EXPECT_EQ(cube.spec().torus, (std::array<uint32_t, 3>{16, 16, 16}));
  const Network hosts = build(spec, "dgx-h100", 100000);
  const auto& sizes = hosts.spec().torus;
  EXPECT_GE(uint64_t{sizes[0]} * sizes[1] * sizes[2], 12500u);
  EXPECT_LT(uint64_t{sizes[0]} * sizes[1] * sizes[2], 12800u);
}

TEST(TorusTest, AllReduceUsesTheRingsItSpans) {
  NetworkSpec spec;
  spec.topology = Topology::kTorus3d;
  spec.torus = {16, 16, 16};
  const Network pod = build(spec, "tpu-v5p-host", 4096);
  const double line = pod.all_reduce_s(1e9, {16, 1, 1});     // one dimension: a third of the links
  const double plane = pod.all_reduce_s(1e9, {256, 1, 1});   // two
  const double whole = pod.all_reduce_s(1e9, {4096, 1, 1});  // all
  const double full = 2e9 / (600e9 * 0.85);
  EXPECT_NEAR(line, 3 * full, 0.25 * 3 * full);
  EXPECT_NEAR(plane, 1.5 * full, 0.25 * 1.5 * full);
  EXPECT_NEAR(whole, full, 0.25 * full);
  EXPECT_GT(pod.all_reduce_s(1e9, {16, 16, 1}), 0.9 * line);                // along y, contiguous there
  EXPECT_GT(pod.all_reduce_s(1e9, {8, 2, 1}), 1.9 * line * 14 / 15 * 0.9);  // interleaved: shares the ring
}

// Against figures that others measured.
TEST(CollectivesTest, HgxH100AsAstraSimValidatedIt) {
  // Its file has 400 GB/s a chip and 936.25 ns; the ring of all-gathers that it describes, at a gigabyte.
  const Network network = build(NetworkSpec{}, "dgx-h100", 8);
  const double theirs = 1e9 * 7 / 8 / 400e9 + 7 * 936.25e-9;
  EXPECT_NEAR(network.all_gather_s(1e9, {8, 1, 1}), theirs, 0.1 * theirs);
}

TEST(CollectivesTest, BusBandwidthsAsNcclTestsPrintsThem) {
  const Network one = build(NetworkSpec{}, "dgx-h100", 8);
  // NVIDIA/nccl-tests issue 212: rings move 370 GB/s, all-reduce with NVLink SHARP 480 on 8 chips.
  EXPECT_NEAR(8e9 * 7 / 8 / one.all_gather_s(8e9, {8, 1, 1}) / 1e9, 370, 8);
  EXPECT_NEAR(bus_bandwidth(one.all_reduce_s(8e9, {8, 1, 1}), 8e9, 8) / 1e9, 480, 10);
  // NVIDIA/nccl issue 1374: 215 on 8 H800.
  const Network h800 = build(NetworkSpec{}, "hgx-h800", 8);
  EXPECT_NEAR(bus_bandwidth(h800.all_reduce_s(8e9, {8, 1, 1}), 8e9, 8) / 1e9, 215, 12);
  // NVIDIA/nccl-tests issue 290: 46 to 48 GB/s a card of 400 Gb/s, so 368 to 384 a host of eight; a quarter above with
  // few hosts, for a part is reduced before it leaves.
  const Network many = build(spec_of(Topology::kRailFatTree, "quantum-qm9700"), "dgx-h100", 512);
  const double bus = bus_bandwidth(many.all_reduce_s(8e9, {512, 1, 1}), 8e9, 512) / 1e9;
  EXPECT_GT(bus, 340);
  EXPECT_LT(bus, 400);
  // Small messages: NCCL takes 10 to 25 us on one host, 40 to 50 us on two (NVIDIA/nccl issue 1244: 47 us on 16 H20).
  EXPECT_NEAR(one.all_reduce_s(1024, {8, 1, 1}) * 1e6, 12, 8);
  EXPECT_NEAR(many.all_reduce_s(1024, {16, 1, 1}) * 1e6, 30, 20);
}

TEST(CollectivesTest, SwitchesThatReduceHalveWhatTheCardsMove) {
  NetworkSpec spec = spec_of(Topology::kRailFatTree, "quantum-qm9700");
  const Network plain = build(spec, "dgx-h100", 2048);
  spec.in_network_reduction = true;
  const Network sharp = build(spec, "dgx-h100", 2048);
  const Group data{256, 8, 1};
  EXPECT_LT(sharp.all_reduce_s(1e9, data), 0.6 * plain.all_reduce_s(1e9, data));
  EXPECT_EQ(sharp.all_gather_s(1e9, data), plain.all_gather_s(1e9, data));
  spec.network_switch = "spectrum-sn5600";  // cannot
  const Network cannot = build(spec, "dgx-h100", 2048);
  spec.in_network_reduction = false;
  EXPECT_EQ(cannot.all_reduce_s(1e9, data), build(spec, "dgx-h100", 2048).all_reduce_s(1e9, data));
}

TEST(CollectivesTest, NothingTakesNoTime) {
  const Network network = build(NetworkSpec{}, "dgx-h100", 64);
  for (const Group& group : {Group{1, 1, 1}, Group{0, 1, 1}, Group{1, 8, 2}}) {
    EXPECT_EQ(network.all_reduce_s(1e9, group), 0);
    EXPECT_EQ(network.all_to_all_s(1e9, group), 0);
    EXPECT_EQ(network.send_s(1e9, group), 0);
  }
  EXPECT_EQ(network.all_gather_s(0, {8, 1, 1}), 0);
  EXPECT_EQ(network.broadcast_s(-1, {8, 1, 1}), 0);
}

TEST(CollectivesTest, WithinTheDomainIsFasterThanAcross) {
  const Network network = build(NetworkSpec{}, "dgx-h100", 1024);
  EXPECT_LT(4 * network.all_reduce_s(1e9, {8, 1, 1}), network.all_reduce_s(1e9, {8, 8, 1}));
  EXPECT_LT(4 * network.all_to_all_s(1e9, {8, 1, 1}), network.all_to_all_s(1e9, {64, 1, 1}));
  EXPECT_LT(4 * network.send_s(1e9, 1), network.send_s(1e9, 8));
  // Eight chips of a host carry a host-wide group together: as fast as one chip in eight with an eighth of the bytes.
  EXPECT_NEAR(network.all_gather_s(8e9, {1024, 1, 1}), network.all_gather_s(1e9, {128, 8, 1}),
              0.35 * network.all_gather_s(1e9, {128, 8, 1}));
}

struct Case {
  const char* name;
  Topology topology;
  const char* host;
  const char* device;
  uint64_t chips;
  std::vector<double> over;
};
std::vector<Case> cases() {
  return {{"rails", Topology::kRailFatTree, "dgx-h100", "spectrum-sn5600", 98304, {}},
          {"thin", Topology::kRailFatTree, "dgx-h100", "spectrum-sn5600", 98304, {2, 4}},
          {"tree", Topology::kFatTree, "hgx-a100-4nic", "quantum-qm8700", 512, {}},
          {"nvl72", Topology::kRailFatTree, "gb200-tray", "spectrum-sn5600", 9216, {}},
          {"dragonfly", Topology::kDragonfly, "dgx-h100", "slingshot-rosetta", 32768, {}},
          {"host", Topology::kRailFatTree, "dgx-h100", "spectrum-sn5600", 8, {}}};
}
NetworkSpec spec_of(const Case& of) {
  NetworkSpec spec = spec_of(of.topology, of.device);
  spec.oversubscription = of.over;
  return spec;
}
std::vector<double> all_times(const Network& network, double bytes, const Group& group) {
  return {network.all_reduce_s(bytes, group), network.reduce_scatter_s(bytes, group),
          network.all_gather_s(bytes, group), network.all_to_all_s(bytes, group),
          network.broadcast_s(bytes, group)};
}
Group random_group(Random& random, uint64_t chips) {
  const uint64_t stride = uint64_t{1} << random.below(12);
  const uint64_t most = std::max<uint64_t>(1, chips / stride);
  return {1 + random.below(most), stride, 1.0 + static_cast<double>(random.below(4))};
}

TEST(CollectivesPropertyTest, LargerGroupsMoreBytesAndMoreSharingAreNeverFaster) {
  Random random(1);
  for (const Case& of : cases()) {
    const Network network = build(spec_of(of), of.host, of.chips);
    for (int round = 0; round < 3000; ++round) {
      const Group group = random_group(random, of.chips);
      const double bytes = std::exp2(random.uniform() * 34);
      const std::vector<double> base = all_times(network, bytes, group);
      Group larger = group, shared = group;
      larger.size += 1 + random.below(64);
      shared.sharing *= 2;
      const std::vector<double> more = all_times(network, bytes * 1.5, group);
      const std::vector<double> crowd = all_times(network, bytes, shared);
      const std::vector<double> large = all_times(network, bytes, larger);
      for (size_t i = 0; i < base.size(); ++i) {
        EXPECT_GE(more[i], base[i] * (1 - 1e-12)) << of.name << i;
        EXPECT_GE(crowd[i], base[i] * (1 - 1e-12)) << of.name << i;
        if (larger.size * larger.stride <= of.chips) {
          EXPECT_GE(large[i], base[i] * (1 - 1e-12)) << of.name << " " << i << " " << group.size << " to "
                                                     << larger.size << " stride " << group.stride;
        }
      }
    }
  }
}

TEST(CollectivesPropertyTest, AnAllReduceIsAtMostAReduceScatterAndAnAllGather) {
  Random random(2);
  for (const Case& of : cases()) {
    const Network network = build(spec_of(of), of.host, of.chips);
    for (int round = 0; round < 3000; ++round) {
      const Group group = random_group(random, of.chips);
      const double bytes = std::exp2(random.uniform() * 34);
      EXPECT_LE(network.all_reduce_s(bytes, group),
                (network.reduce_scatter_s(bytes, group) + network.all_gather_s(bytes, group)) * (1 + 1e-12));
    }
  }
}

TEST(CollectivesPropertyTest, MoreBandwidthIsNeverSlower) {
  Random random(3);
  for (const Case& of : cases()) {
    const Host& host = catalogue().host(of.host);
    const Accelerator& chip = catalogue().accelerator(host.accelerator);
    NetworkSpec spec = spec_of(of);
    spec.bytes_per_s_per_chip = 20e9;
    const Network slow = Network::build(catalogue(), spec, chip, host, of.chips);
    NetworkSpec wider = spec;
    wider.bytes_per_s_per_chip = 45e9;
    Accelerator faster = chip;
    faster.scale_up_bytes_per_s *= 2;
    NetworkSpec fuller = spec;
    fuller.oversubscription.clear();
    NetworkSpec reducing = spec;
    reducing.in_network_reduction = true;
    const std::vector<Network> better = {Network::build(catalogue(), wider, chip, host, of.chips),
                                         Network::build(catalogue(), spec, faster, host, of.chips),
                                         Network::build(catalogue(), fuller, chip, host, of.chips),
                                         Network::build(catalogue(), reducing, chip, host, of.chips)};
    for (int round = 0; round < 1000; ++round) {
      const Group group = random_group(random, of.chips);
      const double bytes = std::exp2(random.uniform() * 34);
      const std::vector<double> base = all_times(slow, bytes, group);
      for (size_t b = 0; b < better.size(); ++b) {
        const std::vector<double> time = all_times(better[b], bytes, group);
        // A thinner tree has larger leaves, so a fuller one may take a higher tier: only its latency may grow.
        const double slack = b == 2 ? 40e-6 * static_cast<double>(group.size) : 0;
        for (size_t i = 0; i < base.size(); ++i)
          EXPECT_LE(time[i], base[i] * (1 + 1e-12) + slack) << of.name << b << i;
        EXPECT_LE(better[b].send_s(bytes, group), slow.send_s(bytes, group) * (1 + 1e-12) + slack);
      }
    }
  }
}

TEST(CollectivesPropertyTest, NoLinkCarriesMoreThanItsRate) {
  Random random(4);
  for (const Case& of : cases()) {
    const Network network = build(spec_of(of), of.host, of.chips);
    const std::vector<Tier>& tiers = network.tiers();
    for (int round = 0; round < 1000; ++round) {
      Group group = random_group(random, of.chips);
      group.sharing = 1;
      const double bytes = 1e6 + std::exp2(random.uniform() * 34);
      if (group.size < 2) continue;
      // Each rank of a group over several domains must receive what the other domains have, by its domain's cards.
      const double near = std::max<double>(
          1, static_cast<double>(std::min<uint64_t>(group.size, network.domain() / group.stride)));
      const double far = std::ceil(static_cast<double>(group.size) / near);
      if (far < 2) {
        EXPECT_GE(network.all_gather_s(bytes, group) * tiers[0].bytes_per_s,
                  bytes * static_cast<double>(group.size - 1) / static_cast<double>(group.size));
      } else {
        EXPECT_GE(network.all_gather_s(bytes, group) * tiers[1].bytes_per_s * near, bytes * (far - 1) / far);
      }
    }
  }
}

TEST(CollectivesPropertyTest, AnySpecificationIsBuiltOrRefusedInASentence) {
  Random random(8);
  const std::vector<std::string> devices = catalogue().ids("switch"), hosts = catalogue().ids("host");
  size_t built = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    NetworkSpec spec;
    spec.topology = static_cast<Topology>(random.below(4));
    spec.network_switch = devices[random.below(devices.size())];
    if (random.chance(0.2)) spec.tier_switches = {devices[random.below(devices.size())]};
    spec.tiers = static_cast<uint32_t>(random.below(4));
    if (random.chance(0.3)) spec.oversubscription = {1 + random.uniform() * 63, 1 + random.uniform() * 7};
    if (random.chance(0.2)) spec.planes = 1 + static_cast<uint32_t>(random.below(8));
    if (random.chance(0.2)) spec.pod_chips = random.below(10000);
    if (random.chance(0.2)) spec.nics_per_chip = random.uniform() * 4;
    if (random.chance(0.2)) spec.copper.clear();
    spec.in_network_reduction = random.chance(0.3);
    const uint64_t chips = 1 + random.below(uint64_t{1} << (1 + random.below(20)));
    try {
      const Network network = build(spec, hosts[random.below(hosts.size())], chips);
      ++built;
      EXPECT_TRUE(std::isfinite(network.bill().price_usd) && std::isfinite(network.bill().power_w));
      EXPECT_TRUE(std::isfinite(network.bisection_bytes_per_s()));
      for (const double seconds : all_times(network, 1e8, {chips, 1, 1})) {
        EXPECT_TRUE(std::isfinite(seconds) && (seconds > 0) == (chips > 1)) << seconds;
      }
      EXPECT_EQ(network.tiers().front().reach, network.domain());
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    }
  }
  EXPECT_GT(built, 1000u);
  EXPECT_GT(refused, 100u);
}

TEST(CollectivesPropertyTest, BillsAddUpAndGrowWithTheMachine) {
  for (const Topology topology :
       {Topology::kRailFatTree, Topology::kFatTree, Topology::kDragonfly, Topology::kTorus3d}) {
    uint64_t before = 0;
    for (uint64_t chips = 64; chips <= 131072; chips *= 2) {
      const Network network = build(spec_of(topology, "spectrum-sn5600"), "dgx-h100", chips);
      double usd = 0, watts = 0;
      uint64_t switches = 0;
      for (const BillLine& line : network.bill().lines) {
        usd += line.unit_usd * static_cast<double>(line.count);
        watts += line.unit_w * static_cast<double>(line.count);
        if (catalogue().switches.count(line.item) > 0) switches += line.count;
      }
      EXPECT_DOUBLE_EQ(usd, network.bill().price_usd);
      EXPECT_DOUBLE_EQ(watts, network.bill().power_w);
      EXPECT_EQ(switches, network.bill().switches);
      EXPECT_GE(network.bill().cables, before);
      EXPECT_GT(network.bisection_bytes_per_s(), 0);
      EXPECT_EQ(network.tiers().back().reach,
                topology == Topology::kTorus3d ? network.tiers().back().reach : chips);
      before = network.bill().cables;
    }
  }
}

}  // namespace
}  // namespace fathom::cluster
