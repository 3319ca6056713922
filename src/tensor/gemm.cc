#include "tensor/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/error.h"
#include "tensor/cut.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/gemm.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/gemm-inl.h"

// What does not depend on the target, once.
#ifndef FATHOM_TENSOR_GEMM_CC_
#define FATHOM_TENSOR_GEMM_CC_
namespace fathom::tensor {

constexpr size_t kMostDepth = 512;      // words of one run of sums: a panel of a fits the L1 cache
constexpr size_t kRoundColumns = 2048;  // of b that are in panels at one time
constexpr size_t kRowGroup = 8;         // panels of a that a thread takes at once,
constexpr size_t kColGroup = 4;         // and of b: these fit the L2 cache
constexpr size_t kPackPanels = 4;       // that a thread packs at once,
constexpr size_t kPackDepths = 16;      // or words of all panels

/// Rows of a that are in panels at one time: enough work for every thread.
constexpr size_t round_rows(size_t threads) { return std::clamp<size_t>(512 * threads, 1024, 8192); }

// Words: rows that do not fill a panel, and the step of a panel, take at most as much again as the rows.
constexpr size_t row_words(size_t threads) { return 2 * round_rows(threads) * kMostDepth; }
constexpr size_t kColWords = kRoundColumns * kMostDepth;

/// One side of a product: `count` lines (rows of c for a, columns for b), each with the elements of the depth.
struct Side {
  const float* data = nullptr;
  size_t stride = 0;
  bool along = false;  // a line is contiguous; otherwise the lines of one depth are
  size_t count = 0;
  size_t depth = 0;   // elements
  size_t panels = 0;  // of all lines
  size_t step = 0;    // words from one depth of a panel to the next
  bool even = false;  // lines are shared out evenly among panels; otherwise each but the last is full

  size_t line(size_t panel) const { return even ? cut(count, panels, panel) : std::min(count, panel * step); }
};

/// Panels of one side that are packed: [block][panel][depth of a block][step].
struct Packed {
  Range panels;
  Range blocks;
  float* words = nullptr;

  bool holds(const Range& p, const Range& b) const {
    return panels.begin == p.begin && panels.end == p.end && blocks.begin == b.begin && blocks.end == b.end;
  }
};

}  // namespace fathom::tensor
#endif

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// A product cut into rounds, each of which packs some panels of both sides and then multiplies them.
template <class Words>
class Product {
 public:
  Product(const GemmArgs& args, ThreadPool& pool, float* scratch)
      : args_(args), pool_(pool), rows_words_(row_words(pool.size())) {
    rows_ = {args.a,   args.a_stride, !args.a_transposed, args.m, args.k, div_up(args.m, kTileRows),
             kRowStep, true};
    cols_ = {args.b,    args.b_stride, args.b_transposed, args.n, args.k, div_up(args.n, kTileCols),
             kTileCols, false};
    row_panels_.words = scratch;
    col_panels_.words = scratch + rows_words_;
    const size_t words = div_up(args.k, Words::kElements);
    blocks_ = div_up(words, kMostDepth);
    depth_ = div_up(words, blocks_);
  }

  void run() {
    const size_t row_rounds = div_up(rows_.panels, round_rows(pool_.size()) / kTileRows);
    const size_t col_rounds = div_up(cols_.panels, kRoundColumns / kTileCols);
    const size_t most_rows = div_up(rows_.panels, row_rounds);
    const size_t most_cols = div_up(cols_.panels, col_rounds);
    const size_t fit =
        std::min(rows_words_ / (most_rows * kRowStep * depth_), kColWords / (most_cols * kTileCols * depth_));
    const size_t depth_rounds = div_up(blocks_, std::max<size_t>(1, fit));
    for (size_t j = 0; j < col_rounds; ++j)
      for (size_t p = 0; p < depth_rounds; ++p)
        for (size_t i = 0; i < row_rounds; ++i)
          round({cut(rows_.panels, row_rounds, i), cut(rows_.panels, row_rounds, i + 1)},
                {cut(cols_.panels, col_rounds, j), cut(cols_.panels, col_rounds, j + 1)},
                {cut(blocks_, depth_rounds, p), cut(blocks_, depth_rounds, p + 1)});
  }

