// Text to token ids and back, as the model file's own vocabulary and rules say.
//
// Four families, by tokenizer.ggml.model: byte-level BPE ("gpt2"; Sennrich et al., 2016, on the bytes of pre-tokenised
// words), SentencePiece BPE ("llama"; Kudo and Richardson, 2018: the highest-scored merge first, unknown characters as
// bytes), SentencePiece Unigram ("t5"; Kudo, 2018) and WordPiece ("bert"; Devlin et al., 2019). Encoding takes O(n log n)
// for any text. Text that is not UTF-8 is encoded with each ill-formed sequence as U+FFFD, by SentencePiece each byte of
// one. Ids are as llama.cpp, SentencePiece and Hugging Face give them, with two exceptions: special tokens are found
// leftmost first (as Hugging Face does; llama.cpp takes the longest anywhere), and text never turns into a control token
// by merging. WordPiece is Hugging Face's, where llama.cpp's differs.
//
// Immutable and thread-safe; owns its vocabulary (the GgufFile may go).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf.h"
#include "model/segment.h"

namespace fathom::model {

class Tokenizer {
 public:
  /// Errors: kCorrupt (a key is missing or inconsistent: the sentence names it), kUnsupported (another tokenizer model or
  /// pre-tokenizer: named).
  static Tokenizer from_gguf(const GgufFile& file);
  /// From what model/tokenizer_json.h gives; `name` stands for the path in errors. Errors: the same.
  static Tokenizer from_metadata(const std::vector<std::pair<std::string, GgufValue>>& metadata,
                                 std::string name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  size_t size() const;  // ids are 0..size() - 1

  /// No beginning-of-text token is added (see add_bos). Control tokens written in the text are recognised only with
  /// `allow_special`; tokens that the vocabulary calls user-defined always are.
  std::vector<int32_t> encode(std::string_view text, bool allow_special = false) const;

  /// The segments as one text, so that words may cross from one to the next, but control tokens are recognised only
  /// where every byte is the template's; so are user-defined tokens that look like markup (<...> or [...]).
  std::vector<int32_t> encode(std::span<const Segment> segments) const;

  /// All bytes of the tokens' text; may end or begin within a character. Control tokens give their text only with
  /// `keep_special`. A SentencePiece vocabulary with a space prefix loses the first one. Ids out of range give nothing.
  std::string decode(std::span<const int32_t> tokens, bool keep_special = false) const;

  /// The bytes that a token adds to a stream: part of a character at times, empty for control tokens. Valid as long as
  /// the tokenizer. REQUIRES: 0 <= id < size().
  std::string_view piece(int32_t id) const;
  /// The vocabulary's own text of it: "<|im_end|>". REQUIRES: as `piece`.
  std::string_view text(int32_t id) const;
  /// The token whose `text` this is.
  std::optional<int32_t> find(std::string_view text) const;

  bool is_control(int32_t id) const;  // false when out of range
  /// A token at which generation ends: end of text, of turn or of message.
  bool is_end(int32_t id) const;

  std::optional<int32_t> bos() const;  // WordPiece: [CLS]
  std::optional<int32_t> eos() const;  // WordPiece: [SEP]
  std::optional<int32_t> eot() const;  // end of turn
  bool add_bos() const;                // a text to complete begins with bos()
  bool add_eos() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace fathom::model
