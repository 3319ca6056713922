// Covers ScheduleSpec::read, Tracking::read, PowerSpec::read and MoneySpec::read, and the plan of whatever is accepted.
//
// The input is a scenario and, after a line "----", a report of what happened.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/thread_pool.h"
#include "base/toml.h"
#include "cluster/money.h"
#include "cluster/power.h"
#include "cluster/schedule.h"

namespace {

using fathom::TomlTable;
using fathom::cluster::ScheduleResult;

constexpr size_t kMostTasks = 40;
constexpr uint32_t kSamples = 20;

template <class Call>
void refused_or_done(Call call) {
  try {
    call();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
}

void must(bool holds) {
  if (!holds) std::abort();
}

void check(const ScheduleResult& result) {
  must(result.probability >= 0 && result.probability <= 1);
  must(result.p10 <= result.p50 && result.p50 <= result.p80 && result.p80 <= result.p90);
  must(!result.critical_path.empty() && !result.distribution.empty() && !result.ramp.empty());
  for (const auto& task : result.tasks) {
    must(task.criticality >= 0 && task.criticality <= 1 && std::isfinite(task.days_per_day));
    must(task.finish_p10 <= task.finish_p50 && task.finish_p50 <= task.finish_p90);
  }
  for (const auto& week : result.ramp) must(week.energised_p10 >= 0 && week.energised_p90 <= 1);
}

void plan(std::string_view scenario, std::string_view report) {
  static fathom::ThreadPool pool(1);
  const TomlTable root = TomlTable::parse(scenario, "scenario");
  refused_or_done([&] { fathom::cluster::PowerSpec::read(root); });
  refused_or_done([&] { fathom::cluster::MoneySpec::read(root); });
  auto spec = fathom::cluster::ScheduleSpec::read(root);
  if (spec.tasks.size() > kMostTasks) return;
  spec.samples = std::min(spec.samples, kSamples);
  check(plan_schedule(spec, pool));
  const auto tracking = fathom::cluster::Tracking::read(TomlTable::parse(report, "report"));
  const auto result =
      track(spec, merge_actuals({}, tracking.actuals), tracking.day.value_or(spec.start), pool);
  check(result.now);
  must(result.rows.size() == spec.tasks.size() && !result.summary.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find("\n----\n");
  const std::string_view scenario = text.substr(0, cut);
  const std::string_view report = cut == std::string_view::npos ? std::string_view() : text.substr(cut + 6);
  refused_or_done([&] { plan(scenario, report); });
  return 0;
}
