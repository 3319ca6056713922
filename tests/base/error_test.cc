#include "base/error.h"

#include <gtest/gtest.h>

#include <set>

namespace fathom {
namespace {

TEST(Error, CarriesCodeAndSentence) {
  const Error error(ErrorCode::kCorrupt, "the file is damaged");
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  EXPECT_STREQ(error.what(), "the file is damaged");
}

TEST(Error, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    const auto name = to_string(static_cast<ErrorCode>(code));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos) << name;
  }
  EXPECT_EQ(to_string(ErrorCode::kDeadlineExceeded), "deadline_exceeded");
}

TEST(CheckDeathTest, EndsTheProcessWithPlaceAndNote) {
  const int two = 2;
  FATHOM_CHECK(two == 2);
  EXPECT_DEATH(FATHOM_CHECK(two == 3), "two == 3.*error_test.cc");
  EXPECT_DEATH(FATHOM_CHECK(two == 3, "a note"), "a note");
}

}  // namespace
}  // namespace fathom
