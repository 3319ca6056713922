// fathom models: what models there are, and what is in each.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/instance.h"
#include "model/inspect.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::filesystem::path> files;
  bool json = false;
};

json describe(const std::filesystem::path& path) {
  json out = {{"path", path.string()}};
  try {
    const model::Inspection found = model::inspect(path);
    out["name"] = found.name.empty() ? path.stem().string() : found.name;
    out["architecture"] = found.architecture;
    out["quantisation"] = found.quantisation;
    out["parameters"] = found.parameters;
    out["bytes"] = found.file_bytes;
    out["context"] = found.context;
    out["vocabulary"] = found.vocabulary;
    out["serves"] = found.serves;
    if (found.serves.empty()) out["error"] = found.problem;
  } catch (const Error& error) {
    out["error"] = error.what();
  }
  return out;
}

void show(const json& model) {
  if (model.contains("error")) {
    std::cout << fmt::format("{}\n  cannot be served: {}\n", model.value("path", ""),
                             model.value("error", ""));
    return;
  }
  std::cout << fmt::format("{}\n  {}, {}, {}: {} parameters, {}B, context of {} tokens, for {}\n",
                           model.value("path", ""), model.value("name", ""), model.value("architecture", ""),
                           model.value("quantisation", ""), human_count(model.value("parameters", 0.0)),
                           human_count(model.value("bytes", 0.0)), model.value("context", 0),
                           model.value("serves", ""));
}

int models(const Options& options) {
  const auto paths = options.files.empty() ? find_models(options.state) : options.files;
  json list = json::array();
  bool all_good = true;
  for (const auto& path : paths) {
    list.push_back(describe(path));
    all_good = all_good && !list.back().contains("error");
    if (!options.json) show(list.back());
  }
  if (options.json) std::cout << list.dump(2) << "\n";
  if (!options.json && paths.empty())
    std::cout << "There is no model in " << (options.state / "models").string()
              << "; 'fathom pull OWNER/NAME' fetches one, or put a GGUF file there.\n";
  return all_good ? 0 : 2;
}

}  // namespace

void add_models(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("models", "List the models that can be served, or examine files");
  command->footer(
      "Example:\n  fathom models my.gguf --json\n\nThe newest file in the models folder is the one that "
      "'serve' takes.");
  add_state_option(*command, options->state);
  command
      ->add_option("files", options->files,
                   "GGUF files or Hugging Face folders; none: those in the models folder")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return models(*options); }; });
}

}  // namespace fathom::cli
