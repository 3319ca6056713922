// What is measured on this machine: products, memory, loops of the pool and files.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "cluster/calibrate.h"
#include "tensor/buffer.h"
#include "tensor/gemm.h"
#include "tensor/grad/attention.h"
#include "tensor/instruction_set.h"
#include "tensor/limits.h"

namespace fathom::cluster {
namespace {

constexpr size_t kCopyBytes = size_t{64} << 20;
constexpr size_t kFreshBytes = size_t{16} << 20, kBucketBytes = size_t{4} << 20;
constexpr size_t kFilePiece = size_t{4} << 20;

/// m, n, k: products of training steps of small models: forward, then gradients of weights (k: tokens), then thin ones.
constexpr std::array<std::array<uint32_t, 3>, 14> kShapes{{{1024, 256, 256},
                                                           {4096, 768, 256},
                                                           {2048, 1024, 256},
                                                           {2048, 256, 1024},
                                                           {1024, 768, 768},
                                                           {1024, 2048, 768},
                                                           {512, 2048, 2048},
                                                           {256, 8192, 256},
                                                           {256, 256, 4096},
                                                           {1024, 256, 2048},
                                                           {768, 768, 1024},
                                                           {64, 1024, 256},
                                                           {128, 512, 512},
                                                           {32, 2048, 512}}};
/// sequences, heads, head_dim, length
constexpr std::array<std::array<uint32_t, 4>, 4> kAttention{
    {{8, 8, 32, 256}, {4, 8, 64, 256}, {2, 4, 64, 1024}, {1, 4, 64, 2048}}};

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

double time_gemm(ThreadPool& pool, const std::array<uint32_t, 3>& shape, tensor::Precision precision,
                 const std::function<double()>& seconds, double budget) {
  const size_t m = shape[0], n = shape[1], k = shape[2];
  const std::vector<float> a(m * k, 0.5f), b(n * k, 0.01f);
  std::vector<float> c(m * n);
  const tensor::Buffer scratch(tensor::gemm_scratch_bytes(pool.size()));
  const tensor::GemmArgs args{.m = m,
                              .n = n,
                              .k = k,
                              .a = a.data(),
                              .a_stride = k,
                              .b = b.data(),
                              .b_stride = k,
                              .b_transposed = true,
                              .c = c.data(),
                              .c_stride = n,
                              .precision = precision};
  return fastest(seconds, budget, [&] {
    tensor::gemm(args, pool, {scratch.as<std::byte>(), scratch.bytes()});
  });
}

AttentionSample time_attention(ThreadPool& pool, const std::array<uint32_t, 4>& size,
                               const std::function<double()>& seconds, double budget) {
  AttentionSample out{.batch = size[0], .heads = size[1], .head_dim = size[2], .length = size[3]};
  tensor::AttentionShape shape;
  shape.sequences = out.batch;
  shape.length = out.length;
  shape.heads = shape.kv_heads = out.heads;
  shape.head_dim = out.head_dim;
  shape.scale = 0.1f;
  const size_t stride = size_t{out.heads} * out.head_dim, floats = shape.tokens() * stride;
  const std::vector<float> q(floats, 0.1f), k(floats, 0.2f), v(floats, 0.3f);
  std::vector<float> y(floats), dq(floats), dk(floats), dv(floats), log_sum(shape.tokens() * out.heads);
  const tensor::Buffer scratch(tensor::attention_scratch_bytes(shape, pool.size()));
  const std::span<std::byte> room{scratch.as<std::byte>(), scratch.bytes()};
  const tensor::AttentionForward forward{q.data(), stride,   k.data(), v.data(),
                                         stride,   y.data(), stride,   log_sum.data()};
  out.forward_s = fastest(seconds, budget, [&] { tensor::attention_forward(shape, forward, pool, room); });
  const tensor::AttentionBackward backward{q.data(), stride, k.data(),       v.data(),  stride,    y.data(),
                                           y.data(), stride, log_sum.data(), dq.data(), dk.data(), dv.data()};
  out.backward_s = fastest(seconds, budget, [&] { tensor::attention_backward(shape, backward, pool, room); });
  return out;
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

/// Seconds of a byte that was given back to the system, beyond those of one that was not: in buckets of gradients, which
/// do not begin where the system's large pages do.
double time_fresh_memory(const std::function<double()>& seconds, double budget) {
  const tensor::Buffer memory(kFreshBytes + kBucketBytes, true);
  std::byte* bytes = memory.as<std::byte>() + kBucketBytes / 4;
  auto* values = reinterpret_cast<float*>(bytes);
  const auto touch = [&] {  // read, then written, as what is added to is: twice a fault
    for (size_t i = 0; i < kFreshBytes / sizeof(float); ++i) values[i] += 1;
  };
  const double warm = fastest(seconds, budget / 2, touch);
  const double fresh = fastest(seconds, budget / 2, [&] {
    for (size_t at = 0; at < kFreshBytes; at += kBucketBytes) tensor::Buffer::empty(bytes + at, kBucketBytes);
    touch();
  });
  return std::max(0.0, fresh - warm) / static_cast<double>(kFreshBytes);
}

/// What one rank can do while the others do the same.
Measurements measure_rank(const MeasureOptions& options, const std::function<double()>& seconds,
                          const std::function<void(double)>& progress) {
  const double steps = static_cast<double>(kShapes.size() + kAttention.size()) + 4;
  double done = 0;
  const auto step = [&] {
    if (progress) progress(++done / steps);
  };
  ThreadPool pool(options.threads);
  Measurements out;
  {
    tensor::MachineLimits limits(pool);
    out.float_peak = limits.float_peak(options.seconds);
    step();
    out.read_bytes_per_s = limits.read_bandwidth(options.seconds);
    step();
  }
  out.copy_bytes_per_s = 2.0 * kCopyBytes / time_copy(pool, seconds, options.seconds);
  out.fresh_s_per_byte = time_fresh_memory(seconds, options.seconds);
  out.kernel_launch_s = fastest(seconds, options.seconds / 2, [&] { pool.run([](size_t) {}); });
  step();
  for (const auto& shape : kShapes) {
    out.gemm.push_back({shape[0], shape[1], shape[2],
                        time_gemm(pool, shape, tensor::Precision::kF32, seconds, options.seconds / 2)});
    if (tensor::has_fast_bf16())
      out.gemm.back().bf16_seconds =
          time_gemm(pool, shape, tensor::Precision::kBF16, seconds, options.seconds / 2);
    step();
  }
  for (const auto& size : kAttention) {
    out.attention.push_back(time_attention(pool, size, seconds, options.seconds / 2));
    step();
  }
  return out;
}

/// Of all ranks: rates add up, and each product counts as one of as many that are done meanwhile.
void add_rank(const Measurements& rank, double ranks, Measurements& out) {
  const double share =
      1 / (ranks * ranks);  // the mean over the ranks, of the time that one of them would take by all
  out.float_peak += rank.float_peak;
  out.read_bytes_per_s += rank.read_bytes_per_s;
  out.copy_bytes_per_s += rank.copy_bytes_per_s;
  out.fresh_s_per_byte += rank.fresh_s_per_byte / ranks;
  out.kernel_launch_s += rank.kernel_launch_s / ranks;
  out.gemm.resize(rank.gemm.size());
  for (size_t i = 0; i < rank.gemm.size(); ++i) {
    GemmSample& sum = out.gemm[i];
    const GemmSample& own = rank.gemm[i];
    sum = {own.m, own.n, own.k, sum.seconds + share * own.seconds,
           sum.bf16_seconds + share * own.bf16_seconds};
  }
  out.attention.resize(rank.attention.size());
  for (size_t i = 0; i < rank.attention.size(); ++i) {
    AttentionSample sum = rank.attention[i];
    sum.forward_s = out.attention[i].forward_s + share * sum.forward_s;
    sum.backward_s = out.attention[i].backward_s + share * sum.backward_s;
    out.attention[i] = sum;
  }
}

}  // namespace

Measurements measure_machine(const MeasureOptions& options, const std::function<double()>& seconds,
                             const std::function<void(double)>& progress) {
  Measurements out;
  out.processor = processor_name();
  out.instruction_set = tensor::instruction_set();
  out.ranks = std::max(1u, options.ranks);
  out.threads = out.ranks * std::max(1u, options.threads);
  ThreadPool ranks(out.ranks);
  std::vector<Measurements> each(out.ranks);
  std::vector<std::exception_ptr> failed(out.ranks);  // a pool's loop does not throw
  ranks.run([&](size_t rank) {
    try {
      each[rank] = measure_rank(options, seconds, rank == 0 ? progress : std::function<void(double)>());
    } catch (...) {
      failed[rank] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : failed)
    if (error) std::rethrow_exception(error);
  for (const Measurements& rank : each) add_rank(rank, out.ranks, out);
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGE_SIZE);
  out.memory_bytes = pages > 0 && page > 0 ? static_cast<double>(pages) * static_cast<double>(page) : 1 << 30;
  measure_files(options, seconds, out);
  if (progress) progress(1);
  return out;
}

}  // namespace fathom::cluster
