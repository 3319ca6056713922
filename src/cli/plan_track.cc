// fathom plan track: what has happened against what was planned, week by week.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/toml.h"
#include "cli/plan_commands.h"
#include "cli/scenario_options.h"
#include "cli/show.h"
#include "cluster/json.h"
#include "cluster/schedule.h"

namespace fathom::cli {
namespace {

using cluster::ScheduleResult;
using cluster::TrackResult;
using std::chrono::sys_days;

struct Options {
  std::string scenario;
  std::vector<std::filesystem::path> reports;
  std::string today;
  bool json = false;
};

/// What was known on a day.
struct Point {
  sys_days day;
  TrackResult result;
};

/// The day of each report; `today` holds for the last.
std::vector<sys_days> days_of(const Options& options, const std::vector<cluster::Tracking>& reports) {
  std::vector<sys_days> out;
  for (size_t i = 0; i < reports.size(); ++i) {
    const bool last = i + 1 == reports.size();
    if (last && !options.today.empty())
      out.push_back(parse_date(options.today));
    else if (reports[i].day)
      out.push_back(*reports[i].day);
    else if (last)
      out.push_back(std::chrono::floor<std::chrono::days>(SystemClock().now()));
    else
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: 'day' is missing; where there are several reports, each says its day (day = "
                      "2024-09-01), the earliest first",
                      options.reports[i].string()));
    if (i > 0 && out[i] <= out[i - 1])
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: is of {}, not later than the report before, of {}; name the reports in the order "
                      "of time",
                      options.reports[i].string(), format_date(out[i]), format_date(out[i - 1])));
  }
  return out;
}