 private:
  void round(const Range& rows, const Range& cols, const Range& blocks) {
    const bool pack_rows = !row_panels_.holds(rows, blocks);
    const bool pack_cols = !col_panels_.holds(cols, blocks);
    row_panels_.panels = rows;
    col_panels_.panels = cols;
    row_panels_.blocks = col_panels_.blocks = blocks;
    const size_t row_tasks = pack_rows ? pack_tasks(rows_, row_panels_) : 0;
    const size_t col_tasks = pack_cols ? pack_tasks(cols_, col_panels_) : 0;
    share((row_tasks + col_tasks) * blocks.size(), [&](size_t i) HWY_ATTR {
      const size_t block = blocks.begin + i / (row_tasks + col_tasks);
      const size_t task = i % (row_tasks + col_tasks);
      if (task < row_tasks)
        pack(rows_, row_panels_, task, block);
      else
        pack(cols_, col_panels_, task - row_tasks, block);
    });
    multiply(rows, cols);
  }

  /// task(i) for each i of [0, count), by whichever thread is free: nothing depends on which.
  template <class Task>
  void share(size_t count, const Task& task) {
    constexpr size_t kLeast = size_t{1} << 19;  // products that are worth another thread
    std::atomic<size_t> next{0};
    const auto work = [&](size_t /*thread*/) {
      for (size_t i = next++; i < count; i = next++) task(i);
    };
    if (args_.m * args_.n * args_.k < kLeast || count == 1)
      work(0);
    else
      pool_.run(work);
  }

  size_t words_of(size_t block) const { return block_begin(block + 1) - block_begin(block); }
  size_t block_begin(size_t block) const {
    return std::min(block * depth_, div_up(args_.k, Words::kElements));
  }
  float* panel(const Side& side, const Packed& packed, size_t index, size_t block) const {
    return packed.words + ((block - packed.blocks.begin) * packed.panels.size() + index) * side.step * depth_;
  }

  /// Packing goes through memory in the order in which it lies: a task is a few panels of contiguous lines, or a few depths
  /// of all panels.
  size_t pack_tasks(const Side& side, const Packed& packed) const {
    return side.along ? div_up(packed.panels.size(), kPackPanels) : div_up(depth_, kPackDepths);
  }

  void pack(const Side& side, const Packed& packed, size_t task, size_t block) const {
    const size_t begin = block_begin(block) * Words::kElements;
    const size_t elements = std::min(side.depth, block_begin(block + 1) * Words::kElements) - begin;
    if (side.along) {
      const size_t end = std::min((task + 1) * kPackPanels, packed.panels.size());
      for (size_t i = task * kPackPanels; i < end; ++i) {
        const size_t line = side.line(packed.panels.begin + i);
        pack_along<Words>(side.data + line * side.stride + begin, side.stride,
                          side.line(packed.panels.begin + i + 1) - line, elements, side.step,
                          panel(side, packed, i, block));
      }
      return;
    }
    const size_t at = task * kPackDepths * Words::kElements;
    if (at >= elements) return;
    for (size_t i = 0; i < packed.panels.size(); ++i) {
      const size_t line = side.line(packed.panels.begin + i);
      pack_across<Words>(side.data + (begin + at) * side.stride + line, side.stride, side.count - line,
                         std::min(kPackDepths * Words::kElements, elements - at), side.step,
                         panel(side, packed, i, block) + task * kPackDepths * side.step);
    }
  }

  void multiply(const Range& rows, const Range& cols) {
    // Fewer columns at once where there would be too few tasks to share.
    const size_t row_groups = div_up(rows.size(), kRowGroup);
    size_t group = kColGroup;
    while (group > 1 && row_groups * div_up(cols.size(), group) < 8 * pool_.size()) group /= 2;
    const size_t col_groups = div_up(cols.size(), group);
    share(row_groups * col_groups, [&](size_t task) HWY_ATTR {
      const size_t r = task / col_groups;
      const size_t c = task % col_groups;
      multiply_group({cut(rows.size(), row_groups, r), cut(rows.size(), row_groups, r + 1)},
                     {c * group, std::min(cols.size(), (c + 1) * group)});
    });
  }

