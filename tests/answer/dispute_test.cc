// Who says otherwise: another figure for the same thing, a denial; not the next number of a row.
#include "answer/dispute.h"

#include <gtest/gtest.h>

#include "answer/fakes.h"

namespace fathom::answer {
namespace {

std::optional<Dispute> dispute_of(const std::string& post, const std::string& other) {
  const std::vector<Evidence> evidence = {
      prepare(testing::make_post("1", "ann", "Ann", "2026-03-01T09:00:00Z", post)),
      prepare(testing::make_post("2", "bob", "Bob", "2026-03-01T10:00:00Z", other))};
  return find_dispute(evidence, {1}, evidence[0], {0, evidence[0].post.text.size()});
}

TEST(Dispute, AnotherFigureForTheSameThing) {
  const auto dispute = dispute_of("12 people were injured when the ferry hit the pier in Lund.",
                                  "17 people were injured when the ferry hit the pier in Lund.");
  ASSERT_TRUE(dispute);
  EXPECT_TRUE(dispute->figure);
  EXPECT_EQ(dispute->index, 1u);
}

TEST(Dispute, ADenialOfTheSameThing) {
  const auto dispute = dispute_of("The captain of the ferry Aurora has fled, they say in Lund.",
                                  "It is not true that the captain of the ferry Aurora has fled.");
  ASSERT_TRUE(dispute);
  EXPECT_FALSE(dispute->figure);
}

TEST(Dispute, TheNextOfARowIsNoOtherFigure) {
  EXPECT_FALSE(dispute_of("Tea number 1 of the day, and the cat is asleep again.",
                          "Tea number 2 of the day, and the cat is asleep again."));
  EXPECT_FALSE(dispute_of("Chapter 3 people will love: the ferry hits the pier in Lund.",
                          "Chapter 4 people will love: the ferry hits the pier in Lund."));
}

TEST(Dispute, TheSameFigureIsNone) {
  EXPECT_FALSE(dispute_of("12 people were injured when the ferry hit the pier in Lund.",
                          "In Lund 12 people were injured when the ferry hit the pier."));
}

}  // namespace
}  // namespace fathom::answer
