#include "infer/grammar/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "base/error.h"
#include "infer/grammar/json_rules.h"

namespace fathom::infer::grammar {
namespace {

constexpr size_t kWhole = JsonRules::kDigits;     // digits before the point
constexpr size_t kFraction = JsonRules::kDigits;  // and behind
constexpr uint64_t kMostDivisor = 2'000;

/// A number without exponent: whole.fraction, neither with needless zeros; whole is empty for 0.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
  bool zero() const { return whole.empty() && fraction.empty(); }
};

Decimal parse_decimal(std::string_view text) {
  Decimal out;
  const std::string_view all = text;
  const auto refuse = [&] {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is not a number", all));
  };
  if (text.starts_with('-')) {
    out.negative = true;
    text.remove_prefix(1);
  }
  int exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    std::string_view tail = text.substr(e + 1);
    if (tail.starts_with('+')) tail.remove_prefix(1);
    const auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), exponent);
    if (error != std::errc() || end != tail.data() + tail.size()) refuse();
    text = text.substr(0, e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(0, point));
  if (point < text.size()) digits += text.substr(point + 1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) refuse();
  exponent = std::clamp(exponent, -1000, 1000);
  auto place = static_cast<ptrdiff_t>(point) + exponent;  // of the point among the digits
  if (place < 0) {
    digits.insert(0, static_cast<size_t>(-place), '0');
    place = 0;
  }
  if (place > static_cast<ptrdiff_t>(digits.size()))
    digits.append(static_cast<size_t>(place) - digits.size(), '0');
  out.whole = digits.substr(0, static_cast<size_t>(place));
  out.fraction = digits.substr(static_cast<size_t>(place));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size()));
  out.fraction.erase(out.fraction.find_last_not_of('0') + 1);
  if (out.zero()) out.negative = false;
  return out;
}

/// Of absolute values.
int compare_sizes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int c = a.whole.compare(b.whole); c != 0) return c < 0 ? -1 : 1;
  const int c = a.fraction.compare(b.fraction);
  return c == 0 ? 0 : (c < 0 ? -1 : 1);
}

/// A bound on absolute values.
struct Limit {
  Decimal value;
  bool exclusive = false;
};

/// Writes the numbers between two limits that are not negative, digit by digit. A state knows how many digits of the
/// integer part are to come, whether the digits so far are still those of a limit, and the remainder by the divisor.
class Writer {
 public:
  Writer(Builder& out, const NumberRange& range, Limit low, std::optional<Limit> high, bool zero)
      : out_(out),
        range_(range),
        low_(std::move(low)),
        high_(std::move(high)),
        zero_(zero),
        last_(out.state()) {}

  uint32_t write(uint32_t from) {
    for (size_t length = 1; length <= kWhole; ++length) {
      if (length < low_.value.whole.size()) continue;
      if (high_ && length > std::max<size_t>(1, high_->value.whole.size())) break;
      const bool at_low = length == std::max<size_t>(1, low_.value.whole.size());
      const bool at_high = high_ && length == std::max<size_t>(1, high_->value.whole.size());
      digits(from, {length, length, at_low, at_high, 0}, true);
    }
    return last_;
  }

 private:
  struct Place {
    size_t length = 0;  // of the integer part; only while the digits are a limit's
    size_t left = 0;    // digits of the integer part to come
    bool at_low = false, at_high = false;
    uint64_t remainder = 0;
    auto operator<=>(const Place&) const = default;
  };

  static int whole_digit(const Decimal& d, size_t length, size_t left) {
    const std::string& w = d.whole;  // shorter than length only for 0
    return w.size() < length ? 0 : w[length - left] - '0';
  }
  static int fraction_digit(const Decimal& d, size_t i) {
    return i < d.fraction.size() ? d.fraction[i] - '0' : 0;
  }

  void digits(uint32_t from, const Place& p, bool first) {
    const int least = p.at_low ? whole_digit(low_.value, p.length, p.left) : 0;
    const int most = p.at_high ? whole_digit(high_->value, p.length, p.left) : 9;
    for (int d = least; d <= most; ++d) {
      if (first && d == 0 && p.length > 1) continue;
      Place next = p;
      next.left -= 1;
      next.at_low = p.at_low && d == least;
      next.at_high = p.at_high && d == most;
      next.remainder = (p.remainder * 10 + static_cast<uint64_t>(d)) % range_.multiple_of;
      const bool zero = first && d == 0;
      const auto c = static_cast<uint8_t>('0' + d);
      // The lone zero has states of its own: "-0" may be unwanted where "-0.5" is not.
      out_.edge(from, c, c, zero ? whole(next, true) : whole(next, false));
    }
  }

