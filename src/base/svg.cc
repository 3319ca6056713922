#include "base/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"

namespace fathom::svg {
namespace {

using std::chrono::sys_days;

constexpr double kWidth = 720;      // of the drawing's own units; it scales to the page
constexpr double kCharacter = 6.3;  // about the width of one at 12 units
constexpr size_t kMostLabel = 44;   // characters

// Mid-tones that differ in lightness too, and that both dark and light ground carry.
constexpr std::array<std::string_view, 8> kColours = {"#3b82c4", "#d9772b", "#3f9c5a", "#b0558f",
                                                      "#8a7a22", "#6b63c9", "#c24b4b", "#3c9a9e"};
std::string_view colour(size_t index) { return kColours[index % kColours.size()]; }

std::string number(double value) {
  std::string out = fmt::format("{:.2f}", value);
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out == "-0" ? "0" : out;
}

/// A figure for people: 1234567 as 1.23M.
std::string short_number(double value) {
  constexpr std::array<std::string_view, 6> kUnits = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  while (std::abs(value) >= 10'000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.4g}{}", value, kUnits[unit]);
}

std::string shortened(std::string_view text) {
  size_t at = 0, characters = 0;
  while (at < text.size() && characters < kMostLabel) {
    decode_utf8(text, at);
    ++characters;
  }
  return at < text.size() ? std::string(text.substr(0, at)) + "..." : std::string(text);
}

double text_width(std::string_view text) {
  size_t at = 0, characters = 0;
  while (at < text.size()) {
    decode_utf8(text, at);
    ++characters;
  }
  return kCharacter * static_cast<double>(characters);
}

/// Letters and digits of a title, for ids.
std::string slug(std::string_view title) {
  std::string out = "plot-";
  for (const char c : title) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      out += c;
    else if (c >= 'A' && c <= 'Z')
      out += static_cast<char>(c - 'A' + 'a');
    else if (out.back() != '-')
      out += '-';
  }
  return out;
}

/// The text of a drawing as it grows.
class Canvas {
 public:
  Canvas(const Heading& heading, double height) {
    const std::string id = slug(heading.title);
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"100%\" role=\"img\" "
        "aria-labelledby=\"{2}-title {2}-desc\" font-family=\"system-ui, sans-serif\" font-size=\"12\" "
        "fill=\"currentColor\">\n<title id=\"{2}-title\">{3}</title>\n<desc "
        "id=\"{2}-desc\">{4}</desc>\n",
        number(kWidth), number(height), id, escape(heading.title), escape(heading.description));
  }
  std::string finish() && { return std::move(out_) + "</svg>\n"; }

  void text(double x, double y, std::string_view words, std::string_view anchor = "start",
            std::string_view more = "") {
    out_ += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\"{}{}>{}</text>\n", number(x), number(y),
                        anchor, more.empty() ? "" : " ", more, escape(words));
  }
  void line(double x1, double y1, double x2, double y2, double opacity, std::string_view more = "") {
    out_ += fmt::format(
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"currentColor\" stroke-opacity=\"{}\"{}{}/>\n",
        number(x1), number(y1), number(x2), number(y2), number(opacity), more.empty() ? "" : " ", more);
  }
  void box(double x, double y, double width, double height, std::string_view fill, double opacity,
           std::string_view tip, std::string_view more = "") {
    out_ +=
        fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"{}\"{}{}>",
                    number(x), number(y), number(std::max(width, 0.0)), number(std::max(height, 0.0)), fill,
                    number(opacity), more.empty() ? "" : " ", more);
    tooltip(tip);
    out_ += "</rect>\n";
  }
  void path(std::string_view shape, std::string_view attributes, std::string_view tip) {
    out_ += fmt::format("<path d=\"{}\" {}>", shape, attributes);
    tooltip(tip);
    out_ += "</path>\n";
  }

 private:
  void tooltip(std::string_view tip) {
    if (!tip.empty()) out_ += "<title>" + escape(tip) + "</title>";
  }
  std::string out_;
};

