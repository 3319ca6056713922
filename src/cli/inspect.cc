// fathom inspect: what is in a model file or folder.
#include "model/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "cli/command.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path path;
  bool tensors = false;
  bool json = false;
};

json to_json(const model::Inspection& from, bool tensors) {
  json out = {
      {"path", from.path.string()},         {"container", from.container},         {"name", from.name},
      {"architecture", from.architecture},  {"quantisation", from.quantisation},   {"bytes", from.file_bytes},
      {"parameters", from.parameters},      {"vocabulary", from.vocabulary},       {"context", from.context},
      {"tokenizer", from.tokenizer},        {"chat_template", from.chat_template}, {"serves", from.serves},
      {"tensor_count", from.tensors.size()}};
  if (!from.problem.empty()) out["problem"] = from.problem;
  if (from.bytes_per_token) out["bytes_read_per_token"] = *from.bytes_per_token;
  if (from.kv_bytes_per_token) out["kv_bytes_per_token"] = *from.kv_bytes_per_token;
  if (from.active_parameters != 0) out["active_parameters"] = from.active_parameters;
  out["sizes"] = json::object();
  for (const auto& [key, value] : from.sizes) out["sizes"][key] = value;
  out["formats"] = json::object();
  for (const auto& [format, share] : from.formats)
    out["formats"][format] = {
        {"tensors", share.tensors}, {"elements", share.elements}, {"bytes", share.bytes}};
  out["metadata"] = json::array();
  for (const auto& item : from.metadata)
    out["metadata"].push_back({{"key", item.key}, {"type", item.type}, {"value", item.value}});
  if (tensors) {
    out["tensors"] = json::array();
    for (const auto& tensor : from.tensors)
      out["tensors"].push_back({{"name", tensor.name},
                                {"shape", tensor.shape},
                                {"format", tensor.format},
                                {"bytes", tensor.bytes}});
  }
  return out;
}

std::string human(uint64_t value) { return human_count(static_cast<double>(value)); }

void row(std::string_view label, const std::string& value) {
  if (!value.empty()) std::cout << fmt::format("  {:<24} {}\n", label, value);
}

void show_summary(const model::Inspection& from) {
  std::cout << from.path.string() << "\n";
  row("container", fmt::format("{}, {}B", from.container, human(from.file_bytes)));
  row("name", from.name);
  row("architecture", from.architecture);
  const bool sparse = from.active_parameters != 0 && from.active_parameters != from.parameters;
  row("parameters",
      human(from.parameters) +
          (sparse ? fmt::format(" ({} used a token)", human(from.active_parameters)) : std::string()));
  for (const auto& [key, value] : from.sizes) row(key, fmt::format("{}", value));
  row("tokenizer",
      from.tokenizer.empty() ? "none" : fmt::format("{}, {} tokens", from.tokenizer, from.vocabulary));
  row("chat template", from.chat_template ? "yes" : "no");
  if (from.bytes_per_token) row("read per token", human(*from.bytes_per_token) + "B of weights");
  if (from.kv_bytes_per_token)
    row("kept per token", human(*from.kv_bytes_per_token) + "B of keys and values (F16)");
  for (const auto& [format, share] : from.formats)
    row(&format == &from.formats.begin()->first ? "formats" : "",
        fmt::format("{:<8} {:>8}B  {:>4} tensors, {} elements", format, human(share.bytes), share.tensors,
                    human(share.elements)));
  row("serves", from.serves.empty() ? "no: " + from.problem : from.serves);
}

int inspect(const Options& options) {
  const auto from = model::inspect(options.path);
  if (options.json) {
    std::cout << to_json(from, options.tensors).dump(2) << "\n";
    return 0;
  }
  show_summary(from);
  std::cout << "\nMetadata\n";
  for (const auto& item : from.metadata)
    std::cout << fmt::format("  {:<42} {:<16} {}\n", item.key, item.type, item.value);
  if (!options.tensors) return 0;
  std::cout << "\nTensors\n";
  for (const auto& tensor : from.tensors)
    std::cout << fmt::format("  {:<42} {:<8} [{}] {}B\n", tensor.name, tensor.format,
                             fmt::join(tensor.shape, ", "), human(tensor.bytes));
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Show what is in a model file or folder");
  command->footer(
      "Examples:\n  fathom inspect model.gguf\n  fathom inspect SmolLM2-135M/ --tensors --json\n\nReads "
      "headers only, "
      "so it is fast at any size, and it works on models that cannot be served here; it says why "
      "not.\nShapes have "
      "the contiguous dimension first.");
  command
      ->add_option("path", options->path,
                   "GGUF file (of one in parts, any), safetensors file or Hugging Face folder")
      ->required()
      ->type_name("PATH");
  command->add_flag("--tensors", options->tensors, "List every tensor");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return inspect(*options); }; });
}

}  // namespace fathom::cli
