#include "model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/text.h"
#include "llama2c.h"
#include "model/pretokenizer.h"
#include "model/tokenizer_json.h"

namespace fathom::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

nlohmann::json recorded(const std::string& name) {
  return nlohmann::json::parse(
      read_file(std::filesystem::path(FATHOM_SOURCE_DIR) / "tests" / "model" / "testdata" / name));
}

std::string text_of(const nlohmann::json& recorded_case) {
  if (recorded_case.contains("text")) return recorded_case["text"];
  const std::string hex = recorded_case["hex"];
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

Tokenizer tokenizer_of(const GgufWriter& writer) {
  const std::string bytes = writer.serialise();
  return Tokenizer::from_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
}

std::vector<std::string> owned(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

/// The vocabulary of a file under another pre-tokenizer.
GgufWriter with_pre_tokenizer(const GgufFile& file, const std::string& pre) {
  GgufWriter writer;
  writer.set("tokenizer.ggml.model", "gpt2");
  writer.set("tokenizer.ggml.pre", pre);
  writer.set("tokenizer.ggml.tokens", owned(file.get_strings("tokenizer.ggml.tokens")));
  writer.set("tokenizer.ggml.merges", owned(file.get_strings("tokenizer.ggml.merges")));
  const auto types = file.find_ints("tokenizer.ggml.token_type").value();
  writer.set("tokenizer.ggml.token_type", std::vector<int32_t>(types.begin(), types.end()));
  return writer;
}

#define REQUIRE_SMOLLM2()    \
  if (!test::smollm2_path()) \
  GTEST_SKIP() << "the SmolLM2 model file is not there; ./run fetches it, FATHOM_TEST_MODEL names it"

#define REQUIRE_WEIGHTS()                                                          \
  if (!test::has_stories260k() ||                                                  \
      !std::filesystem::exists(test::weights_folder() / "grok-1-tokenizer.model")) \
  GTEST_SKIP() << "the shared data folder is not beside the checkout"

TEST(SmolLm2, EncodesAsLlamaCppAndHuggingFace) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  const auto cases = recorded("smollm2_vectors.json");
  ASSERT_GE(cases.size(), 300u);
  for (const auto& recorded_case : cases) {
    const std::string text = text_of(recorded_case);
    EXPECT_EQ(tokenizer.encode(text), recorded_case["plain"].get<std::vector<int32_t>>())
        << recorded_case.dump(-1, ' ', true);
    EXPECT_EQ(tokenizer.encode(text, true), recorded_case["special"].get<std::vector<int32_t>>()) << text;
  }
}

TEST(SmolLm2, OtherPreTokenizersSplitAsLlamaCpp) {
  REQUIRE_SMOLLM2();
  const auto file = GgufFile::open(*test::smollm2_path());
  const auto cases = recorded("smollm2_vectors.json");
  for (const std::string pre : {"default", "gpt-2", "llama-bpe", "qwen2"}) {
    const auto tokenizer = tokenizer_of(with_pre_tokenizer(file, pre));
    for (const auto& recorded_case : cases)
      EXPECT_EQ(tokenizer.encode(text_of(recorded_case)),
                recorded_case["pre"][pre].get<std::vector<int32_t>>())
          << pre << ": " << recorded_case["text"].dump(-1, ' ', true);
  }
}

TEST(SmolLm2, DecodesWhatItEncodes) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  // Bytes for which the vocabulary has no token are lost, whatever stands beside them; all other text comes back.
  size_t whole = 0;
  for (const auto& recorded_case : recorded("smollm2_vectors.json")) {
    const std::string text = sanitize_utf8(text_of(recorded_case));
    std::string expected;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      decode_utf8(text, at);
      expected += tokenizer.decode(tokenizer.encode(text.substr(begin, at - begin)));
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), expected);
    whole += expected == text ? 1 : 0;
  }
  EXPECT_GT(whole, 300u);
}

TEST(SmolLm2, PiecesConcatenateToTheText) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  std::string text;
  for (const int32_t id : tokenizer.encode("streams \xF0\x9F\x9A\x80 by piece")) text += tokenizer.piece(id);
  EXPECT_EQ(text, "streams \xF0\x9F\x9A\x80 by piece");
}

TEST(SmolLm2, KnowsItsSpecialTokens) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  EXPECT_EQ(tokenizer.size(), 49152u);
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.eot(), 2);
  EXPECT_FALSE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.is_end(2));
  EXPECT_TRUE(tokenizer.is_end(0));  // <|endoftext|>
  EXPECT_FALSE(tokenizer.is_end(1));
  EXPECT_FALSE(tokenizer.is_end(-1));
  EXPECT_FALSE(tokenizer.is_end(49152));
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.piece(2), "");
  EXPECT_EQ(tokenizer.text(2), "<|im_end|>");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 2}), "");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 2, -5, 1 << 30}, true), "<|im_start|><|im_end|>");
}

