#include "cli/plan_show.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <utility>

#include "base/toml.h"
#include "cluster/format.h"

namespace fathom::cli {
namespace {

using namespace cluster;

constexpr size_t kBar = 32;
constexpr size_t kNameWidth = 30;

void heading(std::string_view title) { std::cout << "\n" << title << "\n"; }

void row(std::string_view label, const std::string& value) {
  if (!value.empty()) std::cout << fmt::format("  {:<{}} {}\n", label, kNameWidth, value);
}

std::string bar(double share) {
  const double whole = std::clamp(share, 0.0, 1.0) * kBar;
  return std::string(static_cast<size_t>(whole + 0.5), '#');
}

void bar_row(std::string_view label, const std::string& value, double share) {
  std::cout << fmt::format("  {:<{}} {:>12}  {}\n", label, kNameWidth, value, bar(share));
}

std::string band(const Interval& of, const std::function<std::string(double)>& format) {
  return fmt::format("{} ({} to {})", format(of.middle), format(of.low), format(of.high));
}

double params_of(const model::ModelConfig& model) { return static_cast<double>(model.parameters()); }

void show_machine(const Scenario& scenario) {
  const Machine& machine = scenario.machine;
  const Network& network = machine.network;
  heading("Machine");
  row("chips", fmt::format("{} x {}", format_number(static_cast<double>(machine.chips)), machine.chip.name));
  row("hosts", fmt::format("{} x {}",
                           format_number(static_cast<double>((machine.chips + machine.host.chips - 1) /
                                                             std::max<uint32_t>(machine.host.chips, 1))),
                           machine.host.name));
  row("network",
      fmt::format("{}, domains of {} chips, {} switches, {} cables, {}", to_string(network.spec().topology),
                  network.domain(), format_number(static_cast<double>(network.bill().switches)),
                  format_number(static_cast<double>(network.bill().cables)),
                  format_watts(network.bill().power_w)));
  row("bisection", format_bytes(network.bisection_bytes_per_s()) + "/s each way");
}

void show_model(const Scenario& scenario) {
  const auto& model = scenario.model;
  heading("Model");
  row("name", model.name.empty() ? model.architecture : model.name);
  const double active = static_cast<double>(model.active_parameters());
  row("parameters",
      format_count(params_of(model)) +
          (active < params_of(model) ? fmt::format(" ({} used a token)", format_count(active)) : ""));
  row("batch", fmt::format("{} sequences of {} tokens", scenario.job.global_batch, scenario.job.sequence));
  if (scenario.job.tokens > 0) row("tokens of the run", format_count(scenario.job.tokens));
}

void show_time(const StepTime& time) {
  const std::pair<const char*, double> parts[] = {{"forward", time.forward},
                                                  {"backward", time.backward},
                                                  {"recompute", time.recompute},
                                                  {"optimizer", time.optimizer},
                                                  {"tensor_comm (exposed)", time.tensor_comm},
                                                  {"context_comm (exposed)", time.context_comm},
                                                  {"expert_comm (exposed)", time.expert_comm},
                                                  {"pipeline_comm (exposed)", time.pipeline_comm},
                                                  {"data_comm (exposed)", time.data_comm},
                                                  {"bubble", time.bubble},
                                                  {"offload", time.offload},
                                                  {"overhead", time.overhead}};
  for (const auto& [name, seconds] : parts)
    if (seconds > 0) bar_row(name, format_seconds(seconds), seconds / time.step_time);
}

void show_step(const Report& report, double tokens) {
  const StepCost& step = report.step;
  heading("Step");
  row("plan", describe(report.plan));
  row("step_time", format_seconds(step.time.step_time));
  show_time(step.time);
  row("tokens", format_rate(step.tokens_per_s, "tokens"));
  row("mfu", fmt::format("{} (hfu {})", format_share(step.mfu), format_share(step.hfu)));
  const StepMemory& memory = step.memory;
  row("memory of a chip",
      fmt::format("{} of {}: weights {}, gradients {}, optimizer {}, activations {}, buffers {}",
                  format_bytes(memory.total), format_bytes(memory.capacity), format_bytes(memory.weights),
                  format_bytes(memory.gradients), format_bytes(memory.optimizer),
                  format_bytes(memory.activations), format_bytes(memory.buffers)));
  if (report.training_days > 0)
    row("training run",
        fmt::format("{} for {} tokens", format_seconds(report.training_days * 86'400), format_count(tokens)));
  if (report.search)
    row("searched",
        fmt::format("{} plans, {} of them fit", format_number(static_cast<double>(report.search->considered)),
                    format_number(static_cast<double>(report.search->feasible))));
}

void show_run(const RunResult& run) {
  heading("Run (median of the simulated runs, 5th to 95th percentile)");
  row("goodput", band(run.goodput, format_share));
  if (run.wall_days.middle > 0)
    row("wall time", band(run.wall_days, [](double days) { return format_seconds(days * 86'400); }));
  row("tokens trained", band(run.tokens, format_count));
  row("interruptions", fmt::format("{}, one every {}", band(run.interruptions, format_number),
                                   format_seconds(run.mean_hours_between_interruptions * 3600)));
  row("checkpoint every",
      fmt::format("{} (Young {}, Daly {}); it holds the run up for {}", format_seconds(run.interval_used_s),
                  format_seconds(run.interval_young_s), format_seconds(run.interval_daly_s),
                  format_seconds(run.checkpoint_s)));
  double most = 0;
  for (const auto& lost : run.lost) most = std::max(most, lost.share);
  for (const auto& lost : run.lost)
    bar_row("lost: " + lost.cause, format_share(lost.share), most > 0 ? lost.share / most : 0);
}

void show_schedule(const ScheduleSpec& spec, const ScheduleResult& schedule) {
  heading("Date");
  row("target", format_date(spec.target));
  row("chance of meeting it", fmt::format("{} (standard error {})", format_share(schedule.probability),
                                          format_share(schedule.standard_error)));
  row("ready", fmt::format("{} (10 %), {} (50 %), {} (80 %), {} (90 %)", format_date(schedule.p10),
                           format_date(schedule.p50), format_date(schedule.p80), format_date(schedule.p90)));
  row("critical path", fmt::format("{}", fmt::join(schedule.critical_path, " > ")));
  for (const auto& task : schedule.tasks) bar_row(task.name, format_date(task.finish_p50), task.criticality);
  size_t shown = 0;
  for (const auto& purchase : schedule.purchases) {
    if (shown++ == 5 || purchase.probability_gain <= 0) break;
    row(shown == 1 ? "to be sooner, buy" : "",
        fmt::format("{}: {:.1f} weeks for {}, {:+.1f} points", purchase.task, purchase.weeks,
                    format_usd(purchase.usd), purchase.probability_gain * 100));
  }
}

void show_power(const PowerResult& power) {
  heading("Power");
  const PowerDraw& draw = power.draw;
  row("IT", fmt::format("{} (chips {}, hosts {}, network {}, storage {}, rest {})", format_watts(draw.it_w),
                        format_watts(draw.chips_w), format_watts(draw.hosts_w), format_watts(draw.network_w),
                        format_watts(draw.storage_w), format_watts(draw.rest_w)));
  row("site",
      fmt::format("{}, {} at the peak", format_watts(draw.facility_w), format_watts(draw.peak_facility_w)));
  row("swing of a step",
      fmt::format("{} at {}/s{}", format_watts(draw.swing_w), format_watts(draw.swing_w_per_s),
                  power.ramp_within_limit ? "" : ", more than the grid bears"));
  row("a year", fmt::format("{} MWh, {}, {} t CO2", format_number(power.mwh_per_year),
                            format_usd(power.usd_per_year), format_number(power.tonnes_per_year)));
  if (power.battery_minutes > 0) row("batteries carry the peak", format_seconds(power.battery_minutes * 60));
  row(power.enough ? "enough" : "not enough", power.sentence);
}

void show_money(const MoneyResult& money) {
  heading("Money");
  double most = 0;
  for (const auto& line : money.lines) most = std::max(most, line.usd);
  for (const auto& line : money.lines)
    bar_row(line.name + (line.group == "running" ? ", a year" : ""), format_usd(line.usd), line.usd / most);
  row("capital", format_usd(money.capital_usd));
  row("running, a year", format_usd(money.running_usd_per_year));
  row("financing", format_usd(money.financing_usd));
  row("in all", format_usd(money.total_usd));
  row("a chip-hour", format_usd(money.usd_per_chip_hour));
  if (money.usd_per_training_run > 0) row("a training run", format_usd(money.usd_per_training_run));
  for (const auto& option : money.options)
    row("option: " + option.name,
        fmt::format("{} over the years, {} a chip-hour, first chips after {:.0f} months",
                    format_usd(option.usd_over_years), format_usd(option.usd_per_chip_hour),
                    option.months_until_first_chips));
  for (const auto& item : money.sensitivity)
    row("if moved by 20 %: " + item.name,
        fmt::format("{} to {}", format_usd(item.low_usd), format_usd(item.high_usd)));
}

void show_serving(const ServingResult& serving) {
  heading("Serving");
  const ServingPoint& best = serving.best;
  if (!best.feasible) return row("no layout serves", serving.remedy);
  row("a replica", fmt::format("{} chips (tp {}, ep {}, pp {}), batch {}", best.layout.chips(),
                               best.layout.tensor, best.layout.expert, best.layout.pipeline, best.batch));
  row("first token", format_seconds(best.first_token_s));
  row("each further token", format_seconds(best.time_per_token_s));
  row("output", fmt::format("{} a chip, {} on all", format_rate(best.output_tokens_per_s_per_chip, "tokens"),
                            format_rate(best.output_tokens_per_s * serving.replicas, "tokens")));
  row("a million output tokens", format_usd(best.usd_per_million_output));
  row("users online at once", format_count(serving.users_served));
}

std::string training_run(const Report& report) {
  return report.training_days > 0 ? format_seconds(report.training_days * 86'400) : std::string("-");
}

struct Figure {
  std::string name, a, b;
};

/// A line where either side has the part of the report.
template <class Part, class Format>
void compare(std::vector<Figure>& out, const char* name, const std::optional<Part>& a,
             const std::optional<Part>& b, Format&& format) {
  if (a || b) out.push_back({name, a ? format(*a) : "-", b ? format(*b) : "-"});
}

std::vector<Figure> figures(const Report& a, const Scenario& scenario_a, const Report& b,
                            const Scenario& scenario_b) {
  const auto chips = [](const Scenario& of) {
    return fmt::format("{} {}", format_number(static_cast<double>(of.machine.chips)), of.machine.chip.id);
  };
  std::vector<Figure> out = {
      {"chips", chips(scenario_a), chips(scenario_b)},
      {"parameters", format_count(params_of(scenario_a.model)), format_count(params_of(scenario_b.model))},
      {"plan", describe(a.plan), describe(b.plan)},
      {"step_time", format_seconds(a.step.time.step_time), format_seconds(b.step.time.step_time)},
      {"tokens", format_rate(a.step.tokens_per_s, "tokens"), format_rate(b.step.tokens_per_s, "tokens")},
      {"mfu", format_share(a.step.mfu), format_share(b.step.mfu)},
      {"memory of a chip", format_bytes(a.step.memory.total), format_bytes(b.step.memory.total)}};
  compare(out, "goodput", a.run, b.run,
          [](const RunResult& run) { return format_share(run.goodput.middle); });
  compare(out, "wall time", a.run, b.run, [](const RunResult& run) {
    return run.wall_days.middle > 0 ? format_seconds(run.wall_days.middle * 86'400) : std::string("-");
  });
  out.push_back({"training run", training_run(a), training_run(b)});
  compare(out, "ready (50 %)", a.schedule, b.schedule,
          [](const ScheduleResult& of) { return format_date(of.p50); });
  compare(out, "chance of the target", a.schedule, b.schedule,
          [](const ScheduleResult& of) { return format_share(of.probability); });
  compare(out, "site power, peak", a.power, b.power,
          [](const PowerResult& of) { return format_watts(of.draw.peak_facility_w); });
  compare(out, "energy a year", a.power, b.power,
          [](const PowerResult& of) { return format_number(of.mwh_per_year) + " MWh"; });
  compare(out, "capital", a.money, b.money, [](const MoneyResult& of) { return format_usd(of.capital_usd); });
  compare(out, "in all", a.money, b.money, [](const MoneyResult& of) { return format_usd(of.total_usd); });
  compare(out, "a chip-hour", a.money, b.money,
          [](const MoneyResult& of) { return format_usd(of.usd_per_chip_hour); });
  compare(out, "rented, a chip-hour", a.money, b.money, [](const MoneyResult& of) {
    return of.options.size() > 1 ? format_usd(of.options[1].usd_per_chip_hour) : std::string("-");
  });
  compare(out, "a training run", a.money, b.money, [](const MoneyResult& of) {
    return of.usd_per_training_run > 0 ? format_usd(of.usd_per_training_run) : "-";
  });
  compare(out, "a million output tokens", a.serving, b.serving,
          [](const ServingResult& of) { return format_usd(of.best.usd_per_million_output); });
  compare(out, "users online at once", a.serving, b.serving,
          [](const ServingResult& of) { return format_count(of.users_served); });
  return out;
}

}  // namespace

void show_report(const Report& report, const Scenario& scenario) {
  std::cout << report.title << "\n";
  if (!scenario.about.empty()) std::cout << scenario.about << "\n";
  show_machine(scenario);
  show_model(scenario);
  show_step(report, scenario.job.tokens);
  if (report.run) show_run(*report.run);
  if (report.serving) show_serving(*report.serving);
  if (report.power) show_power(*report.power);
  if (report.money) show_money(*report.money);
  if (report.schedule) show_schedule(*scenario.schedule, *report.schedule);
}

void show_comparison(const Report& a, const Scenario& scenario_a, const Report& b,
                     const Scenario& scenario_b) {
  const auto all = figures(a, scenario_a, b, scenario_b);
  size_t wide_a = a.title.size(), wide_b = b.title.size();
  for (const auto& figure : all) {
    wide_a = std::max(wide_a, figure.a.size());
    wide_b = std::max(wide_b, figure.b.size());
  }
  std::cout << fmt::format("  {:<24}  {:<{}}  {}\n", "", a.title, wide_a, b.title);
  for (const auto& figure : all)
    std::cout << fmt::format("{} {:<24}  {:<{}}  {}\n", figure.a == figure.b ? ' ' : '*', figure.name,
                             figure.a, wide_a, figure.b);
  std::cout << "\n* differs\n";
}

}  // namespace fathom::cli
