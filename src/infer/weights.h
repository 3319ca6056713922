// A model's weights in memory, packed for the kernels; the file they came from is no longer needed.
//
// Matrices keep the file's format, packed (tensor/packed.h); norms, biases and tables are F32. Matrices that a file holds
// together (q, k and v; gate and up; all experts) are packed apart, those that it holds apart stay so: what follows sees
// one form of a model. Owned by value; immutable after loading, so thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "infer/adapter.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/buffer.h"
#include "tensor/packed.h"

namespace fathom::infer {

struct Linear {
  tensor::PackedMatrix matrix;  // [d_out, d_in]
  const float* bias = nullptr;  // [d_out], or none
};

/// A gated feed-forward: down (act(gate h) * up h).
struct GatedWeights {
  Linear gate, up, down;
};

/// One block; what the configuration has no use for is null or empty.
struct LayerWeights {
  const float* attention_norm = nullptr;
  Linear q, k, v, o;
  const float* q_norm = nullptr;               // [head_dim]
  const float* k_norm = nullptr;               // [head_dim]
  const float* attention_post_norm = nullptr;  // [d_model]
  const float* ffn_norm = nullptr;
  GatedWeights ffn;                  // the dense one
  const float* ffn_scale = nullptr;  // [d_model]: BesideExperts::kGatedDense
  Linear router;                     // [experts, d_model]
  std::vector<GatedWeights> experts;
  const float* ffn_post_norm = nullptr;  // [d_model]
};

/// Divisors of rotary frequencies, each [rope.dims / 2] or empty.
struct RopeFactors {
  std::span<const float> always;  // rope_freqs.weight
  std::span<const float> within;  // rope_factors_short.weight: contexts within the original one
  std::span<const float> beyond;  // rope_factors_long.weight
};

class Weights {
 public:
  /// Packs every tensor on all threads of `pool`. The tensors have been checked (ModelConfig::from_gguf). `mapped`: the
  /// file is a map of its own (GgufFile::open), whose pages are given back as they have been read. Tensors of `adapted`
  /// stand in for the file's.
  /// Errors: kCorrupt, naming the tensor, for a number that is not finite, and for a factor of positions that is not
  /// positive; kResourceExhausted.
  Weights(const model::ModelConfig& config, const model::GgufFile& file, bool mapped, ThreadPool& pool,
          const AdaptedTensors& adapted = {});

  const tensor::PackedMatrix& embedding() const { return embedding_; }  // [vocab, d_model]
  const tensor::PackedMatrix& output() const { return output_; }        // the same one when tied
  const float* output_norm() const { return output_norm_; }
  const RopeFactors& rope_factors() const { return rope_factors_; }
  const LayerWeights& layer(size_t index) const { return layers_[index]; }
  size_t bytes() const { return memory_.bytes(); }
  /// What keys and values are kept in: F32 where every matrix is, so that nothing is less precise than the weights; else
  /// F16.
  tensor::DType cache_dtype() const { return cache_dtype_; }

 private:
  class Loader;

  void lay_out(const model::ModelConfig& config, Loader& loader);

  tensor::Buffer memory_;
  tensor::PackedMatrix embedding_;
  tensor::PackedMatrix output_;
  const float* output_norm_ = nullptr;
  RopeFactors rope_factors_;
  std::vector<LayerWeights> layers_;
  tensor::DType cache_dtype_ = tensor::DType::kF16;
};

}  // namespace fathom::infer