  uint32_t whole(Place p, bool zero) {
    if (!p.at_low && !p.at_high) p.length = 0;
    const auto key = std::make_tuple(p, zero);
    if (const auto it = whole_.find(key); it != whole_.end()) return it->second;
    const uint32_t at = whole_[key] = out_.state();
    if (p.left > 0) {
      digits(at, p, false);
      return at;
    }
    if (p.remainder == 0 && ends_well(p.at_low, p.at_high, 0) && (zero_ || !zero)) out_.empty(at, last_);
    if (!range_.integer) fraction(out_.byte(at, '.'), 0, p.at_low, p.at_high, zero);
    return at;
  }

  /// `zero`: all digits so far are.
  void fraction(uint32_t from, size_t i, bool at_low, bool at_high, bool zero) {
    if (i == std::min(kFraction, range_.fraction)) return;
    const int least = at_low ? fraction_digit(low_.value, i) : 0;
    const int most = at_high ? fraction_digit(high_->value, i) : 9;
    for (int d = least; d <= most; ++d) {
      const bool low = at_low && d == least;
      const bool high = at_high && d == most;
      const bool still_zero = zero && d == 0;
      const auto key = std::make_tuple(i, low, high, still_zero);
      auto it = fraction_.find(key);
      if (it == fraction_.end()) {
        const uint32_t at = out_.state();
        it = fraction_.emplace(key, at).first;
        if (ends_well(low, high, i + 1) && (zero_ || !still_zero)) out_.empty(at, last_);
        fraction(at, i + 1, low, high, still_zero);
      }
      const auto c = static_cast<uint8_t>('0' + d);
      out_.edge(from, c, c, fraction_.at(key));
    }
  }

  /// Whether the number may end behind `i` digits of its fraction.
  bool ends_well(bool at_low, bool at_high, size_t i) const {
    if (at_low && (low_.value.fraction.size() > i || low_.exclusive)) return false;
    return !(at_high && high_->value.fraction.size() <= i && high_->exclusive);
  }

  Builder& out_;
  const NumberRange& range_;
  const Limit low_;
  const std::optional<Limit> high_;
  const bool zero_;  // a zero is wanted
  const uint32_t last_;
  std::map<std::tuple<Place, bool>, uint32_t> whole_;
  std::map<std::tuple<size_t, bool, bool, bool>, uint32_t> fraction_;
};

/// A bound that the writer can hold, or none where it lies beyond every number that is written.
std::optional<Limit> limit(const std::optional<Bound>& bound) {
  if (!bound) return std::nullopt;
  Limit out{parse_decimal(bound->text), bound->exclusive};
  if (out.value.fraction.size() > kFraction)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} has more than {} digits behind the point; round it", bound->text, kFraction));
  return out;
}

}  // namespace

int compare_numbers(std::string_view a, std::string_view b) {
  const Decimal x = parse_decimal(a);
  const Decimal y = parse_decimal(b);
  if (x.negative != y.negative) return x.negative ? -1 : 1;
  return x.negative ? compare_sizes(y, x) : compare_sizes(x, y);
}

uint32_t write_range(Builder& out, const NumberRange& range) {
  if (range.multiple_of == 0 || range.multiple_of > kMostDivisor)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("multiples are enforced of 1 to {}, not of {}", kMostDivisor, range.multiple_of));
  const auto low = limit(range.low);
  const auto high = limit(range.high);
  const uint32_t rule = out.declare();
  const uint32_t start = out.begin(rule);
  const uint32_t last = out.state();
  const auto negate = [](const std::optional<Limit>& l) -> std::optional<Limit> {
    if (!l) return std::nullopt;
    Limit out_limit = *l;
    out_limit.value.negative = false;
    return out_limit;
  };
  const auto above_zero = [](const Limit& l) { return !l.value.negative && !l.value.zero(); };
  // Zero and above: from the low bound, if it is positive, up to the high one, if there is one.
  if (!(high && (high->value.negative || (high->value.zero() && high->exclusive)))) {
    const bool bounded = low && !low->value.negative;
    const Limit from = bounded ? *low : Limit{};
    const bool zero = !bounded || (!above_zero(*low) && !low->exclusive);
    out.empty(Writer(out, range, from, high, zero).write(start), last);
  }
  // Below zero: the absolute values run from the high bound, if it is negative, to the low one.
  if (!(low && !low->value.negative)) {
    const bool bounded = high && high->value.negative;
    const Limit from = bounded ? *negate(high) : Limit{};
    // "-0.0" is a zero: wanted only if one is. "-0" of integers has its plain form above.
    const bool zero = !range.integer && !bounded && !(high && high->value.zero() && high->exclusive);
    out.empty(Writer(out, range, from, negate(low), zero).write(out.byte(start, '-')), last);
  }
  out.end(last);
  return rule;
}

}  // namespace fathom::infer::grammar
