#include "model/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "model/sentence_piece.h"
#include "model/tokenizer_json_rules.h"
#include "model/vocabulary.h"

namespace fathom::model {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{512} << 20;
constexpr size_t kMostTokens = size_t{1} << 22;
constexpr size_t kMostMerges = size_t{1} << 23;
constexpr size_t kDeepest = 64;
constexpr size_t kLongestText = size_t{1} << 16;  // bytes of a token or a merge
// Ids that no token has are filled in; more than this beside the tokens' own number is no vocabulary.
constexpr size_t kMostGaps = size_t{1} << 16;

[[noreturn]] void corrupt(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("in the tokenizer.json, {}; get it again", what));
}

[[noreturn]] void unsupported(std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the tokenizer.json has {}, which this build does not know", what));
}

struct NamedId {
  std::string text;
  int64_t id = 0;
};

/// The file's content: the long lists apart, so that they never stand in a tree of JSON values.
struct Document {
  Json rest;
  std::vector<NamedId> vocabulary;  // model.vocab as an object, or the texts of a list, numbered
  std::vector<float> scores;        // of a list
  std::vector<std::string> merges;  // "left right"; spaces within a part as GPT-2's alphabet has them
};

/// Takes the long lists out of the events of nlohmann's parser and leaves the rest to it.
class Reader {
 public:
  explicit Reader(Document& out) : out_(out) {}

  bool operator()(int depth_number, Json::parse_event_t event, Json& value) {
    const auto depth = static_cast<size_t>(depth_number);
    if (depth > kDeepest) corrupt("lists or objects are nested too deep");
    if (event == Json::parse_event_t::key) return take_key(depth, value);
    const bool in_lists = path_.size() >= 2 && path_[0] == "model" && depth >= 3 &&
                          (path_[1] == "vocab" || path_[1] == "merges");
    if (!in_lists) return true;
    if (path_[1] == "vocab") return take_vocabulary(depth, event, value);
    return take_merge(depth, event, value);
  }

 private:
  bool take_key(size_t depth, const Json& value) {
    path_.resize(depth - 1);
    path_.push_back(value.get<std::string>());
    const bool is_entry = depth == 3 && path_[0] == "model" && path_[1] == "vocab";
    return !is_entry;
  }

  /// {"text": id, ...} at depth 3, or [["text", score], ...]: lists at depth 3, what they hold at depth 4.
  bool take_vocabulary(size_t depth, Json::parse_event_t event, const Json& value) {
    using Event = Json::parse_event_t;
    if (depth == 3 && event == Event::value) {
      if (path_.size() != 3 || !value.is_number_unsigned())
        corrupt("an entry of model.vocab is no text with an id");
      add_token(std::move(path_[2]), value.get<uint64_t>());
      path_.resize(2);
      return false;
    }
    if (depth == 3 && event == Event::array_start) {
      parts_ = 0;
      return true;
    }
    if (depth == 4 && event == Event::value) {
      if (parts_ == 0 && value.is_string())
        add_token(value.get<std::string>(), out_.vocabulary.size());
      else if (parts_ == 1 && value.is_number())
        out_.scores.push_back(value.get<float>());
      else
        corrupt("an entry of model.vocab is no text with a score");
      ++parts_;
      return false;
    }
    if (depth == 3 && event == Event::array_end) {
      if (parts_ != 2) corrupt("an entry of model.vocab is no text with a score");
      return false;
    }
    corrupt("model.vocab holds something that is no token");
  }

  /// "left right" at depth 3, or ["left", "right"] with its parts at depth 4.
  bool take_merge(size_t depth, Json::parse_event_t event, const Json& value) {
    using Event = Json::parse_event_t;
    if (depth == 3 && event == Event::value && value.is_string()) {
      add_merge(value.get<std::string>());
      return false;
    }
    if (depth == 3 && event == Event::array_start) {
      parts_ = 0;
      return true;
    }
    if (depth == 4 && event == Event::value && value.is_string() && parts_ < 2) {
      const std::string part = with_spelled_spaces(value.get_ref<const std::string&>());
      if (part.empty()) corrupt("a merge has an empty part");
      merge_ = parts_ == 0 ? part : merge_ + " " + part;
      ++parts_;
      return false;
    }
    if (depth == 3 && event == Event::array_end && parts_ == 2) {
      add_merge(std::move(merge_));
      return false;
    }
    corrupt("an entry of model.merges is no pair");
  }

