#include "cluster/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace fathom::cluster {
namespace {

using Changes = std::vector<std::pair<std::string, std::string>>;

class PlannerTest : public testing::Test {
 protected:
  std::string refused(const Changes& changes, std::string_view scenario = "my-lab") {
    try {
      planner_.plan(scenario, changes, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  ThreadPool pool_{2};
  Planner planner_{std::filesystem::path(FATHOM_SOURCE_DIR) / "data", {}, pool_};
};

TEST_F(PlannerTest, OffersWhatThereIs) {
  const auto choices = planner_.choices();
  EXPECT_GE(choices["scenarios"].size(), 5U);
  EXPECT_GE(choices["accelerators"].size(), 8U);
  EXPECT_GE(choices["models"].size(), 40U);
  EXPECT_EQ(choices["topologies"].size(), 4U);
  EXPECT_TRUE(planner_.has("autumn-2025"));
  EXPECT_FALSE(planner_.has("autumn"));
}

TEST_F(PlannerTest, AChangeMovesThePlan) {
  const auto many = planner_.plan("my-lab", {}, {});
  const auto chips = many["scenario"]["machine"]["chips"].get<int>();
  const auto few = planner_.plan("my-lab", {{"machine.chips", std::to_string(chips / 2)}}, {});
  EXPECT_EQ(few["scenario"]["machine"]["chips"], chips / 2);
  EXPECT_GT(many["step"]["tokens_per_s"].get<double>(), few["step"]["tokens_per_s"].get<double>());
  EXPECT_GE(few["drawings"].size(), 8U);
}

TEST_F(PlannerTest, WhatMayNotBeChangedFromAfarIsRefused) {
  for (const char* key :
       {"model.file", "run.runs", "run.days", "schedule.samples", "plan.tensor", "search.tensor", "run.days ",
        "run. days", "run.days=36500 #", " run.days", "title", "", "run.days\n"})
    EXPECT_THAT(refused({{key, "1"}}), testing::HasSubstr("cannot be changed from here")) << key;
  EXPECT_THAT(refused({{"machine." + std::string(65'000, '.') + "x", "1"}}),
              testing::HasSubstr("cannot be changed from here"));
  EXPECT_THAT(refused({{"machine...x", "1"}}), testing::HasSubstr("section.key=value"));
}

TEST_F(PlannerTest, WhatCannotBeIsToldAndNothingBreaks) {
  EXPECT_THAT(refused({}, "no-such"), testing::HasSubstr("no-such"));
  EXPECT_THAT(refused({{"machine.chips", "-8"}}), testing::HasSubstr("chips"));
  EXPECT_THAT(refused({{"job.global_batch", "4294967296"}}), testing::HasSubstr("global_batch"));
  EXPECT_THAT(refused({{"network.gbit_per_s_per_chip", "1e-308"}}),
              testing::HasSubstr("gbit_per_s_per_chip"));
  EXPECT_THAT(refused({{"network.nics_per_chip", "1e-308"}}), testing::HasSubstr("nics_per_chip"));
  EXPECT_THAT(refused({{"model.preset", "../../etc/passwd"}}), testing::Not(testing::IsEmpty()));
}

TEST_F(PlannerTest, NobodyWaitsNothingIsPlanned) {
  std::stop_source gone;
  gone.request_stop();
  EXPECT_THROW(planner_.plan("my-lab", {}, gone.get_token()), Error);
}

}  // namespace
}  // namespace fathom::cluster
