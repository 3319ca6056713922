#include "model/jinja/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "model/jinja/lexer.h"

namespace fathom::model::jinja {
namespace {

constexpr size_t kStepCost = 16;

/// Python's rule for the bounds of a slice over `size` items.
struct SliceRange {
  int64_t begin, end, step;
};

SliceRange slice_range(int64_t size, std::optional<int64_t> begin, std::optional<int64_t> end, int64_t step) {
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto bound = [&](std::optional<int64_t> given, int64_t otherwise) {
    if (!given) return otherwise;
    const int64_t from_front = *given < 0 ? (*given < -size ? low : *given + size) : *given;
    return std::clamp(from_front, low, high);
  };
  return {bound(begin, step > 0 ? low : high), bound(end, step > 0 ? high : low), step};
}

std::vector<size_t> slice_indices(size_t size, std::optional<int64_t> begin, std::optional<int64_t> end,
                                  int64_t step) {
  const SliceRange range = slice_range(static_cast<int64_t>(size), begin, end, step);
  std::vector<size_t> indices;
  const auto goes_on = [&](int64_t i) { return step > 0 ? i < range.end : i > range.end; };
  for (int64_t i = range.begin; goes_on(i);) {
    indices.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return indices;
}

std::optional<int64_t> optional_index(Runtime& run, const Value* value) {
  if (value == nullptr || value->is_none()) return std::nullopt;
  return need_integer(run, *value, "a slice");
}

/// Where the item `index` stands, counted from the end when negative.
std::optional<size_t> position(int64_t index, size_t size) {
  const auto count = static_cast<int64_t>(size);
  if (index < -count || index >= count) return std::nullopt;
  return static_cast<size_t>(index < 0 ? index + count : index);
}

Value repeated(Runtime& run, const Text& text, int64_t count) {
  if (count <= 0 || text.empty()) return Value::text("");
  if (static_cast<uint64_t>(count) > kMaxWeight / text.size()) run.spend(SIZE_MAX);
  run.spend(text.size() * static_cast<size_t>(count));
  Text out;
  for (int64_t i = 0; i < count; ++i) out.append(text);
  return run.text(std::move(out));
}

Value loop_attribute(Runtime& run, const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == size);
  if (name == "length") return Value::integer(size);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "depth") return Value::integer(1);  // it counts recursive loops only
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem")
    return index == 0 ? Value::undefined("previtem") : loop.items->items[loop.index - 1];
  if (name == "nextitem")
    return index + 1 == size ? Value::undefined("nextitem") : loop.items->items[loop.index + 1];
  run.unsupported(fmt::format("'loop.{}'", name.substr(0, 40)));
}

}  // namespace

const Value* Args::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [given, value] : named)
    if (given == name) return &value;
  return nullptr;
}

Runtime::~Runtime() {
  for (const auto& held : namespaces_) held->items.clear();
}

void Runtime::spend(size_t cost) {
  if (cost > budget_)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("the chat template does more work in line {} than a conversation can call for", line_));
  budget_ -= cost;
}

void Runtime::fail(std::string_view what) const { fail_at(line_, what); }
void Runtime::unsupported(std::string_view what) const { unsupported_at(line_, what); }

Value Runtime::text(Text text) {
  spend(text.size() + kStepCost);
  return Value::text(std::move(text));
}

Value Runtime::list(std::vector<Value> items, bool is_tuple) {
  spend((items.size() + 1) * kStepCost);
  return Value::list(std::move(items), is_tuple);
}

Value Runtime::new_namespace() {
  spend(sizeof(Namespace) + kStepCost);
  namespaces_.push_back(std::make_shared<Namespace>());
  return Value::Variant(namespaces_.back());
}

const Text& need_text(const Runtime& run, const Value& value, std::string_view what) {
  if (const Text* text = value.as_text()) return *text;
  run.fail(fmt::format("{} needs a string, not {}", what, value.type_name()));
}

int64_t need_integer(const Runtime& run, const Value& value, std::string_view what) {
  if (const auto integer = value.as_integer()) return *integer;
  run.fail(fmt::format("{} needs an integer, not {}", what, value.type_name()));
}

Text printed(Runtime& run, const Value& value) {
  run.spend(value.weight() * 4);
  return to_text(value);
}

std::vector<Value> iterate(Runtime& run, const Value& value) {
  std::vector<Value> items;
  if (const List* list = value.as_list()) {
    run.spend(list->items.size() * kStepCost);
    return list->items;
  }
  if (const Dict* dict = value.as_dict()) {
    for (const auto& item : dict->items) items.push_back(run.text(item.first));
    return items;
  }
  if (const Text* text = value.as_text()) {
    for (Text& character : characters(run, *text)) items.push_back(run.text(std::move(character)));
    return items;
  }
  if (value.is_undefined()) return items;
  run.fail(fmt::format("a value of type {} cannot be gone over", value.type_name()));
}

size_t length(Runtime& run, const Value& value) {
  if (const Text* text = value.as_text()) {
    run.spend(text->size());
    return count_characters(*text);
  }
  if (const List* list = value.as_list()) return list->items.size();
  if (const Dict* dict = value.as_dict()) return dict->items.size();
  if (value.is_undefined()) return 0;
  run.fail(fmt::format("a value of type {} has no length", value.type_name()));
}

