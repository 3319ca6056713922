// Products of two matrices of activations, weights or gradients: what the forward and the backward pass of training are
// made of.
//
//   c[m][n] = alpha * sum over k of op(a)[m][k] * op(b)[k][n]  [+ c[m][n]]
//
// All matrices are F32 in memory, stored by rows, contiguous within a row. With Precision::kBF16 the elements of a and b
// are rounded to BF16 on the way into the kernel's panels and sums are F32 (mixed precision as in Micikevicius et al.,
// 2018, with F32 master weights); on a processor without BF16 products the result is that of rounded elements all the same.
// Rounding is to nearest even. The BF16 products of AVX-512 take denormals for zero; nothing else tells the two apart but
// the order of the sums.
// Panels and tiles follow Goto and van de Geijn (2008). The order of every sum depends on k alone, not on m, n or on how
// the threads share the work: the same row of a gives the same row of c in any batch.
//
// Thread safety: reentrant; the pool is the caller's. Scratch for the panels is the caller's too: nothing is allocated.
#pragma once

#include <cstddef>
#include <span>

#include "base/thread_pool.h"

namespace fathom::tensor {

enum class Precision { kF32, kBF16 };

/// Whether this processor multiplies BF16 faster than F32.
bool has_fast_bf16();

struct GemmArgs {
  size_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // op(a): [m, k]; with a_transposed it lies as [k, m]
  size_t a_stride = 0;       // floats from one stored row to the next
  bool a_transposed = false;
  const float* b = nullptr;  // op(b): [k, n]; with b_transposed it lies as [n, k], as weights do: [out, in]
  size_t b_stride = 0;
  bool b_transposed = false;
  float* c = nullptr;  // [m, n]
  size_t c_stride = 0;
  float alpha = 1.0f;
  bool add = false;  // to what c holds
  Precision precision = Precision::kF32;
};

/// Bytes of scratch that `gemm` needs on so many threads, for any sizes.
size_t gemm_scratch_bytes(size_t threads);

/// REQUIRES: `scratch` is 64-byte aligned and has gemm_scratch_bytes(pool.size()); c overlaps neither a nor b.
void gemm(const GemmArgs& args, ThreadPool& pool, std::span<std::byte> scratch);

/// The same, one sum after another: what `gemm` is tested against.
void gemm_reference(const GemmArgs& args);

}  // namespace fathom::tensor
