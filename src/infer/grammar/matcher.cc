// Masks: which tokens keep a text inside its grammar.
//
// The vocabulary's trie is walked with the set of stacks of each node; a branch that leaves the grammar is left out with all
// behind it. Inside a string nearly every token is good and the walk is long, but its outcome depends little on where in
// the schema the string stands: it is kept for the string alone, and only tokens that go on behind its end are walked
// again (as in XGrammar; Dong et al., 2024).
#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "infer/grammar.h"
#include "infer/grammar/program.h"
#include "infer/grammar/stacks.h"
#include "infer/grammar/trie.h"

namespace fathom::infer {
namespace {

using grammar::SetId;
using grammar::Stacks;
using Trie = GrammarVocabulary::Trie;
using Bits = std::vector<uint64_t>;  // one a token

using Clock = std::chrono::steady_clock;

constexpr size_t kNodesAtOnce = 64;  // of a walk, between two looks at the clock
constexpr size_t kMostMasks = 64;    // kept of each kind: 2 MiB of 262,144 tokens

void set_bit(Bits& bits, uint32_t i) { bits[i / 64] |= uint64_t{1} << (i % 64); }

}  // namespace

struct GrammarMatcher::State {
  State(std::shared_ptr<const Grammar> of, const GrammarVocabulary& v)
      : grammar(std::move(of)), vocabulary(v), trie(v.trie()), stacks(grammar->program()) {
    at = stacks.initial();
    levels.resize(trie.deepest + 1);
  }

  /// What a position inside a shared rule allows, wherever the rule was called.
  struct Inner {
    Bits bits;
    std::vector<uint32_t> open;  // nodes at which the rule may have ended, with tokens behind them
  };

  /// The tokens of nodes[at, end), a subtree or all, that may come where `from` stands in front of the first.
  struct Walk {
    const std::vector<Trie::Node>* nodes;
    size_t at, end;
  };
  Walk begin_walk(const std::vector<Trie::Node>& nodes, size_t begin, size_t end, SetId from);
  bool go_on(Walk& walk, Bits& bits, std::vector<uint32_t>* open, Clock::time_point until);

  /// A mask under way: first the inner part, then what follows where the inner rule may end, then the rare tokens.
  struct Task {
    SetId set;
    std::optional<Stacks::Split> split;
    Inner inner;  // of the split, or where there is none of the whole set
    bool inner_done = false;
    size_t opened = 0;  // of inner.open
    std::optional<Walk> walk;
  };
  bool begin_inner(Task& t);
  bool finish_inner(Task& t, Clock::time_point until);
  bool prepare(Clock::time_point until);
  const Bits& bits_of_here();
  SetId run(std::string_view bytes);
  void make_room();

