// The weights that a rank trains, in flat memory, and which part of the model's each is.
//
// Names and shapes are those of model::required_tensors (q, k, v, gate, up and the stacked experts apart from each other;
// one order of rows: GGUF's), outermost dimension first here. A rank holds a box of each tensor: some rows or columns of
// it under tensor parallelism, some experts under expert parallelism, all of it else; and only its pipeline chunks'.
//
// Two arenas, because their gradients are summed over different groups: kDense over Groups::data, kExpert over
// Groups::expert_data. Within an arena parameters lie in the order in which the forward pass meets them, each beginning at
// a multiple of 16 floats, so that gradients become final from the end to the beginning. The last stage's copy of an
// embedding that is the output too lies first, as on the first stage: both are final last. Frozen weights (under an adapter)
// are in kFrozen, which has no gradients.
//
// Owned by value; pointers into the arenas stay valid when it is moved. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/gguf.h"
#include "tensor/device_ops.h"
#include "train/layout.h"

namespace fathom::train {

enum class Arena { kDense, kExpert, kFrozen };
inline constexpr size_t kArenas = 3;

/// Part of a tensor of up to three dimensions, outermost first; missing leading dimensions are 1.
struct Box {
  std::array<size_t, 3> begin{};
  std::array<size_t, 3> size{1, 1, 1};
  size_t elements() const { return size[0] * size[1] * size[2]; }
};

struct Parameter {
  std::string name;
  std::array<size_t, 3> shape{1, 1, 1};  // of the whole tensor, outermost first
  Box box;                               // what this rank has of it, contiguous in the arena
  Arena arena = Arena::kDense;
  size_t offset = 0;   // floats, in the arena
  bool decay = false;  // weight decay: matrices yes, norms and biases no
  /// Every rank of the tensor group has all of `box` and computes a part of its gradient (norms, routers: they see a part
  /// of the tokens). Such a parameter counts once in the norm of the gradient, and rank 0 of the group saves it.
  bool tensor_shared = false;
  bool tied_copy = false;  // the last stage's copy of the first's embedding: counts and is saved nowhere
  size_t elements() const { return box.elements(); }
};

/// Low-rank adapters (Hu et al., 2021): W x + (alpha / rank) B (A x), for the matrices named; everything else is frozen.
/// Parameters "NAME.lora_a" [rank, in] (random) and "NAME.lora_b" [out, rank] (zero), for NAME "blk.0.attn_q.weight".
struct LoraSpec {
  size_t rank = 0;  // 0: no adapters, every weight is trained
  float alpha = 16.0f;
  std::vector<std::string>
      matrices;  // of "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"
};

class Parameters {
 public:
  /// Lays out what rank `place` has, all zero. Errors: kUnsupported (a model with what training has no backward pass for:
  /// named), kResourceExhausted.
  Parameters(const model::ModelConfig& config, const Layout& layout, const Place& place, const LoraSpec& lora,
             tensor::DeviceOps& ops);

  const std::vector<Parameter>& all() const { return list_; }
  const Parameter* find(std::string_view name) const;  // null: not on this rank
  /// Errors: kInternal for a name that this rank has not.
  const Parameter& at(std::string_view name) const;

  /// A multiple of 16 times the ranks that its gradients are summed over; behind the last parameter there are zeros.
  size_t arena_size(Arena arena) const;
  float* values(Arena arena) const;
  float* gradients(Arena arena) const;  // null for kFrozen
  float* value(const Parameter& p) const { return values(p.arena) + p.offset; }
  float* gradient(const Parameter& p) const;  // null where frozen

  /// Normal numbers of deviation `deviation` (matrices that add to the residual stream: divided by sqrt(2 * layers)), norms
  /// 1, biases 0; the numbers of an element depend on seed, name and its place in the whole tensor, not on the layout.
  void initialise(uint64_t seed, float deviation);
  /// From a model that has these tensors (fused and single-expert layouts are taken apart), dequantised. Adapters, which no
  /// model has, stay as they are: `initialise` comes first.
  /// Errors: kCorrupt, naming the tensor.
  void load(const model::GgufFile& file);

 private:
  model::ModelConfig config_;
  std::vector<Parameter> list_;
  tensor::DeviceOps* ops_;
  std::array<tensor::DeviceBuffer, kArenas> values_;
  std::array<tensor::DeviceBuffer, kArenas> gradients_;
};

/// Copies elements between two boxes of one tensor where they overlap. Flat order within a box is by rows.
/// `source` holds elements [source_begin, source_begin + source.size()) of `source_box`.
void copy_overlap(const Box& source_box, size_t source_begin, std::span<const float> source,
                  const Box& target_box, size_t target_begin, std::span<float> target);

}  // namespace fathom::train
