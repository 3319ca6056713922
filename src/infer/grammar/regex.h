// Regular expressions of JSON Schema (ECMA-262, as far as they are regular) as automata over characters.
//
// Alternatives, groups (plain, non-capturing, named), classes with ranges and \d \w \s \D \W \S, escapes (\n, \x41,
// \u0041, \u{1F600}, \cX), the dot, ? * + {m,n} and their lazy forms (which accept the same), ^ and $ at the ends of
// alternatives. A pattern may match anywhere in the string, as JSON Schema has it, unless anchored. Back-references,
// look-around, \b, \p{...} and anchors elsewhere are kUnsupported.
#pragma once

#include <optional>
#include <string_view>

#include "infer/grammar/automaton.h"

namespace fathom::infer::grammar {

/// The strings in which the pattern is found. Errors: kInvalidArgument (not a pattern), kUnsupported (names the construct),
/// kResourceExhausted.
Automaton parse_pattern(std::string_view pattern);

/// The strings of a format of JSON Schema: date, time, date-time, duration, email, hostname, ipv4, ipv6, uuid. Null for
/// others, which are not enforced.
std::optional<Automaton> parse_format(std::string_view format);

}  // namespace fathom::infer::grammar
