#include "live/sources/feed_http.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "live/source.h"

namespace fathom::live {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kMaxDateBytes = 100;
constexpr seconds kLongestWait{24 * 3600};

template <class Number>
std::optional<Number> whole(std::string_view digits) {
  Number value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || ec != std::errc{} || end != digits.data() + digits.size()) return {};
  return value;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

struct Zone {
  std::string_view name;
  int minutes;
};
constexpr std::array kZones = {Zone{"z", 0},      Zone{"gmt", 0},    Zone{"ut", 0},     Zone{"utc", 0},
                               Zone{"est", -300}, Zone{"edt", -240}, Zone{"cst", -360}, Zone{"cdt", -300},
                               Zone{"mst", -420}, Zone{"mdt", -360}, Zone{"pst", -480}, Zone{"pdt", -420},
                               Zone{"wet", 0},    Zone{"west", 60},  Zone{"bst", 60},   Zone{"cet", 60},
                               Zone{"cest", 120}, Zone{"eet", 120},  Zone{"eest", 180}, Zone{"msk", 180},
                               Zone{"jst", 540},  Zone{"kst", 540},  Zone{"aest", 600}, Zone{"aedt", 660}};
constexpr std::string_view kMonths = "janfebmaraprmayjunjulaugsepoctnovdec";

/// 1 to 12; 0 for no month.
int month_of(std::string_view word) {
  if (word.size() < 3) return 0;
  const size_t at = kMonths.find(word.substr(0, 3));
  return at == std::string_view::npos || at % 3 != 0 ? 0 : static_cast<int>(at / 3) + 1;
}

/// Takes a date apart token by token.
class DateReader {
 public:
  std::optional<Time> read(std::string_view text) {
    if (text.empty() || text.size() > kMaxDateBytes) return {};
    for (const std::string& token : tokens(text))
      if (!take(token)) return {};
    return time();
  }

