// Time as the program sees it: always passed in, so that tests and replayed feeds set it.
//
// `Time` is UTC in whole microseconds since 1970. A `Clock` is thread-safe and outlives everything that holds it.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

namespace fathom {

using Micros = std::chrono::microseconds;
using Time = std::chrono::sys_time<Micros>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
  /// Waits for `duration`, or until `stop` is requested. Returns false when stopped early.
  virtual bool sleep(Micros duration, const std::stop_token& stop) const = 0;
};

class SystemClock final : public Clock {
 public:
  Time now() const override;
  bool sleep(Micros duration, const std::stop_token& stop) const override;
};

/// Stands still until moved; `sleep` moves it and returns at once.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Time start = {}) : now_(start) {}
  Time now() const override;
  bool sleep(Micros duration, const std::stop_token& stop) const override;
  void set(Time now);

 private:
  mutable std::mutex mutex_;
  mutable Time now_;
};

/// RFC 3339 in UTC, e.g. 2026-11-23T06:35:00Z; microseconds only when there are any.
std::string format_time(Time time);

/// Parses RFC 3339 (any offset, any number of fraction digits, 't' and ' ' as separator too), or a bare date as its
/// midnight UTC. Empty for anything else, for impossible dates and for years outside 1..9999.
std::optional<Time> parse_time(std::string_view text);

}  // namespace fathom
