// Documents out of files, for the training of tokenizers and of models.
//
// Inputs are NDJSON (one object a line), plain text (one document a file, or a line) and folders of both, each also
// compressed with zstd; "-" is standard input. A name that ends in .jsonl, .ndjson or .json (before .zst) is NDJSON, any
// other is text; of a folder, at any depth and sorted by path, only .jsonl, .ndjson, .txt and .md are read.
//
// Reading is split from parsing, so that many threads parse what one reads: `DocumentReader` gives lines and texts as they
// lie in the file, `parse_document` makes sense of one. Nothing is believed: what is not UTF-8, not JSON, has a NUL or is
// longer than kLongestDocument is refused by name and place, and the rest is read. A reader is for one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "base/line_reader.h"

namespace fathom::train {

/// Longer lines are refused.
inline constexpr size_t kLongestDocument = size_t{16} << 20;
/// A longer text is cut at the end of a line into several documents: splitting text into words takes 25 times its size.
inline constexpr size_t kLongestText = size_t{4} << 20;

enum class InputFormat { kByName, kNdjson, kText };

struct DocumentOptions {
  std::vector<std::filesystem::path> inputs;
  InputFormat format = InputFormat::kByName;
  bool lines = false;  // plain text: every line that is not empty is a document
  // Fields of NDJSON.
  std::string field = "text";
  bool dialogues = false;  // read `messages` too, and `prompt_field` with `answer_field`
  std::string prompt_field = "prompt", answer_field = "answer";
};

/// A document as it lies in its file.
struct RawDocument {
  std::string bytes;
  size_t file = 0;    // index of the reader's files
  uint64_t line = 0;  // where it begins
  bool json = false;
  bool too_long = false;  // and left out
};

/// A text, or the messages of a dialogue: [{"role", "content"}, ...].
struct Document {
  std::string text;
  nlohmann::ordered_json messages;  // null: it is a text
};

class DocumentReader {
 public:
  /// Errors: kNotFound, kInvalidArgument (a folder without a file to read).
  explicit DocumentReader(const DocumentOptions& options);

  /// Fills `batch` with the next documents: up to `most`, of about `bytes`. False at the end. Errors: kIo; kCorrupt for a
  /// damaged zstd frame (names file and offset); kCancelled.
  bool next(std::vector<RawDocument>& batch, size_t most, size_t bytes, const std::stop_token& stop);

  /// "FILE:LINE".
  std::string place(const RawDocument& document) const;
  uint64_t total_bytes() const { return total_; }  // of all files as they lie; 0: not known (a pipe)
  uint64_t position() const;                       // of them read

 private:
  void add(const std::filesystem::path& path);
  bool is_json(const std::filesystem::path& path) const;
  bool next(RawDocument& document, const std::stop_token& stop);
  bool next_text(RawDocument& document, const std::stop_token& stop);

  DocumentOptions options_;
  std::vector<std::filesystem::path> files_;
  uint64_t total_ = 0, before_ = 0;  // bytes of all files, of those done
  size_t file_ = 0;
  std::unique_ptr<LineReader> lines_;  // of files_[file_]
  std::string line_;
  uint64_t too_long_ = 0;  // the number of a line that comes next, after what lay before it
};

/// Errors: kCorrupt, saying what is wrong with it.
Document parse_document(const RawDocument& raw, const DocumentOptions& options);

}  // namespace fathom::train
