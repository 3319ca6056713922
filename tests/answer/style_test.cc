#include "answer/style.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"

namespace fathom::answer {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& text) {
  try {
    parse_style(text, "x", "x.txt");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return {};
}

TEST(Style, LinesThenWords) {
  const Style style = parse_style(
      "# mine\r\ntitle: Dry\ndescription: no fun\nsentences: 3\nmore: yes\nopening: So:\nopening-de: "
      "Also:\n\n"
      "Be dry.\n\nReally: dry.\n",
      "dry", "dry.txt");
  EXPECT_EQ(style.name, "dry");
  EXPECT_EQ(style.title, "Dry");
  EXPECT_EQ(style.sentences, 3U);
  EXPECT_TRUE(style.more);
  EXPECT_EQ(style.opening("en"), "So:");
  EXPECT_EQ(style.opening("de"), "Also:");
  EXPECT_EQ(style.opening("fr"), "");
  EXPECT_EQ(style.closing("en"), "");
  EXPECT_EQ(style.words, "Be dry.\n\nReally: dry.");
}

TEST(Style, BadFilesAreNamedWithTheirLine) {
  EXPECT_THAT(error_of("title: A\nsentences: many\n"), HasSubstr("x.txt:2"));
  EXPECT_THAT(error_of("sentences: 0\n"), HasSubstr("1 to 50"));
  EXPECT_THAT(error_of("colour: red\n"), HasSubstr("'colour'"));
  EXPECT_THAT(error_of("just words\n"), HasSubstr("name: value"));
  EXPECT_THAT(error_of("more: perhaps\n"), HasSubstr("yes or no"));
  EXPECT_THAT(error_of("title: \xFF\n"), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of("title: " + std::string(400, 'a')), HasSubstr("longer"));
  EXPECT_THAT(error_of(std::string(kMaxStyleBytes + 1, 'a')), HasSubstr("bytes"));
}

TEST(Style, OpeningsAndClosingsClaimNothing) {
  for (const char* line :
       {"opening: 12 people were hurt", "closing: see https://evil.example", "opening: \"he said\"",
        "closing: as [1] has it", "closing: ask @someone", "opening-de: \xE2\x80\x9CJa\xE2\x80\x9D"})
    EXPECT_THAT(error_of(line), HasSubstr("claims nothing")) << line;
}

TEST(Styles, ShippedOnesCanBeRead) {
  const Styles styles({std::filesystem::path(FATHOM_SOURCE_DIR) / "data/styles"});
  std::vector<std::string> errors, names;
  for (const Style& style : styles.list(&errors)) {
    names.push_back(style.name);
    EXPECT_FALSE(style.description.empty());
    EXPECT_FALSE(style.words.empty());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"brief", "digest", "playful", "thorough"}));
  EXPECT_TRUE(errors.empty());
}

TEST(Styles, TheUsersWinAndEditsHoldAtOnce) {
  const TempDir shipped, own;
  write_file_atomic(shipped.path() / "brief.txt", "title: Shipped\n");
  const Styles styles({shipped.path(), own.path() / "styles", own.path()});
  EXPECT_EQ(styles.find("brief").title, "Shipped");
  write_file_atomic(own.path() / "brief.txt", "title: Mine\n");
  EXPECT_EQ(styles.find("brief").title, "Mine");
  write_file_atomic(own.path() / "bad.txt", "what\n");
  write_file_atomic(own.path() / "Not A Name.txt", "title: x\n");
  std::vector<std::string> errors;
  EXPECT_EQ(styles.list(&errors).size(), 1U);
  EXPECT_EQ(errors.size(), 2U);
  EXPECT_THROW(styles.find("bad"), Error);
}

TEST(Styles, UnknownNamesAndPathsFindNothing) {
  const Styles styles({std::filesystem::path(FATHOM_SOURCE_DIR) / "data/styles"});
  for (const char* name : {"", "nosuch", "../styles/brief", "brief.txt", "BRIEF", "a/b"}) {
    try {
      styles.find(name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_THAT(error.what(), HasSubstr("brief, digest, playful, thorough"));
    }
  }
}

}  // namespace
}  // namespace fathom::answer
