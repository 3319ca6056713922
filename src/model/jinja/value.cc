#include "model/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace fathom::model::jinja {
namespace {

void check_nesting(int nesting) {
  if (nesting > kMaxNesting)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("values in a chat template may nest {} deep, no deeper", kMaxNesting));
}

/// Adds an item to what its list or dict knows of itself.
template <class Container>
void measure(Container& container, const Value& item, size_t extra) {
  container.nesting = std::max(container.nesting, item.nesting() + 1);
  container.weight += item.weight() + extra;
  check_nesting(container.nesting);
  if (container.weight > kMaxWeight)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("a list or dict of a chat template holds more than {} bytes and items", kMaxWeight));
}

/// Python's repr of a float: the shortest that reads back, never like an integer.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

/// Python's repr of a string.
void append_quoted(Text& out, const Text& text) {
  const std::string& bytes = text.bytes();
  const bool doubled = bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos;
  const char quote = doubled ? '"' : '\'';
  out.append(std::string(1, quote), false);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const bool marked = text.from_input(i);
    if (c == quote || c == '\\')
      out.append(std::string{'\\', c}, marked);
    else if (c == '\n')
      out.append("\\n", marked);
    else if (c == '\r')
      out.append("\\r", marked);
    else if (c == '\t')
      out.append("\\t", marked);
    else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F)
      out.append(fmt::format("\\x{:02x}", static_cast<uint8_t>(c)), marked);
    else
      out.append(text, i, 1);
  }
  out.append(std::string(1, quote), false);
}

/// Namespaces can hold each other, so what is shown has a depth of its own.
void append_repr(Text& out, const Value& value, int depth);

template <class Items, class AppendItem>
void append_items(Text& out, const Items& items, AppendItem append_item) {
  bool first = true;
  for (const auto& item : items) {
    if (!std::exchange(first, false)) out.append(", ", false);
    append_item(item);
  }
}

void append_list(Text& out, const List& list, int depth) {
  out.append(list.is_tuple ? "(" : "[", false);
  append_items(out, list.items, [&](const Value& item) { append_repr(out, item, depth + 1); });
  if (list.is_tuple && list.items.size() == 1) out.append(",", false);
  out.append(list.is_tuple ? ")" : "]", false);
}

void append_dict(Text& out, const Dict& dict, int depth) {
  out.append("{", false);
  append_items(out, dict.items, [&](const auto& item) {
    append_quoted(out, item.first);
    out.append(": ", false);
    append_repr(out, item.second, depth + 1);
  });
  out.append("}", false);
}

void append_scalar(Text& out, const Value& value) {
  if (value.is_none()) out.append("None", false);
  if (const auto* flag = value.get<bool>()) out.append(*flag ? "True" : "False", false);
  if (const auto* integer = value.get<int64_t>()) out.append(fmt::format("{}", *integer), false);
  if (const auto* number = value.get<double>()) out.append(float_text(*number), false);
  if (value.as_namespace() != nullptr) out.append("<Namespace>", false);
  if (value.as_loop() != nullptr) out.append("<LoopContext>", false);
  if (value.as_callable() != nullptr) out.append("<function>", false);
}

void append_repr(Text& out, const Value& value, int depth) {
  check_nesting(depth);
  if (const Text* text = value.as_text()) return append_quoted(out, *text);
  if (const List* list = value.as_list()) return append_list(out, *list, depth);
  if (const Dict* dict = value.as_dict()) return append_dict(out, *dict, depth);
  if (value.is_undefined()) return out.append("Undefined", false);
  append_scalar(out, value);
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value, int depth) {
    if (const Text* text = value.as_text()) return write_string(*text);
    if (const List* list = value.as_list()) return write_list(*list, depth);
    if (const Dict* dict = value.as_dict()) return write_dict(*dict, depth);
    if (value.is_none()) return out_.append("null", false);
    if (const auto* flag = value.get<bool>()) return out_.append(*flag ? "true" : "false", false);
    if (value.is_integer() || value.is_float()) return out_.append(number(value), false);
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a chat template writes a value of type {} as JSON, which JSON cannot hold",
                            value.type_name()));
  }

  Text take() { return std::move(out_); }

 private:
  static std::string number(const Value& value) {
    if (const auto* integer = value.get<int64_t>()) return fmt::format("{}", *integer);
    const double number = *value.get<double>();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return float_text(number);
  }

  void break_line(int depth) {
    if (style_.indent < 0) return;
    out_.append("\n" + std::string(static_cast<size_t>(style_.indent) * static_cast<size_t>(depth), ' '),
                false);
  }

  void separate(bool& first) {
    if (!std::exchange(first, false)) out_.append(style_.item_separator, false);
  }

  void write_list(const List& list, int depth) {
    if (list.items.empty()) return out_.append("[]", false);
    out_.append("[", false);
    bool first = true;
    for (const Value& item : list.items) {
      separate(first);
      break_line(depth + 1);
      write(item, depth + 1);
    }
    break_line(depth);
    out_.append("]", false);
  }

  void write_dict(const Dict& dict, int depth) {
    if (dict.items.empty()) return out_.append("{}", false);
    std::vector<const std::pair<Text, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys)
      std::sort(items.begin(), items.end(),
                [](const auto* a, const auto* b) { return a->first.bytes() < b->first.bytes(); });
    out_.append("{", false);
    bool first = true;
    for (const auto* item : items) {
      separate(first);
      break_line(depth + 1);
      write_string(item->first);
      out_.append(style_.key_separator, false);
      write(item->second, depth + 1);
    }
    break_line(depth);
    out_.append("}", false);
  }

  void write_string(const Text& text) {
    out_.append("\"", false);
    for (size_t at = 0; at < text.size();) write_character(text, at);
    out_.append("\"", false);
  }

  void write_character(const Text& text, size_t& at) {
    const size_t begin = at;
    const char32_t c = decode_utf8(text.bytes(), at);
    const std::string escaped = escape(c);
    if (escaped.empty())
      out_.append(text, begin, at - begin);
    else
      out_.append(escaped, text.from_input(begin));
  }

  std::string escape(char32_t c) const {
    constexpr std::pair<char32_t, std::string_view> kShort[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"},
                                                                {'\r', "\\r"}, {'\t', "\\t"},  {'\b', "\\b"},
                                                                {'\f', "\\f"}};
    for (const auto& [character, text] : kShort)
      if (c == character) return std::string(text);
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x20 || (style_.ensure_ascii && code > 0x7E && code < 0x10000))
      return fmt::format("\\u{:04x}", code);
    if (style_.ensure_ascii && code >= 0x10000)
      return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                         0xDC00 + ((code - 0x10000) & 0x3FF));
    return "";
  }

  const JsonStyle& style_;
  Text out_;
};

