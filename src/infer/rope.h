// The rotary positions of a model: which angles its layers turn queries and keys by (model::RopeConfig).
//
// Owns what it computes once from the configuration. Immutable, so thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "infer/weights.h"
#include "model/config.h"
#include "tensor/ops.h"

namespace fathom::infer {

class Rope {
 public:
  /// `context`: positions that sequences may have; factors for contexts beyond the original one are chosen by it. `config`
  /// and the spans of `factors` outlive this.
  Rope(const model::ModelConfig& config, const RopeFactors& factors, size_t context);

  /// Floats that `angles` fills for one position.
  size_t floats() const;
  void angles(size_t position, float* out) const;
  /// Turns heads [count, head_dim] of a layer by the angles of a position, in place.
  void turn(size_t layer, const float* angles, float* heads, size_t count) const;

 private:
  const model::ModelConfig& config_;
  std::vector<float> llama3_;
  tensor::RopeSpec all_;
  tensor::RopeSpec windowed_;  // dims 0: as all
};

}  // namespace fathom::infer
