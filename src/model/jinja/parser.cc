#include "model/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <optional>

#include "base/error.h"
#include "model/jinja/lexer.h"

namespace fathom::model::jinja {
namespace {

constexpr size_t kMaxDictItems = 1000;

/// Refuses what would nest deeper than evaluation may.
void check_height(int height, int line) {
  if (height > kMaxHeight)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the chat template nests deeper than {} in line {}", kMaxHeight, line));
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body parse_template() {
    Body body = parse_body({});
    if (peek().kind != TokenKind::kEnd) fail("this end belongs to no beginning");
    return body;
  }

 private:
  using Node = std::unique_ptr<Expression>;

  /// Counts how deep the parser itself has recursed.
  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) { check_height(++parser_.depth_, parser_.line()); }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  int line() const { return peek().line; }
  [[noreturn]] void fail(std::string_view what) const { fail_at(line(), what); }

  Token next() {
    const Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }

  bool is_operator(std::string_view text) const {
    return peek().kind == TokenKind::kOperator && peek().text == text;
  }
  bool is_word(std::string_view text, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == text;
  }
  bool accept_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    next();
    return true;
  }
  bool accept_word(std::string_view text) {
    if (!is_word(text)) return false;
    next();
    return true;
  }
  void expect_operator(std::string_view text) {
    if (!accept_operator(text)) fail(fmt::format("'{}' is missing", text));
  }
  std::string expect_name() {
    if (peek().kind != TokenKind::kName) fail("a name is missing");
    return next().text;
  }
  void expect_block_end() {
    if (peek().kind != TokenKind::kBlockEnd) fail("the tag goes on where '%}' should be");
    next();
  }

  // Statements.