bool equal_lists(const List& a, const List& b) {
  return a.is_tuple == b.is_tuple &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), equal);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  return a.items.size() == b.items.size() &&
         std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
           const Value* other = b.find(item.first.bytes());
           return other != nullptr && equal(item.second, *other);
         });
}

Value from_json_at(const nlohmann::ordered_json& json, int depth) {
  using Kind = nlohmann::ordered_json::value_t;
  check_nesting(depth);
  switch (json.type()) {
    case Kind::boolean: return Value::boolean(json.get<bool>());
    case Kind::number_integer: return Value::integer(json.get<int64_t>());
    case Kind::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX)) return Value::number(static_cast<double>(number));
      return Value::integer(static_cast<int64_t>(number));
    }
    case Kind::number_float: return Value::number(json.get<double>());
    case Kind::string: return Value::text(Text(sanitize_utf8(json.get_ref<const std::string&>()), true));
    case Kind::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json_at(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Kind::object: {
      std::vector<std::pair<Text, Value>> items;
      for (const auto& [key, item] : json.items())
        items.emplace_back(Text(sanitize_utf8(key), true), from_json_at(item, depth + 1));
      return Value::dict(std::move(items));
    }
    default: return Value::none();
  }
}

}  // namespace

Value Value::list(std::vector<Value> items, bool is_tuple) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) measure(*list, item, 0);
  list->items = std::move(items);
  list->is_tuple = is_tuple;
  return Variant(std::shared_ptr<const List>(std::move(list)));
}

Value Value::dict(std::vector<std::pair<Text, Value>> items) {
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, item] : items) measure(*dict, item, key.size() + 1);
  dict->items = std::move(items);
  return Variant(std::shared_ptr<const Dict>(std::move(dict)));
}

std::optional<int64_t> Value::as_integer() const {
  if (const auto* flag = get<bool>()) return *flag ? 1 : 0;
  if (const auto* integer = get<int64_t>()) return *integer;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const auto* number = get<double>()) return *number;
  if (const auto integer = as_integer()) return static_cast<double>(*integer);
  return std::nullopt;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const auto number = as_number()) return *number != 0;
  if (const Text* text = as_text()) return !text->empty();
  if (const List* list = as_list()) return !list->items.empty();
  if (const Dict* dict = as_dict()) return !dict->items.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (const List* list = as_list()) return list->is_tuple ? "tuple" : "list";
  constexpr std::string_view kNames[] = {"undefined", "NoneType", "bool",      "int",  "float",   "str",
                                         "list",      "dict",     "namespace", "loop", "function"};
  static_assert(std::size(kNames) == std::variant_size_v<Variant>);
  return kNames[variant_.index()];
}

int Value::nesting() const {
  if (const List* list = as_list()) return list->nesting;
  if (const Dict* dict = as_dict()) return dict->nesting;
  return 0;
}

size_t Value::weight() const {
  if (const Text* text = as_text()) return text->size() + 1;
  if (const List* list = as_list()) return list->weight;
  if (const Dict* dict = as_dict()) return dict->weight;
  return 1;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& item : items)
    if (item.first.bytes() == key) return &item.second;
  return nullptr;
}

const Value* Namespace::find(std::string_view key) const {
  for (const auto& item : items)
    if (item.first == key) return &item.second;
  return nullptr;
}

void Namespace::set(std::string_view key, Value value) {
  for (auto& item : items)
    if (item.first == key) {
      item.second = std::move(value);
      return;
    }
  items.emplace_back(key, std::move(value));
}

bool equal(const Value& a, const Value& b) {
  const auto integer_a = a.as_integer(), integer_b = b.as_integer();
  if (integer_a && integer_b) return *integer_a == *integer_b;
  const auto number_a = a.as_number(), number_b = b.as_number();
  if (number_a && number_b) return *number_a == *number_b;
  if (a.as_text() != nullptr && b.as_text() != nullptr) return a.as_text()->bytes() == b.as_text()->bytes();
  if (a.as_list() != nullptr && b.as_list() != nullptr) return equal_lists(*a.as_list(), *b.as_list());
  if (a.as_dict() != nullptr && b.as_dict() != nullptr) return equal_dicts(*a.as_dict(), *b.as_dict());
  if (a.as_namespace() != nullptr) return a.as_namespace() == b.as_namespace();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Text to_text(const Value& value) {
  if (const Text* text = value.as_text()) return *text;
  Text out;
  if (!value.is_undefined()) append_repr(out, value, 0);
  return out;
}

Text to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return writer.take();
}

Value from_json(const nlohmann::ordered_json& json) { return from_json_at(json, 1); }

}  // namespace fathom::model::jinja
