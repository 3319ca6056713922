// A permutation of [0, count) that is computed, not stored: a Feistel network over the next power of four, walked until it
// comes back below `count` (cycle walking; Black and Rogaway, 2002). Pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>

namespace fathom::train {

/// The finaliser of SplitMix64: every bit of `x` changes half of the bits.
inline uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// Where `index` goes under the permutation of `key`. REQUIRES: index < count.
inline uint64_t permute(uint64_t key, uint64_t index, uint64_t count) {
  constexpr uint64_t kRounds = 6;
  if (count < 2) return index;
  const int half = (std::bit_width(count - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = index >> half, right = index & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = mix64(mix64(key + round * 0x9E3779B97F4A7C15u) ^ right) & mask;
      left = std::exchange(right, left ^ mixed);
    }
    index = left << half | right;
  } while (index >= count);  // on average less than four times
  return index;
}

}  // namespace fathom::train
