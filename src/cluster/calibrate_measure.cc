// What is measured on this machine: products, memory, loops of the pool and files.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cluster/calibrate.h"
#include "tensor/buffer.h"
#include "tensor/instruction_set.h"
#include "tensor/limits.h"
#include "tensor/matmul.h"
#include "tensor/packed.h"

namespace fathom::cluster {
namespace {

constexpr size_t kCopyBytes = size_t{64} << 20;
constexpr size_t kFilePiece = size_t{4} << 20;

/// m, n, k: the shapes of layers of small models, from what fits the caches to what does not, and thin ones.
constexpr std::array<std::array<uint32_t, 3>, 14> kShapes{{{64, 256, 256},
                                                           {256, 256, 256},
                                                           {1024, 256, 256},
                                                           {64, 1024, 256},
                                                           {256, 1024, 256},
                                                           {256, 256, 1024},
                                                           {64, 512, 512},
                                                           {512, 512, 512},
                                                           {128, 2048, 512},
                                                           {128, 512, 2048},
                                                           {64, 1024, 1024},
                                                           {256, 1024, 1024},
                                                           {64, 2048, 2048},
                                                           {512, 64, 512}}};

/// Seconds of the fastest pass among those that fit into `budget`.
template <class Work>
double fastest(const std::function<double()>& seconds, double budget, Work work) {
  work();  // touches memory, wakes threads
  double best = 1e30;
  const double stop = seconds() + budget;
  do {
    const double start = seconds();
    work();
    best = std::min(best, seconds() - start);
  } while (seconds() < stop);
  return std::max(best, 1e-9);
}

double time_gemm(ThreadPool& pool, const std::array<uint32_t, 3>& shape,
                 const std::function<double()>& seconds, double budget) {
  const uint32_t m = shape[0], n = shape[1], k = shape[2];
  const std::vector<float> rows(size_t{n} * k, 0.01f);
  const tensor::Buffer packed(tensor::packed_bytes(tensor::DType::kF32, n, k));
  tensor::PackedMatrix matrix{.dtype = tensor::DType::kF32,
                              .rows = n,
                              .cols = k,
                              .group_bytes = tensor::packed_group_bytes(tensor::DType::kF32, k),
                              .data = packed.as<std::byte>()};
  tensor::pack_groups(tensor::DType::kF32, reinterpret_cast<const std::byte*>(rows.data()), n, k, 0,
                      matrix.groups(), packed.as<std::byte>());
  const std::vector<float> x(size_t{m} * k, 0.5f);
  std::vector<float> y(size_t{m} * n);
  return fastest(seconds, budget, [&] {
    pool.parallel_for(matrix.groups(), 1, [&](size_t begin, size_t end) {
      tensor::matmul_float(matrix, x.data(), k, m, begin, end, {.y = y.data(), .stride = n, .add = false});
    });
  });
}

double time_copy(ThreadPool& pool, const std::function<double()>& seconds, double budget) {
  const tensor::Buffer from(kCopyBytes, true), to(kCopyBytes, true);
  std::memset(from.as<std::byte>(), 1, kCopyBytes);
  return fastest(seconds, budget, [&] {
    pool.parallel_for(kCopyBytes, 4096, [&](size_t begin, size_t end) {
      std::memcpy(to.as<std::byte>() + begin, from.as<std::byte>() + begin, end - begin);
    });
  });
}

void measure_files(const MeasureOptions& options, const std::function<double()>& seconds, Measurements& out) {
  const std::filesystem::path path = options.folder / "fathom-calibrate.bin";
  std::string piece(kFilePiece, '\0');
  for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>(i * 2654435761u >> 13);
  const size_t pieces = std::max<size_t>(1, options.file_bytes / kFilePiece);
  struct Removed {  // whatever happens
    std::filesystem::path path;
    ~Removed() {
      std::error_code ignored;
      std::filesystem::remove(path, ignored);
    }
  } const removed{path};
  double start = seconds();
  {
    AtomicFile file(path);
    for (size_t i = 0; i < pieces; ++i) file.write(piece);
    file.commit();
  }
  const double bytes = static_cast<double>(pieces * kFilePiece);
  out.write_bytes_per_s = bytes / std::max(seconds() - start, 1e-9);
  start = seconds();
  std::ifstream in(path, std::ios::binary);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size()))) {
  }
  out.file_read_bytes_per_s = bytes / std::max(seconds() - start, 1e-9);
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(':') != std::string::npos)
      return std::string(trim(line.substr(line.find(':') + 1)));
  return "processor";
}

}  // namespace

Measurements measure_machine(ThreadPool& pool, const MeasureOptions& options,
                             const std::function<double()>& seconds,
                             const std::function<void(double)>& progress) {
  const double steps = static_cast<double>(kShapes.size()) + 4;
  double done = 0;
  const auto step = [&] {
    if (progress) progress(++done / steps);
  };
  Measurements out;
  out.processor = processor_name();
  out.instruction_set = tensor::instruction_set();
  out.threads = static_cast<uint32_t>(pool.size());
  out.ranks = std::max(1u, options.ranks);
  {
    tensor::MachineLimits limits(pool);
    out.float_peak = limits.float_peak(options.seconds);
    step();
    out.read_bytes_per_s = limits.read_bandwidth(options.seconds);
    step();
  }
  out.copy_bytes_per_s = 2.0 * kCopyBytes / time_copy(pool, seconds, options.seconds);
  out.kernel_launch_s = fastest(seconds, options.seconds / 2, [&] { pool.run([](size_t) {}); });
  step();
  for (const auto& shape : kShapes) {
    out.gemm.push_back({shape[0], shape[1], shape[2], time_gemm(pool, shape, seconds, options.seconds)});
    step();
  }
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGE_SIZE);
  out.memory_bytes = pages > 0 && page > 0 ? static_cast<double>(pages) * static_cast<double>(page) : 1 << 30;
  measure_files(options, seconds, out);
  step();
  return out;
}

}  // namespace fathom::cluster
