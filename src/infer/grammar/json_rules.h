// The parts of JSON text as rules: white space, strings, numbers, any value.
//
// White space is bounded, so that a model cannot write blanks for ever: nothing, one space, or one newline with up to
// kIndent spaces and tabs, where JSON lets it be at the beginning, inside brackets and behind commas; nothing or one space
// behind a colon; none before commas and colons, none at the end. Numbers are bounded too: at most kDigits digits in the
// integer part and in the fraction, two in the exponent.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "infer/grammar/automaton.h"
#include "infer/grammar/program.h"

namespace fathom::infer::grammar {

/// Text with quotation marks around it and its characters as JSON has them, shortest escapes, the rest as it is. Ill-formed
/// UTF-8 becomes U+FFFD.
std::string json_text(std::string_view text);

class JsonRules {
 public:
  static constexpr int kIndent = 32;
  static constexpr int kDigits = 18;

  explicit JsonRules(Builder& out) : out_(out) {}

  uint32_t space(uint32_t from);        // the bounded white space
  uint32_t small_space(uint32_t from);  // nothing or one space

  /// Rules, each written once.
  uint32_t string();
  uint32_t string(uint32_t min, uint32_t max);   // so many characters (Unicode scalar values)
  uint32_t strings(const Automaton& automaton);  // not kept: a new rule each time
  uint32_t number();
  uint32_t integer();
  uint32_t value();   // any
  uint32_t object();  // any
  uint32_t array();   // any

 private:
  /// One character as JSON has it: itself or any of its escapes, surrogate pairs whole.
  void character(uint32_t from, uint32_t to);
  void escape(uint32_t from, uint32_t to);
  uint32_t digits(uint32_t from, int least, int most);

  Builder& out_;
  std::optional<uint32_t> space_, string_, character_, number_, integer_, value_, object_, array_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> lengths_;
};

}  // namespace fathom::infer::grammar
