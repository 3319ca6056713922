#include <fmt/format.h>
#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <array>
#include <functional>

#include "base/text.h"
#include "model/jinja/runtime.h"

namespace fathom::model::jinja {
namespace {

/// One character of a text and where it stands.
struct Character {
  char32_t code = 0;
  size_t begin = 0, size = 0;
};

std::vector<Character> decode(const Text& text) {
  std::vector<Character> out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = decode_utf8(text.bytes(), at);
    out.push_back({code, begin, at - begin});
  }
  return out;
}

/// Python's str.isspace.
bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) || (c >= 0x1C && c <= 0x1F); }

enum class Case { kUpper, kLower, kTitle };

/// Full mapping of one character (U+00DF becomes "SS"), by Unicode's root locale.
std::string mapped(char32_t c, Case to) {
  std::array<UChar, 2> source{};
  int32_t source_size = 0;
  U16_APPEND_UNSAFE(source.data(), source_size, static_cast<UChar32>(c));
  std::array<UChar, 8> target{};
  UErrorCode status = U_ZERO_ERROR;
  const auto capacity = static_cast<int32_t>(target.size());
  const int32_t size =
      to == Case::kUpper ? u_strToUpper(target.data(), capacity, source.data(), source_size, "", &status)
      : to == Case::kLower
          ? u_strToLower(target.data(), capacity, source.data(), source_size, "", &status)
          : u_strToTitle(target.data(), capacity, source.data(), source_size, nullptr, "", &status);
  std::string out;
  if (U_FAILURE(status)) {
    append_utf8(out, c);
    return out;
  }
  for (int32_t at = 0; at < size;) {
    UChar32 code = 0;
    U16_NEXT(target.data(), at, size, code);
    append_utf8(out, static_cast<char32_t>(code));
  }
  return out;
}

void append_mapped(Text& out, const Text& text, const Character& c, Case to) {
  if (c.code < 0x80) {
    const char byte = static_cast<char>(c.code);
    const bool is_upper = byte >= 'A' && byte <= 'Z', is_lower = byte >= 'a' && byte <= 'z';
    const char changed = to == Case::kLower ? static_cast<char>(is_upper ? byte + 32 : byte)
                                            : static_cast<char>(is_lower ? byte - 32 : byte);
    return out.append(std::string_view(&changed, 1), text.from_input(c.begin));
  }
  out.append(mapped(c.code, to), text.from_input(c.begin));
}

template <class Choose>
Text map_case(Runtime& run, const Text& text, Choose choose) {
  run.spend(text.size() * 4);
  Text out;
  for (const Character& c : decode(text)) append_mapped(out, text, c, choose(c));
  return out;
}

bool all_characters(const Text& text, const std::function<bool(char32_t)>& holds) {
  const std::vector<Character> all = decode(text);
  return !all.empty() &&
         std::all_of(all.begin(), all.end(), [&](const Character& c) { return holds(c.code); });
}

bool is_letter(char32_t c) { return u_isalpha(static_cast<UChar32>(c)) != 0; }
bool is_decimal(char32_t c) { return u_isdigit(static_cast<UChar32>(c)) != 0; }

std::vector<Value> split_white_space(Runtime& run, const Text& text, int64_t limit, bool from_right) {
  // Words as [begin, end) in bytes; beyond the limit the rest stays whole.
  std::vector<std::pair<size_t, size_t>> words;
  bool in_word = false;
  for (const Character& c : decode(text)) {
    const bool space = is_space(c.code);
    if (!space && !in_word) words.emplace_back(c.begin, c.begin);
    if (!space) words.back().second = c.begin + c.size;
    in_word = !space;
  }
  const auto most = limit < 0 ? words.size() : std::min(words.size(), static_cast<size_t>(limit) + 1);
  if (most < words.size() && !from_right) {
    // Python keeps trailing white space on the last piece of a limited split.
    words[most - 1].second = text.size();
    words.resize(most);
  } else if (most < words.size()) {
    words[words.size() - most].first = 0;
    words.erase(words.begin(), words.end() - static_cast<std::ptrdiff_t>(most));
  }
  std::vector<Value> out;
  for (const auto& [begin, end] : words) out.push_back(run.text(text.substr(begin, end - begin)));
  return out;
}

