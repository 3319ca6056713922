// Unigram pieces: the cut of a text whose pieces' scores (log probabilities) sum up highest, by Viterbi search (Kudo, 2018;
// SentencePiece's unigram_model, EncodeOptimized). A character that no piece begins with costs 10 less than the lowest
// score; it becomes its bytes where the vocabulary has them, else the unknown token, once for a run of them.
//
// Immutable and thread-safe. A text of n bytes takes O(n m), m: bytes of the longest piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/vocabulary.h"

namespace fathom::model {

class UnigramEncoder {
 public:
  /// Normal pieces only: control tokens and user-defined ones are found before, unused ones never. `double_sums`: scores
  /// are added in double precision (Hugging Face) and not in single (SentencePiece), which decides near ties.
  UnigramEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown, bool double_sums);

  /// Appends the ids of `text`, which is normalised. REQUIRES: valid UTF-8 of fewer than 2^31 bytes.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  /// Children stand side by side, sorted by label.
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t label = 0;
    int32_t id = -1;  // of the piece that ends here
  };
  template <class Score>
  struct Step {
    Score score = 0;
    int32_t begin = -1;  // of the piece that ends here; -1: not reached
    int32_t id = -1;     // -1: unknown
  };

  const Node* child(const Node& node, char label) const;
  template <class Score>
  void search(std::string_view text, std::vector<Step<Score>>& steps) const;
  template <class Score>
  void encode_with(std::string_view text, std::vector<int32_t>& ids) const;
  bool emit_bytes(std::string_view character, std::vector<int32_t>& ids) const;

  std::vector<Node> nodes_;  // [0]: the root
  std::vector<float> scores_;
  float unknown_score_ = 0;
  std::optional<int32_t> unknown_;
  bool double_sums_;
  int32_t byte_ids_[256];
};

}  // namespace fathom::model
