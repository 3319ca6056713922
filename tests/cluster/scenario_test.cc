// Scenario files: those that come along are read and have a plan; a sentence with file and line for every impossible one.
#include "cluster/scenario.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/toml.h"
#include "cluster/search.h"

namespace fathom::cluster {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::filesystem::path kData = FATHOM_SOURCE_DIR "/data";

const Catalogue& catalogue() {
  static const Catalogue read = Catalogue::read({kData / "catalogue"});
  return read;
}

Scenario parse(const std::string& text) {
  return Scenario::parse(text, "s.toml", catalogue(), kData / "models");
}

std::string message_of(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "nothing was thrown";
}

const std::string kModel = "[model]\npreset = \"llama3-8b\"\n";                                // 1, 2
const std::string kMachine = "[machine]\naccelerator = \"h100-sxm\"\nchips = 64\n";            // 3, 4, 5
const std::string kGood = kModel + kMachine + "[job]\nsequence = 8192\nglobal_batch = 128\n";  // 6, 7, 8

class ShippedScenario : public ::testing::TestWithParam<const char*> {};

TEST_P(ShippedScenario, IsReadAndHasAPlan) {
  const Scenario scenario = Scenario::read(kData / "scenarios" / (std::string(GetParam()) + ".toml"),
                                           catalogue(), kData / "models");
  EXPECT_FALSE(scenario.title.empty());
  EXPECT_GT(scenario.machine.chips, 0U);
  EXPECT_GT(scenario.machine.network.bill().price_usd, 0);
  EXPECT_TRUE(scenario.run);
  EXPECT_TRUE(scenario.power);
  EXPECT_TRUE(scenario.money);
  if (scenario.plan) return;  // checked when it was read
  // A corner of its space is enough to know that there is a plan.
  SearchSpace space = scenario.search;
  space.micro_batch = {1};
  space.interleave = {1};
  space.zero = {1};
  space.schedule = {Schedule::kOneForwardOneBackward};
  space.sequence_parallel = Either::kYes;
  space.overlap_data = space.overlap_tensor = space.overlap_expert = Either::kYes;
  ThreadPool pool(2);
  const StepModel model(scenario.model, scenario.machine, scenario.job);
  const SearchResult result = search(model, space, pool, {});
  ASSERT_FALSE(result.best.empty()) << result.remedy;
  EXPECT_GT(result.best.front().cost.mfu, 0.1);
  EXPECT_LT(result.best.front().cost.mfu, 0.8);
}

INSTANTIATE_TEST_SUITE_P(All, ShippedScenario,
                         ::testing::Values("autumn-2025", "meta-24k", "llama3-405b", "oracle-rent", "my-lab"),
                         [](const auto& shipped) {
                           std::string name = shipped.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Scenario, AllThatComeAlongAreTested) {
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData / "scenarios"))
    if (entry.path().extension() == ".toml") ++found;
  EXPECT_EQ(found, 5U) << "add the new one to the list above";
}

