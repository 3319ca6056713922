#include "train/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "train/layer.h"
#include "train/loss_head.h"
#include "train/pass.h"

namespace fathom::train {
namespace {

/// Memory of one micro-batch in flight through one chunk.
struct Slot {
  float* x_in = nullptr;  // [rows, d_model]
  float* d_x = nullptr;   // [rows, d_model]: the gradient of the chunk's output, then of its input
  std::vector<LayerMemory> layers;
};

struct Chunk {
  LayerRange range;
  std::vector<Layer> layers;
  std::vector<std::array<const Parameter*, 2>> first;  // of each layer and arena with gradients; null: none
  std::vector<Slot> slots;
};

}  // namespace

struct Decoder::Impl {
  Impl(const model::ModelConfig& c, const Groups& g, Parameters& p, tensor::DeviceOps& device,
       const DecoderOptions& o);

  void lay_out_scratch();
  void lay_out_slots();
  void make_layers();
  std::array<const Parameter*, 2> first_of(size_t layer) const;
  bool is_first(size_t chunk) const { return groups.first_stage() && chunk == 0; }
  bool is_last(size_t chunk) const { return groups.last_stage() && chunk + 1 == chunks.size(); }
  /// Whether another stage adds to the gradient of the embedding.
  bool shares_embedding() const { return config.tied_output && groups.embedding != nullptr; }

  void begin(const MicroBatch& batch);
  void enter(size_t chunk, const Slot& slot, const MicroBatch& batch, std::span<const float> in);
  LossSums run_layers(Chunk& chunk, const Slot& slot, const Norm* last);
  const float* stream_end(const Slot& slot) const;
  LossSums loss(const Slot& slot, const MicroBatch& batch, const LossScale* scale);
  LossSums forward(size_t index, size_t slot, const MicroBatch& batch, const LossScale* scale,
                   std::span<const float> in, std::span<float> out);
  void backward(size_t index, size_t slot, const MicroBatch& batch, const LossScale& scale,
                std::span<const float> d_out, std::span<float> d_in,
                const std::function<void(const Parameter&)>& layer_done);
  void leave(const Slot& slot, const MicroBatch& batch);

