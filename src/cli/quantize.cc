// fathom quantize: a model in another number format.
#include "model/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/signal_stop.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path in, out;
  std::string type = "Q4_K";
  size_t threads = 0;
  bool pure = false;
  bool force = false;
  bool json = false;
};

json summary(const model::GgufFile& from, const std::vector<model::QuantizedTensor>& plan,
             const Options& options) {
  std::map<std::string, uint64_t> formats;
  uint64_t bytes = 0, elements = 0, again = 0;
  std::map<std::string, uint64_t> fallbacks;
  for (const auto& tensor : plan) {
    formats[std::string(tensor::name(tensor.dtype))] += tensor.bytes;
    bytes += tensor.bytes;
    uint64_t count = 1;
    for (const uint64_t extent : tensor.shape) count *= extent;
    elements += count;
    again += tensor.requantized ? 1 : 0;
    if (tensor.fell_back) ++fallbacks[std::string(tensor::name(tensor.dtype))];
  }
  return {{"path", options.out.string()},
          {"bytes_before", from.file_bytes()},
          {"bytes", std::filesystem::file_size(options.out)},
          {"bits_per_weight",
           elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements)},
          {"format_bytes", formats},
          {"fallbacks", fallbacks},
          {"requantized_tensors", again}};
}

void show(const json& result) {
  std::cout << fmt::format("{}: {}B, from {}B; {:.2f} bits a weight\n", result.value("path", ""),
                           human_count(result.value("bytes", 0.0)),
                           human_count(result.value("bytes_before", 0.0)),
                           result.value("bits_per_weight", 0.0));
  for (const auto& [format, bytes] : result["format_bytes"].items())
    std::cout << fmt::format("  {:<7} {}B\n", format, human_count(bytes.get<double>()));
  for (const auto& [format, count] : result["fallbacks"].items())
    std::cout << fmt::format(
        "{} tensors are in {}: their rows are not whole blocks of the format that they should "
        "have\n",
        count.get<uint64_t>(), format);
  if (result.value("requantized_tensors", 0) > 0)
    std::cout << fmt::format(
        "{} tensors were in a block format already and lost a little more; the original in F16 or "
        "BF16 gives better results\n",
        result.value("requantized_tensors", 0));
}

int quantize(const Options& options) {
  static SignalStop signals;  // its thread may outlive this function
  const model::QuantizeOptions wanted{model::parse_format(options.type), options.pure};
  if (std::filesystem::exists(options.out) && !options.force)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is there already; --force replaces it", options.out.string()));
  if (std::filesystem::is_directory(options.out))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is a folder; name a file", options.out.string()));
  const auto file = model::GgufFile::open(options.in);
  const auto plan = model::plan_quantization(file, wanted);
  uint64_t total = 0;
  for (const auto& tensor : plan) total += tensor.bytes;
  signals.listen();
  ThreadPool pool(options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency()));
  {
    Progress progress("Converting", total, "B");
    model::write_quantized(
        file, plan, wanted, options.out, pool, [&](uint64_t done) { progress.update(done); },
        signals.token());
  }
  const json result = summary(file, plan, options);
  if (options.json)
    std::cout << result.dump(2) << "\n";
  else
    show(result);
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "Write a model in another number format");
  command->footer(
      "Examples:\n  fathom quantize SmolLM2-1.7B/ smol.gguf --type Q4_K\n  fathom quantize model-F16.gguf "
      "model-Q8_0.gguf --type Q8_0\n\nFormats: F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, "
      "Q4_0, IQ4_NL, "
      "IQ4_XS, Q3_K, Q2_K.\nIn the small ones the matrices that matter most get more bits (as in Q4_K_M); "
      "--pure gives all "
      "the same.\nVectors stay F32. Rows that are no multiple of 256 take the nearest format of blocks of "
      "32.");
  command->add_option("in", options->in, "GGUF file (of one in parts, any) or Hugging Face folder")
      ->required()
      ->type_name("IN");
  command->add_option("out", options->out, "GGUF file to write")->required()->type_name("OUT");
  command->add_option("--type", options->type, "Format of the matrices")
      ->capture_default_str()
      ->type_name("FORMAT");
  command->add_flag("--pure", options->pure, "The same format for all matrices");
  command->add_flag("--force", options->force, "Replace OUT if it is there");
  command->add_option("--threads", options->threads, "Threads; 0: one a core")->capture_default_str();
  command->add_flag("--json", options->json, "Report as JSON");
  command->callback([options, &run] { run = [options] { return quantize(*options); }; });
}

}  // namespace fathom::cli
