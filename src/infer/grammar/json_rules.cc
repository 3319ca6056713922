#include "infer/grammar/json_rules.h"

#include <fmt/format.h>

#include "base/text.h"

namespace fathom::infer::grammar {

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    constexpr std::string_view kShort = "\b\t\n\f\r\"\\";
    constexpr std::string_view kLetters = "btnfr\"\\";
    const size_t i = c < 0x80 ? kShort.find(static_cast<char>(c)) : std::string_view::npos;
    if (i != std::string_view::npos)
      out += {'\\', kLetters[i]};
    else if (c < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    else
      append_utf8(out, c);
  }
  return out + '"';
}

uint32_t JsonRules::space(uint32_t from) {
  if (!space_) {
    space_ = out_.declare();
    const uint32_t start = out_.begin(*space_);
    const uint32_t last = out_.state();
    out_.empty(start, last);
    out_.edge(start, ' ', ' ', last);
    uint32_t at = out_.byte(start, '\n');
    out_.empty(at, last);
    for (int i = 0; i < kIndent; ++i) {
      const uint32_t next = out_.state();
      out_.edge(at, ' ', ' ', next);
      out_.edge(at, '\t', '\t', next);
      out_.empty(next, last);
      at = next;
    }
    out_.end(last);
  }
  return out_.call(from, *space_);
}

uint32_t JsonRules::small_space(uint32_t from) {
  const uint32_t last = out_.byte(from, ' ');
  out_.empty(from, last);
  return last;
}

