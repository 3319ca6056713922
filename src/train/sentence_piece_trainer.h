// Training of SentencePiece vocabularies (Kudo and Richardson, 2018) by its own library.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace fathom::train {

struct SentencePieceOptions {
  bool unigram = false;  // else BPE
  size_t vocab = 0;
  std::vector<std::string> special;  // control pieces, beside <unk>, <s> and </s>
};

/// Gives the next sentence; false at the end.
using SentenceSource = std::function<bool(std::string&)>;

/// The model file's bytes (a ModelProto): byte fallback, digits apart, text as it is (no normalisation). Sentences are all
/// in memory. What `source` throws goes through. Errors: kInvalidArgument with the library's reason (the text is too small for
/// the vocabulary, for instance).
std::string train_sentence_piece(const SentencePieceOptions& options, const SentenceSource& source);

}  // namespace fathom::train
