// fathom pull: a model from a Hugging Face-style server.
#include "model/pull.h"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/progress.h"
#include "base/transport.h"
#include "cli/command.h"
#include "cli/pull_options.h"
#include "cli/signal_stop.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::string name;
  std::string revision = "main";
  bool force = false;
  bool json = false;
};

int pull(const Options& options) {
  static SignalStop signals;  // its thread may outlive this function
  const auto name = model::parse_hub_name(options.name);
  model::PullOptions wanted = pull_options(options.state);
  wanted.revision = options.revision;
  wanted.force = options.force;
  signals.listen();
  const auto transport = make_transport();
  const SystemClock clock;
  std::optional<Progress> bar;
  const auto show = [&](const model::PullProgress& progress) {
    if (!bar) bar.emplace(name.name, progress.total, "B");
    bar->update(progress.done);
  };
  const auto result = model::pull(name, wanted, *transport, clock, show, signals.token());
  bar.reset();
  if (options.json) {
    json files = json::array();
    for (const auto& file : result.files) files.push_back(file.string());
    std::cout << json{{"path", result.path.string()},
                      {"revision", result.commit},
                      {"files", files},
                      {"bytes", result.bytes},
                      {"fetched_bytes", result.fetched}}
                     .dump(2)
              << "\n";
  } else {
    std::cout << fmt::format("{}\n  {}B{}; revision {}\n", result.path.string(),
                             human_count(static_cast<double>(result.bytes)),
                             result.fetched == 0 ? ", there already" : "", result.commit);
  }
  return 0;
}

}  // namespace

void add_pull(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pull", "Fetch a model into the models folder");
  command->footer(
      "Examples:\n  fathom pull HuggingFaceTB/SmolLM2-135M-Instruct\n  fathom pull "
      "bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M\n\nWithout FILE: a GGUF file (Q4_K_M, or what comes "
      "nearest), else "
      "the safetensors with their configuration and tokenizer.\nBroken transfers go on where they ended; "
      "every file is "
      "checked against the server's checksum.\n$HF_ENDPOINT is the server (https://huggingface.co), "
      "$HF_TOKEN opens "
      "private models and goes to no other host.");
  add_state_option(*command, options->state);
  command->add_option("model", options->name, "OWNER/NAME, OWNER/NAME:FILE or OWNER/NAME:FORMAT")
      ->required()
      ->type_name("MODEL");
  command->add_option("--revision", options->revision, "Branch, tag or commit")->capture_default_str();
  command->add_flag("--force", options->force, "Replace files that are there with other content");
  command->add_flag("--json", options->json, "Report as JSON");
  command->callback([options, &run] { run = [options] { return pull(*options); }; });
}

}  // namespace fathom::cli
