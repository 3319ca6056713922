#include "infer/grammar/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace fathom::infer::grammar {
namespace {

constexpr int kDeepest = 64;               // nested groups
constexpr uint32_t kMostRepeats = 10'000;  // in {m,n}
constexpr char32_t kBegin = 0x110000;      // what ^ reads: it stands in front of every string
constexpr char32_t kEnd = 0x110001;        // what $ reads: behind every string

using Ranges = std::vector<std::pair<char32_t, char32_t>>;

/// Sorted, without overlaps.
Ranges tidy(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end());
  Ranges out;
  for (const auto& r : ranges) {
    if (!out.empty() && r.first <= out.back().second + 1)
      out.back().second = std::max(out.back().second, r.second);
    else
      out.push_back(r);
  }
  return out;
}

Ranges inverse(const Ranges& ranges) {
  Ranges out;
  char32_t from = 0;
  for (const auto& [low, high] : tidy(ranges)) {
    if (low > from) out.emplace_back(from, low - 1);
    from = high + 1;
  }
  if (from <= Automaton::kLast) out.emplace_back(from, Automaton::kLast);
  return out;
}

const Ranges kDigit = {{'0', '9'}};
const Ranges kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Ranges kSpace = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                       {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                       {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const Ranges kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

struct Node {
  enum class Kind { kEmpty, kClass, kSequence, kChoice, kRepeat };
  Kind kind = Kind::kEmpty;
  Ranges ranges;
  std::vector<std::unique_ptr<Node>> parts;
  uint32_t min = 0, max = 0;
};
using NodePtr = std::unique_ptr<Node>;

NodePtr make(Node::Kind kind) {
  auto out = std::make_unique<Node>();
  out->kind = kind;
  return out;
}

NodePtr make_class(Ranges ranges) {
  auto out = make(Node::Kind::kClass);
  out->ranges = std::move(ranges);
  return out;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {
    for (size_t at = 0; at < text.size();) chars_.push_back(decode_utf8(text, at));
  }

  NodePtr parse() {
    auto out = choice(0);
    if (at_ < chars_.size()) refuse("a ) without its (");
    return out;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the pattern {} is not a regular expression: {}", text_, why));
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("the pattern {} has {}, which cannot be enforced", text_, what));
  }

  bool more() const { return at_ < chars_.size(); }
  bool is(char32_t c) const { return more() && chars_[at_] == c; }
  bool take(char32_t c) {
    if (!is(c)) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (chars_.size() - at_ < word.size()) return false;
    for (size_t i = 0; i < word.size(); ++i)
      if (chars_[at_ + i] != static_cast<char32_t>(word[i])) return false;
    at_ += word.size();
    return true;
  }

  NodePtr choice(int depth) {
    if (depth > kDeepest) throw Error(ErrorCode::kResourceExhausted, "a pattern nests too many groups");
    auto out = make(Node::Kind::kChoice);
    do out->parts.push_back(sequence(depth));
    while (take('|'));
    return out;
  }

  NodePtr sequence(int depth) {
    auto out = make(Node::Kind::kSequence);
    while (more() && !is('|') && !is(')')) out->parts.push_back(quantified(depth));
    return out;
  }

  NodePtr quantified(int depth) {
    if (take('^')) return make_class({{kBegin, kBegin}});
    if (take('$')) return make_class({{kEnd, kEnd}});
    auto part = atom(depth);
    uint32_t min = 0;
    uint32_t max = 0;
    if (!quantifier(min, max)) return part;
    take('?');  // lazy: the same strings
    auto out = make(Node::Kind::kRepeat);
    out->min = min;
    out->max = max;
    out->parts.push_back(std::move(part));
    uint32_t again = 0;
    if (quantifier(again, again)) refuse("nothing to repeat");
    return out;
  }

  bool quantifier(uint32_t& min, uint32_t& max) {
    max = Program::kUnbounded;
    if (take('*')) return min = 0, true;
    if (take('+')) return min = 1, true;
    if (take('?')) return min = 0, max = 1, true;
    const size_t start = at_;
    if (!take('{')) return false;
    const auto low = count();
    if (!low) return at_ = start, false;  // a brace that stands for itself
    min = max = *low;
    if (take(',')) max = is('}') ? Program::kUnbounded : count().value_or(0);
    if (!take('}')) return at_ = start, false;
    if (min > max) refuse("a repetition whose bounds are the wrong way round");
    if (min > kMostRepeats || (max != Program::kUnbounded && max > kMostRepeats))
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("a pattern repeats more than {} times", kMostRepeats));
    return true;
  }

  std::optional<uint32_t> count() {
    std::optional<uint32_t> out;
    for (; more() && chars_[at_] >= '0' && chars_[at_] <= '9'; ++at_)
      out = std::min<uint32_t>(out.value_or(0) * 10 + (chars_[at_] - '0'), kMostRepeats + 1);
    return out;
  }

  NodePtr atom(int depth) {
    const char32_t c = chars_[at_++];
    switch (c) {
      case '.': return make_class(inverse(kLineEnds));
      case '(': return group(depth);
      case '[': return make_class(brackets());
      case '\\': return make_class(escape(false));
      case '*':
      case '+':
      case '?': refuse("nothing to repeat");
      default: return make_class({{c, c}});
    }
  }

  NodePtr group(int depth) {
    if (take('?')) {
      if (take('<') && !is('=') && !is('!')) {
        while (more() && !is('>')) ++at_;
        if (!take('>')) refuse("a group's name without its end");
      } else if (!take(':')) {
        unsupported("look-around");
      }
    }
    auto out = choice(depth + 1);
    if (!take(')')) refuse("a ( without its )");
    return out;
  }

  Ranges brackets() {
    const bool negated = take('^');
    Ranges out;
    while (!take(']')) {
      if (!more()) refuse("a [ without its ]");
      Ranges low = member();
      if (is('-') && at_ + 1 < chars_.size() && chars_[at_ + 1] != ']') {
        ++at_;
        const Ranges high = member();
        const bool single = low.size() == 1 && low[0].first == low[0].second && high.size() == 1 &&
                            high[0].first == high[0].second;
        if (!single || low[0].first > high[0].first) refuse("a range whose ends are no characters in order");
        low[0].second = high[0].first;
      }
      out.insert(out.end(), low.begin(), low.end());
    }
    return negated ? inverse(out) : tidy(out);
  }

  Ranges member() {
    const char32_t c = chars_[at_++];
    if (c != '\\') return {{c, c}};
    return escape(true);
  }

  Ranges escape(bool in_brackets) {
    if (!more()) refuse("a backslash at the end");
    const char32_t c = chars_[at_++];
    const auto one = [](char32_t value) { return Ranges{{value, value}}; };
    switch (c) {
      case 'd': return kDigit;
      case 'D': return inverse(kDigit);
      case 'w': return kWord;
      case 'W': return inverse(kWord);
      case 's': return kSpace;
      case 'S': return inverse(kSpace);
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'v': return one('\v');
      case 'f': return one('\f');
      case 'r': return one('\r');
      case '0':
        if (more() && chars_[at_] >= '0' && chars_[at_] <= '9') unsupported("an octal escape");
        return one(0);
      case 'c':
        if (more() && ((chars_[at_] | 32) >= 'a' && (chars_[at_] | 32) <= 'z'))
          return one(chars_[at_++] & 31);
        refuse("\\c without its letter");
      case 'x': return one(hex(2, 2));
      case 'u': {
        if (take('{')) {
          const char32_t value = hex(1, 6);
          if (!take('}') || value > Automaton::kLast) refuse("\\u{ without a character and its }");
          return one(value);
        }
        const char32_t value = hex(4, 4);
        if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
          const char32_t low = hex(4, 4);
          if (low < 0xDC00 || low > 0xDFFF) refuse("half a surrogate pair");
          return one(0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00));
        }
        return one(value);
      }
      case 'b':
        if (in_brackets) return one('\b');
        [[fallthrough]];
      case 'B': unsupported("a word boundary");
      case 'p':
      case 'P': unsupported("a Unicode property");
      case 'k': unsupported("a back-reference");
      default: break;
    }
    if (c >= '1' && c <= '9') unsupported("a back-reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) refuse("an unknown escape");
    return one(c);
  }

  char32_t hex(int least, int most) {
    char32_t out = 0;
    int n = 0;
    for (; n < most && more(); ++n, ++at_) {
      const char32_t c = chars_[at_];
      const char32_t lower = c | 32;
      if (c >= '0' && c <= '9')
        out = out * 16 + (c - '0');
      else if (lower >= 'a' && lower <= 'f')
        out = out * 16 + (lower - 'a' + 10);
      else
        break;
    }
    if (n < least) refuse("an escape with too few hexadecimal digits");
    return out;
  }

  std::string_view text_;
  std::vector<char32_t> chars_;
  size_t at_ = 0;
};