Value split_method(Runtime& run, const Text& self, std::string_view name, const Args& args) {
  const Value* separator = args.find(0, "sep");
  const Value* limit = args.find(1, "maxsplit");
  const bool by_space = separator == nullptr || separator->is_none();
  return run.list(split(run, self, by_space ? nullptr : &need_text(run, *separator, "split"),
                        limit == nullptr ? -1 : need_integer(run, *limit, "split"), name == "rsplit"));
}

/// One string or a tuple of them, as startswith and endswith take.
bool any_affix(Runtime& run, const Args& args, const std::function<bool(std::string_view)>& holds) {
  const Value* given = args.find(0, "prefix");
  if (given == nullptr) run.fail("startswith and endswith need a string");
  if (const List* list = given->as_list())
    return std::any_of(list->items.begin(), list->items.end(), [&](const Value& item) {
      return holds(need_text(run, item, "startswith or endswith").bytes());
    });
  return holds(need_text(run, *given, "startswith or endswith").bytes());
}

const Text& text_argument(Runtime& run, const Args& args, size_t index, std::string_view name) {
  const Value* given = args.find(index, name);
  if (given == nullptr) run.fail(fmt::format("the argument '{}' is missing", name));
  return need_text(run, *given, "an argument");
}

/// The index in characters of the byte offset `at`; -1 for none.
Value character_index(const Text& text, size_t at) {
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(count_characters(text.substr(0, at))));
}

int64_t count_of(const Text& text, const Text& part) {
  if (part.empty()) return static_cast<int64_t>(count_characters(text)) + 1;
  int64_t count = 0;
  for (size_t at = text.bytes().find(part.bytes()); at != std::string::npos;
       at = text.bytes().find(part.bytes(), at + part.size()))
    ++count;
  return count;
}

Value strip_method(Runtime& run, const Text& self, std::string_view name, const Args& args) {
  const Value* chars = args.find(0, "chars");
  const bool given = chars != nullptr && !chars->is_none();
  run.spend(self.size());
  return run.text(strip(run, self, given ? &need_text(run, *chars, "strip") : nullptr, name != "rstrip",
                        name != "lstrip"));
}

Value affix_method(Runtime& run, const Text& self, std::string_view name, const Args& args) {
  const std::string& bytes = self.bytes();
  if (name == "startswith")
    return Value::boolean(
        any_affix(run, args, [&](std::string_view prefix) { return bytes.starts_with(prefix); }));
  if (name == "endswith")
    return Value::boolean(
        any_affix(run, args, [&](std::string_view suffix) { return bytes.ends_with(suffix); }));
  const Text& affix = text_argument(run, args, 0, "prefix");
  if (name == "removeprefix")
    return run.text(bytes.starts_with(affix.bytes()) ? self.substr(affix.size()) : self);
  return run.text(bytes.ends_with(affix.bytes()) ? self.substr(0, self.size() - affix.size()) : self);
}

Value find_method(Runtime& run, const Text& self, std::string_view name, const Text& part) {
  run.spend(search_cost(self, part));
  if (name == "count") return Value::integer(count_of(self, part));
  return character_index(self,
                         name == "find" ? self.bytes().find(part.bytes()) : self.bytes().rfind(part.bytes()));
}

Value text_method(Runtime& run, const Text& self, std::string_view name, const Args& args) {
  run.spend(self.size());
  if (name == "strip" || name == "lstrip" || name == "rstrip") return strip_method(run, self, name, args);
  if (name == "split" || name == "rsplit") return split_method(run, self, name, args);
  if (name == "splitlines") {
    const Value* keep = args.find(0, "keepends");
    return run.list(split_lines(run, self, keep != nullptr && keep->truthy()));
  }
  if (name == "startswith" || name == "endswith" || name == "removeprefix" || name == "removesuffix")
    return affix_method(run, self, name, args);
  if (name == "replace") {
    const Value* limit = args.find(2, "count");
    return run.text(replace(run, self, text_argument(run, args, 0, "old"), text_argument(run, args, 1, "new"),
                            limit == nullptr ? -1 : need_integer(run, *limit, "replace")));
  }
  if (name == "upper") return run.text(upper(run, self));
  if (name == "lower") return run.text(lower(run, self));
  if (name == "capitalize") return run.text(capitalize(run, self));
  if (name == "title") return run.text(title(run, self));
  if (name == "find" || name == "rfind" || name == "count")
    return find_method(run, self, name, text_argument(run, args, 0, "sub"));
  if (name == "join") {
    if (args.positional.empty()) run.fail("join needs a list");
    return run.text(join(run, iterate(run, args.positional[0]), self));
  }
  if (name == "isspace") return Value::boolean(all_characters(self, is_space));
  if (name == "isdigit") return Value::boolean(all_characters(self, is_decimal));
  if (name == "isalpha") return Value::boolean(all_characters(self, is_letter));
  if (name == "isalnum")
    return Value::boolean(all_characters(self, [](char32_t c) { return is_letter(c) || is_decimal(c); }));
  run.unsupported(fmt::format("the string method '{}'", name.substr(0, 40)));
}

