#include "answer/facts.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr auto kMonths =
    std::to_array<std::string_view>({"January", "February", "March", "April", "May", "June", "July", "August",
                                     "September", "October", "November", "December"});
constexpr auto kWeekdays = std::to_array<std::string_view>(
    {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"});

int small_number(std::string_view folded) {
  static const std::unordered_map<std::string_view, int> words = {
      {"zero", 0},     {"two", 2},        {"three", 3},     {"four", 4},      {"five", 5},
      {"six", 6},      {"seven", 7},      {"eight", 8},     {"nine", 9},      {"ten", 10},
      {"eleven", 11},  {"twelve", 12},    {"thirteen", 13}, {"fourteen", 14}, {"fifteen", 15},
      {"sixteen", 16}, {"seventeen", 17}, {"eighteen", 18}, {"nineteen", 19}, {"twenty", 20},
      {"thirty", 30},  {"forty", 40},     {"fifty", 50},    {"sixty", 60},    {"seventy", 70},
      {"eighty", 80},  {"ninety", 90}};
  const auto found = words.find(folded);
  return found == words.end() ? -1 : found->second;
}

double scale_of(std::string_view folded) {
  static const std::unordered_map<std::string_view, double> scales = {
      {"hundred", 1e2}, {"thousand", 1e3}, {"k", 1e3},         {"million", 1e6}, {"mln", 1e6}, {"mn", 1e6},
      {"m", 1e6},       {"mil", 1e6},      {"mm", 1e6},        {"billion", 1e9}, {"bn", 1e9},  {"bln", 1e9},
      {"b", 1e9},       {"bil", 1e9},      {"trillion", 1e12}, {"tn", 1e12},     {"dozen", 12}};
  const auto found = scales.find(folded);
  return found == scales.end() ? 0 : found->second;
}

/// A scale that stands as its own word: only whole words, "5 m" may be metres.
bool is_scale_word(const Word& word) {
  return word.kind == WordKind::kWord && word.folded.size() > 1 && word.folded != "mm" &&
         scale_of(word.folded) > 0;
}

std::string_view currency_name(std::string_view folded) {
  static const std::unordered_map<std::string_view, std::string_view> names = {
      {"dollar", "$"}, {"dollars", "$"}, {"usd", "$"},    {"bucks", "$"},  {"euro", "e"},
      {"euros", "e"},  {"eur", "e"},     {"pound", "l"},  {"pounds", "l"}, {"gbp", "l"},
      {"yen", "y"},    {"yuan", "u"},    {"rupees", "r"}, {"rupee", "r"},  {"pesos", "s"},
      {"crowns", "c"}, {"marks", "k"},   {"francs", "f"}, {"cents", "x"}};
  const auto found = names.find(folded);
  return found == names.end() ? std::string_view{} : found->second;
}

std::string number_key(double value) { return fmt::format("n:{:.12g}", value); }

struct Parsed {
  double value = 0;
  std::string suffix;  // what sticks to the digits: "k", "pm", "st"
  bool clock = false;  // h:mm
  int hour = 0, minute = 0;
};

std::optional<double> to_double(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<int> to_int(std::string_view digits) {
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<Parsed> parse_number(std::string_view folded) {
  Parsed out;
  size_t end = 0;
  while (end < folded.size() && ((folded[end] >= '0' && folded[end] <= '9') || folded[end] == ',' ||
                                 folded[end] == '.' || folded[end] == ':')) {
    ++end;
  }
  const std::string_view digits = folded.substr(0, end);
  out.suffix = folded.substr(end);
  if (const size_t colon = digits.find(':'); colon != std::string_view::npos) {
    const auto hour = to_int(digits.substr(0, colon));
    const auto minute = to_int(digits.substr(colon + 1, 2));
    if (!hour || !minute || *hour > 24 || *minute > 59 || digits.size() < colon + 3) return std::nullopt;
    out.clock = true;
    out.hour = *hour;
    out.minute = *minute;
    return out;
  }
  std::string plain;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] == ',') {
      // A separator of thousands has three digits behind it; "2,5" is a decimal comma.
      size_t run = 0;
      while (i + 1 + run < digits.size() && digits[i + 1 + run] >= '0' && digits[i + 1 + run] <= '9') ++run;
      if (run != 3) plain.push_back('.');
    } else {
      plain.push_back(digits[i]);
    }
  }
  const auto value = to_double(plain);
  if (!value) return std::nullopt;
  out.value = *value;
  return out;
}

/// Reads facts one after another from the words of a text.
class Finder {
 public:
  Finder(std::string_view text, const std::vector<Word>& words) : text_(text), words_(words) {}

  std::vector<Fact> run() {
    while (at_ < words_.size()) {
      const size_t before = at_;
      if (!read_date() && !read_spelled() && !read_digits() && !read_clock_word()) ++at_;
      if (at_ == before) ++at_;
    }
    return std::move(facts_);
  }

 private:
  const Word* word(size_t index) const { return index < words_.size() ? &words_[index] : nullptr; }

  std::string_view gap(size_t left) const {  // between the words `left` and `left` + 1
    if (left + 1 >= words_.size()) return text_.substr(words_[left].span.end);
    return text_.substr(words_[left].span.end, words_[left + 1].span.begin - words_[left].span.end);
  }
  bool adjoins(size_t left) const {
    const std::string_view between = gap(left);
    return left + 1 < words_.size() && (trim(between).empty() || between == "-");
  }

  void push(FactKind kind, std::string key, size_t first, size_t last, double value) {
    facts_.push_back({kind, std::move(key), {words_[first].span.begin, words_[last].span.end}, first, value});
  }

  static std::optional<int> day_of(const Word& word) {
    if (word.kind != WordKind::kNumber) return std::nullopt;
    const auto parsed = parse_number(word.folded);
    if (!parsed || parsed->clock || parsed->value != std::floor(parsed->value)) return std::nullopt;
    const std::string& suffix = parsed->suffix;
    if (!suffix.empty() && suffix != "st" && suffix != "nd" && suffix != "rd" && suffix != "th")
      return std::nullopt;
    if (parsed->value < 1 || parsed->value > 31) return std::nullopt;
    return static_cast<int>(parsed->value);
  }

  /// "15 April", "April 15th", "15th of April", each with or without a year; 2013-04-15.
  bool read_date() {
    const Word& here = words_[at_];
    if (read_iso_date()) return true;
    int month = 0;
    std::optional<int> day;
    size_t last = at_;
    if (here.kind == WordKind::kWord && here.capital && (month = month_number(here.folded)) > 0) {
      if (const Word* next = word(at_ + 1)) day = day_of(*next);
      last = at_ + 1;
      // "April 15 2013" and not "April 15,000"
      if (!day || !(trim(gap(at_)).empty() || trim(gap(at_)) == ".")) return false;
    } else if ((day = day_of(here))) {
      last = at_ + 1;
      if (word(last) != nullptr && words_[last].folded == "of") ++last;
      if (word(last) == nullptr || words_[last].kind != WordKind::kWord || !words_[last].capital)
        return false;
      month = month_number(words_[last].folded);
      if (month == 0) return false;
    } else {
      return false;
    }
    push(FactKind::kDate, fmt::format("d:{:02}-{:02}", month, *day), at_, last, *day);
    at_ = last + 1;
    return true;
  }

  bool read_iso_date() {
    const Word& here = words_[at_];
    if (here.kind != WordKind::kNumber || here.folded.size() != 4 || at_ + 2 >= words_.size()) return false;
    if (gap(at_) != "-" || gap(at_ + 1) != "-") return false;
    const auto year = to_int(here.folded), month = to_int(words_[at_ + 1].folded),
               day = to_int(words_[at_ + 2].folded);
    if (!year || !month || !day || *month < 1 || *month > 12 || *day < 1 || *day > 31) return false;
    push(FactKind::kYear, number_key(*year), at_, at_, *year);
    push(FactKind::kDate, fmt::format("d:{:02}-{:02}", *month, *day), at_ + 1, at_ + 2, *day);
    at_ += 3;
    return true;
  }

  /// "twenty-three", "two hundred and six", "five million".
  bool read_spelled() {
    const Word& here = words_[at_];
    if (here.kind != WordKind::kWord) return false;
    const bool lone_scale = here.folded == "dozen" || here.folded == "hundred" || here.folded == "thousand" ||
                            here.folded == "million";
    const bool one =
        here.folded == "one" && word(at_ + 1) != nullptr && adjoins(at_) && is_scale_word(words_[at_ + 1]);
    if (small_number(here.folded) < 0 && !lone_scale && !one) return false;
    double total = 0, part = lone_scale ? 1 : 0;
    size_t last = at_;
    for (size_t i = at_; i < words_.size(); ++i) {
      if (i > at_ && !adjoins(i - 1)) break;
      const Word& w = words_[i];
      const int small = w.folded == "one" ? 1 : small_number(w.folded);
      const bool joiner = w.folded == "and" && i > at_ && word(i + 1) != nullptr && part >= 100 &&
                          small_number(words_[i + 1].folded) >= 0;
      if (joiner) continue;
      if (small >= 0 &&
          (part == 0 || (part >= 20 && std::fmod(part, 10) == 0 && small < 10) || part >= 100)) {
        part += small;
      } else if (is_scale_word(w)) {
        part *= scale_of(w.folded);
        if (scale_of(w.folded) >= 1e3) {
          total += part;
          part = 0;
        }
      } else {
        break;
      }
      last = i;
    }
    add_quantity(total + part, at_, last);
    at_ = last + 1;
    return true;
  }

  bool read_digits() {
    const Word& here = words_[at_];
    if (here.kind != WordKind::kNumber) return false;
    const auto parsed = parse_number(here.folded);
    if (!parsed) {
      push(FactKind::kNumber, "w:" + here.folded, at_, at_, 0);
      ++at_;
      return true;
    }
    if (read_time(*parsed)) return true;
    double value = parsed->value;
    const double stuck = scale_of(parsed->suffix);
    const bool ordinal = parsed->suffix == "st" || parsed->suffix == "nd" || parsed->suffix == "rd" ||
                         parsed->suffix == "th" || parsed->suffix == "s";
    if (stuck > 0) {
      value *= stuck;
    } else if (!parsed->suffix.empty() &&
               !ordinal) {  // "6s", "737max": a name; "40kg": a number with its unit
      push(FactKind::kNumber, "w:" + here.folded, at_, at_, value);
      facts_.push_back({FactKind::kNumber, number_key(value), facts_.back().span, at_, value});
      ++at_;
      return true;
    }
    size_t last = at_;
    if (word(at_ + 1) != nullptr && adjoins(at_) && is_scale_word(words_[at_ + 1])) {
      value *= scale_of(words_[at_ + 1].folded);
      last = at_ + 1;
    }
    add_quantity(value, at_, last);
    at_ = last + 1;
    return true;
  }

  bool meridiem(size_t index, bool& pm) const {
    const Word* w = word(index);
    if (w == nullptr) return false;
    if (w->folded == "pm" || w->folded == "am") {
      pm = w->folded == "pm";
      return true;
    }
    const Word* next = word(index + 1);  // "p.m."
    if (next == nullptr || next->folded != "m" || (w->folded != "p" && w->folded != "a") ||
        gap(index) != ".") {
      return false;
    }
    pm = w->folded == "p";
    return true;
  }

  bool read_time(const Parsed& parsed) {
    if (!parsed.clock && parsed.value > 24) return false;
    int hour = parsed.clock ? parsed.hour : static_cast<int>(parsed.value);
    int minute = parsed.clock ? parsed.minute : 0;
    if (!parsed.clock && parsed.suffix.starts_with('h') && parsed.suffix.size() == 3 &&
        parsed.value == hour) {  // 21h30
      minute = (parsed.suffix[1] - '0') * 10 + (parsed.suffix[2] - '0');
      if (minute < 0 || minute > 59 || hour > 24) return false;
      push(FactKind::kTime, fmt::format("t:{:02}:{:02}", hour % 24, minute), at_, at_, hour * 60 + minute);
      ++at_;
      return true;
    }
    if (!parsed.clock && parsed.suffix.empty() && parsed.value == hour && hour <= 24) {
      if (const Word* next = word(at_ + 1); next != nullptr && trim(gap(at_)).empty()) {
        if (next->folded == "uhr") {  // 9 Uhr
          push(FactKind::kTime, fmt::format("t:{:02}:00", hour % 24), at_, at_ + 1, hour * 60);
          at_ += 2;
          return true;
        }
        if (next->folded == "時" && gap(at_).empty()) return read_japanese_time(hour);
      }
    }
    bool pm = parsed.suffix == "pm";
    bool marked = pm || parsed.suffix == "am";
    size_t last = at_;
    if (!marked && parsed.suffix.empty() && at_ + 1 < words_.size() && trim(gap(at_)).empty() &&
        meridiem(at_ + 1, pm)) {
      marked = true;
      last = words_[at_ + 1].folded.size() == 1 ? at_ + 2 : at_ + 1;
    }
    if (!parsed.clock && !marked) return false;
    if (!parsed.clock && parsed.value != hour) {  // 7.30pm
      minute = static_cast<int>(std::lround((parsed.value - hour) * 100));
    }
    if (marked && (hour < 1 || hour > 12)) marked = false;
    if (hour > 24 || minute > 59 || (!parsed.clock && !marked)) return false;
    if (marked) hour = hour % 12 + (pm ? 12 : 0);
    push(FactKind::kTime, fmt::format("t:{:02}:{:02}", hour % 24, minute), at_, last, hour * 60 + minute);
    at_ = last + 1;
    return true;
  }

  /// 20時, 20時30分.
  bool read_japanese_time(int hour) {
    size_t last = at_ + 1;
    int minute = 0;
    const Word* minutes = word(at_ + 2);
    const Word* unit = word(at_ + 3);
    if (minutes != nullptr && unit != nullptr && unit->folded == "分" && minutes->folded.size() <= 2 &&
        minutes->folded.find_first_not_of("0123456789") == std::string::npos) {
      minute = std::stoi(minutes->folded);
      last = at_ + 3;
    }
    if (minute > 59) return false;
    push(FactKind::kTime, fmt::format("t:{:02}:{:02}", hour % 24, minute), at_, last, hour * 60 + minute);
    at_ = last + 1;
    return true;
  }

  bool read_clock_word() {
    const std::string& folded = words_[at_].folded;
    if (folded != "noon" && folded != "midday" && folded != "midnight") return false;
    const int hour = folded == "midnight" ? 0 : 12;
    push(FactKind::kTime, fmt::format("t:{:02}:00", hour), at_, at_, hour * 60);
    ++at_;
    return true;
  }

  void add_quantity(double value, size_t first, size_t last) {
    const std::string_view before = text_.substr(0, words_[first].span.begin);
    const std::string_view after = text_.substr(words_[last].span.end);
    const Word* next = word(last + 1);
    const bool touches = next != nullptr && adjoins(last);
    if (after.starts_with("%") || after.starts_with(" %") ||
        (touches && (next->folded == "percent" || next->folded == "pct"))) {
      return push(FactKind::kPercent, fmt::format("p:{:.12g}", value), first, last, value);
    }
    if (touches && next->folded == "per" && word(last + 2) != nullptr && words_[last + 2].folded == "cent") {
      return push(FactKind::kPercent, fmt::format("p:{:.12g}", value), first, last, value);
    }
    std::string_view currency;
    if (before.ends_with("$")) currency = "$";
    if (before.ends_with("\xE2\x82\xAC")) currency = "e";
    if (before.ends_with("\xC2\xA3")) currency = "l";
    if (currency.empty() && touches) currency = currency_name(next->folded);
    if (!currency.empty()) {
      return push(FactKind::kMoney, fmt::format("m{}:{:.12g}", currency, value), first, last, value);
    }
    const bool year = first == last && words_[first].kind == WordKind::kNumber &&
                      words_[first].folded.size() == 4 && value >= 1900 && value <= 2100;
    push(year ? FactKind::kYear : FactKind::kNumber, number_key(value), first, last, value);
  }

  std::string_view text_;
  const std::vector<Word>& words_;
  size_t at_ = 0;
  std::vector<Fact> facts_;
};

}  // namespace

