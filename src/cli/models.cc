// fathom models: what models there are, and what is in each.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/instance.h"
#include "infer/engine.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::filesystem::path> files;
  bool json = false;
};

json describe(const std::filesystem::path& path, ThreadPool& pool) {
  json out = {{"path", path.string()}};
  try {
    const auto engine = infer::Engine::load(path, {}, pool);
    const infer::ModelInfo& info = engine->info();
    out["name"] = info.name;
    out["architecture"] = info.architecture;
    out["quantisation"] = info.quantisation;
    out["parameters"] = info.parameters;
    out["bytes"] = info.file_bytes;
    out["context"] = info.context;
    out["vocabulary"] = info.vocabulary;
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
  std::cout << fmt::format("{}\n  {}, {}, {}: {} parameters, {}B, context of {} tokens\n",
                           model.value("path", ""), model.value("name", ""), model.value("architecture", ""),
                           model.value("quantisation", ""), human_count(model.value("parameters", 0.0)),
                           human_count(model.value("bytes", 0.0)), model.value("context", 0));
}

int models(const Options& options) {
  const auto paths = options.files.empty() ? find_models(options.state) : options.files;
  ThreadPool pool(1);
  json list = json::array();
  bool all_good = true;
  for (const auto& path : paths) {
    list.push_back(describe(path, pool));
    all_good = all_good && !list.back().contains("error");
    if (!options.json) show(list.back());
  }
  if (options.json) std::cout << list.dump(2) << "\n";
  if (!options.json && paths.empty())
    std::cout << "There is no model in " << (options.state / "models").string()
              << "; put a GGUF file there (llama architecture; F32, F16, BF16, Q8_0, Q4_0 or Q4_1).\n";
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
  command->add_option("files", options->files, "GGUF files; none: those in the models folder")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return models(*options); }; });
}

}  // namespace fathom::cli
