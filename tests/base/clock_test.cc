#include "base/clock.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/random.h"

namespace fathom {
namespace {

using namespace std::chrono_literals;

TEST(FormatTime, WritesRfc3339) {
  EXPECT_EQ(format_time(Time{}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(Time(1795415700s)), "2026-11-23T06:35:00Z");
  EXPECT_EQ(format_time(Time(1500000us)), "1970-01-01T00:00:01.500000Z");
  EXPECT_EQ(format_time(Time(1us)), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(format_time(Time(-1us)), "1969-12-31T23:59:59.999999Z");
}

TEST(ParseTime, ReadsEveryForm) {
  const auto expect = [](std::string_view text, Time time) {
    const auto parsed = parse_time(text);
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_EQ(*parsed, time) << text << " was read as " << format_time(*parsed);
  };
  const Time t(1795415700s);
  expect("2026-11-23T06:35:00Z", t);
  expect("2026-11-23t06:35:00z", t);
  expect("2026-11-23 06:35:00Z", t);
  expect("2026-11-23T08:35:00+02:00", t);
  expect("2026-11-23T08:35:00+0200", t);
  expect("2026-11-22T23:05:00-07:30", t);
  expect("2026-11-23T06:35:00.25Z", t + 250ms);
  expect("2026-11-23T06:35:00,25Z", t + 250ms);
  expect("2026-11-23T06:35:00.1234567891234Z", t + 123456us);
  expect("2026-11-23T06:34:60Z", t);
  expect("2026-11-23", Time(1795392000s));
  expect("2024-02-29T00:00:00Z", Time(1709164800s));
  expect("0001-01-01", Time(-62135596800s));
  expect("9999-12-31T23:59:59Z", Time(253402300799s));
}

TEST(ParseTime, RefusesTheRest) {
  for (const char* text : {"",
                           "2026",
                           "2026-11",
                           "2026-13-01",
                           "2026-00-01",
                           "2026-01-00",
                           "2026-02-30",
                           "2023-02-29",
                           "1900-02-29",
                           "0000-01-01",
                           "2026-11-23T",
                           "2026-11-23T06",
                           "2026-11-23T06:35",
                           "2026-11-23T06:35:00",
                           "2026-11-23T24:00:00Z",
                           "2026-11-23T06:60:00Z",
                           "2026-11-23T06:35:61Z",
                           "2026-11-23T06:35:00.Z",
                           "2026-11-23T06:35:00ZZ",
                           "2026-11-23T06:35:00+2",
                           "2026-11-23T06:35:00+24:00",
                           "2026-11-23T06:35:00+00:60",
                           "2026-11-23T06:35:00+",
                           "26-11-23",
                           "+2026-11-23",
                           "2026/11/23",
                           "2026-11-2",
                           "2026-11-233",
                           " 2026-11-23",
                           "2026-11-23 ",
                           "now",
                           "2026-1 -23",
                           "20 6-11-23",
                           "2026-11-23T-6:35:00Z"})
    EXPECT_FALSE(parse_time(text).has_value()) << text;
}

TEST(ParseTime, ReadsBackWhatIsWritten) {
  Random random(1);
  for (int i = 0; i < 20000; ++i) {
    const Time time(Micros(static_cast<int64_t>(random.below(250000000000000000)) - 60000000000000000));
    const auto text = format_time(time);
    ASSERT_EQ(parse_time(text), time) << text;
  }
}

TEST(ParseTime, AnOffsetDoesNotLeaveTheYears) {  // 1..9999 hold for the moment meant, not only for the digits
  for (const char* text : {"9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+00:01"})
    EXPECT_FALSE(parse_time(text).has_value()) << text;
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock(Time(5s));
  EXPECT_EQ(clock.now(), Time(5s));
  EXPECT_TRUE(clock.sleep(10s, {}));
  EXPECT_EQ(clock.now(), Time(15s));
  clock.set(Time(1s));
  EXPECT_EQ(clock.now(), Time(1s));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(clock.sleep(1s, stop.get_token()));
}

TEST(SystemClock, SleepsAndIsWoken) {
  const SystemClock clock;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(clock.sleep(20ms, {}));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 19ms);
  EXPECT_TRUE(clock.sleep(-5s, {}));
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_FALSE(clock.sleep(1h, stop.get_token()));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1min);
}

TEST(SystemClock, TellsTheTime) {
  const auto reference = std::chrono::time_point_cast<Micros>(std::chrono::system_clock::now());
  const Time now = SystemClock().now();
  EXPECT_GE(now, reference - 1s);
  EXPECT_LT(now, reference + 1min);
}

}  // namespace
}  // namespace fathom
