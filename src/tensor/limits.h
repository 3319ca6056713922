// What the machine can do at most, measured: the limits that `fathom bench` holds a model's speed against.
//
// Each measurement keeps all threads of the pool busy for about `seconds` and gives the best of several passes, so that other
// programs on the machine lower it little. The instruction set is the one that the kernels would choose. Owns memory larger
// than the caches for the time it lives; the pool is the caller's and outlives it. Not thread-safe.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "tensor/buffer.h"

namespace fathom::tensor {

/// Operations a second (two a product) of f32 multiply-adds, from registers; needs no memory.
double float_peak(ThreadPool& pool, double seconds);

class MachineLimits {
 public:
  /// Errors: kResourceExhausted.
  explicit MachineLimits(ThreadPool& pool);

  /// Bytes a second read from memory.
  double read_bandwidth(double seconds);
  /// Operations a second (two a product) of 8-bit integer products added up in 32 bits, from registers.
  double integer_peak(double seconds);
  double float_peak(double seconds) { return tensor::float_peak(pool_, seconds); }

  /// Of its own memory.
  size_t bytes() const { return memory_.bytes(); }

 private:
  ThreadPool& pool_;
  size_t pieces_;  // of each thread
  Buffer memory_;
};

}  // namespace fathom::tensor
