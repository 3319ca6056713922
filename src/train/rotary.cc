#include "train/rotary.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/rope_spec.h"

namespace fathom::train {

using model::RopeScaling;

Rotary::Rotary(const model::ModelConfig& config, const Parameters& parameters, const Shape& shape,
               tensor::DeviceOps& ops)
    : config_(config), parameters_(parameters), shape_(shape), ops_(ops) {}

void Rotary::place(Workspace& memory) {
  place(all_, config_.rope, memory);
  if (config_.window_rope.dims != 0) place(windowed_, config_.window_rope, memory);
}

void Rotary::place(Tables& tables, const model::RopeConfig& rope, Workspace& memory) const {
  tables.rope = rope;
  tables.keys = tables.queries = memory.take(shape_.length * rope.dims);
  if (shape_.sharpened) tables.queries = memory.take(shape_.length * rope.dims);
}

std::vector<float> Rotary::factors() const {
  const model::RopeConfig& rope = config_.rope;
  if (rope.scaling == RopeScaling::kLlama3) return model::llama3_rope_factors(rope);
  std::string name;
  if (rope.frequency_factors) name = "rope_freqs.weight";
  if (rope.scaling == RopeScaling::kLongRope)
    name = shape_.length > rope.original_context ? "rope_factors_long.weight" : "rope_factors_short.weight";
  if (name.empty()) return {};
  std::vector<float> out(rope.dims / 2);
  ops_.to_host(parameters_.value(parameters_.at(name)), out);
  if (!std::all_of(out.begin(), out.end(), [](float f) { return f > 0; }))
    throw Error(ErrorCode::kCorrupt,
                "a factor of the model's rotary positions is not positive; get its file again");
  return out;
}

void Rotary::fill(const Tables& tables, const tensor::RopeSpec& spec) {
  const size_t dims = tables.rope.dims;
  std::vector<float> angles(dims);
  for (size_t p = 0; p < shape_.length; ++p) {
    tensor::rope_angles(p, spec, angles.data());
    ops_.to_device(angles, tables.keys + p * dims);
    if (!shape_.sharpened) continue;
    const size_t sharpen = config_.attention_temperature_length;
    if (p > sharpen)
      tensor::scale(angles.data(), std::log2(static_cast<float>(p)) / std::log2(static_cast<float>(sharpen)),
                    dims);
    ops_.to_device(angles, tables.queries + p * dims);
  }
}

void Rotary::prepare() {
  if (ready_) return;
  tensor::RopeSpec spec = model::rope_spec(config_.rope);
  const auto divisors = factors();
  spec.factors = divisors;
  fill(all_, spec);
  if (windowed_.keys != nullptr) fill(windowed_, model::rope_spec(config_.window_rope));
  ready_ = true;
}

void Rotary::turn(const Pass& pass, size_t layer, float* q, size_t q_stride, float* k, size_t kv_stride,
                  const int32_t* positions, bool inverse) const {
  const Tables& t = windowed_.keys != nullptr && config_.windowed(layer) ? windowed_ : all_;
  const Shape& s = pass.shape;
  const bool halves = t.rope.pairing == model::RopePairing::kHalves;
  const auto turn_heads = [&](float* x, size_t stride, size_t heads, const float* table) {
    pass.ops.rope(x, stride, s.tokens, heads, s.head_dim, t.rope.dims, halves, table, positions, inverse);
  };
  // Queries and keys that lie side by side are heads of one row.
  if (k == q + s.q_dim && q_stride == kv_stride && t.queries == t.keys)
    return turn_heads(q, q_stride, s.heads + s.kv_heads, t.keys);
  turn_heads(q, q_stride, s.heads, t.queries);
  turn_heads(k, kv_stride, s.kv_heads, t.keys);
}

}  // namespace fathom::train
