// fathom tokenizer: train makes one of text; show tells what a file's tokenizer does with a text.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/document_options.h"
#include "cli/signal_stop.h"
#include "train/tokenizer_file.h"
#include "train/tokenizer_trainer.h"

namespace fathom::cli {
namespace {

using json = nlohmann::ordered_json;

struct TrainArguments {
  train::TokenizerOptions options;
  std::filesystem::path out, chat_template;
  size_t threads = 0;
  bool json = false;
};

void write_files(const train::TrainedTokenizer& trained, const std::filesystem::path& out) {
  std::filesystem::create_directories(out);
  model::GgufWriter writer;
  for (const auto& [key, value] : trained.metadata) writer.set(key, value);
  writer.write(out / "tokenizer.gguf");
  if (!trained.sentence_piece.empty())
    return write_file_atomic(out / "tokenizer.model", trained.sentence_piece);
  try {
    const auto files = model::tokenizer_files(model::GgufFile::open(out / "tokenizer.gguf"));
    write_file_atomic(out / "tokenizer.json", files.tokenizer);
    write_file_atomic(out / "tokenizer_config.json", files.config);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    std::cerr << fmt::format("No tokenizer.json is written: {}\n", error.what());
  }
}

void report(const train::TrainedTokenizer& trained, const TrainArguments& arguments) {
  const auto file = train::open_tokenizer(arguments.out / "tokenizer.gguf");
  const auto tokenizer = model::Tokenizer::from_gguf(file.file);
  if (arguments.json) {
    std::cout << json{{"out", arguments.out.string()}, {"documents", trained.documents},
                      {"refused", trained.refused},    {"bytes", trained.bytes},
                      {"tokens", tokenizer.size()},    {"digest", train::tokenizer_digest(tokenizer)}}
                     .dump(2)
              << "\n";
    return;
  }
  std::cout << fmt::format("{}: {} tokens out of {} documents, {}B\n", arguments.out.string(),
                           tokenizer.size(), trained.documents - trained.refused,
                           human_count(static_cast<double>(trained.bytes)));
  if (tokenizer.size() < arguments.options.vocab)
    std::cout << fmt::format("The text has no more to merge: {} tokens fewer than were asked for.\n",
                             arguments.options.vocab - tokenizer.size());
}

int train_command(TrainArguments& arguments) {
  static SignalStop signals;  // its thread may outlive this function
  train::TokenizerOptions& options = arguments.options;
  std::erase(options.special, "");  // --special "" means none
  if (!arguments.chat_template.empty())
    options.chat_template = read_file(arguments.chat_template, size_t{1} << 20);
  signals.listen();
  options.stop = signals.token();
  ThreadPool pool(arguments.threads != 0 ? arguments.threads
                                         : std::max(1u, std::thread::hardware_concurrency()));
  LateProgress reading("Reading", "B"), merging("Merging", "tokens");
  const auto trained =
      train::train_tokenizer(options, pool,
                             {[&](uint64_t done, uint64_t total) { reading.update(done, total); },
                              [&](size_t done, size_t total) {
                                reading.end();
                                merging.update(done, total);
                              }});
  reading.end();
  merging.end();
  tell_problems(trained.problems, trained.refused);
  write_files(trained, arguments.out);
  report(trained, arguments);
  return 0;
}

void add_train_tokenizer(CLI::App& tokenizer, Run& run) {
  const std::map<std::string, train::TokenizerKind> kinds{
      {"bpe", train::TokenizerKind::kBytePair},
      {"unigram", train::TokenizerKind::kUnigram},
      {"sentencepiece-bpe", train::TokenizerKind::kSentencePieceBytePair}};
  auto arguments = std::make_shared<TrainArguments>();
  train::TokenizerOptions& options = arguments->options;
  CLI::App* command = tokenizer.add_subcommand("train", "Make a tokenizer of text");
  command->footer(
      "Example:\n  fathom tokenizer train --vocab 8192 --out tok books/ posts.jsonl.zst\n\nWritten: "
      "tokenizer.gguf (what "
      "other commands read); of byte-level BPE tokenizer.json and tokenizer_config.json, of the others "
      "tokenizer.model.");
  command->add_option("--type", options.kind, "bpe (byte-level), unigram or sentencepiece-bpe")
      ->transform(CLI::CheckedTransformer(kinds))
      ->type_name("TYPE");
  command->add_option("--vocab", options.vocab, "Tokens, with the special ones")->capture_default_str();
  command->add_option("--out", arguments->out, "Folder to write into")->required()->type_name("DIR");
  add_document_options(*command, options.documents);
  command->add_option("--special", options.special, "Control tokens; of bpe, the first one ends a text")
      ->delimiter(',')
      ->capture_default_str()
      ->type_name("TOKEN");
  command
      ->add_option("--pre", options.pre,
                   "bpe: rules that split text into words (gpt-2, llama-bpe, qwen2, smollm, ...)")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("--min-count", options.min_count, "bpe: a pair that occurs less often is not merged")
      ->capture_default_str();
  command
      ->add_option("--chat-template", arguments->chat_template,
                   "Jinja file; else ChatML's, where <|im_start|> and <|im_end|> are special tokens")
      ->type_name("FILE");
  command->add_option("--threads", arguments->threads, "Threads; 0: one a core")->capture_default_str();
  command->add_flag("--json", arguments->json, "Report as JSON");
  command->callback([arguments, &run] { run = [arguments] { return train_command(*arguments); }; });
}

struct ShowArguments {
  std::filesystem::path file;
  std::string text;
  bool json = false;
};

json described(const train::TokenizerFile& file, const model::Tokenizer& tokenizer, const std::string& text) {
  json special = json::object();
  for (size_t id = 0; id < tokenizer.size(); ++id)
    if (tokenizer.is_control(static_cast<int32_t>(id)))
      special[sanitize_utf8(tokenizer.text(static_cast<int32_t>(id)))] = id;
  json out = {{"model", file.file.get_string("tokenizer.ggml.model")},
              {"pre", file.file.find_string("tokenizer.ggml.pre").value_or("default")},
              {"tokens", tokenizer.size()},
              {"digest", train::tokenizer_digest(tokenizer)},
              {"chat_template", file.file.has("tokenizer.chat_template")},
              {"special", special}};
  if (text.empty()) return out;
  json pieces = json::array();
  for (const int32_t id : tokenizer.encode(text, true))
    pieces.push_back({{"id", id}, {"text", sanitize_utf8(tokenizer.decode(std::vector{id}, true))}});
  out["encoded"] = pieces;
  return out;
}

int show(const ShowArguments& arguments) {
  const auto file = train::open_tokenizer(arguments.file);
  const auto tokenizer = model::Tokenizer::from_gguf(file.file);
  const json out = described(file, tokenizer, arguments.text);
  if (arguments.json) {
    std::cout << out.dump(2) << "\n";
    return 0;
  }
  std::cout << fmt::format("{}: {} tokens, {} ({}), {} special, {} chat template, digest {:.12}\n",
                           arguments.file.string(), tokenizer.size(), out["model"].get<std::string>(),
                           out["pre"].get<std::string>(), out["special"].size(),
                           out["chat_template"].get<bool>() ? "a" : "no", out["digest"].get<std::string>());
  if (arguments.text.empty()) return 0;
  for (const json& piece : out["encoded"])
    std::cout << fmt::format("{:>8}  {}\n", piece["id"].get<int32_t>(), piece["text"].dump());
  std::cout << fmt::format("{} tokens for {} bytes\n", out["encoded"].size(), arguments.text.size());
  return 0;
}

void add_show_tokenizer(CLI::App& tokenizer, Run& run) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* command = tokenizer.add_subcommand("show", "What a tokenizer is, and what it makes of a text");
  command->add_option("file", arguments->file, "GGUF file, tokenizer.json, tokenizer.model, or a folder")
      ->required()
      ->type_name("FILE");
  command->add_option("text", arguments->text, "Text to take apart")->type_name("TEXT");
  command->add_flag("--json", arguments->json, "Report as JSON");
  command->callback([arguments, &run] { run = [arguments] { return show(*arguments); }; });
}

}  // namespace

void add_tokenizer(CLI::App& app, Run& run) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Train and look at tokenizers");
  tokenizer->require_subcommand(1);
  add_train_tokenizer(*tokenizer, run);
  add_show_tokenizer(*tokenizer, run);
}

}  // namespace fathom::cli
