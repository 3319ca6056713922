// fathom search: the newest or best posts for a query.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/url.h"
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
  bool all = false;
  bool expand = false;
  std::string mode;
  bool json = false;
  std::vector<std::pair<std::string, std::optional<double>>> weights = {
      {"recency_weight", {}}, {"half_life_hours", {}}, {"engagement_weight", {}}, {"author_weight", {}}};
};

std::string search_target(const std::string& query, const Options& options) {
  std::string target = fmt::format("/v1/search?q={}&limit={}&order={}", percent_encode(query), options.limit,
                                   options.newest ? "newest" : "relevance");
  if (options.all) target += "&all=true";
  if (options.expand) target += "&expand=true";
  if (!options.mode.empty()) target += "&mode=" + options.mode;
  for (const auto& [name, value] : options.weights)
    if (value) target += fmt::format("&{}={}", name, *value);
  return target;
}

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
  const auto result = client.get(search_target(query, options));
  if (options.json) {
    std::cout << result.dump(2) << "\n";
    return 0;
  }
  for (const auto& hit : result.at("hits")) show_post(hit.contains("post") ? hit["post"] : hit);
  if (const auto& words = result.value("expansion", std::vector<std::string>{}); !words.empty())
    std::cout << fmt::format("also looked for: {}\n", fmt::join(words, " "));
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
      "Queries:\n"
      "  word                       one of the words must occur (all of them with --all); the more and the "
      "rarer, the better\n"
      "  +word -word                must, must not occur\n"
      "  \"a phrase\" -\"a phrase\"    must, must not occur word for word\n"
      "  #tag @name $TICKER x.com   as words; + and - work too\n"
      "  from:name -from:name       written by (several: any of them), not by\n"
      "  to:name                    opens by addressing\n"
      "  since:2026-01-31 until:2026-02-01T12:00:00Z\n"
      "  lang:en source:hackernews min_likes:100 min_views:1000\n"
      "  has:link is:reply is:repost  with '-' before: without\n"
      "Other words with a colon are plain text. Write '--' before a query that begins with a minus sign. "
      "Examples:\n"
      "  fathom search '\"harbour bridge\" -closed from:cityofarden since:2026-11-01' --newest\n"
      "  fathom search --recency-weight 0 --expand 'bridge repairs -is:repost'");
  add_state_option(*command, options->state);
  command->add_option("query", options->words, "What to look for; empty: the newest posts")
      ->type_name("WORDS");
  command->add_option("--limit", options->limit, "Posts to show")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--newest", options->newest, "Newest first instead of best first");
  command->add_flag("--all", options->all, "Every word must occur");
  command->add_flag("--expand", options->expand, "Also look for words that the best posts share");
  command
      ->add_option("--mode", options->mode,
                   "By words, meaning or both; both where the server has an embedding model")
      ->check(CLI::IsMember({"words", "meaning", "both"}));
  constexpr const char* kWeightOptions[][2] = {
      {"--recency-weight", "Share of the score that fades with age, 0 to 1"},
      {"--half-life-hours", "Age at which that share has halved"},
      {"--engagement-weight", "Of the logarithm of likes, reposts and replies"},
      {"--author-weight", "Of the logarithm of the author's followers"}};
  for (size_t i = 0; i < options->weights.size(); ++i)
    command->add_option(kWeightOptions[i][0], options->weights[i].second, kWeightOptions[i][1])
        ->check(CLI::NonNegativeNumber)
        ->type_name("NUMBER");
  command->add_flag("--json", options->json, "The result as JSON");
  command->callback([options, &run] { run = [options] { return search(*options); }; });
}

}  // namespace fathom::cli
