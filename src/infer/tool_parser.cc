// The streaming parser of tool calls: a machine that eats one byte at a time and can always give back what it has eaten.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/random.h"
#include "infer/json_scan.h"
#include "infer/tool_calls.h"

namespace fathom::infer {
namespace {

using Json = nlohmann::ordered_json;
using Style = ToolFormat::Style;
using Kind = ToolEvent::Kind;

constexpr std::string_view kBlank = " \t\n\r";
constexpr std::string_view kTag = "<|python_tag|>";
constexpr size_t kMostHeld = 64 << 10;  // bytes of a call that cannot be given out yet; more is content

bool is_blank(char c) { return kBlank.find(c) != std::string_view::npos; }

/// How much of the end of `text` begins `marker`.
size_t partial(std::string_view text, std::string_view marker) {
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == marker.substr(0, n)) return n;
  return 0;
}

uint64_t fresh_seed() {
  static std::atomic<uint64_t> counter{0};
  const auto now = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  return now * 0x9e3779b97f4a7c15u + ++counter;
}

}  // namespace

struct ToolCallParser::State {
  enum class Phase {
    kStart,     // nothing but white space yet: some formats begin calls without a marker
    kText,      // content; a marker may come
    kOnlyText,  // content for good
    kMarked,    // behind a marker: white space, then the list or the object
    kTag,       // within <|python_tag|>
    kObject,    // within a call
    kBehind,    // behind a call: what separates it from the next, or ends it
  };
  enum class Part { kKey, kColon, kValue, kSkip, kName, kArguments, kArgumentsText, kId, kAfter };

  State(const ToolFormat& format, std::vector<std::string> n, uint64_t seed)
      : style(format.style()), names(std::move(n)), random(seed != 0 ? seed : fresh_seed()) {
    phase = style == Style::kHermes ? Phase::kText : Phase::kStart;
  }

  // Text ---------------------------------------------------------------------------------------------

  std::string_view marker() const { return style == Style::kHermes ? "<tool_call>" : "[TOOL_CALLS]"; }

  void emit(Kind kind, std::string text) {
    const bool joins = kind == Kind::kContent || kind == Kind::kArguments;
    if (joins && text.empty()) return;
    if (joins && !events.empty() && events.back().kind == kind) {
      events.back().text += text;
      return;
    }
    ToolEvent event;
    event.kind = kind;
    event.index = kind == Kind::kContent ? 0 : begun - 1;
    event.text = std::move(text);
    events.push_back(std::move(event));
  }

  /// Content, but for what may belong to a marker: a part of it at the end, and white space in front of it.
  void give_text(bool all) {
    size_t keep = all || phase == Phase::kOnlyText ? 0 : partial(held, marker());
    if (!all && phase == Phase::kText)
      while (keep < held.size() && is_blank(held[held.size() - keep - 1])) ++keep;
    emit(Kind::kContent, held.substr(0, held.size() - keep));
    held.erase(0, held.size() - keep);
  }

  void text(char c) {
    held += c;
    if (phase == Phase::kOnlyText || !held.ends_with(marker())) return;
    // The white space between the text and the call belongs to the call.
    size_t end = held.size() - marker().size();
    while (end > 0 && is_blank(held[end - 1])) --end;
    emit(Kind::kContent, held.substr(0, end));
    held.erase(0, end);
    phase = Phase::kMarked;
    in_list = false;
  }

  Phase content_phase() const { return style == Style::kLlama3 ? Phase::kOnlyText : Phase::kText; }

  /// What was taken for a call is none. Its first byte is content; a call may begin with the next one.
  void give_back() {
    phase = content_phase();
    const size_t skip = std::min(held.find_first_not_of(kBlank), held.size() - 1) + 1;
    emit(Kind::kContent, held.substr(0, skip));
    after_call = false;
    read_again(held.substr(skip));
  }

  /// The bytes come again before all that has not been read yet. By value: they may be `held`.
  void read_again(std::string bytes) {
    held.clear();
    input.erase(0, read);
    input.insert(0, bytes);
    read = 0;
  }

  void run() {
    while (read < input.size()) push(input[read++]);
    input.clear();
    read = 0;
  }

  // Calls --------------------------------------------------------------------------------------------

  void begin_object() {
    phase = Phase::kObject;
    part = Part::kKey;
    key.clear();
    string.clear();
    name.clear();
    id.clear();
    arguments.clear();
    has_name = has_arguments = is_open = false;
    scan = {};
  }

  bool known(const std::string& n) const {
    return !n.empty() && (names.empty() || std::ranges::find(names, n) != names.end());
  }

