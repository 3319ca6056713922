#include "answer/plan_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "answer/facts.h"

namespace fathom::answer {
namespace {

using std::chrono::days;
using std::chrono::hours;
using Days = std::chrono::sys_days;

struct Range {
  Time begin, end;
};

Time at(Days day, int hour = 0) { return Time{day} + hours{hour}; }

Range day_range(Days day) { return {at(day), at(day + days{1})}; }

Range month_range(int year, int month) {
  const std::chrono::year_month ym{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)}};
  return {at(Days{ym / 1}), at(Days{(ym + std::chrono::months{1}) / 1})};
}

Range year_range(int year) {
  using namespace std::chrono;
  return {at(Days{std::chrono::year{year} / 1 / 1}), at(Days{std::chrono::year{year + 1} / 1 / 1})};
}

class TimeFinder {
 public:
  TimeFinder(std::string_view text, const std::vector<Word>& words, Time now)
      : words_(words), facts_(find_facts(text, words)), now_(now), today_(std::chrono::floor<days>(now)) {
    out_.used.resize(words.size());
  }

  TimeExpression run() {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (out_.used[i]) continue;
      if (read_span(i) || read_ago(i) || read_named(i) || read_date(i)) continue;
    }
    return std::move(out_);
  }

 private:
  std::string_view folded(size_t i) const {
    return i < words_.size() ? std::string_view(words_[i].folded) : "";
  }

  void use(size_t first, size_t last) {
    for (size_t i = first; i <= last && i < words_.size(); ++i) out_.used[i] = true;
  }

  /// Sets the window to a range, as the word before it says: since, before, until, after; else within it.
  void set(size_t first, size_t last, Range range, bool hard) {
    std::string_view lead = first > 0 ? folded(first - 1) : "";
    if (lead == "the" && first > 1) lead = folded(--first - 1);
    if (lead == "since" || lead == "from") {
      out_.window.since = range.begin;
      hard = true;
    } else if (lead == "after") {
      out_.window.since = range.end;
      hard = true;
    } else if (lead == "before" || lead == "until" || lead == "till") {
      out_.window.until = lead == "before" ? range.begin : range.end;
      hard = true;
    } else {
      out_.window.since = range.begin;
      out_.window.until = range.end;
    }
    out_.window.hard = out_.window.hard || hard;
    const bool lead_in = lead == "since" || lead == "from" || lead == "after" || lead == "before" ||
                         lead == "until" || lead == "till" || lead == "on" || lead == "in" ||
                         lead == "during" || lead == "at";
    use(lead_in ? first - 1 : first, last);
  }

  static std::optional<std::chrono::seconds> unit(std::string_view word) {
    using std::chrono::seconds;
    if (word == "minute" || word == "minutes" || word == "min" || word == "mins") return seconds{60};
    if (word == "hour" || word == "hours" || word == "hrs" || word == "hr") return seconds{3600};
    if (word == "day" || word == "days") return seconds{86400};
    if (word == "week" || word == "weeks") return seconds{7 * 86400};
    if (word == "month" || word == "months") return seconds{30 * 86400};
    if (word == "year" || word == "years") return seconds{365 * 86400};
    return std::nullopt;
  }

  std::optional<double> number_at(size_t i) const {
    for (const Fact& fact : facts_) {
      if (fact.word == i && (fact.kind == FactKind::kNumber || fact.kind == FactKind::kYear))
        return fact.value;
    }
    if (folded(i) == "an" || folded(i) == "a" || folded(i) == "one") return 1;
    if (folded(i) == "few" || folded(i) == "couple") return 3;
    return std::nullopt;
  }

  /// "in the last 2 hours", "past week", "last hour"
  bool read_span(size_t i) {
    if (folded(i) != "last" && folded(i) != "past") return false;
    size_t next = i + 1;
    double count = 1;
    if (const auto number = number_at(next)) {
      count = *number;
      ++next;
    } else if (folded(i) == "last" &&
               (folded(next) == "week" || folded(next) == "month" || folded(next) == "year")) {
      return false;  // the calendar's: read_named
    }
    const auto length = unit(folded(next));
    if (!length || count < 0 || count > 10000) return false;
    out_.window.since = now_ - std::chrono::duration_cast<Micros>(*length) * static_cast<int64_t>(count);
    out_.window.until.reset();
    out_.window.hard = true;
    size_t first = i;
    if (first > 0 && folded(first - 1) == "the") --first;
    if (first > 0 &&
        (folded(first - 1) == "in" || folded(first - 1) == "over" || folded(first - 1) == "within" ||
         folded(first - 1) == "for" || folded(first - 1) == "during")) {
      --first;
    }
    use(first, next);
    return true;
  }

  /// "3 days ago"
  bool read_ago(size_t i) {
    const auto count = number_at(i);
    const auto length = unit(folded(i + 1));
    if (!count || !length || folded(i + 2) != "ago" || *count > 10000) return false;
    const Time point = now_ - std::chrono::duration_cast<Micros>(*length) * static_cast<int64_t>(*count);
    const Range range = *length < std::chrono::seconds{86400} ? Range{point - hours{1}, point + hours{1}}
                                                              : day_range(std::chrono::floor<days>(point));
    set(i, i + 2, range, false);
    return true;
  }

  bool read_named(size_t i) {
    const std::string_view word = folded(i), next = folded(i + 1);
    if (word == "today") return set(i, i, day_range(today_), false), true;
    if (word == "tonight") return set(i, i, {at(today_, 17), at(today_ + days{1}, 5)}, false), true;
    if (word == "yesterday") return set(i, i, day_range(today_ - days{1}), false), true;
    if (word == "this") return read_this(i, next);
    if (word == "last") return read_last(i, next);
    const int weekday = weekday_number(word);
    if (weekday == 0) return false;
    // "on Saturday" may be the next one: only what is said to lie behind us is a time to search in.
    const std::string_view lead = i > 0 ? folded(i - 1) : "";
    if (lead != "since" && lead != "after" && lead != "from") return false;
    const auto current = static_cast<int>(std::chrono::weekday{today_}.iso_encoding());
    const int back = (current - weekday + 7) % 7;
    set(i, i, day_range(today_ - days{back}), false);
    return true;
  }

  bool read_this(size_t i, std::string_view next) {
    const std::chrono::year_month_day date{today_};
    const int year = static_cast<int>(date.year()),
              month = static_cast<int>(static_cast<unsigned>(date.month()));
    const auto weekday = static_cast<int>(std::chrono::weekday{today_}.iso_encoding());
    if (next == "morning") return set(i, i + 1, {at(today_, 4), at(today_, 12)}, false), true;
    if (next == "afternoon") return set(i, i + 1, {at(today_, 12), at(today_, 18)}, false), true;
    if (next == "evening") return set(i, i + 1, {at(today_, 17), at(today_ + days{1})}, false), true;
    if (next == "week")
      return set(i, i + 1, {at(today_ - days{weekday - 1}), at(today_ + days{1})}, false), true;
    if (next == "month") return set(i, i + 1, month_range(year, month), false), true;
    if (next == "year") return set(i, i + 1, year_range(year), false), true;
    return false;
  }

  bool read_last(size_t i, std::string_view next) {
    const std::chrono::year_month_day date{today_};
    const int year = static_cast<int>(date.year()),
              month = static_cast<int>(static_cast<unsigned>(date.month()));
    const auto weekday = static_cast<int>(std::chrono::weekday{today_}.iso_encoding());
    const Days monday = today_ - days{weekday - 1};
    if (next == "night") return set(i, i + 1, {at(today_ - days{1}, 17), at(today_, 6)}, false), true;
    if (next == "week") return set(i, i + 1, {at(monday - days{7}), at(monday)}, false), true;
    if (next == "month")
      return set(i, i + 1, month_range(month == 1 ? year - 1 : year, month == 1 ? 12 : month - 1), false),
             true;
    if (next == "year") return set(i, i + 1, year_range(year - 1), false), true;
    if (const int day = weekday_number(next); day > 0) {
      const int back = (weekday - day + 6) % 7 + 1;
      return set(i, i + 1, day_range(today_ - days{back}), false), true;
    }
    return false;
  }

  std::optional<int> year_at(size_t i) const {
    if (i >= words_.size() || words_[i].kind != WordKind::kNumber) return std::nullopt;
    const auto value = number_at(i);
    if (!value || *value < 1990 || *value > 2100 || words_[i].folded.size() != 4) return std::nullopt;
    return static_cast<int>(*value);
  }

  /// A year's range is the only one that a bare number gives, and only behind "in", "since", "during" ...
  bool read_date(size_t i) {
    for (const Fact& fact : facts_) {
      if (fact.kind == FactKind::kDate && fact.word == i) return read_day(i, fact);
      if (fact.kind == FactKind::kTime && fact.word == i && i > 0 &&
          (folded(i - 1) == "since" || folded(i - 1) == "after" || folded(i - 1) == "before")) {
        const Time point = Time{today_} + std::chrono::minutes{static_cast<int>(fact.value)};
        set(i, last_word(fact), {point, point}, true);
        return true;
      }
    }
    const std::string_view lead = i > 0 ? folded(i - 1) : "";
    const bool led = lead == "in" || lead == "since" || lead == "during" || lead == "before" ||
                     lead == "after" || lead == "until" || lead == "from";
    if (const int month = words_[i].capital ? month_number(words_[i].folded) : 0; month > 0) {
      const auto year = year_at(i + 1);
      if (!led && !year) return false;
      set(i, year ? i + 1 : i, month_range(year ? *year : latest_year(month, 1), month), false);
      return true;
    }
    if (const auto year = year_at(i); year && led) {
      out_.window.keys.push_back(fmt::format("n:{}", *year));
      set(i, i, year_range(*year), false);
      return true;
    }
    return false;
  }

  size_t last_word(const Fact& fact) const {
    size_t last = fact.word;
    while (last + 1 < words_.size() && words_[last + 1].span.end <= fact.span.end) ++last;
    return last;
  }

  /// The latest year in which that day is not in the feed's future.
  int latest_year(int month, int day) const {
    const std::chrono::year_month_day date{today_};
    const int year = static_cast<int>(date.year());
    const auto this_year = std::chrono::year{year} / month / day;
    return Days{this_year} > today_ + days{31} ? year - 1 : year;
  }

  bool read_day(size_t i, const Fact& fact) {
    const int month = (fact.key[2] - '0') * 10 + (fact.key[3] - '0');
    const int day = (fact.key[5] - '0') * 10 + (fact.key[6] - '0');
    size_t last = last_word(fact);
    auto year = year_at(last + 1);
    size_t first = i;
    if (year) {
      ++last;
    } else if (i > 0 && year_at(i - 1) && out_.used.size() > i && words_[i].kind == WordKind::kNumber) {
      year = year_at(i - 1);  // 2013-04-15
      first = i - 1;
    }
    const std::chrono::year_month_day date =
        std::chrono::year{year ? *year : latest_year(month, day)} / month / day;
    if (!date.ok()) return false;
    out_.window.keys.push_back(fact.key);
    // What happened on a day is still being posted on the next.
    set(first, last, {at(Days{date}), at(Days{date} + days{2})}, false);
    return true;
  }

  const std::vector<Word>& words_;
  std::vector<Fact> facts_;
  Time now_;
  Days today_;
  TimeExpression out_;
};

}  // namespace

TimeExpression find_time(std::string_view text, const std::vector<Word>& words, Time now) {
  return TimeFinder(text, words, now).run();
}

}  // namespace fathom::answer
