// Plots as SVG texts to be put into a page: no script, no style sheet, nothing fetched.
//
// They take the page's own colour (currentColor) for text and axes, and mid-tones that stand out on light and dark ground
// for data; they scale to the width they are given. Each has a title and a description for those who hear the page, and a
// tooltip on every mark. All texts are escaped; numbers that are not finite are left out. Pure functions; thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::svg {

/// What every plot has. `description` says in words what is to be seen; the title also makes the plot's ids, so give each
/// plot of a page a title of its own.
struct Heading {
  std::string title, description;
};

/// A line, and around it a band where `low` and `high` are given. All vectors as long as `x`; `x` ascends.
struct Line {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low, high;  // or empty
  bool steps = false;             // holds each value until the next
};
struct Mark {  // a vertical line
  double x = 0;
  std::string label;
};
struct LinePlot {
  Heading heading;
  std::string x_label, y_label;
  bool dates = false;    // x is in days since 1970: x_of()
  bool percent = false;  // y from 0 to 1, shown from 0 to 100 %
  bool log_x = false;
  bool from_zero = true;  // the y axis
  std::vector<Line> lines;
  std::vector<Mark> marks;
};
double x_of(std::chrono::sys_days day);
std::string line_plot(const LinePlot& plot);

/// Bars side by side, each of stacked parts; a line over them (what is available, against what is drawn).
struct StackedBars {
  Heading heading;
  std::string y_label;
  std::vector<std::string> bars;  // their names, e.g. months
  struct Part {
    std::string name;
    std::vector<double> values;  // one a bar, at least 0
  };
  std::vector<Part> parts;  // from the ground up
  std::optional<Part> line;
};
std::string stacked_bars(const StackedBars& plot);

/// One bar of parts: the breakdown of a cost, largest first.
struct Breakdown {
  Heading heading;
  struct Part {
    std::string name;
    double value = 0;
    std::string shown;  // "1.2 B USD"
  };
  std::vector<Part> parts;
};
std::string breakdown(const Breakdown& plot);

/// What moves a total most: bars to both sides of its middle, widest first.
struct Tornado {
  Heading heading;
  std::string unit;  // of the axis, e.g. "billion USD"
  double scale = 1;  // values are divided by it
  double middle = 0;
  struct Row {
    std::string name;
    double low = 0, high = 0;
  };
  std::vector<Row> rows;
};
std::string tornado(const Tornado& plot);

/// Bars from the middle start to the middle end, with the range of the end (10th to 90th percentile) on top.
struct Gantt {
  Heading heading;
  struct Row {
    std::string name;
    std::chrono::sys_days start, finish_p10, finish_p50, finish_p90;
    double weight = 0;  // 0..1, e.g. criticality: how strong the colour is
  };
  std::vector<Row> rows;
  std::vector<std::pair<std::chrono::sys_days, std::string>> marks;
};
std::string gantt(const Gantt& plot);

/// A table of coloured cells; NaN: an empty one.
struct HeatMap {
  Heading heading;
  std::string x_label, y_label;
  std::vector<std::string> columns, rows;
  std::vector<std::vector<double>> values;      // [row][column]
  std::vector<std::vector<std::string>> shown;  // in the cell; or empty
  bool less_is_better = false;
};
std::string heat_map(const HeatMap& plot);

/// The tiers of a network, chips at the ground: a row of boxes a tier, joined to the row above.
struct NetworkDrawing {
  Heading heading;
  struct Tier {
    std::string name;    // "leaf"
    std::string detail;  // "3,136 switches, 50 GB/s a chip"
    uint64_t count = 0;  // how many there are; so many boxes are drawn as fit, and dots for the rest
  };
  std::vector<Tier> tiers;  // from the ground up
};
std::string network_drawing(const NetworkDrawing& plot);

/// Round values from at or below `low` to at or above `high`, about `count` of them (1, 2 or 5 times a power of ten).
std::vector<double> nice_ticks(double low, double high, size_t count);
/// "<" and the like written as entities; what XML does not allow left out.
std::string escape(std::string_view text);

}  // namespace fathom::svg