TEST(Scenario, TheMissionsMachineIsTheMissions) {
  const Scenario scenario =
      Scenario::read(kData / "scenarios/autumn-2025.toml", catalogue(), kData / "models");
  EXPECT_EQ(scenario.machine.chips, 100'000U);
  EXPECT_EQ(scenario.machine.chip.id, "h100-sxm");
  ASSERT_TRUE(scenario.schedule);
  EXPECT_EQ(format_date(scenario.schedule->start).substr(0, 7), "2024-05");
  EXPECT_EQ(format_date(scenario.schedule->target).substr(0, 4), "2025");
  EXPECT_GT(scenario.schedule->tasks.size(), 12U);
  EXPECT_GT(scenario.racks, 1200);
  EXPECT_LT(scenario.racks, 1600);
  EXPECT_GT(scenario.model.parameters(), 1'000'000'000'000U);
}

TEST(Scenario, ReadsTheLeastThatItNeeds) {
  const Scenario scenario = parse(kModel + kMachine);
  EXPECT_EQ(scenario.title, "s");
  EXPECT_EQ(scenario.machine.chips, 64U);
  EXPECT_EQ(scenario.machine.host.accelerator, "h100-sxm") << "the chip's own host where none is named";
  EXPECT_EQ(scenario.machine.host.chips, 8U);
  EXPECT_EQ(scenario.model.layers, 32U);
  EXPECT_FALSE(scenario.plan || scenario.run || scenario.serving || scenario.power || scenario.money ||
               scenario.schedule);
  EXPECT_EQ(scenario.place("machine"), "s.toml:3");
  EXPECT_EQ(scenario.place("search"), "s.toml");
}

TEST(Scenario, ReadsAFixedPlan) {
  const Scenario scenario = parse(kGood +
                                  "[plan]\ntensor = 2\npipeline = 4\ninterleave = 2\nzero = 1\nrecompute = "
                                  "\"selective\"\nschedule = \"zero-bubble\"\nprecision = \"fp8\"\n");
  ASSERT_TRUE(scenario.plan);
  EXPECT_EQ(scenario.plan->data, 8U) << "what the others leave of 64 chips";
  EXPECT_EQ(scenario.plan->tensor, 2U);
  EXPECT_EQ(scenario.plan->recompute, Recompute::kSelective);
  EXPECT_EQ(scenario.plan->schedule, Schedule::kZeroBubble);
  EXPECT_EQ(scenario.plan->precision, Precision::kFp8);
  EXPECT_EQ(parse(kGood + "[plan]\ntensor = 2\ndata = 4\n").plan->chips(), 8U) << "fewer chips may be said";
}

TEST(Scenario, ReadsModelFilesBesideIt) {
  const TempDir dir("fathom-scenario-test");
  std::filesystem::copy_file(kData / "models/llama3-8b.toml", dir.path() / "mine.toml");
  write_file_atomic(dir.path() / "s.toml", "[model]\nfile = \"mine.toml\"\n" + kMachine);
  EXPECT_EQ(Scenario::read(dir.path() / "s.toml", catalogue(), kData / "models").model.layers, 32U);
  write_file_atomic(dir.path() / "s.toml", "[model]\nfile = \"other.toml\"\n" + kMachine);
  try {
    Scenario::read(dir.path() / "s.toml", catalogue(), kData / "models");
    FAIL() << "there is no such file";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("s.toml:2: "));
    EXPECT_THAT(error.what(), HasSubstr("other.toml"));
  }
}

TEST(Scenario, CountsRacksByHeightAndPower) {
  const std::string text =
      kModel + "[machine]\naccelerator = \"h100-sxm\"\nhost = \"dgx-h100\"\nchips = 72\n";
  EXPECT_EQ(parse(text).racks, 0);
  const Scenario four = parse(text + "rack = \"air-42kw\"\n");  // four hosts of 10.2 kW in 42 kW
  EXPECT_EQ(four.racks, 3);
  EXPECT_EQ(four.rack_usd, 3 * catalogue().rack("air-42kw").price_usd);
  EXPECT_EQ(parse(text + "rack = \"air-21kw\"\n").racks, 5);
}