  model::ModelConfig config;
  const Groups& groups;
  Parameters& parameters;
  tensor::DeviceOps& ops;
  DecoderOptions options;
  Shape shape;
  ActivationSizes sizes;
  tensor::DeviceBuffer memory;
  Workspace arena;  // over `memory`, for construction
  StreamRows rows;
  SharedGradients shared;
  Scratch scratch;
  Router router;
  Pass pass;
  Rotary rotary;
  float *device_positions = nullptr, *device_starts = nullptr, *device_targets = nullptr;
  float* inverse = nullptr;  // [rows]: of the output norm
  std::vector<int32_t> positions;
  Positions at;
  std::vector<Chunk> chunks;
  const Parameter* embedding = nullptr;
  const Parameter* output_norm_parameter = nullptr;
  Norm output_norm;
  std::optional<LossHead> head;
};

Decoder::Impl::Impl(const model::ModelConfig& c, const Groups& g, Parameters& p, tensor::DeviceOps& device,
                    const DecoderOptions& o)
    : config(c),
      groups(g),
      parameters(p),
      ops(device),
      options(o),
      shape(Shape::of(c, g.layout, g.place, o)),
      sizes(activation_sizes(shape, o.recompute)),
      rows(*g.tensor, shape),
      shared(p, shape, device),
      router(config, shape, o.balance_weight),
      pass{config, shape, ops, o.precision, o.recompute, rows, scratch, &router},
      rotary(config, p, shape, device) {
  FATHOM_CHECK(shape.tokens > 0 && shape.rows * g.layout.tensor == shape.tokens && options.slots > 0);
  size_t layers = 0;
  for (size_t i = 0; i < groups.layout.chunks; ++i) {
    Chunk chunk;
    chunk.range = layers_of(groups.layout, config.layers, groups.place.stage, i);
    layers += chunk.range.end - chunk.range.begin;
    chunks.push_back(std::move(chunk));
  }
  memory = ops.allocate(sizes.total(layers, chunks.size(), options.slots));
  arena = Workspace(memory.floats(), memory.size());
  lay_out_scratch();
  lay_out_slots();
  make_layers();
}

void Decoder::Impl::lay_out_scratch() {
  scratch.full = arena.take(shape.tokens * shape.d_model);
  scratch.d_h = arena.take(shape.tokens * shape.d_model);
  scratch.low_rank = arena.take(2 * aligned(shape.tokens * shape.low_rank));
  scratch.bias = arena.take(shape.widest);
  scratch.workspace = Workspace(arena.take(sizes.workspace), sizes.workspace);
  for (float** part : {&device_positions, &device_starts, &device_targets}) *part = arena.take(shape.tokens);
  inverse = arena.take(shape.rows);
  if (shape.gated_beside) {
    scratch.every_token = arena.take(shape.tokens);
    std::vector<int32_t> every(shape.tokens);
    std::iota(every.begin(), every.end(), 0);
    to_device(ops, every, scratch.every_token);
  }
  rotary.place(arena);
  positions.resize(shape.tokens);
}

void Decoder::Impl::lay_out_slots() {
  LayerMemory common;
  common.each(shape, [&](float*& part, size_t floats, Recompute most) {
    if (options.recompute > most) part = arena.take(floats);
  });
  for (Chunk& chunk : chunks) {
    chunk.slots.resize(options.slots);
    for (Slot& slot : chunk.slots) {
      slot.x_in = arena.take(shape.rows * shape.d_model);
      slot.d_x = arena.take(shape.rows * shape.d_model);
      slot.layers.assign(chunk.range.end - chunk.range.begin, common);
      const float* x = slot.x_in;
      for (LayerMemory& m : slot.layers) {
        m.each(shape, [&](float*& part, size_t floats, Recompute most) {
          if (options.recompute <= most) part = arena.take(floats);
        });
        m.x_in = x;
        x = m.x_out;
      }
    }
  }
}

void Decoder::Impl::make_layers() {
  const auto binder = [&](size_t section) { return Binder{parameters, shared, section, options.lora}; };
  for (Chunk& chunk : chunks)
    for (size_t l = chunk.range.begin; l < chunk.range.end; ++l) {
      chunk.layers.emplace_back(binder(l), config, shape, *groups.expert, l);
      chunk.first.push_back(first_of(l));
    }
  if (groups.first_stage()) embedding = &parameters.at("token_embd.weight");
  if (!groups.last_stage()) return;
  output_norm_parameter = &parameters.at("output_norm.weight");
  output_norm = Norm(binder(config.layers), output_norm_parameter->name);
  const Parameter& matrix = parameters.at(config.tied_output ? "token_embd.weight" : "output.weight");
  head.emplace(parameters, matrix, shape, *groups.tensor, options.z_loss);
}

std::array<const Parameter*, 2> Decoder::Impl::first_of(size_t layer) const {
  const std::string block = fmt::format("blk.{}.", layer);
  std::array<const Parameter*, 2> first{};
  for (const Parameter& p : parameters.all()) {
    if (p.arena == Arena::kFrozen || !p.name.starts_with(block)) continue;
    const Parameter*& at_arena = first[static_cast<size_t>(p.arena)];
    if (at_arena == nullptr) at_arena = &p;
  }
  return first;
}

/// Where the tokens of the batch stand, to the device.
void Decoder::Impl::begin(const MicroBatch& batch) {
  FATHOM_CHECK(batch.sequences == shape.sequences && batch.length == shape.length &&
               batch.tokens.size() == shape.tokens && batch.targets.size() == shape.tokens &&
               (batch.starts.empty() || batch.starts.size() == shape.tokens));
  for (size_t t = 0; t < shape.tokens; ++t)
    positions[t] = static_cast<int32_t>(t % shape.length) - (batch.starts.empty() ? 0 : batch.starts[t]);
  to_device(ops, positions, device_positions);
  at.position = as_ints(device_positions);
  at.starts = nullptr;
  if (batch.starts.empty()) return;
  to_device(ops, batch.starts, device_starts);
  at.starts = as_ints(device_starts);
}

/// The chunk's input: embedded tokens, or what the chunk before sent.
void Decoder::Impl::enter(size_t chunk, const Slot& slot, const MicroBatch& batch,
                          std::span<const float> in) {
  if (!is_first(chunk)) {
    FATHOM_CHECK(in.size() == shape.rows * shape.d_model);
    return ops.to_device(in, slot.x_in);
  }
  float* out = shape.split ? scratch.full : slot.x_in;
  ops.embed(parameters.value(*embedding), batch.tokens, shape.vocab_begin, shape.vocab, shape.d_model,
            config.embedding_scale, out);
  rows.scatter_sum(scratch.full, slot.x_in);
}

const float* Decoder::Impl::stream_end(const Slot& slot) const {
  return slot.layers.empty() ? slot.x_in : slot.layers.back().x_out;
}

/// All layers of a chunk; each sum of the stream is made together with the norm that reads it. `last`: the norm after the
/// last layer, into scratch.full; null: there is none.
LossSums Decoder::Impl::run_layers(Chunk& chunk, const Slot& slot, const Norm* last) {
  LossSums sums;
  const size_t count = chunk.layers.size();
  for (size_t l = 0; l <= count; ++l) {
    const Norm* norm = l < count ? &chunk.layers[l].input_norm() : last;
    float* h = l < count ? slot.layers[l].h1 : scratch.full;
    float* inverse_rms = l < count ? slot.layers[l].inverse1 : inverse;
    const float* branch = l == 0 ? nullptr : slot.layers[l - 1].x_mid;  // what is still to be added
    float* x = l == 0 ? slot.x_in : slot.layers[l - 1].x_out;
    if (norm == nullptr) {
      if (branch != nullptr) ops.add(branch, x, shape.rows * shape.d_model);
    } else if (branch == nullptr) {
      ops.rms_norm(x, norm->weight, config.rms_eps, rows.own(h), inverse_rms, shape.rows, shape.d_model);
    } else {
      ops.add_rms_norm(x, branch, norm->weight, config.rms_eps, rows.own(h), inverse_rms, shape.rows,
                       shape.d_model);
    }
    if (l < count) sums += chunk.layers[l].forward(pass, rotary, at, slot.layers[l]);
  }
  return sums;
}

/// The loss of what run_layers left in scratch.full, and with a scale the gradient of the stream's end in slot.d_x.
LossSums Decoder::Impl::loss(const Slot& slot, const MicroBatch& batch, const LossScale* scale) {
  to_device(ops, batch.targets, device_targets);
  rows.gather(scratch.full);
  if (scale == nullptr) return head->compute(pass, scratch.full, batch.targets, device_targets, nullptr);
  const LossHead::Gradient gradient{scale->token, scratch.d_h};
  const LossSums sums = head->compute(pass, scratch.full, batch.targets, device_targets, &gradient);
  ops.rms_norm_backward(own_gradient(pass), stream_end(slot), output_norm.weight, inverse, slot.d_x, false,
                        output_norm.d_weight, shape.rows, shape.d_model);
  shared.finish(config.layers, rows);
  return sums;
}

LossSums Decoder::Impl::forward(size_t index, size_t slot_index, const MicroBatch& batch,
                                const LossScale* scale, std::span<const float> in, std::span<float> out) {
  Chunk& chunk = chunks.at(index);
  const Slot& slot = chunk.slots.at(slot_index);
  rotary.prepare();
  begin(batch);
  enter(index, slot, batch, in);
  LossSums sums = run_layers(chunk, slot, is_last(index) ? &output_norm : nullptr);
  if (is_last(index)) {
    sums += loss(slot, batch, scale);
  } else {
    FATHOM_CHECK(out.size() == shape.rows * shape.d_model);
    ops.to_host(stream_end(slot), out);
  }
  return sums;
}

/// The gradient of the embedding from that of the chunk's input.
void Decoder::Impl::leave(const Slot& slot, const MicroBatch& batch) {
  float* gradient = parameters.gradient(*embedding);
  if (gradient == nullptr) return;
  const float* d_x = slot.d_x;
  if (shape.split) {
    ops.copy(d_x, rows.own(scratch.full), shape.rows * shape.d_model);
    rows.gather(scratch.full);
    d_x = scratch.full;
  }
  ops.embed_backward(d_x, batch.tokens, shape.vocab_begin, shape.vocab, shape.d_model, config.embedding_scale,
                     gradient);
}

void Decoder::Impl::backward(size_t index, size_t slot_index, const MicroBatch& batch, const LossScale& scale,
                             std::span<const float> d_out, std::span<float> d_in,
                             const std::function<void(const Parameter&)>& layer_done) {
  Chunk& chunk = chunks.at(index);
  const Slot& slot = chunk.slots.at(slot_index);
  const auto done = [&](const Parameter* first) {
    if (first != nullptr && first->arena != Arena::kFrozen && layer_done) layer_done(*first);
  };
  begin(batch);
  if (is_last(index)) {
    done(output_norm_parameter);
  } else {
    FATHOM_CHECK(d_out.size() == shape.rows * shape.d_model);
    ops.to_device(d_out, slot.d_x);
  }
  for (size_t l = chunk.layers.size(); l-- > 0;) {
    chunk.layers[l].backward(pass, rotary, at, slot.layers[l], scale, slot.d_x);
    shared.finish(chunk.range.begin + l, rows);
    for (const Parameter* first : chunk.first[l]) done(first);
  }
  if (is_first(index)) {
    leave(slot, batch);
    if (!shares_embedding()) done(embedding);
  } else {
    FATHOM_CHECK(d_in.size() == shape.rows * shape.d_model);
    ops.to_host(slot.d_x, d_in);
  }
}

Decoder::Decoder(const model::ModelConfig& config, const Groups& groups, Parameters& parameters,
                 tensor::DeviceOps& ops, const DecoderOptions& options)
    : impl_(std::make_unique<Impl>(config, groups, parameters, ops, options)) {}

Decoder::~Decoder() = default;

size_t Decoder::boundary_size() const { return impl_->shape.rows * impl_->shape.d_model; }

LossSums Decoder::forward(size_t chunk, size_t slot, const MicroBatch& batch, const LossScale& scale,
                          std::span<const float> in, std::span<float> out) {
  return impl_->forward(chunk, slot, batch, &scale, in, out);
}

void Decoder::backward(size_t chunk, size_t slot, const MicroBatch& batch, const LossScale& scale,
                       std::span<const float> d_out, std::span<float> d_in,
                       const std::function<void(const Parameter&)>& layer_done) {
  impl_->backward(chunk, slot, batch, scale, d_out, d_in, layer_done);
}

LossSums Decoder::evaluate(size_t chunk, const MicroBatch& batch, std::span<const float> in,
                           std::span<float> out) {
  return impl_->forward(chunk, 0, batch, nullptr, in, out);
}

void Decoder::finish_gradients() {
  Impl& i = *impl_;
  if (!i.shares_embedding()) return;
  const Parameter& p = i.parameters.at("token_embd.weight");
  if (float* gradient = i.parameters.gradient(p); gradient != nullptr)
    i.groups.embedding->all_reduce_sum(std::span(gradient, p.elements()));
}

size_t Decoder::bytes() const { return impl_->memory.bytes(); }

std::vector<float> logits(const model::ModelConfig& config, Parameters& parameters, tensor::DeviceOps& ops,
                          std::span<const int32_t> tokens, tensor::Precision precision) {
  const Groups groups = make_groups(Layout{}, make_self_comm());
  DecoderOptions options;
  options.length = tokens.size();
  options.recompute = Recompute::kFull;
  options.precision = precision;
  Decoder decoder(config, groups, parameters, ops, options);
  const std::vector<int32_t> targets(tokens.size(), -1);
  decoder.evaluate(0, {1, tokens.size(), tokens, targets, {}}, {}, {});
  std::vector<float> out(tokens.size() * config.vocab);
  const Decoder::Impl& impl = *decoder.impl_;
  impl.head->logits(impl.pass, impl.scratch.full, tokens.size(), out);
  return out;
}

}  // namespace fathom::train
