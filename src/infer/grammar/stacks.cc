#include "infer/grammar/stacks.h"

#include <algorithm>

namespace fathom::infer::grammar {
namespace {

constexpr int kDeepest =
    48;  // unions go no deeper down the stacks: what lies below stays apart, which is as exact
constexpr int kReach = 4;  // frames between a position and the shared rule that it is in

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdu;
}

}  // namespace

Stacks::Stacks(const Program& program)
    : program_(program),
      end_state_(static_cast<uint32_t>(program.states.size())),
      leave_state_(end_state_ + 1),
      latest_(program.states.size() + 2),
      epochs_(program.states.size() + 2) {
  reset();
}

void Stacks::reset() {
  nodes_.clear();
  first_.assign(1, 0);
  flags_.clear();
  tables_.clear();
  ids_.clear();
  tables_made_ = 0;
  intern_sorted({});  // kDead
  const Node leave{leave_state_, 0, kDead};
  leave_ = intern_sorted({&leave, 1});
  const Node end{end_state_, 0, kDead};
  const SetId ends = intern_sorted({&end, 1});
  visits_.clear();
  ++epoch_;
  visit({program_.rules[program_.root].start, 0, ends});
  initial_ = close();
}

SetId Stacks::intern_sorted(std::span<const Node> nodes) {
  uint64_t hash = nodes.size();
  for (const auto& n : nodes) hash = mix(mix(hash, (uint64_t{n.state} << 32) | n.count), n.parent);
  const auto [from, to] = ids_.equal_range(hash);
  for (auto it = from; it != to; ++it)
    if (std::ranges::equal(nodes_of(it->second), nodes)) return it->second;
  const auto id = static_cast<SetId>(flags_.size());
  uint8_t flags = nodes.size() == 1 ? kOnly : 0;
  for (const auto& n : nodes) {
    if (n.state == end_state_) flags |= kEnds;
    if (n.state == leave_state_) flags |= kLeaves;
  }
  // The nodes may lie in nodes_ itself.
  const std::vector<Node> copy(nodes.begin(), nodes.end());
  nodes_.insert(nodes_.end(), copy.begin(), copy.end());
  first_.push_back(nodes_.size());
  flags_.push_back(flags);
  tables_.emplace_back();
  ids_.emplace(hash, id);
  return id;
}

/// One node a state and count: their parents are united.
SetId Stacks::intern(std::vector<Node>& nodes, int depth) {
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  if (depth < kDeepest) {
    size_t kept = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (kept > 0 && nodes[kept - 1].state == nodes[i].state && nodes[kept - 1].count == nodes[i].count)
        nodes[kept - 1].parent = unite(nodes[kept - 1].parent, nodes[i].parent, depth + 1);
      else
        nodes[kept++] = nodes[i];
    }
    nodes.resize(kept);
  }
  return intern_sorted(nodes);
}

SetId Stacks::unite(SetId a, SetId b, int depth) {
  if (a == b) return a;
  const auto left = nodes_of(a);
  std::vector<Node> both(left.begin(), left.end());
  const auto right = nodes_of(b);
  both.insert(both.end(), right.begin(), right.end());
  return intern(both, depth);
}

void Stacks::visit(const Node& node) {
  uint32_t next = 0;
  if (epochs_[node.state] == epoch_) next = latest_[node.state];
  for (uint32_t v = next; v != 0; v = visits_[v - 1].next)
    if (visits_[v - 1].node == node) return;
  visits_.push_back({node, next});
  latest_[node.state] = static_cast<uint32_t>(visits_.size());
  epochs_[node.state] = epoch_;
}

/// Visits what a node reaches without reading.
void Stacks::follow(const Node& node) {
  if (node.state >= end_state_) return;
  const auto& s = program_.states[node.state];
  if (s.kind == Program::Kind::kPlain) {
    for (const uint32_t to : program_.empties_of(s)) visit({to, 0, node.parent});
    if (!s.final) return;
    // By index: the visits do not touch the sets, but interning would.
    for (const auto& p : nodes_of(node.parent)) visit(p);
    return;
  }
  const bool loop = s.kind == Program::Kind::kLoop;
  if (loop && node.count >= s.min) visit({s.next, 0, node.parent});
  if (loop && node.count >= s.max) return;
  Node back{s.next, 0, node.parent};
  if (loop)
    back = {node.state, s.max == Program::kUnbounded ? std::min(node.count + 1, s.min) : node.count + 1,
            node.parent};
  const SetId frame = intern_sorted({&back, 1});
  visit({program_.rules[s.callee].start, 0, frame});
}

