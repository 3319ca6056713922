#include "live/source_meters.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fathom::live {

using std::chrono::duration;
using std::chrono::floor;

// --- RateMeter

void RateMeter::count(Time now, size_t posts) {
  turn_to(now);
  buckets_[static_cast<size_t>(second_) % kSeconds] += posts;
}

double RateMeter::per_second(Time now, Time since) {
  turn_to(now);
  uint64_t sum = 0;
  for (const uint64_t bucket : buckets_) sum += bucket;
  return static_cast<double>(sum) /
         std::clamp(duration<double>(now - since).count(), 1.0, static_cast<double>(kSeconds));
}

void RateMeter::turn_to(Time now) {
  const int64_t second = std::max<int64_t>(floor<std::chrono::seconds>(now).time_since_epoch().count(), 0);
  if (second <= second_) return;  // the clock may be set back: the present bucket goes on
  const auto steps = std::min(second - second_, static_cast<int64_t>(kSeconds));
  for (int64_t i = 0; i < steps; ++i) buckets_[static_cast<size_t>(second - i) % kSeconds] = 0;
  second_ = second;
}

// --- LagMeter

void LagMeter::add(Time now, Micros lag) {
  turn_to(now);
  const double milliseconds = std::max(0.0, duration<double, std::milli>(lag).count());
  const auto step = static_cast<size_t>(std::min(4 * std::log2(milliseconds + 1), double{kSteps - 1}));
  ++steps_[static_cast<size_t>(minute_) % kMinutes][step];
}

std::optional<double> LagMeter::percentile(Time now, double share) {
  turn_to(now);
  std::array<uint64_t, kSteps> sums{};
  uint64_t all = 0;
  for (const auto& minute : steps_)
    for (size_t i = 0; i < kSteps; ++i) sums[i] += minute[i], all += minute[i];
  if (all == 0) return {};
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(all)));
  uint64_t seen = 0;
  size_t step = 0;
  while (step + 1 < kSteps && (seen += sums[step]) < wanted) ++step;
  return (std::exp2(static_cast<double>(step + 1) / 4) - 1) / 1000;  // the step's upper end
}

void LagMeter::turn_to(Time now) {
  const int64_t minute = std::max<int64_t>(floor<std::chrono::minutes>(now).time_since_epoch().count(), 0);
  if (minute <= minute_) return;
  const auto steps = std::min(minute - minute_, static_cast<int64_t>(kMinutes));
  for (int64_t i = 0; i < steps; ++i) steps_[static_cast<size_t>(minute - i) % kMinutes] = {};
  minute_ = minute;
}

// --- Backoff and Throttle

Backoff::Milliseconds Backoff::next() {
  const double kept = 1.0 - 0.25 * random_.uniform();
  const Milliseconds wait(static_cast<int64_t>(static_cast<double>(next_.count()) * kept));
  next_ = std::min(longest_, next_ * 2);
  return wait;
}

Throttle::SteadyTime Throttle::next(SteadyTime now) {
  if (per_second_ <= 0) return now;
  const auto step = std::chrono::duration_cast<SteadyTime::duration>(duration<double>(1 / per_second_));
  free_ = std::max(free_, now - std::chrono::milliseconds(250));
  return std::exchange(free_, free_ + step);
}

}  // namespace fathom::live
