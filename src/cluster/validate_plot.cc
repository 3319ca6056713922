#include "cluster/validate_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>

namespace fathom::cluster {
namespace {

constexpr double kWidth = 860, kHeight = 420, kLeft = 60, kBottom = 40, kTop = 14, kRight = 14;
constexpr double kMost = 0.5;  // of error, either way; points beyond lie on the edge
constexpr std::array<std::string_view, 8> kColours = {"#2563eb", "#dc2626", "#059669", "#d97706",
                                                      "#7c3aed", "#0891b2", "#be185d", "#4b5563"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char ch : text) {
    switch (ch) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out.push_back(static_cast<unsigned char>(ch) < 0x20 ? ' ' : ch);
    }
  }
  return out;
}

double y_of(double error) {
  const double share = (kMost - std::clamp(error, -kMost, kMost)) / (2 * kMost);
  return kTop + share * (kHeight - kTop - kBottom);
}

std::string axis() {
  std::string out;
  for (int percent = -50; percent <= 50; percent += 25) {
    const double y = y_of(percent / 100.0);
    out += fmt::format(
        R"(<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="currentColor" stroke-opacity="{}"/>)"
        R"(<text x="{}" y="{:.1f}" text-anchor="end" font-size="11" fill="currentColor">{:+d} %</text>)",
        kLeft, kWidth - kRight, y, y, percent == 0 ? 0.8 : 0.2, kLeft - 6, y + 4, percent);
  }
  return out;
}

/// Each row a point: across by its place within its set, up by its error; sets side by side.
std::string plot(const ValidationResult& result) {
  std::map<std::string, std::vector<const ValidationRow*>> sets;
  size_t count = 0;
  for (const ValidationRow& row : result.rows)
    if (row.skipped.empty()) {
      sets[row.set].push_back(&row);
      ++count;
    }
  std::string out =
      fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="error of each run">)", kWidth, kHeight);
  out += axis();
  const double step = (kWidth - kLeft - kRight) / static_cast<double>(std::max<size_t>(count, 1));
  double x = kLeft;
  size_t colour = 0;
  for (const auto& [set, rows] : sets) {
    const std::string_view fill = kColours[colour++ % kColours.size()];
    out += fmt::format(R"(<g fill="{}" fill-opacity="0.65">)", fill);
    const double begin = x;
    for (const ValidationRow* row : rows) {
      out +=
          fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:+.1f} %</title></circle>)", x,
                      y_of(row->error()), row->fitted ? 4.5 : 2.5, escaped(row->label), 100 * row->error());
      x += step;
    }
    out += fmt::format(
        R"svg(<text x="{:.1f}" y="{}" font-size="10" fill-opacity="1" transform="rotate(12 {:.1f} {})">{}</text></g>)svg",
        begin, kHeight - kBottom + 16, begin, kHeight - kBottom + 16, escaped(set));
  }
  return out + "</svg>";
}

std::string table(const ValidationResult& result) {
  std::string out =
      "<table><tr><th>runs</th><th>rows</th><th>mean</th><th>median</th><th>bias</th><th>worst</th><th>over "
      "25 %</th>"
      "<th>not replayed</th></tr>";
  for (const ValidationGroup& g : result.groups)
    out += fmt::format(
        "<tr{}><td>{}</td><td>{}</td><td>{:.1f} %</td><td>{:.1f} %</td><td>{:+.1f} %</td><td>{:+.1f} "
        "%</td><td>{}</td>"
        "<td>{}</td></tr>",
        g.is_set ? "" : " class=\"group\"", escaped(g.name), g.rows, 100 * g.mean_absolute_error,
        100 * g.median_absolute_error, 100 * g.bias, 100 * g.worst, g.over_25, g.skipped);
  return out + "</table>";
}

}  // namespace

std::string validation_html(const ValidationResult& result) {
  return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Predicted against "
         "measured</title><style>"
         "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 "
         "1rem;color-scheme:light dark}"
         "td,th{padding:.15rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"
         "tr.group{font-weight:600}</style><h1>Predicted against measured</h1><p>Error of the predicted time "
         "of each run; "
         "above zero the prediction is too slow. Large points are runs that constants were fitted on; errors "
         "beyond 50 % "
         "lie on the edge.</p>" +
         plot(result) + table(result) + "</html>\n";
}

}  // namespace fathom::cluster