struct Frame {
  double left = 64, right = kWidth - 16, top = 16, bottom = 300;
};
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// Something to draw on, even of nothing or of one value.
  void settle() {
    if (!(low <= high)) low = 0, high = 1;
    if (low == high) {
      const double around = low == 0 ? 1 : std::abs(low) * 0.1;
      low -= around;
      high += around;
    }
  }
};

/// Where a value lies on an axis.
struct Scale {
  double low, high, from, to;
  bool log = false;
  double operator()(double value) const {
    const double share = log ? (std::log(value) - std::log(low)) / (std::log(high) - std::log(low))
                             : (value - low) / (high - low);
    return from + std::clamp(share, 0.0, 1.0) * (to - from);
  }
};

std::string date_of(double x) {
  const std::chrono::year_month_day date(
      sys_days(std::chrono::days(static_cast<int>(std::clamp(std::round(x), -1e6, 1e6)))));
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

/// First days of months, as far apart as leaves about `count` of them.
std::vector<double> month_ticks(double low, double high, size_t count) {
  const double months = (high - low) / 30.4;
  int step = 120;
  for (const int candidate : {1, 2, 3, 6, 12, 24, 60})
    if (months / candidate <= static_cast<double>(count)) {
      step = candidate;
      break;
    }
  std::vector<double> out;
  const auto limit = [](double x) { return static_cast<int>(std::clamp(x, -1e6, 1e6)); };
  const std::chrono::year_month_day first{sys_days(std::chrono::days(limit(std::floor(low))))};
  const int index =
      static_cast<int>(first.year()) * 12 + static_cast<int>(static_cast<unsigned>(first.month())) - 1;
  for (int month = index - (index % step + step) % step; out.size() < 10 * count; month += step) {
    const int year = month >= 0 ? month / 12 : (month - 11) / 12;
    const sys_days day = std::chrono::year(year) / (month - year * 12 + 1) / 1;
    const double x = x_of(day);
    if (x > high) break;
    if (x >= low) out.push_back(x);
  }
  return out;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> out;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high * 1.0001; decade *= 10)
    for (const double times : {1.0, 2.0, 5.0})
      if (decade * times >= low * 0.9999 && decade * times <= high * 1.0001) out.push_back(decade * times);
  return out;
}

void y_axis(Canvas& canvas, const Frame& frame, const Scale& y, const std::string& label, bool percent) {
  for (const double tick : nice_ticks(y.low, y.high, 6)) {
    if (tick < y.low - 1e-9 * std::abs(y.low) || tick > y.high * (1 + 1e-9)) continue;
    canvas.line(frame.left, y(tick), frame.right, y(tick), 0.15);
    canvas.text(frame.left - 6, y(tick) + 4, percent ? number(tick * 100) + " %" : short_number(tick), "end");
  }
  const double middle = (frame.top + frame.bottom) / 2;
  if (!label.empty())
    canvas.text(14, middle, label, "middle", fmt::format("transform=\"rotate(-90 14 {})\"", number(middle)));
}

void x_axis(Canvas& canvas, const Frame& frame, const Scale& x, const std::string& label, bool dates) {
  const std::vector<double> ticks = dates   ? month_ticks(x.low, x.high, 9)
                                    : x.log ? log_ticks(x.low, x.high)
                                            : nice_ticks(x.low, x.high, 8);
  canvas.line(frame.left, frame.bottom, frame.right, frame.bottom, 0.6);
  double last = -kWidth;
  for (const double tick : ticks) {
    if (tick < x.low || tick > x.high) continue;
    const std::string words = dates ? date_of(tick).substr(0, 7) : short_number(tick);
    canvas.line(x(tick), frame.bottom, x(tick), frame.bottom + 4, 0.6);
    if (x(tick) - last < text_width(words) + 6) continue;
    canvas.text(x(tick), frame.bottom + 18, words, "middle");
    last = x(tick);
  }
  if (!label.empty()) canvas.text((frame.left + frame.right) / 2, frame.bottom + 36, label, "middle");
}