  std::string new_id() {
    constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const bool mistral = style == Style::kMistral;  // its templates insist on nine letters
    std::string out = mistral ? "" : "call_";
    for (int i = 0; i < (mistral ? 9 : 24); ++i) out += kLetters[random.below(kLetters.size())];
    return out;
  }

  /// The call's name is known, and that it has arguments: from here on it is a call.
  void open() {
    is_open = true;
    held.clear();
    ++begun;
    ToolEvent event;
    event.kind = Kind::kCallBegin;
    event.index = begun - 1;
    event.id = id.empty() ? new_id() : id;
    event.name = name;
    events.push_back(std::move(event));
    emit(Kind::kArguments, std::exchange(arguments, {}));
  }

  void add_argument(char c) {
    if (is_open)
      emit(Kind::kArguments, std::string(1, c));
    else
      arguments += c;
  }

  /// False: no call after all.
  bool object(char c) {
    const auto byte = static_cast<uint8_t>(c);
    switch (part) {
      case Part::kKey:
        if (string.empty()) {
          if (is_blank(c)) return true;
          if (c != '"') return false;
        }
        return text_part(byte, [&](std::string value) {
          key = std::move(value);
          part = Part::kColon;
          return true;
        });
      case Part::kColon:
        if (is_blank(c)) return true;
        part = Part::kValue;
        scan = {};
        return c == ':';
      case Part::kValue: return is_blank(c) || value(c);
      case Part::kName:
        return text_part(byte, [&](std::string value) {
          name = std::move(value);
          has_name = true;
          part = Part::kAfter;
          if (!known(name)) return false;
          if (has_arguments) open();
          return true;
        });
      case Part::kId:
        return text_part(byte, [&](std::string value) {
          if (!is_open) id = std::move(value);
          part = Part::kAfter;
          return true;
        });
      case Part::kArgumentsText:
        return text_part(byte, [&](std::string value) {
          if (!Json::parse(value, nullptr, false).is_object()) return false;
          arguments = std::move(value);
          has_arguments = true;
          part = Part::kAfter;
          if (has_name) open();
          return true;
        });
      case Part::kArguments: {
        const auto result = scan.push(byte);
        if (result == JsonScan::Result::kBad) return false;
        add_argument(c);
        if (result == JsonScan::Result::kDone) part = Part::kAfter;
        return true;
      }
      case Part::kSkip: {
        const auto result = scan.push(byte);
        if (result == JsonScan::Result::kBad) return false;
        if (result == JsonScan::Result::kDone) part = Part::kAfter;
        if (result != JsonScan::Result::kEnded) return true;
        part = Part::kAfter;
        return after(c);
      }
      case Part::kAfter: return after(c);
    }
    return false;
  }

  /// A string that `done` gets, unescaped, when it is whole.
  template <class Done>
  bool text_part(uint8_t byte, Done done) {
    if (string.empty()) scan = {};
    string += static_cast<char>(byte);
    const auto result = scan.push(byte);
    if (result == JsonScan::Result::kBad) return false;
    if (result != JsonScan::Result::kDone) return true;
    const Json parsed = Json::parse(std::exchange(string, {}), nullptr, false);
    return parsed.is_string() && done(parsed.get<std::string>());
  }

  bool value(char c) {
    const bool arguments_key = key == "arguments" || key == "parameters";
    string.clear();
    if (key == "name" && !has_name) {
      part = Part::kName;
      return c == '"' && object(c);
    }
    if (key == "id" && c == '"' && !is_open) {
      part = Part::kId;
      return object(c);
    }
    if (arguments_key && !has_arguments) {
      if (c == '"') {
        part = Part::kArgumentsText;
        return object(c);
      }
      if (c != '{') return false;
      has_arguments = true;
      part = Part::kArguments;
      if (has_name) open();
      return object(c);
    }
    if (arguments_key || key == "name") return false;  // a second time
    part = Part::kSkip;
    return object(c);
  }

  bool after(char c) {
    if (is_blank(c)) return true;
    if (c == ',') {
      part = Part::kKey;
      return true;
    }
    if (c != '}' || !has_name) return false;
    if (!is_open) {
      if (!has_arguments) arguments = "{}";
      open();
    }
    emit(Kind::kCallEnd, {});
    phase = Phase::kBehind;
    held.clear();
    return true;
  }

