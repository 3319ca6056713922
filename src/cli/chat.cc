// fathom chat: a question, or a conversation, in the terminal.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::string> question;
  std::string writer = "auto";
  bool json = false;
};

/// One answer as it came: the text, and the `fathom` object of the last chunk that had citations.
struct Told {
  std::string text;
  json citations = json::array();
  std::string as_of;
  bool fiction = false;
};

json chat_request(const Options& options, const json& messages, bool stream) {
  return {{"model", options.writer == "auto" ? "fathom" : "fathom-" + options.writer},
          {"stream", stream},
          {"messages", messages}};
}

void note(const json& fathom, Told& told) {
  if (fathom.contains("steps") && ::isatty(STDERR_FILENO) == 1) {
    for (const auto& step : fathom["steps"])
      std::cerr << fmt::format("  searched: {} ({} found, {} read)\n", for_terminal(step.value("query", "")),
                               step.value("found", 0), step.value("read", 0));
  }
  if (fathom.contains("citations"))
    for (const auto& citation : fathom["citations"]) told.citations.push_back(citation);
  told.as_of = fathom.value("as_of", told.as_of);
  told.fiction = fathom.value("fiction", told.fiction);
}

void show_sources(const Told& told) {
  std::vector<std::string> shown;
  for (const auto& citation : told.citations) {
    const std::string line =
        for_terminal(fmt::format("  [{}] @{}, {}  {}", citation.value("number", 0),
                                 citation.value("author", json::object()).value("handle", ""),
                                 citation.value("created_at", ""), citation.value("url", "")));
    if (std::find(shown.begin(), shown.end(), line) == shown.end()) shown.push_back(line);
  }
  if (!shown.empty()) std::cout << "\n";
  for (const auto& line : shown) std::cout << line << "\n";
  if (!told.as_of.empty()) std::cout << "  as of " << told.as_of << " by the feed's clock\n";
  if (told.fiction) std::cout << "  The sample world: all of it is fiction.\n";
}

/// Asks, prints the answer as it comes, and adds it to the conversation.
void ask(Client& client, const Options& options, json& messages) {
  Told told;
  client.stream("/v1/chat/completions", chat_request(options, messages, true).dump(),
                [&](const json& event) {
                  if (event.contains("fathom")) note(event["fathom"], told);
                  if (!event.contains("choices") || event["choices"].empty()) return;
                  const json& delta = event["choices"][0].value("delta", json::object());
                  if (!delta.contains("content") || !delta["content"].is_string()) return;
                  told.text += delta["content"].get<std::string>();
                  std::cout << for_terminal(delta["content"].get<std::string>()) << std::flush;
                },
                {});
  std::cout << "\n";
  show_sources(told);
  messages.push_back({{"role", "assistant"}, {"content", told.text}});
}

int converse(Client& client, const Options& options) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  json messages = json::array();
  if (terminal) std::cout << "Ask about what is going on; an empty line or Ctrl-D ends.\n";
  for (std::string line; (terminal && std::cout << "\n> " << std::flush), std::getline(std::cin, line);) {
    if (trim(line).empty()) break;
    messages.push_back({{"role", "user"}, {"content", line}});
    ask(client, options, messages);
  }
  return 0;
}

int chat(const Options& options) {
  Client client(options.state, options.writer != "extract");
  std::string question;
  for (const auto& word : options.question) question += (question.empty() ? "" : " ") + word;
  if (question.empty()) return converse(client, options);
  json messages = json::array({{{"role", "user"}, {"content", question}}});
  if (options.json) {
    std::cout << client
                     .post("/v1/chat/completions", chat_request(options, messages, false).dump(),
                           "application/json")
                     .dump(2)
              << "\n";
  } else {
    ask(client, options, messages);
  }
  return 0;
}

}  // namespace

void add_chat(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chat", "Ask a question, or talk when none is given");
  command->footer("Example:\n  fathom chat \"how many people voted in the referendum?\" --writer extract");
  add_state_option(*command, options->state);
  command->add_option("question", options->question, "The question; empty: a conversation")
      ->type_name("WORDS");
  command->add_option("--writer", options->writer, "auto, extract (quotations) or generate (the model)")
      ->check(CLI::IsMember({"auto", "extract", "generate"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "The answer as JSON (needs a question)");
  command->callback([options, &run] {
    if (options->json && options->question.empty()) throw CLI::ValidationError("--json needs a question");
    run = [options] { return chat(*options); };
  });
}

}  // namespace fathom::cli