int month_number(std::string_view folded) {
  for (size_t i = 0; i < kMonths.size(); ++i) {
    const std::string full = to_lower_ascii(kMonths[i]);
    if (folded == full || (folded.size() == 3 && full.starts_with(folded))) return static_cast<int>(i + 1);
  }
  return folded == "sept" ? 9 : 0;
}

int weekday_number(std::string_view folded) {
  for (size_t i = 0; i < kWeekdays.size(); ++i) {
    if (equals_ignore_case(folded, kWeekdays[i])) return static_cast<int>(i + 1);
  }
  // Monday first, in German, French, Spanish, Italian and Portuguese; those that are other words elsewhere are left out.
  static constexpr auto kAbroad = std::to_array<std::string_view>(
      {"montag lundi lunes lunedi segunda-feira", "dienstag mardi martes martedi terca-feira",
       "mittwoch mercredi miercoles mercoledi quarta-feira", "donnerstag jeudi jueves giovedi quinta-feira",
       "freitag vendredi viernes venerdi sexta-feira", "samstag sonnabend samedi sabado sabato",
       "sonntag dimanche domingo domenica"});
  for (size_t i = 0; i < kAbroad.size(); ++i)
    for (const std::string_view name : split(kAbroad[i], ' '))
      if (folded == name) return static_cast<int>(i + 1);
  return 0;
}

