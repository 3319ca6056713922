// The loop of training on one rank: batches, steps, evaluation, checkpoints, and what is done when something goes wrong.
//
// FOLDER holds checkpoints/, metrics.jsonl and its kin (train/monitor.h), run.json (the configuration, for `report` and
// `export`) and lock. Where FOLDER has checkpoints, training goes on from the newest sound one: on the same layout with the
// same bits as if it had never stopped.
//
// A batch whose loss or gradient is not finite is passed over. After three in a row the state is that of the newest
// checkpoint again and training goes on behind the bad batches; after three such returns without any progress it gives up.
// A stop that any rank is asked for ends all of them after the step, with a checkpoint. A checkpoint that cannot be written
// is told and does not end training; the last one, at the end, does.
//
// All ranks call `train` together. Not thread-safe. Errors: those of reading data and model; kInvalidArgument (data and
// model do not go together; the loss stays not finite), kResourceExhausted, kIo; kCancelled where another rank failed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "base/thread_pool.h"
#include "train/communicator.h"
#include "train/parameters.h"
#include "train/run_config.h"

namespace fathom::train {

struct TrainOptions {
  RunConfig run;
  std::stop_token stop;
  bool progress = false;  // a line on standard error, from rank 0
  /// Called on every rank before each step with the number that it will have; tests damage a run with it.
  std::function<void(uint64_t step, Parameters& parameters)> before_step;
};

struct TrainResult {
  bool stopped = false;  // before the last step
  uint64_t step = 0;
  uint64_t skipped = 0;
  std::optional<double> loss;  // of the last step that was done here; none when all had been done before
  std::optional<double> held_out_loss;
};

/// `world`: run.layout.ranks() ranks. The pool is this rank's own.
TrainResult train(const TrainOptions& options, std::unique_ptr<Communicator> world, ThreadPool& pool);

/// What the run asks of the decoder.
DecoderOptions decoder_options(const RunConfig& run);

inline constexpr const char* kCheckpointsFolder = "checkpoints";
inline constexpr const char* kRunRecord = "run.json";

}  // namespace fathom::train