/// Coloured squares and names in rows below the plot; returns the height they take.
double legend_height(const std::vector<std::string>& names) {
  double x = 0, rows = names.empty() ? 0 : 1;
  for (const std::string& name : names) {
    const double width = 26 + text_width(shortened(name));
    if (x + width > kWidth - 80) x = 0, ++rows;
    x += width;
  }
  return rows * 18;
}

void legend(Canvas& canvas, double left, double top, const std::vector<std::string>& names) {
  double x = 0, y = top;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string name = shortened(names[i]);
    const double width = 26 + text_width(name);
    if (x + width > kWidth - 80) x = 0, y += 18;
    canvas.box(left + x, y - 10, 10, 10, colour(i), 1, "");
    canvas.text(left + x + 14, y, name);
    x += width;
  }
}

void marks(Canvas& canvas, const Frame& frame, const Scale& x, const std::vector<Mark>& all) {
  double row = 0;
  for (const Mark& mark : all) {
    if (!std::isfinite(mark.x) || mark.x < x.low || mark.x > x.high) continue;
    canvas.line(x(mark.x), frame.top, x(mark.x), frame.bottom, 0.8, "stroke-dasharray=\"4 3\"");
    const bool left = x(mark.x) > (frame.left + frame.right) / 2;
    canvas.text(x(mark.x) + (left ? -4 : 4), frame.top + 12 + row, mark.label, left ? "end" : "start");
    row += 15;
  }
}

bool drawable(double x, double y, bool log) {
  return std::isfinite(x) && std::isfinite(y) && (!log || x > 0);
}

/// "M x y L x y ...", broken where a value is missing.
std::string trace(const std::vector<double>& xs, const std::vector<double>& ys, const Scale& x,
                  const Scale& y, bool steps) {
  std::string out;
  bool open = false;
  double before = 0;
  for (size_t i = 0; i < std::min(xs.size(), ys.size()); ++i) {
    if (!drawable(xs[i], ys[i], x.log)) {
      open = false;
      continue;
    }
    if (open && steps) out += fmt::format("L{} {}", number(x(xs[i])), number(before));
    before = y(ys[i]);
    out += fmt::format("{}{} {}", open ? "L" : "M", number(x(xs[i])), number(before));
    open = true;
  }
  return out;
}

std::string area(const Line& line, const Scale& x, const Scale& y) {
  std::string out;
  const size_t count = std::min({line.x.size(), line.low.size(), line.high.size()});
  const auto point = [&](size_t i, double value) {
    if (drawable(line.x[i], value, x.log))
      out += fmt::format("{}{} {}", out.empty() ? "M" : "L", number(x(line.x[i])), number(y(value)));
  };
  for (size_t i = 0; i < count; ++i) point(i, line.high[i]);
  for (size_t i = count; i-- > 0;) point(i, line.low[i]);
  return out.empty() ? out : out + "Z";
}

/// Room at the left for names.
template <class Rows>
double name_room(const Rows& rows) {
  double out = 40;
  for (const auto& row : rows) out = std::max(out, text_width(shortened(row.name)) + 14);
  return std::min(out, kWidth * 0.45);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  const std::string clean = sanitize_utf8(text);
  for (const char c : clean) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else if (static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n')
      out += c;
  }
  return out;
}

std::vector<double> nice_ticks(double low, double high, size_t count) {
  if (!std::isfinite(low) || !std::isfinite(high) || !(low < high) || count == 0) return {low};
  const double rough = (high - low) / static_cast<double>(count);
  const double decade = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * decade;
  for (const double times : {1.0, 2.0, 5.0})
    if (decade * times >= rough * 0.999) {
      step = decade * times;
      break;
    }
  std::vector<double> out;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  if (!(step > 0) || !(last - first < 1000)) return {low, high};
  for (double k = first; k <= last; ++k) out.push_back(k * step);
  return out;
}

double x_of(sys_days day) { return static_cast<double>(day.time_since_epoch().count()); }