  /// Statements up to a block tag whose word is one of `ends` (the tag's beginning is then consumed, the word is next),
  /// or to the end of the text.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    Body body;
    for (;;) {
      const Token& token = peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0) fail(fmt::format("'{}' is missing", *(ends.end() - 1)));
        return body;
      }
      if (token.kind == TokenKind::kData) {
        body.push_back(text_statement());
      } else if (token.kind == TokenKind::kVariableBegin) {
        body.push_back(output_statement());
      } else {
        next();  // the beginning of a block
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_word(end); }))
          return body;
        body.push_back(block_statement());
      }
    }
  }

  std::unique_ptr<Statement> statement(StatementKind kind) const {
    auto made = std::make_unique<Statement>();
    made->kind = kind;
    made->line = line();
    return made;
  }

  std::unique_ptr<Statement> text_statement() {
    auto made = statement(StatementKind::kText);
    made->text = next().text;
    return made;
  }

  std::unique_ptr<Statement> output_statement() {
    auto made = statement(StatementKind::kOutput);
    next();
    made->expression = parse_tuple_or_expression();
    if (peek().kind != TokenKind::kVariableEnd) fail("the tag goes on where '}}' should be");
    next();
    return made;
  }

  std::unique_ptr<Statement> block_statement() {
    if (peek().kind != TokenKind::kName) fail("a statement's name is missing");
    if (accept_word("if")) return if_statement();
    if (accept_word("for")) return for_statement();
    if (accept_word("set")) return set_statement();
    if (accept_word("macro")) return macro_statement();
    if (accept_word("filter")) return filter_statement();
    if (accept_word("with")) return with_statement();
    if (accept_word("break")) return simple_statement(StatementKind::kBreak);
    if (accept_word("continue")) return simple_statement(StatementKind::kContinue);
    if (accept_word("generation")) return generation_statement();
    const std::string& word = peek().text;
    if (word.starts_with("end") || word == "else" || word == "elif")
      fail(fmt::format("'{}' stands without what it belongs to", word));
    unsupported_at(line(), fmt::format("the statement '{}'", word.substr(0, 40)));
  }

  std::unique_ptr<Statement> simple_statement(StatementKind kind) {
    auto made = statement(kind);
    if (loops_ == 0) fail("break and continue stand in loops only");
    expect_block_end();
    return made;
  }

  void end_block() {
    next();  // the word that `parse_body` stopped at
    expect_block_end();
  }

  std::unique_ptr<Statement> if_statement() {
    auto made = statement(StatementKind::kIf);
    for (;;) {
      ExpressionPtr condition = parse_tuple_or_expression();
      expect_block_end();
      Body body = parse_body({"elif", "else", "endif"});
      made->branches.emplace_back(std::move(condition), std::move(body));
      if (!accept_word("elif")) break;
    }
    if (accept_word("else")) {
      expect_block_end();
      made->branches.emplace_back(nullptr, parse_body({"endif"}));
    }
    end_block();
    return made;
  }

  std::unique_ptr<Statement> for_statement() {
    auto made = statement(StatementKind::kFor);
    made->targets = parse_targets();
    if (!accept_word("in")) fail("'in' is missing");
    made->expression = parse_tuple_or_expression(false);
    if (accept_word("if")) made->condition = parse_expression();
    if (is_word("recursive")) unsupported_at(line(), "a recursive loop");
    expect_block_end();
    ++loops_;
    made->body = parse_body({"else", "endfor"});
    --loops_;
    if (accept_word("else")) {
      expect_block_end();
      made->otherwise = parse_body({"endfor"});
    }
    end_block();
    return made;
  }

  std::vector<std::string> parse_targets() {
    const bool in_parentheses = accept_operator("(");
    std::vector<std::string> targets{expect_name()};
    while (accept_operator(",")) {
      if (peek().kind != TokenKind::kName || is_word("in")) break;
      targets.push_back(expect_name());
    }
    if (in_parentheses) expect_operator(")");
    return targets;
  }

  std::unique_ptr<Statement> set_statement() {
    auto made = statement(StatementKind::kSet);
    made->targets = parse_targets();
    if (accept_operator(".")) made->attribute = expect_name();
    if (accept_operator("=")) {
      made->expression = parse_tuple_or_expression();
      expect_block_end();
      return made;
    }
    made->kind = StatementKind::kSetBlock;
    if (made->targets.size() != 1) fail("a set block has one target");
    made->expression = parse_filters(nullptr);
    expect_block_end();
    made->body = parse_body({"endset"});
    end_block();
    return made;
  }

  std::unique_ptr<Statement> macro_statement() {
    auto made = statement(StatementKind::kMacro);
    made->macro.name = expect_name();
    expect_operator("(");
    while (!is_operator(")")) {
      std::string name = expect_name();
      ExpressionPtr otherwise = accept_operator("=") ? parse_expression() : nullptr;
      made->macro.parameters.emplace_back(std::move(name), std::move(otherwise));
      if (!accept_operator(",")) break;
    }
    expect_operator(")");
    expect_block_end();
    const int loops = std::exchange(loops_, 0);
    made->macro.body = parse_body({"endmacro"});
    loops_ = loops;
    next();
    if (peek().kind == TokenKind::kName) next();  // the macro's name again
    expect_block_end();
    return made;
  }

  std::unique_ptr<Statement> filter_statement() {
    auto made = statement(StatementKind::kFilterBlock);
    made->expression = parse_filters(parse_filter(nullptr));
    expect_block_end();
    made->body = parse_body({"endfilter"});
    end_block();
    return made;
  }

  std::unique_ptr<Statement> with_statement() {
    auto made = statement(StatementKind::kWith);
    while (peek().kind == TokenKind::kName) {
      std::string name = expect_name();
      expect_operator("=");
      made->assignments.emplace_back(std::move(name), parse_expression());
      if (!accept_operator(",")) break;
    }
    expect_block_end();
    made->body = parse_body({"endwith"});
    end_block();
    return made;
  }

  std::unique_ptr<Statement> generation_statement() {
    auto made = statement(StatementKind::kBlock);
    expect_block_end();
    made->body = parse_body({"endgeneration"});
    end_block();
    return made;
  }

  // Expressions, loosest first.

  Node node(ExpressionKind kind) const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = line();
    return made;
  }

  static void add_part(Expression& parent, Node part) {
    if (part != nullptr) {
      parent.height = std::max(parent.height, part->height + 1);
      check_height(parent.height, part->line);
    }
    parent.parts.push_back(std::move(part));
  }

  Node parse_tuple_or_expression(bool with_condition = true) {
    Node first = with_condition ? parse_expression() : parse_or();
    if (!is_operator(",")) return first;
    Node tuple = node(ExpressionKind::kTuple);
    add_part(*tuple, std::move(first));
    while (accept_operator(",")) {
      if (peek().kind == TokenKind::kVariableEnd || peek().kind == TokenKind::kBlockEnd || is_operator(")"))
        break;
      add_part(*tuple, with_condition ? parse_expression() : parse_or());
    }
    return tuple;
  }

  Node parse_expression() {
    const Depth depth(*this);
    Node value = parse_or();
    while (accept_word("if")) {
      Node conditional = node(ExpressionKind::kConditional);
      add_part(*conditional, std::move(value));
      add_part(*conditional, parse_or());
      add_part(*conditional, accept_word("else") ? parse_expression() : nullptr);
      value = std::move(conditional);
    }
    return value;
  }

  /// A chain of one word or operator as one node, so that a long chain is not a deep tree.
  template <class Accept, class ParsePart>
  Node parse_chain(ExpressionKind kind, Accept accept, ParsePart parse_part) {
    Node first = parse_part();
    if (!accept()) return first;
    Node chain = node(kind);
    add_part(*chain, std::move(first));
    do add_part(*chain, parse_part());
    while (accept());
    return chain;
  }

  Node parse_or() {
    return parse_chain(
        ExpressionKind::kOr, [this] { return accept_word("or"); }, [this] { return parse_and(); });
  }

  Node parse_and() {
    return parse_chain(
        ExpressionKind::kAnd, [this] { return accept_word("and"); }, [this] { return parse_not(); });
  }

  Node parse_not() {
    const Depth depth(*this);
    if (!accept_word("not")) return parse_compare();
    Node negated = node(ExpressionKind::kNot);
    add_part(*negated, parse_not());
    return negated;
  }

  std::optional<Operator> accept_comparison() {
    constexpr std::pair<std::string_view, Operator> kComparisons[] = {
        {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
        {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
    for (const auto& [text, op] : kComparisons)
      if (accept_operator(text)) return op;
    if (accept_word("in")) return Operator::kIn;
    if (!is_word("not") || !is_word("in", 1)) return std::nullopt;
    next();
    next();
    return Operator::kNotIn;
  }

  std::optional<Operator> accept_arithmetic(
      std::initializer_list<std::pair<std::string_view, Operator>> operators) {
    for (const auto& [text, op] : operators)
      if (accept_operator(text)) return op;
    return std::nullopt;
  }

  template <class Accept, class ParsePart>
  Node parse_operators(ExpressionKind kind, Accept accept, ParsePart parse_part) {
    Node first = parse_part();
    std::optional<Operator> op = accept();
    if (!op) return first;
    Node chain = node(kind);
    add_part(*chain, std::move(first));
    for (; op; op = accept()) {
      chain->operators.push_back(*op);
      add_part(*chain, parse_part());
    }
    return chain;
  }

  Node parse_compare() {
    return parse_operators(
        ExpressionKind::kCompare, [this] { return accept_comparison(); }, [this] { return parse_sum(); });
  }

  Node parse_sum() {
    return parse_operators(
        ExpressionKind::kArithmetic,
        [this] {
          return accept_arithmetic({{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
        },
        [this] { return parse_concat(); });
  }

  Node parse_concat() {
    return parse_chain(
        ExpressionKind::kConcat, [this] { return accept_operator("~"); }, [this] { return parse_product(); });
  }

  Node parse_product() {
    const auto accept = [this] {
      return accept_arithmetic({{"*", Operator::kMultiply},
                                {"/", Operator::kDivide},
                                {"//", Operator::kFloorDivide},
                                {"%", Operator::kModulo}});
    };
    return parse_operators(ExpressionKind::kArithmetic, accept, [this] { return parse_power(); });
  }

  Node parse_power() {
    return parse_operators(
        ExpressionKind::kArithmetic,
        [this] {
          return accept_arithmetic({{"**", Operator::kPower}});
        },
        [this] { return parse_unary(true); });
  }

  Node parse_unary(bool with_filters) {
    const Depth depth(*this);
    Node value;
    if (is_operator("-") || is_operator("+")) {
      value = node(next().text == "-" ? ExpressionKind::kNegate : ExpressionKind::kPlus);
      add_part(*value, parse_unary(false));
    } else {
      value = parse_postfix(parse_primary());
    }
    return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
  }

  Node parse_primary() {
    const Token& token = peek();
    switch (token.kind) {
      case TokenKind::kName: return parse_name();
      case TokenKind::kString: return parse_strings();
      case TokenKind::kInteger:
      case TokenKind::kFloat: return parse_number();
      case TokenKind::kOperator: break;
      default: fail("an expression ends too early");
    }
    if (token.text == "(") return parse_parentheses();
    if (token.text == "[") return parse_list();
    if (token.text == "{") return parse_dict();
    fail(fmt::format("'{}' stands where a value should be", token.text));
  }

  Node literal(Value value) const {
    Node made = node(ExpressionKind::kLiteral);
    made->literal = std::move(value);
    return made;
  }

  Node parse_name() {
    Node made = node(ExpressionKind::kName);
    made->name = next().text;
    if (made->name == "true" || made->name == "True") return literal(Value::boolean(true));
    if (made->name == "false" || made->name == "False") return literal(Value::boolean(false));
    if (made->name == "none" || made->name == "None") return literal(Value::none());
    return made;
  }

  Node parse_strings() {
    std::string text = next().text;
    while (peek().kind == TokenKind::kString) text += next().text;
    return literal(Value::text(text));
  }

  Node parse_number() {
    const Token token = next();
    if (token.kind == TokenKind::kFloat)
      return literal(Value::number(std::strtod(token.text.c_str(), nullptr)));
    int64_t value = 0;
    const char* end = token.text.data() + token.text.size();
    if (std::from_chars(token.text.data(), end, value).ec != std::errc())
      fail_at(token.line, fmt::format("the number {} is too large", token.text.substr(0, 40)));
    return literal(Value::integer(value));
  }

  Node parse_parentheses() {
    next();
    if (accept_operator(")")) return node(ExpressionKind::kTuple);
    Node value = parse_tuple_or_expression();
    expect_operator(")");
    return value;
  }

  Node parse_list() {
    next();
    Node list = node(ExpressionKind::kList);
    while (!is_operator("]")) {
      add_part(*list, parse_expression());
      if (!accept_operator(",")) break;
    }
    expect_operator("]");
    return list;
  }

  Node parse_dict() {
    next();
    Node dict = node(ExpressionKind::kDict);
    while (!is_operator("}")) {
      add_part(*dict, parse_expression());
      expect_operator(":");
      add_part(*dict, parse_expression());
      if (dict->parts.size() > 2 * kMaxDictItems)
        unsupported_at(line(), "a dict literal of more than 1000 items");
      if (!accept_operator(",")) break;
    }
    expect_operator("}");
    return dict;
  }

  Node parse_postfix(Node value) {
    for (;;) {
      if (is_operator("."))
        value = parse_attribute(std::move(value));
      else if (is_operator("["))
        value = parse_subscript(std::move(value));
      else if (is_operator("("))
        value = parse_call(std::move(value));
      else
        return value;
    }
  }

  Node parse_attribute(Node value) {
    next();
    Node made = node(ExpressionKind::kAttribute);
    add_part(*made, std::move(value));
    if (peek().kind == TokenKind::kInteger) {  // pair.0
      made->kind = ExpressionKind::kItem;
      add_part(*made, parse_number());
    } else {
      made->name = expect_name();
    }
    return made;
  }

  Node parse_subscript(Node value) {
    next();
    Node made = node(ExpressionKind::kItem);
    add_part(*made, std::move(value));
    Node first = is_operator(":") ? nullptr : parse_expression();
    add_part(*made, std::move(first));
    if (is_operator(":")) {
      made->kind = ExpressionKind::kSlice;
      for (int i = 0; i < 2; ++i) {
        const bool given = accept_operator(":") && !is_operator(":") && !is_operator("]");
        add_part(*made, given ? parse_expression() : nullptr);
      }
    }
    expect_operator("]");
    return made;
  }

  void parse_arguments(Expression& into) {
    expect_operator("(");
    while (!is_operator(")")) {
      if (is_operator("*") || is_operator("**")) unsupported_at(line(), "arguments from a list or dict");
      std::string name;
      if (peek().kind == TokenKind::kName && peek(1).kind == TokenKind::kOperator && peek(1).text == "=") {
        name = next().text;
        next();
      }
      Node value = parse_expression();
      into.height = std::max(into.height, value->height + 1);
      check_height(into.height, value->line);
      if (!name.empty())
        into.arguments.named.emplace_back(std::move(name), std::move(value));
      else if (into.arguments.named.empty())
        into.arguments.positional.push_back(std::move(value));
      else
        fail("an argument without a name follows one with a name");
      if (!accept_operator(",")) break;
    }
    expect_operator(")");
  }

  Node parse_call(Node value) {
    Node made = node(ExpressionKind::kCall);
    add_part(*made, std::move(value));
    parse_arguments(*made);
    return made;
  }

  Node parse_filters_and_tests(Node value) {
    for (;;) {
      if (is_operator("|")) {
        next();
        value = parse_filter(std::move(value));
      } else if (is_word("is")) {
        next();
        value = parse_test(std::move(value));
      } else if (is_operator("(")) {
        value = parse_call(std::move(value));
      } else {
        return value;
      }
    }
  }

  Node parse_filter(Node value) {
    Node made = node(ExpressionKind::kFilter);
    made->name = expect_name();
    add_part(*made, std::move(value));
    if (is_operator("(")) parse_arguments(*made);
    return made;
  }

  /// `|a|b(...)` over what will be a block's text; null when there are none.
  Node parse_filters(Node value) {
    while (accept_operator("|")) value = parse_filter(std::move(value));
    return value;
  }

  Node parse_test(Node value) {
    const bool negated = accept_word("not");
    Node made = node(ExpressionKind::kTest);
    made->name = expect_name();
    add_part(*made, std::move(value));
    if (is_operator("(")) {
      parse_arguments(*made);
    } else if (begins_test_argument()) {
      Node argument = parse_postfix(parse_primary());
      made->height = std::max(made->height, argument->height + 1);
      made->arguments.positional.push_back(std::move(argument));
    }
    check_height(made->height, made->line);
    if (!negated) return made;
    Node inverse = node(ExpressionKind::kNot);
    add_part(*inverse, std::move(made));
    return inverse;
  }

  bool begins_test_argument() const {
    const Token& token = peek();
    if (token.kind == TokenKind::kOperator) return token.text == "[" || token.text == "{";
    if (token.kind == TokenKind::kName)
      return token.text != "else" && token.text != "or" && token.text != "and" && token.text != "is" &&
             token.text != "if" && token.text != "in" && token.text != "not";
    return token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
           token.kind == TokenKind::kFloat;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view source) {
  if (source.size() > kMaxTemplate)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("a chat template of {} bytes is longer than the {} allowed", source.size(),
                            kMaxTemplate));
  return Parser(tokenize(source)).parse_template();
}

}  // namespace fathom::model::jinja