  std::shared_ptr<const Grammar> grammar;
  const GrammarVocabulary& vocabulary;
  const Trie& trie;
  Stacks stacks;
  SetId at = Stacks::kDead;
  bool ended = false;
  std::unordered_map<SetId, Bits> masks;
  std::unordered_map<SetId, Inner> inners;
  std::vector<SetId> levels;  // the set in front of each byte of the path that is walked
  std::optional<Task> task;
};

GrammarMatcher::State::Walk GrammarMatcher::State::begin_walk(const std::vector<Trie::Node>& nodes,
                                                              size_t begin, size_t end, SetId from) {
  if (begin < end) levels[nodes[begin].depth] = from;
  return {&nodes, begin, end};
}

/// False: it is `until`, and there is more. `levels` are the walk's own as long as it lasts.
bool GrammarMatcher::State::go_on(Walk& walk, Bits& bits, std::vector<uint32_t>* open,
                                  Clock::time_point until) {
  const std::vector<Trie::Node>& nodes = *walk.nodes;
  size_t i = walk.at;
  for (size_t visited = 1; i < walk.end; ++visited) {
    const Trie::Node& node = nodes[i];
    const SetId to = stacks.step(levels[node.depth], node.byte);
    if (to == Stacks::kDead) {
      i = node.skip;
    } else {
      levels[node.depth + 1u] = to;
      if (node.token != Trie::kNone)
        for (uint32_t t = node.token; t != Trie::kNone; t = trie.same[t]) set_bit(bits, t);
      if (open != nullptr && node.skip > i + 1 && stacks.may_leave(to))
        open->push_back(static_cast<uint32_t>(i));
      ++i;
    }
    if (visited % kNodesAtOnce == 0 && i < walk.end && Clock::now() >= until) {
      walk.at = i;
      return false;
    }
  }
  walk.at = i;
  return true;
}

/// True: the inner part is known already.
bool GrammarMatcher::State::begin_inner(Task& t) {
  if (t.split) {
    if (const auto it = inners.find(t.split->inner); it != inners.end()) {
      t.inner = it->second;
      return true;
    }
  }
  t.inner.bits.resize((trie.tokens + 63) / 64);
  t.walk = begin_walk(trie.plain, 0, trie.plain.size(), t.split ? t.split->inner : t.set);
  return false;
}

bool GrammarMatcher::State::finish_inner(Task& t, Clock::time_point until) {
  if (!t.walk && begin_inner(t)) return true;
  if (!go_on(*t.walk, t.inner.bits, t.split ? &t.inner.open : nullptr, until)) return false;
  t.walk.reset();
  if (!t.split) return true;
  if (inners.size() >= kMostMasks) inners.clear();
  inners[t.split->inner] = t.inner;
  return true;
}

bool GrammarMatcher::State::prepare(Clock::time_point until) {
  if (masks.contains(at)) return true;
  if (task && task->set != at) task.reset();
  if (!task) {
    make_room();
    task = Task{at, stacks.split(at), {}, false, 0, {}};
  }
  Task& t = *task;
  if (!t.inner_done && !(t.inner_done = finish_inner(t, until))) return false;
  Bits& bits = t.inner.bits;
  for (; t.opened < t.inner.open.size(); ++t.opened, t.walk.reset()) {
    const uint32_t node = t.inner.open[t.opened];
    if (!t.walk) t.walk = begin_walk(trie.plain, node + 1, trie.plain[node].skip, t.split->outer);
    if (!go_on(*t.walk, bits, nullptr, until)) return false;
  }
  if (!t.walk) t.walk = begin_walk(trie.rare, 0, trie.rare.size(), at);
  if (!go_on(*t.walk, bits, nullptr, until)) return false;
  if (masks.size() >= kMostMasks) masks.clear();
  masks[at] = std::move(bits);
  task.reset();
  return true;
}

const Bits& GrammarMatcher::State::bits_of_here() {
  prepare(Clock::time_point::max());
  return masks.at(at);
}

SetId GrammarMatcher::State::run(std::string_view bytes) {
  SetId set = bytes.empty() ? Stacks::kDead : at;
  for (const char c : bytes) {
    if (set == Stacks::kDead) break;
    set = stacks.step(set, static_cast<uint8_t>(c));
  }
  return set;
}

/// Not while a mask is under way, which counts on the numbers of the sets.
void GrammarMatcher::State::make_room() {
  if (task || !stacks.crowded()) return;
  at = stacks.keep_only(at);
  masks.clear();
  inners.clear();
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar, const GrammarVocabulary& vocabulary)
    : state_(std::make_unique<State>(std::move(grammar), vocabulary)) {}

GrammarMatcher::~GrammarMatcher() = default;

void GrammarMatcher::mask(std::span<float> logits) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  auto& s = *state_;
  const size_t tokens = std::min(logits.size(), s.trie.tokens);
  bool any = false;
  std::vector<std::pair<size_t, float>> ends;
  for (const int32_t end : s.vocabulary.ends())
    if (end >= 0 && static_cast<size_t>(end) < logits.size())
      ends.emplace_back(static_cast<size_t>(end), logits[static_cast<size_t>(end)]);
  size_t i = 0;
  if (!must_end()) {
    const Bits& bits = s.bits_of_here();
    for (; i < tokens; i += 64) {
      const uint64_t word = bits[i / 64];
      const size_t size = std::min<size_t>(64, tokens - i);
      any = any || word != 0;
      if (word == ~uint64_t{0}) continue;
      if (word == 0) {
        std::fill_n(logits.data() + i, size, kNever);
        continue;
      }
      for (size_t j = 0; j < size; ++j)
        if ((word >> j & 1) == 0) logits[i + j] = kNever;
    }
    i = tokens;
  }
  std::fill(logits.begin() + static_cast<ptrdiff_t>(i), logits.end(), kNever);
  // Where the vocabulary has no token that goes on (it lacks a byte), the end is all that is left.
  if (may_end() || !any)
    for (const auto& [id, logit] : ends) logits[id] = logit;
}

bool GrammarMatcher::allows(int32_t token) const {
  auto& s = *state_;
  s.make_room();
  if (std::ranges::find(s.vocabulary.ends(), token) != s.vocabulary.ends().end()) return may_end();
  if (token < 0 || static_cast<size_t>(token) >= s.trie.tokens || s.ended) return false;
  return s.run(s.trie.bytes(static_cast<uint32_t>(token))) != Stacks::kDead;
}

void GrammarMatcher::accept(int32_t token) {
  auto& s = *state_;
  if (std::ranges::find(s.vocabulary.ends(), token) != s.vocabulary.ends().end()) {
    s.ended = true;
    return;
  }
  FATHOM_CHECK(token >= 0 && static_cast<size_t>(token) < s.trie.tokens && !s.ended);
  s.at = s.run(s.trie.bytes(static_cast<uint32_t>(token)));
  FATHOM_CHECK(s.at != Stacks::kDead, "a token that the grammar does not allow");
}

bool GrammarMatcher::prepare(std::chrono::steady_clock::time_point until) {
  return must_end() || state_->prepare(until);
}

bool GrammarMatcher::may_end() const { return state_->ended || state_->stacks.may_end(state_->at); }

bool GrammarMatcher::must_end() const { return state_->ended || state_->stacks.must_end(state_->at); }

}  // namespace fathom::infer
