#include "infer/rope.h"

#include "model/rope_spec.h"

namespace fathom::infer {

using model::RopeScaling;

Rope::Rope(const model::ModelConfig& config, const RopeFactors& factors, size_t context)
    : config_(config), all_(model::rope_spec(config.rope)) {
  const model::RopeConfig& rope = config.rope;
  all_.factors = factors.always;
  if (rope.scaling == RopeScaling::kLongRope)
    all_.factors = context > rope.original_context ? factors.beyond : factors.within;
  if (rope.scaling == RopeScaling::kLlama3) {
    llama3_ = model::llama3_rope_factors(rope);
    all_.factors = llama3_;
  }
  if (config.window_rope.dims != 0) windowed_ = model::rope_spec(config.window_rope);
}

size_t Rope::floats() const { return all_.dims + windowed_.dims; }

void Rope::angles(size_t position, float* out) const {
  tensor::rope_angles(position, all_, out);
  if (windowed_.dims != 0) tensor::rope_angles(position, windowed_, out + all_.dims);
}

void Rope::turn(size_t layer, const float* angles, float* heads, size_t count) const {
  const bool own = windowed_.dims != 0 && config_.windowed(layer);
  const model::RopeConfig& rope = config_.layer_rope(layer);
  tensor::rope(heads, count, config_.head_dim, rope.dims, rope.pairing == model::RopePairing::kHalves,
               own ? angles + all_.dims : angles);
}

}  // namespace fathom::infer
