#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "model/byte_pair.h"
#include "model/tokenizer.h"
#include "train/byte_pair_trainer.h"
#include "train/tokenizer_file.h"
#include "train/tokenizer_trainer.h"

namespace fathom::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kText =
    "The ferry to Gull Island leaves at nine. It takes an hour, and on a clear day you see the lighthouse "
    "long before "
    "you see the island.\n"
    "\"Is there room for a bicycle?\" asked Ines. \"There's always room for one,\" said the man at the gate, "
    "\"but not "
    "for 27 of them.\"\n"
    "They'd waited since seven; the ferries weren't late, the fog was. At 10:45 the ferry left, and the "
    "lighthouse was "
    "lit.\n"
    "¿Quién espera? Wer wartet? 島へ行く船です。 Nobody waits for 2 hours twice.\n";

// What the trainer of Hugging Face's `tokenizers` 0.22 makes of it: 319 tokens with three special ones, pairs that occur
// twice, the expression of "qwen2".
constexpr std::string_view kMerges[] = {
    "h e",    "Ġ t",   "Ġt he", "Ġ a",   "Ġ f",   "Ġ l",    "e r",    "o u",     "w a",     "e s",
    "o r",    "s e",   "Ġ wa",  "h ou",  "n d",   "t e",    "ã ģ",    "Ġf or",   ". Ċ",     "T he",
    "o n",    "Ġ I",   "Ġ se",  "Ġf er", "Ġl i",  "Ġfer r", "a nd",   "a te",    "c e",     "c l",
    "e a",    "e f",   "e n",   "g h",   "i n",   "l and",  "o m",    "o om",    "r e",     "r oom",
    "s land", "t hou", "y ou",  "Ġ \"",  "Ġ b",   "Ġ n",    "Ġ s",    "Ġ hou",   "Ġ on",    "Ġ room",
    "Ġ you",  "Ġa t",  "Ġa nd", "Ġwa i", "Ġwa s", "Ġse e",  "Ġli gh", "Ġferr y", "thou se", "Ġhou r"};

