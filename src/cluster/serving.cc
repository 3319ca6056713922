#include "cluster/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/toml.h"
#include "cluster/serving_cost.h"

namespace fathom::cluster {
namespace {

/// Tokens of prompts that one iteration takes at most (chunked prefill: Agrawal et al., 2023).
constexpr double kChunk = 8192;
/// Of what the replicas can do, asked of them at the peak: the rest is for bursts and for uneven lengths.
constexpr double kBusy = 0.9;
/// The peak is in the evening, the trough before dawn at a third of it: public traffic of consumer services.
constexpr std::array<double, 24> kUsualDay{0.55, 0.45, 0.38, 0.34, 0.33, 0.35, 0.42, 0.52,
                                           0.65, 0.76, 0.83, 0.87, 0.88, 0.89, 0.90, 0.90,
                                           0.91, 0.93, 0.96, 0.99, 1.00, 0.97, 0.85, 0.70};

ServingPoint point_at(const ServingCost& cost, const ServingSpec& spec, const ServingLayout& layout,
                      uint64_t batch) {
  ServingPoint out;
  out.layout = layout;
  out.batch = batch;
  out.weight_bytes = cost.weight_bytes();
  out.kv_bytes_per_token = cost.kv_bytes_per_token();
  const uint64_t most = cost.most_sequences();
  if (batch == 0) return out;
  const double sequences = static_cast<double>(batch);
  const double groups =
      std::max(1.0, static_cast<double>(layout.chips()) / (layout.tensor * layout.pipeline));
  out.kv_bytes =
      sequences / groups *
      cost.kv_bytes(static_cast<double>(spec.input_tokens) + static_cast<double>(spec.output_tokens) / 2);
  double decoding = sequences;
  // So many requests come in waves, of which the last is as large as what is left: the mean counts.
  if (spec.requests > 0) {
    const double requests = static_cast<double>(spec.requests);
    decoding = std::min(decoding, requests / std::ceil(requests / decoding));
  }
  const double iteration = cost.steady_seconds(decoding);
  out.time_per_token_s = iteration;
  out.output_tokens_per_s = decoding / iteration;
  out.output_tokens_per_s_per_chip = out.output_tokens_per_s / static_cast<double>(layout.chips());
  // A prompt comes in chunks, beside those that decode.
  const double fresh = std::max(1.0, static_cast<double>(spec.input_tokens) * (1 - spec.cached_share));
  ServingCost::Iteration first;
  first.sequences = decoding;
  first.context = static_cast<double>(spec.input_tokens) + static_cast<double>(spec.output_tokens) / 2;
  first.prompt_tokens =
      std::min(fresh, kChunk) * groups * layout.pipeline;  // one in each, of which ours is one
  first.prompt_length = static_cast<double>(spec.input_tokens);
  first.prompt_context = static_cast<double>(spec.input_tokens) * (1 + spec.cached_share) / 2;
  // It waits for half an iteration under way, on average.
  out.first_token_s = std::ceil(fresh / kChunk) * cost.seconds(first) + iteration / 2;
  out.feasible = batch <= most;
  return out;
}

bool within_bounds(const ServingPoint& point, const ServingSpec& spec) {
  return point.feasible && point.time_per_token_s <= spec.max_time_per_token_s &&
         point.first_token_s <= spec.max_first_token_s;
}

/// The largest batch within the bounds; both latencies grow with it.
ServingPoint largest_within(const ServingCost& cost, const ServingSpec& spec, const ServingLayout& layout) {
  const uint64_t most = cost.most_sequences();
  if (most == 0) return point_at(cost, spec, layout, 0);
  const uint64_t least = layout.pipeline;
  ServingPoint best = point_at(cost, spec, layout, std::min(most, least));
  if (!within_bounds(best, spec)) {
    best.feasible = false;
    return best;
  }
  uint64_t low = std::min(most, least), high = most;
  while (low < high) {
    const uint64_t middle = low + (high - low + 1) / 2;
    const ServingPoint point = point_at(cost, spec, layout, middle);
    if (within_bounds(point, spec)) {
      low = middle;
      if (point.output_tokens_per_s > best.output_tokens_per_s) best = point;
    } else {
      high = middle - 1;
    }
  }
  return best;
}

std::vector<ServingLayout> layouts_of(const model::ModelConfig& model, const Machine& machine, double chips) {
  std::vector<ServingLayout> out;
  const double room = std::min(chips, static_cast<double>(std::max<uint64_t>(machine.chips, 1)));
  const uint32_t widest = std::max<uint32_t>(1, machine.network.domain());
  for (uint32_t tensor = 1; tensor <= widest && tensor <= 64; tensor *= 2)
    for (uint32_t pipeline = 1; pipeline <= 16; pipeline *= 2)
      for (uint32_t expert = 1; expert <= 512; expert *= 2) {
        const ServingLayout layout{tensor, expert, pipeline};
        if (expert > 1 && (model.dense() || pipeline > 1)) break;
        if (static_cast<double>(layout.chips()) > room) break;
        if (serving_layout_fits(model, layout)) out.push_back(layout);
      }
  return out;
}

/// Chips that a load takes, in whole replicas, and what is left for training.
ServingResult::Hour hour_of(double load, double chips, const ServingPoint& best) {
  ServingResult::Hour hour;
  hour.load = load;
  const double replica = static_cast<double>(best.layout.chips());
  const double wanted = std::ceil(load / (best.output_tokens_per_s * kBusy) - 1e-9) * replica;
  hour.serving_chips = std::min(std::floor(chips / replica) * replica, wanted);
  hour.training_chips = chips - hour.serving_chips;
  return hour;
}

double dollars_per_million(const ServingPoint& point, double usd_per_chip_hour) {
  if (point.output_tokens_per_s_per_chip <= 0) return 0;
  return usd_per_chip_hour / (point.output_tokens_per_s_per_chip * 3600) * 1e6;
}

/// Weights and one sequence, over all chips of the layout that spreads them furthest.
std::string memory_remedy(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                          double chips) {
  const double room = machine.chip.memory_bytes;
  double least = HUGE_VAL;
  for (const ServingLayout& layout : layouts_of(model, machine, chips))
    least = std::min(least, ServingCost(model, machine, spec, layout).weight_bytes());
  const double whole = ServingCost(model, machine, spec, {1, 1, 1}).weight_bytes();
  std::string out = fmt::format(
      "{} in {} has {:.4g} GB of weights, {:.3g} GB a chip in the widest layout of {:.0f} chips, and {} has "
      "{:.3g} GB "
      "for them, what the server itself needs ({:.3g} GB) and the keys and values of {} tokens",
      model.name.empty() ? "the model" : model.name, to_string(spec.weights), whole / 1e9, least / 1e9, chips,
      machine.chip.name, room / 1e9, ServingConstants::of(machine.chip.efficiency).reserve_gb,
      spec.input_tokens + spec.output_tokens);
  out += spec.weights == Precision::kBf16 || spec.weights == Precision::kFp16
             ? "; weights = \"fp8\" halves them"
         : spec.weights == Precision::kFp8 ? "; weights = \"fp4\" halves them"
                                           : "";
  return out + "; more chips, chips with more memory or shorter requests would do";
}

std::string bounds_remedy(const ServingResult& result, const ServingSpec& spec) {
  const ServingPoint& fastest = result.fastest;
  return fmt::format(
      "no layout keeps {:.3g} s to the first token and {:.3g} ms for each after it: the fastest, tp {} pp {} "
      "ep {} with one "
      "request at a time, takes {:.3g} s and {:.3g} ms; set max_first_token_s and max_time_per_token_s above "
      "these, or "
      "take fewer bits, shorter prompts or faster chips",
      spec.max_first_token_s, spec.max_time_per_token_s * 1e3, fastest.layout.tensor, fastest.layout.pipeline,
      fastest.layout.expert, fastest.first_token_s, fastest.time_per_token_s * 1e3);
}

}  // namespace

ServingSpec ServingSpec::read(const TomlTable& table) {
  table.allow({"weights", "kv", "input_tokens", "output_tokens", "cached_share", "max_time_per_token_s",
               "max_first_token_s", "users_online", "seconds_between_requests", "memory_share", "requests",
               "day"});
  ServingSpec out;
  const auto precision = [&](std::string_view key, Precision otherwise) {
    return static_cast<Precision>(
        table.choice_or(key, static_cast<size_t>(otherwise), {"fp32", "tf32", "bf16", "fp16", "fp8", "fp4"}));
  };
  out.weights = precision("weights", out.weights);
  out.kv = precision("kv", out.kv);
  const auto tokens = [&](std::string_view key, uint64_t otherwise) {
    return static_cast<uint64_t>(table.integer_or(key, static_cast<int64_t>(otherwise), 1, int64_t{1} << 30));
  };
  out.input_tokens = tokens("input_tokens", out.input_tokens);
  out.output_tokens = tokens("output_tokens", out.output_tokens);
  out.cached_share = table.number_or("cached_share", out.cached_share, 0, 0.99);
  out.max_time_per_token_s = table.number_or("max_time_per_token_s", out.max_time_per_token_s, 1e-6, 1e4);
  out.max_first_token_s = table.number_or("max_first_token_s", out.max_first_token_s, 1e-6, 1e5);
  out.users_online = table.number_or("users_online", out.users_online, 0, 1e11);
  out.seconds_between_requests =
      table.number_or("seconds_between_requests", out.seconds_between_requests, 1e-3, 1e7);
  out.memory_share = table.number_or("memory_share", out.memory_share, 0.01, 1);
  out.requests = static_cast<uint64_t>(table.integer_or("requests", 0, 0, int64_t{1} << 50));
  out.day = table.numbers("day", 0, 1);
  if (!out.day.empty() && out.day.size() != 24)
    table.error("day", "has 24 numbers, one an hour, as shares of the peak");
  return out;
}

ServingPoint serve_at(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                      const ServingLayout& layout, uint64_t batch) {
  if (!serving_layout_fits(model, layout)) {
    ServingPoint none;
    none.layout = layout;
    return none;
  }
  const ServingCost cost(model, machine, spec, layout);
  return point_at(cost, spec, layout, batch == 0 ? cost.most_sequences() : batch);
}

ServingPoint serve_on(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                      uint32_t chips, uint64_t batch) {
  ServingPoint best = serve_at(model, machine, spec, {chips, 1, 1}, batch);
  if (model.dense()) return best;
  for (uint32_t tensor = 1; tensor <= chips; tensor *= 2) {
    const ServingPoint point = serve_at(model, machine, spec, {tensor, chips, 1}, batch);
    const bool better = point.feasible != best.feasible
                            ? point.feasible
                            : point.output_tokens_per_s > best.output_tokens_per_s;
    if (better) best = point;
  }
  return best;
}

ServingResult plan_serving(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                           double chips, double usd_per_chip_hour) {
  ServingResult out;
  bool fits = false;
  for (const ServingLayout& layout : layouts_of(model, machine, chips)) {
    const ServingCost cost(model, machine, spec, layout);
    const ServingPoint point = largest_within(cost, spec, layout);
    const bool better = point.feasible != out.best.feasible
                            ? point.feasible
                            : point.output_tokens_per_s_per_chip > out.best.output_tokens_per_s_per_chip;
    if (point.batch > 0 && (better || out.best.batch == 0)) out.best = point;
    if (cost.most_sequences() == 0) continue;
    const ServingPoint alone = point_at(cost, spec, layout, 1);
    if (!fits || alone.time_per_token_s < out.fastest.time_per_token_s) out.fastest = alone;
    fits = true;
  }
  out.best.usd_per_million_output = dollars_per_million(out.best, usd_per_chip_hour);
  out.fastest.usd_per_million_output = dollars_per_million(out.fastest, usd_per_chip_hour);
  if (!fits) {
    out.remedy = memory_remedy(model, machine, spec, chips);
    return out;
  }
  const ServingCost cost(model, machine, spec, out.best.layout);
  const uint64_t most = cost.most_sequences();
  for (double batch = 1; batch < static_cast<double>(most) * 1.4; batch *= std::sqrt(2.0)) {
    const auto whole = std::min(most, static_cast<uint64_t>(std::llround(batch)));
    if (!out.curve.empty() && out.curve.back().batch == whole) continue;
    out.curve.push_back(point_at(cost, spec, out.best.layout, whole));
    out.curve.back().usd_per_million_output = dollars_per_million(out.curve.back(), usd_per_chip_hour);
  }
  if (!out.best.feasible) {
    out.remedy = bounds_remedy(out, spec);
    return out;
  }
  out.replicas = std::floor(chips / static_cast<double>(out.best.layout.chips()));
  const double of_user = static_cast<double>(spec.output_tokens) / spec.seconds_between_requests;
  out.users_served = out.replicas * out.best.output_tokens_per_s * kBusy / of_user;
  const double users = spec.users_online > 0 ? spec.users_online : out.users_served;
  for (size_t hour = 0; hour < kUsualDay.size(); ++hour) {
    const double share = spec.day.size() == kUsualDay.size() ? spec.day[hour] : kUsualDay[hour];
    out.day.push_back(hour_of(users * of_user * share, chips, out.best));
  }
  return out;
}

}  // namespace fathom::cluster