  static std::string with_spelled_spaces(const std::string& part) {
    if (part.size() > kLongestText) corrupt("a merge is too long");
    std::string out;
    out.reserve(part.size());
    for (const char c : part) {
      if (c == ' ')
        out += "\xC4\xA0";
      else
        out += c;
    }
    return out;
  }

  void add_token(std::string text, uint64_t id) {
    if (out_.vocabulary.size() >= kMostTokens || id >= kMostTokens)
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format("the tokenizer.json has more than the {} tokens that this build reads", kMostTokens));
    if (text.size() > kLongestText) corrupt("a token is too long");
    out_.vocabulary.push_back({std::move(text), static_cast<int64_t>(id)});
  }

  void add_merge(std::string merge) {
    if (out_.merges.size() >= kMostMerges)
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format("the tokenizer.json has more than the {} merges that this build reads", kMostMerges));
    if (merge.size() > 2 * kLongestText) corrupt("a merge is too long");
    out_.merges.push_back(std::move(merge));
  }

  Document& out_;
  std::vector<std::string> path_;  // keys from the root to the value that comes next
  size_t parts_ = 0;               // of the pair that is being read
  std::string merge_;
};

Json parse_small(std::string_view text, std::string_view name) {
  if (text.empty()) return Json::object();
  if (text.size() > kMostBytes)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the {} has {} bytes, more than this build reads", name, text.size()));
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > static_cast<int>(kDeepest)) corrupt("lists or objects are nested too deep");
    return true;
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), shallow);
    if (!json.is_object()) throw Error(ErrorCode::kCorrupt, fmt::format("the {} is no JSON object", name));
    return json;
  } catch (const Json::exception&) {
    throw Error(ErrorCode::kCorrupt, fmt::format("the {} is not JSON; get it again", name));
  }
}

Document parse(std::string_view text) {
  if (text.size() > kMostBytes)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the tokenizer.json has {} bytes, more than this build reads", text.size()));
  Document document;
  Reader reader(document);
  try {
    document.rest = Json::parse(
        text.begin(), text.end(),
        [&](int depth, Json::parse_event_t event, Json& value) { return reader(depth, event, value); });
  } catch (const Json::exception& error) {
    corrupt(
        fmt::format("the JSON is broken ({})", sanitize_utf8(std::string_view(error.what()).substr(0, 200))));
  }
  if (!json_member(document.rest, "model").is_object()) corrupt("there is no model");
  if (document.vocabulary.empty()) corrupt("model.vocab has no tokens");
  if (!document.scores.empty() && document.scores.size() != document.vocabulary.size())
    corrupt("model.vocab mixes two forms");
  return document;
}

struct AddedToken {
  std::string text;
  int64_t id = 0;
  bool special = false;
};

std::vector<AddedToken> added_tokens(const Json& rest) {
  std::vector<AddedToken> tokens;
  const Json& list = json_member(rest, "added_tokens");
  if (list.is_null()) return tokens;
  if (!list.is_array() || list.size() > kMostTokens) corrupt("added_tokens is no list of tokens");
  for (const Json& entry : list) {
    const Json& id = json_member(entry, "id");
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= kMostTokens ||
        !json_member(entry, "content").is_string())
      corrupt("an entry of added_tokens has no content and id");
    tokens.push_back({json_text(entry, "content"), id.get<int64_t>(), json_flag(entry, "special", false)});
  }
  return tokens;
}

/// Tokens that published files fail to mark as special (as ggml's converter has it).
bool looks_special(std::string_view text) {
  constexpr std::string_view kWide = "\xEF\xBD\x9C";  // U+FF5C, as in deepseek's
  const auto within = [&](const std::string& open, const std::string& close) {
    return text.size() >= open.size() + close.size() && text.starts_with(open) && text.ends_with(close);
  };
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
         within("<|", "|>") || within("<" + std::string(kWide), std::string(kWide) + ">") ||
         within("<unused", ">");
}

enum class Kind { kByteLevel, kSpacedPairs, kUnigram, kWordPiece };