/// Thompson's construction (1968), then the empty moves are taken out.
class Compiler {
 public:
  Automaton run(const Node& root) {
    const uint32_t start = state();
    // In front of the match, and behind it, anything; the ends are read here where the pattern does not.
    const uint32_t before = state();
    step(start, {{kBegin, kBegin}}, before);
    step(before, {{0, Automaton::kLast}}, before);
    const uint32_t inside = state();
    moves_[start].push_back(inside);
    moves_[before].push_back(inside);
    const uint32_t behind = write(root, inside);
    const uint32_t tail = state();
    moves_[behind].push_back(tail);
    step(tail, {{0, Automaton::kLast}}, tail);
    const uint32_t end = state();
    moves_[behind].push_back(end);
    step(tail, {{kEnd, kEnd}}, end);
    return finish(start, end);
  }

 private:
  uint32_t state() {
    const uint32_t out = edges_.add();
    moves_.emplace_back();
    return out;
  }

  void step(uint32_t from, const Ranges& ranges, uint32_t to) {
    for (const auto& [low, high] : ranges) edges_.connect(from, low, high, to);
  }

  uint32_t write(const Node& node, uint32_t from) {
    switch (node.kind) {
      case Node::Kind::kEmpty: return from;
      case Node::Kind::kClass: {
        const uint32_t to = state();
        step(from, node.ranges, to);
        return to;
      }
      case Node::Kind::kSequence:
        for (const auto& part : node.parts) from = write(*part, from);
        return from;
      case Node::Kind::kChoice: {
        const uint32_t to = state();
        for (const auto& part : node.parts) {
          const uint32_t at = state();
          moves_[from].push_back(at);
          moves_[write(*part, at)].push_back(to);
        }
        return to;
      }
      case Node::Kind::kRepeat: break;
    }
    for (uint32_t i = 0; i < node.min; ++i) from = write(*node.parts[0], from);
    const uint32_t to = state();
    if (node.max == Program::kUnbounded) {
      const uint32_t loop = state();
      moves_[from].push_back(loop);
      moves_[write(*node.parts[0], loop)].push_back(loop);
      moves_[loop].push_back(to);
      return to;
    }
    moves_[from].push_back(to);
    for (uint32_t i = node.min; i < node.max; ++i) {
      from = write(*node.parts[0], from);
      moves_[from].push_back(to);
    }
    return to;
  }

