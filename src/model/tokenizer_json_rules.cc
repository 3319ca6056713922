#include "model/tokenizer_json_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "model/pretokenizer.h"
#include "model/sentence_piece.h"

namespace fathom::model {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostSteps = 64;

// The expressions as published files have them.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kNumberTriples = R"(\p{N}{1,3})";
constexpr std::string_view kKanaOrHan =
    "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+";
constexpr std::string_view kDeepSeek =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

[[noreturn]] void unsupported(std::string_view part, std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the tokenizer.json has the {} '{}', which this build does not know", part,
                          sanitize_utf8(what.substr(0, 400))));
}

[[noreturn]] void corrupt(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("in the tokenizer.json, {}; get it again", what));
}

/// The parts of a Sequence, one after another, sequences within it too; the part itself when it is none.
std::vector<const Json*> steps_of(const Json& part, const char* list) {
  std::vector<const Json*> steps, stack{&part};
  while (!stack.empty()) {
    const Json& next = *stack.back();
    stack.pop_back();
    if (next.is_null()) continue;
    if (!next.is_object()) corrupt(fmt::format("a part of the {} is no object", list));
    if (json_text(next, "type") != "Sequence") {
      steps.push_back(&next);
    } else {
      const Json& parts = json_member(next, list);
      if (!parts.is_array()) corrupt(fmt::format("a sequence has no list of {}", list));
      for (auto it = parts.rbegin(); it != parts.rend(); ++it) stack.push_back(&*it);
    }
    if (steps.size() + stack.size() > kMostSteps) corrupt(fmt::format("there are too many {}", list));
  }
  return steps;
}

std::vector<const Json*> pre_tokenizers(const Json& tokenizer) {
  return steps_of(json_member(tokenizer, "pre_tokenizer"), "pretokenizers");
}

std::vector<const Json*> normalizers(const Json& tokenizer) {
  return steps_of(json_member(tokenizer, "normalizer"), "normalizers");
}

/// The pattern of a Split or Replace: {"String": text} or {"Regex": text}.
struct Pattern {
  std::string text;
  bool is_regex = false;
};

Pattern pattern_of(const Json& step) {
  const Json& pattern = json_member(step, "pattern");
  const bool is_regex = pattern.is_object() && pattern.contains("Regex");
  return {json_text(pattern, is_regex ? "Regex" : "String"), is_regex};
}

/// One pre-tokenizer of a byte-level tokenizer in a short form that stands in the table below.
std::string spelled(const Json& step) {
  const std::string type = json_text(step, "type");
  if (type == "ByteLevel") {
    if (json_flag(step, "add_prefix_space", true))
      unsupported("pre-tokenizer", "ByteLevel with add_prefix_space");
    return json_flag(step, "use_regex", true) ? "words" : "bytes";
  }
  if (type == "Digits" && json_flag(step, "individual_digits", false)) return "digit";
  if (type != "Split") unsupported("pre-tokenizer", type);
  const Pattern pattern = pattern_of(step);
  const std::string behavior = json_text(step, "behavior");
  const bool invert = json_flag(step, "invert", false);
  // The expressions cover every text, so that removing what they do not match removes nothing.
  const bool isolates = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
  if (!isolates || pattern.text.empty())
    unsupported("pre-tokenizer", "Split " + behavior + " " + pattern.text);
  return pattern.text;
}

struct KnownSplit {
  std::vector<std::string_view> steps;
  std::string_view pre;
};

const std::vector<KnownSplit>& known_splits() {
  static const std::vector<KnownSplit> kKnown{
      {{"words"}, "gpt-2"},           {{kGpt2, "bytes"}, "gpt-2"},
      {{"digit", "words"}, "smollm"}, {{kLlama3, "bytes"}, "llama-bpe"},
      {{kQwen2, "bytes"}, "qwen2"},   {{kTekken, "bytes"}, "tekken"},
      {{kGpt4o, "bytes"}, "gpt-4o"},  {{kNumberTriples, kKanaOrHan, kDeepSeek, "bytes"}, "deepseek-v3"},
  };
  return kKnown;
}

