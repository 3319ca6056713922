// How fast and how large the engine is on a given model: load time, memory, prefill and decode rates, and the share of
// the memory's read bandwidth that decoding reaches (every weight is read once a token, so bandwidth is its limit).
//
//   infer_bench --model MODEL.gguf [--threads N] [--prompt 512] [--tokens 128] [--runs 5] [--target AVX2] [--json]
//
// --target runs the kernels of another instruction set than the best one that the processor has. Medians over the runs; bandwidth is measured in the same process on the same threads.
#include <fmt/format.h>
#include <hwy/targets.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "infer/engine.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/buffer.h"

namespace fathom {
namespace {

struct Options {
  std::string model;
  size_t threads = std::max(1u, std::thread::hardware_concurrency());
  size_t prompt = 512;
  size_t tokens = 128;
  size_t runs = 5;
  std::string target;  // empty: the best
  bool json = false;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// A line of /proc/self/status in MiB: VmRSS (now), VmHWM (at most).
double status_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stod(line.substr(field.size() + 1)) / 1024;
  return 0;
}

/// Bytes a second that all threads read from memory together, the best of five passes.
double read_bandwidth(ThreadPool& pool) {
  constexpr size_t kWords = size_t{64} << 20;  // 512 MiB
  const tensor::Buffer buffer(kWords * sizeof(uint64_t), true);
  auto* words = buffer.as<uint64_t>();
  pool.parallel_for(kWords, 4096,
                    [&](size_t begin, size_t end) { std::fill(words + begin, words + end, 1); });
  std::atomic<uint64_t> total{0};
  double best = 1e9;
  for (int pass = 0; pass < 5; ++pass) {
    const double start = seconds();
    pool.parallel_for(kWords, 4096, [&](size_t begin, size_t end) {
      uint64_t sums[8] = {};
      for (size_t i = begin; i < end; i += 8)
        for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
      for (const uint64_t sum : sums) total += sum;
    });
    best = std::min(best, seconds() - start);
  }
  FATHOM_CHECK(total == 5 * kWords);
  return static_cast<double>(kWords * sizeof(uint64_t)) / best;
}

infer::GenerateRequest greedy(std::vector<int32_t> prompt, size_t tokens) {
  infer::GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  return request;
}

/// Restricts the kernels to one instruction set.
void choose_target(const std::string& name) {
  std::string names;
  for (const int64_t target : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON}) {  // tensor/simd.h
    if ((hwy::SupportedTargets() & target) == 0) continue;
    if (hwy::TargetName(target) == name) return hwy::SetSupportedTargetsForTest(target);
    names += (names.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{} is not an instruction set of this processor; it has {}", name, names));
}

nlohmann::ordered_json measure(const Options& options) {
  ThreadPool pool(options.threads);
  const double before = seconds();
  const auto engine = infer::Engine::load(options.model, {}, pool);
  const double load = seconds() - before;
  const double rss = status_mib("VmRSS");
  const double peak = status_mib("VmHWM");

  Random random(1);
  std::vector<double> prefill, decode;
  const auto count = engine->tokenize("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,");
  for (size_t run = 0; run < options.runs; ++run) {
    std::vector<int32_t> prompt(options.prompt);
    for (auto& token : prompt) token = static_cast<int32_t>(random.below(engine->info().vocabulary));
    const auto read = engine->generate(greedy(prompt, 1), nullptr, {});
    prefill.push_back(static_cast<double>(read.prompt_tokens - read.cached_tokens) / read.prefill_seconds);
    const auto written = engine->generate(greedy(count, options.tokens), nullptr, {});
    // The first token comes from the prompt's own logits.
    decode.push_back(static_cast<double>(written.completion_tokens - 1) / written.decode_seconds);
  }

  const auto file = model::GgufFile::open(options.model);
  const auto config = model::ModelConfig::from_gguf(file);
  const double bytes = static_cast<double>(model::bytes_read_per_token(config, file));
  const double bandwidth = read_bandwidth(pool);
  return {{"model", engine->info().name},
          {"quantisation", engine->info().quantisation},
          {"target", options.target.empty() ? "best" : options.target},
          {"threads", options.threads},
          {"load_seconds", load},
          {"rss_mib_after_load", rss},
          {"peak_rss_mib_of_load", peak},
          {"rss_mib_after_runs", status_mib("VmRSS")},
          {"prompt_tokens", options.prompt},
          {"prefill_tokens_per_second", median(prefill)},
          {"decode_tokens_per_second", median(decode)},
          {"bytes_per_token", bytes},
          {"read_bandwidth_gb_per_second", bandwidth / 1e9},
          {"decode_limit_tokens_per_second", bandwidth / bytes},
          {"decode_share_of_limit", median(decode) * bytes / bandwidth}};
}

void print_table(const nlohmann::ordered_json& result) {
  for (const auto& [key, value] : result.items())
    fmt::print("{:<34} {}\n", key,
               value.is_number_float() ? fmt::format("{:.3f}", value.get<double>()) : value.dump());
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Measures the engine on a model; example: infer_bench --model SmolLM2-135M-Instruct.Q4_1.gguf");
  app.add_option("--model", options.model, "GGUF file")->required();
  app.add_option("--threads", options.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--prompt", options.prompt, "tokens of the prompt")->check(CLI::PositiveNumber);
  app.add_option("--tokens", options.tokens, "tokens to generate")
      ->check(CLI::Range(size_t{2}, size_t{1} << 20));
  app.add_option("--runs", options.runs, "runs, of which the median counts")->check(CLI::PositiveNumber);
  app.add_option("--target", options.target, "instruction set: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  app.add_flag("--json", options.json, "print JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!options.target.empty()) choose_target(options.target);
    const auto result = measure(options);
    if (options.json)
      fmt::print("{}\n", result.dump());
    else
      print_table(result);
  } catch (const Error& e) {
    fmt::print(stderr, "infer_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