  /// All states that one reaches without reading, itself too.
  std::vector<uint32_t> reach(std::vector<uint32_t> out) {
    ++pass_;
    seen_.resize(moves_.size());
    for (const uint32_t s : out) seen_[s] = pass_;
    for (size_t i = 0; i < out.size(); ++i) {
      for (const uint32_t to : moves_[out[i]]) {
        if (seen_[to] == pass_) continue;
        seen_[to] = pass_;
        out.push_back(to);
      }
    }
    return out;
  }

  Automaton finish(uint32_t start, uint32_t end) {
    // The states that the marks lead to: where strings begin, and from where they may end.
    std::vector<uint32_t> begins;
    for (const uint32_t s : reach({start}))
      for (const auto& e : edges_.states[s].edges)
        if (e.low == kBegin) begins.push_back(e.to);
    std::vector<uint32_t> ids(moves_.size(), ~uint32_t{0});
    std::vector<std::vector<uint32_t>> work;
    Automaton out;
    const auto add = [&](std::vector<uint32_t> members) {
      members = reach(std::move(members));
      bool final = false;
      for (const uint32_t s : members)
        for (const auto& e : edges_.states[s].edges)
          if (e.low == kEnd) final = final || ends(e.to, end);
      work.push_back(std::move(members));
      return out.add(final);
    };
    add(begins);
    for (size_t i = 0; i < work.size(); ++i) {
      const std::vector<uint32_t> members = work[i];
      for (const uint32_t s : members) {
        for (const auto& e : edges_.states[s].edges) {
          if (e.low > Automaton::kLast) continue;
          if (ids[e.to] == ~uint32_t{0}) ids[e.to] = add({e.to});
          out.connect(static_cast<uint32_t>(i), e.low, e.high, ids[e.to]);
        }
      }
    }
    return out;
  }

