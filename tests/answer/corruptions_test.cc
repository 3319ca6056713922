// How often the check takes what is false and refuses what is true, over sentences whose truth is known by construction.
#include "answer/corruptions.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "answer/check.h"
#include "live/world.h"

namespace fathom::answer {
namespace {

using testing::Claim;

struct Rate {
  size_t taken = 0, all = 0;
  double percent() const {
    return all == 0 ? 0 : 100.0 * static_cast<double>(taken) / static_cast<double>(all);
  }
};

struct Rates {
  Rate false_accepts, false_rejects;
  std::map<std::string, Rate> kinds;
  std::string table;
};

/// With FATHOM_SHOW_CLAIMS set, writes the claims that are judged wrongly.
Rates judge(const std::vector<Claim>& claims) {
  Rates out;
  for (const Claim& claim : claims) {
    const bool taken = check_support(claim.text, prepare(claim.post)).supported;
    Rate& rate = claim.holds ? out.false_rejects : out.false_accepts;
    Rate& kind = out.kinds[claim.kind];
    const bool wrong = taken != claim.holds;
    ++rate.all;
    ++kind.all;
    rate.taken += wrong ? 1 : 0;
    kind.taken += wrong ? 1 : 0;
    if (wrong && std::getenv("FATHOM_SHOW_CLAIMS") != nullptr)
      fmt::print("{} | {} | {} | {}\n", claim.kind, claim.text, claim.post.text,
                 check_support(claim.text, prepare(claim.post)).reason);
  }
  for (const auto& [kind, rate] : out.kinds)
    out.table +=
        fmt::format("{:16} {:6} wrong of {:6} ({:.2f} %)\n", kind, rate.taken, rate.all, rate.percent());
  out.table +=
      fmt::format("false accepts {:.2f} % of {}, false rejects {:.2f} % of {}\n", out.false_accepts.percent(),
                  out.false_accepts.all, out.false_rejects.percent(), out.false_rejects.all);
  return out;
}

TEST(Corruptions, OfTheSampleWorldAreSeen) {
  live::WorldOptions options;
  options.scenarios = std::filesystem::path(FATHOM_SOURCE_DIR) / "data/world";
  options.posts = 3000;
  const live::World world = live::generate_world(options);
  std::vector<std::string> strangers;
  for (const live::WorldAccount& account : world.truth.accounts)
    if (account.name.find(' ') != std::string::npos) strangers.push_back(account.name);
  const Rates rates = judge(testing::claims_about(world.posts, strangers, 4));
  SCOPED_TRACE(rates.table);
  if (std::getenv("FATHOM_SHOW_CLAIMS") != nullptr) fmt::print("{}", rates.table);
  ASSERT_GT(rates.false_accepts.all, 500U);
  EXPECT_LT(rates.false_accepts.percent(), 1.0);
  EXPECT_LT(rates.kinds.at("names swapped").percent(), 1.0);
  EXPECT_LT(rates.false_rejects.percent(), 15.0);
}

TEST(Corruptions, OfInventedSentencesAreSeen) {
  Random random(11);
  std::vector<Claim> claims;
  testing::Grammar(random).claims(60, claims);
  const Rates rates = judge(claims);
  SCOPED_TRACE(rates.table);
  if (std::getenv("FATHOM_SHOW_CLAIMS") != nullptr) fmt::print("{}", rates.table);
  EXPECT_LT(rates.false_accepts.percent(), 1.0);
  EXPECT_LT(rates.kinds.at("names swapped").percent(), 1.0);
  EXPECT_LT(rates.false_rejects.percent(), 15.0);
}

}  // namespace
}  // namespace fathom::answer
