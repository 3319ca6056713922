// Deterministic random numbers: the same seed gives the same sequence on every machine (unlike the distributions of
// <random>, which are the library's own). Not for secrets. One generator per thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fathom {

/// xoshiro256** seeded by SplitMix64 (Blackman and Vigna, 2018).
class Random {
 public:
  explicit Random(uint64_t seed);
  uint64_t next();
  /// Uniform in [0, bound); bound > 0. Unbiased (Lemire's multiply and reject).
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1) with 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Standard normal (Box and Muller).
  double normal();
  bool chance(double probability) { return uniform() < probability; }

 private:
  uint64_t state_[4];
};

}  // namespace fathom