Value dict_method(Runtime& run, const Dict& self, std::string_view name, const Args& args) {
  if (name == "get") {
    if (args.positional.empty()) run.fail("get needs a key");
    const Text* key = args.positional[0].as_text();
    run.spend(self.items.size());
    if (const Value* found = key == nullptr ? nullptr : self.find(key->bytes())) return *found;
    return args.positional.size() > 1 ? args.positional[1] : Value::none();
  }
  std::vector<Value> out;
  for (const auto& [key, value] : self.items) {
    if (name == "keys") out.push_back(run.text(key));
    if (name == "values") out.push_back(value);
    if (name == "items") out.push_back(run.list({run.text(key), value}, true));
  }
  return run.list(std::move(out));
}

Value list_method(Runtime& run, const List& self, std::string_view name, const Args& args) {
  if (args.positional.size() != 1) run.fail(fmt::format("{} needs one argument", name));
  run.spend(self.weight);
  const auto same = [&](const Value& item) { return equal(item, args.positional[0]); };
  if (name == "count") return Value::integer(std::count_if(self.items.begin(), self.items.end(), same));
  const auto found = std::find_if(self.items.begin(), self.items.end(), same);
  if (found == self.items.end()) run.fail("the item is not in the list");
  return Value::integer(found - self.items.begin());
}

}  // namespace

std::vector<Text> characters(Runtime& run, const Text& text) {
  run.spend(text.size() * sizeof(Text));
  std::vector<Text> out;
  for (const Character& c : decode(text)) out.push_back(text.substr(c.begin, c.size));
  return out;
}

Text pick_characters(Runtime& run, const Text& text, const std::vector<size_t>& indices) {
  run.spend(text.size());
  const std::vector<Character> all = decode(text);
  Text out;
  for (const size_t i : indices) out.append(text, all[i].begin, all[i].size);
  return out;
}

size_t search_cost(const Text& text, const Text& part) {
  return text.size() + text.size() * part.size() / 16;
}

size_t count_characters(const Text& text) {
  return static_cast<size_t>(std::count_if(text.bytes().begin(), text.bytes().end(), [](char c) {
    return (static_cast<uint8_t>(c) & 0xC0) != 0x80;  // all text is valid UTF-8
  }));
}

Text strip(Runtime& run, const Text& text, const Text* chars, bool left, bool right) {
  run.spend(chars == nullptr ? text.size() : search_cost(text, *chars));
  const std::vector<Character> all = decode(text);
  const std::vector<Character> set = chars == nullptr ? std::vector<Character>() : decode(*chars);
  const auto goes = [&](const Character& c) {
    if (chars == nullptr) return is_space(c.code);
    return std::any_of(set.begin(), set.end(), [&](const Character& s) { return s.code == c.code; });
  };
  size_t begin = 0, end = all.size();
  while (left && begin < end && goes(all[begin])) ++begin;
  while (right && begin < end && goes(all[end - 1])) --end;
  if (begin == end) return Text();
  return text.substr(all[begin].begin, all[end - 1].begin + all[end - 1].size - all[begin].begin);
}

std::vector<Value> split(Runtime& run, const Text& text, const Text* separator, int64_t limit,
                         bool from_right) {
  run.spend(text.size());
  if (separator == nullptr) return split_white_space(run, text, limit, from_right);
  if (separator->empty()) run.fail("split needs a separator that is not empty");
  run.spend(search_cost(text, *separator));
  std::vector<Text> pieces;
  const std::string& bytes = text.bytes();
  const std::string& cut = separator->bytes();
  if (from_right) {
    size_t end = bytes.size();
    for (; limit != 0 && end >= cut.size(); --limit) {
      const size_t at = bytes.rfind(cut, end - cut.size());
      if (at == std::string::npos) break;
      pieces.push_back(text.substr(at + cut.size(), end - at - cut.size()));
      end = at;
    }
    pieces.push_back(text.substr(0, end));
    std::reverse(pieces.begin(), pieces.end());
  } else {
    size_t begin = 0;
    for (; limit != 0; --limit) {
      const size_t at = bytes.find(cut, begin);
      if (at == std::string::npos) break;
      pieces.push_back(text.substr(begin, at - begin));
      begin = at + cut.size();
    }
    pieces.push_back(text.substr(begin));
  }
  std::vector<Value> out;
  for (Text& piece : pieces) out.push_back(run.text(std::move(piece)));
  return out;
}