std::string line_plot(const LinePlot& plot) {
  Range xs, ys;
  for (const Line& line : plot.lines) {
    for (const double value : line.x)
      if (!plot.log_x || value > 0) xs.take(value);
    for (const auto* values : {&line.y, &line.low, &line.high})
      for (const double value : *values) ys.take(value);
  }
  if (plot.from_zero) ys.take(0);
  xs.settle();
  ys.settle();
  const bool log = plot.log_x && xs.low > 0;
  if (plot.percent)
    ys = {0, std::max(1.0, ys.high)};
  else {
    const std::vector<double> ticks = nice_ticks(ys.low, ys.high, 6);
    ys = {ticks.front(), ticks.back()};
  }
  std::vector<std::string> names;
  for (const Line& line : plot.lines) names.push_back(line.name);
  if (names.size() == 1 && names[0].empty()) names.clear();
  Frame frame;
  const double keys = legend_height(names), below = plot.x_label.empty() ? 26 : 44;
  Canvas canvas(plot.heading, frame.bottom + below + keys + 6);
  const Scale x{xs.low, xs.high, frame.left, frame.right, log}, y{ys.low, ys.high, frame.bottom, frame.top};
  y_axis(canvas, frame, y, plot.y_label, plot.percent);
  x_axis(canvas, frame, x, plot.x_label, plot.dates);
  for (size_t i = 0; i < plot.lines.size(); ++i)
    if (const std::string shape = area(plot.lines[i], x, y); !shape.empty())
      canvas.path(shape, fmt::format("fill=\"{}\" fill-opacity=\"0.22\" stroke=\"none\"", colour(i)),
                  plot.lines[i].name);
  for (size_t i = 0; i < plot.lines.size(); ++i)
    canvas.path(
        trace(plot.lines[i].x, plot.lines[i].y, x, y, plot.lines[i].steps),
        fmt::format("fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"", colour(i)),
        plot.lines[i].name);
  marks(canvas, frame, x, plot.marks);
  legend(canvas, frame.left, frame.bottom + below + 14, names);
  return std::move(canvas).finish();
}

std::string stacked_bars(const StackedBars& plot) {
  const size_t bars = plot.bars.size();
  const auto value = [](const StackedBars::Part& part, size_t bar) {
    return bar < part.values.size() && std::isfinite(part.values[bar]) ? std::max(part.values[bar], 0.0)
                                                                       : 0.0;
  };
  Range ys;
  ys.take(0);
  for (size_t b = 0; b < bars; ++b) {
    double sum = 0;
    for (const auto& part : plot.parts) sum += value(part, b);
    ys.take(sum);
    if (plot.line) ys.take(value(*plot.line, b));
  }
  if (ys.high <= 0) ys.high = 1;
  ys.high = nice_ticks(0, ys.high, 6).back();
  std::vector<std::string> names;
  for (const auto& part : plot.parts) names.push_back(part.name);
  if (plot.line) names.push_back(plot.line->name);
  Frame frame;
  Canvas canvas(plot.heading, frame.bottom + 32 + legend_height(names));
  const Scale y{0, ys.high, frame.bottom, frame.top};
  y_axis(canvas, frame, y, plot.y_label, false);
  canvas.line(frame.left, frame.bottom, frame.right, frame.bottom, 0.6);
  const double slot = (frame.right - frame.left) / static_cast<double>(std::max<size_t>(bars, 1));
  double last = -kWidth;
  for (size_t b = 0; b < bars; ++b) {
    const double x = frame.left + slot * static_cast<double>(b);
    double sum = 0;
    for (size_t p = 0; p < plot.parts.size(); ++p) {
      const double part = value(plot.parts[p], b);
      if (part <= 0) continue;
      canvas.box(x + slot * 0.1, y(sum + part), slot * 0.8, y(sum) - y(sum + part), colour(p), 0.9,
                 fmt::format("{}, {}: {}", plot.bars[b], plot.parts[p].name, short_number(part)));
      sum += part;
    }
    const std::string name = shortened(plot.bars[b]);
    if (x + slot / 2 - last < text_width(name) + 6) continue;
    canvas.text(x + slot / 2, frame.bottom + 18, name, "middle");
    last = x + slot / 2;
  }
  if (plot.line && bars > 0) {
    std::vector<double> xs, values;
    for (size_t b = 0; b <= bars; ++b) {
      xs.push_back(static_cast<double>(b));
      values.push_back(value(*plot.line, std::min(b, bars - 1)));
    }
    const Scale x{0, static_cast<double>(bars), frame.left, frame.right};
    canvas.path(trace(xs, values, x, y, true),
                fmt::format("fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\"", colour(plot.parts.size())),
                plot.line->name);
  }
  legend(canvas, frame.left, frame.bottom + 42, names);
  return std::move(canvas).finish();
}

std::string breakdown(const Breakdown& plot) {
  double sum = 0;
  for (const auto& part : plot.parts)
    if (std::isfinite(part.value)) sum += std::max(part.value, 0.0);
  std::vector<std::string> names;
  for (const auto& part : plot.parts)
    names.push_back(part.shown.empty() ? part.name : part.name + " " + part.shown);
  Canvas canvas(plot.heading, 52 + legend_height(names));
  double x = 8;
  for (size_t i = 0; i < plot.parts.size(); ++i) {
    const double value = plot.parts[i].value;
    if (!std::isfinite(value) || value <= 0 || sum <= 0) continue;
    const double width = (kWidth - 16) * value / sum;
    const std::string share = fmt::format("{:.0f} %", 100 * value / sum);
    canvas.box(x, 4, width - 1, 30, colour(i), 0.9, fmt::format("{} ({})", names[i], share));
    if (width > text_width(share) + 8)
      canvas.text(x + width / 2, 23, share, "middle", "fill=\"#fff\" pointer-events=\"none\"");
    x += width;
  }
  legend(canvas, 8, 54, names);
  return std::move(canvas).finish();
}

std::string tornado(const Tornado& plot) {
  const double scale = plot.scale != 0 && std::isfinite(plot.scale) ? plot.scale : 1;
  Range xs;
  xs.take(plot.middle / scale);
  for (const auto& row : plot.rows) {
    xs.take(row.low / scale);
    xs.take(row.high / scale);
  }
  xs.settle();
  const double margin = (xs.high - xs.low) * 0.08;
  Frame frame;
  frame.left = name_room(plot.rows);
  frame.bottom = frame.top + 26 * static_cast<double>(std::max<size_t>(plot.rows.size(), 1)) + 4;
  Canvas canvas(plot.heading, frame.bottom + 46);
  const Scale x{xs.low - margin, xs.high + margin, frame.left, frame.right};
  x_axis(canvas, frame, x, plot.unit, false);
  const bool centred = std::isfinite(plot.middle);
  const double middle = x(centred ? plot.middle / scale : xs.low);
  for (size_t i = 0; i < plot.rows.size(); ++i) {
    const auto& row = plot.rows[i];
    const double y = frame.top + 26 * static_cast<double>(i) + 4;
    canvas.text(frame.left - 8, y + 14, shortened(row.name), "end");
    const auto side = [&](double value, std::string_view fill, std::string_view what) {
      if (!std::isfinite(value)) return;
      const double to = x(value / scale);
      canvas.box(std::min(to, middle), y, std::abs(to - middle), 18, fill, 0.9,
                 fmt::format("{}, {}: {} {}", row.name, what, short_number(value / scale), plot.unit));
    };
    side(row.low, colour(0), "low");
    side(row.high, colour(1), "high");
  }
  if (centred) canvas.line(middle, frame.top, middle, frame.bottom, 0.8);
  return std::move(canvas).finish();
}

std::string gantt(const Gantt& plot) {
  Range xs;
  for (const auto& row : plot.rows) {
    xs.take(x_of(row.start));
    xs.take(x_of(row.finish_p90));
    xs.take(x_of(row.finish_p50));
  }
  for (const auto& [day, label] : plot.marks) xs.take(x_of(day));
  xs.settle();
  Frame frame;
  frame.left = name_room(plot.rows);
  frame.top = 4 + 16 * static_cast<double>(plot.marks.size());
  frame.bottom = frame.top + 20 * static_cast<double>(std::max<size_t>(plot.rows.size(), 1)) + 4;
  Canvas canvas(plot.heading, frame.bottom + 30);
  const Scale x{xs.low, xs.high + (xs.high - xs.low) * 0.02, frame.left, frame.right};
  x_axis(canvas, frame, x, "", true);
  for (size_t i = 0; i < plot.rows.size(); ++i) {
    const auto& row = plot.rows[i];
    const double y = frame.top + 20 * static_cast<double>(i) + 4;
    const double from = x(x_of(row.start)), to = x(x_of(row.finish_p50));
    const double early = x(x_of(row.finish_p10)), late = x(x_of(row.finish_p90));
    const double weight = std::isfinite(row.weight) ? std::clamp(row.weight, 0.0, 1.0) : 0;
    canvas.text(frame.left - 8, y + 11, shortened(row.name), "end");
    canvas.box(from, y, std::max(to - from, 1.5), 13, weight > 0.5 ? colour(6) : colour(0),
               0.45 + 0.5 * weight,
               fmt::format("{}: {} to {} (80 of 100: {} to {}), on the longest path in {:.0f} %", row.name,
                           date_of(x_of(row.start)), date_of(x_of(row.finish_p50)),
                           date_of(x_of(row.finish_p10)), date_of(x_of(row.finish_p90)), 100 * weight));
    canvas.line(early, y + 6.5, late, y + 6.5, 0.9);
    canvas.line(early, y + 3, early, y + 10, 0.9);
    canvas.line(late, y + 3, late, y + 10, 0.9);
  }
  double row = 0;
  for (const auto& [day, label] : plot.marks) {
    const double at = x(x_of(day));
    const bool left = at > (frame.left + frame.right) / 2;
    canvas.line(at, row + 4, at, frame.bottom, 0.8, "stroke-dasharray=\"4 3\"");
    canvas.text(at + (left ? -4 : 4), row + 14, label, left ? "end" : "start");
    row += 16;
  }
  return std::move(canvas).finish();
}

std::string heat_map(const HeatMap& plot) {
  Range range;
  for (const auto& row : plot.values)
    for (const double value : row) range.take(value);
  range.settle();
  double names = 40;
  for (const std::string& row : plot.rows) names = std::max(names, text_width(shortened(row)) + 14);
  const double left = std::min(names, kWidth * 0.4) + (plot.y_label.empty() ? 0 : 20);
  const double slot =
      std::min(80.0, (kWidth - left - 8) / static_cast<double>(std::max<size_t>(plot.columns.size(), 1)));
  constexpr double kRow = 26, kTop = 8;
  const double bottom = kTop + kRow * static_cast<double>(plot.rows.size());
  Canvas canvas(plot.heading, bottom + (plot.x_label.empty() ? 24 : 42));
  for (size_t r = 0; r < std::min(plot.rows.size(), plot.values.size()); ++r) {
    const double y = kTop + kRow * static_cast<double>(r);
    canvas.text(left - 8, y + 17, shortened(plot.rows[r]), "end");
    for (size_t c = 0; c < std::min(plot.columns.size(), plot.values[r].size()); ++c) {
      const double value = plot.values[r][c], x = left + slot * static_cast<double>(c);
      if (!std::isfinite(value)) {
        canvas.box(x, y, slot - 2, kRow - 2, "currentColor", 0.06,
                   fmt::format("{}, {}: none", plot.rows[r], plot.columns[c]));
        continue;
      }
      const double share = (value - range.low) / (range.high - range.low);
      const double good = plot.less_is_better ? 1 - share : share;
      const bool has_text = r < plot.shown.size() && c < plot.shown[r].size();
      const std::string shown = has_text ? plot.shown[r][c] : short_number(value);
      canvas.box(x, y, slot - 2, kRow - 2, colour(0), 0.12 + 0.88 * good,
                 fmt::format("{}, {}: {}", plot.rows[r], plot.columns[c], shown));
      if (slot > text_width(shown) + 4)
        canvas.text(x + slot / 2 - 1, y + 17, shown, "middle",
                    good > 0.55 ? "fill=\"#fff\" pointer-events=\"none\"" : "pointer-events=\"none\"");
    }
  }
  for (size_t c = 0; c < plot.columns.size(); ++c)
    canvas.text(left + slot * (static_cast<double>(c) + 0.5), bottom + 15, shortened(plot.columns[c]),
                "middle");
  const double middle = (kTop + bottom) / 2;
  if (!plot.y_label.empty())
    canvas.text(12, middle, plot.y_label, "middle",
                fmt::format("transform=\"rotate(-90 12 {})\"", number(middle)));
  if (!plot.x_label.empty())
    canvas.text(left + slot * static_cast<double>(plot.columns.size()) / 2, bottom + 34, plot.x_label,
                "middle");
  return std::move(canvas).finish();
}

std::string network_drawing(const NetworkDrawing& plot) {
  constexpr size_t kMostBoxes = 24;
  constexpr double kTier = 76, kBox = 20;
  const size_t tiers = plot.tiers.size();
  Canvas canvas(plot.heading, kTier * static_cast<double>(std::max<size_t>(tiers, 1)) + 8);
  const double left = 190, right = kWidth - 16;
  const auto shown = [&](size_t t) {
    return std::max<size_t>(1, std::min<size_t>(plot.tiers[t].count, kMostBoxes));
  };
  const auto x_at = [&](size_t t, size_t box) {
    const double slot = (right - left) / static_cast<double>(shown(t));
    return left + slot * (static_cast<double>(box) + 0.5);
  };
  const auto y_at = [&](size_t t) { return 8 + kTier * static_cast<double>(tiers - 1 - t) + 16; };
  for (size_t t = 0; t + 1 < tiers; ++t)
    for (size_t from = 0; from < shown(t); ++from) {
      // Chips join the domain above them; each box of a tier joins many above it, of which a few lines are drawn.
      const size_t above = shown(t + 1), links = t == 0 ? 1 : std::min<size_t>(above, 3);
      const size_t first = from * above / shown(t);
      for (size_t k = 0; k < links; ++k)
        canvas.line(x_at(t, from), y_at(t),
                    x_at(t + 1, (first + k * std::max<size_t>(above / links, 1)) % above), y_at(t + 1) + kBox,
                    0.22);
    }
  for (size_t t = 0; t < tiers; ++t) {
    const auto& tier = plot.tiers[t];
    const double width = std::min(34.0, (right - left) / static_cast<double>(shown(t)) * 0.8);
    for (size_t box = 0; box < shown(t); ++box)
      canvas.box(x_at(t, box) - width / 2, y_at(t), width, kBox, colour(t), 0.95,
                 fmt::format("{}: {}", tier.name, tier.detail), "rx=\"3\"");
    canvas.text(8, y_at(t) + 8, shortened(tier.name), "start", "font-weight=\"600\"");
    if (tier.count > kMostBoxes) canvas.text(right + 12, y_at(t) + 14, "...", "end");
    // The detail below the name, in two lines where it is long.
    const std::string detail = shortened(tier.detail);
    const size_t comma = detail.find(", ");
    canvas.text(8, y_at(t) + 23, comma == std::string::npos ? detail : detail.substr(0, comma), "start",
                "fill-opacity=\"0.75\" font-size=\"11\"");
    if (comma != std::string::npos)
      canvas.text(8, y_at(t) + 37, detail.substr(comma + 2), "start",
                  "fill-opacity=\"0.75\" font-size=\"11\"");
  }
  return std::move(canvas).finish();
}

}  // namespace fathom::svg
