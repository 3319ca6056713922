// The encoder of a BERT-family model: token ids to one vector a text (Devlin et al., 2019). Post-norm blocks with biases,
// GELU with erf, learned positions, every token sees every other of its text.
//
// Texts of a batch lie one after another without padding. Products are spread over the pool in pieces of rows and of
// groups, attention in pieces of a text and a head; a text's result does not depend on its batch or the number of threads.
//
// Ownership: owns its weights; the pool is the caller's. Not thread-safe: one `run` at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "infer/activations.h"
#include "infer/weights.h"
#include "model/gguf.h"
#include "tensor/buffer.h"

namespace fathom::infer {

enum class Pooling { kMean, kFirst, kLast };

/// The sizes of a GGUF file of architecture "bert", checked against its tensors.
struct EncoderConfig {
  size_t layers = 0;
  size_t d_model = 0;
  size_t heads = 0;
  size_t ffn = 0;
  size_t context = 0;     // tokens of a text
  size_t vocabulary = 0;  // rows of the embedding matrix
  float epsilon = 1e-12f;
  Pooling pooling = Pooling::kMean;
  bool fused_qkv = false;

  /// Errors: kUnsupported (another architecture or pooling), kCorrupt (a size that makes no sense, or a tensor that is
  /// missing or of another shape: named).
  static EncoderConfig from_gguf(const model::GgufFile& file);
};

class Encoder {
 public:
  /// Tokens of a batch, where the context is not longer.
  static constexpr size_t kBatchTokens = 1024;

  /// Errors: kCorrupt, naming the tensor, for a number that is not finite; kResourceExhausted.
  Encoder(const EncoderConfig& config, const model::GgufFile& file, ThreadPool& pool);

  const EncoderConfig& config() const { return config_; }

  /// out: [texts.size(), d_model], pooled, not normalised to length 1. REQUIRES: each text has 1 to `context` ids in
  /// [0, vocabulary); together at most batch_capacity().
  void run(std::span<const std::vector<int32_t>> texts, float* out);
  size_t batch_capacity() const { return capacity_; }

 private:
  struct Norm {
    const float* weight = nullptr;
    const float* bias = nullptr;
  };
  struct Layer {
    Linear q, k, v, o, up, down;
    Norm attention_norm, output_norm;
  };
  /// A product of all rows of the activations: y += w x, where y begins as what is added.
  struct Product {
    const Linear* linear;
    float* y;  // [tokens, rows]
  };
  class Loader;

  void lay_out(Loader& loader);
  void embed(std::span<const std::vector<int32_t>> texts);
  void run_layer(const Layer& layer);
  void multiply(std::span<const Product> products);
  void attend();
  void attend_head(size_t text, size_t head, float* scratch) const;
  void pool_text(size_t text, float* out) const;
  void set_rows(Forms forms, size_t cols, const float* rows);
  size_t scratch_floats() const;
  template <class Body>
  void each_row(Body body);

  EncoderConfig config_;
  ThreadPool& pool_;
  size_t capacity_;
  tensor::Buffer memory_;  // weights
  tensor::PackedMatrix tokens_embedding_;
  const float* positions_ = nullptr;  // [context, d_model]
  const float* type_ = nullptr;       // [d_model]: of the first type
  Norm embedding_norm_;
  std::vector<Layer> layers_;

  Activations activations_;
  tensor::Buffer work_;     // x, y, q, k, v: [capacity, d_model] each; h: [capacity, ffn]
  tensor::Buffer scratch_;  // of attention, a part a thread
  float *x_, *y_, *q_, *k_, *v_, *h_;
  std::vector<size_t> starts_;  // of each text, and the end of the last
  size_t rows_ = 0;
};

}  // namespace fathom::infer
