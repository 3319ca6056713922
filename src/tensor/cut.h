// Counts cut into parts: of rows into tiles, of blocks into rounds, of work into shares.
#pragma once

#include <cstddef>

namespace fathom::tensor {

/// From begin up to end; empty where end is not beyond begin.
struct Range {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end > begin ? end - begin : 0; }
};

constexpr size_t div_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// Where part `index` of `parts` begins when [0, count) is cut as evenly as can be.
constexpr size_t cut(size_t count, size_t parts, size_t index) { return count * index / parts; }

}  // namespace fathom::tensor
