// fathom search: the newest or best posts for a query.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"

namespace fathom::cli {
namespace {

struct Options {
  std::filesystem::path state;
  std::vector<std::string> words;
  size_t limit = 10;
  bool newest = false;
  bool json = false;
};

/// Without a query: the newest posts by arrival.
int show_newest(Client& client, const Options& options) {
  const auto result = client.get(fmt::format("/v1/feed?limit={}", options.limit));
  if (options.json) {
    std::cout << result.dump(2) << "\n";
  } else {
    for (const auto& post : result.at("posts")) show_post(post);
  }
  return 0;
}

int search(const Options& options) {
  std::string query;
  for (const auto& word : options.words) query += (query.empty() ? "" : " ") + word;
  Client client(options.state, /*with_model=*/false);
  if (query.empty()) return show_newest(client, options);
  const auto result = client.get(fmt::format("/v1/search?q={}&limit={}&order={}", url_encode(query),
                                             options.limit, options.newest ? "newest" : "relevance"));
  if (options.json) {
    std::cout << result.dump(2) << "\n";
    return 0;
  }
  for (const auto& hit : result.at("hits")) show_post(hit.contains("post") ? hit["post"] : hit);
  std::cout << fmt::format("{}{} posts matched, as of {} by the feed's clock\n",
                           result.value("matched_exact", true) ? "" : "at least ", result.value("matched", 0),
                           result.value("as_of", ""));
  return 0;
}

}  // namespace

void add_search(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("search", "Find posts");
  command->footer(
      "Example:\n"
      "  fathom search '\"harbour bridge\" -closed from:cityofarden since:2026-11-01' --newest\n\n"
      "Words, \"a phrase\", -excluded, +required, #tag, @name, $TICKER, from:, to:, since:, until:, lang:, "
      "source:,\n"
      "min_likes:, has:link. Write '--' before a query that begins with a minus sign.");
  add_state_option(*command, options->state);
  command->add_option("query", options->words, "What to look for; empty: the newest posts")
      ->type_name("WORDS");
  command->add_option("--limit", options->limit, "Posts to show")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--newest", options->newest, "Newest first instead of best first");
  command->add_flag("--json", options->json, "The result as JSON");
  command->callback([options, &run] { run = [options] { return search(*options); }; });
}

}  // namespace fathom::cli
