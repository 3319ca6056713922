// The learning rate as a function of the step. Pure; thread-safe.
//
// All schedules rise evenly from 0 to `peak` over the first `warmup` steps, so that step `warmup` has the peak. Then
//   constant   stays there
//   cosine     falls to peak * floor along half a cosine, reached at step `steps` (Loshchilov and Hutter, 2017)
//   wsd        stays there, and over the last `decay` steps falls to peak * floor as 1 - sqrt (warm-up, stable, decay: Hu et
//              al., 2024; the shape of the fall: Hägele et al., 2024)
#pragma once

#include <cstdint>
#include <string_view>

namespace fathom::train {

enum class Schedule { kConstant, kCosine, kWsd };

struct LearningRate {
  Schedule schedule = Schedule::kCosine;
  float peak = 6e-4f;
  float floor = 0.1f;   // share of the peak that the last step has
  uint64_t steps = 1;   // of the whole run
  uint64_t warmup = 0;  // of them
  uint64_t decay = 0;   // of them, at the end: kWsd alone

  /// Errors: kInvalidArgument, naming the field: a peak that is not above 0, a floor outside 0..1, no steps, more steps of
  /// warm-up and decay than there are.
  void check() const;
  /// Of `step`, counted from 1. Beyond `steps` the last step's.
  float at(uint64_t step) const;
};

/// "constant", "cosine", "wsd".
std::string_view to_string(Schedule schedule);
/// Errors: kInvalidArgument, naming the three.
Schedule parse_schedule(std::string_view name);

}  // namespace fathom::train
