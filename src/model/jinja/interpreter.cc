#include "model/jinja/interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace fathom::model::jinja {
namespace {

constexpr size_t kStepCost = 64;
constexpr int kMaxDepth = 600;  // of statements and expressions being run, macro calls included

Value floor_divided(Runtime& run, const Value& a, const Value& b) {
  const auto left = a.as_integer(), right = b.as_integer();
  if (left && right) {
    if (*right == 0) run.fail("a division by zero");
    if (*right == -1) {
      int64_t negated = 0;
      if (__builtin_sub_overflow(int64_t{0}, *left, &negated)) run.fail("a quotient is too large");
      return Value::integer(negated);
    }
    const int64_t quotient = *left / *right;
    const bool rounds_down = *left % *right != 0 && ((*left < 0) != (*right < 0));
    return Value::integer(rounds_down ? quotient - 1 : quotient);
  }
  return Value::number(std::floor(*a.as_number() / *b.as_number()));
}

Value modulo(Runtime& run, const Value& a, const Value& b) {
  const auto left = a.as_integer(), right = b.as_integer();
  if (left && right) {
    if (*right == 0) run.fail("a division by zero");
    if (*right == -1) return Value::integer(0);
    const int64_t rest = *left % *right;
    return Value::integer(rest != 0 && ((rest < 0) != (*right < 0)) ? rest + *right : rest);
  }
  const double divisor = *b.as_number();
  return Value::number(*a.as_number() - std::floor(*a.as_number() / divisor) * divisor);
}

Value power(Runtime& run, const Value& a, const Value& b) {
  const auto base = a.as_integer(), exponent = b.as_integer();
  if (!base || !exponent || *exponent < 0) return Value::number(std::pow(*a.as_number(), *b.as_number()));
  int64_t result = 1;
  if (*base == 0 || *base == 1) return Value::integer(*exponent == 0 ? 1 : *base);
  if (*base == -1) return Value::integer(*exponent % 2 == 0 ? 1 : -1);
  for (int64_t i = 0; i < *exponent; ++i)
    if (__builtin_mul_overflow(result, *base, &result)) run.fail("a power is too large");
  return Value::integer(result);
}

Value subtracted(Runtime& run, const Value& a, const Value& b) {
  const auto left = a.as_integer(), right = b.as_integer();
  if (!left || !right) return Value::number(*a.as_number() - *b.as_number());
  int64_t difference = 0;
  if (__builtin_sub_overflow(*left, *right, &difference)) run.fail("a difference is too large");
  return Value::integer(difference);
}

}  // namespace

