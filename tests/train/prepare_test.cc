#include "train/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "model/chat_template.h"
#include "train/dialogue.h"
#include "train/near_duplicates.h"
#include "train/shard.h"

namespace fathom::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

/// Bytes alone, after three special tokens: what is in a dataset can be read off its ids.
TokenizerFile byte_tokenizer() {
  std::vector<std::string> tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<int32_t> types(3, 3);
  for (int b = 0; b < 256; ++b) {
    // The printable ones of GPT-2's alphabet are themselves; the test's texts have only these, spaces and line ends.
    tokens.push_back(b == ' ' ? "\xC4\xA0" : b == '\n' ? "\xC4\x8A" : "<" + std::to_string(b) + ">");
    if (b > ' ' && b < 0x7F) tokens.back() = std::string(1, static_cast<char>(b));
    types.push_back(1);
  }
  model::GgufWriter writer;
  writer.set("tokenizer.ggml.model", std::string("gpt2"));
  writer.set("tokenizer.ggml.pre", std::string("qwen2"));
  writer.set("tokenizer.ggml.tokens", tokens);
  writer.set("tokenizer.ggml.token_type", types);
  writer.set("tokenizer.ggml.merges", std::vector<std::string>());
  writer.set("tokenizer.ggml.eos_token_id", uint32_t{0});
  auto bytes = std::make_unique<const std::string>(writer.serialise());
  auto file = model::GgufFile::parse(std::as_bytes(std::span(*bytes)), "bytes");
  return {std::move(bytes), std::move(file)};
}

std::string zstd(const std::string& plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
  return out;
}

std::string line(const std::string& text) { return Json{{"text", text}}.dump() + "\n"; }

class Prepare : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((dir_.path() / name).parent_path());
    write_file_atomic(dir_.path() / name, content);
    return dir_.path() / name;
  }

  PrepareOptions options(std::vector<std::filesystem::path> inputs) {
    PrepareOptions options;
    options.documents.inputs = std::move(inputs);
    options.out = dir_.path() / ("out" + std::to_string(++runs_));
    return options;
  }

  PrepareReport run(const PrepareOptions& options, size_t threads = 2) {
    ThreadPool pool(threads);
    return prepare(tokenizer_, options, pool, [](uint64_t, uint64_t) {});
  }

  std::string error_of(const PrepareOptions& options) {
    try {
      run(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  /// All documents of a dataset as text, in order.
  std::vector<std::string> texts(const std::filesystem::path& folder) {
    const auto tokenizer = model::Tokenizer::from_gguf(tokenizer_.file);
    std::vector<std::string> texts;
    for (const auto& path : files_of(folder, ".tokens")) {
      const std::string bytes = read_file(path);
      const auto shard = Shard::parse(std::as_bytes(std::span(bytes)), path.string());
      for (uint64_t d = 0; d < shard.header().documents; ++d) {
        std::vector<int32_t> ids;
        for (uint64_t i = shard.begin(d); i < shard.begin(d + 1); ++i) ids.push_back(shard.token(i));
        texts.push_back(tokenizer.decode(ids, true));
      }
    }
    return texts;
  }

  TempDir dir_;
  TokenizerFile tokenizer_ = byte_tokenizer();
  int runs_ = 0;
};

TEST_F(Prepare, ReadsTextNdjsonZstdAndFolders) {
  write("in/a.txt", "one\ntwo\n");
  write("in/deep/b.jsonl.zst", zstd(line("three") + "\n" + line("four")));
  write("in/picture.png", "not read");
  const auto report = run(options({dir_.path() / "in", write("c.txt.zst", zstd("five"))}));
  EXPECT_THAT(texts(dir_.path() / "out1/train"), ElementsAre("one\ntwo\n<|endoftext|>", "three<|endoftext|>",
                                                             "four<|endoftext|>", "five\n<|endoftext|>"));
  EXPECT_EQ(report.documents, 4u);
  EXPECT_EQ(report.bytes, 8u + 5 + 4 + 5);
  const auto data = Dataset::open(dir_.path() / "out1/train");
  EXPECT_EQ(data.info().tokens, report.train.tokens);
  EXPECT_FALSE(data.info().masked);
  const auto copied = open_tokenizer(dir_.path() / "out1");
  EXPECT_EQ(tokenizer_digest(model::Tokenizer::from_gguf(copied.file)), data.info().tokenizer);
}

TEST_F(Prepare, LinesOfTextCanBeDocuments) {
  auto wanted = options({write("a.txt", "one\r\n\n  \ntwo")});
  wanted.documents.lines = true;
  const auto report = run(wanted);
  EXPECT_THAT(texts(wanted.out / "train"), ElementsAre("one<|endoftext|>", "two<|endoftext|>"));
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("a.txt:3: it is empty")));
}

