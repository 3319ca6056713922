// From documents to a tokenizer in the forms that others read.
//
// A dialogue counts as the roles and texts of its messages. Documents that are refused (train/documents.h) are counted and passed
// over. The result depends on the documents alone, not on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/gguf.h"
#include "model/tokenizer_json.h"
#include "train/documents.h"

namespace fathom::train {

enum class TokenizerKind { kBytePair, kUnigram, kSentencePieceBytePair };

struct TokenizerOptions {
  DocumentOptions documents;
  TokenizerKind kind = TokenizerKind::kBytePair;
  size_t vocab = 32000;  // with special tokens; fewer where the text has no more to merge
  /// Control tokens. Of byte pairs they have the first ids, and the first of them ends a text; SentencePiece has its own
  /// <unk>, <s> and </s> before them.
  std::vector<std::string> special{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::string pre = "qwen2";  // of byte pairs: the value of tokenizer.ggml.pre (model/pretokenizer.h)
  uint64_t min_count = 2;     // of byte pairs: a pair that occurs less often is not merged
  std::string chat_template;  // empty: ChatML's where its marks are among the special tokens
  std::stop_token stop;
};

struct TrainedTokenizer {
  model::TokenizerMetadata metadata;
  std::string sentence_piece;  // the .model file; empty for byte pairs
  uint64_t documents = 0, refused = 0, bytes = 0;
  std::vector<std::string> problems;  // the first refusals
};

/// Of the reading, then of the merging.
struct TokenizerProgress {
  std::function<void(uint64_t bytes, uint64_t total)> read;
  std::function<void(size_t symbols, size_t total)> merge;
};

/// Errors: kInvalidArgument (options; no text; SentencePiece's reasons), those of DocumentReader.
TrainedTokenizer train_tokenizer(const TokenizerOptions& options, ThreadPool& pool,
                                 const TokenizerProgress& progress);

}  // namespace fathom::train
