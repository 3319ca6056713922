// The tokens of a vocabulary as two tries over their bytes: the short ones, and the few of more characters than
// Stacks::kHorizon. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "infer/grammar.h"

namespace fathom::infer {

struct GrammarVocabulary::Trie {
  static constexpr uint32_t kNone = ~uint32_t{0};

  /// In depth-first order, so that a walk reads forward and leaves a subtree by one jump.
  struct Node {
    uint32_t token = kNone;  // that ends here, the lowest id; `same` has the others
    uint32_t skip = 0;       // the node behind this one's subtree
    uint16_t depth = 0;      // the first byte of a token has 0
    uint8_t byte = 0;
  };

  Trie(const std::vector<std::string_view>& pieces, const std::vector<int32_t>& ends);

  std::string_view bytes(uint32_t token) const {
    return std::string_view(text).substr(offsets[token], offsets[token + 1] - offsets[token]);
  }

  size_t tokens = 0;
  std::vector<Node> plain, rare;
  std::vector<uint32_t> same;   // [tokens]: the next token of the same bytes, kNone: none
  std::string text;             // the bytes of all tokens, one after the other
  std::vector<size_t> offsets;  // [tokens + 1]
  size_t deepest = 0;           // bytes of the longest token
};

}  // namespace fathom::infer
