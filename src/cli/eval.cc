// fathom eval: how good answers and rankings are, and what a model is shown for a question.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "answer/eval_judge.h"
#include "answer/eval_questions.h"
#include "answer/eval_run.h"
#include "answer/generate.h"
#include "base/error.h"
#include "base/file.h"
#include "base/line_reader.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/eval_commands.h"
#include "cli/instance.h"
#include "model/inspect.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;
using answer::EvalQuestion;
using nlohmann::json;

constexpr size_t kLongestCase = size_t{1} << 20;

struct Options {
  fs::path state;
  fs::path questions;
  std::vector<fs::path> posts;
  std::vector<std::string> storylines;
  std::string writer = "auto";
  std::string model = "auto";
  infer::EngineOptions engine;
  size_t threads = 0;
  bool json = false;
  bool show = false;
};

/// Those of the storylines that were named; all where none was.
std::vector<EvalQuestion> chosen_questions(const Options& options) {
  std::vector<EvalQuestion> out = answer::read_questions(options.questions);
  if (options.storylines.empty()) return out;
  std::erase_if(out, [&](const EvalQuestion& q) {
    return std::ranges::find(options.storylines, q.storyline) == options.storylines.end();
  });
  if (out.empty())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' has no question of these storylines", options.questions.string()));
  return out;
}

/// A store of its own for one replay.
struct Feed {
  explicit Feed(const Options& options) {
    std::vector<fs::path> files = options.posts;
    if (files.empty()) files.push_back(options.questions.parent_path() / "posts.ndjson");
    posts = answer::read_feed(files);
    store = live::Store::open({.folder = folder.path(), .sync = false}, clock);
  }
  SystemClock clock;
  TempDir folder;
  std::vector<live::Post> posts;
  std::unique_ptr<live::Store> store;
};

std::unique_ptr<infer::Engine> load_engine(const Options& options, ThreadPool& pool) {
  if (options.model == "none" || options.writer == "extract") return nullptr;
  if (options.model != "auto") return infer::Engine::load(options.model, options.engine, pool);
  for (const fs::path& path : find_models(options.state))
    if (model::inspect(path).serves == "text") return infer::Engine::load(path, options.engine, pool);
  throw Error(ErrorCode::kNotFound, fmt::format("there is no model in '{}': give --model FILE",
                                                (options.state / "models").string()));
}

void print(const std::string& name, const answer::Score& s) {
  std::cout << fmt::format(
      "{:<18} {:>5} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f} {:>7.1f}\n", name,
      s.questions, 100 * s.answer_f1(), 100 * s.answer_precision(), 100 * s.answer_recall(),
      100 * s.token_f1(), 100 * s.citation_precision(), 100 * s.citation_recall(),
      100 * s.wrong_citation_rate(), 100 * s.right_refusal_rate(), 100 * s.wrong_refusal_rate());
}

void print_table(const std::map<std::string, answer::Score>& kinds, const answer::Score& all) {
  std::cout << fmt::format("{:<18} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}\n", "percent",
                           "asked", "F1", "prec.", "recall", "tokens", "cite p", "cite r", "wrong c",
                           "ref ok", "ref bad");
  for (const auto& [kind, score] : kinds) print(kind, score);
  print("all", all);
}

int answers(const Options& options) {
  const auto writer = answer::parse_eval_writer(options.writer);
  const std::vector<EvalQuestion> questions = chosen_questions(options);
  Feed feed(options);
  ThreadPool pool(options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency()));
  const auto engine = load_engine(options, pool);
  const auto assistant = answer::Assistant::create(*feed.store, engine.get(), feed.clock);
  std::map<std::string, answer::Score> kinds;
  answer::Score all;
  Progress progress("Asking", questions.size(), "questions");
  replay(std::move(feed.posts), questions, *feed.store, [&](const EvalQuestion& question) {
    const auto told = answer_for_eval({*feed.store, *assistant, engine.get()}, writer, question.question);
    const answer::Verdict verdict = judge(question, told);
    kinds[question.kind].add(verdict);
    all.add(verdict);
    if (options.show)
      std::cout << json{{"question", question.question}, {"kind", question.kind},
                        {"accepted", question.answers},  {"answer", told.text},
                        {"right", verdict.right},        {"refused", verdict.refused}}
                       .dump(-1, ' ', false, json::error_handler_t::replace)
                << "\n";
    progress.update(all.questions);
  });
  if (options.json) {
    json out = {{"writer", options.writer}, {"all", to_json(all)}, {"kinds", json::object()}};
    if (engine) out["model"] = engine->info().name;
    if (engine && !engine->info().adapter.empty()) out["adapter"] = engine->info().adapter;
    for (const auto& [kind, score] : kinds) out["kinds"][kind] = to_json(score);
    std::cout << out.dump(2) << "\n";
  } else {
    print_table(kinds, all);
  }
  return 0;
}

