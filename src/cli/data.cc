// fathom data: what models are trained on. prepare makes a dataset of documents; show tells what is in one.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/document_options.h"
#include "cli/signal_stop.h"
#include "train/prepare.h"

namespace fathom::cli {
namespace {

using json = nlohmann::ordered_json;

struct PrepareArguments {
  train::PrepareOptions options;
  std::filesystem::path tokenizer;
  std::string hold_out = "0%";
  bool keep_duplicates = false;
  size_t threads = 0;
  bool json = false;
};

/// "1%", "0.5%" or "0.01".
double share_of(const std::string& text) {
  const bool percent = text.ends_with('%');
  const std::string_view number = std::string_view(text).substr(0, text.size() - (percent ? 1 : 0));
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  const double share = percent ? value / 100 : value;
  if (error != std::errc() || end != number.data() + number.size() || !(share >= 0 && share < 1))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--holdout takes a share such as 1%, below 100%, not '{}'", text));
  return share;
}

json to_json(const train::DatasetInfo& info) {
  return {{"documents", info.documents}, {"tokens", info.tokens}, {"loss_tokens", info.loss_tokens},
          {"vocab", info.vocab},         {"masked", info.masked}, {"tokenizer", info.tokenizer}};
}

json to_json(const train::PrepareReport& report, const std::filesystem::path& out) {
  const uint64_t tokens = report.train.tokens + report.held_out.tokens;
  return {{"out", out.string()},
          {"documents", report.documents},
          {"refused", report.refused},
          {"duplicates", report.duplicates},
          {"near_duplicates", report.near_duplicates},
          {"bytes", report.bytes},
          {"bytes_per_token",
           tokens == 0 ? 0.0 : static_cast<double>(report.bytes) / static_cast<double>(tokens)},
          {"train", to_json(report.train)},
          {"held_out", report.held_out.vocab == 0 ? json() : to_json(report.held_out)},
          {"problems", report.problems}};
}

void show_dataset(std::string_view name, const train::DatasetInfo& info) {
  const auto count = [](uint64_t n) { return human_count(static_cast<double>(n)); };
  std::cout << fmt::format("  {:<9} {} documents, {} tokens", name, count(info.documents),
                           count(info.tokens));
  if (info.masked) std::cout << fmt::format(", of them {} to learn", count(info.loss_tokens));
  std::cout << "\n";
}

void show(const train::PrepareReport& report, const std::filesystem::path& out) {
  std::cout << fmt::format(
      "{}: {} documents read; {} refused, {} duplicates and {} near-duplicates left out\n", out.string(),
      report.documents, report.refused, report.duplicates, report.near_duplicates);
  show_dataset("train", report.train);
  if (report.held_out.vocab != 0) show_dataset("held-out", report.held_out);
  const uint64_t tokens = report.train.tokens + report.held_out.tokens;
  std::cout << fmt::format(
      "  {:.2f} bytes of text a token\n",
      static_cast<double>(report.bytes) / static_cast<double>(std::max<uint64_t>(1, tokens)));
}

int prepare(PrepareArguments& arguments) {
  static SignalStop signals;  // its thread may outlive this function
  train::PrepareOptions& options = arguments.options;
  options.held_out = share_of(arguments.hold_out);
  if (arguments.keep_duplicates) {
    options.drop_duplicates = false;
    options.near_duplicates = 0;
  }
  const auto tokenizer = train::open_tokenizer(arguments.tokenizer);
  signals.listen();
  options.stop = signals.token();
  ThreadPool pool(arguments.threads != 0 ? arguments.threads
                                         : std::max(1u, std::thread::hardware_concurrency()));
  LateProgress progress("Preparing", "B");
  const auto report = train::prepare(tokenizer, options, pool,
                                     [&](uint64_t done, uint64_t total) { progress.update(done, total); });
  progress.end();
  tell_problems(report.problems, report.refused);
  if (arguments.json)
    std::cout << to_json(report, options.out).dump(2) << "\n";
  else
    show(report, options.out);
  return 0;
}

void add_prepare(CLI::App& data, Run& run) {
  auto arguments = std::make_shared<PrepareArguments>();
  train::PrepareOptions& options = arguments->options;
  CLI::App* command = data.add_subcommand("prepare", "Make a dataset of text, posts or dialogues");
  command->footer(
      "Example:\n  fathom data prepare --tokenizer tok/ --out tokens --holdout 1% books/ posts.jsonl.zst\n\n"
      "OUT/train and OUT/held-out are what 'fathom train' reads. A line that is not UTF-8, not JSON, without "
      "the "
      "field, or longer than 16 MiB is named and left out (--strict: ends it); a damaged .zst file ends it. "
      "The "
      "result depends on the inputs and options alone.");
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "GGUF file, tokenizer.json, tokenizer.model, or a folder with one of them")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options.out, "Folder to make")->required()->type_name("DIR");
  add_document_options(*command, options.documents);
  command->add_flag("--learn-all", options.learn_all,
                    "With --chat: learn every token of a dialogue, not the assistant's turns alone");
  command
      ->add_option(
          "--max-document", options.max_document,
          "Tokens of a document: a longer text becomes several, a longer dialogue is cut; 0: any number")
      ->capture_default_str();
  command
      ->add_option("--holdout", arguments->hold_out,
                   "Share of the documents to hold out, chosen by their content")
      ->capture_default_str()
      ->type_name("SHARE");
  command
      ->add_option(
          "--near", options.near_duplicates,
          "Similarity (0 to 1) from which a document is a duplicate of an earlier one; 0: equal ones only")
      ->capture_default_str();
  command->add_flag("--keep-duplicates", arguments->keep_duplicates, "Leave no duplicate out");
  command->add_flag("--strict", options.strict, "End at the first document that cannot be used");
  command->add_option("--threads", arguments->threads, "Threads; 0: one a core")->capture_default_str();
  command->add_flag("--json", arguments->json, "Report as JSON");
  command->callback([arguments, &run] { run = [arguments] { return prepare(*arguments); }; });
}