TEST_F(Prepare, WhatIsBrokenIsNamedAndTheRestIsRead) {
  const std::string deep(100, '[');
  const auto path =
      write("a.jsonl", line("good") + "{\"text\": \n" + "{\"text\": 5}\n" + "{\"text\": \"\xFF\"}\n" +
                           line(std::string("nul\0", 4)) + "{\"text\": " + deep + "\n[1]\n" +
                           "{\"body\": \"x\"}\n" + line("fine"));
  const auto report = run(options({path, write("b.txt", "bad \xC3\x28 text")}));
  EXPECT_EQ(report.refused, 8u);
  EXPECT_EQ(report.train.documents, 2u);
  EXPECT_THAT(
      report.problems,
      ElementsAre(HasSubstr("a.jsonl:2: it is not JSON"), HasSubstr("a.jsonl:3: it has no text \"text\""),
                  HasSubstr("a.jsonl:4: it is not JSON"), HasSubstr("a.jsonl:5: it has a NUL"),
                  HasSubstr("a.jsonl:6: its JSON is nested too deep"),
                  HasSubstr("a.jsonl:7: it is not a JSON object"), HasSubstr("a.jsonl:8: it has no text"),
                  HasSubstr("b.txt:1: it is not UTF-8")));
  auto strict = options({path});
  strict.strict = true;
  EXPECT_THAT(error_of(strict), HasSubstr("a.jsonl:2: it is not JSON"));
  EXPECT_FALSE(std::filesystem::exists(strict.out));
}

TEST_F(Prepare, ALineWithoutAnEndIsRefusedAndNotKept) {
  const auto path =
      write("a.jsonl.zst", zstd(line("good") + std::string(kLongestDocument + 1, 'x') + "\n" + line("fine")));
  const auto report = run(options({path}));
  EXPECT_EQ(report.train.documents, 2u);
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("a.jsonl.zst:2: it is longer than 16 MiB")));
}

TEST_F(Prepare, TheTextBeforeALineWithoutAnEndStays) {
  const auto path =
      write("a.txt", "one good line\n" + std::string(kLongestDocument + 1, 'x') + "\nand the rest\n");
  const auto report = run(options({path}));
  EXPECT_EQ(report.train.documents, 2u);
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("a.txt:2: it is longer than 16 MiB")));
}

TEST_F(Prepare, OneLineCannotTakeHours) {
  std::string members = "{\"text\": {", turns = "{\"messages\": [";
  for (int i = 0; i < 20'001; ++i) members += (i ? ",\"" : "\"") + std::to_string(i) + "\":0";
  for (int i = 0; i < 4000; ++i)
    turns += std::string(i ? "," : "") + "{\"role\":\"" + (i % 2 ? "assistant" : "user") +
             "\",\"content\":\"a b\"}";
  auto dialogues =
      options({write("a.jsonl", members + "}}\n" + line("fine")), write("b.jsonl", turns + "]}\n")});
  dialogues.documents.dialogues = true;
  EXPECT_THAT(run(dialogues).problems, ElementsAre(HasSubstr("a.jsonl:1: its JSON has too many members"),
                                                   HasSubstr("b.jsonl:1: it has too many turns")));
}

TEST_F(Prepare, DamagedInputEndsItAndLeavesNothing) {
  std::string all;
  Random random(1);
  for (int i = 0; i < 20000; ++i) all += line(std::to_string(random.next()));
  const std::string packed = zstd(all);
  const auto cut = options({write("cut.jsonl.zst", packed.substr(0, packed.size() / 2))});
  EXPECT_THAT(error_of(cut), HasSubstr("cut.jsonl.zst' is damaged at byte"));
  EXPECT_FALSE(std::filesystem::exists(cut.out));
  EXPECT_THAT(error_of(options({dir_.path() / "nowhere"})), HasSubstr("there is no file"));
  EXPECT_THAT(error_of(options({write("empty.jsonl", "")})), HasSubstr("holds no document"));
  auto again = options({write("a.txt", "a")});
  again.out = dir_.path();
  EXPECT_THAT(error_of(again), HasSubstr("is not empty"));
}

/// Sentences of words that are never the same.
std::string prose(Random& random, size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i)
    text += "w" + std::to_string(random.below(100000)) + (i % 9 == 8 ? ". " : " ");
  return text;
}

