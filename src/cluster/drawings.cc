#include "cluster/drawings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/svg.h"
#include "base/toml.h"
#include "cluster/format.h"

namespace fathom::cluster {
namespace {

constexpr double kBillion = 1e9;

std::string month_name(std::chrono::sys_days day) { return format_date(day).substr(0, 7); }

std::string draw_network(const Network& network) {
  svg::NetworkDrawing plot;
  plot.heading = {"Network", fmt::format("{} chips joined by a {} network.",
                                         format_number(static_cast<double>(network.chips())),
                                         to_string(network.spec().topology))};
  plot.tiers.push_back(
      {"chips",
       fmt::format("{}, {} a domain", format_number(static_cast<double>(network.chips())), network.domain()),
       network.chips()});
  for (const Tier& tier : network.tiers()) {
    const auto speed = format_bytes(tier.bytes_per_s) + "/s a chip";
    const bool switched = tier.switches > 0;
    const uint64_t domains = tier.reach > 0 ? (network.chips() + tier.reach - 1) / tier.reach : 1;
    plot.tiers.push_back(
        {tier.name,
         switched ? fmt::format("{} switches, {}", format_number(static_cast<double>(tier.switches)), speed)
                  : speed,
         switched ? tier.switches : domains});
  }
  return svg::network_drawing(plot);
}

std::string draw_step(const StepTime& time) {
  svg::Breakdown plot;
  plot.heading = {"Where a step's time goes",
                  fmt::format("Parts of one training step of {}.", format_seconds(time.step_time))};
  const std::pair<const char*, double> parts[] = {
      {"forward", time.forward},         {"backward", time.backward},
      {"recompute", time.recompute},     {"optimizer", time.optimizer},
      {"tensor comm", time.tensor_comm}, {"context comm", time.context_comm},
      {"expert comm", time.expert_comm}, {"pipeline comm", time.pipeline_comm},
      {"data comm", time.data_comm},     {"bubble", time.bubble},
      {"offload", time.offload},         {"overhead", time.overhead}};
  for (const auto& [name, seconds] : parts)
    if (seconds > 0) plot.parts.push_back({name, seconds, format_share(seconds / time.step_time)});
  return svg::breakdown(plot);
}

std::string draw_memory(const StepMemory& memory) {
  svg::Breakdown plot;
  plot.heading = {"What fills a chip's memory",
                  fmt::format("{} of {}.", format_bytes(memory.total), format_bytes(memory.capacity))};
  const std::pair<const char*, double> parts[] = {
      {"weights", memory.weights},     {"gradients", memory.gradients},
      {"optimizer", memory.optimizer}, {"activations", memory.activations},
      {"buffers", memory.buffers},     {"free", memory.capacity - memory.total}};
  for (const auto& [name, bytes] : parts)
    if (bytes > 0) plot.parts.push_back({name, bytes, format_bytes(bytes)});
  return svg::breakdown(plot);
}

std::string draw_heat(const SearchResult& search) {
  std::set<uint32_t> tensors, pipelines;
  for (const auto& cell : search.heat) {
    tensors.insert(cell.tensor);
    pipelines.insert(cell.pipeline);
  }
  svg::HeatMap plot;
  plot.heading = {"Best utilisation by layout",
                  "The best model FLOP utilisation of all plans with so many tensor and pipeline ranks."};
  plot.x_label = "pipeline";
  plot.y_label = "tensor";
  const auto index = [](const std::set<uint32_t>& of, uint32_t value) {
    return static_cast<size_t>(std::distance(of.begin(), of.find(value)));
  };
  for (const uint32_t value : pipelines) plot.columns.push_back(fmt::format("{}", value));
  for (const uint32_t value : tensors) plot.rows.push_back(fmt::format("{}", value));
  const double empty = std::numeric_limits<double>::quiet_NaN();
  plot.values.assign(tensors.size(), std::vector<double>(pipelines.size(), empty));
  plot.shown.assign(tensors.size(), std::vector<std::string>(pipelines.size()));
  for (const auto& cell : search.heat) {
    if (cell.step_time <= 0) continue;
    const size_t row = index(tensors, cell.tensor), column = index(pipelines, cell.pipeline);
    plot.values[row][column] = cell.mfu;
    plot.shown[row][column] = fmt::format("{:.0f}", cell.mfu * 100);
  }
  return svg::heat_map(plot);
}

std::string draw_pareto(const SearchResult& search) {
  svg::LinePlot plot;
  plot.heading = {"Time against memory", "Plans that no other beats in time, memory and cost alike."};
  plot.x_label = "memory of a chip, GB";
  plot.y_label = "step time, s";
  std::vector<std::pair<double, double>> points;
  for (const auto& one : search.pareto)
    points.emplace_back(one.cost.memory.total / 1e9, one.cost.time.step_time);
  std::sort(points.begin(), points.end());
  svg::Line line{.name = "best plans", .x = {}, .y = {}, .low = {}, .high = {}, .steps = true};
  double best = std::numeric_limits<double>::infinity();
  for (const auto& [memory, seconds] : points) {
    if (seconds >= best || (!line.x.empty() && memory <= line.x.back())) continue;
    best = seconds;
    line.x.push_back(memory);
    line.y.push_back(seconds);
  }
  plot.lines.push_back(std::move(line));
  return svg::line_plot(plot);
}

std::string draw_lost(const RunResult& run) {
  svg::Breakdown plot;
  plot.heading = {"Where the run's time goes",
                  fmt::format("Goodput {}; the rest by cause.", format_share(run.goodput.middle))};
  plot.parts.push_back({"training", run.goodput.middle, format_share(run.goodput.middle)});
  for (const auto& lost : run.lost)
    if (lost.share > 0) plot.parts.push_back({lost.cause, lost.share, format_share(lost.share)});
  return svg::breakdown(plot);
}

std::string draw_ramp(const ScheduleResult& schedule) {
  svg::LinePlot plot;
  plot.heading = {"Share of the machine that runs",
                  "Energised share by week, with its 10th to 90th percentile."};
  plot.y_label = "energised";
  plot.dates = true;
  plot.percent = true;
  svg::Line line{.name = "energised", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& week : schedule.ramp) {
    line.x.push_back(svg::x_of(week.day));
    line.y.push_back(week.energised_p50);
    line.low.push_back(week.energised_p10);
    line.high.push_back(week.energised_p90);
  }
  plot.lines.push_back(std::move(line));
  return svg::line_plot(plot);
}

std::string draw_chance(const ScheduleSpec& spec, const ScheduleResult& schedule) {
  svg::LinePlot plot;
  plot.heading = {
      "Chance of being ready by a day",
      fmt::format("{} by the target, {}.", format_share(schedule.probability), format_date(spec.target))};
  plot.y_label = "chance";
  plot.dates = true;
  plot.percent = true;
  svg::Line line{.name = "ready by", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& [day, share] : schedule.distribution) {
    line.x.push_back(svg::x_of(day));
    line.y.push_back(share);
  }
  plot.lines.push_back(std::move(line));
  plot.marks.push_back({svg::x_of(spec.target), "target"});
  return svg::line_plot(plot);
}

std::string draw_tasks(const ScheduleSpec& spec, const ScheduleResult& schedule) {
  svg::Gantt plot;
  plot.heading = {"Schedule",
                  "Tasks from their middle start to their middle end; the thin bar is the 10th to 90th "
                  "percentile of the end, strong colour: often on the critical path."};
  for (const auto& task : schedule.tasks)
    plot.rows.push_back(
        {task.name, task.start_p50, task.finish_p10, task.finish_p50, task.finish_p90, task.criticality});
  plot.marks.emplace_back(spec.target, "target");
  return svg::gantt(plot);
}

std::string draw_power(const PowerResult& power) {
  svg::StackedBars plot;
  plot.heading = {"Power by month", power.sentence};
  plot.y_label = "MW";
  svg::StackedBars::Part it{"computers", {}}, rest{"cooling and losses", {}}, peak{"up to the peak", {}};
  svg::StackedBars::Part available{"available", {}};
  for (const auto& month : power.months) {
    plot.bars.push_back(month_name(month.month));
    it.values.push_back(month.it_mw);
    rest.values.push_back(std::max(0.0, month.facility_mw - month.it_mw));
    peak.values.push_back(std::max(0.0, month.peak_mw - month.facility_mw));
    available.values.push_back(month.grid_mw + month.generator_mw + month.battery_mw);
  }
  plot.parts = {std::move(it), std::move(rest), std::move(peak)};
  plot.line = std::move(available);
  return svg::stacked_bars(plot);
}

std::string draw_cost(const MoneyResult& money) {
  svg::Breakdown plot;
  plot.heading = {"What it costs to buy", fmt::format("Capital of {}.", format_usd(money.capital_usd))};
  for (const auto& line : money.lines)
    if (line.group == "capital" && line.usd > 0)
      plot.parts.push_back({line.name, line.usd, format_usd(line.usd)});
  std::sort(plot.parts.begin(), plot.parts.end(),
            [](const auto& a, const auto& b) { return a.value > b.value; });
  return svg::breakdown(plot);
}

std::string draw_sensitivity(const MoneyResult& money) {
  svg::Tornado plot;
  plot.heading = {"What moves the cost most", "The whole cost where one figure is a fifth lower or higher."};
  plot.unit = "billion USD";
  plot.scale = kBillion;
  plot.middle = money.total_usd;
  for (const auto& row : money.sensitivity) plot.rows.push_back({row.name, row.low_usd, row.high_usd});
  return svg::tornado(plot);
}

std::string draw_serving(const ServingResult& serving) {
  svg::LinePlot plot;
  plot.heading = {"Serving: throughput against latency", "Each point is a batch size of the best layout."};
  plot.x_label = "time a token, ms";
  plot.y_label = "tokens a second and chip";
  std::vector<std::pair<double, double>> points;
  for (const auto& point : serving.curve)
    points.emplace_back(point.time_per_token_s * 1e3, point.output_tokens_per_s_per_chip);
  std::sort(points.begin(), points.end());
  svg::Line line{.name = "by batch", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& [x, y] : points) {
    line.x.push_back(x);
    line.y.push_back(y);
  }
  plot.lines.push_back(std::move(line));
  return svg::line_plot(plot);
}

std::string draw_day(const ServingResult& serving) {
  svg::StackedBars plot;
  plot.heading = {"A day: serving and training", "Chips that serve, and those left to training, by hour."};
  plot.y_label = "chips";
  svg::StackedBars::Part serve{"serving", {}}, train{"training", {}};
  for (size_t hour = 0; hour < serving.day.size(); ++hour) {
    plot.bars.push_back(fmt::format("{:02}", hour));
    serve.values.push_back(serving.day[hour].serving_chips);
    train.values.push_back(serving.day[hour].training_chips);
  }
  plot.parts = {std::move(serve), std::move(train)};
  return svg::stacked_bars(plot);
}

}  // namespace

std::vector<Drawing> drawings(const Report& report, const Scenario& scenario) {
  std::vector<Drawing> out;
  const auto add = [&out](const char* name, const char* title, std::string picture) {
    out.push_back({name, title, std::move(picture)});
  };
  if (report.schedule) {
    add("schedule", "Schedule", draw_tasks(*scenario.schedule, *report.schedule));
    add("chance", "Chance of being ready by a day", draw_chance(*scenario.schedule, *report.schedule));
  }
  if (report.power && !report.power->months.empty())
    add("power", "Power by month", draw_power(*report.power));
  if (report.schedule && !report.schedule->ramp.empty())
    add("ramp", "Share of the machine that runs", draw_ramp(*report.schedule));
  if (report.money) {
    add("cost", "What it costs to buy", draw_cost(*report.money));
    add("sensitivity", "What moves the cost most", draw_sensitivity(*report.money));
  }
  add("network", "Network", draw_network(scenario.machine.network));
  add("step", "Where a step's time goes", draw_step(report.step.time));
  add("memory", "What fills a chip's memory", draw_memory(report.step.memory));
  if (report.run) add("run", "Where the run's time goes", draw_lost(*report.run));
  if (report.search) {
    add("heat", "Best utilisation by layout", draw_heat(*report.search));
    add("pareto", "Time against memory", draw_pareto(*report.search));
  }
  if (report.serving && !report.serving->curve.empty())
    add("serving", "Serving: throughput against latency", draw_serving(*report.serving));
  if (report.serving && !report.serving->day.empty())
    add("day", "A day: serving and training", draw_day(*report.serving));
  return out;
}

}  // namespace fathom::cluster
