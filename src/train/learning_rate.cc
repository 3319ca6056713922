#include "train/learning_rate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace fathom::train {
namespace {

constexpr Schedule kAll[] = {Schedule::kConstant, Schedule::kCosine, Schedule::kWsd};

/// From 1 to 0 as `done` goes from 0 to 1.
double fall(Schedule schedule, double done) {
  switch (schedule) {
    case Schedule::kConstant: return 1.0;
    case Schedule::kCosine: return 0.5 * (1.0 + std::cos(std::numbers::pi * done));
    case Schedule::kWsd: return 1.0 - std::sqrt(done);
  }
  return 1.0;
}

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

}  // namespace

void LearningRate::check() const {
  if (!(peak > 0) || !std::isfinite(peak))
    refuse(fmt::format("the learning rate's peak is {}, not above 0", peak));
  if (!(floor >= 0 && floor <= 1))
    refuse(fmt::format("the learning rate's floor is {}, not a share from 0 to 1", floor));
  if (steps == 0) refuse("a run of no steps has no learning rate");
  const uint64_t end = schedule == Schedule::kWsd ? decay : 0;
  if (warmup > steps || end > steps - warmup)
    refuse(fmt::format("the learning rate's warm-up ({}) and decay ({}) are more than the run's {} steps",
                       warmup, end, steps));
}

float LearningRate::at(uint64_t step) const {
  step = std::min(step, steps);
  if (step < warmup)
    return static_cast<float>(peak * (static_cast<double>(step) / static_cast<double>(warmup)));
  const uint64_t length = schedule == Schedule::kWsd ? decay : steps - warmup;
  const uint64_t begin = steps - length;
  if (step <= begin) return peak;
  const double high = fall(schedule, static_cast<double>(step - begin) / static_cast<double>(length));
  return static_cast<float>(peak * (floor + (1.0 - floor) * high));
}

std::string_view to_string(Schedule schedule) {
  switch (schedule) {
    case Schedule::kConstant: return "constant";
    case Schedule::kCosine: return "cosine";
    case Schedule::kWsd: return "wsd";
  }
  return "";
}

Schedule parse_schedule(std::string_view name) {
  for (const Schedule schedule : kAll)
    if (name == to_string(schedule)) return schedule;
  refuse(fmt::format("'{}' is no schedule of the learning rate; there are constant, cosine and wsd", name));
}

}  // namespace fathom::train
