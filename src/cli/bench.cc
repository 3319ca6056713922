// fathom bench: how fast a model runs here, and how near that is to what the machine can do.
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/instance.h"
#include "infer/benchmark.h"
#include "model/random_model.h"
#include "tensor/instruction_set.h"

namespace fathom::cli {
namespace {

using infer::BenchmarkReport;
using infer::Spread;
using nlohmann::ordered_json;

constexpr uint64_t kProgressSteps = 100;

struct Options {
  std::filesystem::path state;
  std::filesystem::path model;
  std::string random;  // shape and format of a model to make
  std::filesystem::path out;
  std::string instruction_set;
  size_t threads = 0;
  infer::BenchmarkOptions benchmark;
  bool json = false;
};

/// A file that goes when its owner does.
class TemporaryModel {
 public:
  TemporaryModel() {
    std::string name = (std::filesystem::temp_directory_path() / "fathom-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw Error(ErrorCode::kIo,
                  fmt::format("cannot make the folder {}; set TMPDIR to one with room", name));
    folder_ = name;
  }
  ~TemporaryModel() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TemporaryModel(const TemporaryModel&) = delete;
  TemporaryModel& operator=(const TemporaryModel&) = delete;
  std::filesystem::path path() const { return folder_ / "random.gguf"; }

