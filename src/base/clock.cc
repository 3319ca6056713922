#include "base/clock.h"

#include <fmt/format.h>

#include <condition_variable>

namespace fathom {

Time SystemClock::now() const {
  return std::chrono::time_point_cast<Micros>(std::chrono::system_clock::now());
}

bool SystemClock::sleep(Micros duration, const std::stop_token& stop) const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

Time ManualClock::now() const {
  std::lock_guard lock(mutex_);
  return now_;
}

bool ManualClock::sleep(Micros duration, const std::stop_token& stop) const {
  std::lock_guard lock(mutex_);
  now_ += duration;
  return !stop.stop_requested();
}

void ManualClock::set(Time now) {
  std::lock_guard lock(mutex_);
  now_ = now;
}

std::string format_time(Time time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(time - day);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (const auto micros = clock.subseconds().count(); micros != 0) text += fmt::format(".{:06}", micros);
  return text + "Z";
}

namespace {

/// Reads fixed-width fields off the front of a text.
class FieldReader {
 public:
  explicit FieldReader(std::string_view rest) : rest_(rest) {}

  bool digits(size_t count, int& value) {
    if (rest_.size() < count) return false;
    value = 0;
    for (size_t i = 0; i < count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return false;
      value = value * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return true;
  }

  bool one_of(std::string_view allowed, char* found = nullptr) {
    if (rest_.empty() || allowed.find(rest_.front()) == std::string_view::npos) return false;
    if (found != nullptr) *found = rest_.front();
    rest_.remove_prefix(1);
    return true;
  }

  /// Fraction digits after a point, as microseconds; digits past the sixth are dropped.
  bool fraction(int& micros) {
    micros = 0;
    int scale = 100000;
    size_t count = 0;
    for (; count < rest_.size() && rest_[count] >= '0' && rest_[count] <= '9'; ++count) {
      micros += (rest_[count] - '0') * scale;
      scale /= 10;
    }
    rest_.remove_prefix(count);
    return count > 0;
  }

  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<Time> parse_time(std::string_view text) {
  using namespace std::chrono;
  FieldReader in(text);
  int y = 0, mo = 0, d = 0;
  if (!in.digits(4, y) || !in.one_of("-") || !in.digits(2, mo) || !in.one_of("-") || !in.digits(2, d))
    return {};
  const year_month_day date{year{y}, month{static_cast<unsigned>(mo)}, day{static_cast<unsigned>(d)}};
  if (!date.ok() || y == 0) return {};
  const Time midnight = sys_days{date};
  if (in.done()) return midnight;

  int h = 0, mi = 0, s = 0, micros = 0;
  if (!in.one_of("Tt ") || !in.digits(2, h) || !in.one_of(":") || !in.digits(2, mi) || !in.one_of(":") ||
      !in.digits(2, s))
    return {};
  if (h > 23 || mi > 59 || s > 60) return {};  // 60: a leap second, counted as the next minute's first
  if (in.one_of(".,") && !in.fraction(micros)) return {};

  minutes offset{0};
  if (char sign = 0; in.one_of("+-", &sign)) {
    int oh = 0, om = 0;
    if (!in.digits(2, oh)) return {};
    (void)in.one_of(":");
    if (!in.digits(2, om) || oh > 23 || om > 59) return {};
    offset = hours{oh} + minutes{om};
    if (sign == '-') offset = -offset;
  } else if (!in.one_of("Zz")) {
    return {};
  }
  if (!in.done()) return {};
  const Time time = midnight + hours{h} + minutes{mi} + seconds{s} + Micros{micros} - offset;
  const year written = year_month_day(floor<days>(time)).year();  // the offset may have left the years
  if (written < year{1} || written > year{9999}) return {};
  return time;
}

}  // namespace fathom
