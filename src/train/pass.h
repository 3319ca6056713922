// What the parts of a decoder share: the device, the rows of the residual stream, scratch memory, and where values and
// gradients of parameters are.
//
// Views; the decoder owns all of it. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/device_ops.h"
#include "train/activations.h"
#include "train/communicator.h"
#include "train/parameters.h"
#include "train/shape.h"

namespace fathom::train {

/// This rank's rows of [tokens, d_model] arrays that a tensor-parallel group works on together (Korthikanti et al., 2022).
/// With a group of one they are all rows, and nothing is done.
class StreamRows {
 public:
  StreamRows(Communicator& group, const Shape& shape);

  float* own(float* all) const { return all + group_->rank() * floats_; }
  const float* own(const float* all) const { return all + group_->rank() * floats_; }
  size_t first() const { return group_->rank() * rows_; }
  /// Every rank's rows, of which `all` holds this one's.
  void gather(float* all) const;
  /// The same of [tokens, width].
  void gather(float* all, size_t width) const;
  /// out = this rank's rows of the sum over the group.
  void scatter_sum(const float* all, float* out) const;
  /// The sum over the group of what every rank has a part of.
  void sum(std::span<float> values) const;

 private:
  Communicator* group_;
  size_t rows_, floats_;
};

/// Gradients of parameters that tensor ranks share (Parameter::tensor_shared): each rank's part is gathered apart, for a
/// section (a layer) at a time, summed over the group when the section is done, and added to the parameters' gradients.
class SharedGradients {
 public:
  SharedGradients(const Parameters& parameters, const Shape& shape, tensor::DeviceOps& ops);

  /// Where the gradient of a parameter is to be added; null where it is frozen.
  float* target(const Parameter& p, size_t section);
  void finish(size_t section, const StreamRows& rows);

 private:
  struct Entry {
    float* part;
    float* gradient;
    size_t size;
  };
  struct Section {
    float* begin = nullptr;
    size_t size = 0;
    std::vector<Entry> entries;
  };

  const Parameters& parameters_;
  tensor::DeviceOps& ops_;
  tensor::DeviceBuffer memory_;
  size_t used_ = 0;
  std::vector<Section> sections_;
};

class Router;

/// The memory of all passes.
struct Scratch {
  float* full =
      nullptr;  // [tokens, d_model]: a branch on its way between split products and the stream's rows
  float* d_h = nullptr;          // [tokens, d_model]: gradient of what a branch reads
  float* low_rank = nullptr;     // [tokens, rank] twice: an adapter's middle, and its gradient
  float* bias = nullptr;         // [widest]
  float* every_token = nullptr;  // [tokens] int32: 0, 1, 2, ...; with a gated feed-forward beside experts
  Workspace workspace;           // of one part of a layer at a time
};

/// Everything that a part of the decoder needs beside its own parameters.
struct Pass {
  const model::ModelConfig& config;
  const Shape& shape;
  tensor::DeviceOps& ops;
  tensor::Precision precision;
  Recompute recompute;
  const StreamRows& rows;
  Scratch& scratch;
  Router* router;
};

/// Finds parameters by name for a layer.
struct Binder {
  const Parameters& parameters;
  SharedGradients& shared;
  size_t section;
  const LoraSpec& lora;

  const float* value(const std::string& name) const { return parameters.value(parameters.at(name)); }
  float* gradient(const std::string& name) const { return shared.target(parameters.at(name), section); }
};

/// An RMSNorm.
struct Norm {
  const float* weight = nullptr;  // null: there is none
  float* d_weight = nullptr;      // null: frozen

  Norm() = default;
  Norm(const Binder& bind, const std::string& name)
      : weight(bind.value(name)), d_weight(bind.gradient(name)) {}
  explicit operator bool() const { return weight != nullptr; }
};

/// Whole numbers to a device, in memory of as many floats.
void to_device(tensor::DeviceOps& ops, std::span<const int32_t> host, float* device);
void to_host(tensor::DeviceOps& ops, const float* device, std::span<int32_t> host);
inline const int32_t* as_ints(const float* device) { return reinterpret_cast<const int32_t*>(device); }

}  // namespace fathom::train