 private:
  std::filesystem::path folder_;
};

std::filesystem::path choose_model(const Options& options) {
  if (!options.model.empty()) return options.model;
  const auto found = find_models(options.state);
  if (found.empty())
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("there is no model in {}; name a GGUF file, or take one with random weights: fathom "
                    "bench --random smol135:Q4_0",
                    (options.state / "models").string()));
  return found.front();
}

ordered_json to_json(const Spread& s) { return {{"median", s.median}, {"min", s.least}, {"max", s.most}}; }

ordered_json to_json(const BenchmarkReport& r, const infer::BenchmarkOptions& o) {
  ordered_json batches = ordered_json::array();
  for (const auto& b : r.batches)
    batches.push_back({{"sequences", b.sequences}, {"tokens_per_second", to_json(b.tokens_per_second)}});
  ordered_json copy = nullptr;  // not measured
  if (r.copy.tokens != 0)
    copy = {{"tokens", r.copy.tokens},
            {"plain_tokens_per_second", to_json(r.copy.plain)},
            {"guessing_tokens_per_second", to_json(r.copy.guessing)},
            {"gain", to_json(r.copy.gain)},
            {"guessed_share", r.copy.guessed},
            {"same_output", true}};
  return {{"model", r.model.name},
          {"architecture", r.model.architecture},
          {"quantisation", r.model.quantisation},
          {"parameters", r.model.parameters},
          {"threads", r.threads},
          {"instruction_set", r.instruction_set},
          {"runs", o.runs},
          {"load_seconds", r.load_seconds},
          {"prompt_tokens", o.prompt},
          {"prefill_tokens_per_second", to_json(r.prefill)},
          {"first_token_seconds", to_json(r.first_token)},
          {"decode_tokens", o.tokens},
          {"decode_tokens_per_second", to_json(r.decode)},
          {"batched_decode", batches},
          {"copied_decode", copy},
          {"memory",
           {{"weight_bytes", r.weight_bytes},
            {"cache_bytes", r.cache_bytes},
            {"resident_after_load_bytes", r.resident_after_load},
            {"resident_at_most_bytes", r.resident_at_most}}},
          {"machine",
           {{"read_bytes_per_second", r.read_bandwidth},
            {"integer_operations_per_second", r.integer_peak},
            {"float_operations_per_second", r.float_peak}}},
          {"bytes_per_token", r.bytes_per_token},
          {"operations_per_prompt_token", r.operations_per_token},
          {"decode_limit_tokens_per_second", r.decode_limit()},
          {"decode_share_of_limit", r.decode.median / r.decode_limit()},
          {"prefill_limit_tokens_per_second", r.prefill_limit()},
          {"prefill_share_of_limit", r.prefill.median / r.prefill_limit()}};
}

double mib(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void print_row(const std::string& what, const Spread& s, double scale, const std::string& unit,
               const std::string& note) {
  std::cout << fmt::format("  {:<30}{:>10.1f} {:<9}{:>10.1f} - {:<10.1f} {}\n", what, s.median * scale, unit,
                           s.least * scale, s.most * scale, note);
}

void print_table(const BenchmarkReport& r, const infer::BenchmarkOptions& o) {
  std::cout << fmt::format("{}, {}, {}, {} parameters; {} threads, {}; medians of {} runs (least - most)\n",
                           r.model.name, r.model.architecture, r.model.quantisation,
                           human_count(static_cast<double>(r.model.parameters)), r.threads, r.instruction_set,
                           o.runs);
  print_row(fmt::format("prefill of {} tokens", o.prompt), r.prefill, 1, "tokens/s",
            fmt::format("{:.0f} % of the {} peak", 100 * r.prefill.median / r.prefill_limit(),
                        r.integer_products ? "integer" : "float"));
  print_row(fmt::format("first token after {} tokens", o.prompt), r.first_token, 1000, "ms", "");
  print_row(fmt::format("decode of {} tokens", o.tokens), r.decode, 1, "tokens/s",
            fmt::format("{:.0f} % of the read bandwidth", 100 * r.decode.median / r.decode_limit()));
  for (const auto& b : r.batches)
    print_row(fmt::format("decode, {} sequence{}", b.sequences, b.sequences == 1 ? "" : "s together"),
              b.tokens_per_second, 1, "tokens/s", b.sequences == 1 ? "" : "all together");
  if (r.copy.tokens != 0) {
    print_row("decode that repeats its prompt", r.copy.plain, 1, "tokens/s", "without guessing");
    print_row("  guessed from the prompt", r.copy.guessing, 1, "tokens/s",
              fmt::format("{:.1f} times, the same output; {:.0f} % of it guessed", r.copy.gain.median,
                          100 * r.copy.guessed));
  }
  std::cout << fmt::format(
      "  load {:.2f} s; weights {:.0f} MiB, keys and values {:.0f} MiB; memory {:.0f} MiB "
      "after loading, {:.0f} MiB at most\n",
      r.load_seconds, mib(r.weight_bytes), mib(r.cache_bytes), mib(r.resident_after_load),
      mib(r.resident_at_most));
  std::cout << fmt::format(
      "  the machine: reads {:.1f} GB/s, {:.0f} Gop/s of 8-bit integers, {:.0f} Gop/s of "
      "f32; a decoded token reads {:.1f} MB, a prompt's takes {:.2f} Gop\n",
      r.read_bandwidth / 1e9, r.integer_peak / 1e9, r.float_peak / 1e9,
      static_cast<double>(r.bytes_per_token) / 1e6, r.operations_per_token / 1e9);
}

int bench(const Options& options) {
  if (!options.instruction_set.empty()) tensor::choose_instruction_set(options.instruction_set);
  std::unique_ptr<TemporaryModel> temporary;
  std::filesystem::path model;
  if (!options.random.empty()) {
    const auto [shape, dtype] = model::parse_random_model(options.random);
    model = options.out;
    if (model.empty()) {
      temporary = std::make_unique<TemporaryModel>();
      model = temporary->path();
    }
    model::write_random_model(shape, dtype, options.benchmark.seed, model);
    if (!options.out.empty()) {
      std::cout << fmt::format("{} written\n", model.string());
      return 0;
    }
  } else {
    model = choose_model(options);
  }
  ThreadPool pool(options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency()));
  BenchmarkReport report;
  {
    Progress progress("bench", kProgressSteps, "%");
    report = infer::run_benchmark(model, options.benchmark, pool, [&](double share) {
      progress.update(static_cast<uint64_t>(share * static_cast<double>(kProgressSteps)));
    });
  }
  if (options.json)
    std::cout << to_json(report, options.benchmark).dump(2) << "\n";
  else
    print_table(report, options.benchmark);
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  infer::BenchmarkOptions& o = options->benchmark;
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a model runs on this machine");
  command->footer(
      "Examples:\n"
      "  fathom bench\n"
      "  fathom bench my.gguf --sequences 1,8 --runs 3 --json\n"
      "  fathom bench --random llama1b:Q4_0            a model of that shape with random weights\n"
      "  fathom bench --random grokmoe:Q8_0 --out grokmoe.gguf    only make the file\n\n"
      "Speeds are held against what the machine can do at most, measured in the same run: every decoded "
      "token "
      "reads\nall weights, so the read bandwidth limits it; prefill is limited by the integer (or float) "
      "peak.");
  add_state_option(*command, options->state);
  auto* model =
      command->add_option("model", options->model, "A model file; none: the newest in the models folder")
          ->type_name("FILE");
  command->add_option("--random", options->random, "Make a model: smol135, llama1b or grokmoe, and a format")
      ->type_name("SHAPE:FORMAT")
      ->excludes(model);
  command->add_option("--out", options->out, "With --random: keep the model in this file, measure nothing")
      ->type_name("FILE")
      ->needs("--random");
  command->add_option("--adapter", o.adapter, "A LoRA adapter to apply to the model")->type_name("DIR");
  command->add_option("--prompt", o.prompt, "Tokens of the prompt that prefill reads")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--tokens", o.tokens, "Tokens that decoding writes")
      ->check(CLI::Range(size_t{2}, size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--sequences", o.sequences, "How many sequences are decoded together, comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(size_t{1}, size_t{1024}))
      ->capture_default_str();
  command->add_option("--sequence-prompt", o.sequence_prompt, "Tokens of the prompt of each of them")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--sequence-tokens", o.sequence_tokens, "Tokens that each of them writes")
      ->check(CLI::Range(size_t{2}, size_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("--copy-tokens", o.copy_tokens,
                   "Tokens that are written after a prompt that repeats itself")
      ->check(CLI::Range(size_t{2}, size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--runs", o.runs, "Runs, of which medians, least and most are shown")
      ->check(CLI::Range(size_t{1}, size_t{1000}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option(
      "--instruction-set", options->instruction_set,
      "Run the kernels of another instruction set than the best: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return bench(*options); }; });
}

}  // namespace fathom::cli
