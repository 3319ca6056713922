// One iteration of a server with continuous batching (Yu et al., 2022: Orca), on one chip of a replica, from the model's
// shapes: sequences that decode a token each and, in the same pass, a chunk of the prompts that come in.
//
// Products take the rows of both together, so that weights are read once for both; attention of decoding reads its keys and
// values from memory, that of prompts computes. Values; thread-safe; allocates nothing.
#pragma once

#include <cstdint>

#include "cluster/layer_cost_kernels.h"
#include "cluster/serving.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

/// Constants of ChipEfficiency::more that serving reads (as serving_NAME), with what holds where an entry is missing. The
/// kernels of a serving runtime are not those of a training framework, so that they have a set of their own; of the
/// chip's other constants only the number of its units counts.
struct ServingConstants {
  double gemm_fraction = 0.61;      // of the peak, by a large product in 8 bits
  double gemm_lowest = 0.66;        // of that, by one in 4 bits
  double gemm_k_half = 160;         // as ChipEfficiency::gemm_k_half
  double memory_fraction = 0.85;    // of the memory bandwidth, by everything but attention
  double attention_fraction = 0.5;  // of the peak, attention of prompts
  double step_s = 1e-3;             // of the host program, for each iteration; hidden behind the chips' work
  double sequence_s = 38e-6;        // and for each sequence of it: sampling, stop conditions, text
  double launch_s = 1e-6;           // between two kernels of a captured graph
  double kernels_a_layer = 12;      // that are not products or attention
  double kv_fraction = 0.9;         // of the memory bandwidth, reading keys and values
  double grouped_fraction = 0.4;    // of the rate of a plain product, by those of many experts in one kernel
  double imbalance = 1.8;           // of the most loaded chip over the mean, where experts are spread whole
  double reserve_gb = 8;            // that the runtime keeps of each chip: graphs, workspaces, activations
  double max_batch = 4096;          // sequences that a server takes at most, for each group of attention
  static ServingConstants of(const ChipEfficiency& efficiency);
};

class ServingCost {
 public:
  /// Keeps references: all must outlive it. REQUIRES: layout divides what it splits (serving_layout_fits).
  ServingCost(const model::ModelConfig& model, const Machine& machine, const ServingSpec& spec,
              const ServingLayout& layout);
  ServingCost(const ServingCost&) = delete;
  ServingCost& operator=(const ServingCost&) = delete;

  struct Iteration {
    double sequences = 0;       // decoding, of the whole replica
    double context = 0;         // positions that each attends to, mean
    double prompt_tokens = 0;   // of prompts, of the whole replica
    double prompt_context = 0;  // positions that each of them attends to, mean
    double prompt_length = 1;   // of a prompt
  };
  /// Seconds of one iteration.
  double seconds(const Iteration& at) const;
  /// The same where every sequence is somewhere between its first and its last token, and prompts come in as fast as
  /// sequences end.
  double steady_seconds(double sequences) const;

  double weight_bytes() const { return weight_bytes_; }  // of one chip
  double kv_bytes_per_token() const {
    return kv_bytes_per_token_;
  }                                      // of one chip, of one sequence of its group
  double kv_bytes(double tokens) const;  // of a sequence so long, windows considered
  double kv_capacity() const;            // bytes of one chip
  uint64_t most_sequences() const;       // of the replica, that memory and the server allow
  const ServingConstants& constants() const { return constants_; }

 private:
  struct Rows {
    double all = 0, decode = 0, prompt = 0;
  };
  double product(double rows, double in, double out, double count = 1) const;
  double grouped(double rows, double in, double out, double count) const;
  double attention(bool windowed, const Iteration& at, double groups) const;
  double projections(double rows) const;
  double dense_ffn(double rows, double width) const;
  double experts(double rows, double replica_rows) const;
  double tensor_sum(double rows) const;
  double expert_exchange(double rows) const;
  double attention_parameters() const;
  double layer_kv_bytes() const;
  void count_bytes();

  const model::ModelConfig& model_;
  const Machine& machine_;
  const ServingSpec& spec_;
  const ServingLayout layout_;
  const ServingConstants constants_;
  const Accelerator chip_;     // with the constants of serving in place of training's
  const KernelModel kernels_;  // refers to chip_
  double groups_ = 1;  // of attention, each with sequences of its own, where experts lie over more than one
  double weight_bytes_ = 0, kv_bytes_per_token_ = 0;
};

/// Whether the layout cuts heads, layers and experts evenly.
bool serving_layout_fits(const model::ModelConfig& model, const ServingLayout& layout);

}  // namespace fathom::cluster
