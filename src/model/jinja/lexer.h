// Template text to tokens, with Hugging Face's settings: trim_blocks, lstrip_blocks, no trailing newline.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::model::jinja {

enum class TokenKind {
  kData,  // text between tags
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of a string: its value
  int line = 1;
};

/// The tokens, kEnd last. Errors: kInvalidArgument, naming the line.
std::vector<Token> tokenize(std::string_view source);

[[noreturn]] void fail_at(int line, std::string_view what);         // kInvalidArgument
[[noreturn]] void unsupported_at(int line, std::string_view what);  // kUnsupported

}  // namespace fathom::model::jinja