 private:
  /// Words and numbers between spaces, commas and brackets, in lower case; "T" between date and time parts them too.
  static std::vector<std::string> tokens(std::string_view text) {
    std::vector<std::string> out;
    std::string token;
    bool comment = false;
    const auto end = [&] {
      if (!token.empty()) out.push_back(std::exchange(token, {}));
    };
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '(' || c == ')') {
        comment = c == '(';
        end();
      } else if (comment) {
        continue;
      } else if (c == ' ' || c == ',' || c == '\t' || c == '\r' || c == '\n' || c == '\xA0' || c == '\xC2') {
        end();
      } else if ((c == 'T' || c == 't') && i > 0 && is_digit(text[i - 1]) && i + 1 < text.size() &&
                 is_digit(text[i + 1])) {
        end();
      } else {
        token += to_lower_ascii(std::string_view(&c, 1))[0];
      }
    }
    end();
    return out;
  }

  bool take(std::string_view token) {
    if (token.find(':') != std::string_view::npos && is_digit(token[0])) return take_time(token);
    if ((token[0] == '+' || token[0] == '-') && token.size() > 1) return take_offset(token);
    if (is_letter(token[0])) return take_word(token);
    if (token.find_first_of("-/.") != std::string_view::npos) return take_date(token);
    return take_number(token);
  }

  bool take_word(std::string_view word) {
    if (word.ends_with('.')) word.remove_suffix(1);
    if (word == "am" || word == "pm") {
      afternoon_ = word == "pm";
      return true;
    }
    const auto zone =
        std::find_if(kZones.begin(), kZones.end(), [&](const Zone& z) { return z.name == word; });
    if (zone != kZones.end()) {
      offset_ = zone->minutes;
      return true;
    }
    if (const std::string_view rest = word.substr(std::min<size_t>(3, word.size()));
        word.size() > 4 && (word.starts_with("gmt") || word.starts_with("utc")) &&
        (rest[0] == '+' || rest[0] == '-'))
      return take_offset(rest);
    if (const int month = month_of(word); month != 0 && month_ == 0) {
      month_ = month;
      return true;
    }
    return std::all_of(word.begin(), word.end(), is_letter);  // a weekday, in whatever language
  }

  bool take_number(std::string_view token) {
    while (!token.empty() && is_letter(token.back())) token.remove_suffix(1);  // 23rd
    const auto value = whole<int64_t>(token);
    if (!value) return false;
    if (token.size() == 4) return set(year_, static_cast<int>(*value));
    if (token.size() <= 2 && day_ == 0) return set(day_, static_cast<int>(*value));
    if (token.size() <= 2) return set(year_, static_cast<int>(*value) + (*value < 70 ? 2000 : 1900));
    if (token.size() == 8)
      return set(year_, static_cast<int>(*value / 10000)) &&
             set(month_, static_cast<int>(*value / 100 % 100)) && set(day_, static_cast<int>(*value % 100));
    if (token.size() == 6)
      return take_clock(*value / 10000, *value / 100 % 100, static_cast<double>(*value % 100));
    if (token.size() != 10 && token.size() != 13) return false;
    unix_ = token.size() == 10 ? *value * 1000 : *value;
    return true;
  }

  /// 2026-11-23, 2026/11/23, 2026-11, 23-Nov-2026, 23-Nov-26
  bool take_date(std::string_view token) {
    const char separator = token[token.find_first_of("-/.")];
    const auto parts = split(token, separator);
    if (parts.size() < 2 || parts.size() > 3) return false;
    if (const int month = month_of(parts[1]); month != 0 && parts.size() == 3)
      return set(month_, month) && take_number(parts[0]) && take_number(parts[2]);
    if (parts[0].size() != 4) return false;  // 11/12/2026 may be either
    const auto year = whole<int>(parts[0]), month = whole<int>(parts[1]);
    const auto day = parts.size() == 3 ? whole<int>(parts[2]) : 1;
    return year && month && day && set(year_, *year) && set(month_, *month) && set(day_, *day);
  }

  /// 06:35, 06:35:00.123, 6:35pm, 06:35:00z, 06:35:00+01:00
  bool take_time(std::string_view token) {
    const size_t end = token.find_first_not_of("0123456789:.");
    if (end != std::string_view::npos) {
      const std::string_view rest = token.substr(end);
      token = token.substr(0, end);
      if (!(is_letter(rest[0]) ? take_word(rest) : take_offset(rest))) return false;
    }
    const auto parts = split(token, ':');
    if (parts.size() < 2 || parts.size() > 3) return false;
    const auto hour = whole<int64_t>(parts[0]), minute = whole<int64_t>(parts[1]);
    const auto second = parts.size() == 3 ? whole<double>(parts[2]) : 0.0;
    return hour && minute && second && take_clock(*hour, *minute, *second);
  }

  bool take_clock(int64_t hour, int64_t minute, double second) {
    if (hour > 24 || minute > 59 || !(second < 61)) return false;
    clock_ = seconds(hour * 3600 + minute * 60) + Micros(static_cast<int64_t>(second * 1e6));
    return true;
  }

  /// +0100, +01:00, +01, +1
  bool take_offset(std::string_view token) {
    const bool west = token[0] == '-';
    std::string digits;
    for (const char c : token.substr(1)) {
      if (c != ':' && !is_digit(c)) return false;
      if (c != ':') digits += c;
    }
    const auto value = whole<int>(digits);
    if (!value || digits.size() > 4) return false;
    const int minutes = digits.size() <= 2 ? *value * 60 : *value / 100 * 60 + *value % 100;
    if (minutes > 15 * 60) return false;
    offset_ = west ? -minutes : minutes;
    return true;
  }

  static bool set(int& field, int value) {
    if (field != 0) return false;  // said twice
    field = value;
    return value != 0;
  }

  std::optional<Time> time() const {
    if (unix_) return bounded(Time(milliseconds(*unix_)));
    const std::chrono::year_month_day day(std::chrono::year(year_),
                                          std::chrono::month(static_cast<unsigned>(month_ == 0 ? 1 : month_)),
                                          std::chrono::day(static_cast<unsigned>(day_ == 0 ? 1 : day_)));
    if (year_ == 0 || !day.ok() || (day_ != 0 && month_ == 0)) return {};
    Micros clock = clock_;
    if (afternoon_ && clock >= seconds(12 * 3600) && clock < seconds(13 * 3600) && !*afternoon_)
      clock -= seconds(12 * 3600);
    if (afternoon_ && *afternoon_ && clock < seconds(12 * 3600)) clock += seconds(12 * 3600);
    return bounded(Time(std::chrono::sys_days(day)) + clock - std::chrono::minutes(offset_));
  }

  static std::optional<Time> bounded(Time time) {
    using namespace std::chrono;
    const bool fits = time >= sys_days(year(1) / 1 / 2) && time < sys_days(year(9999) / 12 / 30);
    return fits ? std::optional(time) : std::nullopt;
  }

  int year_ = 0, month_ = 0, day_ = 0, offset_ = 0;
  Micros clock_{};
  std::optional<bool> afternoon_;
  std::optional<int64_t> unix_;  // milliseconds
};

