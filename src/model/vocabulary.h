// The tokens of a model as its file lists them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom::model {

/// The numbers of tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

/// Three parallel lists; index: token id.
struct Vocabulary {
  std::vector<std::string> texts;
  std::vector<TokenType> types;
  std::vector<float> scores;

  size_t size() const { return texts.size(); }
};

}  // namespace fathom::model