class TokenizerTraining : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, std::string_view content) {
    write_file_atomic(dir_.path() / name, content);
    return dir_.path() / name;
  }

  TokenizerOptions options(std::vector<std::filesystem::path> inputs, size_t vocab) {
    TokenizerOptions options;
    options.documents.inputs = std::move(inputs);
    options.vocab = vocab;
    return options;
  }

  TrainedTokenizer train(const TokenizerOptions& options, size_t threads = 2) {
    ThreadPool pool(threads);
    return train_tokenizer(options, pool, {[](uint64_t, uint64_t) {}, [](size_t, size_t) {}});
  }

  std::string error_of(const TokenizerOptions& options) {
    try {
      train(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  TempDir dir_;
};

const std::vector<std::string>& list(const TrainedTokenizer& trained, std::string_view key) {
  for (const auto& [name, value] : trained.metadata)
    if (name == key) return std::get<std::vector<std::string>>(value);
  throw std::runtime_error("no such key");
}

TEST_F(TokenizerTraining, MergesAreThoseOfHuggingFace) {
  const auto trained = train(options({write("a.txt", kText)}, 319));
  EXPECT_THAT(list(trained, "tokenizer.ggml.merges"), ::testing::ElementsAreArray(kMerges));
  const auto tokenizer = model::Tokenizer::from_metadata(trained.metadata, "trained");
  EXPECT_EQ(tokenizer.size(), 319u);
  EXPECT_THAT(
      tokenizer.encode("The ferries leave the island at 9:30."),
      ElementsAre(278, 284, 75, 268, 264, 289, 88, 71, 261, 223, 75, 299, 310, 223, 27, 28, 21, 18, 16));
  EXPECT_THAT(tokenizer.encode("waited"), ElementsAre(267, 75, 274, 70));
  EXPECT_EQ(tokenizer.eos(), 0);
  EXPECT_THAT(tokenizer.encode("<|im_end|>", true), ElementsAre(2));
  EXPECT_TRUE(tokenizer.is_end(2));
}

TEST_F(TokenizerTraining, AnyTextComesBack) {
  const auto trained = train(options({write("a.txt", kText)}, 300));
  const auto tokenizer = model::Tokenizer::from_metadata(trained.metadata, "trained");
  for (const std::string_view text : {"", " ", "\n\n \t x", "Ünï 😀 日本", "\x01\x7F", "1234567 's 'S"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST_F(TokenizerTraining, FilesGiveTheSameTokenizer) {
  auto wanted = options({write("a.txt", kText)}, 319);
  for (const char* pre : {"qwen2", "gpt-2", "smollm", "llama-bpe", "gpt-4o", "tekken", "deepseek-v3"}) {
    wanted.pre = pre;
    const auto trained = train(wanted);
    model::GgufWriter writer;
    for (const auto& [key, value] : trained.metadata) writer.set(key, value);
    writer.write(dir_.path() / "tokenizer.gguf");
    const auto gguf = open_tokenizer(dir_.path() / "tokenizer.gguf");
    const auto files = model::tokenizer_files(gguf.file);
    write("tokenizer.json", files.tokenizer);
    write("tokenizer_config.json", files.config);
    const auto json = open_tokenizer(dir_.path() / "tokenizer.json");
    for (const auto& [key, entry] : gguf.file.metadata()) {
      const auto found = json.file.metadata().find(key);
      ASSERT_NE(found, json.file.metadata().end()) << key;
      EXPECT_TRUE(std::ranges::equal(found->second.bytes, entry.bytes)) << key;
    }
    const auto a = model::Tokenizer::from_gguf(gguf.file), b = model::Tokenizer::from_gguf(json.file);
    EXPECT_EQ(a.encode(kText), b.encode(kText)) << pre;
    EXPECT_EQ(tokenizer_digest(a), tokenizer_digest(b));
  }
}

TEST_F(TokenizerTraining, TheResultDoesNotDependOnThreadsOrTheOrderOfFiles) {
  Random random(2);
  std::string first, second;
  for (int i = 0; i < 2000; ++i) {
    std::string& file = i % 2 == 0 ? first : second;
    file += R"({"text":"w)" + std::to_string(random.below(400)) + " and w" +
            std::to_string(random.below(90)) + "\"}\n";
  }
  const auto a = write("a.jsonl", first), b = write("b.jsonl", second);
  const auto one = train(options({a, b}, 400), 1), many = train(options({b, a}, 400), 4);
  EXPECT_EQ(one.metadata, many.metadata);
}

TEST_F(TokenizerTraining, DialoguesCountWithTheirRoles) {
  std::string lines;
  for (int i = 0; i < 3; ++i)
    lines += R"({"messages":[{"role":"user","content":"tell"},{"role":"assistant","content":"told"}]})"
             "\n";
  auto wanted = options({write("a.jsonl", lines)}, 290);
  wanted.documents.dialogues = true;
  const auto tokenizer = model::Tokenizer::from_metadata(train(wanted).metadata, "trained");
  for (const std::string_view word : {"user", "assistant", "tell", "told"})
    EXPECT_EQ(tokenizer.encode(word).size(), 1u) << word;
}

TEST_F(TokenizerTraining, ATextThatIsTooSmallGivesASmallerVocabulary) {
  const auto trained = train(options({write("a.txt", "abab abab")}, 5000));
  EXPECT_THAT(list(trained, "tokenizer.ggml.merges"), ElementsAre("a b", "ab ab"));
}

TEST_F(TokenizerTraining, WrongOptionsAreNamed) {
  const auto path = write("a.txt", kText);
  EXPECT_THAT(error_of(options({path}, 200)), HasSubstr("room for 256 bytes"));
  auto wrong = options({path}, 300);
  wrong.pre = "other";
  EXPECT_THAT(error_of(wrong), HasSubstr("'other'"));
  wrong = options({path}, 300);
  wrong.special = {"<a>", "<a>"};
  EXPECT_THAT(error_of(wrong), HasSubstr("'<a>'"));
  wrong = options({path}, 300);
  wrong.chat_template = "{% if %}";
  EXPECT_NE(error_of(wrong), "nothing was thrown");
  EXPECT_THAT(error_of(options({write("b.jsonl", "{}\n")}, 300)), HasSubstr("no document"));
}

TEST_F(TokenizerTraining, SentencePieceModelsAreReadAsTheLibraryReadsThem) {
  Random random(4);
  std::string text(kText);
  for (int i = 0; i < 3000; ++i)
    text += "word" + std::to_string(random.below(60)) +
            (random.chance(0.1) ? ".\n"
             : i % 7 == 0       ? " the ferry "
                                : " ");
  const auto path = write("a.txt", text);
  for (const TokenizerKind kind : {TokenizerKind::kUnigram, TokenizerKind::kSentencePieceBytePair}) {
    auto wanted = options({path}, 330);
    wanted.kind = kind;
    const auto trained = train(wanted);
    const auto tokenizer = model::Tokenizer::from_metadata(trained.metadata, "trained");
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(trained.sentence_piece).ok());
    EXPECT_EQ(tokenizer.size(), static_cast<size_t>(library.GetPieceSize()));
    for (const std::string line : {"The ferry leaves at 10:45.", "word12 word7  twice", "日本 😀 é"}) {
      std::vector<int> ids;
      ASSERT_TRUE(library.Encode(line, &ids).ok());
      EXPECT_EQ(tokenizer.encode(line), ids) << line;
      EXPECT_EQ(tokenizer.decode(ids), line);
    }
    EXPECT_EQ(train(wanted).sentence_piece, trained.sentence_piece);
    EXPECT_EQ(tokenizer.encode("<|im_start|>", true).size(), 1u);
  }
  auto too_many = options({path}, 100000);
  too_many.kind = TokenizerKind::kUnigram;
  EXPECT_THAT(error_of(too_many), HasSubstr("SentencePiece could not train"));
}

TEST(BytePairTrainer, OfEquallyFrequentPairsTheLowerIdsComeFirst) {
  // "b a", "c a" and "a <end>" alike; symbols are sorted by GPT-2's alphabet, so 'b' < 'c'.
  const auto pairs = train_byte_pairs({{"ca", 3}, {"ba", 3}}, 258, 1, [](size_t) {});
  ASSERT_EQ(pairs.merges.size(), 2u);
  EXPECT_EQ(pairs.symbols[256], "ba");
  EXPECT_EQ(pairs.symbols[257], "ca");
}

TEST(BytePairTrainer, RunsOfOneLetterAreCountedRight) {
  // aaaaa becomes (aa)(aa)a; then (aa)a and (aa)(aa) are there once a word, and a has the lower number.
  const auto pairs = train_byte_pairs({{"aaaaa", 5}}, 300, 2, [](size_t) {});
  EXPECT_THAT(std::vector(pairs.symbols.begin() + 256, pairs.symbols.end()),
              ElementsAre("aa", "aaa", "aaaaa"));
}

TEST(BytePairTrainer, BytesAndTheirTextsGoBothWays) {
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(model::bytes_of_gpt2_text(model::gpt2_text_of_bytes(all)), all);
}

TEST(WordCounter, LeavesEndlessWordsOut) {
  WordCounter counter(model::PreTokenizer::kQwen2);
  counter.add("two two " + std::string(WordCounter::kLongestWord + 1, 'x'));
  std::vector<std::string> words;
  for (const auto& word : counter.take()) words.push_back(word.bytes);
  EXPECT_THAT(words, ElementsAre(" two", "two"));
}

}  // namespace
}  // namespace fathom::train
