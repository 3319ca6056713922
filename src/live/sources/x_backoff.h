// How long X asks its clients to wait before they connect again
// (https://docs.x.com/x-api/fundamentals/handling-disconnections). Plain values; not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/clock.h"

namespace fathom::live {

/// A connection that worked and ended is made again at once. Then: failures of the network wait 250 ms longer each, up
/// to 16 s; refusals (HTTP errors) 5 s, doubling to 320 s; requests to slow down (429) 60 s, doubling, or until the time
/// that the answer gives, whichever is later.
class XBackoff {
 public:
  using milliseconds = std::chrono::milliseconds;

  /// The connection works: the next failure is the first.
  void reset() { *this = XBackoff(); }

  milliseconds after_network_failure() {
    return std::min(milliseconds(16000), milliseconds(250) * ++network_failures_);
  }

  milliseconds after_refusal() {
    const auto wait = refusal_;
    refusal_ = std::min(milliseconds(320000), refusal_ * 2);
    return wait;
  }

  /// `reset`: x-rate-limit-reset, when the limit ends; one that is over an hour away is not believed.
  milliseconds after_rate_limit(Time now, std::optional<Time> reset) {
    auto wait = rate_limit_;
    rate_limit_ = std::min(milliseconds(3600000), rate_limit_ * 2);
    if (reset && *reset > now && *reset <= now + std::chrono::hours(1))
      wait = std::max(wait, std::chrono::ceil<milliseconds>(*reset - now));
    return wait;
  }

 private:
  int network_failures_ = 0;
  milliseconds refusal_{5000}, rate_limit_{60000};
};

}  // namespace fathom::live