milliseconds bounded_wait(Micros wait) {
  return std::chrono::duration_cast<milliseconds>(
      std::clamp<Micros>(wait, Micros{0}, std::chrono::duration_cast<Micros>(kLongestWait)));
}

std::optional<milliseconds> until(std::string_view date, Time now) {
  const auto time = parse_feed_date(date);
  return time ? std::optional(bounded_wait(*time - now)) : std::nullopt;
}

std::optional<milliseconds> for_seconds(std::string_view text) {
  const auto value = whole<int64_t>(trim(text));
  if (!value || *value < 0) return {};
  return bounded_wait(seconds(std::min<int64_t>(*value, kLongestWait.count())));
}

/// The number after `name=` in a Cache-Control.
std::optional<int64_t> directive(std::string_view control, std::string_view name) {
  for (const std::string_view part : split(control, ',')) {
    const auto sides = split(trim(part), '=');
    if (sides.size() == 2 && equals_ignore_case(trim(sides[0]), name)) {
      std::string_view value = trim(sides[1]);
      if (value.size() > 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
      return whole<int64_t>(value);
    }
  }
  return {};
}

}  // namespace

std::optional<Time> parse_feed_date(std::string_view text) { return DateReader().read(trim(text)); }

std::string_view header_of(const HttpResponse& response, const std::string& name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<milliseconds> retry_after(const HttpResponse& response, Time now) {
  if (const auto value = header_of(response, "retry-after"); !value.empty())
    return whole<int64_t>(trim(value)) ? for_seconds(value) : until(value, now);
  const auto reset = header_of(response, "x-ratelimit-reset");
  return reset.empty() ? std::nullopt : until(reset, now);
}

std::optional<milliseconds> fresh_for(const HttpResponse& response, Time now) {
  if (const auto age = directive(header_of(response, "cache-control"), "max-age"); age && *age >= 0) {
    const auto spent = whole<int64_t>(trim(header_of(response, "age"))).value_or(0);
    return bounded_wait(
        seconds(std::clamp<int64_t>(*age - std::max<int64_t>(spent, 0), 0, kLongestWait.count())));
  }
  const auto expires = header_of(response, "expires");
  return expires.empty() ? std::nullopt : until(expires, now);
}

void check_status(const HttpResponse& response, std::string_view whom, Time now) {
  if (response.status == 200) return;
  const std::string said(trim(std::string_view(response.body).substr(0, 200)));
  const std::string sentence = fmt::format("{} answered with status {}{}{}", whom, response.status,
                                           said.empty() ? "" : ": ", sanitize_utf8(said));
  const auto wait = retry_after(response, now);
  switch (response.status) {
    case 401: throw Error(ErrorCode::kUnauthenticated, sentence + "; check its token");
    case 403: throw Error(ErrorCode::kPermissionDenied, sentence);
    case 404:
    case 410: throw Error(ErrorCode::kNotFound, sentence);
    case 429:
    case 503:
      if (wait)
        throw RetryAfter(ErrorCode::kResourceExhausted, sentence, std::max(*wait, milliseconds(1000)));
      throw Error(ErrorCode::kResourceExhausted, sentence);
    default: break;
  }
  const bool ours = response.status >= 400 && response.status < 500 && response.status != 408;
  throw Error(ours ? ErrorCode::kInvalidArgument : ErrorCode::kNetwork, sentence);
}

}  // namespace fathom::live
