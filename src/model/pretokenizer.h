// The splitting of text into words before byte-level BPE merges: exact matchers for the regular expressions that models
// were trained with. Character classes are Unicode's (ICU). Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace fathom::model {

enum class PreTokenizer {
  kGpt2,     // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kDefault,  // runs of \p{P} or $+<=>^~| apart; then kGpt2; then \p{N}+ apart; then [0-9]{3} apart
  kLlama3,   // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
             // \s*[\r\n]+|\s+(?!\S)|\s+
  kQwen2,    // kLlama3 with \p{N} in place of \p{N}{1,3}
  kSmolLm,   // \p{N} apart; then kGpt2
  kFalcon,   // runs of \p{P} or $+<=>^~|` apart; then kGpt2; then [0-9]{3} apart
  // With U: \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}, L: \p{Ll}\p{Lm}\p{Lo}\p{M}, lead: [^\r\n\p{L}\p{N}]?
  kTekken,  // lead[U]*[L]+|lead[U]+[L]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
  kGpt4o,   // kTekken with (?i:'s|'t|'re|'ve|'m|'ll|'d)? after each of the first two, and \p{N}{1,3}
  kDeepSeekV3,  // \p{N}{1,3} apart; then runs of U+4E00-9FA5, U+3040-30FF apart; then [ASCII punctuation][A-Za-z]+|
                // [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
};

/// By the value of tokenizer.ggml.pre; empty for a name that this build does not know.
std::optional<PreTokenizer> pre_tokenizer_from_name(std::string_view name);

/// Whether the name stands for Llama 3's own kind of vocabulary, not for one that only shares its expression: a word that
/// is a token is not merged, and a text begins with the token for it.
bool is_llama3_vocabulary(std::string_view name);

/// Where each word of `text` ends, in bytes; the words cover the text. REQUIRES: `text` is valid UTF-8.
std::vector<size_t> split_words(PreTokenizer kind, std::string_view text);

}  // namespace fathom::model