Kind kind_of(const Document& document) {
  const Json& model = json_member(document.rest, "model");
  std::string type = json_text(model, "type");
  if (type.empty()) {  // files of older versions do not say
    if (model.contains("max_input_chars_per_word"))
      type = "WordPiece";
    else if (!document.scores.empty())
      type = "Unigram";
    else if (model.contains("merges"))
      type = "BPE";
  }
  if (type == "WordPiece") return Kind::kWordPiece;
  if (type == "Unigram") return Kind::kUnigram;
  if (type != "BPE") unsupported(fmt::format("the model '{}'", sanitize_utf8(type.substr(0, 40))));
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json_text(model, affix).empty()) unsupported(fmt::format("a {}", affix));
  return is_byte_level(document.rest) ? Kind::kByteLevel : Kind::kSpacedPairs;
}

class Converter {
 public:
  Converter(Document document, const Json& config, size_t rows)
      : document_(std::move(document)), config_(config), rows_(rows), kind_(kind_of(document_)) {}

  TokenizerMetadata convert() {
    read_vocabulary();
    switch (kind_) {
      case Kind::kByteLevel: write_byte_level(); break;
      case Kind::kSpacedPairs: write_spaced_pairs(); break;
      case Kind::kUnigram: write_unigram(); break;
      case Kind::kWordPiece: write_words(); break;
    }
    write_special_ids();
    write_templates();
    set("tokenizer.ggml.tokens", std::move(texts_));
    set("tokenizer.ggml.token_type", std::move(types_));
    return std::move(out_);
  }

 private:
  const Json& model() const { return json_member(document_.rest, "model"); }
  void set(std::string key, GgufValue value) { out_.emplace_back(std::move(key), std::move(value)); }

  void read_vocabulary() {
    const auto added = added_tokens(document_.rest);
    size_t size = 0;
    for (const NamedId& token : document_.vocabulary)
      size = std::max(size, static_cast<size_t>(token.id) + 1);
    for (const AddedToken& token : added) size = std::max(size, static_cast<size_t>(token.id) + 1);
    if (size > document_.vocabulary.size() + added.size() + kMostGaps)
      corrupt("the ids of tokens leave too many out");
    if (rows_ > kMostTokens) unsupported(fmt::format("{} rows", rows_));
    size = std::max(size, rows_);
    texts_.resize(size);
    types_.assign(size, static_cast<int32_t>(TokenType::kUnused));
    std::vector<bool> taken(size, false);
    for (NamedId& token : document_.vocabulary) {
      const auto id = static_cast<size_t>(token.id);
      if (taken[id]) corrupt(fmt::format("two tokens have the id {}", id));
      taken[id] = true;
      texts_[id] = std::move(token.text);
      types_[id] = static_cast<int32_t>(TokenType::kNormal);
    }
    mark_bytes();
    for (const AddedToken& token : added) add(token, taken);
    for (size_t id = 0; id < size; ++id)
      if (!taken[id]) texts_[id] = fmt::format("[PAD{}]", id);
    for (size_t id = 0; id < size; ++id) ids_.emplace(texts_[id], id);
    mark_unknown();
  }

  void mark_bytes() {
    if (!json_flag(model(), "byte_fallback", false)) return;
    for (size_t id = 0; id < texts_.size(); ++id)
      if (byte_of_token(texts_[id])) types_[id] = static_cast<int32_t>(TokenType::kByte);
  }

  void add(const AddedToken& token, std::vector<bool>& taken) {
    const auto id = static_cast<size_t>(token.id);
    // A list of added tokens may repeat what the vocabulary has, never contradict it.
    if (taken[id] && texts_[id] != token.text) corrupt(fmt::format("two tokens have the id {}", id));
    taken[id] = true;
    const bool control = token.special || looks_special(token.text);
    types_[id] = static_cast<int32_t>(control ? TokenType::kControl : TokenType::kUserDefined);
    texts_[id] = token.text;
    if (control) return;
    std::string spaced;
    for (std::string_view rest = token.text; !rest.empty();) {
      const bool space = rest.starts_with(kPieceSpace);
      spaced += space ? ' ' : rest[0];
      rest.remove_prefix(space ? kPieceSpace.size() : 1);
    }
    texts_[id] = std::move(spaced);
  }

