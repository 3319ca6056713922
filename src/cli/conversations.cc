// fathom conversations: what was asked and answered before.
#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/url.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state, out;
  std::string id, format = "markdown";
  std::vector<std::string> words;
  size_t limit = 20;
  bool all = false, json = false;
};

const std::string kPath = "/v1/conversations";

void show_line(const json& conversation) {
  const auto updated = Time(std::chrono::seconds(conversation.value("updated_at", int64_t{0})));
  std::cout << fmt::format("{}  {}  {} ({} questions)\n", conversation.value("id", ""), format_time(updated),
                           for_terminal(conversation.value("title", "")), conversation.value("turns", 0));
  if (const std::string snippet = conversation.value("snippet", ""); !snippet.empty())
    std::cout << "    " << for_terminal(snippet) << "\n";
}

/// Pages until `limit` are shown.
int list(const Options& options) {
  Client client(options.state, false);
  std::string query;
  for (const auto& word : options.words) query += (query.empty() ? "" : " ") + word;
  json all = json::array();
  for (bool more = true; more && all.size() < options.limit;) {
    std::string target = fmt::format("{}?limit={}", kPath, std::min<size_t>(options.limit - all.size(), 100));
    if (!query.empty()) target += "&q=" + percent_encode(query);
    if (!all.empty()) target += "&after=" + percent_encode(all.back().value("id", ""));
    const json page = client.get(target);
    for (const json& conversation : page.at("data")) all.push_back(conversation);
    more = page.value("has_more", false);
  }
  if (options.json) {
    std::cout << all.dump(2) << "\n";
    return 0;
  }
  for (const json& conversation : all) show_line(conversation);
  if (all.empty())
    std::cout << (query.empty() ? "None yet: fathom chat --conversation new begins one.\n"
                                : "None has all of these words.\n");
  return 0;
}

/// To standard output or a file.
int export_one(const Options& options) {
  const std::string text =
      Client(options.state, false)
          .get_text(fmt::format("{}/{}/export?format={}", kPath, percent_encode(options.id), options.format));
  if (!options.out.empty()) {
    write_file_atomic(options.out, text);
  } else {
    std::cout << text;
  }
  return 0;
}

int show(const Options& options) {
  const std::string text =
      Client(options.state, false)
          .get_text(fmt::format("{}/{}/export?format={}", kPath, percent_encode(options.id),
                                options.json ? "json" : "markdown"));
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::cout << for_terminal(rest.substr(0, end)) << "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return 0;
}

int remove(const Options& options) {
  if (options.all == !options.id.empty())
    throw Error(ErrorCode::kInvalidArgument, "give the id of a conversation, or --all");
  Client client(options.state, false);
  const json result = client.remove(options.all ? kPath : kPath + "/" + percent_encode(options.id));
  if (options.all) {
    std::cout << fmt::format("deleted {} conversations\n", result.value("deleted", 0));
  } else {
    std::cout << "deleted " << for_terminal(options.id) << "\n";
  }
  return 0;
}

using Body = int (*)(const Options&);

CLI::App* add_verb(CLI::App& parent, Run& run, const std::shared_ptr<Options>& options, const char* name,
                   const char* help, Body body) {
  CLI::App* verb = parent.add_subcommand(name, help);
  add_state_option(*verb, options->state);
  verb->callback([options, body, &run] { run = [options, body] { return body(*options); }; });
  return verb;
}

void add_listing(CLI::App& verb, Options& options) {
  verb.add_option("--limit", options.limit, "How many")->check(CLI::Range(1, 10'000))->capture_default_str();
  verb.add_flag("--json", options.json, "As JSON");
}

}  // namespace

void add_conversations(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("conversations", "What was asked and answered: list, search, export, delete");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fathom conversations list\n"
      "  fathom conversations search harbour storm\n"
      "  fathom conversations export conv_0123... --out harbour.md\n"
      "  fathom conversations delete conv_0123...\n\n"
      "On a server that asks for keys they are those of $FATHOM_API_KEY's name. What is deleted leaves the "
      "disk at "
      "once.");
  add_listing(*add_verb(*command, run, options, "list", "The newest first", list), *options);
  CLI::App* verb = add_verb(*command, run, options, "search", "Those with all of these words", list);
  verb->add_option("words", options->words, "Words of questions and answers")->required()->type_name("WORDS");
  add_listing(*verb, *options);
  verb = add_verb(*command, run, options, "show", "One, in the terminal", show);
  verb->add_option("id", options->id, "Its id")->required();
  verb->add_flag("--json", options->json, "As JSON");
  verb = add_verb(*command, run, options, "export", "One, as a document with its sources", export_one);
  verb->add_option("id", options->id, "Its id")->required();
  verb->add_option("--format", options->format, "markdown or json")
      ->check(CLI::IsMember({"markdown", "json"}))
      ->capture_default_str();
  verb->add_option("--out", options->out, "File to write; without it, standard output")->type_name("FILE");
  verb = add_verb(*command, run, options, "delete", "One, or all, for good", remove);
  verb->add_option("id", options->id, "Its id");
  verb->add_flag("--all", options->all, "All that there are");
}

}  // namespace fathom::cli
