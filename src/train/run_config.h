// A training run as people write it down: one TOML file, every key with its bounds. Strict: an unknown key is an error that
// names the line.
//
//   seed = 1                     of weights and of the order of samples
//   layout = "data=2 zero=1"     train/layout.h; one rank where it is missing
//   precision = "auto"           f32, bf16 (products; weights stay F32), or auto: bf16 where the processor is faster with it
//   recompute = "selective"      none, selective, full: what of a layer is kept for the backward pass
//   folder = "run"               where the run lives; left out: beside the file, of its name without ".toml"
//   [model]
//   description = "tiny.toml"    a description (model/description.h) by its path, or a preset's name; or, in its place,
//   file = "base.gguf"           a model to go on from: a GGUF file or a Hugging Face folder
//   deviation = 0.02             of random weights
//   [data]
//   train = "tokens/train"       a folder that `fathom data prepare` made
//   held_out = "tokens/held-out" the same, for evaluation
//   length = 512                 tokens of a sequence; left out: the model's context
//   tokenizer = "tokenizer.gguf" what goes into an exported model; left out: that of `file`, or what lies
//                                beside the folder `train`
//   [batch]
//   sequences = 64               of one step, over all ranks
//   micro = 1                    of one forward and backward pass of a rank
//   [optimiser]                  AdamW: beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1, clip = 1.0 (of the
//                                global norm; 0: none), average = 0 (decay of an average of the weights; 0: none)
//   [loss]                       z = 0 (weight of the z-loss), balance = 0.01 (of the experts' load balancing),
//                                capacity = 0 (of experts, as a factor; 0: nothing is dropped)
//   [schedule]                   train/learning_rate.h: kind = "cosine" (or constant, wsd), learning_rate = 6e-4, floor = 0.1,
//                                warmup = 100 (steps; at most a tenth), decay (steps, of wsd; a fifth), and one of
//   steps = 1000                 or
//   tokens = 1e9                 rounded up to whole steps
//   [lora]                       rank (needed), alpha = 16, matrices (left out: all seven of a block): adapters; the rest
//                                is frozen; prompt: how the model is asked (recipes/grounded);
//                                prompt = "cited": how the adapter is to be asked (infer/adapter.h)
//   [checkpoint]                 steps = 500 and minutes = 30 between them (whichever comes first; 0: not by this), keep = 3
//   [evaluate]                   every = 500 (steps; 0: at the end alone), batches = 8
//
// Paths in the file are relative to it. Plain values; thread-safe as such. Errors of all: kInvalidArgument "FILE:LINE: ...".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/toml.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/gemm.h"
#include "train/decoder.h"
#include "train/layout.h"
#include "train/learning_rate.h"
#include "train/optimiser.h"
#include "train/parameters.h"

namespace fathom::train {

struct RunConfig {
  uint64_t seed = 1;
  Layout layout;
  tensor::Precision precision = tensor::Precision::kF32;
  Recompute recompute = Recompute::kSelective;
  std::filesystem::path folder;

  model::ModelConfig model;  // in the layout of tensors that training has: nothing fused, experts stacked
  std::filesystem::path model_file;  // to go on from; empty: random weights
  float deviation = 0.02f;

  std::filesystem::path train, held_out;  // held_out may be empty
  size_t length = 0;
  std::filesystem::path tokenizer;  // may be empty

  size_t sequences = 0;
  size_t micro = 0;

  OptimiserOptions optimiser;
  float z_loss = 0, balance_weight = 0.01f, capacity_factor = 0;
  LearningRate schedule;  // with the number of steps
  LoraSpec lora;
  std::string adapter_prompt;  // or empty

  uint64_t checkpoint_steps = 500;
  double checkpoint_minutes = 30;
  size_t checkpoints_kept = 3;
  uint64_t evaluate_every = 500;
  size_t evaluate_batches = 8;

  /// The file that it was read from, as it was, and the changes: from these it can be read again.
  std::string text;
  std::filesystem::path file;  // absolute
  std::vector<std::string> changes;

  uint64_t steps() const { return schedule.steps; }
  uint64_t tokens_per_step() const { return uint64_t{sequences} * length; }
  /// Of one data rank in a step.
  size_t micro_batches() const { return sequences / (micro * layout.data); }

  /// JSON {"file", "text", "changes"}: what a checkpoint keeps of the run.
  std::string as_json() const;
};

/// `changes`: as TomlTable::changed. `presets`: the folder of descriptions. Errors: kNotFound, kIo too; those of reading the
/// model.
RunConfig read_run(const std::filesystem::path& file, const std::vector<std::string>& changes,
                   const std::filesystem::path& presets);
/// From what as_json gave. Errors: kCorrupt for other text, and as read_run.
RunConfig parse_run(std::string_view json, const std::filesystem::path& presets);

}  // namespace fathom::train
