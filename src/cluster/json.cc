#include "cluster/json.h"

#include <nlohmann/json.hpp>

#include "base/toml.h"

namespace fathom::cluster {

using nlohmann::json;

namespace {

/// A date, or null for one that was never set.
json day(std::chrono::sys_days date) {
  return date == std::chrono::sys_days{} ? json(nullptr) : json(format_date(date));
}

json interval(const Interval& of) {
  return {{"p5", of.low},
          {"p50", of.middle},
          {"p95", of.high},
          {"mean", of.mean},
          {"p5_error", of.low_error},
          {"p50_error", of.middle_error},
          {"p95_error", of.high_error}};
}

template <class T>
json list(const std::vector<T>& items) {
  json out = json::array();
  for (const auto& item : items) out.push_back(item);
  return out;
}

std::string_view name_of(Schedule schedule) {
  return schedule == Schedule::kZeroBubble ? "zero_bubble" : "1f1b";
}

json draw_json(const PowerDraw& draw) {
  return {{"chips_w", draw.chips_w},
          {"hosts_w", draw.hosts_w},
          {"network_w", draw.network_w},
          {"storage_w", draw.storage_w},
          {"rest_w", draw.rest_w},
          {"it_w", draw.it_w},
          {"idle_it_w", draw.idle_it_w},
          {"facility_w", draw.facility_w},
          {"peak_facility_w", draw.peak_facility_w},
          {"swing_w", draw.swing_w},
          {"swing_w_per_s", draw.swing_w_per_s}};
}

json purchase_json(const Purchase& purchase) {
  return {{"task", purchase.task},
          {"weeks", purchase.weeks},
          {"usd", purchase.usd},
          {"probability_gain", purchase.probability_gain}};
}

}  // namespace

void to_json(json& out, const ParallelPlan& plan) {
  out = {{"chips", plan.chips()},
         {"data", plan.data},
         {"tensor", plan.tensor},
         {"pipeline", plan.pipeline},
         {"context", plan.context},
         {"expert", plan.expert},
         {"expert_tensor", plan.expert_tensor},
         {"interleave", plan.interleave},
         {"micro_batch", plan.micro_batch},
         {"zero", plan.zero},
         {"sequence_parallel", plan.sequence_parallel},
         {"recompute", to_string(plan.recompute)},
         {"schedule", name_of(plan.schedule)},
         {"precision", to_string(plan.precision)},
         {"offload_optimizer", plan.offload_optimizer},
         {"offload_activations", plan.offload_activations},
         {"overlap_data", plan.overlap_data},
         {"overlap_tensor", plan.overlap_tensor},
         {"overlap_expert", plan.overlap_expert},
         {"text", describe(plan)}};
}

void to_json(json& out, const StepCost& cost) {
  const StepTime& time = cost.time;
  const StepMemory& memory = cost.memory;
  out = {{"fault", to_string(cost.fault)},
         {"feasible", cost.feasible()},
         {"step_time_s", time.step_time},
         {"time_s",
          {{"forward", time.forward},
           {"backward", time.backward},
           {"recompute", time.recompute},
           {"optimizer", time.optimizer},
           {"tensor_comm", time.tensor_comm},
           {"context_comm", time.context_comm},
           {"expert_comm", time.expert_comm},
           {"pipeline_comm", time.pipeline_comm},
           {"data_comm", time.data_comm},
           {"bubble", time.bubble},
           {"offload", time.offload},
           {"overhead", time.overhead}}},
         {"memory_bytes",
          {{"weights", memory.weights},
           {"gradients", memory.gradients},
           {"optimizer", memory.optimizer},
           {"activations", memory.activations},
           {"buffers", memory.buffers},
           {"total", memory.total},
           {"capacity", memory.capacity}}},
         {"model_flops", cost.model_flops},
         {"hardware_flops", cost.hardware_flops},
         {"mfu", cost.mfu},
         {"hfu", cost.hfu},
         {"tokens_per_s", cost.tokens_per_s}};
}

void to_json(json& out, const RankedPlan& ranked) { out = {{"plan", ranked.plan}, {"cost", ranked.cost}}; }

void to_json(json& out, const SearchResult& result) {
  json heat = json::array();
  for (const auto& cell : result.heat)
    heat.push_back({{"tensor", cell.tensor},
                    {"pipeline", cell.pipeline},
                    {"step_time_s", cell.step_time},
                    {"mfu", cell.mfu}});
  out = {{"considered", result.considered},
         {"feasible", result.feasible},
         {"out_of_memory", result.out_of_memory},
         {"evaluated", result.evaluated},
         {"stopped", result.stopped},
         {"best", list(result.best)},
         {"pareto", list(result.pareto)},
         {"heat", std::move(heat)}};
  if (result.feasible == 0) {
    out["nearest"] = result.nearest;
    out["remedy"] = result.remedy;
  }
}

void to_json(json& out, const RunResult& result) {
  json lost = json::array();
  for (const auto& item : result.lost) lost.push_back({{"cause", item.cause}, {"share", item.share}});
  json failures = json::array();
  for (const auto& item : result.failures)
    failures.push_back(
        {{"id", item.id}, {"name", item.name}, {"expected", item.expected}, {"mean", item.mean}});
  json sweep = json::array();
  for (const auto& [seconds, goodput] : result.interval_sweep)
    sweep.push_back({{"interval_s", seconds}, {"goodput", goodput}});
  out = {{"goodput", interval(result.goodput)},
         {"tokens", interval(result.tokens)},
         {"wall_days", interval(result.wall_days)},
         {"interruptions", interval(result.interruptions)},
         {"mean_hours_between_interruptions", result.mean_hours_between_interruptions},
         {"lost", std::move(lost)},
         {"failures", std::move(failures)},
         {"checkpoint",
          {{"blocks_s", result.checkpoint_s},
           {"write_s", result.checkpoint_write_s},
           {"interval_young_s", result.interval_young_s},
           {"interval_daly_s", result.interval_daly_s},
           {"interval_used_s", result.interval_used_s}}},
         {"step_s", result.step_s},
         {"analytic_step_s", result.analytic_step_s},
         {"longest_outage_s", interval(result.longest_outage_s)},
         {"stragglers", result.stragglers},
         {"checkpoints", result.checkpoints},
         {"events", result.events}};
  if (!result.interval_sweep.empty()) {
    out["checkpoint"]["interval_simulated_s"] = result.interval_simulated_s;
    out["checkpoint"]["sweep"] = std::move(sweep);
  }
}

void to_json(json& out, const ServingPoint& point) {
  out = {{"tensor", point.layout.tensor},
         {"expert", point.layout.expert},
         {"pipeline", point.layout.pipeline},
         {"chips", point.layout.chips()},
         {"batch", point.batch},
         {"first_token_s", point.first_token_s},
         {"time_per_token_s", point.time_per_token_s},
         {"output_tokens_per_s", point.output_tokens_per_s},
         {"output_tokens_per_s_per_chip", point.output_tokens_per_s_per_chip},
         {"kv_bytes_per_token", point.kv_bytes_per_token},
         {"kv_bytes", point.kv_bytes},
         {"weight_bytes", point.weight_bytes},
         {"usd_per_million_output", point.usd_per_million_output},
         {"feasible", point.feasible}};
}

void to_json(json& out, const ServingResult& result) {
  json hours = json::array();
  for (const auto& hour : result.day)
    hours.push_back({{"load_tokens_per_s", hour.load},
                     {"serving_chips", hour.serving_chips},
                     {"training_chips", hour.training_chips}});
  out = {{"best", result.best},         {"fastest", result.fastest},           {"curve", list(result.curve)},
         {"replicas", result.replicas}, {"users_served", result.users_served}, {"day", std::move(hours)}};
  if (!result.remedy.empty()) out["remedy"] = result.remedy;
}

void to_json(json& out, const ScheduleResult& result) {
  json distribution = json::array(), tasks = json::array(), purchases = json::array(), ramp = json::array();
  for (const auto& [date, share] : result.distribution)
    distribution.push_back({{"day", day(date)}, {"share", share}});
  for (const auto& task : result.tasks)
    tasks.push_back({{"id", task.id},
                     {"name", task.name},
                     {"start_p50", day(task.start_p50)},
                     {"finish_p10", day(task.finish_p10)},
                     {"finish_p50", day(task.finish_p50)},
                     {"finish_p90", day(task.finish_p90)},
                     {"criticality", task.criticality},
                     {"days_per_day", task.days_per_day}});
  for (const auto& purchase : result.purchases) purchases.push_back(purchase_json(purchase));
  json bundle = json::array();
  for (const auto& purchase : result.bundle) bundle.push_back(purchase_json(purchase));
  for (const auto& week : result.ramp)
    ramp.push_back({{"day", day(week.day)},
                    {"energised_p10", week.energised_p10},
                    {"energised_p50", week.energised_p50},
                    {"energised_p90", week.energised_p90},
                    {"power_mw_p50", week.power_mw_p50}});
  out = {{"probability", result.probability},
         {"standard_error", result.standard_error},
         {"p10", day(result.p10)},
         {"p50", day(result.p50)},
         {"p80", day(result.p80)},
         {"p90", day(result.p90)},
         {"distribution", std::move(distribution)},
         {"tasks", std::move(tasks)},
         {"critical_path", result.critical_path},
         {"purchases", std::move(purchases)},
         {"bundle", std::move(bundle)},
         {"bundle_probability", result.bundle_probability},
         {"ramp", std::move(ramp)}};
}

void to_json(json& out, const TrackResult& result) {
  json rows = json::array();
  for (const auto& row : result.rows)
    rows.push_back({{"id", row.id},
                    {"name", row.name},
                    {"state", row.state},
                    {"planned_finish", day(row.planned_finish)},
                    {"progress", row.progress},
                    {"forecast_finish", day(row.forecast_finish)},
                    {"forecast_p10", day(row.forecast_p10)},
                    {"forecast_p90", day(row.forecast_p90)},
                    {"days_late", row.days_late}});
  out = {{"summary", result.summary},
         {"before", result.before},
         {"now", result.now},
         {"tasks", std::move(rows)}};
}

void to_json(json& out, const PowerResult& result) {
  json months = json::array();
  for (const auto& month : result.months)
    months.push_back({{"month", day(month.month)},
                      {"energised", month.energised},
                      {"it_mw", month.it_mw},
                      {"facility_mw", month.facility_mw},
                      {"peak_mw", month.peak_mw},
                      {"grid_mw", month.grid_mw},
                      {"generator_mw", month.generator_mw},
                      {"battery_mw", month.battery_mw},
                      {"shortfall_mw", month.shortfall_mw},
                      {"mwh", month.mwh},
                      {"grid_mwh", month.grid_mwh},
                      {"generator_mwh", month.generator_mwh},
                      {"tonnes_co2", month.tonnes_co2},
                      {"usd", month.usd}});
  out = {{"draw", draw_json(result.draw)},
         {"months", std::move(months)},
         {"enough", result.enough},
         {"enough_from", day(result.enough_from)},
         {"chips_powered", result.chips_powered},
         {"sentence", result.sentence},
         {"mwh_per_year", result.mwh_per_year},
         {"usd_per_year", result.usd_per_year},
         {"tonnes_co2_per_year", result.tonnes_per_year},
         {"battery_minutes", result.battery_minutes},
         {"ramp_within_limit", result.ramp_within_limit}};
}

void to_json(json& out, const MoneyResult& result) {
  json lines = json::array(), options = json::array(), sensitivity = json::array();
  for (const auto& line : result.lines)
    lines.push_back({{"name", line.name}, {"group", line.group}, {"usd", line.usd}});
  for (const auto& option : result.options)
    options.push_back({{"name", option.name},
                       {"usd_over_years", option.usd_over_years},
                       {"usd_per_chip_hour", option.usd_per_chip_hour},
                       {"net_present_usd", option.net_present_usd},
                       {"months_until_first_chips", option.months_until_first_chips}});
  for (const auto& row : result.sensitivity)
    sensitivity.push_back({{"name", row.name}, {"low_usd", row.low_usd}, {"high_usd", row.high_usd}});
  out = {{"lines", std::move(lines)},
         {"capital_usd", result.capital_usd},
         {"running_usd_per_year", result.running_usd_per_year},
         {"financing_usd", result.financing_usd},
         {"resale_usd", result.resale_usd},
         {"total_usd", result.total_usd},
         {"usd_per_chip_hour", result.usd_per_chip_hour},
         {"usd_per_training_run", result.usd_per_training_run},
         {"options", std::move(options)},
         {"sensitivity", std::move(sensitivity)},
         {"breakeven_years", result.breakeven_years}};
}

void to_json(json& out, const NetworkBill& bill) {
  json lines = json::array();
  for (const auto& line : bill.lines)
    lines.push_back({{"item", line.item},
                     {"what", line.what},
                     {"count", line.count},
                     {"unit_usd", line.unit_usd},
                     {"unit_w", line.unit_w}});
  out = {{"lines", std::move(lines)},
         {"price_usd", bill.price_usd},
         {"power_w", bill.power_w},
         {"switches", bill.switches},
         {"cables", bill.cables}};
}

void to_json(json& out, const Network& network) {
  json tiers = json::array();
  for (const auto& tier : network.tiers())
    tiers.push_back({{"name", tier.name},
                     {"reach", tier.reach},
                     {"switches", tier.switches},
                     {"bytes_per_s", tier.bytes_per_s},
                     {"latency_s", tier.latency_s}});
  out = {{"topology", key_of(network.spec().topology)},
         {"topology_name", to_string(network.spec().topology)},
         {"chips", network.chips()},
         {"domain", network.domain()},
         {"tiers", std::move(tiers)},
         {"bisection_bytes_per_s", network.bisection_bytes_per_s()},
         {"bill", network.bill()}};
}

}  // namespace fathom::cluster
