// The parsed form of a chat template. Immutable after parsing; expressions and statements own their parts.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/jinja/value.h"

namespace fathom::model::jinja {

/// Deeper expressions and statements are refused, so that walking them cannot exhaust the stack.
inline constexpr int kMaxHeight = 120;

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

enum class ExpressionKind {
  kLiteral,      // literal
  kName,         // name
  kList,         // parts
  kTuple,        // parts
  kDict,         // parts: key, value, key, value ...
  kAttribute,    // parts[0].name
  kItem,         // parts[0][parts[1]]
  kSlice,        // parts[0][parts[1]:parts[2]:parts[3]], each but the first may be null
  kCall,         // parts[0](arguments)
  kFilter,       // parts[0] | name(arguments); parts[0] is null in a filter block
  kTest,         // parts[0] is name(arguments)
  kNegate,       // -parts[0]
  kPlus,         // +parts[0]
  kNot,          // not parts[0]
  kAnd,          // parts[0] and parts[1] and ...
  kOr,           // parts[0] or parts[1] or ...
  kConcat,       // parts[0] ~ parts[1] ~ ...
  kArithmetic,   // parts[0] operators[0] parts[1] operators[1] ..., from the left
  kCompare,      // parts[0] operators[0] parts[1] and parts[1] operators[1] parts[2] and ...
  kConditional,  // parts[0] if parts[1] else parts[2], which may be null
};

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  int line = 0;
  int height = 1;
  std::string name;
  Value literal;
  std::vector<ExpressionPtr> parts;
  std::vector<Operator> operators;
  Arguments arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<const Statement>>;

struct MacroStatement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with defaults, null where there is none
  Body body;
};

enum class StatementKind {
  kText,         // text
  kOutput,       // expression
  kIf,           // branches; a null condition is the else
  kFor,          // for targets in expression if condition: body, otherwise
  kSet,          // targets = expression; with attribute: targets[0].attribute = expression
  kSetBlock,     // targets[0] = body, through the filters of expression when there are any
  kMacro,        // macro
  kFilterBlock,  // body through the filters of expression
  kWith,         // assignments, body
  kBlock,        // body (generation)
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<std::string> targets;
  std::string attribute;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<std::string, ExpressionPtr>> assignments;
  Body body, otherwise;
  MacroStatement macro;
};

}  // namespace fathom::model::jinja