bool contains(Runtime& run, const Value& container, const Value& item) {
  if (const Text* text = container.as_text()) {
    const Text& part = need_text(run, item, "'in' a string");
    run.spend(search_cost(*text, part));
    return text->bytes().find(part.bytes()) != std::string::npos;
  }
  run.spend(container.weight() + item.weight());
  if (const Dict* dict = container.as_dict())
    return item.as_text() != nullptr && dict->find(item.as_text()->bytes()) != nullptr;
  if (const List* list = container.as_list())
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& held) { return equal(held, item); });
  if (container.is_undefined()) return false;
  run.fail(fmt::format("'in' needs a string, a list or a dict, not {}", container.type_name()));
}

int compare(Runtime& run, const Value& a, const Value& b) {
  const auto number_a = a.as_number(), number_b = b.as_number();
  if (number_a && number_b) return *number_a < *number_b ? -1 : *number_a > *number_b ? 1 : 0;
  if (a.as_text() != nullptr && b.as_text() != nullptr) {
    run.spend(std::min(a.weight(), b.weight()));
    return a.as_text()->bytes().compare(b.as_text()->bytes());  // UTF-8 keeps the order of code points
  }
  run.fail(fmt::format("values of the types {} and {} have no order", a.type_name(), b.type_name()));
}

Value subscript(Runtime& run, const Value& value, const Value& key) {
  if (const Dict* dict = value.as_dict()) {
    if (key.as_text() == nullptr) return Value::undefined(to_text(key).bytes());
    run.spend(dict->items.size());
    const Value* found = dict->find(key.as_text()->bytes());
    return found != nullptr ? *found : Value::undefined(key.as_text()->bytes());
  }
  if (key.as_text() != nullptr) return attribute(run, value, key.as_text()->bytes());
  if (value.is_undefined()) return attribute(run, value, to_text(key).bytes());
  const auto index = key.as_integer();
  if (const List* list = value.as_list(); list != nullptr && index) {
    const auto at = position(*index, list->items.size());
    return at ? list->items[*at] : Value::undefined(fmt::format("[{}]", *index));
  }
  if (const Text* text = value.as_text(); text != nullptr && index) {
    const auto at = position(*index, count_characters(*text));
    return at ? run.text(pick_characters(run, *text, {*at})) : Value::undefined(fmt::format("[{}]", *index));
  }
  return Value::undefined(fmt::format("[{}]", to_text(key).bytes()));
}

Value slice(Runtime& run, const Value& value, const Value* begin, const Value* end, const Value* step) {
  const int64_t stride = optional_index(run, step).value_or(1);
  if (stride == 0) run.fail("the step of a slice is 0");
  const auto first = optional_index(run, begin), last = optional_index(run, end);
  if (const List* list = value.as_list()) {
    std::vector<Value> items;
    for (const size_t i : slice_indices(list->items.size(), first, last, stride))
      items.push_back(list->items[i]);
    return run.list(std::move(items), list->is_tuple);
  }
  const Text& text = need_text(run, value, "a slice");
  return run.text(pick_characters(run, text, slice_indices(count_characters(text), first, last, stride)));
}

Value attribute(Runtime& run, const Value& value, std::string_view name) {
  if (const auto* undefined = value.get<Undefined>())
    run.fail(fmt::format("'{}' is undefined, so it has no '{}'", undefined->name ? *undefined->name : "value",
                         name.substr(0, 80)));
  if (const Dict* dict = value.as_dict()) {
    run.spend(dict->items.size());
    if (const Value* found = dict->find(name)) return *found;
  }
  if (const Namespace* held = value.as_namespace()) {
    run.spend(held->items.size());
    if (const Value* found = held->find(name)) return *found;
  }
  if (const Loop* loop = value.as_loop()) return loop_attribute(run, *loop, name);
  return Value::undefined(name);
}

Value add(Runtime& run, const Value& a, const Value& b) {
  if (a.as_text() != nullptr && b.as_text() != nullptr) {
    Text sum = *a.as_text();
    sum.append(*b.as_text());
    return run.text(std::move(sum));
  }
  if (a.as_list() != nullptr && b.as_list() != nullptr) {
    std::vector<Value> items = a.as_list()->items;
    items.insert(items.end(), b.as_list()->items.begin(), b.as_list()->items.end());
    return run.list(std::move(items), a.as_list()->is_tuple);
  }
  const auto integer_a = a.as_integer(), integer_b = b.as_integer();
  if (integer_a && integer_b) {
    int64_t sum = 0;
    if (__builtin_add_overflow(*integer_a, *integer_b, &sum)) run.fail("a sum is too large");
    return Value::integer(sum);
  }
  const auto number_a = a.as_number(), number_b = b.as_number();
  if (number_a && number_b) return Value::number(*number_a + *number_b);
  if (const auto* undefined = a.is_undefined() ? a.get<Undefined>() : b.get<Undefined>())
    run.fail(
        fmt::format("'{}' is undefined and cannot be added", undefined->name ? *undefined->name : "value"));
  run.fail(fmt::format("values of the types {} and {} cannot be added", a.type_name(), b.type_name()));
}

Value multiply(Runtime& run, const Value& a, const Value& b) {
  const auto integer_a = a.as_integer(), integer_b = b.as_integer();
  if (a.as_text() != nullptr && integer_b) return repeated(run, *a.as_text(), *integer_b);
  if (b.as_text() != nullptr && integer_a) return repeated(run, *b.as_text(), *integer_a);
  if (integer_a && integer_b) {
    int64_t product = 0;
    if (__builtin_mul_overflow(*integer_a, *integer_b, &product)) run.fail("a product is too large");
    return Value::integer(product);
  }
  const auto number_a = a.as_number(), number_b = b.as_number();
  if (number_a && number_b) return Value::number(*number_a * *number_b);
  run.fail(fmt::format("values of the types {} and {} cannot be multiplied", a.type_name(), b.type_name()));
}

}  // namespace fathom::model::jinja
