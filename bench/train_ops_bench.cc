// How fast the operations of training are that are no products: gigabytes a second of what each must read and write, beside
// what the machine reads at most, on tensors that no cache holds; and with --rows few enough, on tensors that one does.
//
//   train_ops_bench [--rows 16384] [--columns 1024] [--vocab 32000] [--threads 2] [--seconds 0.3] [--only adamw,gate] [--target AVX2]
//
// The best call that fits in --seconds for each figure, which other programs on the machine disturb least. What a processor reads
// only because it writes a part of a cache line is not counted.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/cpu_ops.h"
#include "tensor/instruction_set.h"
#include "tensor/limits.h"

namespace fathom {
namespace {

using namespace tensor;

struct Options {
  size_t rows = 16384;
  size_t columns = 1024;
  size_t vocab = 32000;
  size_t threads = 2;
  double seconds = 0.3;
  std::vector<std::string> only;
  std::string target;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds of the best call.
double best_of(double budget, const std::function<void()>& call) {
  call();
  double best = 1e9;
  const double stop = now() + budget;
  do {
    const double start = now();
    call();
    best = std::min(best, now() - start);
  } while (now() < stop);
  return best;
}

/// What the operations work on: tensors [rows, columns] and what goes with them.
class Operands {
 public:
  Operands(DeviceOps& ops, size_t rows, size_t columns)
      : rows_(rows),
        columns_(columns),
        index_(ops.allocate(2 * rows)),
        vectors_(ops.allocate(2 * rows + columns)) {
    for (DeviceBuffer& t : tensors_) t = ops.allocate(rows * columns);
    Random random(1);
    for (DeviceBuffer& t : tensors_)
      for (float& v : t.span()) v = static_cast<float>(random.uniform()) + 0.1f;
    for (float& v : vectors_.span()) v = 1.0f;
    for (size_t i = 0; i < 2 * rows; ++i) index()[i] = static_cast<int32_t>(random.below(rows));
  }
  float* tensor(size_t i) { return tensors_[i].floats(); }
  float* per_row() { return vectors_.floats(); }
  float* per_column() { return vectors_.floats() + 2 * rows_; }
  int32_t* index() { return reinterpret_cast<int32_t*>(index_.floats()); }

