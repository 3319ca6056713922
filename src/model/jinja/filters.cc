#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "model/jinja/runtime.h"

namespace fathom::model::jinja {
namespace {

constexpr int64_t kMaxIndent = 64;

Value argument_or(const Args& args, size_t index, std::string_view name, Value otherwise) {
  const Value* given = args.find(index, name);
  return given != nullptr ? *given : std::move(otherwise);
}

/// `a.b.0` of an item, as map, selectattr and sort take it.
Value path_of(Runtime& run, Value value, std::string_view path) {
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    const bool is_index =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    value = is_index ? subscript(run, value, Value::integer(std::atoll(std::string(part).c_str())))
                     : attribute(run, value, part);
    begin = end + 1;
  }
  return value;
}

/// The arguments from `first` on, as those of another filter or test.
Args rest_of(const Args& args, size_t first) {
  Args rest;
  for (size_t i = first; i < args.positional.size(); ++i) rest.positional.push_back(args.positional[i]);
  rest.named = args.named;
  return rest;
}

Value filter_map(Runtime& run, const Value& input, const Args& args) {
  std::vector<Value> out;
  const Value* path = args.find(SIZE_MAX, "attribute");
  const Value* otherwise = args.find(SIZE_MAX, "default");
  if (path == nullptr && args.positional.empty()) run.fail("map needs a filter or an attribute");
  const Args rest = path == nullptr ? rest_of(args, 1) : Args();
  for (const Value& item : iterate(run, input)) {
    if (path == nullptr) {
      out.push_back(apply_filter(run, need_text(run, args.positional[0], "map").bytes(), item, rest));
      continue;
    }
    Value found = path_of(run, item, need_text(run, *path, "map").bytes());
    out.push_back(found.is_undefined() && otherwise != nullptr ? *otherwise : std::move(found));
  }
  return run.list(std::move(out));
}

/// select, reject, selectattr, rejectattr.
Value filter_select(Runtime& run, const Value& input, const Args& args, bool wanted, bool by_attribute) {
  if (by_attribute && args.positional.empty()) run.fail("selectattr and rejectattr need an attribute");
  const size_t test_at = by_attribute ? 1 : 0;
  const Args rest = rest_of(args, test_at + 1);
  std::vector<Value> out;
  for (const Value& item : iterate(run, input)) {
    const Value subject =
        by_attribute ? path_of(run, item, need_text(run, args.positional[0], "selectattr").bytes()) : item;
    const bool holds =
        args.positional.size() > test_at
            ? apply_test(run, need_text(run, args.positional[test_at], "a test's name").bytes(), subject,
                         rest)
            : subject.truthy();
    if (holds == wanted) out.push_back(item);
  }
  return run.list(std::move(out));
}

JsonStyle json_style(Runtime& run, const Args& args) {
  JsonStyle style;
  const Value indent = argument_or(args, 1, "indent", Value::none());
  if (!indent.is_none()) {
    style.indent =
        static_cast<int>(std::clamp<int64_t>(need_integer(run, indent, "tojson's indent"), 0, kMaxIndent));
    style.item_separator = ",";
  }
  style.ensure_ascii = argument_or(args, 0, "ensure_ascii", Value::boolean(false)).truthy();
  style.sort_keys = argument_or(args, 3, "sort_keys", Value::boolean(false)).truthy();
  const Value separators = argument_or(args, 2, "separators", Value::none());
  if (separators.is_none()) return style;
  const List* pair = separators.as_list();
  if (pair == nullptr || pair->items.size() != 2) run.fail("tojson's separators are two strings");
  style.item_separator = need_text(run, pair->items[0], "tojson's separators").bytes().substr(0, 16);
  style.key_separator = need_text(run, pair->items[1], "tojson's separators").bytes().substr(0, 16);
  return style;
}

Value filter_tojson(Runtime& run, const Value& input, const Args& args) {
  // Hugging Face's tojson takes indent by name; templates for others write tojson(4), which is its ensure_ascii.
  const JsonStyle style = json_style(run, args);
  const size_t per_item = 64 + static_cast<size_t>(std::max(style.indent, 0)) * kMaxNesting;
  run.spend(input.weight() * (style.indent < 0 ? 4 : per_item / 8));
  return run.text(to_json(input, style));
}

Value filter_join(Runtime& run, const Value& input, const Args& args) {
  const Text separator = printed(run, argument_or(args, 0, "d", Value::text("")));
  const Value* path = args.find(1, "attribute");
  std::vector<Value> items = iterate(run, input);
  if (path != nullptr)
    for (Value& item : items) item = path_of(run, item, need_text(run, *path, "join").bytes());
  return run.text(join(run, items, separator));
}

Value filter_default(const Value& input, const Args& args) {
  const bool by_truth = argument_or(args, 1, "boolean", Value::boolean(false)).truthy();
  const bool stands = by_truth ? input.truthy() : !input.is_undefined();
  return stands ? input : argument_or(args, 0, "default_value", Value::text(""));
}

Value filter_first_or_last(Runtime& run, const Value& input, bool first) {
  if (const Text* text = input.as_text()) {
    const size_t size = count_characters(*text);
    return size == 0 ? Value::undefined("item")
                     : run.text(pick_characters(run, *text, {first ? 0 : size - 1}));
  }
  std::vector<Value> items = iterate(run, input);
  if (items.empty()) return Value::undefined("item");
  return first ? items.front() : items.back();
}

Value filter_number(Runtime& run, const Value& input, const Args& args, bool as_integer) {
  Value otherwise = argument_or(args, 0, "default", as_integer ? Value::integer(0) : Value::number(0));
  if (const auto integer = input.as_integer(); integer && as_integer) return Value::integer(*integer);
  std::optional<double> number = input.as_number();
  if (const Text* text = input.as_text()) {
    const std::string bytes = strip(run, *text, nullptr, true, true).bytes();
    char* end = nullptr;
    const double parsed = std::strtod(bytes.c_str(), &end);
    if (!bytes.empty() && end == bytes.c_str() + bytes.size()) number = parsed;
  }
  if (!number || (as_integer && !(std::fabs(*number) < 0x1p62))) return otherwise;
  return as_integer ? Value::integer(static_cast<int64_t>(*number)) : Value::number(*number);
}

Value filter_abs(Runtime& run, const Value& input) {
  if (const auto integer = input.as_integer()) {
    if (*integer == INT64_MIN) run.fail("a number is too large");
    return Value::integer(std::abs(*integer));
  }
  const auto number = input.as_number();
  if (!number) run.fail("abs needs a number");
  return Value::number(std::fabs(*number));
}

Value filter_round(Runtime& run, const Value& input, const Args& args) {
  const auto number = input.as_number();
  if (!number) run.fail("round needs a number");
  const int64_t digits = need_integer(run, argument_or(args, 0, "precision", Value::integer(0)), "round");
  const Value method = argument_or(args, 1, "method", Value::text("common"));
  const double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(digits, -300, 300)));
  const std::string& how = need_text(run, method, "round").bytes();
  if (how == "floor") return Value::number(std::floor(*number * scale) / scale);
  if (how == "ceil") return Value::number(std::ceil(*number * scale) / scale);
  return Value::number(std::nearbyint(*number * scale) / scale);
}

