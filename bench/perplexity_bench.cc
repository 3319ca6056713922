// The perplexity of a model on a given text, to be held against another program's on the same token ids.
//
//   perplexity_bench --model MODEL.gguf --tokens IDS.txt [--window 512] [--threads N] [--target AVX2]
//
// IDS.txt: token ids as decimal numbers between white space. They are cut into windows, each read from an empty cache; every
// token of a window but the first counts. bench/peers/llama_cpp_perplexity.py writes such a file and gives llama.cpp's figure.
#include <fmt/format.h>
#include <hwy/targets.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "infer/kv_cache.h"
#include "infer/transformer.h"
#include "infer/weights.h"
#include "model/config.h"
#include "model/gguf.h"

namespace fathom {
namespace {

std::vector<int32_t> read_ids(const std::string& path, size_t vocabulary) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kNotFound, fmt::format("'{}' cannot be opened", path));
  std::vector<int32_t> out;
  for (int64_t id; file >> id;) {
    if (id < 0 || static_cast<size_t>(id) >= vocabulary)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' has the token id {}; the model has {} tokens", path, id, vocabulary));
    out.push_back(static_cast<int32_t>(id));
  }
  return out;
}

/// -log of the probability that `logits` give to `token`.
double surprise(std::span<const float> logits, int32_t token) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<double>(v - most));
  return std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)] - most);
}

class Model {
 public:
  Model(const std::string& path, size_t window, size_t threads)
      : file_(model::GgufFile::open(path)),
        config_(model::ModelConfig::from_gguf(file_)),
        pool_(threads),
        weights_(config_, file_, true, pool_),
        transformer_(config_, weights_, window, pool_),
        cache_(config_, weights_.cache_dtype(), 2 * infer::KvPool::pages_of(window)) {}

  size_t vocabulary() const { return config_.vocab; }

  double surprise_of(std::span<const int32_t> window) {
    infer::KvSequence sequence(cache_);
    if (!sequence.reserve(window.size()))
      throw Error(ErrorCode::kResourceExhausted, "the window is longer than the model reads");
    std::vector<float> logits(window.size() * config_.vocab);
    for (size_t at = 0; at < window.size(); at += infer::Transformer::kChunk) {
      const size_t n = std::min(infer::Transformer::kChunk, window.size() - at);
      transformer_.forward(sequence, window.subspan(at, n), infer::SequenceChunk::Logits::kAll,
                           std::span(logits).subspan(at * config_.vocab, n * config_.vocab));
    }
    double total = 0;
    for (size_t t = 1; t < window.size(); ++t)
      total += surprise(std::span(logits).subspan((t - 1) * config_.vocab, config_.vocab), window[t]);
    sequence.discard();
    return total;
  }

 private:
  model::GgufFile file_;
  model::ModelConfig config_;
  ThreadPool pool_;
  infer::Weights weights_;
  infer::Transformer transformer_;
  infer::KvPool cache_;
};

/// Restricts the kernels to one instruction set.
void choose_target(const std::string& name) {
  for (const int64_t target : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON})  // tensor/simd.h
    if ((hwy::SupportedTargets() & target) != 0 && hwy::TargetName(target) == name)
      return hwy::SetSupportedTargetsForTest(target);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{} is not an instruction set of this processor", name));
}

int run(int argc, char** argv) {
  std::string path, ids_path, target;
  size_t window = 512;
  size_t threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app("Measures perplexity; example: perplexity_bench --model smol.gguf --tokens ids.txt");
  app.add_option("--model", path, "a GGUF file")->required();
  app.add_option("--tokens", ids_path, "token ids between white space")->required();
  app.add_option("--window", window, "tokens read together")->check(CLI::Range(2, 1 << 20));
  app.add_option("--threads", threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--target", target, "instruction set: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!target.empty()) choose_target(target);
    Model model(path, window, threads);
    const auto ids = read_ids(ids_path, model.vocabulary());
    double total = 0;
    size_t counted = 0;
    for (size_t at = 0; at + window <= ids.size(); at += window) {
      total += model.surprise_of(std::span(ids).subspan(at, window));
      counted += window - 1;
    }
    if (counted == 0)
      throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' has less than one window", ids_path));
    fmt::print("perplexity {:.5f} over {} tokens\n", std::exp(total / static_cast<double>(counted)), counted);
  } catch (const Error& e) {
    fmt::print(stderr, "perplexity_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
