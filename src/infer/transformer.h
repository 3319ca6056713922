// The forward pass of a decoder: tokens of several sequences in, logits out, keys and values kept.
//
// Walks the blocks that the ModelConfig describes (Touvron et al., 2023: RMSNorm, grouped-query attention with rotary
// positions, SwiGLU). Products run over the tokens of all sequences together; attention is each sequence's own
// (infer/attention_step.h). A token's logits depend on the tokens before it in its sequence alone, bit for bit, however
// they were split into calls and whatever else was computed with them, because every sum has a fixed order
// (tensor/matmul.h) and threads share out rows, never parts of a sum.
//
// Owns its scratch memory, allocated once; weights, pool and configuration are the caller's and outlive it. Not
// thread-safe; works on all threads of the pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "infer/activations.h"
#include "infer/attention_step.h"
#include "infer/kv_cache.h"
#include "infer/weights.h"
#include "model/config.h"

namespace fathom::infer {

class Transformer {
 public:
  /// Most tokens of one `forward`, of all sequences together.
  static constexpr size_t kChunk = 256;

  Transformer(const model::ModelConfig& config, const Weights& weights, size_t context, ThreadPool& pool);
  ~Transformer();

  /// Appends each chunk's tokens to its sequence. `logits`: [rows, vocab], the rows that the chunks want
  /// (SequenceChunk::logits), in their order. REQUIRES: at least one chunk, none empty, a sequence in one of them at most, no
  /// more than kChunk tokens together; each has pages for its tokens (KvSequence::reserve); ids are in the vocabulary.
  void forward(std::span<const SequenceChunk> chunks, std::span<float> logits);
  /// The same for a single sequence.
  void forward(KvSequence& kv, std::span<const int32_t> tokens, SequenceChunk::Logits wanted,
               std::span<float> logits);

 private:
  struct Team;  // scratch memory of one thread

  struct Product {
    const Linear* linear;
    float* y;  // [tokens, stride]
    size_t stride;
    bool add;
  };

  /// Fills activations with rows row(token, scratch) and gives each thread a share of the groups of `products`.
  template <class Row>
  void project(size_t tokens, size_t cols, Forms forms, Row row, std::span<const Product> products);
  /// The same for gate and up, followed by silu(gate) * up into gate.
  template <class Row>
  void project_gated(size_t tokens, const LayerWeights& w, Row row);
  /// Shares the groups [0, total) out: body(activations, begin, end).
  template <class Row, class Body>
  void share(size_t tokens, size_t cols, Forms forms, Row row, size_t total, Body body);

  void embed(std::span<const SequenceChunk> chunks);
  void attention(size_t layer, size_t tokens);
  void turn_and_store(size_t layer, size_t tokens);
  void feed_forward(const LayerWeights& w, size_t tokens);
  void output(std::span<const SequenceChunk> chunks, std::span<float> logits);

  const model::ModelConfig& config_;
  const Weights& weights_;
  ThreadPool& pool_;
  std::vector<std::unique_ptr<Team>> team_;
  Activations shared_;
  AttentionStep attention_;
  std::vector<size_t> wanted_;  // rows whose logits are
  tensor::Buffer memory_;
  float* x_;       // [kChunk, d_model], the residual stream
  float* q_;       // [kChunk, q_dim]
  float* k_;       // [kChunk, kv_dim]
  float* v_;       // [kChunk, kv_dim]
  float* mixed_;   // [kChunk, q_dim], attention's output
  float* gate_;    // [kChunk, ffn]
  float* up_;      // [kChunk, ffn]
  float* angles_;  // [kChunk, rope.dims]
};

}  // namespace fathom::infer
