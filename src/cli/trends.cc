// fathom trends: what is rising in the feed, as terms or as stories.
#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/url.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"
#include "cli/signal_stop.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

constexpr auto kEvery = std::chrono::seconds(10);

struct Options {
  std::filesystem::path state;
  size_t limit = 20;
  std::vector<std::string> sources, langs;
  bool stories = false, json = false, follow = false;
};

/// Counts as a line of eight heights.
std::string sparkline(const json& volume) {
  static constexpr std::string_view kHeights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  uint64_t most = 1;
  const size_t from = volume.size() > 24 ? volume.size() - 24 : 0;
  for (size_t i = from; i < volume.size(); ++i) most = std::max(most, volume[i].get<uint64_t>());
  std::string out;
  for (size_t i = from; i < volume.size(); ++i) out += kHeights[volume[i].get<uint64_t>() * 7 / most];
  return out;
}

void show_trends(const json& result) {
  for (const json& trend : result.at("trends"))
    std::cout << fmt::format("{:>6.1f}  {:>7} posts, {:>6.1f} expected  {}  {}\n",
                             trend["score"].get<double>(), trend["posts"].get<uint64_t>(),
                             trend["expected"].get<double>(), sparkline(trend["volume"]),
                             for_terminal(trend["text"].get<std::string>()));
}

std::string counts(const json& list, const char* name) {
  std::string out;
  for (const json& entry : list) {
    if (!out.empty()) out += ", ";
    out += fmt::format("{} {}", for_terminal(entry.value(name, "")), entry["posts"].get<uint64_t>());
  }
  return out;
}

void show_stories(const json& result) {
  for (const json& story : result.at("stories")) {
    std::string terms;
    for (const json& term : story["terms"]) {
      if (!terms.empty()) terms += ", ";
      terms += for_terminal(term["text"].get<std::string>());
    }
    std::cout << fmt::format("{}\n  {}  {} posts by {} authors ({})  {}\n  {}\n  since {}  {}\n\n",
                             for_terminal(story.value("headline", "")), sparkline(story["volume"]),
                             story["posts"].get<uint64_t>(), story["authors"].get<uint64_t>(),
                             counts(story["sources"], "source"), counts(story["languages"], "lang"), terms,
                             story.value("began", ""), story.value("id", ""));
  }
}

void show(const Options& options, const json& result) {
  if (options.json) {
    std::cout << result.dump(options.follow ? -1 : 2) << std::endl;
    return;
  }
  options.stories ? show_stories(result) : show_trends(result);
  const char* list = options.stories ? "stories" : "trends";
  if (result.at(list).empty())
    std::cout << "Nothing rises: too few people post about the same thing, or no more than usual.\n";
  std::cout << fmt::format("As of {} by the feed's clock{}{}\n", result.value("as_of", ""),
                           result.value("young", false) ? "; less than a day to compare with" : "",
                           result.value("sampled", 1.0) < 0.995
                               ? fmt::format("; {:.0f} % of the posts were counted",
                                             100 * result.value("sampled", 1.0))
                               : "")
            << std::flush;
}

std::string target_of(const Options& options) {
  std::string target = fmt::format("/v1/{}?limit={}", options.stories ? "stories" : "trends", options.limit);
  for (const std::string& source : options.sources) target += "&source=" + percent_encode(source);
  for (const std::string& lang : options.langs) target += "&lang=" + percent_encode(lang);
  return target;
}

int run_trends(const Options& options) {
  Client client(options.state, /*with_model=*/false);
  const std::string target = target_of(options);
  show(options, client.get(target));
  if (!options.follow) return 0;
  static SignalStop signals;  // its thread may outlive this function
  signals.listen();
  const SystemClock clock;
  while (clock.sleep(kEvery, signals.token())) {
    if (!options.json) std::cout << "\n";
    show(options, client.get(target));
  }
  return 0;
}

}  // namespace

void add_trends(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("trends", "Show what is rising: terms, or stories with their headline");
  command->footer(
      "Examples:\n"
      "  fathom trends --stories\n"
      "  fathom trends --lang de --source mastodon --follow\n\n"
      "The score says how many deviations the last hour stands above what the feed's past would have.");
  add_state_option(*command, options->state);
  command->add_option("--limit", options->limit, "Trends or stories to show")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--source", options->sources, "Only posts of these sources")->delimiter(',');
  command->add_option("--lang", options->langs, "Only posts in these languages")->delimiter(',');
  command->add_flag("--stories", options->stories, "Stories instead of terms");
  command->add_flag("--json", options->json, "The result as JSON");
  command->add_flag("--follow", options->follow, "Again every ten seconds, until interrupted");
  command->callback([options, &run] { run = [options] { return run_trends(*options); }; });
}

}  // namespace fathom::cli