TEST(SmolLm2, SegmentsMergeAcrossButOnlyTheTemplateMakesSpecialTokens) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  const auto joined = [&](const std::vector<Segment>& segments) { return tokenizer.encode(segments); };
  EXPECT_EQ(joined({{"<|im_start|>user\n", true}, {"\nHi there", false}, {"<|im_end|>\n", true}}),
            tokenizer.encode("<|im_start|>user\n\nHi there<|im_end|>\n", true));
  EXPECT_EQ(joined({{"<|im_end|>", false}}), tokenizer.encode("<|im_end|>"));
  EXPECT_EQ(joined({{"<|im_", true}, {"end|>", false}}), tokenizer.encode("<|im_end|>"));
  EXPECT_EQ(joined({{"<|im_", false}, {"end|>", true}}), tokenizer.encode("<|im_end|>"));
  EXPECT_EQ(joined({{"<|im_", true}, {"end|>", true}}), tokenizer.encode("<|im_end|>", true));
  EXPECT_EQ(joined({{"<|im_", true}, {"", false}, {"end|>", true}}), tokenizer.encode("<|im_end|>", true));
  EXPECT_THAT(joined({}), IsEmpty());
}

TEST(SmolLm2, LongWordsTakeLittleLongerThanShortOnes) {
  REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*test::smollm2_path()));
  Random random(7);
  std::string word;
  while (word.size() < (size_t{1} << 18)) word += static_cast<char>('a' + random.below(26));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(word)), word);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(std::string(1 << 18, ' '))), std::string(1 << 18, ' '));
}

TEST(Stories, EncodesAsLlamaCpp) {
  REQUIRE_WEIGHTS();
  const std::string bytes = test::stories260k_gguf();
  const auto tokenizer =
      Tokenizer::from_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), "stories260K"));
  for (const auto& recorded_case : recorded("stories_vectors.json")) {
    const std::string text = text_of(recorded_case);
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, recorded_case["ids"].get<std::vector<int32_t>>()) << recorded_case.dump(-1, ' ', true);
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_TRUE(tokenizer.is_end(2));
  EXPECT_EQ(tokenizer.encode("<s>", true), (std::vector<int32_t>{1}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<s>")), "<s>");
}

TEST(Grok1, EncodesAsSentencePiece) {
  REQUIRE_WEIGHTS();
  const std::string model = read_file(test::weights_folder() / "grok-1-tokenizer.model");
  const auto tokenizer = Tokenizer::from_metadata(sentence_piece_metadata(model), "Grok-1");
  ASSERT_EQ(tokenizer.size(), 131072u);
  for (const auto& recorded_case : recorded("grok_vectors.json")) {
    const std::string text = text_of(recorded_case);
    EXPECT_EQ(tokenizer.encode(text), recorded_case["ids"].get<std::vector<int32_t>>())
        << recorded_case.dump(-1, ' ', true);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  const auto joined = tokenizer.encode(std::vector<Segment>{{"<|separator|>", false}});
  EXPECT_GT(joined.size(), 2u) << "a user's text names no marker";
  EXPECT_EQ(tokenizer.encode(std::vector<Segment>{{"<|separator|>", true}}).size(), 2u);
}

GgufWriter tiny_sentence_piece() {
  GgufWriter writer;
  writer.set("tokenizer.ggml.model", "llama");
  writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a",
                                                               "b", "ab", "abab", "s>", "<", "bb"});
  writer.set("tokenizer.ggml.scores",
             std::vector<float>{0, 0, 0, -1, -1, -1, -0.5f, -0.25f, -0.5f, -1, -0.1f});
  writer.set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 1, 1, 5, 1, 1, 1});
  return writer;
}

TEST(SentencePiece, TextNeverMergesToAControlToken) {
  const auto tokenizer = tokenizer_of(tiny_sentence_piece());
  for (const int32_t id : tokenizer.encode("<s>")) EXPECT_NE(id, 1);
}

TEST(SentencePiece, UnusedPiecesAreTakenApartAndUnknownCharactersStand) {
  const auto tokenizer = tokenizer_of(tiny_sentence_piece());
  EXPECT_THAT(tokenizer.encode("abab"), ElementsAre(3, 6, 6));
  EXPECT_THAT(tokenizer.encode("abb"), ElementsAre(3, 4, 10));
  EXPECT_THAT(tokenizer.encode("\xC3\xA9"), ElementsAre(3, 0));  // no byte tokens
}

TEST(SentencePiece, ThePrefixSpaceFollowsControlTokens) {
  const auto tokenizer = tokenizer_of(tiny_sentence_piece());
  EXPECT_THAT(tokenizer.encode("a<s>b", true), ElementsAre(3, 4, 1, 3, 5));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{3, 4, 3, 5}), "a b");
}

