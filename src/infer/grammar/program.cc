#include "infer/grammar/program.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace fathom::infer::grammar {

uint32_t Builder::declare() {
  if (rules_.size() >= kMostRules)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the schema needs more than {} rules; make it smaller", kMostRules));
  rules_.push_back({});
  return static_cast<uint32_t>(rules_.size() - 1);
}

uint32_t Builder::begin(uint32_t rule) {
  open_.push_back(rule);
  const uint32_t start = state();
  rules_[rule].start = start;
  return start;
}

void Builder::end(uint32_t last) {
  states_[to_plain(last)].state.final = true;
  open_.pop_back();
}

uint32_t Builder::state() {
  if (states_.size() >= kMostStates)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the schema needs more than {} states; make it smaller", kMostStates));
  states_.push_back({});
  states_.back().state.rule = open_.back();
  return static_cast<uint32_t>(states_.size() - 1);
}

/// A state that calls does nothing else: what is added to it goes to one before it would go wrong.
uint32_t Builder::to_plain(uint32_t from) {
  FATHOM_CHECK(states_[from].state.kind == Program::Kind::kPlain);
  return from;
}

void Builder::edge(uint32_t from, uint8_t low, uint8_t high, uint32_t to) {
  states_[to_plain(from)].edges.push_back({low, high, to});
}

void Builder::empty(uint32_t from, uint32_t to) { states_[to_plain(from)].empties.push_back(to); }

uint32_t Builder::byte(uint32_t from, uint8_t value) {
  const uint32_t to = state();
  edge(from, value, value, to);
  return to;
}

uint32_t Builder::text(uint32_t from, std::string_view bytes) {
  for (const char c : bytes) from = byte(from, static_cast<uint8_t>(c));
  return from;
}

uint32_t Builder::call(uint32_t from, uint32_t rule) {
  const uint32_t at = state();
  const uint32_t next = state();
  empty(from, at);
  auto& s = states_[at].state;
  s.kind = Program::Kind::kCall;
  s.callee = rule;
  s.next = next;
  return next;
}

uint32_t Builder::repeat(uint32_t from, uint32_t rule, uint32_t min, uint32_t max) {
  FATHOM_CHECK(min <= max);
  const uint32_t next = call(from, rule);
  auto& s = states_[states_[from].empties.back()].state;
  s.kind = Program::Kind::kLoop;
  s.min = min;
  s.max = max;
  return next;
}

/// Which states can reach the end of their rule: the least fixed point, by a work list over reversed arrows.
std::vector<bool> Builder::completable() const {
  std::vector<std::vector<uint32_t>> before(states_.size());  // a state that needs this one
  std::vector<std::vector<uint32_t>> callers(rules_.size());
  std::vector<std::vector<uint32_t>> starts(states_.size());  // rules that begin here
  for (uint32_t s = 0; s < states_.size(); ++s) {
    const auto& node = states_[s];
    if (node.state.kind != Program::Kind::kPlain) {
      before[node.state.next].push_back(s);
      callers[node.state.callee].push_back(s);
      continue;
    }
    for (const auto& e : node.edges) before[e.to].push_back(s);
    for (const uint32_t to : node.empties) before[to].push_back(s);
  }
  for (uint32_t r = 0; r < rules_.size(); ++r) starts[rules_[r].start].push_back(r);

  std::vector<bool> good(states_.size());
  std::vector<bool> good_rule(rules_.size());
  std::vector<uint32_t> work;
  const auto visit = [&](uint32_t s) {
    if (good[s]) return;
    const auto& state = states_[s].state;
    if (state.kind != Program::Kind::kPlain) {
      const bool skips = state.kind == Program::Kind::kLoop && state.min == 0;
      if (!good[state.next] || !(skips || good_rule[state.callee])) return;
    }
    good[s] = true;
    work.push_back(s);
  };
  for (uint32_t s = 0; s < states_.size(); ++s)
    if (states_[s].state.final) visit(s);
  while (!work.empty()) {
    const uint32_t s = work.back();
    work.pop_back();
    for (const uint32_t b : before[s]) visit(b);
    for (const uint32_t r : starts[s]) {
      good_rule[r] = true;
      for (const uint32_t c : callers[r]) visit(c);
    }
  }
  return good;
}

