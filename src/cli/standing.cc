// fathom watch: searches that stay, and tell of each new post that matches.
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/url.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"
#include "cli/signal_stop.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::string> words;
  std::string name, webhook, id;
  uint64_t after = 0;
  bool from_start = false, json = false;
};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

void show_query(const json& query) {
  std::cout << fmt::format("{}  {}  ({} matched)\n", query.value("id", ""),
                           for_terminal(query.value("q", "")), query.value("matched", uint64_t{0}));
  if (!query["webhook"].is_string()) return;
  std::cout << fmt::format("    to {}: {} delivered, {} given up\n",
                           for_terminal(query["webhook"].get<std::string>()),
                           query.value("delivered", uint64_t{0}), query.value("failed", uint64_t{0}));
  if (query["last_error"].is_string())
    std::cout << "    last error: " << for_terminal(query["last_error"].get<std::string>()) << "\n";
}

int add(const Options& options) {
  json body = {{"q", joined(options.words)}};
  if (!options.name.empty()) body["name"] = options.name;
  if (!options.webhook.empty()) body["webhook"] = options.webhook;
  // Not an option: others on the machine see a command line.
  if (const char* secret = std::getenv("FATHOM_WEBHOOK_SECRET");
      secret != nullptr && *secret != '\0' && !options.webhook.empty())
    body["secret"] = secret;
  const json result = Client(options.state, false).post("/v1/standing", body.dump(), "application/json");
  if (options.json) {
    std::cout << result.dump(2) << "\n";
  } else {
    show_query(result);
    std::cout << fmt::format("Follow it with: fathom watch follow {}\n", result.value("id", ""));
  }
  return 0;
}

int list(const Options& options) {
  const json result = Client(options.state, false).get("/v1/standing");
  if (options.json) {
    std::cout << result.dump(2) << "\n";
    return 0;
  }
  for (const json& query : result.at("standing")) show_query(query);
  if (result.at("standing").empty()) std::cout << "No search stays yet: fathom watch add WORDS makes one.\n";
  return 0;
}

int remove(const Options& options) {
  Client(options.state, false).remove("/v1/standing/" + percent_encode(options.id));
  std::cout << "removed " << for_terminal(options.id) << "\n";
  return 0;
}

/// Until interrupted, or until the query is removed. A stream that breaks off is taken up again where it was.
int follow(const Options& options) {
  Client client(options.state, false);
  static SignalStop signals;  // its thread may outlive this function
  signals.listen();
  const std::stop_token stop = signals.token();
  const std::string target = "/v1/standing/" + percent_encode(options.id) + "/events";
  std::string last = options.from_start ? fmt::format("{}", options.after) : "";
  bool removed = false;
  const auto on_event = [&](const Client::Event& event) {
    if (!event.id.empty()) last = event.id;
    if (event.name == "removed") removed = true;
    if (event.name != "match") return;
    const json data = json::parse(event.data, nullptr, false);
    if (data.is_discarded()) return;
    if (options.json) {
      std::cout << data.dump() << std::endl;
    } else {
      show_post(data["post"]);
      std::cout << std::flush;
    }
  };
  const SystemClock clock;
  while (!stop.stop_requested() && !removed) {
    try {
      client.follow(target, last, on_event, stop);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) break;
      if (error.code() != ErrorCode::kNetwork && error.code() != ErrorCode::kDeadlineExceeded) throw;
    }
    if (!removed) clock.sleep(std::chrono::seconds(1), stop);
  }
  if (removed) std::cout << "the query was removed\n";
  return 0;
}

using Body = int (*)(const Options&);

CLI::App* add_verb(CLI::App& watch, Run& run, const std::shared_ptr<Options>& options, const char* name,
                   const char* help, Body body) {
  CLI::App* verb = watch.add_subcommand(name, help);
  add_state_option(*verb, options->state);
  verb->callback([options, body, &run] { run = [options, body] { return body(*options); }; });
  return verb;
}

}  // namespace

void add_watch(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* watch = app.add_subcommand("watch", "Searches that stay: be told of each new post that matches");
  watch->require_subcommand(1);
  watch->footer(
      "Examples:\n"
      "  fathom watch add '\"power cut\" -test lang:en'\n"
      "  FATHOM_WEBHOOK_SECRET=... fathom watch add +storm --webhook https://example.com/hook\n"
      "  fathom watch follow sq_0123456789abcdef");
  CLI::App* verb = add_verb(*watch, run, options, "add", "Keep a search", add);
  verb->add_option("query", options->words, "What to look for, as fathom search takes it")
      ->required()
      ->type_name("WORDS");
  verb->add_option("--name", options->name, "A name for people");
  verb->add_option("--webhook", options->webhook,
                   "Where to POST matches; signed when $FATHOM_WEBHOOK_SECRET is set")
      ->type_name("URL");
  verb->add_flag("--json", options->json, "The result as JSON");
  verb = add_verb(*watch, run, options, "list", "Show those that are kept", list);
  verb->add_flag("--json", options->json, "The result as JSON");
  verb = add_verb(*watch, run, options, "remove", "Forget one", remove);
  verb->add_option("id", options->id, "Its id")->required();
  verb = add_verb(*watch, run, options, "follow", "Print each new match until interrupted", follow);
  verb->add_option("id", options->id, "Its id")->required();
  verb->add_option("--after", options->after, "Begin after this sequence of the feed; 0: with all that match")
      ->each([options](const std::string&) { options->from_start = true; });
  verb->add_flag("--json", options->json, "One match a line, as JSON");
}

}  // namespace fathom::cli