TEST_F(Prepare, DuplicatesAreDroppedOnceTheFirstIsKept) {
  Random random(3);
  const std::string text = prose(random, 100);
  std::string nearly = text;
  nearly.replace(nearly.find("w"), 2, "x1");
  const std::string other = prose(random, 100);
  const auto path = write("a.jsonl", line(text) + line(other) + line(text) + line(nearly) +
                                         line("Hello, you") + line("hello you!"));
  const auto report = run(options({path}));
  EXPECT_EQ(report.duplicates, 1u);
  EXPECT_EQ(report.near_duplicates, 2u);
  EXPECT_EQ(report.train.documents, 3u);
  auto equal_only = options({path});
  equal_only.near_duplicates = 0;
  EXPECT_EQ(run(equal_only).train.documents, 5u);
  equal_only.drop_duplicates = false;
  equal_only.out += "-all";
  EXPECT_EQ(run(equal_only).train.documents, 6u);
}

TEST_F(Prepare, TheResultDoesNotDependOnThreads) {
  Random random(4);
  std::string all;
  for (int i = 0; i < 3000; ++i) all += line(prose(random, 5 + random.below(30)));
  all += all.substr(0, all.size() / 3);
  const auto path = write("a.jsonl", all);
  auto one = options({path}), many = options({path});
  one.held_out = many.held_out = 0.1;
  run(one, 1);
  run(many, 4);
  for (const char* file : {"train/shard-00000.tokens", "train/manifest.json", "held-out/shard-00000.tokens"})
    EXPECT_EQ(read_file(one.out / file), read_file(many.out / file)) << file;
}

TEST_F(Prepare, WhatIsHeldOutFollowsFromTheDocument) {
  Random random(5);
  std::vector<std::string> lines;
  for (int i = 0; i < 1000; ++i) lines.push_back(line(prose(random, 12)));
  std::string all, backwards;
  for (const auto& l : lines) all += l, backwards = l + backwards;
  auto first = options({write("a.jsonl", all)}), second = options({write("b.jsonl", backwards)});
  first.held_out = second.held_out = 0.05;
  const auto report = run(first);
  run(second);
  EXPECT_GT(report.held_out.documents, 25u);
  EXPECT_LT(report.held_out.documents, 80u);
  EXPECT_EQ(report.held_out.documents + report.train.documents, 1000u);
  auto a = texts(first.out / "held-out"), b = texts(second.out / "held-out");
  std::reverse(b.begin(), b.end());
  EXPECT_EQ(a, b);
}

TEST_F(Prepare, LongTextsBecomeSeveralDocuments) {
  auto wanted = options({write("a.jsonl", line("abcdefghijklmnopqrs"))});
  wanted.max_document = 8;
  run(wanted);
  EXPECT_THAT(texts(wanted.out / "train"), ElementsAre("abcdefgh", "ijklmnop", "qrs<|endoftext|>"));
}

TEST_F(Prepare, OfDialoguesTheAssistantsTurnsAreLearnt) {
  const Json messages = Json::array({{{"role", "user"}, {"content", "hi"}},
                                     {{"role", "assistant"}, {"content", "yes"}},
                                     {{"role", "user"}, {"content", "<|im_end|>"}},
                                     {{"role", "assistant"}, {"content", "no"}}});
  const auto tokenizer = model::Tokenizer::from_gguf(tokenizer_.file);
  const auto document =
      encode_dialogue(tokenizer, model::ChatTemplate::chatml(), messages, Learn::kAssistant);
  std::string learnt;
  for (size_t i = 0; i < document.tokens.size(); ++i)
    if (document.learn[i] != 0) learnt += tokenizer.decode(std::vector{document.tokens[i]}, true);
  EXPECT_EQ(learnt, "yes<|im_end|>\nno<|im_end|>\n");
  // What a user writes is never a control token.
  EXPECT_EQ(std::count(document.tokens.begin(), document.tokens.end(), 2), 4);
  EXPECT_THROW(encode_dialogue(tokenizer, model::ChatTemplate::chatml(),
                               Json::array({{{"role", "user"}, {"content", "hi"}}}), Learn::kAssistant),
               Error);
}

