// fathom chat: a question, or a conversation, in the terminal.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "base/url.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::string> question;
  std::string writer = "auto", conversation, mode, style, post;
  std::optional<int> rounds;
  bool think = false;
  bool json = false;
};

/// One answer as it came: the text, and the `fathom` object of the last chunk that had citations.
struct Told {
  std::string text;
  json citations = json::array();
  std::string as_of;
  bool fiction = false;
  json conversation;  // {"id", ...} where it is kept
};

/// The member "fathom" of the request; empty for an answer as it comes.
json feed_request(const Options& options) {
  json out = json::object();
  if (!options.mode.empty()) out["mode"] = options.mode;
  if (!options.post.empty()) out.update({{"mode", "explain"}, {"post", options.post}});
  if (!options.style.empty()) out["style"] = options.style;
  if (options.rounds) out["rounds"] = *options.rounds;
  if (options.think) out["think"] = true;
  return out;
}

json chat_request(const Options& options, const json& messages, bool stream) {
  json out = {{"model", options.writer == "auto" ? "fathom" : "fathom-" + options.writer},
              {"stream", stream},
              {"messages", messages}};
  if (json feed = feed_request(options); !feed.empty()) out["fathom"] = std::move(feed);
  if (!options.conversation.empty()) out["conversation"] = options.conversation;
  return out;
}

void show_step(const json& step) {
  if (!step.is_object() || ::isatty(STDERR_FILENO) != 1) return;
  std::cerr << fmt::format("  searched: {} ({} found, {} read)\n", for_terminal(step.value("query", "")),
                           step.value("found", 0), step.value("read", 0));
}

void show_plan(const json& plan) {
  if (!plan.is_array() || plan.empty() || ::isatty(STDERR_FILENO) != 1) return;
  std::cerr << fmt::format("  question {}: {}\n", plan.size(),
                           for_terminal(plan.back().is_string() ? plan.back().get<std::string>() : ""));
}

void note(const json& fathom, Told& told) {
  if (fathom.contains("step")) show_step(fathom["step"]);
  if (fathom.contains("plan") && !fathom.contains("as_of")) show_plan(fathom["plan"]);
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

/// Says where the answer is kept, once; what follows goes there too.
void show_conversation(const json& conversation, Options& options) {
  if (conversation.contains("problem"))
    std::cerr << "note: not kept: " << for_terminal(conversation.value("problem", "")) << "\n";
  if (options.conversation != "new" || !conversation["id"].is_string()) return;
  options.conversation = conversation["id"];
  std::cerr << fmt::format("kept; go on with: fathom chat --conversation {}\n", options.conversation);
}

/// The conversation so far, as a chat takes it.
json kept_messages(Client& client, const std::string& conversation) {
  json messages = json::array();
  const std::string target =
      "/v1/conversations/" + percent_encode(conversation) + "/items?order=asc&limit=100";
  for (std::string after;;) {
    const json page = client.get(target + (after.empty() ? "" : "&after=" + percent_encode(after)));
    for (const json& item : page.at("data")) {
      if (item.value("type", "") != "message") continue;
      std::string text;
      for (const json& part : item.at("content")) text += part.value("text", "");
      messages.push_back({{"role", item.value("role", "user")}, {"content", text}});
    }
    if (!page.value("has_more", false)) return messages;
    after = page.at("last_id").get<std::string>();
  }
}

/// Asks, prints the answer as it comes, and adds it to the conversation.
void ask(Client& client, Options& options, json& messages) {
  Told told;
  client.stream("/v1/chat/completions", chat_request(options, messages, true).dump(),
                [&](const json& event) {
                  if (event.contains("fathom")) note(event["fathom"], told);
                  if (event.contains("conversation")) told.conversation = event["conversation"];
                  if (!event.contains("choices") || event["choices"].empty()) return;
                  const json& delta = event["choices"][0].value("delta", json::object());
                  if (!delta.contains("content") || !delta["content"].is_string()) return;
                  told.text += delta["content"].get<std::string>();
                  std::cout << for_terminal(delta["content"].get<std::string>()) << std::flush;
                },
                {});
  std::cout << "\n";
  show_sources(told);
  if (told.conversation.is_object()) show_conversation(told.conversation, options);
  messages.push_back({{"role", "assistant"}, {"content", told.text}});
}

int converse(Client& client, Options options, json messages) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) std::cout << "Ask about what is going on; an empty line or Ctrl-D ends.\n";
  for (std::string line; (terminal && std::cout << "\n> " << std::flush), std::getline(std::cin, line);) {
    if (trim(line).empty()) break;
    messages.push_back({{"role", "user"}, {"content", line}});
    ask(client, options, messages);
  }
  return 0;
}

int chat(Options options) {
  Client client(options.state, options.writer != "extract");
  const bool goes_on = !options.conversation.empty() && options.conversation != "new";
  json messages = goes_on ? kept_messages(client, options.conversation) : json::array();
  std::string question;
  for (const auto& word : options.question) question += (question.empty() ? "" : " ") + word;
  if (question.empty() && !options.post.empty()) question = "Explain this post.";
  if (question.empty()) return converse(client, options, std::move(messages));
  messages.push_back({{"role", "user"}, {"content", question}});
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
  command->footer(
      "Examples:\n"
      "  fathom chat \"how many people voted in the referendum?\" --writer extract\n"
      "  fathom chat --mode digest \"what happened since this morning?\" --style brief\n"
      "  fathom chat --post hn:38512345\n"
      "  fathom chat --conversation new \"is the harbour open?\"");
  add_state_option(*command, options->state);
  command->add_option("question", options->question, "The question; empty: a conversation")
      ->type_name("WORDS");
  command->add_option("--writer", options->writer, "auto, extract (quotations) or generate (the model)")
      ->check(CLI::IsMember({"auto", "extract", "generate"}))
      ->capture_default_str();
  command
      ->add_option("--conversation", options->conversation,
                   "Keep question and answer in this conversation, and go on from it; new: in a new one")
      ->type_name("ID");
  command
      ->add_option("--mode", options->mode, "answer, digest (what happened, as stories) or deep (a report)")
      ->check(CLI::IsMember({"answer", "digest", "deep"}));
  command->add_option("--style", options->style, "How it is told: brief, thorough, ... (GET /v1/styles)")
      ->type_name("NAME");
  command->add_option("--post", options->post, "Explain this post: its key, as search shows it")
      ->type_name("KEY");
  command->add_option("--rounds", options->rounds, "Questions that a deep answer may raise")
      ->check(CLI::Range(1, 12));
  command->add_flag("--think", options->think, "Let a model that can think before it writes do so");
  command->add_flag("--json", options->json, "The answer as JSON (needs a question)");
  command->callback([options, &run] {
    if (options->json && options->question.empty() && options->post.empty())
      throw CLI::ValidationError("--json needs a question");
    run = [options] { return chat(*options); };
  });
}

}  // namespace fathom::cli