  /// Behind a call: `held` is what has come since.
  void behind(char c) {
    held += c;
    const size_t first = held.find_first_not_of(kBlank);
    if (first == std::string::npos) return;
    const std::string_view rest = std::string_view(held).substr(first);
    if (style == Style::kHermes) {
      constexpr std::string_view kEnd = "</tool_call>";
      if (!kEnd.starts_with(rest)) return leave_calls(true);  // the tag was forgotten
      if (rest.size() == kEnd.size()) leave_calls(false);
      return;
    }
    if (style == Style::kMistral && !in_list) return leave_calls(true);
    if (in_list && rest == "]") return leave_calls(false);
    if (rest.size() == 1 && c == (in_list ? ',' : ';')) return;
    if (rest.size() > 1 && is_blank(c)) return;
    // Llama's models put several calls on lines of their own, too.
    if (c == '{' && (rest.size() > 1 || !in_list)) return begin_object();
    leave_calls(true);
  }

  /// With `again`, what came behind the last call is text, perhaps with another marker.
  void leave_calls(bool again) {
    phase = content_phase();
    in_list = false;
    after_call = !again;
    read_again(again ? held : std::string());
  }

  // All ----------------------------------------------------------------------------------------------

  void start(char c) {
    held += c;
    if (is_blank(c)) return;
    const bool bracket = held.find('[') != std::string::npos;
    if (style == Style::kLlama3 && c == '{') return begin_object();
    if (style == Style::kLlama3 && c == kTag[0]) {
      phase = Phase::kTag;
      return;
    }
    if (style == Style::kMistral && c == '[' && held.find('[') == held.size() - 1) return;
    if (style == Style::kMistral && c == '{' && bracket) {
      // The list without its marker, which a generation without control tokens does not show.
      in_list = true;
      return begin_object();
    }
    phase = content_phase();
    read_again(held);
  }

  void marked(char c) {
    held += c;
    if (is_blank(c)) return;
    if (style == Style::kMistral && c == '[' && !in_list) {
      in_list = true;
      return;
    }
    if (c != '{') return give_back();
    begin_object();
  }

  void tag(char c) {
    held += c;
    const std::string_view rest = std::string_view(held).substr(held.find_first_not_of(kBlank));
    if (rest.size() <= kTag.size()) {
      if (!kTag.starts_with(rest)) give_back();
      return;
    }
    if (is_blank(c)) return;
    if (c != '{') return give_back();
    begin_object();
  }

  void push(char c) {
    switch (phase) {
      case Phase::kStart: return start(c);
      case Phase::kText:
      case Phase::kOnlyText: return text(c);
      case Phase::kMarked: return marked(c);
      case Phase::kTag: return tag(c);
      case Phase::kBehind: return behind(c);
      case Phase::kObject: break;
    }
    if (!is_open) held += c;
    if (object(c) && held.size() <= kMostHeld) return;
    if (!is_open) return give_back();
    phase = content_phase();  // broken in its arguments, which are given out already
    in_list = false;
    held.clear();
    push(c);
  }

  void finish() {
    while (phase != Phase::kText && phase != Phase::kOnlyText && !held.empty()) {
      if (phase == Phase::kBehind)
        held.clear();  // separators and half a closing tag are nobody's
      else {
        give_back();
        run();
      }
    }
    const bool blank = held.find_first_not_of(kBlank) == std::string::npos;
    if (after_call && blank) held.clear();
    give_text(true);
  }

  const Style style;
  const std::vector<std::string> names;
  Random random;
  Phase phase;
  Part part = Part::kKey;
  std::string input;  // what is being read
  size_t read = 0;
  std::string held;  // read, neither given out nor dropped yet
  std::vector<ToolEvent> events;
  size_t begun = 0;

  // Of the present call.
  JsonScan scan;
  std::string key, string, name, id, arguments;
  bool has_name = false, has_arguments = false, is_open = false;
  bool in_list = false;     // within the brackets of Mistral's format
  bool after_call = false;  // nothing but white space since the last one
};

ToolCallParser::ToolCallParser(const ToolFormat& format, std::vector<std::string> names, uint64_t seed)
    : state_(std::make_unique<State>(format, std::move(names), seed)) {}
ToolCallParser::~ToolCallParser() = default;
ToolCallParser::ToolCallParser(ToolCallParser&&) noexcept = default;
ToolCallParser& ToolCallParser::operator=(ToolCallParser&&) noexcept = default;

std::vector<ToolEvent> ToolCallParser::push(std::string_view piece) {
  auto& s = *state_;
  s.input += piece;
  s.run();
  if (s.phase == State::Phase::kText || s.phase == State::Phase::kOnlyText) s.give_text(false);
  return std::exchange(s.events, {});
}

std::vector<ToolEvent> ToolCallParser::finish() {
  state_->finish();
  return std::exchange(state_->events, {});
}

size_t ToolCallParser::calls() const { return state_->begun; }

}  // namespace fathom::infer