std::vector<Value> split_lines(Runtime& run, const Text& text, bool keep_ends) {
  const auto ends_line = [](char32_t c) {
    return (c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  std::vector<Value> out;
  size_t begin = 0;
  const std::vector<Character> all = decode(text);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!ends_line(all[i].code)) continue;
    const size_t line_end = all[i].begin;
    if (all[i].code == '\r' && i + 1 < all.size() && all[i + 1].code == '\n') ++i;
    const size_t next = all[i].begin + all[i].size;
    out.push_back(run.text(text.substr(begin, (keep_ends ? next : line_end) - begin)));
    begin = next;
  }
  if (begin < text.size()) out.push_back(run.text(text.substr(begin)));
  return out;
}

Text replace(Runtime& run, const Text& text, const Text& from, const Text& to, int64_t limit) {
  run.spend(search_cost(text, from));
  Text out;
  size_t begin = 0;
  const auto put = [&] {
    run.spend(to.size() + 1);
    out.append(to);
  };
  if (from.empty()) {  // before every character and at the end
    for (const Character& c : decode(text)) {
      if (limit == 0) break;
      --limit;
      put();
      out.append(text, c.begin, c.size);
      begin = c.begin + c.size;
    }
    if (limit != 0 && begin == text.size()) put();
    out.append(text, begin, std::string::npos);
    return out;
  }
  for (; limit != 0; --limit) {
    const size_t at = text.bytes().find(from.bytes(), begin);
    if (at == std::string::npos) break;
    out.append(text, begin, at - begin);
    put();
    begin = at + from.size();
  }
  out.append(text, begin, std::string::npos);
  return out;
}

Text upper(Runtime& run, const Text& text) {
  return map_case(run, text, [](const Character&) { return Case::kUpper; });
}

Text lower(Runtime& run, const Text& text) {
  return map_case(run, text, [](const Character&) { return Case::kLower; });
}

Text capitalize(Runtime& run, const Text& text) {
  return map_case(run, text, [](const Character& c) { return c.begin == 0 ? Case::kTitle : Case::kLower; });
}

Text title(Runtime& run, const Text& text) {
  bool in_word = false;
  return map_case(run, text, [&in_word](const Character& c) {
    const Case to = in_word ? Case::kLower : Case::kTitle;
    in_word = is_letter(c.code);
    return to;
  });
}

Text indent(Runtime& run, const Text& text, const Text& indentation, bool first, bool blank) {
  Text ended = text;
  ended.append("\n", false);  // an empty last line counts as a line
  Text out;
  if (first) out.append(indentation);
  bool is_first = true;
  for (const Value& line : split_lines(run, ended, false)) {
    const Text& content = *line.as_text();
    if (!std::exchange(is_first, false)) {
      out.append("\n", false);
      run.spend(indentation.size());
      if (blank || !content.empty()) out.append(indentation);
    }
    out.append(content);
  }
  return out;
}

Text join(Runtime& run, const std::vector<Value>& items, const Text& separator) {
  Text out;
  bool first = true;
  for (const Value& item : items) {
    run.spend(separator.size() + item.weight());
    if (!std::exchange(first, false)) out.append(separator);
    out.append(printed(run, item));
  }
  return out;
}

bool has_method(const Value& self, std::string_view name) {
  if (self.as_text() != nullptr) return true;
  if (self.as_dict() != nullptr)
    return name == "get" || name == "keys" || name == "values" || name == "items";
  return self.as_list() != nullptr && (name == "count" || name == "index");
}

Value call_method(Runtime& run, const Value& self, std::string_view name, const Args& args) {
  if (const Text* text = self.as_text()) return text_method(run, *text, name, args);
  if (const Dict* dict = self.as_dict()) return dict_method(run, *dict, name, args);
  return list_method(run, *self.as_list(), name, args);
}

}  // namespace fathom::model::jinja