std::string_view month_name(int month) { return kMonths[static_cast<size_t>(month - 1)]; }
std::string_view weekday_name(int weekday) { return kWeekdays[static_cast<size_t>(weekday - 1)]; }

std::vector<Fact> find_facts(std::string_view text, const std::vector<Word>& words) {
  return Finder(text, words).run();
}

std::unordered_set<std::string> known_facts(const std::vector<Fact>& facts, Time when) {
  std::unordered_set<std::string> known;
  for (const Fact& fact : facts) {
    known.insert(fact.key);
    if (fact.kind == FactKind::kMoney) known.insert(number_key(fact.value));
  }
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date{day};
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(when - day).count();
  known.insert(number_key(static_cast<int>(date.year())));
  known.insert(
      fmt::format("d:{:02}-{:02}", static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day())));
  known.insert(fmt::format("t:{:02}:{:02}", minutes / 60, minutes % 60));
  return known;
}

std::vector<Fact> find_scores(std::string_view text, const std::vector<Word>& words) {
  const auto points = [](std::string_view digits) -> std::optional<int> {
    if (digits.size() > 3) return std::nullopt;
    return to_int(digits);
  };
  std::vector<Fact> out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].kind != WordKind::kNumber) continue;
    const std::string& folded = words[i].folded;
    if (const size_t colon = folded.find(':'); colon != std::string::npos) {
      const auto home = points(folded.substr(0, colon)), away = points(folded.substr(colon + 1));
      if (home && away)
        out.push_back({FactKind::kNumber, fmt::format("s:{}-{}", *home, *away), words[i].span, i, 0});
      continue;
    }
    if (i + 1 >= words.size() || words[i + 1].kind != WordKind::kNumber) continue;
    const std::string_view gap =
        trim(text.substr(words[i].span.end, words[i + 1].span.begin - words[i].span.end));
    if (gap != "-" && gap != "\xE2\x80\x93") continue;
    const auto home = points(folded), away = points(words[i + 1].folded);
    const bool dated =
        i + 2 < words.size() && words[i + 2].kind == WordKind::kNumber &&  // 12-05-2031
        trim(text.substr(words[i + 1].span.end, words[i + 2].span.begin - words[i + 1].span.end)) == "-";
    if (!home || !away || dated) continue;
    out.push_back({FactKind::kNumber,
                   fmt::format("s:{}-{}", *home, *away),
                   {words[i].span.begin, words[i + 1].span.end},
                   i,
                   0});
    ++i;
  }
  return out;
}

}  // namespace fathom::answer
