// SentencePiece BPE: the merge whose piece has the highest score first, the leftmost of equals (Kudo and Richardson,
// 2018, bpe_model); characters without a piece become bytes, or the unknown token, once for a run of them, where the
// vocabulary has no bytes. A piece with the score -infinity is never merged to.
//
// Immutable and thread-safe. Text of n bytes takes O(n log n).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/text_index.h"
#include "model/vocabulary.h"

namespace fathom::model {

/// U+2581, which stands for a space in pieces.
inline constexpr std::string_view kPieceSpace = "\xE2\x96\x81";

/// The byte that a token of type kByte ("<0x0A>") stands for.
std::optional<uint8_t> byte_of_token(std::string_view text);

class SentencePieceEncoder {
 public:
  /// `vocabulary` outlives the encoder.
  SentencePieceEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown);

  /// Appends the ids of `text`, whose spaces are kPieceSpace already. REQUIRES: valid UTF-8 of fewer than 2^31 bytes.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  struct Session;

  /// The piece's id; only tokens that text may merge to.
  std::optional<int32_t> find(std::string_view piece) const;
  /// False where it has no bytes.
  bool emit_bytes(std::string_view character, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  std::optional<int32_t> unknown_;
  TextIndex pieces_;
  size_t longest_ = 0;  // bytes of the longest piece
  int32_t byte_ids_[256];
};

}  // namespace fathom::model