/// Sorting key: by attribute when one is named, and without regard to case unless asked for.
Value sort_key(Runtime& run, const Value& item, const Value* path, bool case_sensitive) {
  Value key = path == nullptr ? item : path_of(run, item, need_text(run, *path, "sort").bytes());
  if (!case_sensitive && key.as_text() != nullptr) return run.text(lower(run, *key.as_text()));
  return key;
}

std::vector<Value> sorted(Runtime& run, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  run.spend(items.size() * 64);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? compare(run, keys[b], keys[a]) < 0 : compare(run, keys[a], keys[b]) < 0;
  });
  std::vector<Value> out;
  for (const size_t i : order) out.push_back(items[i]);
  return out;
}

Value filter_sort(Runtime& run, const Value& input, const Args& args) {
  const bool reverse = argument_or(args, 0, "reverse", Value::boolean(false)).truthy();
  const bool case_sensitive = argument_or(args, 1, "case_sensitive", Value::boolean(false)).truthy();
  const std::vector<Value> items = iterate(run, input);
  std::vector<Value> keys;
  for (const Value& item : items)
    keys.push_back(sort_key(run, item, args.find(2, "attribute"), case_sensitive));
  return run.list(sorted(run, items, keys, reverse));
}

Value filter_items(Runtime& run, const Value& input) {
  if (input.is_undefined()) return run.list({});
  if (input.as_dict() == nullptr) run.fail("items needs a dict");
  return call_method(run, input, "items", {});
}

