// The keys and values of one sequence, for every layer, with the tokens they belong to.
//
// Memory is reserved at construction for `capacity` positions and becomes real as positions are filled. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "tensor/attention.h"
#include "tensor/buffer.h"

namespace fathom::infer {

class KvCache {
 public:
  /// Keys and values are kept in `dtype`, F16 or F32.
  KvCache(const model::ModelConfig& config, size_t capacity, tensor::DType dtype);

  /// Bytes that such a cache reserves.
  static size_t bytes(const model::ModelConfig& config, size_t capacity, tensor::DType dtype);

  const tensor::KvLayer& layer(size_t index) const { return layers_[index]; }
  size_t capacity() const { return capacity_; }

  /// The tokens whose keys and values are here, by position.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  /// How many leading tokens of `prompt` are here.
  size_t common_prefix(std::span<const int32_t> prompt) const;
  /// Forgets positions from `count` on.
  void truncate(size_t count);
  /// Takes over the first `count` positions of another cache of the same model, capacity and format.
  void copy_prefix(const KvCache& from, size_t count);
  /// Records that the positions after the last hold these tokens.
  void extend(std::span<const int32_t> tokens);

 private:
  size_t capacity_;
  tensor::Buffer memory_;
  std::vector<tensor::KvLayer> layers_;
  std::vector<int32_t> tokens_;
};

}  // namespace fathom::infer
