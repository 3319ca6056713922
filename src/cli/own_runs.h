// A few steps of `fathom train` on this machine beside what the planner says of them.
//
// Ranks are threads of this process, each with one core; what a rank can do (products, attention, passes over memory,
// collectives between such ranks) is measured by cluster/calibrate.h immediately before the steps that are compared with it. Both sides take the fastest of what they measure, which is what a shared machine
// can repeat. Not thread-safe while measuring: it is the machine that is measured.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/step_cost.h"
#include "model/config.h"
#include "train/layout.h"

namespace fathom::cli {

struct OwnRun {
  std::string name;  // of the shape: "wide"
  model::ModelConfig model;
  train::Layout layout;
  size_t length = 0;     // tokens of a sequence
  size_t sequences = 0;  // of a step, all ranks
  size_t micro = 0;      // sequences of a micro-batch
};

/// Shapes by layouts on one and two ranks, in F32; `smallest`: sizes for a test.
std::vector<OwnRun> own_runs(bool smallest);

struct OwnResult {
  OwnRun run;
  double predicted = 0, measured = 0;  // seconds of a step
  cluster::StepTime parts;             // of the prediction
  double error() const { return predicted / measured - 1; }
};

struct OwnOptions {
  size_t rounds = 3;                // of calibration and steps; the one of the median error counts
  size_t steps = 3;                 // measured ones of a round, after one that touches the memory
  double calibrate_seconds = 0.02;  // of each measurement
  size_t file_bytes = size_t{8} << 20;
  bool smallest = false;
};

/// `told` is called with each result as it comes. Errors: kIo, kResourceExhausted.
std::vector<OwnResult> compare_own_runs(const OwnOptions& options,
                                        const std::function<void(const OwnResult&)>& told);

/// Seconds of the fastest of `steps` training steps on random tokens, by the slowest rank.
double measure_own_run(const OwnRun& run, size_t steps);

/// The planner's view of the same step on `chip`.
cluster::StepCost predict_own_run(const OwnRun& run, const cluster::Catalogue& catalogue,
                                  const std::string& chip);

/// Entries of the catalogue for `ranks` ranks as threads of this process, under the name "this-machine".
cluster::Catalogue calibrate_ranks(size_t ranks, const OwnOptions& options);

}  // namespace fathom::cli
