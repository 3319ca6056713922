// How long one kernel lasts on a chip, from its shape and the chip's constants (ChipEfficiency) alone.
//
// Products of matrices: the output is cut into tiles, the tiles into waves over the chip's units, the last wave is as long
// as a full one; each tile pays a ramp of `gemm_k_half` steps of the inner dimension beside its own; smaller tiles fill the
// chip better and reuse what they load less. The shortest of a few tile shapes and splits of the inner dimension counts, as
// libraries choose it; never less than the memory traffic takes. Everything else is memory traffic or, where attention is
// fused, arithmetic at a rate of its own. A value; thread-safe; allocates nothing.
#pragma once

#include <cstddef>

#include "cluster/catalogue.h"

namespace fathom::cluster {

/// Constants of ChipEfficiency::more that this file and step_cost.cc read, with what holds where an entry is missing.
struct ChipConstants {
  double gemm_tile_reuse = 14;           // of a tile: (m n / (m + n)) at which half of the rate is lost
  double gemm_low_precision = 0.9;       // fraction of the peak of fp8 products, over that of bf16
  double gemm_lowest_precision = 0.6;    // the same of fp4
  double attention_sequence_half = 450;  // positions at which fused attention reaches half of its fraction
  // Rates of FlashAttention 1 (and Triton's), and of FlashAttention 2, over that of the chip's own kernels.
  double attention_flash_1 = 0.35, attention_flash_2 = 0.55;
  double score_pass_share = 0.6;       // of memory_fraction, by softmax and dropout of unfused scores
  double attention_head_extra = 20;    // softmax work of one score, in elements of a head
  double host_kernel_s = 40e-6;        // of the host program, for each kernel that it launches one by one
  double host_backward_share = 0.4;    // of it, in a backward pass
  double host_collective_s = 30e-6;    // and for each collective
  double host_micro_batch_s = 1e-3;    // for each micro-batch and stage
  double host_step_s = 5e-3;           // for each step: data, optimiser's launch, logging
  double overlap_slowdown = 0.3;       // of computation while a collective runs beside it
  double overlap_share = 0.9;          // of the time of kernels that a collective can hide behind
  double fresh_memory_s_per_byte = 0;  // of memory that was given back to the system and is touched again
  // Of kernels, for each tenfold of the domains that wait for each other at every layer; of a step, for each tenfold of the
  // chips: the slowest of so many waits for none.
  double layer_jitter = 0.05, jitter = 0.003;

  static ChipConstants of(const ChipEfficiency& efficiency);
};

struct GemmShape {
  double m = 0, n = 0, k = 0;
  double count = 1;     // equal products in one kernel (batched, grouped)
  bool ragged = false;  // grouped: m is the mean of what each product has, which chance decides
};

/// One fused or unfused attention: `heads` of `queries` x `keys` positions, of which `pairs` are attended to.
struct AttentionShape {
  double batch = 1, heads = 1, kv_heads = 1;
  double queries = 0, keys = 0;
  double pairs =
      0;  // query-key pairs that count, of one head of one sequence: half of the square where causal
  double head_dim = 128, value_dim = 128;
  double generation = 1;  // share of the rate of the chip's own kernels
  bool skips = true;      // pairs that do not count are not computed
};

class KernelModel {
 public:
  /// Keeps a reference to the chip. `captured`: kernels are launched from a captured graph.
  KernelModel(const Accelerator& chip, bool captured);

  /// Seconds, launch included. `output_bytes`: of one element of the result; `accumulate`: it is also read.
  double gemm(const GemmShape& shape, Precision precision, double output_bytes = 2,
              bool accumulate = false) const;
  /// A kernel that only moves `bytes`.
  double pass(double bytes) const;
  double attention_forward(const AttentionShape& shape) const;
  double attention_backward(const AttentionShape& shape) const;

  const ChipConstants& constants() const { return constants_; }
  double peak(Precision precision) const { return chip_.peak(precision); }
  double memory_rate() const { return memory_rate_; }

 private:
  double filled_units(const AttentionShape& shape, double positions) const;
  double fused_rate(const AttentionShape& shape, double fraction) const;

  const Accelerator& chip_;
  ChipConstants constants_;
  double memory_rate_ = 1;  // bytes a second that kernels reach
  double launch_s_ = 0;
};

}  // namespace fathom::cluster