/// The set of what the visits reach, as far as it reads or ends.
SetId Stacks::close() {
  for (size_t i = 0; i < visits_.size(); ++i) {
    const Node node = visits_[i].node;
    follow(node);
  }
  std::vector<Node> out;
  for (const auto& v : visits_)
    if (v.node.state >= end_state_ || program_.states[v.node.state].edge_count > 0) out.push_back(v.node);
  return intern(out);
}

SetId Stacks::compute_step(SetId set, uint8_t byte) {
  visits_.clear();
  ++epoch_;
  for (const auto& node : nodes_of(set)) {
    if (node.state >= end_state_) continue;
    for (const auto& e : program_.edges_of(program_.states[node.state]))
      if (e.low <= byte && byte <= e.high) visit({e.to, 0, node.parent});
  }
  const SetId to = visits_.empty() ? kDead : close();
  if (tables_[set] == nullptr) {
    tables_[set] = std::make_unique<Table>();
    tables_[set]->fill(kUnknown);
    ++tables_made_;
  }
  (*tables_[set])[byte] = to;
  return to;
}

/// A loop's count for one that behaves alike over the next kHorizon rounds.
uint32_t Stacks::settle(const Node& node) const {
  const auto& s = program_.states[node.state];
  if (s.kind != Program::Kind::kLoop) return node.count;
  constexpr uint64_t kFar = kHorizon + 2;
  const auto far_below = [&](uint64_t count, uint32_t bound) {
    return bound == Program::kUnbounded || count + kFar < bound;
  };
  if (node.count >= s.min) {
    return far_below(node.count, s.max) && far_below(s.min, s.max) ? s.min : node.count;
  }
  return far_below(node.count, s.min) && far_below(node.count, s.max) ? 0 : node.count;
}

/// The set with `cut` replaced by the mark that the rule was left.
SetId Stacks::rewrite(SetId set, SetId cut, int depth) {
  if (set == cut) return leave_;
  std::vector<Node> out;
  for (size_t i = first_[set]; i < first_[set + 1]; ++i) {
    Node node = nodes_[i];
    node.count = settle(node);
    node.parent = rewrite(node.parent, cut, depth + 1);
    out.push_back(node);
  }
  return intern(out, depth);
}

std::optional<Stacks::Split> Stacks::split(SetId set) {
  const auto nodes = nodes_of(set);
  if (nodes.empty()) return std::nullopt;
  // The nearest shared rule around each node must have been called from the same place.
  SetId cut = kDead;
  for (const auto& start : nodes) {
    Node node = start;
    SetId found = kDead;
    for (int up = 0; up < kReach && found == kDead; ++up) {
      if (node.state >= end_state_) return std::nullopt;
      if (program_.rules[program_.states[node.state].rule].shared) {
        found = node.parent;
        break;
      }
      const auto above = nodes_of(node.parent);
      if (above.size() != 1) return std::nullopt;
      node = above.front();
    }
    if (found == kDead || (cut != kDead && cut != found)) return std::nullopt;
    cut = found;
  }
  if (cut == leave_) return std::nullopt;
  const SetId inner = rewrite(set, cut, 0);
  visits_.clear();
  ++epoch_;
  for (const auto& p : nodes_of(cut)) visit(p);
  return Split{inner, close()};
}

SetId Stacks::keep_only(SetId set) {
  // Parents have smaller ids: in rising order each finds its parents done.
  std::vector<bool> wanted(flags_.size());
  wanted[set] = true;
  for (SetId s = set; s > 0; --s)
    if (wanted[s])
      for (const auto& n : nodes_of(s)) wanted[n.parent] = true;
  std::vector<std::pair<SetId, std::vector<Node>>> kept;
  for (SetId s = 1; s <= set; ++s)
    if (wanted[s]) kept.emplace_back(s, std::vector<Node>(nodes_of(s).begin(), nodes_of(s).end()));
  reset();
  std::unordered_map<SetId, SetId> renamed{{kDead, kDead}};
  SetId last = kDead;
  for (auto& [id, nodes] : kept) {
    for (auto& n : nodes) n.parent = renamed.at(n.parent);
    std::sort(nodes.begin(), nodes.end());
    renamed[id] = last = intern_sorted(nodes);
  }
  return last;
}

}  // namespace fathom::infer::grammar
