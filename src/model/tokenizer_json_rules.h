// Which rules a tokenizer.json follows, read off its normalizer and pre_tokenizer. Pure functions, thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fathom::model {

/// Byte-level BPE.
struct ByteLevelRules {
  std::string pre;  // the value of tokenizer.ggml.pre
  bool nfc = false;
};

/// SentencePiece BPE and Unigram.
struct SpacedRules {
  bool add_prefix = false;  // a space before the text
  bool remove_extra = false;
  bool any_space = false;  // every white space counts as one
  std::string charsmap;    // SentencePiece's precompiled one, decoded
};

/// WordPiece.
struct WordRules {
  bool lowercase = true;
  bool strip_accents = true;
  bool separate_cjk = true;
  bool clean = true;
};

/// Whether the pre-tokenizer is byte-level: its words are in GPT-2's alphabet.
bool is_byte_level(const nlohmann::json& tokenizer);

/// Errors: kUnsupported, naming the part; kCorrupt for parts of the wrong kind.
ByteLevelRules byte_level_rules(const nlohmann::json& tokenizer);
/// The pre_tokenizer that has these rules. Errors: kUnsupported for rules that have no such form here.
nlohmann::json byte_level_pre_tokenizer(std::string_view pre);
SpacedRules spaced_rules(const nlohmann::json& tokenizer);
WordRules word_rules(const nlohmann::json& tokenizer);

/// A member of an object, null where there is none or `object` is none.
const nlohmann::json& json_member(const nlohmann::json& object, const char* key);
/// Its text; empty when it is not a string.
std::string json_text(const nlohmann::json& object, const char* key);
bool json_flag(const nlohmann::json& object, const char* key, bool fallback);

}  // namespace fathom::model