  bool ends(uint32_t from, uint32_t end) {
    const auto all = reach({from});
    return std::ranges::find(all, end) != all.end();
  }

  Automaton edges_;
  std::vector<std::vector<uint32_t>> moves_;
  std::vector<uint32_t> seen_;
  uint32_t pass_ = 0;
};

std::string date_pattern() {
  const std::string month_day =
      "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|"
      "2[0-8]))";
  const std::string year = "(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])";
  const std::string leap = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
  return "(?:" + year + "-" + month_day + "|" + leap + "-02-29)";
}

std::string time_pattern() {
  return "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
}

std::string ipv6_pattern() {
  const std::string part = "[0-9A-Fa-f]{1,4}";
  std::string out = "(?:" + part + ":){7}" + part;
  // n groups in front of the double colon, at most 7 - n behind it, one at least left out.
  for (int n = 0; n <= 7; ++n) {
    out += "|";
    if (n > 0)
      out += "(?:" + part + ":){" + std::to_string(n) + "}";
    else
      out += ":";
    if (n == 7)
      out += ":";
    else if (n == 0)
      out += ":(?:" + part + "(?::" + part + "){0,6})?";
    else
      out += ":(?:" + part + "(?::" + part + "){0," + std::to_string(6 - n) + "})?";
  }
  return out;
}

}  // namespace

Automaton parse_pattern(std::string_view pattern) {
  if (!is_valid_utf8(pattern)) throw Error(ErrorCode::kInvalidArgument, "a pattern is not UTF-8");
  return Compiler().run(*Parser(pattern).parse());
}

std::optional<Automaton> parse_format(std::string_view format) {
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  const std::string octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
  const std::string clock = "T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S)";
  std::string pattern;
  if (format == "date")
    pattern = date_pattern();
  else if (format == "time")
    pattern = time_pattern();
  else if (format == "date-time")
    pattern = date_pattern() + "T" + time_pattern();
  else if (format == "duration")
    pattern = "P(?:(?:\\d{1,9}D|\\d{1,9}M(?:\\d{1,9}D)?|\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?)(?:" + clock +
              ")?|" + clock + "|\\d{1,9}W)";
  else if (format == "email")
    pattern = atom + "(?:\\." + atom + ")*@" + label + "(?:\\." + label + ")+";
  else if (format == "hostname")
    pattern = label + "(?:\\." + label + "){0,2}";
  else if (format == "ipv4")
    pattern = octet + "(?:\\." + octet + "){3}";
  else if (format == "ipv6")
    pattern = ipv6_pattern();
  else if (format == "uuid")
    pattern = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
  else
    return std::nullopt;
  return parse_pattern("^(?:" + pattern + ")$");
}

}  // namespace fathom::infer::grammar
