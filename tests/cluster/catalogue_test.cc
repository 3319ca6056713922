// The catalogue: what its files say comes out in SI units, and what is wrong is named with file and line.
#include "cluster/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/random.h"

namespace fathom::cluster {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::filesystem::path kFolder = FATHOM_SOURCE_DIR "/data/catalogue";

std::string message_of(ErrorCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

constexpr std::string_view kChip =
    "[accelerator.c]\n"          // 1
    "name = \"C\"\n"             // 2
    "bf16_tflops = 100\n"        // 3
    "memory_gib = 2\n"           // 4
    "memory_gb_per_s = 1000\n"   // 5
    "scale_up_gb_per_s = 50\n"   // 6
    "scale_up_latency_us = 2\n"  // 7
    "scale_up_fraction = 0.5\n"  // 8
    "scale_up_chips = 4\n"       // 9
    "power_w = 300\n"            // 10
    "idle_power_w = 30\n"        // 11
    "year = 2024\n"              // 12
    "[accelerator.c.sources]\n"  // 13
    "\"bf16_tflops, memory_gib, memory_gb_per_s\" = \"a\"\n"
    "\"scale_up_gb_per_s, scale_up_latency_us, scale_up_fraction, scale_up_chips\" = \"b\"\n"
    "\"power_w, idle_power_w, year\" = \"assumed: c\"\n";

std::string with(std::string_view from, std::string_view to) {
  std::string text(kChip);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

Catalogue parse(std::string_view text) { return Catalogue::parse(text, "c.toml"); }
std::string wrong(std::string_view text) {
  return message_of(ErrorCode::kInvalidArgument, [&] { parse(text); });
}

TEST(CatalogueTest, ReadsAnAcceleratorInUnitsOfTheSystem) {
  const Catalogue catalogue = parse(kChip);
  const Accelerator& chip = catalogue.accelerator("c");
  EXPECT_EQ(chip.name, "C");
  EXPECT_EQ(chip.family, "c");
  EXPECT_DOUBLE_EQ(chip.peak(Precision::kBf16), 100e12);
  EXPECT_DOUBLE_EQ(chip.memory_bytes, 2147483648.0);
  EXPECT_DOUBLE_EQ(chip.memory_bytes_per_s, 1e12);
  EXPECT_DOUBLE_EQ(chip.scale_up_bytes_per_s, 50e9);
  EXPECT_DOUBLE_EQ(chip.scale_up_latency_s, 2e-6);
  EXPECT_EQ(chip.scale_up_chips, 4u);
  EXPECT_EQ(chip.year, 2024);
  EXPECT_EQ(chip.sources.at("power_w"), "assumed: c");
  EXPECT_EQ(chip.sources.at("memory_gib"), "a");
}

TEST(CatalogueTest, PeakFallsBackToTheNextWiderPrecisionAndIsNeverZero) {
  Accelerator chip;
  chip.peak_flops[static_cast<size_t>(Precision::kBf16)] = 8;
  chip.peak_flops[static_cast<size_t>(Precision::kFp32)] = 2;
  EXPECT_EQ(chip.peak(Precision::kFp4), 8);
  EXPECT_EQ(chip.peak(Precision::kFp8), 8);
  EXPECT_EQ(chip.peak(Precision::kFp16), 8);
  EXPECT_EQ(chip.peak(Precision::kTf32), 2);
  EXPECT_EQ(chip.peak(Precision::kFp32), 2);
  Accelerator narrow;
  narrow.peak_flops[static_cast<size_t>(Precision::kFp8)] = 5;
  for (size_t p = 0; p < kPrecisions; ++p) EXPECT_EQ(narrow.peak(static_cast<Precision>(p)), 5);
}

TEST(CatalogueTest, BytesOfAnElement) {
  EXPECT_EQ(bytes_of(Precision::kFp32), 4);
  EXPECT_EQ(bytes_of(Precision::kBf16), 2);
  EXPECT_EQ(bytes_of(Precision::kFp8), 1);
  EXPECT_EQ(bytes_of(Precision::kFp4), 0.5);
  EXPECT_EQ(to_string(Precision::kFp8), "fp8");
}

TEST(CatalogueTest, AFigureWithoutASourceIsAnErrorThatNamesItsLine) {
  const std::string message = wrong(with("power_w, idle_power_w, year", "idle_power_w, year"));
  EXPECT_THAT(message, StartsWith("c.toml:10:"));
  EXPECT_THAT(message, HasSubstr("'power_w' has no source"));
}

TEST(CatalogueTest, ASourceForNothingIsAnError) {
  EXPECT_THAT(wrong(with("power_w, idle_power_w, year", "power_w, idle_power_w, year, price_usd")),
              HasSubstr("gives a source for 'price_usd', which is not there"));
}

TEST(CatalogueTest, WhatIsWrongIsNamedWithItsLine) {
  EXPECT_THAT(wrong(with("bf16_tflops = 100", "bf16_tflop = 100")),
              StartsWith("c.toml:3: unknown key 'bf16_tflop'"));
  EXPECT_THAT(wrong(with("bf16_tflops = 100", "bf16_tflops = -1")),
              StartsWith("c.toml:3: 'bf16_tflops' must be from"));
  EXPECT_THAT(wrong(with("memory_gib = 2", "memory_gib = 0")), StartsWith("c.toml:4:"));
  EXPECT_THAT(wrong(with("scale_up_fraction = 0.5", "scale_up_fraction = 1.5")), StartsWith("c.toml:8:"));
  EXPECT_THAT(wrong(with("scale_up_chips = 4", "scale_up_chips = 0")), StartsWith("c.toml:9:"));
  EXPECT_THAT(wrong(with("idle_power_w = 30", "idle_power_w = 3000")),
              HasSubstr("must not be above power_w"));
  EXPECT_THAT(wrong(with("power_w = 300", "power_w = \"much\"")), HasSubstr("must be a number"));
  EXPECT_THAT(wrong("[chip.c]\n"), HasSubstr("unknown key 'chip'"));
  EXPECT_THAT(wrong("accelerator = 3\n"), HasSubstr("must be a table"));
  EXPECT_THAT(wrong("[accelerator\n"), HasSubstr("not TOML"));
}

TEST(CatalogueTest, EfficiencyOfTheFamilyGoesUnderThatOfTheChip) {
  const Catalogue catalogue =
      parse(with("name = \"C\"", "name = \"C\"\nfamily = \"f\"") +
            "[efficiency.f]\nsource = \"s\"\ngemm_peak_fraction = 0.6\nunits = 7\nkernel_launch_us = "
            "5\nserving_x = 2\n"
            "[accelerator.c.efficiency]\nsource = \"s\"\nunits = 9\nfitted_on = [\"runs#3\"]\n");
  const ChipEfficiency& efficiency = catalogue.accelerator("c").efficiency;
  EXPECT_DOUBLE_EQ(efficiency.gemm_peak_fraction, 0.6);
  EXPECT_EQ(efficiency.units, 9u);
  EXPECT_DOUBLE_EQ(efficiency.kernel_launch_s, 5e-6);
  EXPECT_DOUBLE_EQ(efficiency.more.at("serving_x"), 2);
  EXPECT_THAT(efficiency.fitted_on, Contains("runs#3"));
  EXPECT_THAT(wrong(std::string(kChip) + "[efficiency.c]\nunits = 9\n"), HasSubstr("'source' is missing"));
  EXPECT_THAT(wrong(std::string(kChip) + "[efficiency.c]\nsource = \"s\"\nmemory_fraction = 2\n"),
              HasSubstr("'memory_fraction' must be from"));
}

TEST(CatalogueTest, ReferencesMustLeadSomewhere) {
  const std::string host =
      "[host.h]\nname = \"H\"\naccelerator = \"c\"\nchips = 8\npower_w = 1\nprice_usd = 1\nnics = 1\nnic = "
      "\"n\"\n"
      "rack_units = 1\nsources.\"chips, power_w, price_usd, nics, rack_units\" = \"x\"\n";
  EXPECT_THAT(wrong(std::string(kChip) + host), HasSubstr("'nic' is 'n', and there is no such nic"));
  const std::string nic =
      "[nic.n]\nname = \"N\"\ngbit_per_s = 400\nlatency_us = 1\npower_w = 1\nprice_usd = 1\n"
      "sources.\"gbit_per_s, latency_us, power_w, price_usd\" = \"x\"\n";
  EXPECT_EQ(parse(std::string(kChip) + nic + host).host("h").nic, "n");
  EXPECT_EQ(parse(std::string(kChip) + nic + host).nic("n").bytes_per_s, 50e9);
  EXPECT_THAT(wrong(nic + host), HasSubstr("'accelerator' is 'c'"));
}

TEST(CatalogueTest, RatesOfFailuresComeFromCounts) {
  const std::string set =
      "[failures.s]\nchip_hours = 1000\nsources.chip_hours = \"x\"\n"
      "[failures.s.kind.zeta]\nname = \"Z\"\ncount = 5\nsources.count = \"x\"\n"
      "[failures.s.kind.alpha]\nname = \"A\"\nper_million_chip_hours = 7\nneeds_spare = true\nrepair_hours = "
      "2\n"
      "sources.\"per_million_chip_hours, repair_hours\" = \"x\"\n";
  const Catalogue catalogue = parse(set);
  const std::vector<FailureKind>& kinds = catalogue.failures("s");
  ASSERT_EQ(kinds.size(), 2u);
  EXPECT_EQ(kinds[0].id, "zeta");  // as they stand in the file
  EXPECT_DOUBLE_EQ(kinds[0].per_chip_hour, 0.005);
  EXPECT_FALSE(kinds[0].needs_spare);
  EXPECT_DOUBLE_EQ(kinds[1].per_chip_hour, 7e-6);
  EXPECT_TRUE(kinds[1].needs_spare);
  EXPECT_THAT(wrong("[failures.s]\n"), HasSubstr("names no kind of failure"));
  EXPECT_THAT(wrong("[failures.s.kind.a]\nname = \"A\"\ncount = 1\nsources.count = \"x\"\n"),
              HasSubstr("chip_hours"));
}

TEST(CatalogueTest, AnUnknownIdIsToldTheClosest) {
  const Catalogue catalogue = Catalogue::read({kFolder});
  const std::string message =
      message_of(ErrorCode::kNotFound, [&] { (void)catalogue.accelerator("H100-SMX"); });
  EXPECT_THAT(message, HasSubstr("the closest is 'h100-sxm'"));
  EXPECT_THAT(message, HasSubstr("gb200-nvl72"));
  EXPECT_THAT(message_of(ErrorCode::kNotFound, [&] { (void)catalogue.ids("gpu"); }),
              HasSubstr("accelerator, host"));
  EXPECT_THAT(message_of(ErrorCode::kNotFound, [&] { (void)parse("").region("x"); }),
              HasSubstr("no region at all"));
  message_of(ErrorCode::kNotFound, [] { Catalogue::read({kFolder / "nowhere"}); });
}

TEST(CatalogueTest, AUsersFolderAddsAndReplaces) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / ("catalogue_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "mine.toml")
      << kChip
      << "[cooling.air-free]\nname = \"Mine\"\npue = 1.05\nprice_usd_per_kw = 1\n"
         "sources.\"pue, price_usd_per_kw\" = \"x\"\n";
  const Catalogue both = Catalogue::read({kFolder, folder});
  EXPECT_EQ(both.accelerator("c").name, "C");
  EXPECT_EQ(both.cooling("air-free").name, "Mine");
  EXPECT_EQ(Catalogue::read({folder, kFolder}).cooling("air-free").pue, 1.12);
  std::filesystem::remove_all(folder);
}

// The catalogue that is shipped.
TEST(ShippedCatalogueTest, HasWhatThePlannerIsAskedFor) {
  const Catalogue catalogue = Catalogue::read({kFolder});
  for (const char* id : {"a100-sxm-40", "a100-sxm-80", "h100-sxm", "h100-pcie", "h800-sxm", "h200-sxm",
                         "b200", "b300", "gb200-nvl72", "gb300-nvl72", "mi300x", "tpu-v5p"})
    EXPECT_GT(catalogue.accelerator(id).peak(Precision::kBf16), 1e14) << id;
  EXPECT_EQ(catalogue.accelerator("gb200-nvl72").scale_up_chips, 72u);
  EXPECT_EQ(catalogue.network_switch("spectrum-sn5600").ports, 128u);
  EXPECT_EQ(catalogue.host("dgx-h100").accelerator, "h100-sxm");
  EXPECT_EQ(catalogue.cloud("oci-h100").usd_per_chip_hour, 10);
  for (const auto& [id, chip] : catalogue.accelerators) {
    EXPECT_FALSE(chip.sources.empty()) << id;
    for (const auto& [key, source] : chip.sources)
      EXPECT_THAT(source, ::testing::AnyOf(StartsWith("read in"), StartsWith("derived:"),
                                           StartsWith("recalled:"), StartsWith("assumed:")))
          << id << " " << key;
    EXPECT_GT(chip.efficiency.units, 0u) << id;
  }
}

TEST(ShippedCatalogueTest, FailuresAddUpToThePublishedInterruptions) {
  const Catalogue catalogue = Catalogue::read({kFolder});
  double rate = 0;
  for (const FailureKind& kind : catalogue.failures("llama3-h100")) rate += kind.per_chip_hour;
  EXPECT_NEAR(rate * 54 * 24 * 16384, 419, 1e-6);  // in 54 days on 16,384 chips
  EXPECT_NEAR(1 / (rate * 16384), 3.09, 0.01);     // hours between interruptions
  EXPECT_NEAR(60 / (rate * 100000), 30.4, 0.5);    // minutes at 100,000 chips
  double rsc = 0;
  for (const FailureKind& kind : catalogue.failures("rsc-a100")) rsc += kind.per_chip_hour;
  EXPECT_NEAR(1 / (rsc * 16384), 1.8, 0.02);  // hours, as the paper projects
}

TEST(ShippedCatalogueTest, PowerOfAHostIsThatOfItsDataSheet) {
  const Catalogue catalogue = Catalogue::read({kFolder});
  const auto total = [&](const char* id) {
    const Host& host = catalogue.host(id);
    return host.power_w + host.chips * catalogue.accelerator(host.accelerator).power_w;
  };
  EXPECT_NEAR(total("dgx-h100"), 10200, 50);
  EXPECT_NEAR(total("dgx-b200"), 14300, 50);
  EXPECT_NEAR(total("gb200-tray") * 18, 120000, 500);
}

// Damaged text is refused or read, never worse.
TEST(CatalogueTest, DamagedTextIsRefusedInASentence) {
  Random random(7);
  const std::string whole(kChip);
  for (int round = 0; round < 2000; ++round) {
    std::string text = whole;
    for (int change = 0; change < 3; ++change)
      text[random.below(text.size())] = static_cast<char>(32 + random.below(95));
    try {
      parse(text);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("c.toml:"));
    }
  }
}

}  // namespace
}  // namespace fathom::cluster
