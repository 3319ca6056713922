#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace fathom {
namespace {

TEST(Checksum, PublishedValues) {
  EXPECT_EQ(checksum64(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(checksum64("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(checksum64("abc"), 0x44BC2CF5AD770999u);
  EXPECT_EQ(checksum64("Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1u);
}

TEST(Checksum, PiecesOfAnySizeGiveTheSame) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7 + i / 256);
  for (const size_t piece : {1, 3, 31, 32, 33, 100, 999}) {
    Checksum64 sum;
    for (size_t at = 0; at < text.size(); at += piece) sum.update(std::string_view(text).substr(at, piece));
    EXPECT_EQ(sum.value(), checksum64(text)) << piece;
  }
}

TEST(Checksum, EveryFlippedBitShows) {
  std::string text = "weights, moments and where they belong";
  const uint64_t whole = checksum64(text);
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(checksum64(text), whole) << bit;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  }
}

}  // namespace
}  // namespace fathom
