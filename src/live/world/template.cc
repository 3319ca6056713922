#include "live/world/template.h"

#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "live/world/wording.h"

namespace fathom::live::world {
namespace {

constexpr size_t kMaxText = 4096;
constexpr int kMaxDepth = 8;

bool is_name_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

class Parser {
 public:
  Parser(std::string_view text, const Place& place, const ResolveSlot& resolve)
      : text_(text), resolve_(resolve) {
    out_.place = place;
  }

  Template parse() {
    if (text_.size() > kMaxText) error("the template is longer than 4 KiB; split it");
    out_.nodes = sequence(0);
    if (at_ < text_.size()) {
      error(std::string("a '") + text_[at_] + "' stands outside of [ ]; write \\" + text_[at_] +
            " for the character itself");
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void error(const std::string& what) const {
    fail(out_.place, what + " (in \"" + std::string(text_.substr(0, 60)) + "\")");
  }

  // Up to the end of the text, or to a '|' or ']' that belongs to the caller.
  std::vector<Node> sequence(int depth) {
    if (depth > kMaxDepth) error("[ ] are nested deeper than 8; flatten them");
    std::vector<Node> nodes;
    std::string literal;
    const auto flush = [&] {
      if (literal.empty()) return;
      nodes.push_back({Node::Kind::kText, std::exchange(literal, {}), {}, {}});
    };
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '|' || c == ']') break;
      if (c == '{') {
        flush();
        nodes.push_back({Node::Kind::kSlot, {}, slot(), {}});
      } else if (c == '[') {
        flush();
        nodes.push_back(choice(depth));
      } else if (c == '}') {
        error("a '}' has no '{'; write \\} for the character itself");
      } else {
        if (c == '\\' && ++at_ == text_.size()) error("a '\\' ends the template");
        literal += text_[at_++];
      }
    }
    flush();
    return nodes;
  }

  Node choice(int depth) {
    Node node{Node::Kind::kChoice, {}, {}, {}};
    do {
      ++at_;  // '[' or '|'
      node.options.push_back(sequence(depth + 1));
    } while (at_ < text_.size() && text_[at_] == '|');
    if (at_ == text_.size()) error("a '[' is not closed");
    ++at_;
    if (node.options.size() == 1) node.options.emplace_back();
    return node;
  }

  Slot slot() {
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) error("a '{' is not closed");
    const std::string_view inside = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    std::string_view rest = inside;
    const bool article = rest.starts_with("a ");
    if (article) rest.remove_prefix(2);
    const bool handle = rest.starts_with('@');
    if (handle) rest.remove_prefix(1);
    Slot slot;
    if (const size_t dots = rest.find(".."); dots != std::string_view::npos) {
      slot = number(rest.substr(0, dots), rest.substr(dots + 2), inside);
    } else {
      size_t end = 0;
      while (end < rest.size() && is_name_char(rest[end])) ++end;
      slot = named(rest.substr(0, end), handle, inside);
      suffix(slot, rest.substr(end), inside);
    }
    slot.article = article;
    return slot;
  }

  Slot number(std::string_view low, std::string_view high, std::string_view inside) const {
    const auto from = parse_integer(low);
    const auto to = parse_integer(high);
    constexpr int64_t kLimit = 1'000'000'000'000;
    if (!from || !to || *from > *to || *from < -kLimit || *to > kLimit) {
      error("{" + std::string(inside) + "} is not a range; write {3..9}");
    }
    Slot slot;
    slot.kind = SlotKind::kNumber;
    slot.low = *from;
    slot.high = *to;
    return slot;
  }

  Slot named(std::string_view name, bool handle, std::string_view inside) {
    const auto found = resolve_(name, handle);
    if (!found) {
      error("{" + std::string(inside) +
            "} names no fact, list or member of the cast; define it or correct the name");
    }
    if (found->kind == SlotKind::kPrevious) out_.needs_previous = true;
    if (found->kind == SlotKind::kFact) out_.facts.push_back(found->index);
    return *found;
  }

  void suffix(Slot& slot, std::string_view rest, std::string_view inside) const {
    if (rest.starts_with('^')) {
      slot.capital = true;
      rest.remove_prefix(1);
    }
    if (rest.starts_with('?')) {
      const size_t slash = rest.find('/');
      if (slash == std::string_view::npos) error("{" + std::string(inside) + "} needs {slot?one/many}");
      slot.counted = true;
      slot.one = rest.substr(1, slash - 1);
      slot.many = rest.substr(slash + 1);
      rest = {};
    }
    if (!rest.empty()) error("{" + std::string(inside) + "} is not a slot; see data/world/README.md");
  }

  std::string_view text_;
  const ResolveSlot& resolve_;
  Template out_;
  size_t at_ = 0;
};

std::string shape(const Slot& slot, std::string text) {
  if (slot.counted) text = text == "1" || equals_ignore_case(text, "one") ? slot.one : slot.many;
  if (slot.article) text = with_article(text);
  if (slot.capital) capitalise(text);
  return text;
}

void render_nodes(const std::vector<Node>& nodes, Random& random, const FillSlot& fill, const Place& place,
                  std::string& out) {
  for (const Node& node : nodes) {
    switch (node.kind) {
      case Node::Kind::kText: out += node.text; break;
      case Node::Kind::kSlot: out += shape(node.slot, fill(node.slot)); break;
      case Node::Kind::kChoice:
        render_nodes(node.options[random.below(node.options.size())], random, fill, place, out);
        break;
    }
    if (out.size() > kMaxText) fail(place, "the text grows beyond 4 KiB; do lists name each other?");
  }
}

}  // namespace

void fail(const Place& place, std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument,
              place.file + ":" + std::to_string(place.line) + ": " + std::string(what));
}

Template parse_template(std::string_view text, const Place& place, const ResolveSlot& resolve) {
  return Parser(text, place, resolve).parse();
}

std::string render(const Template& source, Random& random, const FillSlot& fill) {
  std::string out;
  render_nodes(source.nodes, random, fill, source.place, out);
  return out;
}

}  // namespace fathom::live::world
