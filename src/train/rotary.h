// Rotary positions of a micro-batch: tables of angles for every position that a sequence may have, and turning by them.
//
// Owned by a decoder; not thread-safe.
#pragma once

#include <cstddef>
#include <vector>

#include "model/config.h"
#include "tensor/ops.h"
#include "train/pass.h"

namespace fathom::train {

class Rotary {
 public:
  /// Everything outlives it.
  Rotary(const model::ModelConfig& config, const Parameters& parameters, const Shape& shape,
         tensor::DeviceOps& ops);

  /// Takes the memory of the tables.
  void place(Workspace& memory);
  /// Makes the tables if that has not been done: after the parameters were loaded, since some models bring factors.
  /// Errors: kCorrupt for a factor that is not positive.
  void prepare();
  /// Turns queries and keys of a layer, or with `inverse` gradients of them back. positions: [tokens], on the device.
  void turn(const Pass& pass, size_t layer, float* q, size_t q_stride, float* k, size_t kv_stride,
            const int32_t* positions, bool inverse) const;

 private:
  struct Tables {
    model::RopeConfig rope;
    float* keys = nullptr;     // [length, dims]
    float* queries = nullptr;  // the same but for models whose attention is sharper at far positions
  };

  void place(Tables& tables, const model::RopeConfig& rope, Workspace& memory) const;
  void fill(const Tables& tables, const tensor::RopeSpec& spec);
  std::vector<float> factors() const;

  const model::ModelConfig& config_;
  const Parameters& parameters_;
  const Shape& shape_;
  tensor::DeviceOps& ops_;
  Tables all_, windowed_;
  bool ready_ = false;
};

}  // namespace fathom::train
