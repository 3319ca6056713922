#include "live/world/scenario.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "live/world/reader.h"

namespace fathom::live::world {
namespace {

constexpr std::array<std::string_view, 3> kCommonFiles = {"accounts.toml", "chatter.toml", "spam.toml"};
constexpr std::array<std::string_view, 5> kFactKinds = {"current", "count", "when", "where", "who"};
constexpr int64_t kMaxWeight = 1000;
constexpr std::array<std::string_view, 7> kLanguages = {"en", "es", "fr", "de", "pt", "it", "ja"};
constexpr std::array<std::string_view, 3> kInquiryKinds = {"comparison", "who_said_what", "current_value"};

template <class List, class Name>
std::optional<uint32_t> index_of(const List& list, const Name& matches) {
  const auto found = std::find_if(list.begin(), list.end(), matches);
  if (found == list.end()) return std::nullopt;
  return static_cast<uint32_t>(found - list.begin());
}

bool is_handle(std::string_view text) {
  return !text.empty() && text.size() <= 24 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

Slot slot_of(SlotKind kind, uint32_t index = 0) {
  Slot slot;
  slot.kind = kind;
  slot.index = index;
  return slot;
}

class StorylineParser {
 public:
  StorylineParser(const Table& root, const std::string& file, const Common& common)
      : root_(root), common_(common) {
    story_.file = file;
    story_.id = std::filesystem::path(file).stem().string();
  }

  // Names first, templates after: a template may name any fact or list of its file.
  Storyline parse() {
    root_.allow({"title", "weight", "names", "tags", "emoji", "lists", "cast", "fact", "rumour", "phase",
                 "replies", "quotes", "no_answer", "false_premise", "question", "lang"});
    read_head();
    read_cast();
    name_lists();
    for (const Table& table : root_.tables("fact")) read_fact_values(table);
    check_names();
    read_lists();
    size_t index = 0;
    for (const Table& table : root_.tables("fact")) read_fact_posts(table, story_.facts[index++]);
    for (const Table& table : root_.tables("rumour")) read_rumour(table);
    for (const Table& table : root_.tables("phase")) read_phase(table);
    story_.replies = templates(root_, "replies", false);
    story_.quotes = templates(root_, "quotes", false);
    if (story_.lang != "en" && (story_.replies.empty() || story_.quotes.empty()))
      root_.error("a storyline in another language needs 'replies' and 'quotes' of its own");
    read_questions();
    return std::move(story_);
  }

 private:
  void read_head() {
    story_.title = root_.text("title");
    story_.weight = root_.integer_or("weight", 10, 1, kMaxWeight);
    story_.lang = language_of(root_, "en");
    story_.names = root_.strings("names");
    story_.tags = root_.strings("tags");
    story_.emoji = root_.strings("emoji");
    if (story_.tags.empty()) root_.error("'tags' must hold at least one hashtag, without '#'");
    for (const std::string& tag : story_.tags) {
      const auto found = find_tags("#" + tag);
      if (found.size() != 1 || found[0] != tag)
        root_.error("'" + tag + "' in 'tags' must be letters and digits");
    }
  }

  static std::string language_of(const Table& table, const std::string& usual) {
    const std::string lang = table.text_or("lang", usual);
    if (std::find(kLanguages.begin(), kLanguages.end(), lang) == kLanguages.end())
      table.error("'lang' must be en, es, fr, de, pt, it or ja");
    return lang;
  }

  void read_cast() {
    for (const Table& table : root_.tables("cast")) {
      table.allow({"role", "handle", "name", "followers", "voice"});
      CastMember member;
      member.role = table.text("role");
      member.handle = table.text("handle");
      member.name = table.text("name");
      member.followers = table.integer_or("followers", 300, 0, 50'000'000);
      member.voice = voice_of(table, member.role);
      if (!is_handle(member.handle)) table.error("'handle' must be 1 to 24 letters, digits or _");
      if (!index_of(story_.roles, [&](const auto& role) { return role == member.role; })) {
        story_.roles.push_back(member.role);
      }
      story_.cast.push_back(std::move(member));
    }
    const auto first = [&](Voice voice) {
      return std::find_if(story_.cast.begin(), story_.cast.end(),
                          [&](const CastMember& member) { return member.voice == voice; });
    };
    if (first(Voice::kOfficial) == story_.cast.end() || first(Voice::kPress) == story_.cast.end()) {
      root_.error("the cast needs a member with voice \"official\" and one with \"press\"");
    }
    story_.authority = first(Voice::kOfficial)->role;
  }

  static Voice voice_of(const Table& table, const std::string& role) {
    const bool usual = role == "official" || role == "press";
    const std::string voice = table.text_or("voice", usual ? role : "casual");
    if (voice == "official") return Voice::kOfficial;
    if (voice == "press") return Voice::kPress;
    if (voice != "casual") table.error("'voice' must be official, press or casual");
    return Voice::kCasual;
  }

  // The role of the authority that speaks on this.
  std::string speaker_of(const Table& table) const {
    const std::string role = table.text_or("by", story_.authority);
    if (std::none_of(story_.cast.begin(), story_.cast.end(), [&](const CastMember& member) {
          return member.role == role && member.voice == Voice::kOfficial;
        })) {
      table.error("'by' must name a role of the cast with voice \"official\"");
    }
    return role;
  }

  void name_lists() {
    for (auto& [name, lines] : root_.named_lines("lists")) story_.lists.push_back({name, {}});
  }

  void read_lists() {
    size_t index = 0;
    for (const auto& [name, lines] : root_.named_lines("lists")) {
      for (const Line& line : lines) story_.lists[index].entries.push_back(compile(line, false, false));
      ++index;
    }
  }

  void check_names() const {
    std::set<std::string> names = {"value", "prev", "clock", "daypart", "tag", "link"};
    const auto add = [&](const std::string& name, const Place& place) {
      if (!names.insert(name).second) fail(place, "the name '" + name + "' is used twice; rename one");
    };
    for (const Fact& fact : story_.facts) add(fact.key, fact.place);
    for (const WordList& list : story_.lists) add(list.name, root_.place());
    for (const std::string& role : story_.roles) add(role, root_.place());
  }

  void read_fact_values(const Table& table) {
    table.allow({"key", "kind", "by", "subject", "attribute", "weight", "values", "questions", "official",
                 "press", "casual", "en", "es", "fr", "de", "pt", "it", "ja"});
    Fact fact;
    fact.place = table.place();
    fact.key = table.text("key");
    fact.kind = table.text("kind");
    fact.by = speaker_of(table);
    fact.subject = table.text("subject");
    fact.attribute = table.text("attribute");
    fact.weight = table.integer_or("weight", 10, 1, kMaxWeight);
    if (std::find(kFactKinds.begin(), kFactKinds.end(), fact.kind) == kFactKinds.end()) {
      table.error("'kind' must be current, count, when, where or who");
    }
    for (const Table& entry : table.tables("values")) {
      entry.allow({"from", "value", "also", "accept", "questions", "ask"});
      FactValue value;
      value.from = entry.clock("from");
      value.forms = {entry.text("value")};
      for (auto& form : entry.strings("also")) value.forms.push_back(std::move(form));
      value.accepted = value.forms;
      for (auto& form : entry.strings("accept")) value.accepted.push_back(std::move(form));
      value.ask = entry.flag_or("ask", true);
      if (value.from >= kDaySeconds) entry.error("'from' must lie before 24:00");
      if (!fact.values.empty() && value.from <= fact.values.back().from) {
        entry.error("the values of '" + fact.key + "' must be in the order of their times");
      }
      fact.values.push_back(std::move(value));
    }
    if (fact.values.empty())
      table.error("fact '" + fact.key + "' needs 'values' with at least one { from, value }");
    story_.facts.push_back(std::move(fact));
  }

  void read_fact_posts(const Table& table, Fact& fact) {
    fact.questions = templates(table, "questions", false);
    fact.voices = voices(table, true);
    size_t index = 0;
    for (const Table& entry : table.tables("values")) {
      fact.values[index++].questions = templates(entry, "questions", false);
    }
    if (fact.questions.empty()) table.error("fact '" + fact.key + "' has no 'questions'");
    if (fact.voices.press.empty()) table.error("fact '" + fact.key + "' has no posts under 'press'");
  }

  void read_rumour(const Table& table) {
    table.allow({"key",       "by",     "subject",  "attribute", "weight", "value",     "also",    "from",
                 "corrected", "spread", "official", "press",     "casual", "questions", "answers", "en",
                 "es",        "fr",     "de",       "pt",        "it",     "ja"});
    Rumour rumour;
    rumour.place = table.place();
    rumour.key = table.text("key");
    rumour.by = speaker_of(table);
    rumour.subject = table.text("subject");
    rumour.attribute = table.text("attribute");
    rumour.weight = table.integer_or("weight", 10, 1, kMaxWeight);
    rumour.from = table.clock("from");
    rumour.corrected = table.clock("corrected");
    rumour.forms = {table.text("value")};
    for (auto& form : table.strings("also")) rumour.forms.push_back(std::move(form));
    rumour.accepted = rumour.forms;
    rumour.spread = templates(table, "spread", true);
    rumour.corrections = voices(table, true);
    rumour.questions = templates(table, "questions", false);
    rumour.answers = table.strings("answers");
    if (rumour.from >= rumour.corrected || rumour.corrected >= kDaySeconds) {
      table.error("a rumour's 'from' must lie before 'corrected', and that before 24:00");
    }
    if (rumour.spread.empty() || rumour.corrections.press.empty() || rumour.questions.empty() ||
        rumour.answers.empty()) {
      table.error("rumour '" + rumour.key + "' needs 'spread', 'press', 'questions' and 'answers'");
    }
    story_.rumours.push_back(std::move(rumour));
  }

  void read_phase(const Table& table) {
    table.allow(
        {"from", "to", "weight", "official", "press", "casual", "en", "es", "fr", "de", "pt", "it", "ja"});
    Phase phase;
    phase.from = table.clock_or("from", 0);
    phase.to = table.clock_or("to", kDaySeconds);
    phase.weight = table.integer_or("weight", 10, 1, kMaxWeight);
    phase.voices = voices(table, false);
    if (phase.from >= phase.to) table.error("a phase's 'from' must lie before its 'to'");
    if (phase.voices.casual.empty()) table.error("a phase needs posts under 'casual'");
    story_.phases.push_back(std::move(phase));
  }

  void read_questions() {
    for (const Table& table : root_.tables("no_answer")) {
      table.allow({"question", "absent"});
      const Line line{table.text("question"), table.place()};
      story_.no_answers.push_back({compile(line, false, false), table.strings("absent"), table.place()});
      if (story_.no_answers.back().absent.empty()) {
        table.error("'absent' must name at least one text that no post contains");
      }
    }
    for (const Table& table : root_.tables("false_premise")) {
      table.allow({"question", "fact", "rumour", "after", "answers"});
      if (table.has("fact") == table.has("rumour"))
        table.error("a false premise needs either 'fact' or 'rumour'");
      FalsePremise premise;
      premise.question = compile({table.text("question"), table.place()}, false, false);
      premise.rumour = table.has("rumour");
      const std::string key = table.text(premise.rumour ? "rumour" : "fact");
      const auto named = [&](const auto& entry) { return entry.key == key; };
      const auto index = premise.rumour ? index_of(story_.rumours, named) : index_of(story_.facts, named);
      if (!index) table.error("'" + key + "' is no fact or rumour of this file");
      premise.index = *index;
      premise.after = table.clock_or("after", 0);
      premise.answers = table.strings("answers");
      story_.false_premises.push_back(std::move(premise));
    }
    for (const Table& table : root_.tables("question")) read_inquiry(table);
  }

  void read_inquiry(const Table& table) {
    table.allow({"question", "kind", "lang", "fact", "than", "less", "by", "after", "answers"});
    Inquiry out;
    out.question = compile({table.text("question"), table.place()}, false, false);
    out.kind = table.text("kind");
    if (std::find(kInquiryKinds.begin(), kInquiryKinds.end(), out.kind) == kInquiryKinds.end())
      table.error("'kind' must be comparison, who_said_what or current_value");
    out.lang = language_of(table, story_.lang);
    out.fact = fact_of(table, "fact");
    if (table.has("than")) out.than = fact_of(table, "than");
    out.less = table.flag_or("less", false);
    if (table.has("by")) out.by = speaker_of(table);
    out.after = table.clock_or("after", 0);
    out.answers = table.strings("answers");
    story_.inquiries.push_back(std::move(out));
  }

  size_t fact_of(const Table& table, std::string_view key) const {
    const std::string name = table.text(key);
    const auto index = index_of(story_.facts, [&](const Fact& fact) { return fact.key == name; });
    if (!index) table.error("'" + name + "' is no fact of this file");
    return *index;
  }

  Voices voices(const Table& table, bool own) {
    Voices out;
    out.official = templates(table, "official", own);
    out.press = templates(table, "press", own);
    out.casual = templates(table, "casual", own);
    for (const std::string_view lang : kLanguages) {
      if (table.has(lang)) out.foreign.push_back({std::string(lang), templates(table, lang, own)});
    }
    return out;
  }

  // `own`: the templates belong to a fact or rumour, so that {value} and {prev} mean something.
  std::vector<Template> templates(const Table& table, std::string_view key, bool own) {
    std::vector<Template> out;
    for (const Line& line : table.lines(key)) out.push_back(compile(line, own, true));
    return out;
  }

  Template compile(const Line& line, bool own, bool facts) const {
    return parse_template(line.text, line.place, [&](std::string_view name, bool handle) {
      return resolve(name, handle, own, facts);
    });
  }

  std::optional<Slot> resolve(std::string_view name, bool handle, bool own, bool facts) const {
    const auto is_named = [&](const auto& entry) { return entry == name; };
    if (const auto role = index_of(story_.roles, is_named)) {
      return slot_of(handle ? SlotKind::kHandle : SlotKind::kCast, *role);
    }
    if (handle) return std::nullopt;
    if (own && name == "value") return slot_of(SlotKind::kValue);
    if (own && name == "prev") return slot_of(SlotKind::kPrevious);
    if (name == "clock") return slot_of(SlotKind::kClock);
    if (name == "daypart") return slot_of(SlotKind::kDaypart);
    if (name == "tag") return slot_of(SlotKind::kTag);
    if (name == "link") return slot_of(SlotKind::kLink);
    if (facts) {
      if (const auto fact = index_of(story_.facts, [&](const Fact& f) { return f.key == name; })) {
        return slot_of(SlotKind::kFact, *fact);
      }
    }
    if (const auto list = index_of(story_.lists, [&](const WordList& l) { return l.name == name; })) {
      return slot_of(SlotKind::kList, *list);
    }
    if (const auto shared = common_.list_index(name)) return slot_of(SlotKind::kShared, *shared);
    return std::nullopt;
  }

  const Table& root_;
  const Common& common_;
  Storyline story_;
};

}  // namespace

std::optional<size_t> Fact::value_at(int64_t second) const {
  std::optional<size_t> found;
  for (size_t i = 0; i < values.size() && values[i].from <= second; ++i) found = i;
  return found;
}

int64_t Fact::end_of(size_t value) const {
  return value + 1 < values.size() ? values[value + 1].from : kDaySeconds;
}

std::optional<uint32_t> Common::list_index(std::string_view name) const {
  return index_of(lists, [&](const WordList& list) { return list.name == name; });
}

Storyline parse_storyline(std::string_view toml, const std::string& file, const Common& common) {
  const Table root = parse_document(toml, file);
  return StorylineParser(root, file, common).parse();
}

Scenarios load_scenarios(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  if (error) {
    throw Error(ErrorCode::kNotFound, "no folder of scenario files at " + folder.string() +
                                          "; pass the data/world folder of Fathom");
  }
  std::map<std::string, std::string> stories;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".toml") stories[name] = read_file(entry.path(), size_t{1} << 20);
  }
  std::map<std::string, std::string> common;
  for (const std::string_view name : kCommonFiles) {
    auto found = stories.extract(std::string(name));
    if (found.empty()) {
      throw Error(ErrorCode::kNotFound, (folder / name).string() + " is missing; the sample world needs it");
    }
    common.insert(std::move(found));
  }
  if (stories.empty()) {
    throw Error(ErrorCode::kNotFound, folder.string() + " holds no storyline; add a NAME.toml");
  }
  Scenarios out;
  out.common = parse_common(common);
  for (const auto& [name, text] : stories) out.storylines.push_back(parse_storyline(text, name, out.common));
  return out;
}

}  // namespace fathom::live::world
