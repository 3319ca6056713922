#include "base/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace fathom::svg {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

size_t count(const std::string& text, const std::string& part) {
  size_t out = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++out;
  return out;
}

/// Tags are closed in the order in which they were opened, and attributes are quoted.
bool is_well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const size_t end = text.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (count(tag, "\"") % 2 != 0 || tag.find('<') != std::string::npos) return false;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
  }
  return open.empty();
}

void expect_plot(const std::string& svg, const std::string& title) {
  EXPECT_TRUE(is_well_formed(svg)) << svg;
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  EXPECT_THAT(svg, HasSubstr("role=\"img\""));
  EXPECT_THAT(svg, HasSubstr(">" + title + "</title>"));
  EXPECT_THAT(svg, HasSubstr("<desc "));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_THAT(svg, Not(HasSubstr("<script")));
}

const Heading kHeading{"A <title>", "What & why"};
const std::string kTitle = "A &lt;title&gt;";

TEST(Svg, TicksAreRound) {
  EXPECT_THAT(nice_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(nice_ticks(0, 0.93, 5),
              ElementsAre(0, 0.2, testing::DoubleEq(0.4), testing::DoubleNear(0.6, 1e-12),
                          testing::DoubleEq(0.8), 1));
  EXPECT_THAT(nice_ticks(-3, 12, 3), ElementsAre(-5, 0, 5, 10, 15));
  EXPECT_EQ(nice_ticks(5, 5, 4).size(), 1u);
  EXPECT_EQ(nice_ticks(0, kNone, 4).size(), 1u);
  for (const double high : {1e-12, 3.7, 1e15}) {
    const auto ticks = nice_ticks(0, high, 6);
    EXPECT_GE(ticks.back(), high);
    EXPECT_LE(ticks.size(), 9u);
    EXPECT_GE(ticks.size(), 4u);
  }
}

TEST(Svg, TextsAreEscaped) {
  EXPECT_EQ(escape("<b a='1'>&\"\x01\n"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;\n");
  EXPECT_EQ(escape("\xff"), "\xEF\xBF\xBD");
}

TEST(Svg, DrawsLinesWithTheirBand) {
  LinePlot plot;
  plot.heading = kHeading;
  plot.dates = plot.percent = true;
  const double from = x_of(std::chrono::year(2024) / 5 / 1);
  plot.lines.push_back(
      {"share <x>", {from, from + 100, from + 200}, {0, 0.5, 1}, {0, 0.25, 0.75}, {0, 0.75, 1}});
  plot.lines.push_back({"gap", {from, from + 100, from + 200}, {0.1, kNone, 0.3}, {}, {}, true});
  plot.marks.push_back({from + 150, "target"});
  plot.marks.push_back({kNone, "nowhere"});
  const std::string svg = line_plot(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("2024-07"));
  EXPECT_THAT(svg, HasSubstr(">100 %<"));
  EXPECT_THAT(svg, HasSubstr("share &lt;x&gt;"));
  EXPECT_THAT(svg, HasSubstr(">target<"));
  EXPECT_THAT(svg, Not(HasSubstr("nowhere")));
  EXPECT_EQ(count(svg, "<path "), 3u);  // a band and two lines
  // From the lower left to the upper right of the frame.
  EXPECT_THAT(svg, HasSubstr("d=\"M64 300L384 158L704 16\""));
}

TEST(Svg, AnAxisMayBeLogarithmic) {
  LinePlot plot;
  plot.heading = kHeading;
  plot.log_x = true;
  plot.lines.push_back({"", {1, 10, 100}, {0, 5, 10}, {}, {}});
  const std::string svg = line_plot(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("L384 158"));  // 10 is the middle of 1 and 100
}

TEST(Svg, StacksBars) {
  StackedBars plot;
  plot.heading = kHeading;
  plot.bars = {"2024-05", "2024-06"};
  plot.parts = {{"grid", {100, 50}}, {"generators", {0, 50}}};
  plot.line = StackedBars::Part{"needed", {120, 120}};
  const std::string svg = stacked_bars(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("2024-06, generators: 50"));
  EXPECT_THAT(svg, Not(HasSubstr("2024-05, generators")));  // nothing to draw
  EXPECT_EQ(count(svg, "<rect "), 3u + 3u);                 // and the legend's
}

TEST(Svg, BreaksATotalDown) {
  Breakdown plot;
  plot.heading = kHeading;
  plot.parts = {{"chips", 3, "3 B"}, {"network", 1, ""}, {"nothing", 0, ""}, {"unknown", kNone, ""}};
  const std::string svg = breakdown(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr(">75 %<"));
  EXPECT_THAT(svg, HasSubstr("chips 3 B (75 %)"));
}

TEST(Svg, DrawsATornado) {
  Tornado plot;
  plot.heading = kHeading;
  plot.unit = "billion USD";
  plot.scale = 1e9;
  plot.middle = 5e9;
  plot.rows = {{"chips", 4e9, 6e9}, {"power", 4.9e9, 5.1e9}};
  const std::string svg = tornado(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("chips, high: 6 billion USD"));
  EXPECT_EQ(count(svg, "<rect "), 4u);
}

TEST(Svg, DrawsAGantt) {
  const auto day = [](int n) {
    return std::chrono::sys_days(std::chrono::year(2024) / 5 / 1) + std::chrono::days(n);
  };
  Gantt plot;
  plot.heading = kHeading;
  plot.rows = {{"grid", day(0), day(80), day(100), day(150), 0.9},
               {"racks", day(50), day(90), day(90), day(95), 0}};
  plot.marks = {{day(120), "target"}};
  const std::string svg = gantt(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("grid: 2024-05-01 to 2024-08-09 (80 of 100: 2024-07-20 to 2024-09-28)"));
  EXPECT_THAT(svg, HasSubstr(">target<"));
}

TEST(Svg, DrawsAHeatMapWithHoles) {
  HeatMap plot;
  plot.heading = kHeading;
  plot.rows = {"tp 1", "tp 8"};
  plot.columns = {"pp 1", "pp 4"};
  plot.values = {{kNone, 2}, {3, 4}};
  plot.less_is_better = true;
  const std::string svg = heat_map(plot);
  expect_plot(svg, kTitle);
  EXPECT_THAT(svg, HasSubstr("tp 1, pp 1: none"));
  EXPECT_THAT(svg, HasSubstr("tp 8, pp 4: 4"));
}

TEST(Svg, DrawsANetwork) {
  NetworkDrawing plot;
  plot.heading = kHeading;
  plot.tiers = {
      {"chips", "100,000", 100'000}, {"leaf", "1,600 switches, 50 GB/s a chip", 1600}, {"core", "4", 4}};
  const std::string svg = network_drawing(plot);
  expect_plot(svg, kTitle);
  EXPECT_EQ(count(svg, "<rect "), 24u + 24u + 4u);
  EXPECT_EQ(count(svg, ">...<"), 2u);
}

TEST(Svg, NothingToDrawIsNoTrouble) {
  for (const std::string& svg :
       {line_plot(
            {kHeading, "", "", true, false, true, false, {{"", {kNone}, {kNone}, {kNone}, {kNone}}}, {}}),
        stacked_bars({kHeading, "", {}, {{"a", {}}}, {}}), breakdown({kHeading, {}}),
        tornado({kHeading, "", 0, kNone, {{"a", kNone, kNone}}}), gantt({kHeading, {}, {}}),
        heat_map({kHeading, "", "", {}, {}, {}, {}, false}),
        heat_map({kHeading, "", "", {"a"}, {"b"}, {}, {}, false}), network_drawing({kHeading, {}})})
    expect_plot(svg, kTitle);
}

}  // namespace
}  // namespace fathom::svg
