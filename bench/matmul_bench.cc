// How fast products of packed weights are, by format and number of tokens: billions of operations a second (two a product)
// and gigabytes of weights a second, on weights that no cache holds.
//
//   matmul_bench [--rows 2048] [--cols 2048] [--tokens 1,2,4,8,16,512] [--formats Q4_0,Q8_0] [--threads 1] [--target AVX2]
//
// The best of the products that fit in --seconds for each figure, which other programs on the machine disturb least; with one
// thread its processor time counts.
#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/buffer.h"
#include "tensor/instruction_set.h"
#include "tensor/matmul.h"
#include "tensor/matmul_k.h"
#include "tensor/packed.h"

namespace fathom {
namespace {

using tensor::DType;

struct Options {
  size_t rows = 2048;
  size_t cols = 2048;
  size_t megabytes = 96;  // of weights that a pass walks through
  std::vector<size_t> tokens = {1, 2, 4, 8, 16, 512};
  std::vector<std::string> formats;
  size_t threads = 1;
  double seconds = 0.4;
  std::string target;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Of this thread: what other programs take does not count.
double processor_time() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Several matrices of one shape, one after another.
class Weights {
 public:
  Weights(const Options& o, DType dtype)
      : each_(tensor::packed_bytes(dtype, o.rows, o.cols)),
        count_(std::max<size_t>(1, (o.megabytes << 20) / each_)),
        memory_(each_ * count_, true) {
    Random random(1);
    const size_t row_bytes = tensor::row_bytes(dtype, o.cols);
    std::vector<std::byte> stored(o.rows * row_bytes);
    std::vector<float> row(o.cols);
    for (size_t r = 0; r < o.rows; ++r) {
      for (float& v : row) v = static_cast<float>(random.normal() * 0.1);
      tensor::quantize_row(dtype, row.data(), stored.data() + r * row_bytes, o.cols);
    }
    for (size_t i = 0; i < count_; ++i) {
      auto* packed = memory_.as<std::byte>() + i * each_;
      matrices_.push_back({dtype, o.rows, o.cols, tensor::packed_group_bytes(dtype, o.cols), packed});
      tensor::pack_groups(dtype, stored.data(), o.rows, o.cols, 0, matrices_[0].groups(), packed);
    }
  }

  const std::vector<tensor::PackedMatrix>& matrices() const { return matrices_; }
  double bytes_each() const { return static_cast<double>(each_); }

 private:
  size_t each_;
  size_t count_;
  tensor::Buffer memory_;
  std::vector<tensor::PackedMatrix> matrices_;
};

/// Activations of all forms.
struct Inputs {
  Inputs(size_t tokens, size_t cols)
      : x(tokens * cols), q(x.size()), scale(x.size() / 32), scaled_sum(scale.size()), sum(scale.size()) {
    Random random(2);
    for (float& v : x) v = static_cast<float>(random.normal());
    rows = {tokens, cols, q.data(), scale.data(), scaled_sum.data(), sum.data()};
    for (size_t t = 0; t < tokens; ++t) tensor::quantise_row_q8(x.data() + t * cols, rows, t);
    sums.resize(x.size() / tensor::kSuperBlock * tensor::Q8KRows::kSums);
    k_q.resize(x.size());
    k_scale.resize(x.size() / tensor::kSuperBlock);
    k_rows = {tokens, cols, k_q.data(), k_scale.data(), sums.data()};
    for (size_t t = 0; t < tokens && cols % tensor::kSuperBlock == 0; ++t)
      tensor::quantise_row_q8k(x.data() + t * cols, k_rows, t);
  }
  std::vector<float> x;
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> sum;
  tensor::Q8Rows rows;
  std::vector<int8_t> k_q;
  std::vector<float> k_scale;
  std::vector<int16_t> sums;
  tensor::Q8KRows k_rows;
};

void multiply(const tensor::PackedMatrix& w, const Inputs& in, size_t tokens, size_t begin, size_t end,
              float* y) {
  if (tensor::activation_form(w.dtype) == tensor::ActivationForm::kQ8)
    tensor::matmul_q8(w, in.rows, begin, end, {y, w.rows, false});
  else if (tensor::activation_form(w.dtype) == tensor::ActivationForm::kQ8K)
    tensor::matmul_q8k(w, in.k_rows, begin, end, {y, w.rows, false});
  else
    tensor::matmul_float(w, in.x.data(), w.cols, tokens, begin, end, {y, w.rows, false});
}

/// Seconds of the best product with one matrix, of walks over all of them.
double best_product(const Weights& weights, const Inputs& in, size_t tokens, double budget,
                    ThreadPool& pool) {
  std::vector<float> y(tokens * weights.matrices()[0].rows);
  double best = 1e9;
  const double stop = now() + budget;
  do {
    for (const auto& w : weights.matrices()) {
      const double start = pool.size() == 1 ? processor_time() : now();
      pool.parallel_for(w.groups(), 1,
                        [&](size_t begin, size_t end) { multiply(w, in, tokens, begin, end, y.data()); });
      best = std::min(best, (pool.size() == 1 ? processor_time() : now()) - start);
    }
  } while (now() < stop);
  return best;
}

void measure(const Options& o, const std::vector<DType>& formats) {
  ThreadPool pool(o.threads);
  fmt::print("{} x {}, {} threads, {}\n{:<8}", o.rows, o.cols, o.threads,
             o.target.empty() ? "best instruction set" : o.target, "tokens");
  for (const size_t tokens : o.tokens) fmt::print("{:>17}", tokens);
  fmt::print("   Gop/s (GB/s)\n");
  for (const DType dtype : formats) {
    const Weights weights(o, dtype);
    fmt::print("{:<8}", tensor::name(dtype));
    for (const size_t tokens : o.tokens) {
      const Inputs in(tokens, o.cols);
      const double seconds = best_product(weights, in, tokens, o.seconds, pool);
      const double operations = 2.0 * static_cast<double>(o.rows * o.cols * tokens);
      fmt::print("{:>9.1f} ({:5.1f})", operations / seconds / 1e9, weights.bytes_each() / seconds / 1e9);
    }
    fmt::print("\n");
  }
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app(
      "Measures products of packed weights; example: matmul_bench --formats Q4_0,Q8_0 --target AVX2");
  app.add_option("--rows", o.rows, "rows of a matrix")->check(CLI::PositiveNumber);
  app.add_option("--cols", o.cols, "columns, a multiple of 256")->check(CLI::PositiveNumber);
  app.add_option("--megabytes", o.megabytes, "weights that a pass walks through")->check(CLI::PositiveNumber);
  app.add_option("--tokens", o.tokens, "tokens multiplied together")->delimiter(',');
  app.add_option("--formats", o.formats, "formats; without: all")->delimiter(',');
  app.add_option("--threads", o.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--seconds", o.seconds, "time for each figure")->check(CLI::PositiveNumber);
  app.add_option("--target", o.target, "instruction set: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!o.target.empty()) tensor::choose_instruction_set(o.target);
    std::vector<DType> formats;
    for (const auto& name : o.formats) {
      const auto dtype = tensor::dtype_from_name(name);
      if (!dtype) throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is not a format", name));
      formats.push_back(*dtype);
    }
    if (formats.empty()) formats.assign(std::begin(tensor::kAllDTypes), std::end(tensor::kAllDTypes));
    measure(o, formats);
  } catch (const Error& e) {
    fmt::print(stderr, "matmul_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