int cases(const Options& options) {
  Feed feed(options);
  replay(std::move(feed.posts), chosen_questions(options), *feed.store, [&](const EvalQuestion& question) {
    const answer::Shown shown = answer::shown_for(*feed.store, question.question);
    json posts = json::array();
    for (const live::Post& post : shown.posts) posts.push_back(to_json(post));
    std::cout << json{{"id", question.id},
                      {"kind", question.kind},
                      {"storyline", question.storyline},
                      {"question", shown.question},
                      {"as_of", format_time(shown.as_of)},
                      {"answers", question.answers},
                      {"gold_posts", question.gold_posts},
                      {"posts", posts}}
                     .dump(-1, ' ', false, json::error_handler_t::replace)
              << "\n";
  });
  return 0;
}

/// One case as the messages of a dialogue.
json dialogue(const json& from) {
  const auto as_of = parse_time(from.at("as_of").get<std::string>());
  if (!as_of) throw Error(ErrorCode::kCorrupt, "as_of is not a time");
  std::vector<live::Post> posts;
  for (const json& post : from.at("posts")) posts.push_back(live::parse_post(post.dump(), *as_of, "file"));
  std::vector<const live::Post*> shown;
  for (const live::Post& post : posts) shown.push_back(&post);
  json messages = json::array();
  for (const auto& message : answer::cited_prompt(from.at("question").get<std::string>(), shown, *as_of))
    messages.push_back({{"role", message.role}, {"content", message.content}});
  messages.push_back({{"role", "assistant"}, {"content", from.at("reply").get<std::string>()}});
  return {{"messages", messages}};
}

int prompts(const std::string& path) {
  LineReader lines(path, kLongestCase);
  std::string line;
  for (auto result = lines.next(line, {}); result != LineReader::Result::kEnd;
       result = lines.next(line, {})) {
    try {
      if (result != LineReader::Result::kLine) throw Error(ErrorCode::kCorrupt, "it is too long");
      std::cout << dialogue(json::parse(line)).dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
    } catch (const std::exception& error) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}, line {}: {}; a case has question, as_of, posts and reply", path,
                              lines.number(), error.what()));
    }
  }
  return 0;
}

void add_feed_options(CLI::App& command, Options& options) {
  command
      .add_option("questions", options.questions,
                  "truth.json of a sample world, or a list of {\"question\", \"answers\"}")
      ->required()
      ->type_name("QUESTIONS");
  command
      .add_option("--posts", options.posts, "NDJSON files of posts; default: posts.ndjson beside QUESTIONS")
      ->type_name("FILE");
  command.add_option("--storylines", options.storylines, "Questions of these storylines alone")
      ->delimiter(',')
      ->type_name("IDS");
}

void add_answers(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand("answers", "Ask questions with known answers, and count");
  command->footer(
      "Columns, in percent: answer F1, precision and recall (the answer holds an accepted string); token F1; "
      "citation\n"
      "precision (the post is gold or holds an accepted string), recall, wrong ones (the post does not "
      "support its "
      "sentence);\nrefusals, right ones of what the posts do not hold, wrong ones of what they do. Example:\n"
      "  fathom world --seed 90 --out /tmp/world && fathom eval answers /tmp/world/truth.json --writer "
      "extract");
  add_state_option(*command, options->state);
  add_feed_options(*command, *options);
  command
      ->add_option(
          "--writer", options->writer,
          "extract (quotations), generate or auto (the model, checked), model (its own words, unchecked)")
      ->check(CLI::IsMember({"extract", "generate", "auto", "model"}))
      ->capture_default_str();
  command->add_option("--model", options->model, "A model file or folder, auto or none")
      ->capture_default_str();
  command->add_option("--adapter", options->engine.adapter, "A LoRA adapter to apply to it")
      ->type_name("DIR");
  command->add_option("--threads", options->threads, "Threads for the model; 0: one a core")
      ->capture_default_str();
  command->add_flag("--show", options->show, "Each answer, a line of JSON");
  command->add_flag("--json", options->json, "The scores as JSON");
  command->callback([options, &run] { run = [options] { return answers(*options); }; });
}

void add_cases(CLI::App& eval, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = eval.add_subcommand(
      "cases",
      "Write what a model is shown for each question (question, posts, accepted answers), as NDJSON");
  add_feed_options(*command, *options);
  command->callback([options, &run] { run = [options] { return cases(*options); }; });
}

void add_prompts(CLI::App& eval, Run& run) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = eval.add_subcommand(
      "prompts",
      "Turn cases with a \"reply\" into dialogues to train on, with the prompt that 'serve' sends");
  command->add_option("cases", *path, "NDJSON file; '-' is standard input")->required()->type_name("FILE");
  command->callback([path, &run] { run = [path] { return prompts(*path); }; });
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  CLI::App* command = app.add_subcommand("eval", "Measure answers and rankings against known ones");
  command->require_subcommand(1);
  add_answers(*command, run);
  add_cases(*command, run);
  add_prompts(*command, run);
  add_eval_retrieval(*command, run);
}

}  // namespace fathom::cli