GgufWriter tiny_byte_pair() {
  GgufWriter writer;
  writer.set("tokenizer.ggml.model", "gpt2");
  writer.set("tokenizer.ggml.pre", "gpt-2");
  writer.set("tokenizer.ggml.tokens",
             std::vector<std::string>{"a", "b", "ab", "<|x|>", "<tool>", "   ", "c", "\xC4\xA0"});
  writer.set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 3, 4, 4, 1, 1});
  writer.set("tokenizer.ggml.merges", std::vector<std::string>{"a b", "ab c"});
  return writer;
}

TEST(BytePair, MergesToATextWithoutATokenFallBackToBytes) {
  const auto tokenizer = tokenizer_of(tiny_byte_pair());
  EXPECT_THAT(tokenizer.encode("ab"), ElementsAre(2));
  EXPECT_THAT(tokenizer.encode("abc"), ElementsAre(0, 1, 6));  // "abc" is a merge and no token
  EXPECT_THAT(tokenizer.encode("azb"), ElementsAre(0, 1));     // no token for z, as elsewhere
}

TEST(BytePair, UserDefinedTokensAreTextButUsersWriteNoMarkup) {
  const auto tokenizer = tokenizer_of(tiny_byte_pair());
  EXPECT_THAT(tokenizer.encode("a<tool>   b"), ElementsAre(0, 4, 5, 1));
  EXPECT_THAT(tokenizer.encode(std::vector<Segment>{{"a<tool>   b", false}}), ElementsAre(0, 5, 1));
  EXPECT_THAT(tokenizer.encode(std::vector<Segment>{{"<tool>", true}, {"<|x|>", false}}), ElementsAre(4));
  EXPECT_THAT(tokenizer.encode("<|x|>", true), ElementsAre(3));
}

void expect_refused(const GgufWriter& writer, ErrorCode code, const std::string& what) {
  try {
    tokenizer_of(writer);
    ADD_FAILURE() << "accepted where '" << what << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

TEST(Refuses, UnknownModelsAndPreTokenizersByName) {
  GgufWriter unknown_model;
  unknown_model.set("tokenizer.ggml.model", "rwkv");
  expect_refused(unknown_model, ErrorCode::kUnsupported, "'rwkv'");
  GgufWriter unknown_pre;
  unknown_pre.set("tokenizer.ggml.model", "gpt2");
  unknown_pre.set("tokenizer.ggml.pre", "viking");
  unknown_pre.set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  expect_refused(unknown_pre, ErrorCode::kUnsupported, "'viking'");
}

TEST(Refuses, VocabulariesThatDoNotAddUp) {
  const auto with = [](const std::string& key, GgufValue value) {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "llama");
    writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
    writer.set(key, std::move(value));
    return writer;
  };
  expect_refused(with("tokenizer.ggml.scores", std::vector<float>{1}), ErrorCode::kCorrupt, "scores");
  expect_refused(with("tokenizer.ggml.scores", std::vector<float>{1, NAN}), ErrorCode::kCorrupt,
                 "not a number");
  expect_refused(with("tokenizer.ggml.token_type", std::vector<int32_t>{1, 9}), ErrorCode::kCorrupt,
                 "type 9");
  expect_refused(with("tokenizer.ggml.token_type", std::vector<int32_t>{1}), ErrorCode::kCorrupt,
                 "token_type");
  expect_refused(with("tokenizer.ggml.bos_token_id", uint32_t{2}), ErrorCode::kCorrupt, "bos_token_id");
  GgufWriter no_tokens;
  no_tokens.set("tokenizer.ggml.model", "llama");
  expect_refused(no_tokens, ErrorCode::kCorrupt, "tokenizer.ggml.tokens");
  GgufWriter bad_merge;
  bad_merge.set("tokenizer.ggml.model", "gpt2");
  bad_merge.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  bad_merge.set("tokenizer.ggml.merges", std::vector<std::string>{"ab"});
  expect_refused(bad_merge, ErrorCode::kCorrupt, "merges");
}

std::vector<std::string> words(PreTokenizer kind, std::string_view text) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (const size_t end : split_words(kind, text)) {
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return out;
}

TEST(PreTokenizer, SplitsAsItsExpressionSays) {
  EXPECT_THAT(words(PreTokenizer::kGpt2, "It's  12!\n\nx"),
              ElementsAre("It", "'s", " ", " 12", "!", "\n", "\n", "x"));
  EXPECT_THAT(words(PreTokenizer::kSmolLm, "a 12"), ElementsAre("a", " ", "1", "2"));
  EXPECT_THAT(words(PreTokenizer::kLlama3, "IT'S 12345 (x)!\r\n\n y"),
              ElementsAre("IT", "'S", " ", "123", "45", " (", "x", ")!\r\n\n", " y"));
  EXPECT_THAT(words(PreTokenizer::kQwen2, "a12"), ElementsAre("a", "1", "2"));
  EXPECT_THAT(words(PreTokenizer::kDefault, "a==1234567"), ElementsAre("a", "==", "123", "456", "7"));
  EXPECT_THAT(words(PreTokenizer::kGpt2, ""), IsEmpty());
}

}  // namespace
}  // namespace fathom::model
