// Hugging Face's tokenizer.json and tokenizer_config.json as the tokenizer.ggml.* metadata of a GGUF file, so that one
// Tokenizer serves both worlds (format: the `tokenizers` library; metadata: docs/gguf.md of ggml, as its converter writes
// it).
//
// What a file does is recognised by the structure of its normalizer, pre_tokenizer and model, the text of its regular
// expressions among them, never by a model's name. Beyond ggml's keys there are these, written only where the file departs
// from what ggml takes for granted:
//   fathom.tokenizer.ignore_merges     bool: a word that is a token is not merged (byte-level BPE)
//   fathom.tokenizer.nfc               bool: text is normalised to NFC first (byte-level BPE)
//   fathom.tokenizer.double_scores     bool: scores are added in double precision, as this library does (Unigram)
//   fathom.tokenizer.any_space         bool: every white space counts as a space (Unigram)
//   fathom.tokenizer.word.lowercase, .strip_accents, .separate_cjk, .clean    bool (WordPiece)
//   fathom.tokenizer.word.longest      u32: characters of the longest word that is looked at (WordPiece)
//
// Nothing in the files is believed: sizes, depths, ids and types are checked. Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf.h"

namespace fathom::model {

using TokenizerMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// `tokenizer_config_json` may be empty: then there is no chat template, and special ids are those that the post-processor
/// or convention names. `rows`: of the model's embedding matrix; a vocabulary that has fewer tokens is filled up with
/// unused ones, as ggml's converter does; 0: it stays as it is.
/// Errors: kCorrupt (not JSON, or a part of another kind than it must be: named), kUnsupported (a tokenizer that this
/// build does not have; the sentence names the part, a regular expression by its text), kResourceExhausted (more than
/// 512 MiB or 4 million tokens).
TokenizerMetadata tokenizer_metadata(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                     size_t rows = 0);

struct TokenizerFiles {
  std::string tokenizer, config;  // tokenizer.json and tokenizer_config.json
};

/// The way back: the files of a tokenizer whose metadata a GGUF file has. Errors: kUnsupported, naming what cannot be
/// written so (another family than byte-level BPE, rules that the format has no expression for here); kCorrupt.
TokenizerFiles tokenizer_files(const GgufFile& file);

/// The same from a SentencePiece model file (tokenizer.model: a serialised ModelProto), BPE or Unigram.
/// Errors: as above.
TokenizerMetadata sentence_piece_metadata(std::string_view model);

}  // namespace fathom::model
