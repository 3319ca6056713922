#include "model/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "model/normalizer.h"
#include "model/tokenizer.h"

namespace fathom::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

template <class T>
std::optional<T> value_of(const TokenizerMetadata& metadata, std::string_view key) {
  for (const auto& [name, value] : metadata)
    if (name == key) return std::get<T>(value);
  return std::nullopt;
}

Json byte_level() {
  return Json::parse(R"({
    "added_tokens": [{"id": 4, "content": "<|end|>", "special": false}, {"id": 7, "content": "<tool>", "special": false},
                     {"id": 5, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "<s>": 5}, "merges": ["a b"]}})");
}

Json unigram() {
  return Json::parse(R"({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"},
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["\u2581", -1.0], ["a", -2.0]]}})");
}

Json words() {
  return Json::parse(R"({"normalizer": {"type": "BertNormalizer", "lowercase": false, "strip_accents": null,
    "handle_chinese_chars": false, "clean_text": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"vocab": {"[UNK]": 0, "A": 1, "##b": 2}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 3}})");
}

void expect_refused(const std::string& json, ErrorCode code, const std::string& what,
                    const std::string& config = "") {
  try {
    tokenizer_metadata(json, config);
    ADD_FAILURE() << "accepted where '" << what << "' was expected: " << json.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

TEST(TokenizerJson, GivesWhatTheConverterWrites) {
  const auto metadata = tokenizer_metadata(
      byte_level().dump(),
      R"({"bos_token": {"content": "<s>"}, "eos_token": "<|end|>", "chat_template": "{{ x }}", "add_eos_token": true})",
      10);
  EXPECT_EQ(value_of<std::string>(metadata, "tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(value_of<std::string>(metadata, "tokenizer.ggml.pre"), "gpt-2");
  EXPECT_THAT(
      *value_of<std::vector<std::string>>(metadata, "tokenizer.ggml.tokens"),
      ElementsAre("a", "b", "ab", "\xC4\xA0", "<|end|>", "<s>", "[PAD6]", "<tool>", "[PAD8]", "[PAD9]"));
  EXPECT_THAT(*value_of<std::vector<int32_t>>(metadata, "tokenizer.ggml.token_type"),
              ElementsAre(1, 1, 1, 1, 3, 3, 5, 4, 5, 5));
  EXPECT_THAT(*value_of<std::vector<std::string>>(metadata, "tokenizer.ggml.merges"), ElementsAre("a b"));
  EXPECT_EQ(value_of<uint32_t>(metadata, "tokenizer.ggml.bos_token_id"), 5u);
  EXPECT_EQ(value_of<uint32_t>(metadata, "tokenizer.ggml.eos_token_id"), 4u);
  EXPECT_EQ(value_of<bool>(metadata, "tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(value_of<bool>(metadata, "tokenizer.ggml.add_eos_token"), true);
  EXPECT_EQ(value_of<std::string>(metadata, "tokenizer.chat_template"), "{{ x }}");
  const auto tokenizer = Tokenizer::from_metadata(metadata, "test");
  EXPECT_THAT(tokenizer.encode("ab a"), ElementsAre(2, 3, 0));
  EXPECT_TRUE(tokenizer.is_end(4));
}

TEST(TokenizerJson, NamedTemplatesKeepTheirNames) {
  const auto metadata =
      tokenizer_metadata(byte_level().dump(), R"({"chat_template": [{"name": "default", "template": "d"},
    {"name": "tool_use", "template": "t"}, {"name": "tool_use", "template": "again"}, {"name": "a b", "template": "x"}, 7]})");
  EXPECT_EQ(value_of<std::string>(metadata, "tokenizer.chat_template"), "d");
  EXPECT_EQ(value_of<std::string>(metadata, "tokenizer.chat_template.tool_use"), "t");
}

TEST(TokenizerJson, MergesMayBePairsWithSpacesInThem) {
  Json json = byte_level();
  json["model"]["merges"] = Json::parse(R"([["a", "b"], [" ", "a"]])");
  EXPECT_THAT(
      *value_of<std::vector<std::string>>(tokenizer_metadata(json.dump(), ""), "tokenizer.ggml.merges"),
      ElementsAre("a b", "\xC4\xA0 a"));
}

TEST(TokenizerJson, WordPieceKeepsItsOptions) {
  const auto tokenizer = Tokenizer::from_metadata(tokenizer_metadata(words().dump(), ""), "test");
  EXPECT_THAT(tokenizer.encode("A a Ab Abbb Abb"),
              ElementsAre(1, 0, 1, 2, 0, 1, 2, 2));  // three characters at most
}

TEST(TokenizerJson, UnknownPartsAreNamed) {
  const auto with = [](Json json, const Json::json_pointer& place, Json value) {
    json[place] = std::move(value);
    return json.dump();
  };
  using P = Json::json_pointer;
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", "my+regex"}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const Json sequence = {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
  expect_refused(with(byte_level(), P("/pre_tokenizer"), sequence), ErrorCode::kUnsupported, "my+regex");
  expect_refused(with(byte_level(), P("/pre_tokenizer/add_prefix_space"), true), ErrorCode::kUnsupported,
                 "add_prefix_space");
  expect_refused(with(byte_level(), P("/normalizer"), {{"type", "Lowercase"}}), ErrorCode::kUnsupported,
                 "Lowercase");
  expect_refused(with(byte_level(), P("/model/type"), "WordLevel"), ErrorCode::kUnsupported, "WordLevel");
  expect_refused(with(byte_level(), P("/model/end_of_word_suffix"), "</w>"), ErrorCode::kUnsupported,
                 "end_of_word_suffix");
  expect_refused(with(unigram(), P("/normalizer"), {{"type", "NFKD"}}), ErrorCode::kUnsupported, "NFKD");
  expect_refused(with(unigram(), P("/pre_tokenizer"), {{"type", "Whitespace"}}), ErrorCode::kUnsupported,
                 "Whitespace");
  expect_refused(with(words(), P("/pre_tokenizer"), nullptr), ErrorCode::kUnsupported, "pre-tokenizer");
  expect_refused(with(words(), P("/model/continuing_subword_prefix"), "@@"), ErrorCode::kUnsupported, "##");
}

TEST(TokenizerJson, HostileFilesAreRefused) {
  const auto with_model = [](const std::string& model) {
    Json json = byte_level();
    json["model"] = "@";
    std::string text = json.dump();
    return text.replace(text.find("\"@\""), 3, model);
  };
  expect_refused("", ErrorCode::kCorrupt, "broken");
  expect_refused("{\"model\"", ErrorCode::kCorrupt, "broken");
  expect_refused("[]", ErrorCode::kCorrupt, "no model");
  expect_refused("{\"model\": {\"vocab\": {\"\xFF\": 1}}}", ErrorCode::kCorrupt, "broken");
  expect_refused(std::string(100000, '['), ErrorCode::kCorrupt, "nested");
  expect_refused(with_model(R"({"vocab": {}})"), ErrorCode::kCorrupt, "no tokens");
  expect_refused(with_model(R"({"vocab": 7})"), ErrorCode::kCorrupt, "no tokens");
  expect_refused(with_model(R"({"vocab": {"a": -1}})"), ErrorCode::kCorrupt, "model.vocab");
  expect_refused(with_model(R"({"vocab": {"a": 1.5}})"), ErrorCode::kCorrupt, "model.vocab");
  expect_refused(with_model(R"({"vocab": {"a": {"b": 1}}})"), ErrorCode::kCorrupt, "model.vocab");
  expect_refused(with_model(R"({"vocab": {"a": 99999999999999999999}})"), ErrorCode::kCorrupt, "model.vocab");
  expect_refused(with_model(R"({"vocab": {"a": 4000000000}})"), ErrorCode::kResourceExhausted, "tokens");
  expect_refused(with_model(R"({"vocab": {"a": 4000000}, "merges": []})"), ErrorCode::kCorrupt,
                 "leave too many out");
  expect_refused(with_model(R"({"vocab": {"a": 0, "b": 0}, "merges": []})"), ErrorCode::kCorrupt, "the id 0");
  expect_refused(with_model(R"({"vocab": [["a"]]})"), ErrorCode::kCorrupt, "score");
  expect_refused(with_model(R"({"vocab": [["a", 1, 2]]})"), ErrorCode::kCorrupt, "score");
  expect_refused(with_model(R"({"vocab": [[["a"], 1]]})"), ErrorCode::kCorrupt, "no token");
  expect_refused(with_model(R"({"vocab": {"a": 0}, "vocab": [["b", 1]]})"), ErrorCode::kCorrupt, "two forms");
  expect_refused(with_model(R"({"vocab": {"a": 0}, "merges": [["a"]]})"), ErrorCode::kCorrupt, "pair");
  expect_refused(with_model(R"({"vocab": {"a": 0}, "merges": [["a", "b", "c"]]})"), ErrorCode::kCorrupt,
                 "pair");
  expect_refused(with_model(R"({"vocab": {"a": 0}, "merges": [["", "b"]]})"), ErrorCode::kCorrupt, "empty");
  expect_refused(with_model(R"({"vocab": {"a": 0}, "merges": [7]})"), ErrorCode::kCorrupt, "pair");
  expect_refused(
      with_model(R"({"vocab": {"a": 0}, "merges": [[")" + std::string(4'000'000, ' ') + R"(", "b"]]})"),
      ErrorCode::kCorrupt, "too long");
  Json added = byte_level();
  added["added_tokens"][0]["id"] = 0;
  expect_refused(added.dump(), ErrorCode::kCorrupt, "the id 0");
  added["added_tokens"] = "x";
  expect_refused(added.dump(), ErrorCode::kCorrupt, "added_tokens");
  expect_refused(byte_level().dump(), ErrorCode::kCorrupt, "tokenizer_config.json", "{");
  expect_refused(byte_level().dump(), ErrorCode::kCorrupt, "tokenizer_config.json", "[1]");
  Json precompiled = unigram();
  precompiled["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "not base64!"}};
  expect_refused(precompiled.dump(), ErrorCode::kCorrupt, "base64");
}

TEST(SentencePieceModel, HostileFilesAreRefused) {
  const auto refused = [](std::string bytes, ErrorCode code) {
    try {
      sentence_piece_metadata(bytes);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
    }
  };
  const std::string piece = std::string("\x0A\x08\x0A\x01") + "a" + std::string("\x15\x00\x00\x80\xBF", 5);
  refused("", ErrorCode::kCorrupt);
  refused("\x0A", ErrorCode::kCorrupt);                                       // a length is missing
  refused("\x0A\x7F", ErrorCode::kCorrupt);                                   // and one is too long
  refused("\x0B", ErrorCode::kCorrupt);                                       // a group
  refused(std::string(20, '\xFF'), ErrorCode::kCorrupt);                      // a number without end
  refused(std::string("\x0A\x03\x0A\x01\xFF", 5), ErrorCode::kCorrupt);       // not UTF-8
  refused(std::string("\x0A\x02\x18\x09", 4), ErrorCode::kCorrupt);           // type 9
  refused(piece + std::string("\x12\x02\x18\x03"), ErrorCode::kUnsupported);  // a model of words
  EXPECT_NO_THROW(sentence_piece_metadata(piece));
  const auto real = read_file(std::filesystem::path(FATHOM_SOURCE_DIR) /
                              "tests/model/testdata/sentencepiece/bpe_rules.model");
  for (size_t size = 0; size < real.size(); size += 97) {
    try {
      Tokenizer::from_metadata(sentence_piece_metadata(std::string_view(real).substr(0, size)), "cut")
          .encode("a b");
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
    }
  }
}

TEST(CharsMap, DamagedMapsGiveNothingOrAreRefused) {
  const auto map = [](std::vector<uint32_t> units, const std::string& texts, uint32_t size) {
    std::string bytes(4 + units.size() * 4, '\0');
    std::memcpy(bytes.data(), &size, 4);
    std::memcpy(bytes.data() + 4, units.data(), units.size() * 4);
    return bytes + texts;
  };
  EXPECT_THROW(CharsMap("ab"), Error);
  EXPECT_THROW(CharsMap(map({0}, "", 8)), Error);
  EXPECT_THROW(CharsMap(map({0}, "", 3)), Error);
  EXPECT_THROW(CharsMap(map({0}, "\xFF", 4)), Error);
  EXPECT_THROW(CharsMap(map({0}, std::string(2000, 'x'), 4)), Error);
  const CharsMap wild(map({0xFFFFFC00u, 0xFFFFFFFFu, 'a' | 0x100u | 1u << 10}, "x", 12));
  for (int c = 0; c < 256; ++c) EXPECT_EQ(wild.longest(std::string(3, static_cast<char>(c)), 0).size, 0u);
}

}  // namespace
}  // namespace fathom::model
