// How fast products of activations, weights and gradients are (tensor/gemm.h), as a share of what the processor's multipliers
// give from registers: the shapes of training steps, in F32 and BF16.
//
//   gemm_bench [--threads 2] [--seconds 0.3] [--shapes 1024x768x768,...] [--target AVX2]
//
// A shape is m x n x k; three products of it stand in a row: forward (x W^T), the gradient of x (dy W) and that of W (dy^T x),
// where m is tokens, n outputs and k inputs. Then attention of 8192 tokens in sequences of several lengths, forward and
// backward (tensor/grad/attention.h), of which only products that the causal mask lets through count. The median of the
// calls that fit in --seconds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/buffer.h"
#include "tensor/gemm.h"
#include "tensor/grad/attention.h"
#include "tensor/instruction_set.h"
#include "tensor/limits.h"

namespace fathom {
namespace {

using tensor::GemmArgs;
using tensor::Precision;

struct Options {
  std::vector<std::string> shapes = {"2048x2048x2048", "4096x4096x4096", "1024x256x256",  "1024x768x256",
                                     "4096x768x768",   "4096x2304x768",  "4096x3072x768", "4096x768x3072",
                                     "8192x512x512",   "256x8192x256",   "256x32000x512", "256x50304x768",
                                     "50x512x512",     "300x512x512",    "1000x512x512"};
  std::vector<size_t> lengths = {256, 512, 1024, 2048};
  size_t heads = 12;
  size_t kv_heads = 12;
  size_t head_dim = 64;
  size_t threads = 2;
  double seconds = 0.3;
  std::string target;
};

struct Shape {
  size_t m = 0, n = 0, k = 0;
};

Shape parse(const std::string& text) {
  Shape s;
  if (std::sscanf(text.c_str(), "%zux%zux%zu", &s.m, &s.n, &s.k) != 3 || s.m * s.n * s.k == 0)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not a shape; write it as 1024x768x768", text));
  return s;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void fill(const tensor::Buffer& buffer, Random& random) {
  for (size_t i = 0; i < buffer.bytes() / sizeof(float); ++i)
    buffer.as<float>()[i] = static_cast<float>(random.uniform() - 0.5);
}

/// Seconds of a call, the median.
template <class Call>
double median_time(double seconds, const Call& call) {
  std::vector<double> times;
  const double stop = now() + seconds;
  do {
    const double start = now();
    call();
    times.push_back(now() - start);
  } while (now() < stop);
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

/// The three products of a layer with weights w [n, k].
class Layer {
 public:
  Layer(const Shape& s, ThreadPool& pool)
      : shape_(s),
        pool_(pool),
        x_(s.m * s.k * sizeof(float), true),
        w_(s.n * s.k * sizeof(float), true),
        y_(s.m * s.n * sizeof(float), true),
        scratch_(tensor::gemm_scratch_bytes(pool.size()), true) {
    Random random(3);
    for (const tensor::Buffer* b : {&x_, &w_, &y_}) fill(*b, random);
  }

  /// Operations a second, the median: forward, gradient of x, gradient of w.
  std::array<double, 3> rates(Precision precision, double seconds) const {
    const auto [m, n, k] = shape_;
    float* x = x_.as<float>();
    float* w = w_.as<float>();
    float* y = y_.as<float>();
    const GemmArgs forward{m, n, k, x, k, false, w, k, true, y, n, 1.0f, false, precision};
    const GemmArgs d_x{m, k, n, y, n, false, w, k, false, x, k, 1.0f, false, precision};
    const GemmArgs d_w{n, k, m, y, n, true, x, k, false, w, k, 1e-3f, false, precision};
    return {rate(forward, seconds), rate(d_x, seconds), rate(d_w, seconds)};
  }

 private:
  double rate(const GemmArgs& args, double seconds) const {
    const double time = median_time(seconds, [&] {
      tensor::gemm(args, pool_, {scratch_.as<std::byte>(), scratch_.bytes()});
    });
    return 2.0 * static_cast<double>(args.m * args.n * args.k) / time;
  }

  Shape shape_;
  ThreadPool& pool_;
  tensor::Buffer x_, w_, y_, scratch_;
};

/// Attention over sequences of one length.
class Attention {
 public:
  Attention(const tensor::AttentionShape& s, ThreadPool& pool)
      : shape_(s), pool_(pool), scratch_(tensor::attention_scratch_bytes(s, pool.size()), true) {
    Random random(4);
    const size_t queries = s.tokens() * s.heads * s.head_dim * sizeof(float);
    const size_t keys = s.tokens() * s.kv_heads * s.head_dim * sizeof(float);
    for (tensor::Buffer* b : {&q_, &out_, &d_out_, &dq_}) *b = tensor::Buffer(queries, true);
    for (tensor::Buffer* b : {&k_, &v_, &dk_, &dv_}) *b = tensor::Buffer(keys, true);
    log_sum_ = tensor::Buffer(s.heads * s.tokens() * sizeof(float));
    for (const tensor::Buffer* b : {&q_, &k_, &v_, &d_out_}) fill(*b, random);
  }

  /// Operations a second, the median: forward, backward, both.
  std::array<double, 3> rates(double seconds) const {
    const auto s = shape_;
    const size_t stride = s.heads * s.head_dim;
    const size_t kv_stride = s.kv_heads * s.head_dim;
    const std::span<std::byte> scratch{scratch_.as<std::byte>(), scratch_.bytes()};
    const tensor::AttentionForward forward{
        q_.as<float>(), stride,           k_.as<float>(), v_.as<float>(),
        kv_stride,      out_.as<float>(), stride,         log_sum_.as<float>()};
    const tensor::AttentionBackward backward{
        q_.as<float>(),     stride, k_.as<float>(),       v_.as<float>(),  kv_stride,       out_.as<float>(),
        d_out_.as<float>(), stride, log_sum_.as<float>(), dq_.as<float>(), dk_.as<float>(), dv_.as<float>()};
    const double there = median_time(seconds, [&] { tensor::attention_forward(s, forward, pool_, scratch); });
    const double back =
        median_time(seconds, [&] { tensor::attention_backward(s, backward, pool_, scratch); });
    // Two products forward, five backward.
    const double product = static_cast<double>(s.tokens() * (s.length + 1) * s.heads * s.head_dim);
    return {2 * product / there, 5 * product / back, 7 * product / (there + back)};
  }

 private:
  tensor::AttentionShape shape_;
  ThreadPool& pool_;
  tensor::Buffer scratch_, q_, k_, v_, out_, log_sum_, d_out_, dq_, dk_, dv_;
};

void measure_attention(const Options& o, ThreadPool& pool, double peak) {
  constexpr size_t kTokens = 8192;
  fmt::print("attention, {} heads of {}, {} of keys: forward, backward, both\n", o.heads, o.head_dim,
             o.kv_heads);
  for (const size_t length : o.lengths) {
    tensor::AttentionShape shape;
    shape.sequences = std::max<size_t>(1, kTokens / length);
    shape.length = length;
    shape.heads = o.heads;
    shape.kv_heads = o.kv_heads;
    shape.head_dim = o.head_dim;
    shape.scale = 0.125f;
    fmt::print("length {:<14}", length);
    for (const double rate : Attention(shape, pool).rates(o.seconds))
      fmt::print("{:6.0f}{:4.0f}%", rate / 1e9, 100 * rate / peak);
    fmt::print("\n");
  }
}

void measure(const Options& o) {
  ThreadPool pool(o.threads);
  const double peak = tensor::MachineLimits(pool).float_peak(0.5);
  fmt::print("{} threads, {}, peak of F32 {:.0f} Gop/s{}\n", o.threads,
             o.target.empty() ? tensor::instruction_set() : o.target, peak / 1e9,
             tensor::has_fast_bf16() ? ", with BF16 products" : "");
  fmt::print("{:<18}{:>36}{:>36}\n", "tokens x out x in", "F32: forward, dx, dw (% of peak)", "BF16");
  for (const auto& text : o.shapes) {
    const Layer layer(parse(text), pool);
    fmt::print("{:<18}", text);
    for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
      fmt::print("   ");
      for (const double rate : layer.rates(precision, o.seconds))
        fmt::print("{:6.0f}{:4.0f}%", rate / 1e9, 100 * rate / peak);
    }
    fmt::print("\n");
  }
  measure_attention(o, pool, peak);
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("Measures products of training; example: gemm_bench --shapes 1024x768x768 --threads 2");
  app.add_option("--shapes", o.shapes, "tokens x outputs x inputs")->delimiter(',');
  app.add_option("--lengths", o.lengths, "lengths of sequences for attention")->delimiter(',');
  app.add_option("--heads", o.heads, "heads of attention")->check(CLI::PositiveNumber);
  app.add_option("--kv-heads", o.kv_heads, "heads of keys; divides heads")->check(CLI::PositiveNumber);
  app.add_option("--head-dim", o.head_dim, "of attention")->check(CLI::PositiveNumber);
  app.add_option("--threads", o.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--seconds", o.seconds, "time for each figure")->check(CLI::PositiveNumber);
  app.add_option("--target", o.target, "instruction set: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!o.target.empty()) tensor::choose_instruction_set(o.target);
    measure(o);
  } catch (const Error& e) {
    fmt::print(stderr, "gemm_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