/// A scope for as long as a body runs.
class Interpreter::Frame {
 public:
  Frame(Interpreter& interpreter, bool is_macro) : interpreter_(interpreter) {
    interpreter_.scopes_.push_back({is_macro, {}});
  }
  ~Frame() { interpreter_.scopes_.pop_back(); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

 private:
  Interpreter& interpreter_;
};

class Interpreter::Depth {
 public:
  explicit Depth(Interpreter& interpreter) : interpreter_(interpreter) {
    if (interpreter_.depth_ == kMaxDepth)
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format("the chat template calls itself too deep in line {}", interpreter_.runtime_.line()));
    ++interpreter_.depth_;
  }
  ~Depth() { --interpreter_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Interpreter& interpreter_;
};

Interpreter::Interpreter(const Clock* clock) : runtime_(clock) {}

void Interpreter::define(std::string name, Value value) {
  globals_.emplace_back(std::move(name), std::move(value));
}

Text Interpreter::render(const Body& body) {
  scopes_.clear();
  const Frame frame(*this, false);
  Text out;
  run(body, out);
  return out;
}

Interpreter::Flow Interpreter::run(const Body& body, Text& out) {
  const Depth depth(*this);
  for (const auto& statement : body)
    if (const Flow flow = run(*statement, out); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run(const Statement& statement, Text& out) {
  runtime_.set_line(statement.line);
  runtime_.spend(kStepCost);
  switch (statement.kind) {
    case StatementKind::kText: append(out, Text(statement.text)); return Flow::kOn;
    case StatementKind::kOutput:
      append(out, printed(runtime_, evaluate(*statement.expression)));
      return Flow::kOn;
    case StatementKind::kIf: return run_if(statement, out);
    case StatementKind::kFor: return run_for(statement, out);
    case StatementKind::kSet:
    case StatementKind::kSetBlock: run_set(statement); return Flow::kOn;
    case StatementKind::kMacro:
      assign(statement.macro.name, Value::Variant(Callable{&statement.macro, {}}));
      return Flow::kOn;
    case StatementKind::kFilterBlock: {
      Text inner;
      run_block_to_text(statement.body, inner);
      const Value piped = runtime_.text(std::move(inner));
      append(out, printed(runtime_, evaluate_filters(*statement.expression, &piped)));
      return Flow::kOn;
    }
    case StatementKind::kWith: return run_with(statement, out);
    case StatementKind::kBlock: return run(statement.body, out);
    case StatementKind::kBreak: return Flow::kBreak;
    case StatementKind::kContinue: return Flow::kContinue;
  }
  return Flow::kOn;
}

void Interpreter::append(Text& out, const Text& added) {
  runtime_.spend(added.size());
  printed_ += added.size();
  if (printed_ > kMaxOutput)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("the chat template prints more than {} bytes in line {}", kMaxOutput, runtime_.line()));
  out.append(added);
}

Interpreter::Flow Interpreter::run_if(const Statement& statement, Text& out) {
  for (const auto& [condition, body] : statement.branches)
    if (condition == nullptr || evaluate(*condition).truthy()) return run(body, out);
  return Flow::kOn;
}

std::vector<Value> Interpreter::chosen_items(const Statement& statement) {
  std::vector<Value> items = iterate(runtime_, evaluate(*statement.expression));
  if (statement.condition == nullptr) return items;
  std::vector<Value> chosen;
  for (Value& item : items) {
    const Frame frame(*this, false);
    bind(statement.targets, item);
    if (evaluate(*statement.condition).truthy()) chosen.push_back(std::move(item));
  }
  return chosen;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement, Text& out) {
  std::vector<Value> items = chosen_items(statement);
  if (items.empty()) {
    const Frame frame(*this, false);
    return run(statement.otherwise, out);
  }
  return run_items(statement, std::move(items), out);
}

Interpreter::Flow Interpreter::run_items(const Statement& statement, std::vector<Value> items, Text& out) {
  auto list = std::make_shared<List>();
  list->items = std::move(items);
  for (size_t i = 0; i < list->items.size(); ++i) {
    const Frame frame(*this, false);
    auto loop = std::make_shared<Loop>();
    loop->items = list;
    loop->index = i;
    assign("loop", Value::Variant(std::shared_ptr<const Loop>(std::move(loop))));
    bind(statement.targets, list->items[i]);
    if (run(statement.body, out) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run_with(const Statement& statement, Text& out) {
  std::vector<Value> values;  // before the names are known
  for (const auto& [name, expression] : statement.assignments) values.push_back(evaluate(*expression));
  const Frame frame(*this, false);
  for (size_t i = 0; i < values.size(); ++i) assign(statement.assignments[i].first, std::move(values[i]));
  return run(statement.body, out);
}

void Interpreter::run_block_to_text(const Body& body, Text& out) {
  const Frame frame(*this, false);
  run(body, out);
}

void Interpreter::run_set(const Statement& statement) {
  Value value;
  if (statement.kind == StatementKind::kSetBlock) {
    Text inner;
    run_block_to_text(statement.body, inner);
    value = runtime_.text(std::move(inner));
    if (statement.expression != nullptr) value = evaluate_filters(*statement.expression, &value);
  } else {
    value = evaluate(*statement.expression);
  }
  if (statement.attribute.empty()) return bind(statement.targets, std::move(value));
  const Value* held = find(statement.targets[0]);
  Namespace* target = held == nullptr ? nullptr : held->as_namespace();
  if (target == nullptr) runtime_.fail(fmt::format("'{}' is not a namespace", statement.targets[0]));
  runtime_.spend(target->items.size());
  target->set(statement.attribute, std::move(value));
}

void Interpreter::assign(std::string_view name, Value value) {
  auto& names = scopes_.back().names;
  runtime_.spend(names.size());
  for (auto& [known, held] : names)
    if (known == name) {
      held = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

void Interpreter::bind(const std::vector<std::string>& targets, Value value) {
  if (targets.size() == 1) return assign(targets[0], std::move(value));
  const std::vector<Value> parts = iterate(runtime_, value);
  if (parts.size() != targets.size())
    runtime_.fail(fmt::format("{} values cannot be given to {} names", parts.size(), targets.size()));
  for (size_t i = 0; i < targets.size(); ++i) assign(targets[i], parts[i]);
}

const Value* Interpreter::find(std::string_view name) const {
  const auto in = [name](const auto& names) -> const Value* {
    const auto found =
        std::find_if(names.begin(), names.end(), [name](const auto& held) { return held.first == name; });
    return found == names.end() ? nullptr : &found->second;
  };
  for (size_t i = scopes_.size(); i-- > 0;) {
    if (const Value* found = in(scopes_[i].names)) return found;
    if (scopes_[i].is_macro && i > 0) i = 1;  // a macro sees the template's own names beneath its arguments
  }
  return in(globals_);
}

Value Interpreter::evaluate(const Expression& e) {
  const Depth depth(*this);
  runtime_.set_line(e.line);
  runtime_.spend(kStepCost);
  switch (e.kind) {
    case ExpressionKind::kLiteral: return e.literal;
    case ExpressionKind::kName: return evaluate_name(e);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple: return evaluate_list(e);
    case ExpressionKind::kDict: return evaluate_dict(e);
    case ExpressionKind::kAttribute: return attribute(runtime_, evaluate(*e.parts[0]), e.name);
    case ExpressionKind::kItem: {
      const Value held = evaluate(*e.parts[0]);
      return subscript(runtime_, held, evaluate(*e.parts[1]));
    }
    case ExpressionKind::kSlice: return evaluate_slice(e);
    case ExpressionKind::kCall: return evaluate_call(e);
    case ExpressionKind::kFilter: return evaluate_filters(e, nullptr);
    case ExpressionKind::kTest: return Value::boolean(evaluate_test(e));
    case ExpressionKind::kNegate:
    case ExpressionKind::kPlus: return evaluate_sign(e);
    case ExpressionKind::kNot: return Value::boolean(!evaluate(*e.parts[0]).truthy());
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: return evaluate_logic(e);
    case ExpressionKind::kConcat: return evaluate_concat(e);
    case ExpressionKind::kArithmetic: return evaluate_arithmetic(e);
    case ExpressionKind::kCompare: return evaluate_compare(e);
    case ExpressionKind::kConditional: return evaluate_conditional(e);
  }
  return {};
}

Value Interpreter::evaluate_name(const Expression& e) {
  runtime_.spend(scopes_.size());
  if (const Value* found = find(e.name)) return *found;
  if (is_function(runtime_, e.name)) return Value::Variant(Callable{nullptr, e.name});
  return Value::undefined(e.name);
}

Value Interpreter::evaluate_list(const Expression& e) {
  std::vector<Value> items;
  for (const ExpressionPtr& part : e.parts) items.push_back(evaluate(*part));
  return runtime_.list(std::move(items), e.kind == ExpressionKind::kTuple);
}

Value Interpreter::evaluate_dict(const Expression& e) {
  std::vector<std::pair<Text, Value>> items;
  for (size_t i = 0; i < e.parts.size(); i += 2) {
    const Value key_value = evaluate(*e.parts[i]);
    const Text& key = need_text(runtime_, key_value, "a key of a dict");
    Value value = evaluate(*e.parts[i + 1]);
    runtime_.spend(items.size() + key.size());
    const auto known = std::find_if(items.begin(), items.end(),
                                    [&](const auto& item) { return item.first.bytes() == key.bytes(); });
    if (known != items.end())
      known->second = std::move(value);
    else
      items.emplace_back(key, std::move(value));
  }
  return Value::dict(std::move(items));
}

Value Interpreter::evaluate_slice(const Expression& e) {
  const Value held = evaluate(*e.parts[0]);
  Value bounds[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (e.parts[i + 1] == nullptr) continue;
    bounds[i] = evaluate(*e.parts[i + 1]);
    given[i] = &bounds[i];
  }
  return slice(runtime_, held, given[0], given[1], given[2]);
}

Args Interpreter::evaluate_arguments(const Arguments& arguments) {
  Args args;
  for (const ExpressionPtr& argument : arguments.positional) args.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : arguments.named) args.named.emplace_back(name, evaluate(*argument));
  return args;
}

Value Interpreter::evaluate_call(const Expression& e) {
  const Expression& callee = *e.parts[0];
  if (callee.kind == ExpressionKind::kAttribute) {
    const Value self = evaluate(*callee.parts[0]);
    if (has_method(self, callee.name)) {
      const Args args = evaluate_arguments(e.arguments);
      runtime_.set_line(e.line);
      return call_method(runtime_, self, callee.name, args);
    }
  }
  const Value function = evaluate(callee);
  const Callable* callable = function.as_callable();
  if (callable == nullptr)
    runtime_.fail(
        fmt::format("'{}' is not a function", callee.name.empty() ? "the value" : callee.name.substr(0, 80)));
  const Args args = evaluate_arguments(e.arguments);
  runtime_.set_line(e.line);
  return callable->macro != nullptr ? evaluate_macro(*callable->macro, args)
                                    : call_function(runtime_, callable->function, args);
}

Value Interpreter::evaluate_macro(const MacroStatement& macro, const Args& args) {
  if (args.positional.size() > macro.parameters.size())
    runtime_.fail(fmt::format("the macro '{}' takes {} arguments, not {}", macro.name,
                              macro.parameters.size(), args.positional.size()));
  for (const auto& [given, value] : args.named)
    if (std::none_of(macro.parameters.begin(), macro.parameters.end(),
                     [name = given](const auto& parameter) { return parameter.first == name; }))
      runtime_.fail(fmt::format("the macro '{}' has no argument '{}'", macro.name, given));
  const Frame frame(*this, true);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, otherwise] = macro.parameters[i];
    if (const Value* given = args.find(i, name))
      assign(name, *given);
    else
      assign(name, otherwise == nullptr ? Value::undefined(name) : evaluate(*otherwise));
  }
  Text out;
  run(macro.body, out);
  return runtime_.text(std::move(out));
}

Value Interpreter::evaluate_filters(const Expression& e, const Value* piped) {
  const Value input = e.parts[0] == nullptr                         ? *piped
                      : e.parts[0]->kind == ExpressionKind::kFilter ? evaluate_filters(*e.parts[0], piped)
                                                                    : evaluate(*e.parts[0]);
  const Args args = evaluate_arguments(e.arguments);
  runtime_.set_line(e.line);
  return apply_filter(runtime_, e.name, input, args);
}

bool Interpreter::evaluate_test(const Expression& e) {
  const Value input = evaluate(*e.parts[0]);
  const Args args = evaluate_arguments(e.arguments);
  runtime_.set_line(e.line);
  return apply_test(runtime_, e.name, input, args);
}

Value Interpreter::evaluate_sign(const Expression& e) {
  const Value value = evaluate(*e.parts[0]);
  if (!value.as_number()) runtime_.fail(fmt::format("a value of type {} has no sign", value.type_name()));
  if (e.kind == ExpressionKind::kPlus) return value;
  return value.as_integer() ? subtracted(runtime_, Value::integer(0), value)
                            : Value::number(-*value.as_number());
}

Value Interpreter::evaluate_logic(const Expression& e) {
  const bool stops_at = e.kind == ExpressionKind::kOr;
  Value value;
  for (const ExpressionPtr& part : e.parts) {
    value = evaluate(*part);
    if (value.truthy() == stops_at) break;
  }
  return value;
}

Value Interpreter::evaluate_concat(const Expression& e) {
  Text out;
  for (const ExpressionPtr& part : e.parts) {
    const Text piece = printed(runtime_, evaluate(*part));
    runtime_.spend(piece.size());
    out.append(piece);
  }
  return runtime_.text(std::move(out));
}

Value Interpreter::evaluate_arithmetic(const Expression& e) {
  Value value = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    const Value right = evaluate(*e.parts[i + 1]);
    runtime_.set_line(e.line);
    value = apply(e.operators[i], value, right);
  }
  return value;
}

Value Interpreter::apply(Operator op, const Value& a, const Value& b) {
  if (op == Operator::kAdd) return add(runtime_, a, b);
  if (op == Operator::kMultiply) return multiply(runtime_, a, b);
  if (op == Operator::kModulo && a.as_text() != nullptr) runtime_.unsupported("'%' on a string");
  if (!a.as_number() || !b.as_number())
    runtime_.fail(fmt::format("values of the types {} and {} are no numbers", a.type_name(), b.type_name()));
  if (op == Operator::kSubtract) return subtracted(runtime_, a, b);
  if (op == Operator::kPower) return power(runtime_, a, b);
  if (*b.as_number() == 0) runtime_.fail("a division by zero");
  if (op == Operator::kDivide) return Value::number(*a.as_number() / *b.as_number());
  return op == Operator::kFloorDivide ? floor_divided(runtime_, a, b) : modulo(runtime_, a, b);
}

Value Interpreter::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    runtime_.set_line(e.line);
    if (!holds(e.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

bool Interpreter::holds(Operator op, const Value& a, const Value& b) {
  runtime_.spend(std::min(a.weight(), b.weight()));
  switch (op) {
    case Operator::kEqual: return equal(a, b);
    case Operator::kNotEqual: return !equal(a, b);
    case Operator::kLess: return compare(runtime_, a, b) < 0;
    case Operator::kLessEqual: return compare(runtime_, a, b) <= 0;
    case Operator::kGreater: return compare(runtime_, a, b) > 0;
    case Operator::kGreaterEqual: return compare(runtime_, a, b) >= 0;
    case Operator::kIn: return contains(runtime_, b, a);
    default: return !contains(runtime_, b, a);
  }
}

Value Interpreter::evaluate_conditional(const Expression& e) {
  if (evaluate(*e.parts[1]).truthy()) return evaluate(*e.parts[0]);
  return e.parts[2] != nullptr ? evaluate(*e.parts[2]) : Value::undefined("the inline if without an else");
}

}  // namespace fathom::model::jinja
