// Automata over the characters of a string: what patterns, formats and the names of properties are made of before they
// become bytes of JSON.
//
// A character is a Unicode scalar value. In JSON text it stands as itself in UTF-8; the quotation mark, the backslash and
// control characters as their shortest escape. An automaton is nondeterministic, without empty moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "infer/grammar/program.h"

namespace fathom::infer::grammar {

struct Automaton {
  static constexpr size_t kMostStates = 20'000;
  static constexpr size_t kMostEdges = 200'000;
  static constexpr char32_t kLast = 0x10FFFF;

  struct Edge {
    char32_t low, high;
    uint32_t to;
  };
  struct State {
    std::vector<Edge> edges;
    bool final = false;
  };
  std::vector<State> states;  // the first is the start
  size_t edges = 0;

  uint32_t add(bool final = false);
  void connect(uint32_t from, char32_t low, char32_t high, uint32_t to);
  bool accepts(std::string_view utf8) const;

  /// Every string of so many characters.
  static Automaton length(uint32_t min, uint32_t max);
  /// Every string but these (UTF-8).
  static Automaton all_but(std::span<const std::string_view> texts);
  static Automaton anything() { return length(0, Program::kUnbounded); }
};

/// The strings that both accept. Errors of all: kResourceExhausted (too many states).
Automaton intersect(const Automaton& a, const Automaton& b);
/// The same strings with at most one edge a character from each state.
Automaton determine(const Automaton& a);
/// The strings that it does not accept.
Automaton complement(const Automaton& a);

/// Adds the strings to a rule as JSON text without the quotation marks; returns where they end.
uint32_t write_strings(Builder& out, uint32_t from, const Automaton& automaton);
/// One character of low..high (no surrogates among them are written) as JSON text from one state to another.
void write_characters(Builder& out, uint32_t from, char32_t low, char32_t high, uint32_t to);

}  // namespace fathom::infer::grammar