  void multiply_group(const Range& rows, const Range& cols) const {
    for (size_t block = row_panels_.blocks.begin; block < row_panels_.blocks.end; ++block)
      for (size_t i = rows.begin; i < rows.end;
           ++i)  // a panel of a stays in the L1 cache, those of b in the L2
        for (size_t j = cols.begin; j < cols.end; ++j) multiply_panels(i, j, block);
  }

  void multiply_panels(size_t i, size_t j, size_t block) const {
    const size_t row = rows_.line(row_panels_.panels.begin + i);
    const size_t col = cols_.line(col_panels_.panels.begin + j);
    Tile t;
    t.a = panel(rows_, row_panels_, i, block);
    t.b = panel(cols_, col_panels_, j, block);
    t.depth = words_of(block);
    t.c = args_.c + row * args_.c_stride + col;
    t.c_stride = args_.c_stride;
    t.cols = cols_.line(col_panels_.panels.begin + j + 1) - col;
    t.alpha = args_.alpha;
    t.add = args_.add || block > 0;
    kMultiplyTile<typename Words::Products>[rows_.line(row_panels_.panels.begin + i + 1) - row](t);
  }

  const GemmArgs& args_;
  ThreadPool& pool_;
  size_t rows_words_;
  Side rows_;
  Side cols_;
  Packed row_panels_;
  Packed col_panels_;
  size_t blocks_ = 0;  // of the depth
  size_t depth_ = 0;   // words of each but the last
};

void GemmF32(const GemmArgs& args, ThreadPool& pool, float* scratch) {
  Product<FloatWords>(args, pool, scratch).run();
}

void GemmBF16(const GemmArgs& args, ThreadPool& pool, float* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  if (__builtin_cpu_supports("avx512bf16")) return Product<PairWords>(args, pool, scratch).run();
#endif
  Product<RoundedWords>(args, pool, scratch).run();
}

bool HasFastBF16() {
#if HWY_TARGET == HWY_AVX3_DL
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

HWY_EXPORT(GemmF32);
HWY_EXPORT(GemmBF16);
HWY_EXPORT(HasFastBF16);

}  // namespace

bool has_fast_bf16() { return HWY_DYNAMIC_DISPATCH(HasFastBF16)(); }

size_t gemm_scratch_bytes(size_t threads) { return (row_words(threads) + kColWords) * sizeof(float); }

void gemm(const GemmArgs& args, ThreadPool& pool, std::span<std::byte> scratch) {
  FATHOM_CHECK(scratch.size() >= gemm_scratch_bytes(pool.size()) &&
               reinterpret_cast<uintptr_t>(scratch.data()) % 64 == 0);
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) return gemm_reference(args);
  auto* words = reinterpret_cast<float*>(scratch.data());
  if (args.precision == Precision::kBF16)
    HWY_DYNAMIC_DISPATCH(GemmBF16)(args, pool, words);
  else
    HWY_DYNAMIC_DISPATCH(GemmF32)(args, pool, words);
}

void gemm_reference(const GemmArgs& args) {
  const auto element = [&](const float* x, size_t index) {
    return args.precision == Precision::kBF16 ? bf16_to_f32(f32_to_bf16(x[index])) : x[index];
  };
  for (size_t i = 0; i < args.m; ++i) {
    for (size_t j = 0; j < args.n; ++j) {
      double sum = 0;
      for (size_t p = 0; p < args.k; ++p) {
        const float a = element(args.a, args.a_transposed ? p * args.a_stride + i : i * args.a_stride + p);
        const float b = element(args.b, args.b_transposed ? j * args.b_stride + p : p * args.b_stride + j);
        sum += static_cast<double>(a) * static_cast<double>(b);
      }
      float& c = args.c[i * args.c_stride + j];
      c = static_cast<float>(static_cast<double>(args.alpha) * sum +
                             (args.add ? static_cast<double>(c) : 0.0));
    }
  }
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