TEST(Scenario, SaysWhatIsImpossibleWhereAndWhatWouldDo) {
  const auto expect = [](const std::string& text, const char* start,
                         std::initializer_list<const char*> parts) {
    const std::string message = message_of(text);
    EXPECT_THAT(message, StartsWith(start)) << text;
    for (const char* part : parts) EXPECT_THAT(message, HasSubstr(part));
  };
  expect("title = 3\n" + kGood, "s.toml:1: ", {"'title' must be a text"});
  expect("titel = \"x\"\n" + kGood, "s.toml:1: ", {"unknown key 'titel'", "title"});
  expect(kMachine, "s.toml:1: ", {"'model' is missing", "preset"});
  expect(kModel, "s.toml:1: ", {"'machine' is missing", "accelerator"});
  expect("[model]\n" + kMachine, "s.toml:1: ", {"either 'preset'", "'file'"});
  expect("[model]\npreset = \"llama3-80b\"\n" + kMachine, "s.toml:2: ", {"llama3-80b", "llama3-8b"});
  expect("[model]\npreset = \"../llama3-8b\"\n" + kMachine, "s.toml:2: ", {"../llama3-8b"});
  // Chips, hosts, network.
  expect(kModel + "[machine]\naccelerator = \"h100-smx\"\nchips = 64\n",
         "s.toml:4: ", {"h100-smx", "h100-sxm"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nhost = \"dgx-b200\"\nchips = 64\n",
         "s.toml:5: ", {"carries b200", "hosts of it: ", "dgx-h100"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nchips = 65\n",
         "s.toml:5: ", {"hosts of 8: 64 or 72"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nchips = 0\n",
         "s.toml:5: ", {"'chips' must be from 1"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nchips = 100000000\n",
         "s.toml:5: ", {"'chips' must be"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nchips = 64\nrack = \"air-4kw\"\n",
         "s.toml:6: ", {"air-4kw", "air-42kw"});
  expect(kModel + "[machine]\naccelerator = \"h100-sxm\"\nchips = 16777216\n[network]\ntiers = 2\n",
         "s.toml:6: ", {"chips"});
  expect(kGood + "[network]\nswitch = \"spectrum-5600\"\n",
         "s.toml:9: ", {"spectrum-5600", "spectrum-sn5600"});
  // The layout.
  expect(kGood + "[plan]\ntensor = 3\n", "s.toml:9: ", {"does not divide the 64 chips"});
  expect(kGood + "[plan]\ntensor = 8\ndata = 16\n", "s.toml:9: ", {"is 128", "64 chips"});
  expect(kGood + "[plan]\ntensor = 64\n", "s.toml:9: ", {"tp 64", "cannot be", "heads"});
  expect("[model]\npreset = \"llama3-405b\"\n" + kMachine + "[plan]\ntensor = 8\nzero = 0\n",
         "s.toml:6: ", {"needs ", "where a chip has", "ZeRO", "without [plan]"});
  // Storage, spares, power, money, dates.
  expect(kGood + "[run]\nstorage = \"flash-2u\"\n", "s.toml:10: ", {"storage_units"});
  expect(kGood + "[run]\nstorage = \"flash-3u\"\nstorage_units = 2\n",
         "s.toml:10: ", {"flash-3u", "flash-2u"});
  expect(kGood + "[run]\nfailures = \"llama4\"\n", "s.toml:10: ", {"llama4", "llama3-h100"});
  expect(kGood + "[run]\nspare_nodes = 9\n", "s.toml:10: ", {"8 hosts"});
  expect(kGood + "[power]\nregion = \"us-tenesse\"\npue = 1.2\n",
         "s.toml:10: ", {"us-tenesse", "us-tennessee"});
  const std::string power = kGood + "[power]\nregion = \"us-texas\"\npue = 1.2\n";
  expect(power + "[[power.grid]]\nfrom = 2024-01-01\nmw = 0.05\n",
         "s.toml:9: ", {"alone draw ", "50.0 kW", "[[power.grid]]", "or plan for "});
  EXPECT_EQ(message_of(power + "[[power.grid]]\nfrom = 2024-01-01\nmw = 0.3\n"), "nothing was thrown");
  expect(kGood + "[money]\nbuilding_usd_per_w = -1\n",
         "s.toml:10: ", {"'building_usd_per_w' must be from 0"});
  expect(kGood + "[money]\ncloud = \"oracle\"\n", "s.toml:10: ", {"oracle", "oci-h100"});
  expect(kGood + "[[task]]\nid = \"a\"\ndays = [1]\n", "s.toml:9: ", {"[schedule]"});
  const std::string task = "[[task]]\nid = \"a\"\ndays = [1]\n";
  expect(kGood + "[schedule]\nstart = 2024-05-01\ntarget = 2024-04-01\n" + task, "s.toml:", {"target"});
  expect(
      "[model]\npreset = \"llama3-8b\"\n[machine]\naccelerator = \"b200\"\nchips = 64\n[schedule]\nstart = "
      "2022-05-01\ntarget = 2022-12-01\n" +
          task,
      "s.toml:4: ", {"'b200'", "2022-12-01", "later target"});
}

TEST(Scenario, ChangedValuesAreCheckedToo) {
  const TomlTable document = TomlTable::parse(kGood, "s.toml");
  const auto with = [&](const char* change) {
    return Scenario::from(document.changed({change}), catalogue(), kData / "models");
  };
  EXPECT_EQ(with("machine.chips=128").machine.chips, 128U);
  EXPECT_EQ(with("model.preset=llama3-70b").model.layers, 80U);
  EXPECT_THROW(with("machine.chips=1"), Error);
  EXPECT_THROW(with("machine.accelerator=abacus"), Error);
}

}  // namespace
}  // namespace fathom::cluster
