// Typed reads of TOML: what is right comes out exactly, what is wrong is named with file and line.
#include "base/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/error.h"
#include "base/file.h"

namespace fathom {
namespace {

using namespace std::chrono;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TomlTable parse(std::string_view text) { return TomlTable::parse(text, "a.toml"); }

constexpr std::string_view kSample =
    "title = \"one\"\n"           // 1
    "count = 7\n"                 // 2
    "share = 0.25\n"              // 3
    "on = true\n"                 // 4
    "day = 2024-05-01\n"          // 5
    "names = [\"a\",\n \"b\"]\n"  // 6, 7
    "sizes = [1, 2.5]\n"          // 8
    "[net]\n"                     // 9
    "kind = \"tree\"\n"           // 10
    "[[task]]\n"                  // 11
    "id = \"x\"\n"                // 12
    "[[task]]\n"                  // 13
    "id = \"y\"\n"                // 14
    "[chips.b]\nmemory = 2\n"     // 15, 16
    "[chips.a]\nmemory = 1\n";    // 17, 18

TEST(Toml, ReadsEveryKind) {
  const TomlTable root = parse(kSample);
  EXPECT_EQ(root.file(), "a.toml");
  EXPECT_EQ(root.text("title"), "one");
  EXPECT_EQ(root.text_or("absent", "x"), "x");
  EXPECT_EQ(root.integer("count", 0, 10), 7);
  EXPECT_EQ(root.integer_or("absent", 3, 0, 10), 3);
  EXPECT_EQ(root.number("count", 0, 10), 7.0) << "a whole number is a number";
  EXPECT_EQ(root.number("share", 0, 1), 0.25);
  EXPECT_EQ(root.number_or("absent", 0.5, 0, 1), 0.5);
  EXPECT_TRUE(root.flag_or("on", false));
  EXPECT_TRUE(root.flag_or("absent", true));
  EXPECT_EQ(root.date("day"), sys_days(2024y / 5 / 1));
  EXPECT_EQ(root.date_or("absent", sys_days(2025y / 1 / 2)), sys_days(2025y / 1 / 2));
  EXPECT_THAT(root.texts("names"), ElementsAre("a", "b"));
  EXPECT_THAT(root.texts("absent"), IsEmpty());
  EXPECT_THAT(root.numbers("sizes", 0, 10), ElementsAre(1.0, 2.5));
  EXPECT_EQ(root.table("net").choice("kind", {"ring", "tree"}), 1U);
  EXPECT_EQ(root.table("net").choice_or("absent", 0, {"ring", "tree"}), 0U);
  EXPECT_TRUE(root.has("net"));
  EXPECT_FALSE(root.has("absent"));
}

TEST(Toml, KnowsTheLineOfEverything) {
  const TomlTable root = parse(kSample);
  EXPECT_EQ(root.place(), "a.toml:1");
  EXPECT_EQ(root.place("share"), "a.toml:3");
  EXPECT_EQ(root.place("absent"), "a.toml:1");
  EXPECT_EQ(root.line("day"), 5U);
  EXPECT_EQ(root.table("net").place(), "a.toml:9");
  EXPECT_EQ(root.table("net").place("kind"), "a.toml:10");
  EXPECT_EQ(root.table("absent").place(), "a.toml:1");
  const auto names = root.lines("names");
  ASSERT_EQ(names.size(), 2U);
  EXPECT_EQ(names[0].line, 6U);
  EXPECT_EQ(names[1].text, "b");
  EXPECT_EQ(names[1].line, 7U);
  const auto tasks = root.tables("task");
  ASSERT_EQ(tasks.size(), 2U);
  EXPECT_EQ(tasks[1].place(), "a.toml:13");
  EXPECT_EQ(tasks[1].text("id"), "y");
}

TEST(Toml, ListsKeysAsWrittenAndTablesByName) {
  const TomlTable root = parse("zebra = 1\nant = 2\n[m]\nq = 1\nb = 2\n");
  EXPECT_THAT(root.keys(), ElementsAre("zebra", "ant", "m"));
  EXPECT_THAT(root.table("m").keys(), ElementsAre("q", "b"));
  EXPECT_THAT(root.table("absent").keys(), IsEmpty());
  const auto chips = parse(kSample).table("chips").named_tables();
  ASSERT_EQ(chips.size(), 2U);
  EXPECT_EQ(chips[0].first, "a");
  EXPECT_EQ(chips[0].second.integer("memory", 0, 9), 1);
  EXPECT_EQ(chips[1].first, "b");
  EXPECT_EQ(chips[1].second.place(), "a.toml:15");
}

TEST(Toml, TablesOutliveTheRootThatTheyCameFrom) {
  const TomlTable task = [] { return parse(kSample).tables("task")[1]; }();
  EXPECT_EQ(task.text("id"), "y");
}

TEST(Toml, SaysWhatIsWrongAndWhere) {
  const TomlTable root = parse(kSample);
  const auto expect = [&](const char* start, const char* part, const std::function<void()>& act) {
    const std::string message = message_of(act);
    EXPECT_THAT(message, StartsWith(start));
    EXPECT_THAT(message, HasSubstr(part));
  };
  expect("a.toml:1: ", "'absent' is missing", [&] { root.text("absent"); });
  expect("a.toml:1: ", "'absent' is missing", [&] { root.number("absent", 0, 1); });
  expect("a.toml:1: ", "'absent' is missing", [&] { root.integer("absent", 0, 1); });
  expect("a.toml:1: ", "'absent' is missing", [&] { root.date("absent"); });
  expect("a.toml:9: ", "'absent' is missing", [&] { root.table("net").text("absent"); });
  expect("a.toml:2: ", "'count' must be a text", [&] { root.text("count"); });
  expect("a.toml:2: ", "'count' must be from 8 to 9", [&] { root.integer("count", 8, 9); });
  expect("a.toml:2: ", "'count' must be from 0 to 0.5", [&] { root.number("count", 0, 0.5); });
  expect("a.toml:3: ", "'share' must be a whole number", [&] { root.integer("share", 0, 1); });
  expect("a.toml:1: ", "'title' must be a number", [&] { root.number("title", 0, 1); });
  expect("a.toml:1: ", "'title' must be true or false", [&] { root.flag_or("title", false); });
  expect("a.toml:1: ", "'title' must be a date such as 2024-05-01", [&] { root.date("title"); });
  expect("a.toml:10: ", "none of: ring, star", [&] { root.table("net").choice("kind", {"ring", "star"}); });
  expect("a.toml:8: ", "'sizes' must hold texts only", [&] { root.texts("sizes"); });
  expect("a.toml:2: ", "'count' must be a list of texts", [&] { root.texts("count"); });
  expect("a.toml:6: ", "'names' must be a list of numbers", [&] { root.numbers("names", 0, 1); });
  expect("a.toml:8: ", "from 0 to 2", [&] { root.numbers("sizes", 0, 2); });
  expect("a.toml:2: ", "'count' must be a table", [&] { root.table("count"); });
  expect("a.toml:9: ", "list of tables: [[net]]", [&] { root.tables("net"); });
  expect("a.toml:6: ", "must hold tables only: [[names]]", [&] { root.tables("names"); });
  expect("a.toml:9: ", "unknown key 'net'; known here: title, count", [&] {
    parse("\n\n\n\n\n\n\n\n[net]\n").allow({"title", "count"});
  });
  expect("a.toml:10: ", "unknown key 'kind'", [&] { root.table("net").allow({"tiers"}); });
  expect("a.toml:2: ", "must be a table", [&] { root.named_tables(); });
  expect("a.toml:2: ", "'count' is odd", [&] { root.error("count", "is odd"); });
  root.table("absent").allow({});
}

TEST(Toml, NumbersAreFiniteAndWithinBounds) {
  const double huge = std::numeric_limits<double>::max();
  EXPECT_THAT(message_of([&] { parse("x = nan\n").number("x", -huge, huge); }), HasSubstr("must be from"));
  EXPECT_THAT(message_of([&] { parse("x = inf\n").number("x", -huge, huge); }), HasSubstr("must be from"));
  EXPECT_THAT(message_of([&] { parse("x = [nan]\n").numbers("x", -huge, huge); }), HasSubstr("from"));
  EXPECT_EQ(parse("x = 9007199254740993\n").number("x", 0, huge), 9007199254740992.0) << "beyond 2^53";
  EXPECT_EQ(parse("x = [9223372036854775807]\n").numbers("x", 0, huge).at(0), 9223372036854775807.0);
  EXPECT_EQ(parse("x = -9223372036854775808\n").integer("x", INT64_MIN, 0), INT64_MIN);
}

TEST(Toml, RefusesWhatIsNoToml) {
  EXPECT_THAT(message_of([] { parse("a = 1\nb =\n"); }), StartsWith("a.toml:2: not TOML: "));
  EXPECT_THAT(message_of([] { parse("a = 1\na = 2\n"); }), StartsWith("a.toml:2: not TOML: "));
  EXPECT_THAT(message_of([] { parse("d = 2024-02-30\n"); }), StartsWith("a.toml:1: not TOML: "));
  EXPECT_THAT(message_of([] { parse("s = \"\xff\"\n"); }), HasSubstr("not TOML"));
  EXPECT_THAT(message_of([] { parse("a = " + std::string(100'000, '[')); }), HasSubstr("not TOML"));
  EXPECT_THAT(message_of([] { parse(std::string((size_t{4} << 20) + 1, '\n')); }),
              HasSubstr("larger than 4 MiB"));
}

TEST(Toml, ReadsFiles) {
  const TempDir dir("fathom-toml-test");
  const auto path = dir.path() / "x.toml";
  write_file_atomic(path, "a = 1\nb = 'x'\n");
  EXPECT_EQ(TomlTable::read(path).integer("a", 0, 9), 1);
  EXPECT_THAT(message_of([&] { TomlTable::read(path).integer("b", 0, 9); }),
              StartsWith(path.string() + ":2: "));
  write_file_atomic(path, std::string((size_t{4} << 20) + 1, '\n'));
  EXPECT_THAT(message_of([&] { TomlTable::read(path); }), HasSubstr("larger than 4 MiB"));
  try {
    TomlTable::read(dir.path() / "absent.toml");
    FAIL() << "there is no such file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

TEST(Toml, DatesThereAndBack) {
  for (const char* text : {"1970-01-01", "2024-02-29", "2025-09-30", "2200-12-31"})
    EXPECT_EQ(format_date(parse_date(text)), text);
  for (const char* text : {"", "2025-9-30", "2025-13-01", "2025-02-29", "1969-12-31", "2201-01-01",
                           "2025/09/30", "2025-09-3x", "2025-00-10", "2025-01-00", "20250930  "})
    EXPECT_THAT(message_of([&] { parse_date(text); }), HasSubstr("is no date")) << text;
  EXPECT_THAT(message_of([] { parse("d = 1969-12-31\n").date("d"); }), HasSubstr("between 1970 and 2200"));
  EXPECT_THAT(message_of([] { parse("d = 2024-05-01T10:00:00\n").date("d"); }), HasSubstr("must be a date"));
}

}  // namespace
}  // namespace fathom
