// Numbers between bounds as automata over their digits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "infer/grammar/program.h"

namespace fathom::infer::grammar {

/// A bound, by its decimal text: exact where a double would not be.
struct Bound {
  std::string text;  // as JSON writes a number
  bool exclusive = false;
};

struct NumberRange {
  std::optional<Bound> low, high;
  bool integer = false;
  uint64_t multiple_of = 1;  // integers only
  size_t fraction = 18;      // digits behind the point, at most
};

/// A rule of the range's numbers without exponents: at most 18 digits before the point and 18 behind it, no "-0" for
/// integers. Errors: kUnsupported (a bound with more digits than that, a divisor above 2,000), kInvalidArgument (a bound
/// that is no number); the sentence lacks the place, which the caller adds.
uint32_t write_range(Builder& out, const NumberRange& range);

/// -1, 0, 1: how two JSON numbers compare, by their digits. Errors: as write_range.
int compare_numbers(std::string_view a, std::string_view b);

}  // namespace fathom::infer::grammar
