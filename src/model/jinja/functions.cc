// Jinja's tests and the functions of Hugging Face's environment.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "model/jinja/runtime.h"

namespace fathom::model::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

const Value& operand(Runtime& run, const Args& args) {
  if (args.positional.empty()) run.fail("a test needs something to compare with");
  return args.positional[0];
}

bool equals(Runtime& run, const Value& a, const Value& b) {
  run.spend(std::min(a.weight(), b.weight()));
  return equal(a, b);
}

int64_t remainder_of(Runtime& run, const Value& value, int64_t divisor) {
  const int64_t number = need_integer(run, value, "a test of divisibility");
  if (divisor == 0) run.fail("a division by zero");
  return divisor == -1 ? 0 : number % divisor;
}

bool is_iterable(const Value& v) {
  return v.as_text() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr || v.is_undefined();
}

bool is_sequence(const Value& v) { return is_iterable(v); }

bool is_case(Runtime& run, const Value& v, bool upper_case) {
  const Text text = printed(run, v);
  const Text changed = upper_case ? upper(run, text) : lower(run, text);
  const Text other = upper_case ? lower(run, text) : upper(run, text);
  return changed.bytes() == text.bytes() && other.bytes() != text.bytes();
}

/// Python's `is`: the same object; for what is small and immutable, the same value of the same type.
bool is_same(const Value& a, const Value& b) {
  if (a.type_name() != b.type_name()) return false;
  if (a.as_list() != nullptr || a.as_dict() != nullptr || a.as_namespace() != nullptr)
    return a.as_list() == b.as_list() && a.as_dict() == b.as_dict() && a.as_namespace() == b.as_namespace();
  return equal(a, b);
}

using Test = bool (*)(Runtime&, const Value&, const Args&);

struct NamedTest {
  std::string_view name;
  Test holds;
};

constexpr Test kEquals = [](Runtime& r, const Value& v, const Args& a) {
  return equals(r, v, operand(r, a));
};
constexpr Test kNotEquals = [](Runtime& r, const Value& v, const Args& a) {
  return !equals(r, v, operand(r, a));
};
constexpr Test kLess = [](Runtime& r, const Value& v, const Args& a) {
  return compare(r, v, operand(r, a)) < 0;
};
constexpr Test kLessEqual = [](Runtime& r, const Value& v, const Args& a) {
  return compare(r, v, operand(r, a)) <= 0;
};
constexpr Test kGreater = [](Runtime& r, const Value& v, const Args& a) {
  return compare(r, v, operand(r, a)) > 0;
};
constexpr Test kGreaterEqual = [](Runtime& r, const Value& v, const Args& a) {
  return compare(r, v, operand(r, a)) >= 0;
};

// clang-format off
constexpr NamedTest kTests[] = {
    {"boolean", [](Runtime&, const Value& v, const Args&) { return v.is_bool(); }},
    {"callable", [](Runtime&, const Value& v, const Args&) { return v.as_callable() != nullptr; }},
    {"defined", [](Runtime&, const Value& v, const Args&) { return !v.is_undefined(); }},
    {"divisibleby", [](Runtime& r, const Value& v, const Args& a) {
       return remainder_of(r, v, need_integer(r, operand(r, a), "divisibleby")) == 0; }},
    {"eq", kEquals}, {"equalto", kEquals},
    {"even", [](Runtime& r, const Value& v, const Args&) { return remainder_of(r, v, 2) == 0; }},
    {"false", [](Runtime&, const Value& v, const Args&) { return v.is_bool() && !v.truthy(); }},
    {"float", [](Runtime&, const Value& v, const Args&) { return v.is_float(); }},
    {"ge", kGreaterEqual}, {"greaterthan", kGreater}, {"gt", kGreater},
    {"in", [](Runtime& r, const Value& v, const Args& a) { return contains(r, operand(r, a), v); }},
    {"integer", [](Runtime&, const Value& v, const Args&) { return v.is_integer(); }},
    {"iterable", [](Runtime&, const Value& v, const Args&) { return is_iterable(v); }},
    {"le", kLessEqual}, {"lessthan", kLess},
    {"lower", [](Runtime& r, const Value& v, const Args&) { return is_case(r, v, false); }},
    {"lt", kLess},
    {"mapping", [](Runtime&, const Value& v, const Args&) { return v.as_dict() != nullptr; }},
    {"ne", kNotEquals},
    {"none", [](Runtime&, const Value& v, const Args&) { return v.is_none(); }},
    {"number", [](Runtime&, const Value& v, const Args&) { return v.as_number().has_value(); }},
    {"odd", [](Runtime& r, const Value& v, const Args&) { return remainder_of(r, v, 2) != 0; }},
    {"sameas", [](Runtime& r, const Value& v, const Args& a) { return is_same(v, operand(r, a)); }},
    {"sequence", [](Runtime&, const Value& v, const Args&) { return is_sequence(v); }},
    {"string", [](Runtime&, const Value& v, const Args&) { return v.as_text() != nullptr; }},
    {"true", [](Runtime&, const Value& v, const Args&) { return v.is_bool() && v.truthy(); }},
    {"undefined", [](Runtime&, const Value& v, const Args&) { return v.is_undefined(); }},
    {"upper", [](Runtime& r, const Value& v, const Args&) { return is_case(r, v, true); }},
};
// clang-format on