Value filter_dictsort(Runtime& run, const Value& input, const Args& args) {
  const bool case_sensitive = argument_or(args, 0, "case_sensitive", Value::boolean(false)).truthy();
  const bool by_value = printed(run, argument_or(args, 1, "by", Value::text("key"))).bytes() == "value";
  const bool reverse = argument_or(args, 2, "reverse", Value::boolean(false)).truthy();
  const Value pairs = filter_items(run, input);
  const std::vector<Value>& items = pairs.as_list()->items;
  std::vector<Value> keys;
  for (const Value& item : items)
    keys.push_back(sort_key(run, item.as_list()->items[by_value ? 1 : 0], nullptr, case_sensitive));
  return run.list(sorted(run, items, keys, reverse));
}

Value filter_unique(Runtime& run, const Value& input, const Args& args) {
  const bool case_sensitive = argument_or(args, 0, "case_sensitive", Value::boolean(false)).truthy();
  std::vector<Value> keys, out;
  for (const Value& item : iterate(run, input)) {
    Value key = sort_key(run, item, args.find(1, "attribute"), case_sensitive);
    run.spend((keys.size() + 1) * 4 + key.weight());
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& seen) { return equal(seen, key); })) continue;
    keys.push_back(std::move(key));
    out.push_back(item);
  }
  return run.list(std::move(out));
}

Value filter_reverse(Runtime& run, const Value& input) {
  const Value backwards = Value::integer(-1);
  if (input.as_text() != nullptr) return slice(run, input, nullptr, nullptr, &backwards);
  std::vector<Value> items = iterate(run, input);
  std::reverse(items.begin(), items.end());
  return run.list(std::move(items));
}

