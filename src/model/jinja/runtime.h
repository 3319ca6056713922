// What a running template may do to values: Python's operations, Jinja's filters, tests, methods and functions, each
// paid for from a budget, so that a hostile template ends with an Error and not with the memory.
//
// One Runtime per rendering, for one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "model/jinja/value.h"

namespace fathom::model::jinja {

/// The arguments of a call, evaluated.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;

  /// The argument at `index` or of that name; null when neither is given.
  const Value* find(size_t index, std::string_view name) const;
};

class Runtime {
 public:
  /// `clock` may be null: then strftime_now is not defined.
  explicit Runtime(const Clock* clock) : clock_(clock) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Clock* clock() const { return clock_; }
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  /// A byte made or looked at costs about one, a step 64. Error kResourceExhausted once the budget is used up.
  void spend(size_t cost);
  [[noreturn]] void fail(std::string_view what) const;
  [[noreturn]] void unsupported(std::string_view what) const;

  Value text(Text text);
  Value list(std::vector<Value> items, bool is_tuple = false);
  Value new_namespace();

 private:
  const Clock* clock_;
  int line_ = 0;
  size_t budget_ = size_t{1} << 27;
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // emptied at the end: they may hold each other
};

// Python's operations (runtime.cc).

/// What a for loop goes over: items, keys, characters; nothing for undefined.
std::vector<Value> iterate(Runtime& run, const Value& value);
size_t length(Runtime& run, const Value& value);
bool contains(Runtime& run, const Value& container, const Value& item);
/// Negative, zero or positive.
int compare(Runtime& run, const Value& a, const Value& b);
Value subscript(Runtime& run, const Value& value, const Value& key);
Value slice(Runtime& run, const Value& value, const Value* begin, const Value* end, const Value* step);
Value attribute(Runtime& run, const Value& value, std::string_view name);
Value add(Runtime& run, const Value& a, const Value& b);
Value multiply(Runtime& run, const Value& a, const Value& b);
/// The string that `value` is, or an Error that says `what` needs one.
const Text& need_text(const Runtime& run, const Value& value, std::string_view what);
int64_t need_integer(const Runtime& run, const Value& value, std::string_view what);
Text printed(Runtime& run, const Value& value);

// Operations on text (text_functions.cc); indices are in characters.

std::vector<Text> characters(Runtime& run, const Text& text);
size_t count_characters(const Text& text);
/// The characters at `indices`, in that order. REQUIRES: each below count_characters(text).
Text pick_characters(Runtime& run, const Text& text, const std::vector<size_t>& indices);
/// What looking for `part` in `text` may cost at worst, for Runtime::spend.
size_t search_cost(const Text& text, const Text& part);
/// `chars` null: white space.
Text strip(Runtime& run, const Text& text, const Text* chars, bool left, bool right);
/// `separator` null: runs of white space. `limit` below 0: no limit.
std::vector<Value> split(Runtime& run, const Text& text, const Text* separator, int64_t limit,
                         bool from_right);
std::vector<Value> split_lines(Runtime& run, const Text& text, bool keep_ends);
Text replace(Runtime& run, const Text& text, const Text& from, const Text& to, int64_t limit);
Text upper(Runtime& run, const Text& text);
Text lower(Runtime& run, const Text& text);
Text capitalize(Runtime& run, const Text& text);
Text title(Runtime& run, const Text& text);
Text indent(Runtime& run, const Text& text, const Text& indentation, bool first, bool blank);
Text join(Runtime& run, const std::vector<Value>& items, const Text& separator);
bool has_method(const Value& self, std::string_view name);
/// A method of str, dict or list. REQUIRES: has_method.
Value call_method(Runtime& run, const Value& self, std::string_view name, const Args& args);

// Filters, tests and functions (filters.cc, tests.cc, functions.cc).

Value apply_filter(Runtime& run, std::string_view name, const Value& input, const Args& args);
bool apply_test(Runtime& run, std::string_view name, const Value& input, const Args& args);
bool is_function(const Runtime& run, std::string_view name);
Value call_function(Runtime& run, std::string_view name, const Args& args);

}  // namespace fathom::model::jinja
