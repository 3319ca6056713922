#include "infer/grammar/automaton.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace fathom::infer::grammar {
namespace {

[[noreturn]] void too_large() {
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("a pattern, or a pattern with a length, needs more than {} states; make it simpler",
                          Automaton::kMostStates));
}

/// The byte sequences of low..high, which have the same length: one range a byte.
void split_utf8(char32_t low, char32_t high, std::vector<std::vector<std::pair<uint8_t, uint8_t>>>& out) {
  for (const char32_t last : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (low <= last && last < high) {
      split_utf8(low, last, out);
      split_utf8(last + 1, high, out);
      return;
    }
  }
  // Within one length: cut where a group of continuation bytes is not covered whole.
  for (int i = 1; i < 4; ++i) {
    const char32_t mask = (char32_t{1} << (6 * i)) - 1;
    if ((low & ~mask) == (high & ~mask) || high < 0x80) continue;
    if ((low & mask) != 0) {
      split_utf8(low, low | mask, out);
      split_utf8((low | mask) + 1, high, out);
      return;
    }
    if ((high & mask) != mask) {
      split_utf8(low, (high & ~mask) - 1, out);
      split_utf8(high & ~mask, high, out);
      return;
    }
  }
  std::string from;
  std::string to;
  append_utf8(from, low);
  append_utf8(to, high);
  auto& sequence = out.emplace_back();
  for (size_t i = 0; i < from.size(); ++i)
    sequence.emplace_back(static_cast<uint8_t>(from[i]), static_cast<uint8_t>(to[i]));
}

/// Writes to one target; byte sequences that end alike share their ends.
class Writer {
 public:
  Writer(Builder& out, uint32_t to) : out_(out), to_(to) {}

  void range(uint32_t from, char32_t low, char32_t high) {
    for (char32_t c = low; c <= std::min<char32_t>(high, 0x1F); ++c) control(from, c);
    // Between what is escaped, and around the surrogates.
    plain(from, std::max<char32_t>(low, 0x20), std::min<char32_t>(high, '"' - 1));
    if (low <= '"' && '"' <= high) escaped(from, '"');
    plain(from, std::max<char32_t>(low, '"' + 1), std::min<char32_t>(high, '\\' - 1));
    if (low <= '\\' && '\\' <= high) escaped(from, '\\');
    plain(from, std::max<char32_t>(low, '\\' + 1), std::min<char32_t>(high, 0xD7FF));
    plain(from, std::max<char32_t>(low, 0xE000), std::min(high, Automaton::kLast));
  }

 private:
  using Ranges = std::span<const std::pair<uint8_t, uint8_t>>;

  void plain(uint32_t from, char32_t low, char32_t high) {
    if (low > high) return;
    std::vector<std::vector<std::pair<uint8_t, uint8_t>>> sequences;
    split_utf8(low, high, sequences);
    for (const auto& s : sequences) out_.edge(from, s[0].first, s[0].second, rest(Ranges(s).subspan(1)));
  }

  /// The state from which these bytes lead to the target.
  uint32_t rest(Ranges bytes) {
    if (bytes.empty()) return to_;
    const std::vector<std::pair<uint8_t, uint8_t>> key(bytes.begin(), bytes.end());
    if (const auto it = rests_.find(key); it != rests_.end()) return it->second;
    const uint32_t next = rest(bytes.subspan(1));
    const uint32_t at = out_.state();
    out_.edge(at, bytes[0].first, bytes[0].second, next);
    return rests_[key] = at;
  }

  void escaped(uint32_t from, char c) {
    const auto byte = static_cast<uint8_t>(c);
    const auto [it, fresh] = backslashes_.try_emplace(from, 0);
    if (fresh) {
      it->second = out_.state();
      out_.edge(from, '\\', '\\', it->second);
    }
    out_.edge(it->second, byte, byte, to_);
  }