std::vector<Point> follow(const Options& options, const cluster::ScheduleSpec& spec) {
  std::vector<cluster::Tracking> reports;
  for (const auto& path : options.reports) reports.push_back(cluster::Tracking::read(TomlTable::read(path)));
  const std::vector<sys_days> days = days_of(options, reports);
  ThreadPool pool(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<Point> out;
  std::vector<cluster::Actual> known;
  for (size_t i = 0; i < reports.size(); ++i) {
    known = cluster::merge_actuals(std::move(known), reports[i].actuals);
    out.push_back({days[i], cluster::track(spec, known, days[i], pool)});
  }
  return out;
}

nlohmann::json point_json(sys_days day, const ScheduleResult& result) {
  return {{"day", format_date(day)},
          {"probability", result.probability},
          {"standard_error", result.standard_error},
          {"p10", format_date(result.p10)},
          {"p50", format_date(result.p50)},
          {"p90", format_date(result.p90)}};
}

void show_json(const cluster::ScheduleSpec& spec, const std::vector<Point>& points) {
  nlohmann::json out;
  to_json(out, points.back().result);
  out["day"] = format_date(points.back().day);
  out["target"] = format_date(spec.target);
  out["trend"] = nlohmann::json::array({point_json(spec.start, points.back().result.before)});
  for (const Point& point : points) out["trend"].push_back(point_json(point.day, point.result.now));
  std::cout << out.dump(2) << "\n";
}

std::string late(double days) {
  if (days == 0) return "on time";
  return fmt::format("{:+.0f} days", days);
}

void show_table(const TrackResult& result) {
  size_t width = 4;
  for (const auto& row : result.rows)
    width = std::max(width, std::min<size_t>(for_terminal(row.name).size(), 36));
  std::cout << fmt::format("\n  {:<{}}  {:<8}{:>6}   {:<12}{:<12}{:<25}{}\n", "task", width, "state", "done",
                           "planned", "forecast", "80 of 100 between", "late");
  for (const auto& row : result.rows) {
    const std::string name = for_terminal(row.name).substr(0, width);
    const std::string done =
        row.state == "waiting" ? "" : fmt::format("{:.0f} %", std::floor(100 * row.progress));
    const std::string range = row.state == "done" ? ""
                                                  : fmt::format("{} - {}", format_date(row.forecast_p10),
                                                                format_date(row.forecast_p90));
    std::cout << fmt::format("  {:<{}}  {:<8}{:>6}   {:<12}{:<12}{:<25}{}\n", name, width, row.state, done,
                             format_date(row.planned_finish), format_date(row.forecast_finish), range,
                             late(row.days_late));
  }
}

constexpr int kBand = 56;  // columns of a band

/// Where the end lies, plan and reports one below the other: 10th to 90th percentile, '|' the middle, ':' the target.
void show_trend(const cluster::ScheduleSpec& spec, const std::vector<Point>& points) {
  std::vector<std::pair<std::string, const ScheduleResult*>> rows{{"plan", &points.back().result.before}};
  for (const Point& point : points) rows.emplace_back(format_date(point.day), &point.result.now);
  sys_days from = spec.target, to = spec.target;
  for (const auto& [name, result] : rows) {
    from = std::min(from, result->p10);
    to = std::max(to, result->p90);
  }
  const auto column = [&](sys_days day) {
    const auto span = std::max<double>(1, static_cast<double>((to - from).count()));
    return static_cast<size_t>(std::lround(static_cast<double>((day - from).count()) / span * (kBand - 1)));
  };
  std::cout << fmt::format("\n  operational (80 of 100 between the ends, | the middle, : the target {})\n",
                           format_date(spec.target));
  for (const auto& [name, result] : rows) {
    std::string band(kBand, ' ');
    for (size_t i = column(result->p10); i <= column(result->p90); ++i) band[i] = '=';
    band[column(spec.target)] = ':';
    band[column(result->p50)] = '|';
    std::cout << fmt::format("  {:<11}{}  {:>3.0f} % in time, middle {}\n", name, band,
                             100 * result->probability, format_date(result->p50));
  }
  std::cout << fmt::format("  {:<11}{:<{}}{}\n", "", format_date(from), kBand - 10, format_date(to));
}

/// The share energised by week: '#' nearly certain (p10), '+' likely (p50), '.' with luck (p90).
void show_ramp(const ScheduleResult& result) {
  constexpr int kRows = 10;
  const auto& ramp = result.ramp;
  if (ramp.size() < 2) return;
  const size_t columns = std::min<size_t>(ramp.size(), kBand + 11);
  const auto week = [&](size_t column) -> const ScheduleResult::Week& {
    return ramp[column * (ramp.size() - 1) / std::max<size_t>(columns - 1, 1)];
  };
  std::cout << "\n  share of the machine energised (# 90 of 100, + 50 of 100, . 10 of 100 reach it)\n";
  for (int row = kRows; row >= 1; --row) {
    const double level = (row - 0.5) / kRows;
    std::string line;
    for (size_t c = 0; c < columns; ++c) {
      const auto& at = week(c);
      line += at.energised_p10 >= level   ? '#'
              : at.energised_p50 >= level ? '+'
              : at.energised_p90 >= level ? '.'
                                          : ' ';
    }
    std::cout << fmt::format("  {:>4} % {}\n", 100 * row / kRows, line);
  }
  std::cout << fmt::format("         {:<{}}{}\n", format_date(ramp.front().day),
                           std::max<size_t>(columns, 21) - 10, format_date(ramp.back().day));
}

void show_purchases(const ScheduleResult& now) {
  if (now.bundle.empty()) return;
  std::cout << "\n  what would help, the best value first:\n";
  double chance = now.probability;
  for (const auto& purchase : now.bundle) {
    chance = std::min(1.0, chance + purchase.probability_gain);
    std::cout << fmt::format("    {} {:.1f} weeks sooner for ${:.1f} M: {:.0f} % in time\n",
                             for_terminal(purchase.task), purchase.weeks, purchase.usd / 1e6, 100 * chance);
  }
}

int track(const Options& options) {
  const auto spec = cluster::ScheduleSpec::read(TomlTable::read(find_scenario(options.scenario)));
  const std::vector<Point> points = follow(options, spec);
  if (options.json) {
    show_json(spec, points);
    return 0;
  }
  const TrackResult& last = points.back().result;
  std::cout << for_terminal(last.summary) << "\n";
  show_table(last);
  show_trend(spec, points);
  show_ramp(last.now);
  show_purchases(last.now);
  return 0;
}

}  // namespace

void add_plan_track(CLI::App& plan, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      plan.add_subcommand("track", "Hold what has happened against the plan, and forecast the date anew");
  command->footer(
      "Examples:\n"
      "  fathom plan track autumn-2025 week-20.toml\n"
      "  fathom plan track autumn-2025 week-*.toml --json      the trend over all reports\n\n"
      "A report says what is known on its day; what it does not name stays as the reports before it said:\n"
      "  day = 2024-09-20\n"
      "  [[actual]]\n"
      "  task = \"racks\"\n"
      "  started = 2024-08-12\n"
      "  progress = 0.4       or finished = 2024-09-18");
  command
      ->add_option("scenario", options->scenario,
                   "A scenario with a [schedule]: a file, or the name of one that comes along")
      ->type_name("SCENARIO")
      ->required();
  command->add_option("reports", options->reports, "Reports of what happened, the earliest first")
      ->type_name("ACTUALS.toml")
      ->required();
  command
      ->add_option("--today", options->today,
                   "Day of the last report; default: its 'day', else the day of the clock")
      ->type_name("DATE");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return track(*options); }; });
}

}  // namespace fathom::cli
