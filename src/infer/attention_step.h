// The attention of one layer over a batch of sequences, each with its own pages of keys and values.
//
// Rows of the batch are the tokens of all chunks, one chunk after another. Work is shared among the threads of the pool as
// (sequence, kv head, tile of tokens), the longest first; a single token's work is split within, by positions and by
// dimensions. A row's result depends on its own sequence alone, bit for bit (tensor/attention.h).
//
// Owns its scratch memory, allocated once. Not thread-safe but for `store`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "infer/kv_cache.h"
#include "tensor/attention.h"
#include "tensor/buffer.h"

namespace fathom::infer {

/// Tokens that one sequence goes on with in a step, and which of their logits are wanted.
struct SequenceChunk {
  enum class Logits : uint8_t { kNone, kLast, kAll };

  KvSequence* kv = nullptr;
  std::span<const int32_t> tokens;
  Logits logits = Logits::kLast;

  size_t logit_rows() const {
    return logits == Logits::kNone ? 0 : logits == Logits::kLast ? 1 : tokens.size();
  }
};

class AttentionStep {
 public:
  struct Shape {
    size_t heads = 0;
    size_t kv_heads = 0;
    size_t head_dim = 0;
  };

  /// For sequences of at most `context` positions and batches of at most `max_rows` rows.
  AttentionStep(const Shape& shape, size_t context, size_t max_rows, ThreadPool& pool);

  /// Lays out the work of a step; for all layers. REQUIRES: room was reserved (KvSequence::reserve), each sequence is in
  /// one chunk at most, every chunk has a token.
  void begin(std::span<const SequenceChunk> chunks);
  size_t rows() const { return rows_.size(); }
  /// The position of a row in its sequence.
  size_t position(size_t row) const { return rows_[row].position; }

  /// Keeps the key and value [kv_heads, head_dim] of a row. Rows may be stored by different threads.
  void store(size_t layer, size_t row, const float* k, const float* v) const;
  /// out [rows, heads, head_dim] from q [rows, heads, head_dim]. REQUIRES: all rows of the layer are stored.
  void attend(size_t layer, const tensor::AttentionRule& rule, const float* q, float* out);

 private:
  struct Row {
    KvSequence* kv;
    size_t position;
  };
  struct Tile {
    KvSequence* kv;
    size_t row;    // of the batch, the first one
    size_t count;  // of rows
    size_t first;  // position
  };

  void attend_tiles(size_t layer, const tensor::AttentionRule& rule, const float* q, float* out);
  void attend_single(size_t layer, const tensor::AttentionRule& rule, const float* q, float* out);
  size_t group() const { return shape_.heads / shape_.kv_heads; }
  size_t q_dim() const { return shape_.heads * shape_.head_dim; }
  float* scratch(size_t thread) const { return scratch_.as<float>() + thread * scratch_floats_; }

  Shape shape_;
  size_t context_;  // rounded up to whole pages
  ThreadPool& pool_;
  size_t tile_rows_;
  size_t scratch_floats_;  // of each thread
  tensor::Buffer scratch_;
  tensor::Buffer single_;  // queries [heads, head_dim] and scores [heads, context] of a single token
  std::vector<Row> rows_;
  std::vector<Tile> tiles_;
};

}  // namespace fathom::infer
