// What a chat template computes with: immutable values, and text whose every byte knows where it came from.
//
// Copies share. Not for use by two threads at once, as a Namespace may change. Nesting is bounded (kMaxNesting), so
// that nothing here recurses without end.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace fathom::model::jinja {

/// Bytes of UTF-8 and, beside each, whether it came from the input (a message) or is the template's own.
class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, bool from_input = false)
      : bytes_(std::move(bytes)), marks_(bytes_.size(), from_input ? '\1' : '\0') {}

  const std::string& bytes() const { return bytes_; }
  bool from_input(size_t at) const { return marks_[at] != '\0'; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  void append(const Text& other) {
    bytes_ += other.bytes_;
    marks_ += other.marks_;
  }
  /// `other`'s bytes [begin, begin + size).
  void append(const Text& other, size_t begin, size_t size) {
    bytes_.append(other.bytes_, begin, size);
    marks_.append(other.marks_, begin, size);
  }
  void append(std::string_view bytes, bool from_input) {
    bytes_ += bytes;
    marks_.append(bytes.size(), from_input ? '\1' : '\0');
  }
  Text substr(size_t begin, size_t size = std::string::npos) const {
    Text out;
    out.append(*this, begin, size);
    return out;
  }

 private:
  std::string bytes_;
  std::string marks_;  // as long as bytes_; 1: from the input
};

class Value;
struct MacroStatement;

struct Undefined {
  std::shared_ptr<const std::string> name;  // what was looked up
};
struct None {};
struct List;
struct Dict;
struct Namespace;
struct Loop;

/// A macro of the template or a function of the environment.
struct Callable {
  const MacroStatement* macro = nullptr;
  std::string_view function;  // static
};

inline constexpr int kMaxNesting = 100;
/// Bounds what printing or comparing a list or dict costs: its items and bytes, counted once for each way to them.
inline constexpr size_t kMaxWeight = size_t{1} << 25;

class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                               std::shared_ptr<Namespace>, std::shared_ptr<const Loop>, Callable>;

  Value() = default;                                        // undefined
  Value(Variant variant) : variant_(std::move(variant)) {}  // NOLINT: each alternative is a value
  static Value undefined(std::string_view name) {
    return Variant(Undefined{std::make_shared<std::string>(name)});
  }
  static Value none() { return Variant(None{}); }
  static Value boolean(bool value) { return Variant(value); }
  static Value integer(int64_t value) { return Variant(value); }
  static Value number(double value) { return Variant(value); }
  static Value text(Text value) { return Variant(std::make_shared<const Text>(std::move(value))); }
  static Value text(std::string_view own) { return text(Text(std::string(own))); }
  /// Error kResourceExhausted beyond kMaxNesting or kMaxWeight.
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dict(std::vector<std::pair<Text, Value>> items);

  bool is_undefined() const { return std::holds_alternative<Undefined>(variant_); }
  bool is_none() const { return std::holds_alternative<None>(variant_); }
  bool is_bool() const { return std::holds_alternative<bool>(variant_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(variant_); }
  bool is_float() const { return std::holds_alternative<double>(variant_); }

  template <class T>
  const T* get() const {
    return std::get_if<T>(&variant_);
  }
  const Text* as_text() const { return pointee<const Text>(); }
  const List* as_list() const { return pointee<const List>(); }
  const Dict* as_dict() const { return pointee<const Dict>(); }
  Namespace* as_namespace() const { return pointee<Namespace>(); }
  const Loop* as_loop() const { return pointee<const Loop>(); }
  const Callable* as_callable() const { return get<Callable>(); }
  /// Integers, and booleans as 0 and 1 (Python's rule).
  std::optional<int64_t> as_integer() const;
  /// Integers, booleans and floats.
  std::optional<double> as_number() const;

  bool truthy() const;
  std::string_view type_name() const;  // Python's: "str", "list"
  int nesting() const;                 // of lists and dicts
  size_t weight() const;               // bytes and items within

 private:
  template <class T>
  T* pointee() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&variant_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  Variant variant_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int nesting = 1;
  size_t weight = 1;
};

struct Dict {
  std::vector<std::pair<Text, Value>> items;  // in order; keys are unique
  int nesting = 1;
  size_t weight = 1;
  const Value* find(std::string_view key) const;
};

/// The only value that changes: `namespace(...)`.
struct Namespace {
  std::vector<std::pair<std::string, Value>> items;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

/// `loop` within a for.
struct Loop {
  std::shared_ptr<const List> items;
  size_t index = 0;
};

/// Python's ==.
bool equal(const Value& a, const Value& b);

/// Python's str(): what `{{ value }}` prints.
Text to_text(const Value& value);

struct JsonStyle {
  int indent = -1;  // -1: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};
/// Python's json.dumps. Error kInvalidArgument for what JSON cannot hold.
Text to_json(const Value& value, const JsonStyle& style);

/// Every string in it marked as input, ill-formed UTF-8 replaced. Error kResourceExhausted beyond kMaxNesting.
Value from_json(const nlohmann::ordered_json& json);

}  // namespace fathom::model::jinja