/// A rule that calls itself before it reads a byte would have a matcher push frames for ever.
void Builder::check_left_calls() const {
  // Whether a rule may read nothing: again a least fixed point; rules are few, passes fewer.
  std::vector<bool> nullable(rules_.size());
  std::vector<std::vector<uint32_t>> left(rules_.size());  // rules called before anything is read
  std::vector<uint32_t> seen(states_.size(), ~uint32_t{0});
  std::vector<uint32_t> work;
  uint32_t pass = 0;
  const auto scan = [&](uint32_t r) {
    bool ends = false;
    left[r].clear();
    work.assign(1, rules_[r].start);
    ++pass;
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      if (seen[s] == pass) continue;
      seen[s] = pass;
      const auto& node = states_[s];
      ends = ends || node.state.final;
      if (node.state.kind != Program::Kind::kPlain) {
        left[r].push_back(node.state.callee);
        const bool skips = node.state.kind == Program::Kind::kLoop && node.state.min == 0;
        if (skips || nullable[node.state.callee]) work.push_back(node.state.next);
      }
      work.insert(work.end(), node.empties.begin(), node.empties.end());
    }
    return ends;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t r = 0; r < rules_.size(); ++r) {
      if (nullable[r] || !scan(r)) continue;
      nullable[r] = changed = true;
    }
  }
  for (uint32_t r = 0; r < rules_.size(); ++r) scan(r);

  // A cycle of left calls, by depth-first search without recursion.
  std::vector<uint8_t> colour(rules_.size());  // 0 new, 1 on the path, 2 done
  std::vector<std::pair<uint32_t, size_t>> path;
  for (uint32_t r = 0; r < rules_.size(); ++r) {
    if (colour[r] != 0) continue;
    path.assign(1, {r, 0});
    colour[r] = 1;
    while (!path.empty()) {
      auto& [rule, at] = path.back();
      if (at == left[rule].size()) {
        colour[rule] = 2;
        path.pop_back();
        continue;
      }
      const uint32_t callee = left[rule][at++];
      if (colour[callee] == 1)
        throw Error(ErrorCode::kUnsupported, "the schema refers to itself without anything in between");
      if (colour[callee] != 0) continue;
      colour[callee] = 1;
      path.emplace_back(callee, 0);
    }
  }
}

std::unique_ptr<const Program> Builder::finish(uint32_t root) {
  FATHOM_CHECK(open_.empty());
  check_left_calls();
  const auto good = completable();
  if (!good[rules_[root].start])
    throw Error(ErrorCode::kInvalidArgument,
                "no value satisfies the schema: what it requires contradicts itself or never ends");
  auto out = std::make_unique<Program>();
  out->root = root;
  out->rules = rules_;
  out->states.reserve(states_.size());
  for (uint32_t s = 0; s < states_.size(); ++s) {
    auto& node = states_[s];
    auto& state = node.state;
    if (state.kind == Program::Kind::kLoop && !good[rules_[state.callee].start]) {
      // The repeated rule has no text, so that it comes zero times.
      state.kind = Program::Kind::kPlain;
      node.empties.assign(1, state.next);
    }
    state.first_edge = static_cast<uint32_t>(out->edges.size());
    state.first_empty = static_cast<uint32_t>(out->empties.size());
    if (good[s]) {
      for (const auto& e : node.edges)
        if (good[e.to]) out->edges.push_back(e);
      for (const uint32_t to : node.empties)
        if (good[to]) out->empties.push_back(to);
    }
    state.edge_count = static_cast<uint32_t>(out->edges.size()) - state.first_edge;
    state.empty_count = static_cast<uint32_t>(out->empties.size()) - state.first_empty;
    out->states.push_back(state);
  }
  *this = Builder();
  return out;
}

}  // namespace fathom::infer::grammar
