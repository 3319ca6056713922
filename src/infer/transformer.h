// The forward pass of a decoder: tokens of several sequences in, logits out, keys and values kept.
//
// Walks the blocks that the ModelConfig describes (model/config.h says what each computes). Products run over the tokens of all sequences together; attention is each sequence's own
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
#include "base/work_shares.h"
#include "infer/activations.h"
#include "infer/attention_step.h"
#include "infer/kv_cache.h"
#include "infer/mixture.h"
#include "infer/rope.h"
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

  /// What is still to be added to the residual stream: `branch_`, or the experts of a block, or both; through a norm or not.
  struct Pending {
    const float* norm = nullptr;
    const LayerWeights* mixture = nullptr;

    bool any() const { return norm != nullptr || mixture != nullptr; }
  };

  /// Groups of one matrix, or of several of its width, one after another.
  struct Work {
    const tensor::PackedMatrix* first;
    size_t groups;
  };

  /// Fills activations with rows row(token, scratch) and shares the groups of `products` out.
  template <class Row>
  void project(size_t tokens, Forms forms, Row row, std::span<const Product> products);
  /// The same for gate and up, followed by act(gate) * up into gate.
  template <class Row>
  void project_gated(size_t tokens, const GatedWeights& w, Row row);
  /// Shares the groups of `work` out in pieces: body(activations, scratch, begin, end).
  template <class Row, class Body>
  void share(size_t tokens, Work work, Forms forms, Row row, Body body);
  /// Calls body(row), where row(token, scratch) is the residual stream at row `at(token)` with what was pending, normed.
  template <class At, class Body>
  void with_normed(size_t tokens, const float* weight, At at, Body body);

  /// Adds what is pending to a row of the residual stream.
  void join(const Pending& pending, size_t t);
  /// Adds y = matrix times rows to the residual stream, now or, where it is normed first, later.
  template <class Row>
  void project_branch(size_t tokens, const Linear& linear, const float* norm, Row row);

  void begin(std::span<const SequenceChunk> chunks, size_t tokens);
  void attention(size_t layer, size_t tokens);
  void turn_and_store(size_t layer, size_t tokens);
  void turn_and_store_row(size_t layer, size_t t);
  void feed_forward(const LayerWeights& w, size_t tokens);
  void mixture(const LayerWeights& w, size_t tokens);
  void output(std::span<const SequenceChunk> chunks, std::span<float> logits);

  const model::ModelConfig& config_;
  const Weights& weights_;
  ThreadPool& pool_;
  WorkShares shares_;
  std::vector<std::unique_ptr<Team>> team_;
  Activations shared_;
  AttentionStep attention_;
  Rope rope_;
  Mixture mixture_;
  GateFunction gate_function_;
  Pending pending_;
  std::vector<int32_t> tokens_;
  std::vector<size_t> wanted_;  // rows whose logits are
  tensor::Buffer memory_;
  float* x_;       // [kChunk, d_model], the residual stream
  float* branch_;  // [kChunk, d_model], a branch that is normed before it is added
  float* normed_;  // [kChunk, d_model], what experts are given
  float* q_;       // [kChunk, q_dim]
  float* k_;       // [kChunk, kv_dim]
  float* v_;       // [kChunk, kv_dim]
  float* mixed_;   // [kChunk, q_dim], attention's output
  float* gate_;    // [kChunk, ffn], where q_, mixed_, k_ and v_ are too
  float* angles_;  // [kChunk, rope_.floats()]
};

}  // namespace fathom::infer
