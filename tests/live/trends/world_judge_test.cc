// Trends and stories of the sample world against its storylines. The bounds lie below what is reached and far above chance: of
// sixty storylines and much small talk, a random set of posts is of one storyline in a fortieth of its posts.
#include "live/trends/world_judge.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace fathom::live {
namespace {

TEST(WorldJudge, StoriesAreStorylines) {
  WorldOptions options;
  options.scenarios = std::filesystem::path(FATHOM_SOURCE_DIR) / "data/world";
  options.seed = 11;  // of none of the worlds by which the thresholds were chosen
  const World world = generate_world(options);
  const testing::Judgement judged = testing::WorldJudge(world, options.scenarios).run();
  RecordProperty("figures",
                 fmt::format("purity {:.3f} story precision {:.3f} recall {:.3f} trend precision {:.3f} "
                             "fragments {:.2f} delay {:.0f} min",
                             judged.purity, judged.story_precision, judged.recall, judged.trend_precision,
                             judged.fragments, judged.delay));
  EXPECT_GE(judged.moments, 15u);
  EXPECT_GE(judged.purity, 0.68);
  EXPECT_GE(judged.story_precision, 0.66);
  EXPECT_GE(judged.recall, 0.36);
  EXPECT_GE(judged.trend_precision, 0.8);
  EXPECT_LE(judged.fragments, 2);
  EXPECT_LE(judged.delay, 40);
  EXPECT_GE(judged.found, 27u) << "of sixty storylines";
}

}  // namespace
}  // namespace fathom::live
