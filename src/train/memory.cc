#include "train/memory.h"

#include <algorithm>

#include "tensor/gemm.h"
#include "tensor/grad/attention.h"
#include "train/activations.h"
#include "train/parameter_layout.h"
#include "train/shape.h"

namespace fathom::train {
namespace {

/// Floats of what the optimiser keeps for one arena of so many floats that `ranks` share.
size_t optimiser_floats(size_t arena, size_t ranks, size_t zero, const OptimiserOptions& options) {
  if (ranks == 1) zero = 0;
  const size_t part = zero == 0 ? arena : arena / ranks;
  const size_t bucket = std::min(options.bucket_floats, arena);
  const bool averaged = options.ema_decay > 0;
  size_t floats = (averaged ? 3 : 2) * part;
  if (averaged) floats += zero == 0 ? bucket : bucket / ranks;
  if (zero == 2) floats += part;
  if (zero > 0) floats += bucket / ranks;
  return floats;
}

/// What kernels need, whatever they work on.
uint64_t kernel_bytes(const Shape& s, size_t threads) {
  tensor::AttentionShape attention;
  attention.sequences = s.sequences;
  attention.length = s.length;
  attention.heads = s.heads;
  attention.kv_heads = s.kv_heads;
  attention.head_dim = s.head_dim;
  return tensor::gemm_scratch_bytes(threads) + tensor::attention_scratch_bytes(attention, threads);
}

size_t shared_gradient_floats(const ParameterLayout& parameters) {
  size_t floats = 0;
  for (const Parameter& p : parameters.list)
    if (p.tensor_shared) floats += aligned(p.elements());
  return floats;
}

}  // namespace

MemoryNeed memory_need(const model::ModelConfig& config, const Layout& layout, const Place& place,
                       const DecoderOptions& decoder, const OptimiserOptions& optimiser, size_t threads) {
  const ParameterLayout parameters = lay_out_parameters(config, layout, place, decoder.lora);
  const auto [dense, expert, frozen] = parameters.sizes;
  MemoryNeed need;
  need.weights = (dense + expert + frozen) * sizeof(float);
  need.gradients = (dense + expert) * sizeof(float);
  need.optimiser = (optimiser_floats(dense, layout.data, layout.zero, optimiser) +
                    optimiser_floats(expert, layout.data / layout.expert, layout.zero, optimiser)) *
                   sizeof(float);

  Shape shape = Shape::of(config, layout, place, decoder);
  // The decoder has room for the worst, of which a balanced mixture uses what its tokens choose.
  shape.expert_rows = std::min(shape.expert_rows, shape.choices);
  const ActivationSizes sizes = activation_sizes(shape, decoder.recompute);
  size_t layers = 0;
  for (size_t c = 0; c < layout.chunks; ++c) {
    const LayerRange range = layers_of(layout, config.layers, place.stage, c);
    layers += range.end - range.begin;
  }
  const size_t passes = sizes.total(0, 0, 0);
  const size_t boundaries = 4 * shape.rows * shape.d_model;  // in and out of a stage, forward and backward
  need.activations = (sizes.total(layers, layout.chunks, decoder.slots) - passes) * sizeof(float);
  need.scratch = (passes + boundaries + shared_gradient_floats(parameters)) * sizeof(float) +
                 kernel_bytes(shape, threads);
  return need;
}

}  // namespace fathom::train
