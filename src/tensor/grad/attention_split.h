// How attention of training is cut into blocks and shared out among threads, and what memory that takes. Plain values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/cut.h"
#include "tensor/device_ops.h"
#include "tensor/grad/attention.h"

namespace fathom::tensor {

constexpr size_t kQueries = 128;             // of a block of scores
constexpr size_t kKeys = 256;                // of a block of scores
constexpr size_t kScoreStride = kKeys + 16;  // so that rows do not meet in the same lines of the cache
constexpr size_t kWidest = 32;               // columns of a tile, whatever the target

/// How the work is shared out: `pairs` of a sequence and a head of keys, each cut into `parts` of its blocks of queries.
struct Split {
  Split(const AttentionShape& shape, size_t threads)
      : pairs(shape.sequences * shape.kv_heads),
        units(shape.heads / shape.kv_heads * div_up(shape.length, kQueries)) {
    while (pairs * parts % threads != 0 && pairs * parts < 4 * threads && parts < units) ++parts;
  }
  size_t pairs;
  size_t units;  // blocks of queries that meet the keys of a pair
  size_t parts = 1;
};

/// Floats of scratch: of each thread, and of the gradients of one part's keys and values.
struct ScratchSizes {
  explicit ScratchSizes(const AttentionShape& shape) {
    const size_t dim = div_up(shape.head_dim, kWidest) * kWidest;
    sequence = div_up(shape.length, kWidest) * kWidest * dim;
    // Rows that do not fill a tile take at most as much again.
    rows = 2 * kQueries * dim;
    thread = 3 * sequence + 5 * rows + 2 * kQueries * kScoreStride + 4 * kQueries;
    gradients = 2 * sequence;
  }
  size_t sequence = 0;
  size_t rows = 0;
  size_t thread = 0;
  size_t gradients = 0;
};

/// Gradients of keys and values that are kept at one time: of each thread, or of all parts until they are added up.
inline size_t slots(const Split& split, size_t threads) {
  return split.parts == 1 ? threads : split.pairs * split.parts;
}

/// Hands out pieces of scratch, each aligned to a vector.
class Pieces {
 public:
  explicit Pieces(float* at) : at_(at) {}
  float* take(size_t floats) {
    float* piece = at_;
    at_ += div_up(floats, 16) * 16;
    return piece;
  }

 private:
  float* at_;
};

/// task(i, thread) for each i of [0, count), by whichever thread is free: nothing depends on which.
template <class Task>
void share(ThreadPool& pool, size_t count, const Task& task) {
  std::atomic<size_t> next{0};
  pool.run([&](size_t thread) {
    for (size_t i = next++; i < count; i = next++) task(i, thread);
  });
}

/// The scratch of a call, once it is seen that the call may use it.
inline float* checked_scratch(const AttentionShape& shape, const ThreadPool& pool,
                              std::span<std::byte> scratch) {
  FATHOM_CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0 && shape.head_dim > 0);
  FATHOM_CHECK(scratch.size() >= attention_scratch_bytes(shape, pool.size()) &&
               reinterpret_cast<uintptr_t>(scratch.data()) % 64 == 0);
  return reinterpret_cast<float*>(scratch.data());
}

}  // namespace fathom::tensor