void JsonRules::escape(uint32_t from, uint32_t to) {
  for (const char c : std::string_view("\"\\/bfnrt"))
    out_.edge(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
  const auto hex = [&](uint32_t at, uint32_t next, std::string_view ranges) {
    for (size_t i = 0; i + 1 < ranges.size(); i += 2)
      out_.edge(at, static_cast<uint8_t>(ranges[i]), static_cast<uint8_t>(ranges[i + 1]), next);
  };
  constexpr std::string_view kAny = "09afAF";
  const uint32_t one_left = out_.state();
  const uint32_t two_left = out_.state();
  const uint32_t three_left = out_.state();
  hex(one_left, to, kAny);
  hex(two_left, one_left, kAny);
  hex(three_left, two_left, kAny);
  const uint32_t first = out_.byte(from, 'u');
  hex(first, three_left, "09acefACEF");
  // D: 0..7 is a character of its own, 8..B the first half of a pair whose second half must follow.
  const uint32_t d = out_.state();
  hex(first, d, "ddDD");
  hex(d, two_left, "07");
  uint32_t pair = out_.state();
  hex(d, pair, "89abAB");
  for (int i = 0; i < 2; ++i) {
    const uint32_t next = out_.state();
    hex(pair, next, kAny);
    pair = next;
  }
  pair = out_.text(pair, "\\u");
  const uint32_t second = out_.state();
  hex(pair, second, "ddDD");
  hex(second, two_left, "cfCF");
}

void JsonRules::character(uint32_t from, uint32_t to) {
  escape(out_.byte(from, '\\'), to);
  for (const auto& [low, high] : {std::pair<char32_t, char32_t>{' ', '"' - 1}, {'"' + 1, '\\' - 1}})
    out_.edge(from, static_cast<uint8_t>(low), static_cast<uint8_t>(high), to);
  write_characters(out_, from, '\\' + 1, Automaton::kLast, to);
}

uint32_t JsonRules::string() {
  if (string_) return *string_;
  string_ = out_.declare();
  out_.share(*string_);
  const uint32_t inside = out_.byte(out_.begin(*string_), '"');
  character(inside, inside);
  out_.end(out_.byte(inside, '"'));
  return *string_;
}

uint32_t JsonRules::string(uint32_t min, uint32_t max) {
  if (min == 0 && max == Program::kUnbounded) return string();
  if (const auto it = lengths_.find({min, max}); it != lengths_.end()) return it->second;
  if (!character_) {
    character_ = out_.declare();
    const uint32_t start = out_.begin(*character_);
    const uint32_t last = out_.state();
    character(start, last);
    out_.end(last);
  }
  const uint32_t rule = lengths_[{min, max}] = out_.declare();
  out_.share(rule);
  const uint32_t inside = out_.byte(out_.begin(rule), '"');
  out_.end(out_.byte(out_.repeat(inside, *character_, min, max), '"'));
  return rule;
}

uint32_t JsonRules::strings(const Automaton& automaton) {
  const uint32_t rule = out_.declare();
  out_.share(rule);
  const uint32_t inside = out_.byte(out_.begin(rule), '"');
  out_.end(out_.byte(write_strings(out_, inside, automaton), '"'));
  return rule;
}

uint32_t JsonRules::digits(uint32_t from, int least, int most) {
  const uint32_t last = out_.state();
  for (int i = 0; i <= most; ++i) {
    if (i >= least) out_.empty(from, last);
    if (i == most) break;
    const uint32_t next = out_.state();
    out_.edge(from, '0', '9', next);
    from = next;
  }
  return last;
}

uint32_t JsonRules::integer() {
  if (integer_) return *integer_;
  integer_ = out_.declare();
  const uint32_t start = out_.begin(*integer_);
  const uint32_t minus = out_.byte(start, '-');
  const uint32_t first = out_.state();
  out_.edge(start, '1', '9', first);
  out_.edge(minus, '1', '9', first);
  const uint32_t last = digits(first, 0, kDigits - 1);
  out_.edge(start, '0', '0', last);
  out_.end(last);
  return *integer_;
}

uint32_t JsonRules::number() {
  if (number_) return *number_;
  number_ = out_.declare();
  const uint32_t start = out_.begin(*number_);
  const uint32_t sign = out_.byte(start, '-');
  out_.empty(start, sign);
  const uint32_t first = out_.state();
  out_.edge(sign, '1', '9', first);
  const uint32_t whole = digits(first, 0, kDigits - 1);
  out_.edge(sign, '0', '0', whole);
  const uint32_t fraction = digits(out_.byte(whole, '.'), 1, kDigits);
  out_.empty(whole, fraction);
  const uint32_t e = out_.state();
  out_.edge(fraction, 'e', 'e', e);
  out_.edge(fraction, 'E', 'E', e);
  const uint32_t exponent = out_.state();
  out_.empty(e, exponent);
  out_.edge(e, '+', '+', exponent);
  out_.edge(e, '-', '-', exponent);
  const uint32_t last = digits(exponent, 1, 2);
  out_.empty(fraction, last);
  out_.end(last);
  return *number_;
}

uint32_t JsonRules::value() {
  if (value_) return *value_;
  value_ = out_.declare();
  const uint32_t any_object = object();
  const uint32_t any_array = array();
  const uint32_t any_string = string();
  const uint32_t any_number = number();
  const uint32_t start = out_.begin(*value_);
  const uint32_t last = out_.state();
  for (const uint32_t rule : {any_object, any_array, any_string, any_number})
    out_.empty(out_.call(start, rule), last);
  for (const std::string_view word : {"true", "false", "null"}) out_.empty(out_.text(start, word), last);
  out_.end(last);
  return *value_;
}

uint32_t JsonRules::object() {
  if (object_) return *object_;
  object_ = out_.declare();
  const uint32_t any = value();
  const uint32_t key = string();
  const uint32_t open = space(out_.byte(out_.begin(*object_), '{'));
  const uint32_t close = out_.byte(open, '}');
  const uint32_t member = out_.state();
  out_.empty(open, member);
  const uint32_t after = out_.call(small_space(out_.byte(out_.call(member, key), ':')), any);
  out_.empty(space(out_.byte(after, ',')), member);
  out_.edge(space(after), '}', '}', close);
  out_.end(close);
  return *object_;
}

uint32_t JsonRules::array() {
  if (array_) return *array_;
  array_ = out_.declare();
  const uint32_t any = value();
  const uint32_t open = space(out_.byte(out_.begin(*array_), '['));
  const uint32_t close = out_.byte(open, ']');
  const uint32_t item = out_.state();
  out_.empty(open, item);
  const uint32_t after = out_.call(item, any);
  out_.empty(space(out_.byte(after, ',')), item);
  out_.edge(space(after), ']', ']', close);
  out_.end(close);
  return *array_;
}

}  // namespace fathom::infer::grammar
