// Vectors in 8 bits a dimension: symmetric, one scale a vector, so that value = scale * code with codes in [-127, 127]. Against
// 32-bit values that is a quarter of the memory, and a cosine that is off by less than 0.01.
//
// The inner product of codes is what a search spends its time on; it comes as a plain reference and as kernels for what the
// processor has, chosen when the program runs. All of them give the same whole number. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom::live {

/// Codes are kept in runs of a multiple of this, the rest zero, at addresses that are a multiple of it too.
inline constexpr size_t kCodeBlock = 64;
constexpr size_t padded(size_t dimensions) { return (dimensions + kCodeBlock - 1) / kCodeBlock * kCodeBlock; }

/// Writes the codes of `vector`, then zeros to the end of `codes`, and returns the scale. What is not finite counts as 0.
float quantise(std::span<const float> vector, std::span<int8_t> codes);

/// REQUIRES: codes in [-127, 127]; `size` a multiple of kCodeBlock, at most 2^16.
using Dot = int32_t (*)(const int8_t* a, const int8_t* b, size_t size);

struct DotKernel {
  const char* name;
  Dot dot;
};

/// Those that this processor can run, the reference first, the fastest last.
std::span<const DotKernel> dot_kernels();

}  // namespace fathom::live
