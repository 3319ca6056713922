// What the machine serves: tokens a second, latency and cost of a model split over some of its chips.
//
// Prefill is bound by arithmetic, decode by memory bandwidth and the network within the group: the same layer costs as
// step_cost.h, forward only (serving_cost.h). Thread-safe, deterministic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Section [serving] of a scenario.
struct ServingSpec {
  Precision weights = Precision::kFp8;
  Precision kv = Precision::kFp8;
  uint64_t input_tokens = 1000;  // of a request, mean
  uint64_t output_tokens = 500;
  double cached_share = 0;             // of the input found in the prefix cache
  double max_time_per_token_s = 0.05;  // that users bear
  double max_first_token_s = 1.0;
  double users_online = 0;                // at the peak of the day
  double seconds_between_requests = 120;  // of one user
  double memory_share = 0.9;              // of what is left after weights, for keys and values
  uint64_t requests = 0;    // in all, served as fast as they can be (a benchmark); 0: without end
  std::vector<double> day;  // 24 factors of the peak; empty: a usual day
  static ServingSpec read(const TomlTable& table);
};

/// `tensor` cuts attention and, unless `expert` does, feed-forwards. With `expert` at most `tensor` the experts lie over the
/// same chips; above it over expert / tensor groups, each of which serves sequences of its own.
struct ServingLayout {
  uint32_t tensor = 1, expert = 1, pipeline = 1;
  uint64_t chips() const { return uint64_t{tensor} * pipeline * (expert > tensor ? expert / tensor : 1); }
};

struct ServingPoint {
  ServingLayout layout;
  uint64_t batch = 0;  // sequences decoded together
  double first_token_s = 0;
  double time_per_token_s = 0;
  double output_tokens_per_s = 0;  // of one replica
  double output_tokens_per_s_per_chip = 0;
  double kv_bytes_per_token = 0, kv_bytes = 0, weight_bytes = 0;  // of one chip
  double usd_per_million_output = 0;                              // at ServingCost
  bool feasible = false;
};

struct ServingResult {
  ServingPoint best;                // most tokens a chip-second within the bounds
  ServingPoint fastest;             // least time a token
  std::vector<ServingPoint> curve;  // throughput against latency, by batch, of the best layout
  double replicas = 0;              // on `chips`
  double users_served = 0;          // online at once, within the bounds
  struct Hour {
    double load = 0;  // tokens a second asked for
    double serving_chips = 0, training_chips = 0;
  };
  std::vector<Hour> day;  // the mix
  std::string remedy;     // where `best` is not feasible: why, and what would make it so; else empty
};

/// `chips`: how many may serve; `usd_per_chip_hour`: what one costs. Errors: none; infeasible, with a remedy, where
/// no layout fits into memory or none keeps the bounds.
ServingResult plan_serving(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                           double chips, double usd_per_chip_hour);
/// One layout at one batch: for validation. batch 0: as large as memory allows.
ServingPoint serve_at(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                      const ServingLayout& layout, uint64_t batch);

/// The layout of exactly so many chips, without stages, that makes the most tokens: what tuning a benchmark finds. For a
/// mixture, attention over any of 1, 2, 4, ... of them with the experts over all.
ServingPoint serve_on(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
                      uint32_t chips, uint64_t batch);

}  // namespace fathom::cluster