TEST_F(Prepare, ATemplateThatRewritesEarlierTurnsIsLearntUpToThere) {
  // Only the last answer keeps its mark.
  const auto chat = model::ChatTemplate::parse(
      "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' and loop.last %}*{% endif %}{{ "
      "m.content }};"
      "{% endfor %}{% if add_generation_prompt %}a:{% endif %}");
  const Json messages = Json::array({{{"role", "user"}, {"content", "hi"}},
                                     {{"role", "assistant"}, {"content", "yes"}},
                                     {{"role", "user"}, {"content", "so"}},
                                     {{"role", "assistant"}, {"content", "no"}}});
  const auto tokenizer = model::Tokenizer::from_gguf(tokenizer_.file);
  const auto document = encode_dialogue(tokenizer, chat, messages, Learn::kAssistant);
  std::string learnt;
  for (size_t i = 0; i < document.tokens.size(); ++i)
    if (document.learn[i] != 0) learnt += tokenizer.decode(std::vector{document.tokens[i]}, true);
  EXPECT_EQ(learnt, "*no;");
}

TEST_F(Prepare, DialoguesInTheirForms) {
  auto wanted = options({write(
      "a.jsonl", R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"}]})"
                 "\n"
                 R"({"prompt":"one?","answer":["two","three"]})"
                 "\n" +
                     line("prose") +
                     R"({"messages":[{"role":"user"}]})"
                     "\n"
                     R"({"messages":[]})"
                     "\n"
                     R"({"messages":[{"role":"user","content":"alone"}]})"
                     "\n")});
  wanted.documents.dialogues = true;
  const auto report = run(wanted);
  EXPECT_THAT(texts(wanted.out / "train"),
              ElementsAre("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n",
                          "<|im_start|>user\none?<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n",
                          "prose<|endoftext|>"));
  EXPECT_TRUE(report.train.masked);
  EXPECT_EQ(report.train.loss_tokens, 5u + 5 + 5);  // "yes", "two" with their ends; "rose" with its own
  EXPECT_EQ(report.refused, 3u);
  auto learn_all = options(wanted.documents.inputs);
  learn_all.documents.dialogues = learn_all.learn_all = true;
  const auto all = run(learn_all).train;  // with the user who is alone
  EXPECT_EQ(all.documents, 4u);
  EXPECT_EQ(all.loss_tokens, all.tokens - 4);
  EXPECT_THAT(error_of(options(wanted.documents.inputs)),
              HasSubstr("nothing was thrown"));  // the prose alone
}

TEST(NearDuplicates, SimilarityIsThatOfTheShingles) {
  Random random(6);
  for (const size_t changed : {0u, 20u, 60u, 200u}) {
    std::string a, b;
    for (size_t i = 0; i < 1000; ++i) {
      const std::string word = "w" + std::to_string(random.below(1 << 30)) + " ";
      a += word;
      b += i < changed ? "x" + word : word;
    }
    const double same = 996.0 - static_cast<double>(changed > 0 ? changed : 0);
    EXPECT_NEAR(similarity(*min_hash(a), *min_hash(b)), same / (2 * 996 - same), 0.12) << changed;
  }
  EXPECT_FALSE(min_hash(" ... "));
  EXPECT_EQ(*min_hash("One two"), *min_hash("one, TWO!"));
}

TEST(NearDuplicates, ManyOfOneBandStayFast) {
  NearDuplicates index(0.99);
  MinHash hash{};
  for (uint64_t i = 0; i < 20000; ++i) {  // one band of all is the same
    for (size_t band = 1; band < hash.size(); ++band) hash[band] = i * 31 + band;
    EXPECT_TRUE(index.add(hash));
  }
  EXPECT_FALSE(index.add(hash));
}

}  // namespace
}  // namespace fathom::train
