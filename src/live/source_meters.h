// What the runner of sources measures and how long it waits: rates, lags, and the steps between tries.
//
// Plain values; not thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/random.h"

namespace fathom::live {

/// How many posts came in each of the last sixty seconds.
class RateMeter {
 public:
  void count(Time now, size_t posts);
  /// `since`: when counting began; the first minute is not a whole one.
  double per_second(Time now, Time since);

 private:
  static constexpr size_t kSeconds = 60;
  void turn_to(Time now);

  std::array<uint64_t, kSeconds> buckets_{};
  int64_t second_ = 0;
};

/// How long after their creation posts of the last five minutes could be found: a histogram a minute, four steps to each
/// doubling from 1 ms on, so that a percentile is at most 19 % too high.
class LagMeter {
 public:
  void add(Time now, Micros lag);
  /// Seconds; empty when no post was counted. `share` lies between 0 and 1.
  std::optional<double> percentile(Time now, double share);

 private:
  static constexpr size_t kMinutes = 5, kSteps = 128;
  void turn_to(Time now);

  std::array<std::array<uint32_t, kSteps>, kMinutes> steps_{};
  int64_t minute_ = 0;
};

/// Waits that double from the first to the longest, each shortened by up to a quarter at random, so that many who were cut
/// off together do not return together.
class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;
  Backoff(Milliseconds first, Milliseconds longest, uint64_t seed)
      : first_(first), longest_(longest), next_(first), random_(seed) {}

  Milliseconds next();
  void reset() { next_ = first_; }

 private:
  Milliseconds first_, longest_, next_;
  Random random_;
};

/// Lets so many pass a second, a quarter of a second's worth at once.
class Throttle {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  /// 0: all pass.
  explicit Throttle(double per_second) : per_second_(per_second) {}

  /// Takes the next place; returns when it may be used, which may be past.
  SteadyTime next(SteadyTime now);

 private:
  const double per_second_;
  SteadyTime free_{};  // of the next place
};

}  // namespace fathom::live
