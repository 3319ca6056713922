#include "infer/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/instruction_set.h"
#include "tensor/limits.h"

namespace fathom::infer {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A line of /proc/self/status in bytes: VmRSS (now), VmHWM (at most).
uint64_t process_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) << 10;
  return 0;
}

/// What a model is given to go on with: names and numbers, so that its own words would be others.
constexpr std::string_view kPassage =
    "The harbour office said on Tuesday that ferry 14 to Orlen leaves at 07:35 from pier 3 and not from pier "
    "8, because "
    "divers found a crack in the eastern wall. Inspector Marta Venn expects the repair to take 16 days. "
    "Tickets bought "
    "before 2 May stay valid; bicycles travel free on weekdays. Line 12 turns around at the fish market, "
    "where a second "
    "bus waits until 22:40. Whoever needs help may call 555 0173 or ask at the red kiosk beside the clock "
    "tower.\n";
constexpr size_t kTimesSaid = 3;
constexpr size_t kBegunAgain = 8;     // tokens of the passage at the end of the prompt
constexpr size_t kLeastPassage = 16;  // tokens; fewer are no text

/// What one run of each kind gave.
struct Samples {
  std::vector<double> prefill, first_token, decode, bandwidth, integers, floats;
  std::vector<double> plain, guessing, gain;
  size_t copied = 0, guessed = 0;  // tokens
  std::vector<std::vector<double>> batches;
  uint64_t resident = 0;
};

class Benchmark {
 public:
  Benchmark(Engine& engine, const BenchmarkOptions& options, ThreadPool& pool,
            const std::function<void(double)>& progress)
      : engine_(engine), options_(options), progress_(progress), random_(options.seed), machine_(pool) {
    samples_.batches.resize(options.sequences.size());
    // As much as each step takes, about.
    steps_ = static_cast<double>(options.runs + 1) * static_cast<double>(4 + options.sequences.size());
  }

  Samples run() {
    warm_up();
    for (size_t i = 0; i < options_.runs; ++i) {
      read_prompt();
      decode();
      copy();
      for (size_t b = 0; b < options_.sequences.size(); ++b) {
        samples_.batches[b].push_back(batch(options_.sequences[b]));
        step();
      }
      const uint64_t resident = process_bytes("VmRSS");  // 0: not known
      if (resident > machine_.bytes())
        samples_.resident = std::max(samples_.resident, resident - machine_.bytes());
      limits();
    }
    return std::move(samples_);
  }

 private:
  void step() {
    if (progress_) progress_(std::min(1.0, ++done_ / steps_));
  }

  GenerateRequest request(size_t prompt, size_t tokens) {
    GenerateRequest out;
    out.prompt.resize(prompt);
    for (auto& token : out.prompt) token = static_cast<int32_t>(random_.below(engine_.info().vocabulary));
    out.max_tokens = tokens;
    out.sampling.temperature = 0;
    out.ignore_end = true;
    out.lookup = false;
    return out;
  }

  /// Touches all memory that the measurements use.
  void warm_up() {
    engine_.generate(request(options_.prompt, 2), nullptr, {});
    for (size_t i = 0; i < 3 + options_.sequences.size(); ++i) step();
    batch(options_.sequences.empty()
              ? 1
              : *std::max_element(options_.sequences.begin(), options_.sequences.end()));
    step();
  }

  void read_prompt() {
    const auto asked = request(options_.prompt, 1);
    const double start = now();
    const auto result = engine_.generate(asked, nullptr, {});
    samples_.first_token.push_back(now() - start);
    samples_.prefill.push_back(static_cast<double>(result.prompt_tokens - result.cached_tokens) /
                               result.prefill_seconds);
    step();
  }

  void decode() {
    const auto result = engine_.generate(request(options_.sequence_prompt, options_.tokens), nullptr, {});
    // The first token comes from the prompt's own logits.
    samples_.decode.push_back(static_cast<double>(result.completion_tokens - 1) / result.decode_seconds);
    step();
  }

  /// The passage several times and its beginning once more; empty where the context does not hold it and its answer.
  std::vector<int32_t> repeating_prompt() const {
    auto passage = engine_.tokenize(kPassage);
    const size_t context = engine_.info().context;
    const size_t taken = options_.copy_tokens + kBegunAgain + 1;
    if (context <= taken) return {};
    passage.resize(std::min(passage.size(), (context - taken) / kTimesSaid));
    if (passage.size() < kLeastPassage) return {};
    std::vector<int32_t> out;
    if (engine_.bos()) out.push_back(*engine_.bos());
    for (size_t i = 0; i < kTimesSaid; ++i) out.insert(out.end(), passage.begin(), passage.end());
    out.insert(out.end(), passage.begin(), passage.begin() + kBegunAgain);
    return out;
  }

  /// What guessing from the prompt brings, and that it changes nothing.
  void copy() {
    GenerateRequest asked;
    asked.prompt = repeating_prompt();
    if (!asked.prompt.empty()) compare_lookup(asked);
    step();
  }

  void compare_lookup(GenerateRequest& asked) {
    asked.max_tokens = options_.copy_tokens;
    asked.sampling.temperature = 0;
    asked.ignore_end = true;
    double rate[2];
    GenerateResult results[2];
    for (const bool lookup : {false, true}) {
      asked.lookup = lookup;
      results[lookup] = engine_.generate(asked, nullptr, {});
      const GenerateResult& r = results[lookup];
      rate[lookup] = static_cast<double>(r.completion_tokens - 1) / r.decode_seconds;
    }
    if (results[0].text != results[1].text || results[0].completion_tokens != results[1].completion_tokens)
      throw Error(
          ErrorCode::kInternal,
          "guessing from the prompt changed the answer of the model; report this with the model's name");
    samples_.plain.push_back(rate[0]);
    samples_.guessing.push_back(rate[1]);
    samples_.gain.push_back(rate[1] / rate[0]);
    samples_.copied += results[1].completion_tokens;
    samples_.guessed += results[1].guessed_tokens;
  }