Value filter_extreme(Runtime& run, const Value& input, const Args& args, bool least) {
  const Value* path = args.find(1, "attribute");
  const bool case_sensitive = argument_or(args, 0, "case_sensitive", Value::boolean(false)).truthy();
  Value best = Value::undefined("item"), best_key;
  for (const Value& item : iterate(run, input)) {
    Value key = sort_key(run, item, path, case_sensitive);
    const int order = best.is_undefined() ? 1
                      : least             ? compare(run, best_key, key)
                                          : compare(run, key, best_key);
    if (order <= 0) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Value filter_sum(Runtime& run, const Value& input, const Args& args) {
  const Value* path = args.find(0, "attribute");
  Value total = argument_or(args, 1, "start", Value::integer(0));
  for (const Value& item : iterate(run, input))
    total =
        add(run, total, path == nullptr ? item : path_of(run, item, need_text(run, *path, "sum").bytes()));
  return total;
}

Value filter_indent(Runtime& run, const Value& input, const Args& args) {
  const Value width = argument_or(args, 0, "width", Value::integer(4));
  Text indentation;
  if (const Text* text = width.as_text())
    indentation = *text;
  else
    indentation = Text(std::string(
        static_cast<size_t>(std::clamp<int64_t>(need_integer(run, width, "indent"), 0, kMaxIndent)), ' '));
  return run.text(indent(run, printed(run, input), indentation,
                         argument_or(args, 1, "first", Value::boolean(false)).truthy(),
                         argument_or(args, 2, "blank", Value::boolean(false)).truthy()));
}

/// HTML's five characters, as MarkupSafe writes them.
Value filter_escape(Runtime& run, const Value& input) {
  constexpr std::pair<char, std::string_view> kEscapes[] = {
      {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
  const Text text = printed(run, input);
  run.spend(text.size() * 5);
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const auto* found = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                     [c](const auto& escape) { return escape.first == c; });
    if (found == std::end(kEscapes))
      out.append(text, i, 1);
    else
      out.append(found->second, text.from_input(i));
  }
  return run.text(std::move(out));
}

Value filter_trim(Runtime& run, const Value& input, const Args& args) {
  const Text text = printed(run, input);
  const Value* chars = args.find(0, "chars");
  const bool given = chars != nullptr && !chars->is_none();
  return run.text(strip(run, text, given ? &need_text(run, *chars, "trim") : nullptr, true, true));
}

Value filter_replace(Runtime& run, const Value& input, const Args& args) {
  const Value* from = args.find(0, "old");
  const Value* to = args.find(1, "new");
  if (from == nullptr || to == nullptr) run.fail("replace needs what to replace and by what");
  const Value limit = argument_or(args, 2, "count", Value::none());
  return run.text(replace(run, printed(run, input), printed(run, *from), printed(run, *to),
                          limit.is_none() ? -1 : need_integer(run, limit, "replace")));
}

Value filter_wordcount(Runtime& run, const Value& input) {
  return Value::integer(static_cast<int64_t>(split(run, printed(run, input), nullptr, -1, false).size()));
}

using Filter = Value (*)(Runtime&, const Value&, const Args&);

struct NamedFilter {
  std::string_view name;
  Filter apply;
};

// clang-format off
constexpr NamedFilter kFilters[] = {
    {"abs", [](Runtime& r, const Value& v, const Args&) { return filter_abs(r, v); }},
    {"capitalize", [](Runtime& r, const Value& v, const Args&) { return r.text(capitalize(r, printed(r, v))); }},
    {"count", [](Runtime& r, const Value& v, const Args&) { return Value::integer(static_cast<int64_t>(length(r, v))); }},
    {"d", [](Runtime&, const Value& v, const Args& a) { return filter_default(v, a); }},
    {"default", [](Runtime&, const Value& v, const Args& a) { return filter_default(v, a); }},
    {"dictsort", filter_dictsort},
    {"e", [](Runtime& r, const Value& v, const Args&) { return filter_escape(r, v); }},
    {"escape", [](Runtime& r, const Value& v, const Args&) { return filter_escape(r, v); }},
    {"first", [](Runtime& r, const Value& v, const Args&) { return filter_first_or_last(r, v, true); }},
    {"float", [](Runtime& r, const Value& v, const Args& a) { return filter_number(r, v, a, false); }},
    {"indent", filter_indent},
    {"int", [](Runtime& r, const Value& v, const Args& a) { return filter_number(r, v, a, true); }},
    {"items", [](Runtime& r, const Value& v, const Args&) { return filter_items(r, v); }},
    {"join", filter_join},
    {"last", [](Runtime& r, const Value& v, const Args&) { return filter_first_or_last(r, v, false); }},
    {"length", [](Runtime& r, const Value& v, const Args&) { return Value::integer(static_cast<int64_t>(length(r, v))); }},
    {"list", [](Runtime& r, const Value& v, const Args&) { return r.list(iterate(r, v)); }},
    {"lower", [](Runtime& r, const Value& v, const Args&) { return r.text(lower(r, printed(r, v))); }},
    {"map", filter_map},
    {"max", [](Runtime& r, const Value& v, const Args& a) { return filter_extreme(r, v, a, false); }},
    {"min", [](Runtime& r, const Value& v, const Args& a) { return filter_extreme(r, v, a, true); }},
    {"reject", [](Runtime& r, const Value& v, const Args& a) { return filter_select(r, v, a, false, false); }},
    {"rejectattr", [](Runtime& r, const Value& v, const Args& a) { return filter_select(r, v, a, false, true); }},
    {"replace", filter_replace},
    {"reverse", [](Runtime& r, const Value& v, const Args&) { return filter_reverse(r, v); }},
    {"round", filter_round},
    {"safe", [](Runtime& r, const Value& v, const Args&) { return r.text(printed(r, v)); }},
    {"select", [](Runtime& r, const Value& v, const Args& a) { return filter_select(r, v, a, true, false); }},
    {"selectattr", [](Runtime& r, const Value& v, const Args& a) { return filter_select(r, v, a, true, true); }},
    {"sort", filter_sort},
    {"string", [](Runtime& r, const Value& v, const Args&) { return r.text(printed(r, v)); }},
    {"sum", filter_sum},
    {"title", [](Runtime& r, const Value& v, const Args&) { return r.text(title(r, printed(r, v))); }},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"unique", filter_unique},
    {"upper", [](Runtime& r, const Value& v, const Args&) { return r.text(upper(r, printed(r, v))); }},
    {"wordcount", [](Runtime& r, const Value& v, const Args&) { return filter_wordcount(r, v); }},
};
// clang-format on

}  // namespace

Value apply_filter(Runtime& run, std::string_view name, const Value& input, const Args& args) {
  run.spend(16);
  for (const NamedFilter& filter : kFilters)
    if (filter.name == name) return filter.apply(run, input, args);
  run.unsupported(fmt::format("the filter '{}'", name.substr(0, 40)));
}

}  // namespace fathom::model::jinja