  void mark_unknown() {
    std::optional<size_t> id;
    const Json& number = json_member(model(), "unk_id");
    if (number.is_number_unsigned() && number.get<uint64_t>() < texts_.size()) id = number.get<size_t>();
    if (const auto named = find(json_text(model(), "unk_token"))) id = named;
    if (!id) return;
    unknown_ = id;
    if (kind_ != Kind::kByteLevel) types_[*id] = static_cast<int32_t>(TokenType::kUnknown);
  }

  std::optional<size_t> find(const std::string& text) const {
    const auto found = text.empty() ? ids_.end() : ids_.find(text);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  void write_byte_level() {
    const ByteLevelRules rules = byte_level_rules(document_.rest);
    set("tokenizer.ggml.model", std::string("gpt2"));
    set("tokenizer.ggml.pre", rules.pre);
    set("tokenizer.ggml.merges", std::move(document_.merges));
    set("fathom.tokenizer.ignore_merges", json_flag(model(), "ignore_merges", false));
    if (rules.nfc) set("fathom.tokenizer.nfc", true);
  }

  void write_spaces(const SpacedRules& rules) {
    set("tokenizer.ggml.pre", std::string("default"));
    set("tokenizer.ggml.add_space_prefix", rules.add_prefix);
    set("tokenizer.ggml.remove_extra_whitespaces", rules.remove_extra);
    if (rules.any_space) set("fathom.tokenizer.any_space", true);
    if (rules.charsmap.empty()) return;
    set("tokenizer.ggml.precompiled_charsmap",
        std::vector<uint8_t>(rules.charsmap.begin(), rules.charsmap.end()));
  }

  /// Merges become scores: a piece's is the rank of the first merge that makes it, negated. What no merge makes is never
  /// made.
  void write_spaced_pairs() {
    set("tokenizer.ggml.model", std::string("llama"));
    write_spaces(spaced_rules(document_.rest));
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    std::vector<float> scores(texts_.size(), kNever);
    for (size_t rank = 0; rank < document_.merges.size(); ++rank) {
      const std::string& merge = document_.merges[rank];
      const size_t space = merge.find(' ', 1);
      if (space == std::string::npos || space + 1 == merge.size())
        corrupt("an entry of model.merges is no pair");
      const auto made = find(merge.substr(0, space) + merge.substr(space + 1));
      if (made && scores[*made] == kNever) scores[*made] = -static_cast<float>(rank);
    }
    set("tokenizer.ggml.scores", std::move(scores));
  }

  void write_unigram() {
    set("tokenizer.ggml.model", std::string("t5"));
    write_spaces(spaced_rules(document_.rest));
    set("fathom.tokenizer.double_scores", true);
    if (document_.scores.empty()) corrupt("model.vocab has no scores");
    std::vector<float> scores = std::move(document_.scores);
    if (!std::ranges::all_of(scores, [](float s) { return std::isfinite(s); }))
      corrupt("a score is no finite number");
    scores.resize(texts_.size(), 0.0f);
    set("tokenizer.ggml.scores", std::move(scores));
  }

  /// ggml keeps the pieces with a phantom space: the beginnings of words have it, the rest lose their "##".
  void write_words() {
    const WordRules rules = word_rules(document_.rest);
    set("tokenizer.ggml.model", std::string("bert"));
    set("tokenizer.ggml.pre", std::string("default"));
    const std::string prefix = json_text(model(), "continuing_subword_prefix");
    if (prefix != "##") unsupported("another prefix of continuing pieces than '##'");
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (types_[id] != static_cast<int32_t>(TokenType::kNormal)) continue;
      std::string& text = texts_[id];
      text = text.starts_with("##") ? text.substr(2) : std::string(kPieceSpace) + text;
    }
    for (const auto& [key, value] : {std::pair{"lowercase", rules.lowercase},
                                     {"strip_accents", rules.strip_accents},
                                     {"separate_cjk", rules.separate_cjk},
                                     {"clean", rules.clean}})
      if (!value) set(fmt::format("fathom.tokenizer.word.{}", key), false);
    const Json& longest = json_member(model(), "max_input_chars_per_word");
    if (!longest.is_number_unsigned() || longest.get<uint64_t>() > (1u << 20))
      corrupt("model.max_input_chars_per_word is no sensible number");
    set("fathom.tokenizer.word.longest", longest.get<uint32_t>());
  }