 private:
  size_t rows_, columns_;
  DeviceBuffer tensors_[4];
  DeviceBuffer index_, vectors_;
};

struct Measured {
  const char* name;
  double reads, writes;  // floats of each element
  std::function<void()> call;
};

/// Over tensors [rows, n].
std::vector<Measured> row_operations(DeviceOps& ops, Operands& o, size_t rows, size_t n) {
  float* a = o.tensor(0);
  float* b = o.tensor(1);
  float* c = o.tensor(2);
  float* d = o.tensor(3);
  float* row = o.per_row();
  float* column = o.per_column();
  int32_t* index = o.index();
  const std::span<const int32_t> tokens(index, rows);
  const auto silu = GateActivation::kSilu;
  const size_t size = rows * n;
  return {
      {"fill", 0, 1, [=, &ops] { ops.fill(a, 1.0f, size); }},
      {"copy", 1, 1, [=, &ops] { ops.copy(a, b, size); }},
      {"add", 2, 1, [=, &ops] { ops.add(a, b, size); }},
      {"scale", 1, 1, [=, &ops] { ops.scale(a, 1.0f, size); }},
      {"sum_of_squares", 1, 0, [=, &ops] { ops.sum_of_squares(a, size); }},
      {"adamw", 4, 3, [=, &ops] { ops.adamw({.learning_rate = 1e-3f, .step = 9}, a, b, c, d, size); }},
      {"ema", 2, 1, [=, &ops] { ops.ema(a, 0.9f, b, size); }},
      {"add_bias", 1, 1, [=, &ops] { ops.add_bias(a, column, rows, n); }},
      {"bias_backward", 1, 0, [=, &ops] { ops.bias_backward(a, column, rows, n); }},
      {"rms_norm", 1, 1, [=, &ops] { ops.rms_norm(a, column, 1e-5f, b, row, rows, n); }},
      {"add_rms_norm", 2, 2, [=, &ops] { ops.add_rms_norm(a, b, column, 1e-5f, c, row, rows, n); }},
      {"rms_norm_backward", 2, 1,
       [=, &ops] { ops.rms_norm_backward(a, b, column, row, c, false, nullptr, rows, n); }},
      {"rms_norm_backward +=", 3, 1,
       [=, &ops] { ops.rms_norm_backward(a, b, column, row, c, true, column, rows, n); }},
      {"rope", 1, 1, [=, &ops] { ops.rope(a, n, rows, n / 64, 64, 64, true, b, index, false); }},
      {"gate", 2, 1, [=, &ops] { ops.gate(silu, a, b, n, c, rows, n); }},
      {"gate_backward", 3, 2, [=, &ops] { ops.gate_backward(silu, a, b, n, c, a, b, nullptr, rows, n); }},
      {"embed", 1, 1, [=, &ops] { ops.embed(a, tokens, 0, rows, n, 1.0f, b); }},
      {"embed_backward", 2, 1, [=, &ops] { ops.embed_backward(a, tokens, 0, rows, n, 1.0f, b); }},
      {"gather_rows", 1, 1, [=, &ops] { ops.gather_rows(a, index, row, rows, n, b); }},
      {"combine_rows (2)", 3, 1, [=, &ops] { ops.combine_rows(a, index, row, rows, 2, n, b); }},
      {"combine_rows_weights (2)", 3, 0,
       [=, &ops] { ops.combine_rows_weights(a, index, b, rows, 2, n, row); }},
  };
}

/// Over logits [rows, vocab] of the same size.
std::vector<Measured> loss_operations(DeviceOps& ops, Operands& o, const CrossEntropyShape& shape) {
  float* logits = o.tensor(0);
  const int32_t* targets = o.index();
  auto* parts = reinterpret_cast<SoftmaxPart*>(o.tensor(1));
  CrossEntropyShape capped = shape;
  capped.softcap = 30.0f;
  return {
      {"cross_entropy_part", 1, 0, [=, &ops] { ops.cross_entropy_part(shape, logits, targets, parts); }},
      {"cross_entropy_gradient", 1, 1,
       [=, &ops] { ops.cross_entropy_gradient(shape, logits, targets, parts); }},
      {"cross_entropy_part, capped", 1, 0,
       [=, &ops] { ops.cross_entropy_part(capped, logits, targets, parts); }},
      {"cross_entropy_gradient, capped", 1, 1,
       [=, &ops] { ops.cross_entropy_gradient(capped, logits, targets, parts); }},
  };
}

void print(const Options& o, const std::vector<Measured>& operations, size_t elements, double bandwidth) {
  for (const Measured& m : operations) {
    if (!o.only.empty() && std::ranges::find(o.only, m.name) == o.only.end()) continue;
    const double rate = static_cast<double>(elements) / best_of(o.seconds, m.call);
    const double bytes = rate * 4 * (m.reads + m.writes);
    fmt::print("{:<32}{:>10.2f}{:>10.1f}{:>9.0f} %\n", m.name, rate / 1e9, bytes / 1e9,
               100 * bytes / bandwidth);
  }
}

void measure(const Options& o) {
  ThreadPool pool(o.threads);
  const double bandwidth = MachineLimits(pool).read_bandwidth(std::max(1.0, o.seconds));
  const auto ops = make_cpu_ops(pool);
  Operands operands(*ops, o.rows, o.columns);
  const size_t loss_rows = std::max<size_t>(1, o.rows * o.columns / o.vocab);
  fmt::print("{} x {}, {} threads, {}; memory gives {:.1f} GB/s\n", o.rows, o.columns, o.threads,
             o.target.empty() ? "best instruction set" : o.target, bandwidth / 1e9);
  fmt::print("{:<32}{:>10}{:>10}{:>11}\n", "", "G/s", "GB/s", "of memory");
  print(o, row_operations(*ops, operands, o.rows, o.columns), o.rows * o.columns, bandwidth);
  if (loss_rows * o.vocab <= o.rows * o.columns && loss_rows <= 2 * o.rows)
    print(o, loss_operations(*ops, operands, {.rows = loss_rows, .vocab = o.vocab}), loss_rows * o.vocab,
          bandwidth);
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("Measures the operations of training; example: train_ops_bench --only adamw,gate --threads 1");
  app.add_option("--rows", o.rows, "rows of a tensor")->check(CLI::PositiveNumber);
  app.add_option("--columns", o.columns, "its columns, a multiple of 64")->check(CLI::PositiveNumber);
  app.add_option("--vocab", o.vocab, "columns of logits")->check(CLI::PositiveNumber);
  app.add_option("--threads", o.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--seconds", o.seconds, "time for each figure")->check(CLI::PositiveNumber);
  app.add_option("--only", o.only, "names of operations; without: all")->delimiter(',');
  app.add_option("--target", o.target, "instruction set: AVX3_DL, AVX3, AVX2, SSE4, NEON");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!o.target.empty()) choose_instruction_set(o.target);
    measure(o);
  } catch (const Error& e) {
    fmt::print(stderr, "train_ops_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
