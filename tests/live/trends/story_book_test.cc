// Stories keep their ids while their fragments part, overtake each other and come together.
#include "live/trends/story_book.h"

#include <gtest/gtest.h>

#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using namespace std::chrono_literals;

/// Posts [from, to) of a story, whose first is called after `name`.
StoryDraft draft(const std::string& name, std::vector<std::pair<uint64_t, uint64_t>> ranges) {
  StoryDraft out;
  for (const auto& [from, to] : ranges)
    for (uint64_t post = from; post < to; ++post) out.posts.insert(post);
  out.terms[trend_hash(name)] = 1;
  Story& story = out.counted.story;
  story.headline = name;
  story.keys = {name};
  story.began = story.updated = kStart;
  story.volume = {out.posts.size()};
  return out;
}

class StoryBookTest : public ::testing::Test {
 protected:
  /// The ids of the drafts, in their order.
  std::vector<std::string> update(std::vector<StoryDraft> drafts) {
    std::vector<std::string> names;
    for (const auto& one : drafts) names.push_back(one.counted.story.headline);
    book_.update(std::move(drafts), now_ += 5min, 5min);
    std::vector<std::string> ids;
    for (const auto& name : names)
      for (const auto& running : book_.running())
        if (running.story.headline == name) ids.push_back(running.story.id);
    return ids;
  }

  StoryBook book_;
  Time now_ = kStart;
};

TEST_F(StoryBookTest, OfTwoFragmentsTheOneWithMostOfThePostsKeepsTheId) {
  const auto whole = update({draft("whole", {{0, 10}})});
  // All of the smaller one's posts are the story's, most of the larger one's are.
  const auto parts = update({draft("small", {{6, 10}}), draft("large", {{0, 6}, {20, 24}})});
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1], whole[0]);
  EXPECT_NE(parts[0], whole[0]);
}

TEST_F(StoryBookTest, FragmentsThatOvertakeEachOtherKeepTheirIds) {
  const auto whole = update({draft("whole", {{0, 20}})});
  const auto parts = update({draft("a", {{0, 12}}), draft("b", {{12, 20}})});
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0], whole[0]);
  const auto later = update({draft("b", {{12, 20}, {30, 50}}), draft("a", {{0, 12}})});
  ASSERT_EQ(later.size(), 2u);
  EXPECT_EQ(later[0], parts[1]);
  EXPECT_EQ(later[1], parts[0]);
  // Together again, they are the story that was there first, and the other's id leads to it.
  const auto again = update({draft("both", {{0, 20}, {30, 52}})});
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0], whole[0]);
  EXPECT_EQ(book_.all().at(parts[1]).story.id, whole[0]);
}

TEST_F(StoryBookTest, AFewPostsOfAnOlderStoryDoNotRenameALargeOne) {
  const auto old = update({draft("old", {{0, 4}})});
  const auto both = update({draft("old", {{0, 4}}), draft("large", {{100, 160}})});
  const auto after = update({draft("large", {{0, 4}, {100, 170}})});
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0], both[1]);
  EXPECT_EQ(book_.all().at(old[0]).story.id, both[1]);
}

}  // namespace
}  // namespace fathom::live
