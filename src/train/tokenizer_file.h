// Tokenizers as files: read from any of the forms that they come in, and recognised again by their digest.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "model/gguf.h"
#include "model/tokenizer.h"

namespace fathom::train {

/// Owns the bytes that `file` points into, where they are not the file's own.
struct TokenizerFile {
  std::unique_ptr<const std::string> bytes;
  model::GgufFile file;  // metadata tokenizer.*
};

/// A GGUF file or Hugging Face folder (with or without weights), a tokenizer.json (its tokenizer_config.json is read if it
/// lies beside) or a SentencePiece tokenizer.model. Errors: kNotFound, kIo, kCorrupt, kUnsupported.
TokenizerFile open_tokenizer(const std::filesystem::path& path);

/// SHA-256 over texts and kinds of all tokens in order: the same ids mean the same for tokenizers of one digest.
std::string tokenizer_digest(const model::Tokenizer& tokenizer);

}  // namespace fathom::train