struct ShowArguments {
  std::filesystem::path folder, tokenizer;
  uint64_t rows = 0, seed = 1;
  size_t length = 128;
  bool verify = false, json = false;
};

/// The dataset that is named, or its train part.
train::Dataset open_dataset(const std::filesystem::path& folder) {
  const bool parts = !std::filesystem::exists(folder / "manifest.json") &&
                     std::filesystem::exists(folder / "train" / "manifest.json");
  return train::Dataset::open(parts ? folder / "train" : folder);
}

/// A row as training sees it: its text, and between brackets what is to be learnt.
std::string row_text(const train::Dataset& data, const model::Tokenizer& tokenizer, uint64_t index,
                     const ShowArguments& arguments) {
  std::vector<int32_t> tokens(arguments.length), targets(arguments.length), starts(arguments.length);
  data.sample(arguments.seed, index, arguments.length, tokens.data(), targets.data(), starts.data());
  std::string text;
  bool learning = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool learnt = i > 0 && targets[i - 1] >= 0;
    if (i > 0 && starts[i] == static_cast<int32_t>(i)) text += learning ? "]\n|" : "\n|";
    if (i > 0 && starts[i] == static_cast<int32_t>(i)) learning = false;
    if (data.info().masked && learnt != learning) text += learnt ? "[" : "]";
    learning = data.info().masked && learnt;
    text += tokenizer.decode(std::vector{tokens[i]}, true);
  }
  return sanitize_utf8(text + (learning ? "]" : ""));
}

int show_data(const ShowArguments& arguments) {
  const auto data = open_dataset(arguments.folder);
  if (arguments.verify) data.verify();
  const uint64_t rows = data.rows(arguments.length);
  if (arguments.json) {
    json out = to_json(data.info());
    out["rows"] = rows;
    out["length"] = arguments.length;
    std::cout << out.dump(2) << "\n";
    return 0;
  }
  show_dataset("dataset", data.info());
  std::cout << fmt::format("  {} rows of {} tokens; vocabulary of {}, tokenizer {:.12}{}\n", rows,
                           arguments.length, data.info().vocab, data.info().tokenizer,
                           arguments.verify ? "; every checksum holds" : "");
  if (arguments.rows == 0) return 0;
  if (arguments.tokenizer.empty())
    throw Error(ErrorCode::kInvalidArgument, "--rows shows text, which takes --tokenizer FILE");
  const auto file = train::open_tokenizer(arguments.tokenizer);
  const auto tokenizer = model::Tokenizer::from_gguf(file.file);
  if (train::tokenizer_digest(tokenizer) != data.info().tokenizer)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is not the tokenizer that made this dataset",
                                                         arguments.tokenizer.string()));
  for (uint64_t i = 0; i < std::min(arguments.rows, rows); ++i)
    std::cout << fmt::format("--- row {}\n{}\n", i, row_text(data, tokenizer, i, arguments));
  return 0;
}

void add_show(CLI::App& data, Run& run) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* command = data.add_subcommand("show", "What a dataset holds");
  command->footer(
      "Example:\n  fathom data show tokens --rows 3 --tokenizer tokens/tokenizer.gguf\n\nOf dialogues, what "
      "is to be "
      "learnt stands in [brackets]; a | begins a document.");
  command->add_option("folder", arguments->folder, "Folder that 'fathom data prepare' made")
      ->required()
      ->type_name("DIR");
  command->add_option("--rows", arguments->rows, "Show so many rows as text");
  command->add_option("--tokenizer", arguments->tokenizer, "The tokenizer that made it")->type_name("FILE");
  command->add_option("--length", arguments->length, "Tokens of a row")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--seed", arguments->seed, "Of the order of rows")->capture_default_str();
  command->add_flag("--verify", arguments->verify, "Read everything and check its sums");
  command->add_flag("--json", arguments->json, "Report as JSON");
  command->callback([arguments, &run] { run = [arguments] { return show_data(*arguments); }; });
}

}  // namespace

void add_data(CLI::App& app, Run& run) {
  CLI::App* data = app.add_subcommand("data", "Prepare text for training");
  data->require_subcommand(1);
  add_prepare(*data, run);
  add_show(*data, run);
}

}  // namespace fathom::cli