Value make_range(Runtime& run, const Args& args) {
  if (args.positional.empty() || args.positional.size() > 3) run.fail("range takes one to three integers");
  int64_t bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < args.positional.size(); ++i)
    bounds[i] = need_integer(run, args.positional[i], "range");
  if (args.positional.size() == 1) std::swap(bounds[0], bounds[1]);
  const auto [begin, end, step] = std::tie(bounds[0], bounds[1], bounds[2]);
  if (step == 0) run.fail("the step of a range is 0");
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) run.spend(SIZE_MAX);
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run.list(std::move(items));
}

Value make_namespace(Runtime& run, const Args& args) {
  Value made = run.new_namespace();
  for (const Value& given : args.positional) {
    const Dict* dict = given.as_dict();
    if (dict == nullptr) run.fail("namespace takes dicts and named values");
    for (const auto& [key, value] : dict->items) {
      run.spend(made.as_namespace()->items.size() + key.size());
      made.as_namespace()->set(key.bytes(), value);
    }
  }
  for (const auto& [name, value] : args.named) {
    run.spend(made.as_namespace()->items.size() + name.size());
    made.as_namespace()->set(name, value);
  }
  return made;
}

Value make_dict(Runtime& run, const Args& args) {
  std::vector<std::pair<Text, Value>> items;
  if (!args.positional.empty()) {
    const Dict* dict = args.positional[0].as_dict();
    if (dict == nullptr) run.fail("dict takes a dict and named values");
    run.spend(dict->items.size() * 16);
    items = dict->items;
  }
  for (const auto& [name, value] : args.named) {
    run.spend(items.size() + name.size());
    const auto found = std::find_if(items.begin(), items.end(),
                                    [&, key = name](const auto& item) { return item.first.bytes() == key; });
    if (found != items.end())
      found->second = value;
    else
      items.emplace_back(Text(std::string(name)), value);
  }
  return Value::dict(std::move(items));
}

Value raise_exception(Runtime& run, const Args& args) {
  const std::string message =
      args.positional.empty() ? "" : printed(run, args.positional[0]).bytes().substr(0, 500);
  run.fail(fmt::format("the template refuses the conversation: {}", message));
}

/// UTC; the format as C's strftime has it.
Value strftime_now(Runtime& run, const Args& args) {
  if (args.positional.size() != 1) run.fail("strftime_now takes a format");
  const Text& format = need_text(run, args.positional[0], "strftime_now");
  if (format.size() > 200) run.fail("the format of strftime_now is too long");
  const auto seconds = std::chrono::floor<std::chrono::seconds>(run.clock()->now());
  const std::time_t time = std::chrono::system_clock::to_time_t(seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char buffer[4096];
  const size_t size = std::strftime(buffer, sizeof buffer, format.bytes().c_str(), &parts);
  return run.text(Text(std::string(buffer, size)));
}

constexpr std::string_view kFunctions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};

}  // namespace

bool apply_test(Runtime& run, std::string_view name, const Value& input, const Args& args) {
  run.spend(16);
  for (const NamedTest& test : kTests)
    if (test.name == name) return test.holds(run, input, args);
  run.unsupported(fmt::format("the test '{}'", name.substr(0, 40)));
}

bool is_function(const Runtime& run, std::string_view name) {
  if (name == "strftime_now" && run.clock() == nullptr) return false;
  return std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions);
}

Value call_function(Runtime& run, std::string_view name, const Args& args) {
  if (name == "range") return make_range(run, args);
  if (name == "namespace") return make_namespace(run, args);
  if (name == "dict") return make_dict(run, args);
  if (name == "raise_exception") return raise_exception(run, args);
  return strftime_now(run, args);
}

}  // namespace fathom::model::jinja