  /// Tokens a second of `count` sequences together.
  double batch(size_t count) {
    std::vector<GenerateRequest> requests;
    for (size_t i = 0; i < count; ++i)
      requests.push_back(request(options_.sequence_prompt, options_.sequence_tokens));
    std::vector<double> first(count), last(count);
    std::vector<std::exception_ptr> errors(count);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i)
      threads.emplace_back([&, i] {
        try {
          const auto result = engine_.generate(requests[i], nullptr, {});
          last[i] = now();
          first[i] = last[i] - result.decode_seconds;
        } catch (...) {
          errors[i] = std::current_exception();
        }
      });
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
    const double span =
        *std::max_element(last.begin(), last.end()) - *std::min_element(first.begin(), first.end());
    return static_cast<double>(count * (options_.sequence_tokens - 1)) / span;
  }

  void limits() {
    samples_.bandwidth.push_back(machine_.read_bandwidth(options_.limit_seconds));
    samples_.integers.push_back(machine_.integer_peak(options_.limit_seconds));
    samples_.floats.push_back(machine_.float_peak(options_.limit_seconds));
    step();
  }

  Engine& engine_;
  const BenchmarkOptions& options_;
  const std::function<void(double)>& progress_;
  Random random_;
  tensor::MachineLimits machine_;
  Samples samples_;
  double steps_;
  double done_ = 0;
};

void check(const BenchmarkOptions& o, size_t context) {
  const auto refuse = [](const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); };
  if (o.runs == 0 || o.prompt == 0 || o.sequence_prompt == 0) refuse("runs and prompts are at least 1");
  if (o.tokens < 2 || o.sequence_tokens < 2 || o.copy_tokens < 2)
    refuse("a rate of decoding takes at least 2 tokens");
  for (const size_t count : o.sequences)
    if (count == 0 || count > 1024) refuse("between 1 and 1024 sequences can be decoded together");
  const size_t most = std::max(o.prompt + 2, o.sequence_prompt + std::max(o.tokens, o.sequence_tokens));
  if (most > context)
    refuse(fmt::format("prompt and answer take {} tokens, but the model's context holds {}; ask for fewer",
                       most, context));
}

EngineOptions engine_options(const BenchmarkOptions& o) {
  EngineOptions out;
  out.adapter = o.adapter;
  for (const size_t count : o.sequences) out.sequences = std::max(out.sequences, count);
  return out;
}

/// What follows from the file alone.
void describe(const std::filesystem::path& path, size_t prompt, BenchmarkReport& report) {
  const auto file = model::GgufFile::open(path);
  const auto config = model::ModelConfig::from_gguf(file);
  for (const auto& tensor : file.tensors()) report.weight_bytes += tensor.data.size();
  report.bytes_per_token = model::bytes_read_per_token(config, file);
  // Prefill computes logits for the last token alone.
  const double head = 2.0 * static_cast<double>(config.d_model) * static_cast<double>(config.vocab);
  report.operations_per_token = static_cast<double>(config.flops_per_token((prompt + 1) / 2)) -
                                head * (1.0 - 1.0 / static_cast<double>(prompt));
  const std::string format = model::dominant_format(file);
  report.integer_products = format != "F32" && format != "F16" && format != "BF16";
}

}  // namespace

Spread spread(std::vector<double> values) {
  FATHOM_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

BenchmarkReport run_benchmark(const std::filesystem::path& path, const BenchmarkOptions& options,
                              ThreadPool& pool, const std::function<void(double)>& progress) {
  BenchmarkReport report;
  const EngineOptions engine_options_used = engine_options(options);
  const double start = now();
  const auto engine = Engine::load(path, engine_options_used, pool);
  report.load_seconds = now() - start;
  report.resident_after_load = process_bytes("VmRSS");
  const uint64_t most_of_load = process_bytes("VmHWM");
  report.model = engine->info();
  report.threads = pool.size();
  report.instruction_set = tensor::instruction_set();
  check(options, report.model.context);
  describe(path, options.prompt, report);

  const Samples samples = Benchmark(*engine, options, pool, progress).run();
  report.prefill = spread(samples.prefill);
  report.first_token = spread(samples.first_token);
  report.decode = spread(samples.decode);
  for (size_t i = 0; i < options.sequences.size(); ++i)
    report.batches.push_back({options.sequences[i], spread(samples.batches[i])});
  if (!samples.gain.empty())
    report.copy = {options.copy_tokens, spread(samples.plain), spread(samples.guessing), spread(samples.gain),
                   static_cast<double>(samples.guessed) / static_cast<double>(samples.copied)};
  report.read_bandwidth = spread(samples.bandwidth).median;
  report.integer_peak = spread(samples.integers).median;
  report.float_peak = spread(samples.floats).median;

  const EngineStatus status = engine->status();
  if (status.cache_pages != 0)
    report.cache_bytes = engine_options_used.cache_bytes / status.cache_pages * status.cache_pages_used;
  report.resident_at_most = std::max(most_of_load, samples.resident);
  return report;
}

}  // namespace fathom::infer