  void control(uint32_t from, char32_t c) {
    constexpr std::string_view kShort = "\b\t\n\f\r";
    constexpr std::string_view kLetters = "btnfr";
    const size_t at = kShort.find(static_cast<char>(c));
    if (at != std::string_view::npos) return escaped(from, kLetters[at]);
    const uint32_t end = out_.text(from, fmt::format("\\u{:04x}", static_cast<uint32_t>(c)));
    out_.empty(end, to_);
  }

  Builder& out_;
  const uint32_t to_;
  std::map<std::vector<std::pair<uint8_t, uint8_t>>, uint32_t> rests_;
  std::map<uint32_t, uint32_t> backslashes_;  // the state behind the backslash that a state is left by
};

/// Where the edges of some states begin and end: between two neighbours all characters go the same ways.
std::vector<char32_t> borders(const Automaton& a, std::span<const uint32_t> states) {
  std::vector<char32_t> out;
  for (const uint32_t s : states) {
    for (const auto& e : a.states[s].edges) {
      out.push_back(e.low);
      out.push_back(e.high + 1);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

uint32_t Automaton::add(bool final) {
  if (states.size() >= kMostStates) too_large();
  states.push_back({{}, final});
  return static_cast<uint32_t>(states.size() - 1);
}

void Automaton::connect(uint32_t from, char32_t low, char32_t high, uint32_t to) {
  if (low > high) return;
  auto& all = states[from].edges;
  // Neighbouring ranges to the same state become one.
  if (!all.empty() && all.back().to == to && all.back().high + 1 == low) {
    all.back().high = high;
    return;
  }
  if (++edges > kMostEdges) too_large();
  all.push_back({low, high, to});
}

bool Automaton::accepts(std::string_view utf8) const {
  std::vector<bool> now(states.size());
  now[0] = true;
  for (size_t at = 0; at < utf8.size();) {
    const char32_t c = decode_utf8(utf8, at);
    std::vector<bool> next(states.size());
    for (size_t s = 0; s < states.size(); ++s)
      if (now[s])
        for (const auto& e : states[s].edges)
          if (e.low <= c && c <= e.high) next[e.to] = true;
    now = std::move(next);
  }
  for (size_t s = 0; s < states.size(); ++s)
    if (now[s] && states[s].final) return true;
  return false;
}

Automaton Automaton::length(uint32_t min, uint32_t max) {
  Automaton out;
  const uint32_t last = max == Program::kUnbounded ? min : max;
  if (last >= kMostStates) too_large();
  for (uint32_t i = 0; i <= last; ++i) {
    out.add(i >= min);
    if (i > 0) out.connect(i - 1, 0, kLast, i);
  }
  if (max == Program::kUnbounded) out.connect(last, 0, kLast, last);
  return out;
}

Automaton Automaton::all_but(std::span<const std::string_view> texts) {
  Automaton out;
  out.add(true);
  const uint32_t rest = out.add(true);
  out.connect(rest, 0, kLast, rest);
  std::vector<std::map<char32_t, uint32_t>> children(2);
  for (const std::string_view text : texts) {
    uint32_t s = 0;
    for (size_t at = 0; at < text.size();) {
      const char32_t c = decode_utf8(text, at);
      const auto [it, fresh] = children[s].try_emplace(c, 0);
      if (fresh) {
        it->second = out.add(true);
        s = it->second;
        children.emplace_back();
      } else {
        s = it->second;
      }
    }
    out.states[s].final = false;
  }
  for (uint32_t s = 0; s < out.states.size(); ++s) {
    if (s == rest) continue;
    char32_t from = 0;
    for (const auto& [c, to] : children[s]) {
      if (c > from) out.connect(s, from, c - 1, rest);
      out.connect(s, c, c, to);
      from = c + 1;
    }
    if (from <= kLast) out.connect(s, from, kLast, rest);
  }
  return out;
}

Automaton intersect(const Automaton& a, const Automaton& b) {
  Automaton out;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> work;
  const auto id_of = [&](uint32_t x, uint32_t y) {
    const auto [it, fresh] = ids.try_emplace({x, y}, 0);
    if (fresh) {
      it->second = out.add(a.states[x].final && b.states[y].final);
      work.emplace_back(x, y);
    }
    return it->second;
  };
  id_of(0, 0);
  for (size_t i = 0; i < work.size(); ++i) {
    const auto [x, y] = work[i];
    for (const auto& e : a.states[x].edges) {
      for (const auto& f : b.states[y].edges) {
        const char32_t low = std::max(e.low, f.low);
        const char32_t high = std::min(e.high, f.high);
        if (low <= high) out.connect(static_cast<uint32_t>(i), low, high, id_of(e.to, f.to));
      }
    }
  }
  return out;
}

Automaton determine(const Automaton& a) {
  Automaton out;
  std::map<std::vector<uint32_t>, uint32_t> ids;
  std::vector<std::vector<uint32_t>> work;
  const auto id_of = [&](const std::vector<uint32_t>& set) {
    const auto [it, fresh] = ids.try_emplace(set, 0);
    if (fresh) {
      it->second = out.add(std::ranges::any_of(set, [&](uint32_t s) { return a.states[s].final; }));
      work.push_back(set);
    }
    return it->second;
  };
  id_of({0});
  for (size_t i = 0; i < work.size(); ++i) {
    const std::vector<uint32_t> set = work[i];
    const auto cuts = borders(a, set);
    for (size_t k = 0; k + 1 < cuts.size(); ++k) {
      std::vector<uint32_t> to;
      for (const uint32_t s : set)
        for (const auto& e : a.states[s].edges)
          if (e.low <= cuts[k] && cuts[k] <= e.high) to.push_back(e.to);
      if (to.empty()) continue;
      std::sort(to.begin(), to.end());
      to.erase(std::unique(to.begin(), to.end()), to.end());
      out.connect(static_cast<uint32_t>(i), cuts[k], cuts[k + 1] - 1, id_of(to));
    }
  }
  return out;
}

Automaton complement(const Automaton& a) {
  Automaton out = determine(a);
  const uint32_t rest = out.add(false);
  for (uint32_t s = 0; s < out.states.size(); ++s) {
    out.states[s].final = !out.states[s].final;
    std::vector<Automaton::Edge> sorted = out.states[s].edges;
    std::sort(sorted.begin(), sorted.end(), [](const auto& x, const auto& y) { return x.low < y.low; });
    char32_t from = 0;
    for (const auto& e : sorted) {
      if (e.low > from) out.connect(s, from, e.low - 1, rest);
      from = e.high + 1;
    }
    if (from <= Automaton::kLast) out.connect(s, from, Automaton::kLast, rest);
  }
  return out;
}

void write_characters(Builder& out, uint32_t from, char32_t low, char32_t high, uint32_t to) {
  Writer(out, to).range(from, low, high);
}

uint32_t write_strings(Builder& out, uint32_t from, const Automaton& automaton) {
  std::vector<uint32_t> at;
  for (size_t i = 0; i < automaton.states.size(); ++i) at.push_back(out.state());
  const uint32_t end = out.state();
  out.empty(from, at[0]);
  std::map<uint32_t, std::vector<std::pair<uint32_t, Automaton::Edge>>> by_target;
  for (uint32_t s = 0; s < automaton.states.size(); ++s) {
    if (automaton.states[s].final) out.empty(at[s], end);
    for (const auto& e : automaton.states[s].edges) by_target[e.to].emplace_back(s, e);
  }
  for (const auto& [to, edges] : by_target) {
    Writer writer(out, at[to]);
    for (const auto& [s, e] : edges) writer.range(at[s], e.low, e.high);
  }
  return end;
}

}  // namespace fathom::infer::grammar
