// WordPiece with BERT's normaliser (Devlin et al., 2019; Hugging Face's BertNormalizer, BertPreTokenizer and WordPiece): text
// is cleaned, lower-cased and stripped of accents, cut at spaces and around punctuation and CJK ideographs; each word becomes
// the longest piece that begins it, then the longest that continue it, or the unknown token as a whole.
//
// Immutable and thread-safe. Text of n bytes takes O(n m), m: bytes of the longest piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/vocabulary.h"

namespace fathom::model {

struct WordPieceOptions {
  bool lowercase = true;
  bool strip_accents = true;
  bool separate_cjk = true;
  bool clean = true;     // control characters go, other white space becomes a space
  size_t longest = 100;  // characters of a word; a longer one is unknown
};

/// The words of a text, normalised, each followed by a space. REQUIRES: valid UTF-8 of fewer than 2^28 bytes.
std::string bert_words(std::string_view text, const WordPieceOptions& options);

class WordPieceEncoder {
 public:
  /// Pieces that begin words have kPieceSpace before them, as GGUF files keep them. `vocabulary` outlives the encoder.
  WordPieceEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown, WordPieceOptions options);

  /// Appends the ids of `text`. REQUIRES: valid UTF-8.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  using Pieces = std::unordered_map<std::string_view, int32_t>;

  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  Pieces beginnings_, continuations_;
  size_t longest_piece_ = 0;  // bytes
  std::optional<int32_t> unknown_;
  WordPieceOptions options_;
};

}  // namespace fathom::model
