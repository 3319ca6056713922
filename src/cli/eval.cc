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
#include "cli/eval_speed.h"
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
  SpeedOptions speed;
  bool running = false;
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

std::vector<fs::path> post_files(const Options& options) {
  return options.posts.empty() ? std::vector{options.questions.parent_path() / "posts.ndjson"}
                               : options.posts;
}

/// A store of its own for one replay.
struct Feed {
  explicit Feed(const Options& options) {
    posts = answer::read_feed(post_files(options));
    store = live::Store::open({.folder = folder.path(), .sync = false}, clock);
  }
  SystemClock clock;
  TempDir folder;
  std::vector<live::Post> posts;
  std::unique_ptr<live::Store> store;
};

/// All questions together, and by kind and language.
struct Scores {
  std::map<std::string, answer::Score> kinds, languages;
  answer::Score all;

  void add(const EvalQuestion& question, const answer::Verdict& verdict) {
    kinds[question.kind].add(verdict);
    if (!question.lang.empty()) languages[question.lang].add(verdict);
    all.add(verdict);
  }
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
  std::cout << fmt::format("{:<18} {:>5}", name, s.questions);
  for (const double rate :
       {s.answer_f1(), s.answer_precision(), s.answer_recall(), s.token_f1(), s.citation_precision(),
        s.citation_recall(), s.well_cited_rate(), s.wrong_citation_rate(), s.uncited_rate(),
        s.right_refusal_rate(), s.wrong_refusal_rate()}) {
    std::cout << fmt::format(" {:>7.1f}", 100 * rate);
  }
  std::cout << "\n";
}

void print_table(const Scores& scores) {
  std::cout << fmt::format("{:<18} {:>5}", "percent", "asked");
  for (const std::string_view column : {"F1", "prec.", "recall", "tokens", "cite p", "cite r", "well c",
                                        "wrong c", "uncited", "ref ok", "ref bad"}) {
    std::cout << fmt::format(" {:>7}", column);
  }
  std::cout << "\n";
  for (const auto& [kind, score] : scores.kinds) print(kind, score);
  if (scores.languages.size() > 1)
    for (const auto& [lang, score] : scores.languages) print("in " + lang, score);
  print("all", scores.all);
}

json to_json(const Scores& scores) {
  json out = {{"all", to_json(scores.all)}, {"kinds", json::object()}, {"languages", json::object()}};
  for (const auto& [kind, score] : scores.kinds) out["kinds"][kind] = to_json(score);
  for (const auto& [lang, score] : scores.languages) out["languages"][lang] = to_json(score);
  return out;
}

/// Without a running server: one on a folder that goes afterwards, with all the posts in it.
std::unique_ptr<Client> server_with_posts(const Options& options, const TempDir& folder) {
  if (options.running) return std::make_unique<Client>(options.state, true);
  auto client = std::make_unique<Client>(folder.path(), false);
  constexpr size_t kPostsAtOnce = 1000;
  std::string lines;
  size_t held = 0;
  const auto flush = [&] {
    if (held > 0) client->post("/v1/posts", lines, "application/x-ndjson");
    lines.clear();
    held = 0;
  };
  for (const live::Post& post : answer::read_feed(post_files(options))) {
    lines += to_json(post).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    if (++held == kPostsAtOnce) flush();
  }
  flush();
  return client;
}

int speed(const Options& options) {
  const TempDir folder;
  const auto client = server_with_posts(options, folder);
  SpeedOptions wanted = options.speed;
  wanted.model = options.writer == "auto" ? "fathom" : "fathom-" + options.writer;
  if (!options.running) wanted.model = "fathom-extract";  // it has no model
  std::vector<std::string> questions;
  for (const EvalQuestion& question : chosen_questions(options)) questions.push_back(question.question);
  json out = {{"model", wanted.model}};
  if (!wanted.users.empty()) out.update(measure_users(*client, wanted, questions));
  if (wanted.changes > 0) out.update(measure_freshness(*client, wanted));
  std::cout << (options.json ? out.dump(2) + "\n" : speed_table(out));
  return 0;
}

int answers(const Options& options) {
  if (!options.speed.users.empty() || options.speed.changes > 0) return speed(options);
  const auto writer = answer::parse_eval_writer(options.writer);
  const std::vector<EvalQuestion> questions = chosen_questions(options);
  Feed feed(options);
  ThreadPool pool(options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency()));
  const auto engine = load_engine(options, pool);
  const auto assistant = answer::Assistant::create(*feed.store, engine.get(), feed.clock);
  Scores scores;
  Progress progress("Asking", questions.size(), "questions");
  replay(std::move(feed.posts), questions, *feed.store, [&](const EvalQuestion& question) {
    const auto told = answer_for_eval({*feed.store, *assistant, engine.get()}, writer, question.question);
    const answer::Verdict verdict = judge(question, told);
    scores.add(question, verdict);
    if (options.show)
      std::cout << json{{"question", question.question},
                        {"kind", question.kind},
                        {"storyline", question.storyline},
                        {"accepted", question.answers},
                        {"answer", told.text},
                        {"right", verdict.right},
                        {"refused", verdict.refused},
                        {"citations", verdict.citations},
                        {"right_citations", verdict.right_citations},
                        {"wrong_citations", verdict.wrong_citations},
                        {"uncited", verdict.uncited}}
                       .dump(-1, ' ', false, json::error_handler_t::replace)
                << "\n";
    progress.update(scores.all.questions);
  });
  if (options.json) {
    json out = to_json(scores);
    out["writer"] = options.writer;
    if (engine) out["model"] = engine->info().name;
    if (engine && !engine->info().adapter.empty()) out["adapter"] = engine->info().adapter;
    std::cout << out.dump(2) << "\n";
  } else {
    print_table(scores);
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
      "precision and recall (ALCE's, by the provenance of the posts); questions with a citation of a post "
      "that holds the\n"
      "answer; wrong citations (the post does not support its sentence); statements without a citation; "
      "refusals, right\n"
      "ones of what the posts do not hold, wrong ones of what they do. Example:\n"
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
  command
      ->add_option("--users", options->speed.users,
                   "Measure time instead: first words and whole answers over HTTP, for so many users at once")
      ->delimiter(',')
      ->type_name("N");
  command
      ->add_option("--freshness", options->speed.changes,
                   "Measure time instead: from a post to the first answer that has its figure, so many times")
      ->type_name("N");
  command->add_option("--asks", options->speed.asks, "Answers for each number of users")
      ->capture_default_str();
  command->add_flag("--running", options->running,
                    "Ask the server that runs on the state folder, with what it has read, not one of our own "
                    "with POSTS");
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
