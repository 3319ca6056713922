#include "model/rope_spec.h"

namespace fathom::model {

tensor::RopeSpec rope_spec(const RopeConfig& rope) {
  tensor::RopeSpec spec;
  spec.dims = rope.dims;
  spec.base = rope.base;
  spec.magnitude = rope.attention_factor;
  if (rope.scaling == RopeScaling::kLinear || rope.scaling == RopeScaling::kYarn) spec.scale = rope.scale;
  if (rope.scaling == RopeScaling::kYarn)
    spec.set_yarn(rope.extrapolation, rope.original_context, rope.beta_fast, rope.beta_slow);
  return spec;
}

}  // namespace fathom::model
