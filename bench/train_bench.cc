// Training steps on random tokens: tokens a second, and the share of the machine's own rate of matrix products that the
// whole step reaches, measured in the same run.
//
//   train_bench --model bench/train/llama-10m.toml [--sequences 16] [--length 256] [--micro 16] [--steps 6] [--threads 2]
//               [--precision f32|bf16] [--recompute none|selective|full] [--loss-rows 256]
//
// Prints one line of JSON. Floating-point operations are the model's own (three times the forward pass: ModelConfig::
// flops_per_token at half of the length, for a causal mask), not those of recomputed layers.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "model/description.h"
#include "tensor/cpu_ops.h"
#include "tensor/gemm.h"
#include "train/decoder.h"
#include "train/layout.h"
#include "train/optimiser.h"
#include "train/step.h"

namespace fathom {
namespace {

struct Options {
  std::string model;
  size_t sequences = 16, length = 256, micro = 0, steps = 6, threads = std::thread::hardware_concurrency();
  std::string precision = "f32", recompute = "none";
  size_t loss_rows = 256;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Operations a second of a product of two squares, the median of several.
double product_rate(tensor::DeviceOps& ops, tensor::Precision precision) {
  const size_t n = 2048;
  auto a = ops.allocate(n * n), b = ops.allocate(n * n), c = ops.allocate(n * n);
  ops.fill(a.floats(), 0.5f, n * n);
  ops.fill(b.floats(), 0.25f, n * n);
  tensor::GemmArgs args{.m = n,
                        .n = n,
                        .k = n,
                        .a = a.floats(),
                        .a_stride = n,
                        .b = b.floats(),
                        .b_stride = n,
                        .b_transposed = true,
                        .c = c.floats(),
                        .c_stride = n,
                        .precision = precision};
  std::vector<double> seconds;
  for (int i = 0; i < 7; ++i) {
    const double start = now();
    ops.gemm(args);
    seconds.push_back(now() - start);
  }
  return 2.0 * n * n * n / median(seconds);
}

struct Tokens {
  std::vector<int32_t> tokens, targets, starts;
};

Tokens random_tokens(size_t count, size_t vocab) {
  Random random(1);
  Tokens out;
  for (size_t i = 0; i < count; ++i) out.tokens.push_back(static_cast<int32_t>(random.below(vocab)));
  out.targets.assign(out.tokens.begin() + 1, out.tokens.end());
  out.targets.push_back(0);
  out.starts.assign(count, 0);
  return out;
}

train::Recompute recompute_of(const std::string& text) {
  return text == "full"        ? train::Recompute::kFull
         : text == "selective" ? train::Recompute::kSelective
                               : train::Recompute::kNone;
}

nlohmann::json measure(const Options& o) {
  ThreadPool pool(o.threads);
  const auto ops = tensor::make_cpu_ops(pool);
  const model::ModelConfig config = model::read_description(o.model);
  const size_t micro = o.micro == 0 ? o.sequences : o.micro;
  if (o.sequences % micro != 0) throw Error(ErrorCode::kInvalidArgument, "--micro divides --sequences");
  const size_t micro_batches = o.sequences / micro;
  const auto precision = o.precision == "bf16" ? tensor::Precision::kBF16 : tensor::Precision::kF32;

  train::Groups groups = train::make_groups({}, train::make_self_comm());
  train::Parameters parameters(config, groups.layout, groups.place, {}, *ops);
  parameters.initialise(1, 0.02f);
  train::DecoderOptions options;
  options.sequences = micro;
  options.length = o.length;
  options.recompute = recompute_of(o.recompute);
  options.precision = precision;
  options.loss_rows = o.loss_rows;
  train::Decoder decoder(config, groups, parameters, *ops, options);
  train::Optimiser optimiser(parameters, groups, *ops, {});
  train::Step step(decoder, optimiser, groups);

  const Tokens data = random_tokens(o.sequences * o.length, config.vocab);
  const auto batch = [&](size_t index) {
    const size_t size = micro * o.length, begin = index * size;
    return train::MicroBatch{micro, o.length, std::span(data.tokens).subspan(begin, size),
                             std::span(data.targets).subspan(begin, size),
                             std::span(data.starts).subspan(begin, size)};
  };
  const double tokens = static_cast<double>(o.sequences * o.length);
  const train::LossScale scale{static_cast<float>(1 / tokens),
                               static_cast<float>(1.0 / static_cast<double>(o.sequences))};
  std::vector<double> seconds, rates;
  double loss = 0;
  for (size_t s = 1; s <= o.steps + 1; ++s) {
    rates.push_back(product_rate(*ops, precision));
    const double start = now();
    loss = step.run(s, micro_batches, batch, scale, 1e-4f).loss;
    if (s > 1) seconds.push_back(now() - start);  // the first touches the memory
  }
  const double step_time = median(seconds);
  const double flops = 3.0 * static_cast<double>(config.flops_per_token(o.length / 2)) * tokens / step_time;
  const double rate = median(rates);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {{"tokens_per_s", tokens / step_time},
          {"step_time", step_time},
          {"gflops", flops / 1e9},
          {"product_gflops", rate / 1e9},
          {"share_of_product_rate", flops / rate},
          {"loss", loss},
          {"memory_mib", static_cast<double>(usage.ru_maxrss) / 1024},
          {"parameters", config.parameters()},
          {"precision", o.precision}};
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app{"Training steps on random tokens"};
  app.add_option("--model", o.model, "Description of the model")->required();
  app.add_option("--sequences", o.sequences, "Sequences a step");
  app.add_option("--length", o.length, "Tokens a sequence");
  app.add_option("--micro", o.micro, "Sequences of a micro-batch (all)");
  app.add_option("--steps", o.steps, "Steps that count")->check(CLI::Range(1, 1000));
  app.add_option("--threads", o.threads, "Threads");
  app.add_option("--precision", o.precision, "f32 or bf16")->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--recompute", o.recompute, "none, selective or full")
      ->check(CLI::IsMember({"none", "selective", "full"}));
  app.add_option("--loss-rows", o.loss_rows, "Rows of logits in memory");
  CLI11_PARSE(app, argc, argv);
  fmt::print("{}\n", measure(o).dump());
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  try {
    return fathom::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_bench: {}\n", error.what());
    return 1;
  }
}
