// Where a text stands in a grammar: sets of stacks, interned, with their transitions on bytes kept once computed.
//
// A stack is a state and what follows when its rule ends: another set of stacks. Stacks that end in the same state share
// one node, whose parents are united, so that ambiguity costs no more than there are states (Tomita's graph-structured
// stack, 1985, determinised lazily). Set 0 is empty: the text has left the grammar. A set's id is smaller than those of
// all sets built on it.
//
// Owns its memory; the program outlives it. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "infer/grammar/program.h"

namespace fathom::infer::grammar {

using SetId = uint32_t;

class Stacks {
 public:
  /// Loops near neither bound look alike to texts of at most so many characters.
  static constexpr uint32_t kHorizon = 32;

  explicit Stacks(const Program& program);

  static constexpr SetId kDead = 0;
  SetId initial() const { return initial_; }

  SetId step(SetId set, uint8_t byte) {
    const Table* table = tables_[set].get();
    const SetId known = table == nullptr ? kUnknown : (*table)[byte];
    return known != kUnknown ? known : compute_step(set, byte);
  }

  bool may_end(SetId set) const { return (flags_[set] & kEnds) != 0; }
  bool must_end(SetId set) const { return flags_[set] == (kEnds | kOnly); }
  /// The rule that `split` cut off has ended here; what follows is the outer set's.
  bool may_leave(SetId set) const { return (flags_[set] & kLeaves) != 0; }

  /// A position inside a shared rule: the part within the rule, and the set that goes on when it ends. The inner part is
  /// the same wherever the rule was called, and for texts of at most kHorizon characters exact.
  struct Split {
    SetId inner, outer;
  };
  std::optional<Split> split(SetId set);

  /// How much is kept: when it is too much, `keep_only` forgets all but one set, which gets the id that it returns.
  bool crowded() const { return tables_made_ > kMostTables || nodes_.size() > kMostNodes; }
  SetId keep_only(SetId set);

 private:
  struct Node {
    uint32_t state;
    uint32_t count;  // of a loop: how often it has gone round when the rule above returns
    SetId parent;
    bool operator==(const Node&) const = default;
    auto operator<=>(const Node&) const = default;
  };
  struct Visit {
    Node node;
    uint32_t next;  // an earlier visit of the same state
  };
  using Table = std::array<SetId, 256>;

  static constexpr SetId kUnknown = ~SetId{0};
  static constexpr uint8_t kEnds = 1, kLeaves = 2, kOnly = 4;
  static constexpr size_t kMostTables = 8'192, kMostNodes = 1'000'000;

  void reset();
  std::span<const Node> nodes_of(SetId set) const {
    return std::span(nodes_).subspan(first_[set], first_[set + 1] - first_[set]);
  }
  SetId intern(std::vector<Node>& nodes, int depth = 0);
  SetId intern_sorted(std::span<const Node> nodes);
  SetId unite(SetId a, SetId b, int depth);
  SetId compute_step(SetId set, uint8_t byte);
  SetId close();
  void visit(const Node& node);
  void follow(const Node& node);
  SetId rewrite(SetId set, SetId cut, int depth);
  uint32_t settle(const Node& node) const;

  const Program& program_;
  const uint32_t end_state_, leave_state_;
  std::vector<Node> nodes_;
  std::vector<size_t> first_;  // [sets + 1]
  std::vector<uint8_t> flags_;
  std::vector<std::unique_ptr<Table>> tables_;
  std::unordered_multimap<uint64_t, SetId> ids_;
  size_t tables_made_ = 0;
  SetId initial_ = 0, leave_ = 0;

  // Scratch of one closure.
  std::vector<Visit> visits_;
  std::vector<uint32_t>
      latest_;  // [states + 2]: index + 1 of the latest visit, where its epoch is the present one
  std::vector<uint32_t> epochs_;
  uint32_t epoch_ = 0;
};

}  // namespace fathom::infer::grammar