  /// The token that tokenizer_config.json names: "text" or {"content": "text"}.
  std::optional<size_t> configured(const std::string& name) const {
    const Json& value = json_member(config_, (name + "_token").c_str());
    return find(value.is_object()   ? json_text(value, "content")
                : value.is_string() ? value.get<std::string>()
                                    : "");
  }

  /// The special tokens that the post-processor puts before and after a text.
  struct Surround {
    std::optional<size_t> before, after;
  };

  std::optional<size_t> processor_token(const Json& processor, const char* name) const {
    const Json& pair = json_member(processor, name);
    if (!pair.is_array() || pair.empty() || !pair[0].is_string()) return std::nullopt;
    return find(pair[0].get<std::string>());
  }

  Surround surround() const {
    Surround out;
    const Json& post = json_member(document_.rest, "post_processor");
    const Json& list = json_member(post, "processors");
    std::vector<const Json*> processors;
    if (list.is_array())
      for (const Json& processor : list) processors.push_back(&processor);
    else
      processors.push_back(&post);
    for (const Json* processor : processors) {
      const std::string type = json_text(*processor, "type");
      if (type == "RobertaProcessing" || type == "BertProcessing")
        out = {processor_token(*processor, "cls"), processor_token(*processor, "sep")};
      if (type == "TemplateProcessing") out = template_surround(json_member(*processor, "single"));
    }
    return out;
  }

  Surround template_surround(const Json& single) const {
    Surround out;
    if (!single.is_array()) return out;
    bool seen_text = false;
    for (const Json& part : single) {
      if (part.is_object() && part.contains("Sequence")) seen_text = true;
      const auto token = find(json_text(json_member(part, "SpecialToken"), "id"));
      if (!token) continue;
      if (!seen_text && !out.before) out.before = token;
      if (seen_text) out.after = token;
    }
    return out;
  }

  void write_special_ids() {
    const Surround around = surround();
    const bool words = kind_ == Kind::kWordPiece;
    // Where nobody names them, those that surround a text are its beginning and its end.
    const auto or_else = [](std::optional<size_t> id, std::optional<size_t> other) {
      return id ? id : other;
    };
    const std::pair<const char*, std::optional<size_t>> named[] = {
        {"bos", or_else(configured("bos"), words ? std::nullopt : around.before)},
        {"eos", or_else(configured("eos"), words ? std::nullopt : around.after)},
        {"unknown", or_else(unknown_, configured("unk"))},
        {"seperator", or_else(configured("sep"), words ? around.after : std::nullopt)},
        {"padding", configured("pad")},
        {"cls", or_else(configured("cls"), words ? around.before : std::nullopt)},
        {"mask", configured("mask")},
    };
    for (const auto& [name, id] : named)
      if (id) set(fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<uint32_t>(*id));
    set("tokenizer.ggml.add_bos_token", json_flag(config_, "add_bos_token", around.before.has_value()));
    set("tokenizer.ggml.add_eos_token", json_flag(config_, "add_eos_token", around.after.has_value()));
  }

  /// A text, or a list of {"name", "template"}.
  void write_templates() {
    const Json& templates = json_member(config_, "chat_template");
    if (templates.is_string()) set("tokenizer.chat_template", templates.get<std::string>());
    if (!templates.is_array()) return;
    std::set<std::string> names;
    for (const Json& entry : templates) {
      const std::string name = json_text(entry, "name"), text = json_text(entry, "template");
      const bool sensible = !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
        return c > ' ' && c < '\x7f' && c != '.';
      });
      if (!sensible || text.empty() || !names.insert(name).second || names.size() > kDeepest) continue;
      set(name == "default" ? "tokenizer.chat_template" : "tokenizer.chat_template." + name, text);
    }
  }

  Document document_;
  const Json& config_;
  size_t rows_;
  Kind kind_;
  std::vector<std::string> texts_;
  std::vector<int32_t> types_;
  std::unordered_map<std::string, size_t> ids_;
  std::optional<size_t> unknown_;
  TokenizerMetadata out_;
};

}  // namespace

TokenizerMetadata tokenizer_metadata(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                     size_t rows) {
  Document document = parse(tokenizer_json);
  const Json config = parse_small(tokenizer_config_json, "tokenizer_config.json");
  return Converter(std::move(document), config, rows).convert();
}

}  // namespace fathom::model
