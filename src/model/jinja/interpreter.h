// Runs a parsed template over variables. One rendering, one thread; the parsed template outlives it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja/ast.h"
#include "model/jinja/runtime.h"

namespace fathom::model::jinja {

/// What the template may print in all.
inline constexpr size_t kMaxOutput = size_t{1} << 25;

class Interpreter {
 public:
  /// `clock` may be null: then the template has no strftime_now.
  explicit Interpreter(const Clock* clock);

  void define(std::string name, Value value);
  /// Errors: as ChatTemplate::render.
  Text render(const Body& body);

 private:
  enum class Flow { kOn, kBreak, kContinue };
  struct Scope {
    bool is_macro = false;  // names are not looked up in the scopes beneath, but for the outermost two
    std::vector<std::pair<std::string_view, Value>> names;
  };
  class Frame;
  class Depth;

  Flow run(const Body& body, Text& out);
  Flow run(const Statement& statement, Text& out);
  Flow run_if(const Statement& statement, Text& out);
  Flow run_for(const Statement& statement, Text& out);
  Flow run_items(const Statement& statement, std::vector<Value> items, Text& out);
  Flow run_with(const Statement& statement, Text& out);
  void run_set(const Statement& statement);
  void run_block_to_text(const Body& body, Text& out);
  void append(Text& out, const Text& added);
  std::vector<Value> chosen_items(const Statement& statement);

  void assign(std::string_view name, Value value);
  void bind(const std::vector<std::string>& targets, Value value);
  const Value* find(std::string_view name) const;

  Value evaluate(const Expression& e);
  Value evaluate_name(const Expression& e);
  Value evaluate_list(const Expression& e);
  Value evaluate_dict(const Expression& e);
  Value evaluate_slice(const Expression& e);
  Value evaluate_call(const Expression& e);
  Value evaluate_macro(const MacroStatement& macro, const Args& args);
  /// `piped` stands for the null at the root of a chain of filters.
  Value evaluate_filters(const Expression& e, const Value* piped);
  bool evaluate_test(const Expression& e);
  Value evaluate_sign(const Expression& e);
  Value evaluate_logic(const Expression& e);
  Value evaluate_concat(const Expression& e);
  Value evaluate_arithmetic(const Expression& e);
  Value evaluate_compare(const Expression& e);
  Value evaluate_conditional(const Expression& e);
  Value apply(Operator op, const Value& a, const Value& b);
  bool holds(Operator op, const Value& a, const Value& b);
  Args evaluate_arguments(const Arguments& arguments);

  Runtime runtime_;
  std::vector<std::pair<std::string, Value>> globals_;
  std::vector<Scope> scopes_;
  int depth_ = 0;
  size_t printed_ = 0;
};

}  // namespace fathom::model::jinja
