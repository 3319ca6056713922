// The compiled form of a grammar: rules over bytes that may call one another, a recursive transition network.
//
// A rule is a nondeterministic automaton. Its states read bytes, go on without reading, call a rule, or repeat one between
// `min` and `max` times. Every state that is left after `Builder::finish` can reach the end of its rule: what a matcher
// follows can always be completed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "infer/grammar.h"

namespace fathom::infer {

struct Grammar::Program {
  static constexpr uint32_t kUnbounded = ~uint32_t{0};

  enum class Kind : uint8_t { kPlain, kCall, kLoop };
  struct Edge {
    uint8_t low, high;
    uint32_t to;
  };
  struct State {
    Kind kind = Kind::kPlain;
    bool final = false;
    uint32_t rule = 0;                          // that it belongs to
    uint32_t first_edge = 0, edge_count = 0;    // kPlain
    uint32_t first_empty = 0, empty_count = 0;  // kPlain: where it goes without reading
    uint32_t callee = 0, next = 0;              // kCall, kLoop
    uint32_t min = 0, max = 0;                  // kLoop
  };
  struct Rule {
    uint32_t start = 0;
    bool shared = false;  // called from many places: what it allows is kept apart from what follows
  };

  std::span<const Edge> edges_of(const State& s) const {
    return std::span(edges).subspan(s.first_edge, s.edge_count);
  }
  std::span<const uint32_t> empties_of(const State& s) const {
    return std::span(empties).subspan(s.first_empty, s.empty_count);
  }

  std::vector<State> states;
  std::vector<Edge> edges;
  std::vector<uint32_t> empties;
  std::vector<Rule> rules;
  uint32_t root = 0;
};

namespace grammar {

using Program = Grammar::Program;

/// Writes a program rule by rule. Functions that add text take the state that it begins in and return the one that it ends
/// in. Errors of all: kResourceExhausted when the grammar grows too large.
class Builder {
 public:
  static constexpr size_t kMostStates = 300'000;
  static constexpr size_t kMostRules = 50'000;

  /// A rule without text; `begin` gives it some.
  uint32_t declare();
  /// The states added from here on are this rule's; returns its start. Rules are written one at a time: what was begun
  /// before goes on after `end`.
  uint32_t begin(uint32_t rule);
  /// The rule is written; `last` is where it ends.
  void end(uint32_t last);
  void share(uint32_t rule) { rules_[rule].shared = true; }

  uint32_t state();
  void edge(uint32_t from, uint8_t low, uint8_t high, uint32_t to);
  void empty(uint32_t from, uint32_t to);
  uint32_t byte(uint32_t from, uint8_t value);
  uint32_t text(uint32_t from, std::string_view bytes);
  uint32_t call(uint32_t from, uint32_t rule);
  /// REQUIRES: the rule reads at least one byte; min <= max.
  uint32_t repeat(uint32_t from, uint32_t rule, uint32_t min, uint32_t max);

  size_t states() const { return states_.size(); }

  /// The program with what cannot be completed cut off. Errors: kInvalidArgument (no text is of the grammar), kUnsupported
  /// (a rule calls itself before it reads anything). The builder is empty afterwards.
  std::unique_ptr<const Program> finish(uint32_t root);

 private:
  struct Node {
    Program::State state;
    std::vector<Program::Edge> edges;
    std::vector<uint32_t> empties;
  };

  uint32_t to_plain(uint32_t from);
  std::vector<bool> completable() const;
  void check_left_calls() const;

  std::vector<Node> states_;
  std::vector<Program::Rule> rules_;
  std::vector<uint32_t> open_;  // rules that are being written
};

}  // namespace grammar
}  // namespace fathom::infer
