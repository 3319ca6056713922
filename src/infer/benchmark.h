// How fast and how large a model is on this machine, measured through the engine as its users call it, and held against
// what the machine can do at most (tensor/limits.h).
//
// Prompts are random tokens, so that nothing is found in the cache; generation is greedy, goes on past the end token and
// guesses nothing. What guessing from the prompt (infer/lookup.h) brings is measured apart, on a prompt that says the same
// thing again and again, which a model that has learned from text goes on with. Runs of all kinds take turns, so that a
// disturbance of the machine falls on each alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "infer/engine.h"

namespace fathom::infer {

struct BenchmarkOptions {
  size_t prompt = 512;  // tokens read for the prefill rate and the time to the first token
  size_t tokens = 128;  // written for the decode rate
  std::vector<size_t> sequences = {1, 4, 8,
                                   16};  // that are decoded together, each asked for by a thread of its own
  size_t sequence_prompt = 16;
  size_t sequence_tokens = 64;
  size_t copy_tokens = 128;  // written after a prompt that repeats itself, with lookup and without
  size_t runs = 5;
  double limit_seconds = 0.1;  // of each measurement of the machine, once a run
  uint64_t seed = 1;
  std::filesystem::path adapter;  // applied to the model; empty: none
};

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};
/// REQUIRES: values is not empty.
Spread spread(std::vector<double> values);

struct BatchRate {
  size_t sequences = 0;
  Spread tokens_per_second;  // of all together, from the first token of the first to the last of the last
};

/// The same answer with guesses from the prompt and without, token for token: one sequence.
struct CopyRate {
  size_t tokens = 0;   // of the answer; 0: the context holds no such prompt and answer, nothing was measured
  Spread plain;        // tokens a second
  Spread guessing;     // tokens a second
  Spread gain;         // of runs side by side
  double guessed = 0;  // share of the tokens that were guessed
};

struct BenchmarkReport {
  ModelInfo model;
  size_t threads = 0;
  std::string instruction_set;
  double load_seconds = 0;

  Spread prefill;      // tokens a second
  Spread first_token;  // seconds from the call to the first token of the answer
  Spread decode;       // tokens a second, one sequence
  std::vector<BatchRate> batches;
  CopyRate copy;

  uint64_t weight_bytes = 0;         // of the file's tensors
  uint64_t cache_bytes = 0;          // of keys and values that were kept at the end
  uint64_t resident_after_load = 0;  // bytes; 0 where the system does not tell
  uint64_t resident_at_most = 0;

  double read_bandwidth = 0;        // bytes a second
  double integer_peak = 0;          // operations a second, 8 bits
  double float_peak = 0;            // operations a second, f32
  uint64_t bytes_per_token = 0;     // of weights, read for each decoded token
  double operations_per_token = 0;  // of prefill, on average over the prompt
  bool integer_products = false;    // weights meet 8-bit activations: prefill's limit is the integer peak

  double decode_limit() const { return read_bandwidth / static_cast<double>(bytes_per_token); }
  double prefill_limit() const {
    return (integer_products ? integer_peak : float_peak) / operations_per_token;
  }
};

/// `progress` is called with the share of the work that is done, 0..1.
/// Errors: as Engine::load and Engine::generate; kInvalidArgument for options that do not fit the model's context; kInternal
/// where guessing changed an answer.
BenchmarkReport run_benchmark(const std::filesystem::path& model, const BenchmarkOptions& options,
                              ThreadPool& pool, const std::function<void(double)>& progress);

}  // namespace fathom::infer
