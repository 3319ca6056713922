// Reads what all storylines share: accounts.toml, chatter.toml and spam.toml.
#include <algorithm>
#include <array>
#include <set>

#include "live/world/reader.h"
#include "live/world/scenario.h"

namespace fathom::live::world {
namespace {

constexpr std::array<std::string_view, 5> kAccountKinds = {"local", "fan", "press", "bot", "spam"};

Slot slot_of(SlotKind kind, uint32_t index = 0) {
  Slot slot;
  slot.kind = kind;
  slot.index = index;
  return slot;
}

class CommonParser {
 public:
  Common parse(const std::map<std::string, std::string>& files) {
    for (const auto& [name, text] : files) documents_.push_back(parse_document(text, name));
    for (const Table& root : documents_) {
      root.allow({"lists", "kind", "topic", "emoji", "slang", "news_replies", "chatter_replies", "quotes"});
      for (auto& [list, lines] : root.named_lines("lists")) {
        if (common_.list_index(list)) root.error("the list '" + list + "' is defined twice; rename one");
        common_.lists.push_back({list, {}});
      }
    }
    for (const Table& root : documents_) read(root, root.file() == "spam.toml");
    check();
    return std::move(common_);
  }

 private:
  void read(const Table& root, bool spam) {
    for (const auto& [name, lines] : root.named_lines("lists")) {
      auto& entries = common_.lists[*common_.list_index(name)].entries;
      for (const Line& line : lines) entries.push_back(compile(line));
    }
    for (const Table& table : root.tables("kind")) read_kind(table);
    for (const Table& table : root.tables("topic")) read_topic(table, spam ? common_.spam : common_.chatter);
    append(common_.news_replies, templates(root, "news_replies"));
    append(common_.chatter_replies, templates(root, "chatter_replies"));
    append(common_.quotes, templates(root, "quotes"));
    append(common_.emoji, root.strings("emoji"));
    for (const Table& table : root.tables("slang")) {
      table.allow({"word", "as"});
      common_.slang.emplace_back(table.text("word"), table.text("as"));
    }
  }

  template <class T>
  static void append(std::vector<T>& to, std::vector<T> from) {
    for (T& item : from) to.push_back(std::move(item));
  }

  void read_kind(const Table& table) {
    table.allow({"kind", "share", "lang", "followers", "names", "handles", "bios"});
    AccountKind kind;
    kind.place = table.place();
    kind.kind = table.text("kind");
    kind.share = table.integer_or("share", 1, 1, 10'000);
    kind.lang = table.text_or("lang", "en");
    const auto range = table.strings("followers");
    if (range.size() != 2) table.error("'followers' must be a list of two texts: lowest and highest");
    kind.followers_low = number(table, range[0]);
    kind.followers_high = number(table, range[1]);
    if (kind.followers_low > kind.followers_high) table.error("'followers' must rise");
    kind.names = templates(table, "names");
    kind.handles = templates(table, "handles");
    kind.bios = templates(table, "bios");
    if (std::find(kAccountKinds.begin(), kAccountKinds.end(), kind.kind) == kAccountKinds.end()) {
      table.error("'kind' must be local, fan, press, bot or spam");
    }
    if (kind.names.empty() || kind.handles.empty() || kind.bios.empty()) {
      table.error("a kind of account needs 'names', 'handles' and 'bios'");
    }
    common_.accounts.push_back(std::move(kind));
  }

  static int64_t number(const Table& table, const std::string& text) {
    if (text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) {
      table.error("'" + text + "' in 'followers' must be a number below a thousand million");
    }
    return std::stoll(text);
  }

  void read_topic(const Table& table, std::vector<Topic>& topics) {
    table.allow({"name", "kind", "lang", "weight", "from", "to", "posts"});
    Topic topic;
    topic.name = table.text("name");
    topic.kind = table.text_or("kind", "local");
    topic.lang = table.text_or("lang", "en");
    topic.weight = table.integer_or("weight", 10, 1, 1000);
    topic.from = table.clock_or("from", 0);
    topic.to = table.clock_or("to", kDaySeconds);
    topic.posts = templates(table, "posts");
    if (topic.from >= topic.to) table.error("a topic's 'from' must lie before its 'to'");
    if (topic.posts.empty()) table.error("topic '" + topic.name + "' has no 'posts'");
    topics.push_back(std::move(topic));
  }

  void check() const {
    const Place place{"chatter.toml", 1};
    std::set<std::pair<std::string, std::string>> kinds;
    for (const AccountKind& kind : common_.accounts) kinds.emplace(kind.kind, kind.lang);
    for (const std::string_view kind : kAccountKinds) {
      if (!kinds.contains({std::string(kind), "en"})) {
        fail({"accounts.toml", 1},
             "no [[kind]] makes accounts of kind '" + std::string(kind) + "' in English");
      }
    }
    for (const auto* topics : {&common_.chatter, &common_.spam}) {
      for (const Topic& topic : *topics) {
        if (!kinds.contains({topic.kind, topic.lang})) {
          fail(place, "topic '" + topic.name + "' has no accounts of its kind and language");
        }
      }
    }
    if (common_.accounts.size() > 40) fail({"accounts.toml", 1}, "more than 40 kinds of account; join some");
    if (common_.chatter.empty() || common_.spam.empty())
      fail(place, "chatter.toml and spam.toml need a [[topic]]");
    if (common_.news_replies.empty() || common_.chatter_replies.empty() || common_.quotes.empty()) {
      fail(place, "'news_replies', 'chatter_replies' and 'quotes' must hold templates");
    }
  }

  std::vector<Template> templates(const Table& table, std::string_view key) const {
    std::vector<Template> out;
    for (const Line& line : table.lines(key)) out.push_back(compile(line));
    return out;
  }

  Template compile(const Line& line) const {
    return parse_template(line.text, line.place,
                          [&](std::string_view name, bool handle) -> std::optional<Slot> {
                            if (handle) return std::nullopt;
                            if (name == "clock") return slot_of(SlotKind::kClock);
                            if (name == "daypart") return slot_of(SlotKind::kDaypart);
                            if (name == "tag") return slot_of(SlotKind::kTag);
                            if (name == "link") return slot_of(SlotKind::kLink);
                            if (const auto list = common_.list_index(name))
                              return slot_of(SlotKind::kShared, *list);
                            return std::nullopt;
                          });
  }

  std::vector<Table> documents_;
  Common common_;
};

}  // namespace

Common parse_common(const std::map<std::string, std::string>& files) { return CommonParser().parse(files); }

}  // namespace fathom::live::world
