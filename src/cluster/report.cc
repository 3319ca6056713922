#include "cluster/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr uint32_t kQuickRuns = 4;
constexpr uint32_t kQuickSamples = 2000;
constexpr double kSecondsPerDay = 86'400;

/// A space that is searched while a slider moves: what people run in practice, without the corners.
SearchSpace quick_space(SearchSpace space, uint32_t domain) {
  const auto narrow = [](std::vector<uint32_t>& values, std::vector<uint32_t> usual) {
    if (values.empty()) values = std::move(usual);
  };
  narrow(space.tensor, {1, 2, 4, std::min<uint32_t>(domain, 8)});
  narrow(space.micro_batch, {1, 2, 4});
  narrow(space.context, {1});
  narrow(space.interleave, {1, 2, 4});
  if (space.zero.empty()) space.zero = {1};
  if (space.recompute.empty()) space.recompute = {Recompute::kNone, Recompute::kSelective, Recompute::kFull};
  space.schedule = {Schedule::kOneForwardOneBackward};
  space.offload = false;
  space.fewer_chips = true;  // a slider stops at any number, and few have good divisors
  space.min_chips = space.max_chips = 0;
  return space;
}

class Maker {
 public:
  Maker(const Scenario& scenario, const Catalogue& catalogue, ThreadPool& pool, const ReportOptions& options)
      : scenario_(scenario),
        catalogue_(catalogue),
        pool_(pool),
        options_(options),
        model_(scenario.model, scenario.machine, scenario.job) {}

  Report make() {
    report_.title = scenario_.title;
    choose_plan();
    if (scenario_.run) simulate_run();
    report_.training_days = training_days();
    if (scenario_.schedule) make_schedule();
    if (scenario_.power) make_power();
    if (scenario_.money) make_money();
    if (scenario_.serving) make_serving();
    return std::move(report_);
  }

 private:
  void at(std::string_view stage, double done) const {
    if (options_.progress) options_.progress(stage, done);
  }

  void choose_plan() {
    if (scenario_.plan) {
      report_.plan = *scenario_.plan;
      report_.step = model_.evaluate(report_.plan);
      if (report_.step.feasible()) return;
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: the layout in [plan] cannot be: {}; leave [plan] out and the best is searched for",
                      scenario_.file, to_string(report_.step.fault)));
    }
    SearchOptions search_options;
    search_options.stop = options_.stop;
    search_options.progress = [this](uint64_t done, uint64_t total) {
      at("searching plans", total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total));
    };
    const uint32_t domain = scenario_.machine.network.domain();
    const SearchSpace space = options_.quick ? quick_space(scenario_.search, domain) : scenario_.search;
    report_.search = search(model_, space, pool_, search_options);
    if (report_.search->stopped) throw Error(ErrorCode::kCancelled, "the search for plans was stopped");
    if (report_.search->best.empty())
      throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: no plan fits {} chips: {}", scenario_.file,
                                                           scenario_.machine.chips, report_.search->remedy));
    report_.plan = report_.search->best.front().plan;
    report_.step = report_.search->best.front().cost;
  }

  void simulate_run() {
    RunSpec spec = *scenario_.run;
    if (options_.quick) spec.runs = std::min(spec.runs, kQuickRuns);
    SimulateOptions simulate_options;
    simulate_options.stop = options_.stop;
    simulate_options.progress = [this](double done) { at("simulating the run", done); };
    report_.run = simulate(model_, report_.plan, spec, catalogue_, pool_, simulate_options);
  }

  void make_schedule() {
    at("drawing schedules", 0);
    ScheduleSpec spec = *scenario_.schedule;
    if (options_.quick) spec.samples = std::min(spec.samples, kQuickSamples);
    report_.schedule = plan_schedule(spec, pool_);
  }

  const Storage* storage() const {
    return scenario_.run && !scenario_.run->storage.empty() ? &catalogue_.storage(scenario_.run->storage)
                                                            : nullptr;
  }
  double storage_units() const { return scenario_.run ? scenario_.run->storage_units : 0; }

  void make_power() {
    const double storage_w = storage() ? storage()->power_w * storage_units() : 0;
    const PowerDraw draw =
        power_draw(scenario_.machine, report_.step, *scenario_.power, catalogue_, storage_w);
    report_.power = plan_power(draw, *scenario_.power, report_.schedule.value_or(ScheduleResult{}),
                               catalogue_, static_cast<double>(scenario_.machine.chips));
  }

  double goodput() const { return report_.run ? report_.run->goodput.middle : 1; }

  /// Of one training run; 0 where no number of tokens is given.
  double training_days() const {
    if (scenario_.job.tokens <= 0 || report_.step.tokens_per_s <= 0) return 0;
    return scenario_.job.tokens / report_.step.tokens_per_s / goodput() / kSecondsPerDay;
  }

  void make_money() {
    const PowerResult none{};
    const PowerSpec no_power{};
    const MoneyInput input{.machine = scenario_.machine,
                           .power = report_.power ? *report_.power : none,
                           .storage_usd = storage() ? storage()->price_usd * storage_units() : 0,
                           .rack_usd = scenario_.rack_usd,
                           .training_days = report_.training_days,
                           .goodput = goodput()};
    report_.money =
        plan_money(input, *scenario_.money, scenario_.power ? *scenario_.power : no_power, catalogue_);
  }

  void make_serving() {
    at("placing the serving", 0);
    const double usd = report_.money ? report_.money->usd_per_chip_hour : 0;
    report_.serving = plan_serving(scenario_.model, scenario_.machine, *scenario_.serving,
                                   static_cast<double>(scenario_.machine.chips), usd);
  }

  const Scenario& scenario_;
  const Catalogue& catalogue_;
  ThreadPool& pool_;
  const ReportOptions& options_;
  StepModel model_;
  Report report_;
};

}  // namespace

Report make_report(const Scenario& scenario, const Catalogue& catalogue, ThreadPool& pool,
                   const ReportOptions& options) {
  return Maker(scenario, catalogue, pool, options).make();
}

}  // namespace fathom::cluster
