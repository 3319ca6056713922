#include "model/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace fathom::model::jinja {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name(char c) { return is_name_start(c) || is_digit(c); }

std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string text) : text_(std::move(text)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) lex_data();
    emit(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void emit(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool looking_at(std::string_view what) const {
    return std::string_view(text_).substr(at_).starts_with(what);
  }

  void advance(size_t count) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
  }

  void skip_space() {
    while (is_space(peek()) && at_ < text_.size()) advance(1);
  }

  /// The next "{{", "{%" or "{#" from `from` on.
  size_t find_tag(size_t from) const {
    for (size_t at = text_.find('{', from); at != std::string::npos; at = text_.find('{', at + 1)) {
      const char next = at + 1 < text_.size() ? text_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return text_.size();
  }

  /// Text up to the next tag, cut by the tag's "-" or by lstrip_blocks, and the tag itself.
  void lex_data() {
    const size_t tag = find_tag(at_);
    std::string_view data = std::string_view(text_).substr(at_, tag - at_);
    const char kind = tag < text_.size() ? text_[tag + 1] : '\0';
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    if (kind != '\0') data = stripped(data, kind, sign);
    if (!data.empty()) emit(TokenKind::kData, std::string(data));
    advance(tag - at_);
    if (kind == '\0') return;
    const size_t opening = sign == '-' || sign == '+' ? 3 : 2;
    if (kind == '#') return lex_comment();
    if (kind == '%' && lex_raw(opening)) return;
    emit(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
    advance(opening);
    lex_expression(kind == '{');
  }

  std::string_view stripped(std::string_view data, char kind, char sign) const {
    if (sign == '-') {
      while (!data.empty() && is_space(data.back())) data.remove_suffix(1);
      return data;
    }
    if (sign == '+' || kind == '{') return data;
    const size_t newline = data.rfind('\n');
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return data;
    const std::string_view rest = data.substr(line_begin);
    return std::all_of(rest.begin(), rest.end(), is_space) ? data.substr(0, line_begin) : data;
  }

  /// What follows the end of a tag: "-" takes all white space, trim_blocks one newline.
  void after_tag(char sign, bool trims) {
    line_starting_ = false;
    if (sign == '-') {
      const size_t begin = at_;
      skip_space();
      line_starting_ = at_ > begin && text_[at_ - 1] == '\n';
    } else if (trims && sign != '+' && peek() == '\n') {
      advance(1);
      line_starting_ = true;
    }
  }

  void lex_comment() {
    const size_t end = text_.find("#}", at_ + 2);
    if (end == std::string::npos) fail_at(line_, "a comment is not closed with '#}'");
    const char sign = end > at_ + 2 ? text_[end - 1] : '\0';
    advance(end + 2 - at_);
    after_tag(sign, true);
  }

  /// {% raw %}...{% endraw %}; false when the block is another.
  bool lex_raw(size_t opening) {
    size_t at = at_ + opening;
    while (at < text_.size() && is_space(text_[at])) ++at;
    if (!std::string_view(text_).substr(at).starts_with("raw")) return false;
    at += 3;
    while (at < text_.size() && is_space(text_[at])) ++at;
    const char sign = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : '\0';
    if (sign != '\0') ++at;
    if (!std::string_view(text_).substr(at).starts_with("%}")) return false;
    advance(at + 2 - at_);
    after_tag(sign, true);
    const size_t begin = at_;
    for (size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 1))
      if (lex_endraw(begin, tag)) return true;
    fail_at(line_, "a raw block is not closed with 'endraw'");
  }

  bool lex_endraw(size_t begin, size_t tag) {
    size_t at = tag + 2;
    const char first = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at++] : '\0';
    while (at < text_.size() && is_space(text_[at])) ++at;
    if (!std::string_view(text_).substr(at).starts_with("endraw")) return false;
    at += 6;
    while (at < text_.size() && is_space(text_[at])) ++at;
    const char last = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at++] : '\0';
    if (!std::string_view(text_).substr(at).starts_with("%}")) return false;
    const std::string_view data = stripped(std::string_view(text_).substr(begin, tag - begin), '%', first);
    if (!data.empty()) emit(TokenKind::kData, std::string(data));
    advance(at + 2 - at_);
    after_tag(last, true);
    return true;
  }

  /// Up to and including the tag's end. Within brackets an end is operators, as in `{{ {'a': {}} }}`.
  void lex_expression(bool is_variable) {
    const std::string_view closing = is_variable ? "}}" : "%}";
    const int opened = line_;
    std::string brackets;
    for (;;) {
      skip_space();
      if (at_ == text_.size()) fail_at(opened, fmt::format("a tag is not closed with '{}'", closing));
      const size_t sign = peek() == '-' || (peek() == '+' && !is_variable) ? 1 : 0;
      if (brackets.empty() && std::string_view(text_).substr(at_ + sign).starts_with(closing)) {
        const char mark = sign == 1 ? peek() : '\0';
        emit(is_variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "");
        advance(sign + 2);
        return after_tag(mark, !is_variable);
      }
      lex_token(brackets);
    }
  }

  void lex_token(std::string& brackets) {
    const char c = peek();
    if (c == '\'' || c == '"') return lex_string(c);
    if (is_digit(c)) return lex_number();
    if (is_name_start(c)) return lex_name();
    lex_operator(brackets);
  }

  void lex_name() {
    const size_t begin = at_;
    while (is_name(peek())) ++at_;
    emit(TokenKind::kName, text_.substr(begin, at_ - begin));
  }

  void lex_number() {
    const size_t begin_of_number = at_;  // never 0: a tag stands before it
    std::string digits;
    bool is_float = false;
    const auto take_digits = [&] {
      while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)))) {
        if (peek() != '_') digits += peek();
        ++at_;
      }
    };
    take_digits();
    const bool after_dot = text_[begin_of_number - 1] == '.';  // pair.0.1
    if (!after_dot && peek() == '.' && is_digit(peek(1))) {
      is_float = true;
      digits += text_[at_++];
      take_digits();
    }
    const size_t exponent_sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(1 + exponent_sign))) {
      is_float = true;
      digits += text_.substr(at_, 1 + exponent_sign);
      at_ += 1 + exponent_sign;
      take_digits();
    }
    if (is_name_start(peek())) fail_at(line_, fmt::format("'{}{}' is not a number", digits, peek()));
    emit(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
  }

  void lex_string(char quote) {
    const int opened = line_;
    advance(1);
    std::string value;
    while (peek() != quote || at_ >= text_.size()) {
      if (at_ >= text_.size()) fail_at(opened, "a string is not closed");
      if (peek() == '\\' && at_ + 1 < text_.size()) {
        lex_escape(value);
      } else {
        value += peek();
        advance(1);
      }
    }
    advance(1);
    tokens_.push_back({TokenKind::kString, std::move(value), opened});
  }

  /// Python's escapes; an unknown one stands for itself with its backslash.
  void lex_escape(std::string& value) {
    const char c = peek(1);
    constexpr std::string_view kNamed = "ntrabfv\\'\"";
    constexpr std::string_view kValues = "\n\t\r\a\b\f\v\\'\"";
    if (const size_t index = kNamed.find(c); index != std::string_view::npos) {
      value += kValues[index];
      return advance(2);
    }
    if (c == '\n') return advance(2);  // a line continued
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) return lex_code(value, 2, digits, 16);
    if (c >= '0' && c <= '7') {
      size_t octal = 1;
      while (octal < 3 && peek(1 + octal) >= '0' && peek(1 + octal) <= '7') ++octal;
      return lex_code(value, 1, octal, 8);
    }
    value += '\\';
    advance(1);
  }

  void lex_code(std::string& value, size_t skip, size_t digits, int base) {
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      const std::optional<int> digit = digit_value(peek(skip + i), base);
      if (!digit) fail_at(line_, "an escape in a string has too few digits");
      code = code * static_cast<uint32_t>(base) + static_cast<uint32_t>(*digit);
    }
    append_utf8(value, static_cast<char32_t>(code));
    advance(skip + digits);
  }

  static std::optional<int> digit_value(char c, int base) {
    int value = 99;
    if (is_digit(c)) value = c - '0';
    if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
    if (value >= base) return std::nullopt;
    return value;
  }

  void lex_operator(std::string& brackets) {
    constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                               "/",  "%",  "~",  "<",  ">",  "=",  ".", ":", "|",
                                               ",",  "(",  ")",  "[",  "]",  "{",  "}", ";"};
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      balance(op, brackets);
      emit(TokenKind::kOperator, std::string(op));
      return advance(op.size());
    }
    fail_at(line_,
            fmt::format("the character {} has no meaning in an expression",
                        peek() >= ' ' && peek() <= '~' ? fmt::format("'{}'", peek()) : std::string("found")));
  }

  void balance(std::string_view op, std::string& brackets) const {
    if (op == "(") brackets += ')';
    if (op == "[") brackets += ']';
    if (op == "{") brackets += '}';
    if (op != ")" && op != "]" && op != "}") return;
    if (brackets.empty() || brackets.back() != op[0]) fail_at(line_, fmt::format("'{}' closes nothing", op));
    brackets.pop_back();
  }

  std::string text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(int line, std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("the chat template fails in line {}: {}", line, what));
}

void unsupported_at(int line, std::string_view what) {
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("the chat template uses {} in line {}, which this build does not know", what, line));
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(normalized(source)).run(); }

}  // namespace fathom::model::jinja
