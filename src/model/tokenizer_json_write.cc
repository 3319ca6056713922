#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/pretokenizer.h"
#include "model/tokenizer_json.h"
#include "model/tokenizer_json_rules.h"
#include "model/vocabulary.h"

namespace fathom::model {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::optional<std::string_view> special(const GgufFile& file, std::string_view name) {
  const auto id = file.find_uint(fmt::format("tokenizer.ggml.{}_token_id", name));
  const auto tokens = file.get_strings("tokenizer.ggml.tokens");
  if (!id || *id >= tokens.size()) return std::nullopt;
  return tokens[*id];
}

Json added_tokens(const std::vector<std::string_view>& tokens, const std::vector<int64_t>& types) {
  Json added = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    const bool control = types[id] == static_cast<int64_t>(TokenType::kControl);
    if (!control && types[id] != static_cast<int64_t>(TokenType::kUserDefined)) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", control}});
  }
  return added;
}

/// What puts the beginning and the end of text around it; null where nothing is put.
Json post_processor(const GgufFile& file) {
  Json single = Json::array(), specials = Json::object();
  const auto add = [&](std::string_view name) {
    const auto text = special(file, name);
    if (!text || !file.find_bool(fmt::format("tokenizer.ggml.add_{}_token", name)).value_or(false)) return;
    const auto id = file.get_uint(fmt::format("tokenizer.ggml.{}_token_id", name));
    single.push_back({{"SpecialToken", {{"id", *text}, {"type_id", 0}}}});
    specials[std::string(*text)] = {{"id", *text}, {"ids", {id}}, {"tokens", {*text}}};
  };
  add("bos");
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("eos");
  if (specials.empty()) return nullptr;
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

Json byte_pair_model(const GgufFile& file, const std::vector<std::string_view>& tokens,
                     std::string_view pre) {
  const bool whole_words = is_llama3_vocabulary(pre) || pre == "tekken";
  nlohmann::json vocabulary = nlohmann::json::object();  // of sorted keys: found at once
  for (size_t id = 0; id < tokens.size(); ++id) vocabulary[std::string(tokens[id])] = id;
  Json merges = Json::array();
  for (const std::string_view merge : file.get_strings("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("'{}': an entry of tokenizer.ggml.merges is no pair", file.name()));
    merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", file.find_bool("fathom.tokenizer.ignore_merges").value_or(whole_words)},
          {"vocab", vocabulary},
          {"merges", merges}};
}

std::string tokenizer_json(const GgufFile& file) {
  if (const auto model = file.get_string("tokenizer.ggml.model"); model != "gpt2")
    throw Error(ErrorCode::kUnsupported,
                fmt::format("'{}': a tokenizer of the family '{}' cannot be written as tokenizer.json",
                            file.name(), model));
  const auto tokens = file.get_strings("tokenizer.ggml.tokens");
  const auto types =
      file.find_ints("tokenizer.ggml.token_type").value_or(std::vector<int64_t>(tokens.size(), 1));
  if (types.size() != tokens.size())
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}': tokenizer.ggml.token_type is not as long as the vocabulary", file.name()));
  const auto pre = file.find_string("tokenizer.ggml.pre").value_or("default");
  const bool nfc = file.find_bool("fathom.tokenizer.nfc").value_or(false);
  return dump(
      {{"version", "1.0"},
       {"truncation", nullptr},
       {"padding", nullptr},
       {"added_tokens", added_tokens(tokens, types)},
       {"normalizer", nfc ? Json{{"type", "NFC"}} : Json()},
       {"pre_tokenizer", byte_level_pre_tokenizer(pre)},
       {"post_processor", post_processor(file)},
       {"decoder",
        {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
       {"model", byte_pair_model(file, tokens, pre)}});
}

std::string tokenizer_config(const GgufFile& file) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"bos", "bos_token"}, {"eos", "eos_token"}, {"unknown", "unk_token"}, {"padding", "pad_token"}};
  for (const auto& [name, key] : kNames)
    if (const auto text = special(file, name)) config[key] = *text;
  for (const char* key : {"add_bos_token", "add_eos_token"})
    config[key] = file.find_bool(fmt::format("tokenizer.ggml.{}", key)).value_or(false);
  if (const auto text = file.find_string("tokenizer.chat_template")) config["chat_template"] = *text;
  return dump(config);
}

}  // namespace

TokenizerFiles tokenizer_files(const GgufFile& file) {
  return {tokenizer_json(file), tokenizer_config(file)};
}

}  // namespace fathom::model
