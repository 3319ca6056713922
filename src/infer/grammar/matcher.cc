// Masks: which tokens keep a text inside its grammar.
//
// The vocabulary's trie is walked with the set of stacks of each node; a branch that leaves the grammar is left out with all
// behind it. Inside a string nearly every token is good and the walk is long, but its outcome depends little on where in
// the schema the string stands: it is kept for the string alone, and only tokens that go on behind its end are walked
// again (as in XGrammar; Dong et al., 2024).
#include <algorithm>
#include <bit>
#include <limits>
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

constexpr size_t kMostMasks = 64;  // kept of each kind: 2 MiB of 262,144 tokens

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

  void walk(const std::vector<Trie::Node>& nodes, size_t begin, size_t end, SetId from, Bits& bits,
            std::vector<uint32_t>* open);
  const Inner& inner_of(SetId set);
  const Bits& bits_of(SetId set);
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
};

/// The tokens of nodes[begin, end), a subtree or all, that may come where `from` stands in front of the first.
void GrammarMatcher::State::walk(const std::vector<Trie::Node>& nodes, size_t begin, size_t end, SetId from,
                                 Bits& bits, std::vector<uint32_t>* open) {
  if (begin >= end) return;
  levels[nodes[begin].depth] = from;
  for (size_t i = begin; i < end;) {
    const Trie::Node& node = nodes[i];
    const SetId to = stacks.step(levels[node.depth], node.byte);
    if (to == Stacks::kDead) {
      i = node.skip;
      continue;
    }
    levels[node.depth + 1u] = to;
    if (node.token != Trie::kNone)
      for (uint32_t t = node.token; t != Trie::kNone; t = trie.same[t]) set_bit(bits, t);
    if (open != nullptr && node.skip > i + 1 && stacks.may_leave(to))
      open->push_back(static_cast<uint32_t>(i));
    ++i;
  }
}

const GrammarMatcher::State::Inner& GrammarMatcher::State::inner_of(SetId set) {
  if (const auto it = inners.find(set); it != inners.end()) return it->second;
  if (inners.size() >= kMostMasks) inners.clear();
  Inner& out = inners[set];
  out.bits.resize((trie.tokens + 63) / 64);
  walk(trie.plain, 0, trie.plain.size(), set, out.bits, &out.open);
  return out;
}

const Bits& GrammarMatcher::State::bits_of(SetId set) {
  if (const auto it = masks.find(set); it != masks.end()) return it->second;
  if (masks.size() >= kMostMasks) masks.clear();
  Bits bits;
  if (const auto split = stacks.split(set)) {
    const Inner& inner = inner_of(split->inner);
    bits = inner.bits;
    for (const uint32_t i : inner.open)
      walk(trie.plain, i + 1, trie.plain[i].skip, split->outer, bits, nullptr);
  } else {
    bits.resize((trie.tokens + 63) / 64);
    walk(trie.plain, 0, trie.plain.size(), set, bits, nullptr);
  }
  walk(trie.rare, 0, trie.rare.size(), set, bits, nullptr);
  return masks[set] = std::move(bits);
}

SetId GrammarMatcher::State::run(std::string_view bytes) {
  SetId set = bytes.empty() ? Stacks::kDead : at;
  for (const char c : bytes) {
    if (set == Stacks::kDead) break;
    set = stacks.step(set, static_cast<uint8_t>(c));
  }
  return set;
}

void GrammarMatcher::State::make_room() {
  if (!stacks.crowded()) return;
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
  s.make_room();
  const size_t tokens = std::min(logits.size(), s.trie.tokens);
  bool any = false;
  std::vector<std::pair<size_t, float>> ends;
  for (const int32_t end : s.vocabulary.ends())
    if (end >= 0 && static_cast<size_t>(end) < logits.size())
      ends.emplace_back(static_cast<size_t>(end), logits[static_cast<size_t>(end)]);
  size_t i = 0;
  if (!must_end()) {
    const Bits& bits = s.bits_of(s.at);
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

bool GrammarMatcher::may_end() const { return state_->ended || state_->stacks.may_end(state_->at); }

bool GrammarMatcher::must_end() const { return state_->ended || state_->stacks.must_end(state_->at); }

}  // namespace fathom::infer
