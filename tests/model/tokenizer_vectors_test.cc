// Ids equal to those of the reference implementations, on recorded vectors (tests/model/record_tokenizers.py).
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "model/pretokenizer.h"
#include "model/tokenizer.h"
#include "model/tokenizer_json.h"

namespace fathom::model {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

fs::path testdata() { return fs::path(FATHOM_SOURCE_DIR) / "tests" / "model" / "testdata"; }

nlohmann::json recorded(const std::string& name) {
  return nlohmann::json::parse(read_file(testdata() / name));
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

/// How many of the hard texts get the recorded ids; texts without a record are passed over.
size_t expect_recorded(const Tokenizer& tokenizer, const std::string& name) {
  const auto texts = recorded("hard_texts.json"), vectors = recorded(name);
  EXPECT_EQ(texts.size(), vectors.size());
  size_t compared = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (vectors[i].is_null()) continue;
    const std::string text = bytes_of(texts[i]);
    EXPECT_EQ(tokenizer.encode(text), vectors[i].get<Ids>())
        << name << ": " << texts[i] << " " << sanitize_utf8(text);
    ++compared;
  }
  return compared;
}

Tokenizer from_json(const fs::path& path) {
  return Tokenizer::from_metadata(tokenizer_metadata(read_file(path), ""), path.string());
}

Tokenizer from_model(const std::string& name) {
  const auto path = testdata() / "sentencepiece" / (name + ".model");
  return Tokenizer::from_metadata(sentence_piece_metadata(read_file(path)), path.string());
}

std::optional<fs::path> real_model(const char* variable, const char* name) {
  const char* set = std::getenv(variable);
  fs::path path =
      set != nullptr ? fs::path(set) : fs::path(FATHOM_SOURCE_DIR) / ".fathom" / "test-models" / name;
  if (fs::exists(path)) return path;
  return std::nullopt;
}

TEST(TokenizerVectors, WordsEndWhereHuggingFaceEndsThem) {
  const std::pair<const char*, PreTokenizer> kinds[] = {{"gpt-2", PreTokenizer::kGpt2},
                                                        {"smollm", PreTokenizer::kSmolLm},
                                                        {"llama-bpe", PreTokenizer::kLlama3},
                                                        {"qwen2", PreTokenizer::kQwen2},
                                                        {"tekken", PreTokenizer::kTekken},
                                                        {"gpt-4o", PreTokenizer::kGpt4o},
                                                        {"deepseek-v3", PreTokenizer::kDeepSeekV3}};
  for (const auto& one : recorded("words_vectors.json")) {
    const std::string text = one["text"];
    for (const auto& [name, kind] : kinds) {
      std::vector<size_t> characters;  // words end after so many of them
      size_t at = 0, count = 0;
      for (const size_t end : split_words(kind, text)) {
        for (; at < end; ++count) decode_utf8(text, at);
        characters.push_back(count);
      }
      const auto& expected = one.contains(name) ? one[name] : one["llama-bpe"];
      EXPECT_EQ(characters, expected.get<std::vector<size_t>>())
          << name << ": " << one["text"].dump(-1, ' ', true);
    }
  }
}

class SentencePieceVectors : public testing::TestWithParam<const char*> {};

TEST_P(SentencePieceVectors, IdsAreTheLibrarys) {
  const Tokenizer tokenizer = from_model(GetParam());
  EXPECT_GE(expect_recorded(tokenizer, std::string("sentencepiece/") + GetParam() + "_vectors.json"), 300u);
}

INSTANTIATE_TEST_SUITE_P(Models, SentencePieceVectors,
                         testing::Values("unigram_rules", "unigram_bytes", "unigram_bare", "bpe_rules",
                                         "bpe_bytes"));

TEST(TokenizerVectors, BytesComeBackFromSentencePieceModels) {
  for (const char* name : {"unigram_bytes", "bpe_bytes"}) {
    const Tokenizer tokenizer = from_model(name);
    for (const auto& hex : recorded("hard_texts.json")) {
      const std::string text = bytes_of(hex);
      if (!is_valid_utf8(text)) continue;
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << name;
    }
  }
}

class TokenizerJsonVectors : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerJsonVectors, IdsAreHuggingFaces) {
  const std::string name = GetParam();
  const Tokenizer tokenizer = from_json(testdata() / "tokenizer_json" / (name + ".json"));
  EXPECT_GE(expect_recorded(tokenizer, "tokenizer_json/" + name + "_vectors.json"), 300u);
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerJsonVectors,
                         testing::Values("byte_smollm", "byte_llama3", "byte_nfc", "byte_deepseek", "spaced",
                                         "spaced_prefix", "unigram_words", "unigram_collapse", "word_piece"));

class MiniLm : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = real_model("FATHOM_TEST_MINILM", "all-MiniLM-L6-v2");
    if (!folder_) GTEST_SKIP() << "all-MiniLM-L6-v2 is not there; FATHOM_TEST_MINILM names its folder";
  }
  std::optional<fs::path> folder_;
};

uint32_t crc32(std::string_view text) {
  uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

TEST_F(MiniLm, IdsAreHuggingFaces) {
  EXPECT_GE(expect_recorded(from_json(*folder_ / "tokenizer.json"), "minilm_vectors.json"), 300u);
}

TEST_F(MiniLm, EveryCodePointIsTreatedAsHuggingFaceTreatsIt) {
  const Tokenizer tokenizer = from_json(*folder_ / "tokenizer.json");
  const auto sums = recorded("minilm_code_points.json")["crc32"].get<std::vector<uint32_t>>();
  ASSERT_EQ(sums.size(), 0x200u);
  for (size_t block = 0; block < sums.size(); ++block) {
    std::string text;
    for (char32_t c = static_cast<char32_t>(block * 256); c < (block + 1) * 256; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      text += "ab";
      append_utf8(text, c);
      text += "cd ";
    }
    std::string ids;
    for (const int32_t id : tokenizer.encode(text)) ids += (ids.empty() ? "" : ",") + std::to_string(id);
    EXPECT_EQ(crc32(ids), sums[block]) << "in the 256 code points from " << block * 256;
  }
}

TEST_F(MiniLm, KnowsItsSpecialTokens) {
  const auto config = read_file(*folder_ / "tokenizer_config.json");
  const Tokenizer tokenizer =
      Tokenizer::from_metadata(tokenizer_metadata(read_file(*folder_ / "tokenizer.json"), config), "MiniLM");
  EXPECT_EQ(tokenizer.size(), 30522u);
  EXPECT_EQ(tokenizer.bos(), 101);
  EXPECT_EQ(tokenizer.eos(), 102);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.add_eos());
  EXPECT_EQ(tokenizer.encode("x[MASK]", true).back(), 103);
  EXPECT_NE(tokenizer.encode("x[MASK]").back(), 103);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("Tokenisation, of words")), "tokenisation , of words");
}

TEST(Gemma, IdsAreLlamaCpps) {
  const auto path = real_model("FATHOM_TEST_GEMMA", "gemma-3-270m-q4_k_m.gguf");
  if (!path) GTEST_SKIP() << "the Gemma 3 model file is not there; FATHOM_TEST_GEMMA names it";
  const auto tokenizer = Tokenizer::from_gguf(GgufFile::open(*path));
  EXPECT_GE(expect_recorded(tokenizer, "gemma_vectors.json"), 300u);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_EQ(tokenizer.bos(), 2);
  EXPECT_TRUE(tokenizer.is_end(106));  // <end_of_turn>
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("  two  spaces\n\n\nand lines ")),
            "  two  spaces\n\n\nand lines ");
}

}  // namespace
}  // namespace fathom::model