/// The inverse of `spelled`.
Json step_of(std::string_view spelling) {
  if (spelling == "words" || spelling == "bytes")
    return {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", spelling == "words"}};
  if (spelling == "digit") return {{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Split"}, {"pattern", {{"Regex", spelling}}}, {"behavior", "Isolated"}, {"invert", false}};
}

bool is_nfc_only(const std::vector<const Json*>& steps) {
  for (const Json* step : steps)
    if (json_text(*step, "type") != "NFC") unsupported("normalizer", json_text(*step, "type"));
  return !steps.empty();
}

std::string decode_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<uint32_t>(c - 'a' + 26);
    else if (c >= '0' && c <= '9')
      value = static_cast<uint32_t>(c - '0' + 52);
    else if (c == '+')
      value = 62;
    else if (c == '/')
      value = 63;
    else if (c == '=')
      break;
    else
      corrupt("precompiled_charsmap is not base64");
    bits = bits << 6 | value;
    if (++count % 4 != 1) bytes += static_cast<char>(bits >> (6 - 2 * ((count - 1) % 4)) & 0xFF);
  }
  return bytes;
}

void apply_normalizer(const Json& step, SpacedRules& rules, bool& spaces_replaced) {
  const std::string type = json_text(step, "type");
  if (type == "Precompiled") {
    rules.charsmap = decode_base64(json_text(step, "precompiled_charsmap"));
  } else if (type == "Prepend" && json_text(step, "prepend") == kPieceSpace) {
    rules.add_prefix = true;
  } else if (type == "Strip") {  // of what is left after double spaces have gone: part of remove_extra
  } else if (type == "Replace") {
    const Pattern pattern = pattern_of(step);
    const std::string content = json_text(step, "content");
    if (!pattern.is_regex && pattern.text == " " && content == kPieceSpace)
      spaces_replaced = true;
    else if (pattern.is_regex && pattern.text == " {2,}" && (content == kPieceSpace || content == " "))
      rules.remove_extra = true;
    else
      unsupported("normalizer", "Replace " + pattern.text);
  } else {
    unsupported("normalizer", type);
  }
}

void apply_pre_tokenizer(const Json& step, bool is_unigram, bool spaces_replaced, SpacedRules& rules) {
  const std::string type = json_text(step, "type");
  if (type == "WhitespaceSplit" && is_unigram) {
    rules.remove_extra = rules.any_space = true;
  } else if (type == "Metaspace") {
    if (json_text(step, "replacement") != kPieceSpace)
      unsupported("pre-tokenizer", "Metaspace of another sign");
    if (!is_unigram && json_flag(step, "split", true)) unsupported("pre-tokenizer", "Metaspace with split");
    const std::string scheme = json_text(step, "prepend_scheme");
    if (scheme.empty() ? json_flag(step, "add_prefix_space", true) : scheme != "never")
      rules.add_prefix = true;
  } else if (type == "Split") {
    // Gemma's: splits at the spaces that the normalizer has already replaced, so never.
    const Pattern pattern = pattern_of(step);
    if (!spaces_replaced || pattern.is_regex || pattern.text != " ")
      unsupported("pre-tokenizer", pattern.text);
  } else {
    unsupported("pre-tokenizer", type);
  }
}

}  // namespace

const Json& json_member(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string json_text(const Json& object, const char* key) {
  const Json& value = json_member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool json_flag(const Json& object, const char* key, bool fallback) {
  const Json& value = json_member(object, key);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

bool is_byte_level(const Json& tokenizer) {
  for (const Json* step : pre_tokenizers(tokenizer))
    if (json_text(*step, "type") == "ByteLevel") return true;
  return false;
}

ByteLevelRules byte_level_rules(const Json& tokenizer) {
  ByteLevelRules rules;
  rules.nfc = is_nfc_only(normalizers(tokenizer));
  std::vector<std::string> steps;
  for (const Json* step : pre_tokenizers(tokenizer)) steps.push_back(spelled(*step));
  for (const KnownSplit& known : known_splits())
    if (std::ranges::equal(steps, known.steps)) rules.pre = known.pre;
  if (rules.pre.empty()) unsupported("pre-tokenizer", fmt::format("{}", fmt::join(steps, " then ")));
  return rules;
}

Json byte_level_pre_tokenizer(std::string_view pre) {
  const auto rules = pre_tokenizer_from_name(pre);
  for (const KnownSplit& known : known_splits()) {
    if (!rules || pre_tokenizer_from_name(known.pre) != rules) continue;
    Json steps = Json::array();
    for (const std::string_view step : known.steps) steps.push_back(step_of(step));
    return steps.size() == 1 ? steps[0] : Json{{"type", "Sequence"}, {"pretokenizers", steps}};
  }
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the pre-tokenizer '{}' cannot be written as tokenizer.json", pre));
}

SpacedRules spaced_rules(const Json& tokenizer) {
  SpacedRules rules;
  const bool is_unigram = json_text(json_member(tokenizer, "model"), "type") == "Unigram";
  bool spaces_replaced = false;
  for (const Json* step : normalizers(tokenizer)) apply_normalizer(*step, rules, spaces_replaced);
  for (const Json* step : pre_tokenizers(tokenizer))
    apply_pre_tokenizer(*step, is_unigram, spaces_replaced, rules);
  return rules;
}

WordRules word_rules(const Json& tokenizer) {
  const auto steps = normalizers(tokenizer);
  const auto splits = pre_tokenizers(tokenizer);
  if (splits.size() != 1 || json_text(*splits[0], "type") != "BertPreTokenizer")
    unsupported("pre-tokenizer", splits.empty() ? "none" : json_text(*splits[0], "type"));
  if (steps.size() != 1 || json_text(*steps[0], "type") != "BertNormalizer")
    unsupported("normalizer", steps.empty() ? "none" : json_text(*steps[0], "type"));
  WordRules rules;
  rules.lowercase = json_flag(*steps[0], "lowercase", true);
  rules.strip_accents = json_flag(*steps[0], "strip_accents", rules.lowercase);  // null: as lowercase
  rules.separate_cjk = json_flag(*steps[0], "handle_chinese_chars", true);
  rules.clean = json_flag(*steps[0], "clean_text", true);
  return rules;
}

}  // namespace fathom::model
