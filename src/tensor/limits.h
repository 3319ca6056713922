// What the machine can do at most, measured: the limits that `fathom bench` holds a model's speed against.
//
// Each function keeps all threads of the pool busy for about `seconds` and gives the best of several passes, so that other
// programs on the machine lower it little. The instruction set is the one that the kernels would choose.
#pragma once

#include "base/thread_pool.h"

namespace fathom::tensor {

/// Bytes a second read from memory, from more than any cache holds.
double measure_read_bandwidth(ThreadPool& pool, double seconds);

/// Operations a second (two a product) of 8-bit integer products added up in 32 bits, from registers.
double measure_integer_peak(ThreadPool& pool, double seconds);

/// Operations a second (two a product) of f32 multiply-adds, from registers.
double measure_float_peak(ThreadPool& pool, double seconds);

}  // namespace fathom::tensor
