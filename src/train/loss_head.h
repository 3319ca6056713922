// The end of a model: the products of the normed stream with the output matrix and the cross-entropy of them, in blocks of
// rows, so that no more than `loss_rows` rows of logits are ever in memory. Loss and gradient come from one visit of a block
// (three products); with the vocabulary split among tensor ranks the blocks' maxima and sums are exchanged (Shoeybi et al.,
// 2019).
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/batch.h"
#include "train/pass.h"

namespace fathom::train {

class LossHead {
 public:
  /// `matrix`: the output's rows, or the embedding's where they are one.
  LossHead(const Parameters& parameters, const Parameter& matrix, const Shape& shape, Communicator& tensor,
           float z_loss);

  /// What gradients are multiplied by, and where that of h goes: [tokens, d_model], this rank's columns' part of it.
  struct Gradient {
    float scale;
    float* d_h;
  };

  /// The sums over the targets of rows h [tokens, d_model], all gathered. device_targets: the same on the device. With a
  /// `gradient` that of the matrix is added to, too.
  LossSums compute(const Pass& pass, const float* h, std::span<const int32_t> targets,
                   const float* device_targets, const Gradient* gradient);
  /// Logits [rows, vocab] of rows h, scaled and capped, to the host. REQUIRES: a group of one.
  void logits(const Pass& pass, const float* h, size_t rows, std::span<float> out) const;

 private:
  tensor::CrossEntropyShape shape_of(const Pass& pass, size_t rows) const;
  void products(const Pass& pass, const float* h, size_t rows, float* out) const;
  void backward_products(const Pass& pass, const float* h, const float* d_logits, size_t rows,
                         const Gradient& gradient, size_t row) const;
  void merge(const Pass& pass, tensor::SoftmaxPart* parts, size_t rows);
  double loss_of(const Pass& pass, const tensor::SoftmaxPart* parts, std::span<const int32_t> targets);

  Communicator* group_;
  const float* weight_;
  float* d_weight_;  // null: frozen
  size_t vocab_, first_;
  float z_loss_;
  std::vector<tensor::SoftmaxPart> host_;  // of a block, by this and by all ranks
};

}  // namespace fathom::train
